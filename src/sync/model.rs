//! The same primitives for a model checker, which decides at each use of one which thread goes on. What differs between the two that
//! there are is in `shuttle.rs` and `loom.rs`.
//!
//! | what | in the model |
//! |---|---|
//! | locks, atomics, threads, thread-locals | the checker's, with the shape of ours; for shuttle every ordering counts as sequentially consistent |
//! | [`Arc`](super::Arc) | the standard library's: its counts are no points at which another thread may go on |
//! | the channel | a queue under a lock |
//! | spinning, and giving way, before a sleep | a single look for each that is asked for |
//! | time | a clock that stands still, but for a nanosecond at each reading: a wait with a deadline may end at any moment, and has the clock jump there |

mod channel;
mod fault;
mod local;
pub(crate) mod thread;

use std::fmt;
use std::panic::Location;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::{Ordering, checker};

pub(crate) use channel::{Receiver, Sender, unbounded};
use fault::{heeded, is_faulty};
pub(crate) use local::{CheckerKey, LocalKey, thread_local};

macro_rules! const_fn {
    ($(#[$attribute:meta])* $visible:vis fn $($rest:tt)*) => {
        $(#[$attribute])*
        $visible fn $($rest)*
    };
}

macro_rules! array_of {
    ($value:expr; $number:expr) => {
        std::array::from_fn(|_| $value)
    };
}

pub(crate) use {array_of, const_fn};

// Locks.

#[derive(Default)]
pub(crate) struct Mutex<T>(checker::sync::Mutex<T>);

pub(crate) struct MutexGuard<'a, T> {
    mutex: &'a Mutex<T>,
    /// `None` while the lock is let go.
    guard: Option<checker::sync::MutexGuard<'a, T>>,
    /// Writes that are left until the lock is let go by a fault.
    until_split: u32,
}

/// The same, as no model spins.
pub(crate) type BriefMutex<T> = Mutex<T>;

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(checker::sync::Mutex::new(value))
    }

    #[track_caller]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let caller = Location::caller();
        let until_split = match () {
            () if is_faulty("split1", caller) => 1,
            () if is_faulty("split2", caller) => 2,
            () => 0,
        };
        MutexGuard {
            mutex: self,
            guard: Some(self.lock_raw()),
            until_split,
        }
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn into_inner(self) -> T {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_raw(&self) -> checker::sync::MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<'a, T> MutexGuard<'a, T> {
    fn release(&mut self) -> checker::sync::MutexGuard<'a, T> {
        match self.guard.take() {
            Some(guard) => guard,
            None => unreachable!("a guard is used by one thread at a time"),
        }
    }

    fn acquire(&mut self) {
        self.guard = Some(self.mutex.lock_raw());
    }
}

impl<T> std::ops::Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.guard {
            Some(guard) => guard,
            None => unreachable!("a guard is used by one thread at a time"),
        }
    }
}

impl<T> std::ops::DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        if self.until_split > 0 {
            self.until_split -= 1;
            if self.until_split == 0 {
                drop(self.release());
                self.acquire();
            }
        }
        match &mut self.guard {
            Some(guard) => guard,
            None => unreachable!("a guard is used by one thread at a time"),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(checker::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    #[track_caller]
    pub(crate) fn notify_one(&self) {
        if !is_faulty("notify", Location::caller()) {
            self.0.notify_one();
        }
    }

    #[track_caller]
    pub(crate) fn notify_all(&self) {
        if !is_faulty("notify", Location::caller()) {
            self.0.notify_all();
        }
    }

    fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let woken = self.0.wait(guard.release());
        guard.guard = Some(woken.unwrap_or_else(PoisonError::into_inner));
    }
}

/// Waits for a notification, at the longest until `deadline` (`None`: without a limit). False if the deadline has passed.
pub(crate) fn wait_until<T>(
    condvar: &Condvar,
    guard: &mut MutexGuard<'_, T>,
    deadline: Option<Instant>,
) -> bool {
    let Some(deadline) = deadline else {
        condvar.wait(guard);
        return true;
    };
    let Some((passes, lets_others_go)) = checker::lapse(since_start(deadline)) else {
        condvar.wait(guard);
        return true;
    };
    drop(guard.release());
    if lets_others_go {
        checker::thread::yield_now();
    }
    guard.acquire();
    if passes {
        TIME.set(TIME.get().max(since_start(deadline)));
    }
    !passes
}

