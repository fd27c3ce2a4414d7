//! When a worker with a token reads the clock.

use crate::clock::Nanos;
use crate::lane::TINY;

/// While jobs are tiny, the clock is read after so many only. Untimed successes get the time of the next
/// reading, which is also made when the lane is empty and when the iterator collects. So a time is late by less than `UNREAD`
/// tiny jobs, or, where long jobs follow on tiny ones without a gap, by the first few of those.
const UNREAD: u32 = 8;

/// When to read the clock.
pub(super) struct Pace {
    last: Nanos,
    pub(super) unread: u32,
    each: Nanos,
}

impl Pace {
    pub(super) fn new(now: Nanos) -> Self {
        Self {
            last: now,
            unread: 0,
            each: Nanos::MAX,
        }
    }

    /// The last reading.
    pub(super) fn last(&self) -> Nanos {
        self.last
    }

    /// How long each job took when that was last looked at.
    pub(super) fn each(&self) -> Nanos {
        self.each
    }

    /// The time after a job: `read` if somebody has looked already, or a new reading if one is due.
    pub(super) fn after_job(
        &mut self,
        read: Option<Nanos>,
        clock: impl FnOnce() -> Nanos,
    ) -> Option<Nanos> {
        self.unread += 1;
        if read.is_none() && self.unread < UNREAD && self.each < TINY {
            return None;
        }
        let now = read.unwrap_or_else(clock);
        *self = Self {
            last: now,
            unread: 0,
            each: now.saturating_sub(self.last) / Nanos::from(self.unread),
        };
        Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_read_after_every_job_unless_jobs_are_tiny() {
        let mut pace = Pace::new(0);
        let mut readings = |jobs: u32, length: Nanos| {
            let mut now = 0;
            let read = |_: &u32| {
                now += length;
                pace.after_job(None, || now).is_some()
            };
            (0..jobs).filter(read).count()
        };
        assert_eq!(readings(64, 100_000), 64);
        assert_eq!(readings(65, 0), 9);
    }

    #[test]
    fn jobs_are_tiny_if_each_takes_less_than_two_microseconds() {
        for (length, tiny) in [(TINY - 1, true), (TINY, false)] {
            let mut pace = Pace::new(7);
            assert!(pace.each() >= TINY);
            // One is looked at, and then as many as go unread.
            for jobs in [1, UNREAD] {
                let now = pace.last() + Nanos::from(jobs) * length;
                let read = (0..jobs).position(|_| pace.after_job(None, || now) == Some(now));
                assert_eq!(
                    (read, pace.last()),
                    (Some(if tiny { jobs as usize - 1 } else { 0 }), now)
                );
                assert_eq!(pace.each() < TINY, tiny);
            }
        }
    }

    #[test]
    fn the_length_of_a_job_is_an_equal_share_of_what_was_read() {
        let mut pace = Pace::new(100);
        let mut after = |jobs: u32, now: Nanos| {
            let read = (0..jobs).filter_map(|_| pace.after_job(None, || now));
            assert_eq!(read.count(), 1);
            pace.each()
        };
        assert_eq!([after(1, 900), after(UNREAD, 2_500)], [800, 200]);
    }
}
