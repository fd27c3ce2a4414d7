//! What runs in production: the standard library, parking_lot and crossbeam.

use std::time::Instant;

pub(crate) use crossbeam_channel::{Receiver, Sender, unbounded};
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
/// what is waited for is often less than one away. Spins for about 100 ns, then offers the CPU to others three times.
pub(crate) fn look_before_sleep<V>(look: impl FnMut() -> Option<V>) -> Option<V> {
    look_between([8, 16, 32], 3, look)
}

/// As `look_before_sleep`, for a worker without work, whose sleep costs the next pusher a wake-up: spins for about 2 µs, then offers the
/// CPU to others four times.
pub(crate) fn search<V>(look: impl FnMut() -> Option<V>) -> Option<V> {
    look_between([1, 2, 4, 8, 16, 32, 64], 4, look)
}

fn look_between<V, const N: usize>(
    spins: [u32; N],
    yields: u32,
    mut look: impl FnMut() -> Option<V>,
) -> Option<V> {
    for spins in spins {
        if let Some(found) = look() {
            return Some(found);
        }
        (0..spins).for_each(|_| std::hint::spin_loop());
    }
    for _ in 0..yields {
        if let Some(found) = look() {
            return Some(found);
        }
        std::thread::yield_now();
    }
    look()
}
