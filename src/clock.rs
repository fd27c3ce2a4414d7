//! Time as nanoseconds since a pool was built: eight bytes, and arithmetic that saturates.

use std::time::{Duration, Instant};

use crate::sync;

/// Nanoseconds since the pool was built. `u64::MAX` (584 years) means never.
pub(crate) type Nanos = u64;

/// A duration in nanoseconds, `u64::MAX` for any that is longer than 584 years.
#[inline]
pub(crate) fn nanos(duration: Duration) -> Nanos {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(u64::from(duration.subsec_nanos()))
}

/// The monotonic clock of one pool.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    epoch: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { epoch: sync::now() }
    }

    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        self.at(sync::now())
    }

    /// The time of `instant`; 0 for one before the pool was built.
    #[inline]
    pub(crate) fn at(&self, instant: Instant) -> Nanos {
        nanos(instant.saturating_duration_since(self.epoch))
    }

    /// The instant of `at`, or `None` where the platform's clock cannot name it: never.
    pub(crate) fn instant(&self, at: Nanos) -> Option<Instant> {
        if at == Nanos::MAX {
            return None;
        }
        self.epoch.checked_add(Duration::from_nanos(at))
    }
}

/// The instant `timeout` from now, or `None` where the platform's clock cannot name it: no limit.
pub(crate) fn deadline_after(timeout: Duration) -> Option<Instant> {
    sync::now().checked_add(timeout)
}

#[cfg(test)]
impl Clock {
    /// One that stands still at 0 for so long.
    pub(crate) fn standing_for(time: Duration) -> Self {
        Self {
            epoch: sync::now() + time,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_duration_means_never() {
        let clock = Clock::new();
        assert_eq!(nanos(Duration::MAX), u64::MAX);
        assert_eq!(clock.instant(nanos(Duration::MAX)), None);
        assert!(clock.instant(1).is_some());
    }
}
