//! When a batch stops because of its failures.

use crate::reason::GiveUpReason;
use crate::stats::Counts;

/// When a batch stops because jobs of it failed. What counts is jobs that gave up, with their retries used up, or panicked; not those
/// that were cancelled or had no time left.
///
/// When it stops, nothing more begins: what is queued or parked comes out as [`FailFast`](GiveUpReason::FailFast) with its input, what
/// runs is told to stop and comes out as it ends, blocked senders get their input back.
///
/// ```
/// use retry_pool::{FailFast, GiveUpReason, RetryPolicy, RetryPool};
///
/// let pool = RetryPool::with_threads(1);
/// let report = pool.batch(0..1_000_000, |n| if *n == 3 { Err("three") } else { Ok(*n) })
///     .retry(RetryPolicy::never())
///     .fail_fast(FailFast::AfterFailures(1))
///     .run();
/// assert_eq!(report.first_failure().map(|done| *done.input()), Some(3));
/// assert_eq!(report.succeeded().len(), 3);
/// assert!(report.gave_up()[1..].iter().all(|done| done.result().unwrap_err().reason() == GiveUpReason::FailFast));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub enum FailFast {
    /// Never: every job is tried. The default.
    #[default]
    Never,
    /// At the *n*-th failure; at least 1.
    AfterFailures(u64),
    /// When this share of the jobs that ended has failed, from 0 (not included) to 1, and at least `min_done` have ended.
    AfterRate {
        /// Failed jobs by ended jobs.
        ratio: f64,
        /// Before that many have ended, the share says little.
        min_done: u64,
    },
}

impl FailFast {
    /// What is wrong with it, if anything is.
    pub(crate) fn fault(self) -> Option<String> {
        match self {
            Self::AfterFailures(0) => Some(String::from(
                "fail_fast is AfterFailures(0): a batch stops at its first failure at the earliest",
            )),
            Self::AfterRate { ratio, .. } if !(ratio > 0.0 && ratio <= 1.0) => Some(format!(
                "the ratio of fail_fast is {ratio}: it must be over 0 and at most 1"
            )),
            _ => None,
        }
    }

    /// Is it time to stop?
    pub(super) fn trips(self, failures: &Failures, done: impl FnOnce() -> u64) -> bool {
        let failed = failures.total;
        match self {
            _ if failed == 0 => false,
            Self::Never => false,
            Self::AfterFailures(limit) => failed >= limit,
            Self::AfterRate { ratio, min_done } => {
                let done = done();
                done >= min_done && failed as f64 >= ratio * done as f64
            }
        }
    }
}

/// The failures of a batch so far.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    pub(super) total: u64,
    /// The index of the job that failed first.
    pub(super) first: Option<usize>,
}

impl Failures {
    /// Notes how a job has ended.
    pub(super) fn note(&mut self, index: usize, reason: GiveUpReason) {
        if is_failure(reason) {
            self.total += 1;
            self.first.get_or_insert(index);
        }
    }
}

/// Did the job fail by itself?
pub(crate) fn is_failure(reason: GiveUpReason) -> bool {
    match reason {
        GiveUpReason::Permanent
        | GiveUpReason::AttemptsExhausted
        | GiveUpReason::ElapsedExhausted
        | GiveUpReason::BudgetExhausted
        | GiveUpReason::Panicked => true,
        GiveUpReason::DeadlineExceeded
        | GiveUpReason::Cancelled
        | GiveUpReason::FailFast
        | GiveUpReason::Shutdown => false,
    }
}

/// How many jobs have ended.
pub(super) fn done(counts: &Counts, succeeded: u64) -> u64 {
    counts.given_up() + succeeded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_its_minimum() {
        let rate = FailFast::AfterRate {
            ratio: 0.5,
            min_done: 4,
        };
        let trips = |failed: u64, done: u64| {
            let mut failures = Failures::default();
            (0..failed).for_each(|n| failures.note(n as usize, GiveUpReason::Panicked));
            failures.note(9, GiveUpReason::Cancelled);
            rate.trips(&failures, || done)
        };
        assert_eq!(
            [trips(1, 1), trips(3, 3), trips(2, 4), trips(2, 5)],
            [false, false, true, false]
        );
        assert!(!trips(0, 0));
    }

    #[test]
    fn nothing_trips_without_a_failure() {
        let rate = FailFast::AfterRate {
            ratio: 0.5,
            min_done: 0,
        };
        for rule in [FailFast::Never, FailFast::AfterFailures(1), rate] {
            assert!(!rule.trips(&Failures::default(), || 0));
        }
    }
}
