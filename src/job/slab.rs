//! Single jobs that share an allocation.

use std::task::Waker;

use super::cell::{Cell, SingleJob};
use super::todo::Callable;
use super::{JobState, Pending, Reference};
use crate::cancel::CancelToken;
use crate::clock::Nanos;
use crate::crew::{Crew, Next, Piece, SharedWork, WHOLE, Work};
use crate::give_up::GiveUp;
use crate::reason::GiveUpReason;
use crate::roster::{Post, Stuck};
use crate::slot::Look;
use crate::sync::{Arc, Weak, array_of};

/// Jobs are placed in a slab for four seconds: each has 32 bits for the time that it was accepted later than the first.
pub(super) const OPEN_FOR: Nanos = u32::MAX as Nanos;

/// `N` jobs of one type, shared by the pool and their handles.
pub(crate) struct Slab<'p, J, T, E, const N: usize> {
    /// Weak, so that no value of the pool outlives it for the sake of a handle. Once it is gone, every job has settled.
    crew: Weak<Crew<'p>>,
    /// When its first job was accepted.
    since: Nanos,
    /// Boxed, because most jobs have none. Only one that is by itself has.
    name: Option<Box<Arc<str>>>,
    cells: [Cell<J, T, E>; N],
}

impl<'p, J, T, E> Slab<'p, J, T, E, 1> {
    /// A job by itself.
    pub(crate) fn single(
        crew: &Arc<Crew<'p>>,
        name: Option<Arc<str>>,
        job: J,
        accepted: Nanos,
        number: u32,
    ) -> Self {
        Self::of_one(crew, accepted, name, Cell::new(job, number))
    }

    /// A job that was not accepted.
    pub(crate) fn refused(crew: &Arc<Crew<'p>>, name: Option<Arc<str>>) -> Self {
        Self::of_one(crew, 0, name, Cell::refused())
    }

    fn of_one(
        crew: &Arc<Crew<'p>>,
        since: Nanos,
        name: Option<Arc<str>>,
        cell: Cell<J, T, E>,
    ) -> Self {
        Self {
            crew: Arc::downgrade(crew),
            since,
            name: name.map(Box::new),
            cells: [cell],
        }
    }
}

impl<'p, J, T, E, const N: usize> Slab<'p, J, T, E, N> {
    /// To be filled; the first job is accepted now.
    pub(super) fn vacant(crew: &Arc<Crew<'p>>, since: Nanos) -> Self {
        Self {
            crew: Arc::downgrade(crew),
            since,
            name: None,
            cells: array_of!(Cell::vacant(); N),
        }
    }

    /// Fills a place; not later than [`OPEN_FOR`] after the first job was accepted.
    pub(super) fn fill(&self, at: u32, job: J, accepted: Nanos, number: u32) {
        let later = accepted.saturating_sub(self.since);
        debug_assert!(later <= OPEN_FOR, "the desk is to see to that");
        let later = u32::try_from(later).unwrap_or(u32::MAX);
        self.cell(at).fill(job, later, number);
    }

    pub(super) fn cell(&self, at: u32) -> &Cell<J, T, E> {
        &self.cells[at as usize]
    }

    fn job<'a>(&'a self, at: u32, crew: &'a Crew<'p>) -> SingleJob<'a, 'p, J, T, E> {
        SingleJob {
            crew,
            name: self.name.as_deref(),
            since: self.since,
            cell: self.cell(at),
        }
    }
}

impl<'p, J, T, E, const N: usize> Slab<'p, J, T, E, N>
where
    J: Callable<'p, T, E> + 'p,
    T: Send + 'p,
    E: Send + 'p,
{
    #[cfg(all(test, not(any(rp_loom, rp_shuttle))))]
    pub(super) fn accepted(&self, at: u32, crew: &Crew<'p>) -> Nanos {
        self.job(at, crew).accepted()
    }

    /// One of the jobs, for the pool and for its handle.
    pub(super) fn both(self: Arc<Self>, at: u32) -> (SharedWork<'p>, Reference<'p, T, E>) {
        (Piece::new(Arc::clone(&self) as _, at), (self, at))
    }

    /// The only job.
    pub(crate) fn whole(self: Arc<Self>) -> (SharedWork<'p>, Reference<'p, T, E>) {
        self.both(WHOLE)
    }
}

impl<'p, J, T, E, const N: usize> Work<'p> for Slab<'p, J, T, E, N>
where
    J: Callable<'p, T, E>,
    T: Send,
    E: Send,
{
    fn run(&self, at: u32, crew: &Crew<'p>, post: &Arc<Post>) -> Next {
        self.job(at, crew).run(post)
    }

    fn give_up(&self, at: u32, crew: &Crew<'p>, reason: GiveUpReason) {
        self.job(at, crew).give_up(reason);
    }

    fn is_live(&self, at: u32) -> bool {
        !self.cell(at).slot.is_settled()
    }

    fn is_over(&self, at: u32, crew: &Crew<'p>) -> Option<GiveUpReason> {
        self.job(at, crew).is_over()
    }

    fn expire(&self, at: u32, crew: &Crew<'p>, attempt: u32) -> Option<Stuck> {
        self.job(at, crew).expire(attempt)
    }

    fn pass_deadline(&self, at: u32, crew: &Crew<'p>) -> (bool, Option<CancelToken>) {
        self.job(at, crew).pass_deadline()
    }
}

impl<'p, J, T, E, const N: usize> Pending<T, E> for Slab<'p, J, T, E, N>
where
    J: Callable<'p, T, E>,
    T: Send,
    E: Send,
{
    fn try_take(&self, at: u32) -> Look<Result<T, GiveUp<E>>> {
        self.cell(at).slot.try_take()
    }

    fn poll(&self, at: u32, waker: &Waker) -> Look<Result<T, GiveUp<E>>> {
        self.cell(at).slot.poll(waker)
    }

    fn leave(&self, at: u32) {
        self.cell(at).slot.leave();
    }

    fn is_settled(&self, at: u32) -> bool {
        self.cell(at).slot.is_settled()
    }

    fn state(&self, at: u32) -> JobState {
        let due = match self.cell(at).slot.peek(SingleJob::due) {
            Ok(0) => return JobState::Queued,
            Ok(due) => due,
            Err(true) => return JobState::Running,
            Err(false) => return JobState::Settled,
        };
        match self.crew.upgrade() {
            Some(crew) if due > crew.clock.now() => JobState::Parked,
            Some(_) => JobState::Queued,
            None => JobState::Settled,
        }
    }

    fn cancel(&self, at: u32) -> bool {
        // The pool is not kept alive, and so not ended here, for the sake of a job that has settled.
        if self.is_settled(at) {
            return false;
        }
        let crew = self.crew.upgrade();
        crew.is_some_and(|crew| self.job(at, &crew).cancel())
    }

    fn attempts(&self, at: u32) -> u32 {
        self.cell(at).attempts()
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref().map(|name| &**name)
    }
}