/// One, so that a second searcher is one too many.
pub(crate) fn processors() -> usize {
    1
}

pub(crate) fn look_before_sleep<V>(look: impl FnOnce() -> Option<V>) -> Option<V> {
    look()
}

pub(crate) fn spin<V>(look: impl FnOnce() -> Option<V>) -> Option<V> {
    look()
}

pub(crate) fn give_way<V>(look: impl FnOnce() -> Option<V>) -> Option<V> {
    look()
}

pub(crate) fn search<V>(look: impl FnOnce() -> Option<V>) -> Option<V> {
    look()
}

/// Without the time that passes meanwhile.
pub(crate) fn gather(len: impl Fn() -> usize) -> usize {
    len()
}

// Time. All threads of an execution are on one thread of the operating system, and each execution goes on where the last one ended:
// all that matters are differences.

std::thread_local! {
    static START: Instant = Instant::now();
    static TIME: std::cell::Cell<Duration> = const { std::cell::Cell::new(Duration::ZERO) };
}

fn since_start(instant: Instant) -> Duration {
    START.with(|start| instant.saturating_duration_since(*start))
}

/// The time. No two readings are the same.
pub(crate) fn now() -> Instant {
    TIME.set(TIME.get() + Duration::from_nanos(1));
    START.with(|start| *start + TIME.get())
}

/// Every schedule of loom's has to begin with the same time.
#[cfg(all(test, rp_loom))]
pub(crate) fn set_time(since_start: Duration) {
    TIME.set(since_start);
}

// Atomics.

#[track_caller]
pub(crate) fn fence(order: Ordering) {
    if !is_faulty("fence", Location::caller()) {
        checker::sync::atomic::fence(order);
    }
}

macro_rules! atomic {
    ($name:ident, $value:ty) => {
        #[derive(Debug, Default)]
        pub(crate) struct $name(checker::sync::atomic::$name);

        #[allow(dead_code, reason = "no atomic needs all of this")]
        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self(checker::sync::atomic::$name::new(value))
            }

            #[track_caller]
            pub(crate) fn load(&self, order: Ordering) -> $value {
                let order = heeded(order, Location::caller());
                checker::before_load(order);
                self.0.load(order)
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, order: Ordering) {
                if !is_faulty("store", Location::caller()) {
                    let order = heeded(order, Location::caller());
                    checker::before_write(order);
                    self.0.store(value, order);
                }
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                let order = heeded(order, Location::caller());
                checker::before_write(order);
                match is_faulty("swap", Location::caller()) {
                    true => self.0.load(order),
                    false => self.0.swap(value, order),
                }
            }
        }
    };
}

macro_rules! counter {
    ($name:ident, $value:ty) => {
        atomic!($name, $value);

        #[allow(dead_code, reason = "no atomic needs all of this")]
        impl $name {
            #[track_caller]
            pub(crate) fn fetch_add(&self, value: $value, order: Ordering) -> $value {
                let order = heeded(order, Location::caller());
                checker::before_write(order);
                match is_faulty("add", Location::caller()) {
                    true => self.0.load(order),
                    false => self.0.fetch_add(value, order),
                }
            }

            #[track_caller]
            pub(crate) fn fetch_sub(&self, value: $value, order: Ordering) -> $value {
                let order = heeded(order, Location::caller());
                checker::before_write(order);
                match is_faulty("sub", Location::caller()) {
                    true => self.0.load(order),
                    false => self.0.fetch_sub(value, order),
                }
            }

            #[track_caller]
            pub(crate) fn fetch_max(&self, value: $value, order: Ordering) -> $value {
                let order = heeded(order, Location::caller());
                checker::before_write(order);
                match is_faulty("max", Location::caller()) {
                    true => self.0.load(order),
                    false => self.0.fetch_max(value, order),
                }
            }
        }
    };
}

atomic!(AtomicBool, bool);
counter!(AtomicU8, u8);
counter!(AtomicU32, u32);
counter!(AtomicU64, u64);
