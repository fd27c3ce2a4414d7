//! Counting what happens, without a counter that all threads share.
//!
//! Every worker and every batch has its own set of counts on cache lines of its own; a batch's successes and retries are
//! counted by the workers. A set is written by one thread at a
//! time (a worker by itself, a batch under its lock), except the one for callers, whose writes are atomic additions.
//! Reading adds all of them up, the settled ones first: a job is accepted before it settles, so the sum never shows more
//! jobs settled than accepted.

use crate::reason::GiveUpReason;
use crate::sync::{AtomicU64, Ordering};

/// One set of counts.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) accepted: Count,
    /// Of those, the ones that were refused after all.
    pub(crate) refused: Count,
    pub(crate) succeeded: Count,
    pub(crate) retries: Count,
    gave_up: [Count; GiveUpReason::COUNT],
}

#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// For a count with one writer at a time.
    #[inline]
    pub(crate) fn bump(&self, n: u64) {
        // ORDERING: Release, with the Acquire in `get`: who sees a job settled sees it accepted, too.
        self.0.store(self.get() + n, Ordering::Release);
    }

    /// For a count with many writers: returns the value before.
    pub(crate) fn add(&self, n: u64) -> u64 {
        // ORDERING: see `bump`; SeqCst, because `Crew::admit` looks at the phase after it.
        self.0.fetch_add(n, Ordering::SeqCst)
    }

    #[inline]
    pub(crate) fn get(&self) -> u64 {
        // ORDERING: see `bump`.
        self.0.load(Ordering::Acquire)
    }
}

impl Counts {
    pub(crate) fn gave_up(&self, reason: GiveUpReason) -> &Count {
        &self.gave_up[reason as usize]
    }

    pub(crate) fn given_up(&self) -> u64 {
        self.gave_up.iter().map(Count::get).sum()
    }
}

/// What a pool has done so far; a snapshot by [`RetryPool::stats`](crate::RetryPool::stats).
///
/// Once nothing runs, `accepted == succeeded + gave_up`. While jobs run, the counts belong to slightly different moments,
/// but never show more jobs settled than accepted.
///
/// ```
/// use retry_pool::{GiveUpReason, RetryPolicy, RetryPool};
///
/// let pool = RetryPool::with_threads(2);
/// pool.batch(0..10, |n| if *n == 7 { Err("seven") } else { Ok(*n) })
///     .retry(RetryPolicy::immediate().max_attempts(5))
///     .run();
/// let stats = pool.stats();
/// assert_eq!((stats.accepted(), stats.succeeded(), stats.gave_up(), stats.retries()), (10, 9, 1, 4));
/// assert_eq!(stats.gave_up_as(GiveUpReason::AttemptsExhausted), 1);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    accepted: u64,
    succeeded: u64,
    retries: u64,
    gave_up: [u64; GiveUpReason::COUNT],
    threads: usize,
    spare_threads: usize,
    stuck_threads: usize,
}

impl Stats {
    pub(crate) fn set_threads(&mut self, threads: usize, spare: usize, stuck: usize) {
        self.threads = threads;
        self.spare_threads = spare;
        self.stuck_threads = stuck;
    }

    /// Adds what was counted by those that are gone.
    pub(crate) fn add(&mut self, past: &Self) {
        self.accepted += past.accepted;
        self.succeeded += past.succeeded;
        self.retries += past.retries;
        for (sum, count) in self.gave_up.iter_mut().zip(past.gave_up) {
            *sum += count;
        }
    }

    /// Adds all but the accepted jobs, which are to be read after everything else.
    pub(crate) fn add_outcomes(&mut self, counts: &Counts) {
        self.succeeded += counts.succeeded.get();
        self.retries += counts.retries.get();
        for (sum, count) in self.gave_up.iter_mut().zip(&counts.gave_up) {
            *sum += count.get();
        }
    }

    pub(crate) fn add_accepted(&mut self, counts: &Counts) {
        // First, so that none is missing among the accepted ones.
        let refused = counts.refused.get();
        self.accepted += counts.accepted.get() - refused;
    }

