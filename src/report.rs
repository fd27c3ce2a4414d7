//! What a batch came to, and how far it is on the way.

use std::fmt;
use std::time::Duration;

use crate::completion::Completion;
use crate::lane::{Tally, is_failure};
use crate::unwind;

/// How far a batch has come; by [`AsCompleted::progress`](crate::AsCompleted::progress).
///
/// ```
/// # use retry_pool::RetryPool;
/// # let pool = RetryPool::with_threads(2);
/// let mut batch = pool.batch(0..3, |n| Ok::<_, String>(*n)).as_completed();
/// while batch.next().is_some() {}
/// let progress = batch.progress();
/// assert_eq!((progress.accepted(), progress.succeeded(), progress.delivered()), (3, 3, 3));
/// assert!(!progress.input_left());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    tally: Tally,
    delivered: u64,
    input_left: bool,
}

impl Progress {
    pub(crate) fn new(tally: Tally, delivered: u64, input_left: bool) -> Self {
        Self {
            tally,
            delivered,
            input_left,
        }
    }

    /// Jobs admitted so far, resubmissions included.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.tally.accepted
    }

    /// Jobs that settled with success.
    #[must_use]
    pub fn succeeded(&self) -> u64 {
        self.tally.succeeded
    }

    /// Jobs that settled without success.
    #[must_use]
    pub fn gave_up(&self) -> u64 {
        self.tally.gave_up
    }

    /// Attempts after the first.
    #[must_use]
    pub fn retries(&self) -> u64 {
        self.tally.retries
    }

    /// Completions that the iterator has yielded.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Jobs that were admitted and have not been yielded yet.
    #[must_use]
    pub fn undelivered(&self) -> u64 {
        self.tally.accepted - self.delivered
    }

    /// Is the input not exhausted? True while there may be more to pull, and for good in a batch that was cut off (cancelled,
    /// or its pool closed) before it had seen the end of its input.
    #[must_use]
    pub fn input_left(&self) -> bool {
        self.input_left
    }
}

/// What a whole batch came to; by [`Batch::run`](crate::Batch::run).
///
/// It keeps every result. For an endless or very large input iterate instead.
pub struct BatchReport<I, T, E> {
    succeeded: Vec<(usize, T)>,
    gave_up: Vec<Completion<I, T, E>>,
    attempts: u64,
    elapsed: Duration,
    input_left: bool,
    first_failure: Option<usize>,
}

impl<I, T, E> BatchReport<I, T, E> {
    pub(crate) fn new() -> Self {
        Self {
            succeeded: Vec::new(),
            gave_up: Vec::new(),
            attempts: 0,
            elapsed: Duration::ZERO,
            input_left: false,
            first_failure: None,
        }
    }

    pub(crate) fn add(&mut self, done: Completion<I, T, E>) {
        self.attempts += u64::from(done.attempts());
        let index = done.index();
        if done.result().is_err() {
            self.gave_up.push(done);
            return;
        }
        let (input, result) = done.into_parts();
        unwind::discard(input);
        if let Ok(value) = result {
            self.succeeded.push((index, value));
        }
    }

    /// Ends the collecting.
    pub(crate) fn finish(
        mut self,
        elapsed: Duration,
        input_left: bool,
        first_failure: Option<usize>,
    ) -> Self {
        self.succeeded.sort_unstable_by_key(|(index, _)| *index);
        self.gave_up.sort_unstable_by_key(Completion::index);
        Self {
            elapsed,
            input_left,
            first_failure,
            ..self
        }
    }

    /// The values of the jobs that succeeded, with the index of their input, in the order of the input.
    #[must_use]
    pub fn succeeded(&self) -> &[(usize, T)] {
        &self.succeeded
    }

    /// The jobs that did not succeed, in the order of the input.
    pub fn gave_up(&self) -> &[Completion<I, T, E>] {
        &self.gave_up
    }

    /// The job that failed first, by the time of its end: with [`fail_fast`](crate::Batch::fail_fast), why the batch stopped. Jobs that were
    /// cancelled or had no time left did not fail.
    #[must_use]
    pub fn first_failure(&self) -> Option<&Completion<I, T, E>> {
        let index = self.first_failure?;
        let place = self.gave_up.binary_search_by_key(&index, Completion::index);
        self.gave_up.get(place.ok()?)
    }

    /// The jobs that failed by themselves, in the order of the input: those that gave up or panicked, not those that were cancelled, had no
    /// time left or were stopped by another's failure.
    pub fn failures(&self) -> impl Iterator<Item = &Completion<I, T, E>> {
        self.gave_up.iter().filter(|done| {
            done.result()
                .is_err_and(|give_up| is_failure(give_up.reason()))
        })
    }

    /// Both by value: what succeeded, and what did not.
    #[must_use]
    pub fn into_parts(self) -> (Vec<(usize, T)>, Vec<Completion<I, T, E>>) {
        (self.succeeded, self.gave_up)
    }

    /// How many jobs were accepted: all that are in one of the two lists.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.succeeded.len() + self.gave_up.len()
    }

    /// All attempts of all jobs.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        self.attempts
    }

    /// The time from the batch's start to its end.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }

    /// Was the batch cut off (its pool closed) before it had seen the end of its input?
    #[must_use]
    pub fn input_left(&self) -> bool {
        self.input_left
    }

    /// Did every input succeed, with none left?
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.gave_up.is_empty() && !self.input_left
    }
}

impl<I, T, E> fmt::Debug for BatchReport<I, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchReport")
            .field("succeeded", &self.succeeded.len())
            .field("gave_up", &self.gave_up.len())
            .field("attempts", &self.attempts)
            .field("elapsed", &self.elapsed)
            .field("input_left", &self.input_left)
            .finish()
    }
}
