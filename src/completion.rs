//! One settled job of a batch, as its caller gets it.

use std::fmt;
use std::time::Duration;

use crate::give_up::GiveUp;
use crate::lane::{Core, Settled};
use crate::sync::Arc;

/// A job of a batch that has settled: its input, its result and how it came about.
///
/// The input travels with it and can be taken out, or sent back to work by [`resubmit`](Self::resubmit). It may be kept as
/// long as one likes, also beyond the end of the iteration and of the pool; it does not keep the job function alive.
#[must_use = "a completion that is dropped was not looked at: it may hold an error"]
pub struct Completion<I, T, E> {
    settled: Settled<I, T, E>,
    core: Arc<Core<I, T, E>>,
}

impl<I, T, E> Completion<I, T, E> {
    pub(crate) fn new(settled: Settled<I, T, E>, core: Arc<Core<I, T, E>>) -> Self {
        Self { settled, core }
    }

    /// Drops the user's values one by one, since each may panic in its destructor.
    pub(crate) fn discard(self) {
        self.settled.discard();
    }

    /// The job's number in the order of acceptance, from 0: the position of its input, unless inputs were added or sent from
    /// elsewhere. A resubmitted job keeps it.
    #[must_use]
    pub fn index(&self) -> usize {
        self.settled.index
    }

    /// The job's input.
    #[must_use]
    pub fn input(&self) -> &I {
        self.settled.input.get()
    }

    /// How many attempts were made, those before a [`resubmit`](Self::resubmit) included; 0 if the job never ran.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.settled.attempts
    }

    /// The time from the job's acceptance to its end.
    ///
    /// For a failure it is exact. For a success the clock may be read once for a group: after jobs of less than 2 µs, a worker reads it
    /// again when it has run eight more or has no more to run, and the iterator when it looks. So the time is late by up to
    /// seven jobs, also where long ones follow on the tiny ones.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.settled.elapsed()
    }

    /// What came of the job.
    ///
    /// # Errors
    /// The [`GiveUp`] of a job that ended without success.
    pub fn result(&self) -> Result<&T, &GiveUp<E>> {
        self.settled.result.as_ref()
    }

    /// What came of the job, by value.
    ///
    /// # Errors
    /// The [`GiveUp`] of a job that ended without success.
    pub fn into_result(self) -> Result<T, GiveUp<E>> {
        self.settled.result
    }

    /// The job's input, by value; `None` where an attempt that was abandoned still holds it.
    #[must_use]
    pub fn into_input(self) -> Option<I> {
        self.settled.input.take()
    }

    /// The job's input, as by [`into_input`](Self::into_input), and what came of it, both by value.
    ///
    /// ```
    /// # use retry_pool::RetryPool;
    /// # let pool = RetryPool::with_threads(1);
    /// let done = pool.batch(["7"], |text| text.parse::<u32>()).as_completed().next().unwrap();
    /// let (input, result) = done.into_parts();
    /// assert_eq!((input, result.unwrap()), (Some("7"), 7));
    /// ```
    pub fn into_parts(self) -> (Option<I>, Result<T, GiveUp<E>>) {
        (self.settled.input.take(), self.settled.result)
    }

    /// Sends the job back to work at once: a new admission of the same input, which the running iteration yields again, and
    /// which makes an iteration go on that had ended. It never blocks. The attempt numbers go on, and the policy judges the
    /// next failure by the total; a job whose attempts are exhausted comes straight back to the caller when it fails again.
    ///
    /// In a batch that has ended (cancelled, dropped, or its pool closed) the completion is dropped and nothing is yielded, so
    /// that a loop that resubmits comes to its end; [`try_resubmit`](Self::try_resubmit) tells.
    ///
    /// ```
    /// # use retry_pool::{Attempt, RetryPolicy, RetryPool};
    /// # let pool = RetryPool::with_threads(2);
    /// let mut results = Vec::new();
    /// let flaky = |n: &u32| if Attempt::current().number() > *n { Ok(*n) } else { Err("again") };
    /// for done in pool.batch(0..4, flaky).retry(RetryPolicy::never()) {
    ///     match done.result() {
    ///         Ok(n) => results.push((*n, done.attempts())),
    ///         Err(_) => done.resubmit(),
    ///     }
    /// }
    /// results.sort();
    /// assert_eq!(results, [(0, 1), (1, 2), (2, 3), (3, 4)]);
    /// ```
    pub fn resubmit(self) {
        if let Err(refused) = self.try_resubmit() {
            refused.discard();
        }
    }

    /// As [`resubmit`](Self::resubmit), but says if the batch has ended.
    ///
    /// # Errors
    /// The completion itself, if the batch takes nothing more.
    pub fn try_resubmit(self) -> Result<(), Self> {
        let Self { settled, core } = self;
        core.resubmit(settled)
            .map_err(|settled| Self { settled, core })
    }
}

impl<I: fmt::Debug, T: fmt::Debug, E: fmt::Debug> fmt::Debug for Completion<I, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Completion")
            .field("index", &self.index())
            .field("input", self.input())
            .field("attempts", &self.attempts())
            .field("elapsed", &self.elapsed())
            .field("result", &self.settled.result)
            .finish()
    }
}