    /// Jobs accepted: single jobs, inputs of batches that were admitted, and resubmissions.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Jobs that settled with success. A batch's success is counted a moment before its iteration can yield it.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.succeeded
    }

    /// Jobs that settled without success, for whatever reason.
    #[must_use]
    pub fn gave_up(&self) -> u64 {
        self.gave_up.iter().sum()
    }

    /// Jobs that settled for this reason.
    #[must_use]
    pub fn gave_up_as(&self, reason: GiveUpReason) -> u64 {
        self.gave_up[reason as usize]
    }

    /// Attempts after the first, of all jobs.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.retries
    }

    /// Jobs that were accepted and have not settled: queued, parked or running.
    #[must_use]
    pub fn unsettled(&self) -> u64 {
        self.accepted
            .saturating_sub(self.succeeded + self.gave_up())
    }

    /// The number of workers that the pool was built with.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Workers beyond [`threads`](Self::threads): one for each job that waits for others, and one for each stuck attempt that was
    /// replaced. They end when they are not needed any more.
    #[must_use]
    pub fn spare_threads(&self) -> usize {
        self.spare_threads
    }

    /// Workers whose attempt was abandoned by its `attempt_timeout` and has not returned yet. Those beyond
    /// [`max_stuck`](crate::RetryPoolBuilder::max_stuck) are not replaced: where this figure is the greater one, the pool works with fewer
    /// threads than it should.
    #[must_use]
    pub fn stuck_threads(&self) -> usize {
        self.stuck_threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_the_past_are_added_to_the_others() {
        let counts = Counts::default();
        counts.accepted.bump(20);
        counts.refused.bump(1);
        counts.succeeded.bump(7);
        counts.retries.bump(5);
        counts.gave_up(GiveUpReason::Panicked).bump(3);
        let mut stats = Stats::default();
        stats.add_outcomes(&counts);
        stats.add_accepted(&counts);
        let past = stats;
        stats.add(&past);
        assert_eq!(
            (stats.accepted(), stats.succeeded(), stats.retries()),
            (38, 14, 10)
        );
        assert_eq!(stats.gave_up_as(GiveUpReason::Panicked), 6);
        assert_eq!((stats.gave_up(), stats.unsettled()), (6, 18));
    }
}

#[cfg(all(test, rp_loom))]
mod models {
    use super::*;
    use crate::sync::loom::{check, spawn};
    use crate::sync::{Arc, unbounded};

    #[test]
    fn a_snapshot_never_shows_more_settled_than_accepted() {
        check(&["nothing", "accepted", "settled"], |sides| {
            let callers = Arc::new(Counts::default());
            let worker = Arc::new(Counts::default());
            let (work, channel) = unbounded();
            let works = spawn({
                let (callers, worker) = (Arc::clone(&callers), Arc::clone(&worker));
                move || {
                    if channel.recv().is_ok() {
                        worker.succeeded.bump(1);
                    }
                    drop(callers);
                }
            });
            let reads = spawn({
                let (callers, worker) = (Arc::clone(&callers), Arc::clone(&worker));
                move || {
                    let mut stats = Stats::default();
                    stats.add_outcomes(&worker);
                    stats.add_outcomes(&callers);
                    stats.add_accepted(&callers);
                    (stats.accepted(), stats.succeeded())
                }
            });
            callers.accepted.add(1);
            work.send(()).unwrap();
            sides.saw(match reads.join().unwrap() {
                (0, 0) => "nothing",
                (1, 0) => "accepted",
                (1, 1) => "settled",
                seen => panic!("(accepted, succeeded) = {seen:?}"),
            });
            works.join().unwrap();
        });
    }

    #[test]
    fn a_job_that_is_refused_after_all_is_never_missing_among_the_accepted() {
        check(&["before", "between", "after"], |sides| {
            let callers = Arc::new(Counts::default());
            let caller = spawn({
                let callers = Arc::clone(&callers);
                move || {
                    callers.accepted.add(1);
                    callers.refused.add(1);
                }
            });
            let refused = callers.refused.get();
            let mut stats = Stats::default();
            stats.add_accepted(&callers);
            sides.saw(match (refused, stats.accepted()) {
                (0, 1) => "between",
                (0, 0) => "before",
                (1, 0) => "after",
                seen => panic!("(refused, accepted) = {seen:?}"),
            });
            caller.join().unwrap();
        });
    }
}
