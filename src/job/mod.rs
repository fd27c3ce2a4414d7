//! Single jobs.

use std::task::Waker;

use crate::give_up::GiveUp;
use crate::slot::Look;
use crate::sync::Arc;

mod cell;
mod desk;
mod slab;
mod todo;

pub(crate) use desk::place;
pub(crate) use slab::Slab;
pub(crate) use todo::{Callable, Limited, Options, Plain, SharedFn, Tuned};

/// Where a job is; by [`JobHandle::state`](crate::JobHandle::state).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobState {
    /// Waits for a worker.
    Queued,
    /// Waits until it is due: its delay or the backoff of a retry.
    Parked,
    /// An attempt runs.
    Running,
    /// Has ended.
    Settled,
}

/// Single jobs as their handles see them: the jobs' own type is gone. `at` says which one is meant.
pub(crate) trait Pending<T, E>: Send + Sync {
    fn try_take(&self, at: u32) -> Look<Result<T, GiveUp<E>>>;
    fn poll(&self, at: u32, waker: &Waker) -> Look<Result<T, GiveUp<E>>>;
    /// Nobody asks for the result any more. To be called last.
    fn leave(&self, at: u32);
    fn is_settled(&self, at: u32) -> bool;
    fn state(&self, at: u32) -> JobState;
    /// False if the job had settled.
    fn cancel(&self, at: u32) -> bool;
    fn attempts(&self, at: u32) -> u32;
    fn name(&self) -> Option<&str>;
}

/// What a handle has: the job, and those that may share its memory.
pub(crate) type Reference<'p, T, E> = (Arc<dyn Pending<T, E> + 'p>, u32);
