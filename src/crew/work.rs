//! What the workers of a pool work on.

use super::Crew;
use crate::cancel::CancelToken;
use crate::clock::Nanos;
use crate::policy::Requeue;
use crate::reason::GiveUpReason;
use crate::roster::{Post, Stuck};
use crate::sync::{Arc, Weak};

/// What the work channel carries: single jobs, and tokens that say "help this batch". Jobs may share one of these (a slab of them):
/// then `at` says which one is meant. Else it is [`WHOLE`].
pub(crate) trait Work<'p>: Send + Sync {
    /// Runs on a worker. User code that panics is contained inside.
    fn run(&self, at: u32, crew: &Crew<'p>, post: &Arc<Post>) -> Next;

    /// Is it to be run in a stopped pool, too?
    fn outlasts_stop(&self) -> bool {
        false
    }

    /// Settles whatever has not begun, for this reason.
    fn give_up(&self, at: u32, crew: &Crew<'p>, reason: GiveUpReason);

    /// Why it is to end rather than to be parked, if so: it was cancelled, or the pool is closed and it does not outlast that.
    fn is_over(&self, _at: u32, _crew: &Crew<'p>) -> Option<GiveUpReason> {
        None
    }

    /// Can it still have something to do?
    fn is_live(&self, _at: u32) -> bool {
        true
    }

    /// The timer's call when the limit of an attempt has passed: gives the worker that is stuck with it. Runs no user code.
    fn expire(&self, _at: u32, _crew: &Crew<'p>, _attempt: u32) -> Option<Stuck> {
        None
    }

    /// The timer's call when the time for the whole job has passed. True if the work is to be settled by a worker; else the token of the
    /// attempt that runs, if one does. Runs no user code.
    fn pass_deadline(&self, _at: u32, _crew: &Crew<'p>) -> (bool, Option<CancelToken>) {
        (false, None)
    }
}

/// The place of what is not shared by several jobs.
pub(crate) const WHOLE: u32 = 0;

/// A reference to one piece of work. `R` is the reference to what it may share with others.
#[derive(Clone)]
pub(crate) struct Piece<R> {
    of: R,
    at: u32,
}

pub(crate) type SharedWork<'p> = Piece<Arc<dyn Work<'p> + 'p>>;
pub(crate) type WeakWork<'p> = Piece<Weak<dyn Work<'p> + 'p>>;

impl<R> Piece<R> {
    pub(crate) fn new(of: R, at: u32) -> Self {
        Self { of, at }
    }

    /// What nothing else shares.
    pub(crate) fn whole(of: R) -> Self {
        Self::new(of, WHOLE)
    }
}

impl<'p> SharedWork<'p> {
    pub(crate) fn downgrade(&self) -> WeakWork<'p> {
        Piece::new(Arc::downgrade(&self.of), self.at)
    }

    pub(super) fn run(&self, crew: &Crew<'p>, post: &Arc<Post>) -> Next {
        self.of.run(self.at, crew, post)
    }

    pub(super) fn outlasts_stop(&self) -> bool {
        self.of.outlasts_stop()
    }

    pub(super) fn give_up(&self, crew: &Crew<'p>, reason: GiveUpReason) {
        self.of.give_up(self.at, crew, reason);
    }

    pub(super) fn is_over(&self, crew: &Crew<'p>) -> Option<GiveUpReason> {
        self.of.is_over(self.at, crew)
    }

    pub(super) fn is_live(&self) -> bool {
        self.of.is_live(self.at)
    }

    pub(super) fn expire(&self, crew: &Crew<'p>, attempt: u32) -> Option<Stuck> {
        self.of.expire(self.at, crew, attempt)
    }

    pub(super) fn pass_deadline(&self, crew: &Crew<'p>) -> (bool, Option<CancelToken>) {
        self.of.pass_deadline(self.at, crew)
    }
}

impl<'p> WeakWork<'p> {
    /// `None` once nobody refers to what it is part of. Until then the work itself may have been over for long.
    pub(super) fn upgrade(&self) -> Option<SharedWork<'p>> {
        Some(Piece::new(self.of.upgrade()?, self.at))
    }

    pub(super) fn is_gone(&self) -> bool {
        self.of.strong_count() == 0
    }
}

/// The jobs of a batch, as the pool sees them. Its entries in the work channel are tokens.
pub(crate) trait Lane<'p>: Work<'p> {
    /// The timer's call when something has come due. Runs no user code.
    fn due(&self, now: Nanos) -> Due;

    /// How many tokens are missing; `gone` says that one of those that are out is void. Runs no user code.
    fn missing_tokens(&self, gone: bool) -> usize;

    /// Judges an attempt that was abandoned, if there is one; on this worker, unless it is swept out of a stopped pool.
    fn judge(&self, crew: &Crew<'p>, post: Option<&Post>);

    /// Accepts nothing more from outside.
    fn close(&self);
}

/// What a worker does with work that it has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Done,
    Requeue(Requeue),
    ParkUntil(Nanos, Requeue),
    /// The attempt took too long, and somebody else goes on with the job.
    Abandoned,
}

/// What the timer does for a lane.
pub(crate) struct Due {
    pub(crate) tokens: usize,
    pub(crate) again: Option<Nanos>,
    /// Workers whose attempts were abandoned.
    pub(crate) stuck: Vec<Stuck>,
    /// The time for the batch is over: it is to be ended.
    pub(crate) over: bool,
}

pub(crate) type SharedLane<'p> = Arc<dyn Lane<'p> + 'p>;
pub(crate) type WeakLane<'p> = Weak<dyn Lane<'p> + 'p>;

/// An attempt of a single job that has a limit.
pub(crate) struct Watch<'p> {
    pub(crate) work: WeakWork<'p>,
    pub(crate) attempt: u32,
}
