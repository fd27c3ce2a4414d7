//! What runs in production: the standard library, parking_lot and crossbeam.

use std::time::{Duration, Instant};

pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded};
pub(crate) use num_cpus::get as processors;
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, fence};
pub(crate) use std::{thread, thread_local};

/// Functions that are constant in production; a model checker's primitives are made at run time only.
macro_rules! const_fn {
    ($(#[$attribute:meta])* $visible:vis fn $($rest:tt)*) => {
        $(#[$attribute])*
        $visible const fn $($rest)*
    };
}

/// So many of a value. In production they are copies of a constant: to make and move each of them took 12 ns more.
macro_rules! array_of {
    ($value:expr; $number:expr) => {
        [const { $value }; $number]
    };
}

pub(crate) use {array_of, const_fn};

/// A lock that is wanted all the time, and held for less than a microsecond as a rule. Who finds it taken looks again for 60 pauses, about 1.6 µs. A
/// [`Mutex`] offers its CPU to others after 14, who keep it until they find the lock taken; where a batch of tiny jobs has more threads than
/// processors, these took turns at 5 times the rate.
pub(crate) struct BriefMutex<T>(Mutex<T>);

impl<T> BriefMutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Mutex::new(value))
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.try_lock().unwrap_or_else(|| self.lock_later())
    }

    #[cold]
    fn lock_later(&self) -> MutexGuard<'_, T> {
        let lock = || self.0.try_lock();
        spin_between([4, 8, 16, 32], lock).unwrap_or_else(|| self.0.lock())
    }
}

/// The time.
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits for a notification, at the longest until `deadline` (`None`: without a limit). False if the deadline has passed.
pub(crate) fn wait_until<T>(
    condvar: &Condvar,
    guard: &mut MutexGuard<'_, T>,
    deadline: Option<Instant>,
) -> bool {
    match deadline {
        Some(deadline) => !condvar.wait_until(guard, deadline).timed_out(),
        None => {
            condvar.wait(guard);
            true
        }
    }
}

/// Looks for something a few times before its caller goes to sleep: to park and be woken costs several microseconds, and
/// what is waited for is often less than one away.
pub(crate) fn look_before_sleep<V>(mut look: impl FnMut() -> Option<V>) -> Option<V> {
    spin(&mut look).or_else(|| give_way(look))
}

/// The first part of `look_before_sleep`: spins for 56 pauses, which were seen to take 1.5 µs.
pub(crate) fn spin<V>(look: impl FnMut() -> Option<V>) -> Option<V> {
    spin_between([8, 16, 32], look)
}

/// The second part: offers the CPU to others three times.
pub(crate) fn give_way<V>(look: impl FnMut() -> Option<V>) -> Option<V> {
    yield_between(3, look)
}

/// As `look_before_sleep`, for a worker without work, whose sleep costs the next pusher a wake-up: spins for 127 pauses, about 3 µs, then
/// offers the CPU to others four times.
pub(crate) fn search<V>(mut look: impl FnMut() -> Option<V>) -> Option<V> {
    spin_between([1, 2, 4, 8, 16, 32, 64], &mut look).or_else(|| yield_between(4, look))
}

/// Lets work gather while somebody adds it all the time; says how much is there. Looks at `len` after 8 pauses (0.2 µs), and then less often,
/// up to 64 (1.6 µs); ends when less than one was added in 16 pauses, and with the first look after [`GATHERING`].
pub(crate) fn gather(len: impl Fn() -> usize) -> usize {
    gather_within(GATHERING, len)
}

fn gather_within(limit: Duration, len: impl Fn() -> usize) -> usize {
    let begun = now();
    let (mut pauses, mut seen) = (8, 0);
    loop {
        (0..pauses).for_each(|_| std::hint::spin_loop());
        let gathered = len();
        if gathered < seen + (pauses / 16).max(1) || begun.elapsed() >= limit {
            return gathered;
        }
        (pauses, seen) = ((2 * pauses).min(64), gathered);
    }
}

/// Half of what a completion may be held back so that it can be one of a group (`lane/pocket.rs`).
const GATHERING: Duration = Duration::from_micros(25);

fn spin_between<V, const N: usize>(
    spins: [u32; N],
    mut look: impl FnMut() -> Option<V>,
) -> Option<V> {
    spins.into_iter().find_map(|spins| {
        let found = look();
        if found.is_none() {
            (0..spins).for_each(|_| std::hint::spin_loop());
        }
        found
    })
}

fn yield_between<V>(yields: u32, mut look: impl FnMut() -> Option<V>) -> Option<V> {
    for _ in 0..yields {
        if let Some(found) = look() {
            return Some(found);
        }
        std::thread::yield_now();
    }
    look()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    const HOUR: Duration = Duration::from_secs(3600);

    /// What has gathered, and in how many looks, where each of the first looks finds so much more.
    fn gathered(limit: Duration, more: usize, first: usize) -> (usize, usize) {
        let looks = Cell::new(0);
        let gathered = gather_within(limit, || {
            looks.set(looks.get() + 1);
            more * looks.get().min(first)
        });
        (gathered, looks.get())
    }

    #[test]
    fn work_gathers_while_it_comes_fast() {
        assert_eq!(gathered(HOUR, 4, 0), (0, 1));
        assert_eq!(gathered(HOUR, 4, 100), (400, 101));
        // One each in 8, in 16 and in 32 pauses, of which the last is too little.
        assert_eq!(gathered(HOUR, 1, 100), (3, 3));
    }

    #[test]
    fn work_gathers_no_longer_than_it_may() {
        assert_eq!(gathered(Duration::ZERO, 4, 100), (4, 1));
        let begun = now();
        gather(|| begun.elapsed().as_nanos() as usize);
        assert!(begun.elapsed() >= GATHERING);
    }
}
