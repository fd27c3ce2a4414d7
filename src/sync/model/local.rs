//! Thread-locals: those of the model's threads, which share one thread of the operating system.

use crate::sync::checker;

pub(crate) use checker::thread::LocalKey as CheckerKey;

pub(crate) struct LocalKey<V: 'static>(pub(crate) CheckerKey<V>);

#[allow(dead_code, reason = "no key needs all of this")]
impl<V> LocalKey<V> {
    pub(crate) fn try_with<R>(
        &'static self,
        f: impl FnOnce(&V) -> R,
    ) -> Result<R, checker::thread::AccessError> {
        self.0.try_with(f)
    }
}

impl<V> LocalKey<std::cell::Cell<V>> {
    pub(crate) fn set(&'static self, value: V) {
        self.0.with(|cell| cell.set(value));
    }

    pub(crate) fn get(&'static self) -> V
    where
        V: Copy,
    {
        self.0.with(std::cell::Cell::get)
    }

    pub(crate) fn take(&'static self) -> V
    where
        V: Default,
    {
        self.0.with(std::cell::Cell::take)
    }
}

impl<V> LocalKey<std::cell::RefCell<V>> {
    pub(crate) fn set(&'static self, value: V) {
        drop(self.0.with(|cell| cell.replace(value)));
    }

    pub(crate) fn take(&'static self) -> V
    where
        V: Default,
    {
        self.0.with(std::cell::RefCell::take)
    }
}

macro_rules! model_thread_local {
    ($($(#[$attribute:meta])* static $name:ident: $value:ty = const { $init:expr };)*) => {$(
        $(#[$attribute])*
        static $name: $crate::sync::LocalKey<$value> = $crate::sync::LocalKey($crate::sync::CheckerKey {
            init: || $init,
            _p: std::marker::PhantomData,
        });
    )*};
}
pub(crate) use model_thread_local as thread_local;
