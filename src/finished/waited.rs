//! Waiting until enough of many jobs have settled, and what comes of it.

use std::time::Duration;

use super::as_completed;
use crate::clock::deadline_after;
use crate::give_up::GiveUp;
use crate::handle::JobHandle;
use crate::sync::now;

/// Blocks until one job has settled, one has given up, or all have settled, as `until` says, but not longer than `timeout`, counted
/// from the call (`None` and [`Duration::MAX`]: without a limit). Returns at once if there are no handles.
///
/// # Panics
/// If the result of a handle has been taken already, as for [`as_completed`].
///
/// ```
/// use std::time::Duration;
/// use retry_pool::{RetryPool, Until, wait_for};
///
/// let pool = RetryPool::with_threads(2);
/// let (sender, gate) = std::sync::mpsc::channel();
/// let slow = pool.submit(move || gate.recv());
/// let quick = pool.submit(|| Ok(2));
///
/// let waited = wait_for([slow, quick], Until::First, Some(Duration::from_secs(60)));
/// assert_eq!((waited.done[0].index(), waited.pending.len()), (1, 1));
/// sender.send(1).unwrap();
/// let waited = wait_for(waited.pending, Until::All, None);
/// assert_eq!((waited.done.len(), waited.pending.len()), (1, 0));
/// ```
#[must_use = "dropping what it returns detaches the pending jobs, and drops the results of the others"]
pub fn wait_for<T, E>(
    handles: impl IntoIterator<Item = JobHandle<T, E>>,
    until: Until,
    timeout: Option<Duration>,
) -> Waited<T, E> {
    let deadline = timeout.and_then(deadline_after);
    let mut all = as_completed(handles);
    let mut done = Vec::new();
    while let Ok(Some(finished)) = all.next_until(deadline) {
        let enough = match until {
            Until::First => true,
            Until::FirstError => finished.result().is_err(),
            Until::All => false,
        };
        done.push(finished);
        // Jobs may settle faster than they are collected: then there is always a next one.
        let late = || all.ready.is_empty() && deadline.is_some_and(|end| now() >= end);
        if enough || late() {
            break;
        }
    }
    let mut waited = all.into_waited();
    done.append(&mut waited.done);
    Waited { done, ..waited }
}

/// What [`wait_for`] waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Until {
    /// One job has settled, with success or without.
    First,
    /// One job has given up; if none does, all have settled.
    FirstError,
    /// All jobs have settled.
    All,
}

/// Jobs that were waited for; by [`wait_for`] and [`HandlesCompleted::into_waited`](crate::HandlesCompleted::into_waited).
#[derive(Debug)]
#[must_use = "dropping the pending handles detaches their jobs"]
pub struct Waited<T, E> {
    /// What has settled: all of it, also where the wait was for one. What had settled before comes first, in the order given, then the others in
    /// the order in which they settled.
    pub done: Vec<Finished<T, E>>,
    /// The handles of the others, in the order given. They are as good as new.
    pub pending: Vec<JobHandle<T, E>>,
}

/// A job that has settled, and what came of it; by [`as_completed`] and [`wait_for`].
///
/// ```
/// # use retry_pool::{RetryPool, as_completed};
/// # let pool = RetryPool::with_threads(1);
/// let handle = pool.job(|| "7".parse::<u32>()).name("parse").submit();
/// let done = as_completed([handle]).next().unwrap();
/// assert_eq!((done.index(), done.name(), done.attempts()), (0, Some("parse"), 1));
/// assert_eq!(done.into_result().unwrap(), 7);
/// ```
#[derive(Debug)]
#[must_use = "a job that is dropped was not looked at: it may hold an error"]
pub struct Finished<T, E> {
    index: usize,
    name: Option<Box<str>>,
    attempts: u32,
    result: Result<T, GiveUp<E>>,
}

impl<T, E> Finished<T, E> {
    pub(super) fn new(
        index: usize,
        handle: &JobHandle<T, E>,
        result: Result<T, GiveUp<E>>,
    ) -> Self {
        Self {
            index,
            name: handle.name().map(Box::from),
            attempts: handle.attempts(),
            result,
        }
    }

    /// The position of the job's handle, from 0, in the order in which handles were given and added.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// The name of the job, if it was given one by [`Job::name`](crate::Job::name).
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// How many attempts were made; 0 if the job never ran.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What came of the job.
    ///
    /// # Errors
    /// The [`GiveUp`] of a job that ended without success.
    pub fn result(&self) -> Result<&T, &GiveUp<E>> {
        self.result.as_ref()
    }

    /// What came of the job, by value.
    ///
    /// # Errors
    /// The [`GiveUp`] of a job that ended without success.
    pub fn into_result(self) -> Result<T, GiveUp<E>> {
        self.result
    }
}
