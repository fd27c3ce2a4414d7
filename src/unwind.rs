//! The only `catch_unwind`: user code (jobs, predicates, wakers, destructors) is called through here.
//!
//! A payload can panic when it is dropped, and that panic's payload again; so nothing that was caught is dropped outside
//! [`discard`], which gives up on a value (leaks it) when its destructor panics for the second time.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a panic carries.
pub(crate) type Payload = Box<dyn Any + Send>;

/// Calls `f` and turns a panic into its payload.
///
/// The crate holds no lock and no half-done state of its own while user code runs, which is what makes the assertion of
/// unwind safety true; what the user's own values look like after a panic is the user's business, as with a thread's.
pub(crate) fn catch<R>(f: impl FnOnce() -> R) -> Result<R, Payload> {
    catch_unwind(AssertUnwindSafe(f))
}

/// Drops a user's value; a destructor that panics is contained.
pub(crate) fn discard<V>(value: V) {
    if !std::mem::needs_drop::<V>() {
        return;
    }
    if let Err(payload) = catch(|| drop(value))
        && let Err(second) = catch(|| drop(payload))
    {
        std::mem::forget(second);
    }
}

/// Drops a user's values one by one, so that two destructors that panic do not meet (which would abort the process).
pub(crate) fn discard_all<V>(values: impl IntoIterator<Item = V>) {
    if std::mem::needs_drop::<V>() {
        values.into_iter().for_each(discard);
    }
}

/// A user's value that is dropped by [`discard`], wherever its owner is dropped.
pub(crate) struct Contained<V>(Option<V>);

/// A closure of the user's, if there is one.
pub(crate) type Hook<F> = Option<Contained<Box<F>>>;

impl<V> Contained<V> {
    pub(crate) fn new(value: V) -> Self {
        Self(Some(value))
    }

    /// The value itself, which is its owner's from now on.
    pub(crate) fn into_inner(mut self) -> V {
        match self.0.take() {
            Some(value) => value,
            None => unreachable!("the value is there until it is dropped"),
        }
    }
}

impl<V> std::ops::Deref for Contained<V> {
    type Target = V;

    fn deref(&self) -> &V {
        match &self.0 {
            Some(value) => value,
            None => unreachable!("the value is there until it is dropped"),
        }
    }
}

impl<V> std::ops::DerefMut for Contained<V> {
    fn deref_mut(&mut self) -> &mut V {
        match &mut self.0 {
            Some(value) => value,
            None => unreachable!("the value is there until it is dropped"),
        }
    }
}

impl<V> Drop for Contained<V> {
    fn drop(&mut self) {
        discard(self.0.take());
    }
}

/// Calls a user's code whose panic concerns nobody.
pub(crate) fn contain(f: impl FnOnce()) {
    if let Err(payload) = catch(f) {
        discard(payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb(u32);
    impl Drop for Bomb {
        fn drop(&mut self) {
            if self.0 > 0 {
                std::panic::panic_any(Bomb(self.0 - 1));
            }
        }
    }

    #[test]
    fn a_payload_that_panics_when_dropped_is_contained() {
        for depth in 0..4 {
            discard(Bomb(depth));
            contain(|| std::panic::panic_any(Bomb(depth)));
        }
        discard_all([Bomb(1), Bomb(1), Bomb(2)]);
        drop((Contained::new(Bomb(2)), Contained::new(Bomb(1))));
    }
}
