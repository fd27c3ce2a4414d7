//! One job of a batch on its way: queued, parked, settled.

use std::cmp::Ordering;
use std::time::Duration;

use crate::clock::Nanos;
use crate::give_up::{GiveUp, Record};
use crate::judge::attempts;
use crate::reason::GiveUpReason;
use crate::sync::Arc;
use crate::unwind::{self, Contained};

/// The input of a job.
pub(crate) enum Input<I> {
    Own(I),
    /// That of a job whose attempts have a limit: a stuck one may still hold it.
    Shared(SharedInput<I>),
}

pub(crate) type SharedInput<I> = Arc<dyn Share<I> + Send + Sync>;

/// An input behind a pointer. A trait, since only an input that is `Sync` can be shared, and others need not be.
pub(crate) trait Share<I> {
    fn get(&self) -> &I;
    /// The input itself, if nobody else holds it.
    fn take(self: Arc<Self>) -> Option<I>;
}

impl<I> Share<I> for Contained<I> {
    fn get(&self) -> &I {
        self
    }

    fn take(self: Arc<Self>) -> Option<I> {
        Arc::into_inner(self).map(Self::into_inner)
    }
}

impl<I> Input<I> {
    pub(crate) fn get(&self) -> &I {
        match self {
            Self::Own(input) => input,
            Self::Shared(input) => input.get(),
        }
    }

    /// A second reference, if the input can have one.
    pub(crate) fn clone_shared(&self) -> Option<SharedInput<I>> {
        match self {
            Self::Own(_) => None,
            Self::Shared(input) => Some(Arc::clone(input)),
        }
    }

    pub(crate) fn take(self) -> Option<I> {
        match self {
            Self::Own(input) => Some(input),
            Self::Shared(input) => input.take(),
        }
    }
}

/// A job that waits for a worker.
pub(crate) struct Queued<I, E> {
    pub(crate) input: Input<I>,
    pub(crate) index: usize,
    pub(crate) accepted: Nanos,
    /// `Some` once it has failed.
    pub(crate) record: Option<Box<Record<E>>>,
}

pub(super) struct ParkedJob<I, E> {
    pub(super) due: Nanos,
    pub(super) job: Queued<I, E>,
}

/// A job that has settled.
pub(crate) struct Settled<I, T, E> {
    pub(crate) input: Input<I>,
    pub(crate) index: usize,
    pub(crate) attempts: u32,
    pub(crate) result: Result<T, GiveUp<E>>,
    pub(super) accepted: Nanos,
    /// 0 until it is known.
    pub(super) ended: Nanos,
}

/// A job that ended without a further attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(super) index: usize,
    pub(super) attempts: u32,
    pub(super) reason: GiveUpReason,
}

impl<I, T, E> Settled<I, T, E> {
    pub(super) fn ended_as(&self, reason: GiveUpReason) -> Ended {
        Ended {
            index: self.index,
            attempts: self.attempts,
            reason,
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.ended.saturating_sub(self.accepted))
    }

    /// Sets the time of its end, unless it is known.
    pub(super) fn tell_time(&mut self, now: Nanos) {
        if self.ended == 0 {
            self.ended = now;
        }
    }

    /// Drops the user's values one by one, since each may panic in its destructor.
    pub(crate) fn discard(self) {
        unwind::discard(self.input);
        unwind::discard(self.result);
    }
}

impl<I, E> Queued<I, E> {
    pub(super) fn ended_as(&self, reason: GiveUpReason) -> Ended {
        Ended {
            index: self.index,
            attempts: attempts(self.record.as_deref()),
            reason,
        }
    }

    pub(crate) fn give_up<T>(self, reason: GiveUpReason, now: Nanos) -> Settled<I, T, E> {
        let Self {
            input,
            index,
            accepted,
            record,
        } = self;
        let record = record.unwrap_or_else(Record::new);
        let elapsed = now.saturating_sub(accepted);
        let attempts = record.retry.attempts();
        Settled {
            input,
            index,
            attempts,
            result: Err(record.give_up(reason, elapsed)),
            accepted,
            ended: now,
        }
    }

    /// When its retry was due: 0 for one at once, never for a job that has come by another way.
    pub(super) fn due(&self) -> Nanos {
        let record = self.record.as_ref();
        record.map_or(Nanos::MAX, |record| record.due())
    }

    /// Has it failed, and is tried again?
    #[inline]
    pub(crate) fn is_retry(&self) -> bool {
        self.record.is_some()
    }

    /// Drops the user's values one by one, since each may panic in its destructor.
    pub(crate) fn discard(self) {
        unwind::discard(self.input);
    }

    /// Its time is told later. Not to be called under the lock: the errors of earlier attempts are dropped.
    #[inline(always)]
    pub(crate) fn succeed<T>(mut self, value: T) -> Settled<I, T, E> {
        let record = self.record.take();
        self.succeed_after(record.as_deref(), value)
    }

    /// The same for a job whose record was taken out.
    #[inline(always)]
    pub(super) fn succeed_after<T>(self, record: Option<&Record<E>>, value: T) -> Settled<I, T, E> {
        let Self {
            input,
            index,
            accepted,
            record: _,
        } = self;
        Settled {
            input,
            index,
            attempts: attempts(record).saturating_add(1),
            result: Ok(value),
            accepted,
            ended: 0,
        }
    }
}

/// The heap gives out its greatest entry first: the earliest, and of two at once the one with the lower index.
impl<I, E> Ord for ParkedJob<I, E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.job.index).cmp(&(self.due, self.job.index))
    }
}
impl<I, E> PartialOrd for ParkedJob<I, E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<I, E> PartialEq for ParkedJob<I, E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl<I, E> Eq for ParkedJob<I, E> {}
