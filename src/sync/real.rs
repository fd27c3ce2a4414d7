//! What runs in production: the standard library, parking_lot and crossbeam.

use std::time::{Duration, Instant};

pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded};
pub(crate) use num_cpus::get as processors;
pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, fence};
pub(crate) use std::{thread, thread_local};

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
/// up to 64 (1.6 µs); ends when less than one was added in 16 pauses, and after [`GATHERING`].
pub(crate) fn gather(len: impl Fn() -> usize) -> usize {
    let begun = now();
    let (mut pauses, mut seen) = (8, 0);
    loop {
        (0..pauses).for_each(|_| std::hint::spin_loop());
        let gathered = len();
        if gathered < seen + (pauses / 16).max(1) || begun.elapsed() >= GATHERING {
            return gathered;
        }
        (pauses, seen) = ((2 * pauses).min(64), gathered);
    }
}

/// Half of what a job may be held back so that it can be one of a group.
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

    #[test]
    fn work_gathers_while_it_comes_and_no_longer_than_it_may() {
        let looks = Cell::new(0);
        let comes = |last: usize| {
            looks.set(0);
            let begun = now();
            let gathered = gather(|| {
                looks.set(looks.get() + 1);
                4 * looks.get().min(last)
            });
            (gathered, begun.elapsed())
        };
        assert_eq!((comes(0).0, looks.get()), (0, 1));
        assert_eq!((comes(3).0, looks.get()), (12, 4));
        let (gathered, took) = comes(usize::MAX);
        assert!(took >= GATHERING && gathered >= 4, "{gathered} in {took:?}");
    }

    #[test]
    fn work_that_comes_slowly_does_not_gather() {
        let looks = Cell::new(0);
        let gathered = gather(|| {
            looks.set(looks.get() + 1);
            looks.get()
        });
        // One each in 8, in 16 and in 32 pauses, of which the last is too little.
        assert_eq!(gathered, 3);
    }
}
