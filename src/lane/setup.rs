//! What a batch is begun with, and what follows from that alone.

use super::entry::Ended;
use super::{FailFast, Input, Queued, SharedInput};
use crate::cancel::CancelToken;
use crate::clock::{Clock, Nanos};
use crate::give_up::AttemptError;
use crate::observe::{JobEvent, Watcher};
use crate::policy::Requeue;
use crate::roster::Roster;
use crate::sync::Arc;

/// What a batch is begun with.
pub(crate) struct Setup<I> {
    pub(crate) roster: Arc<Roster>,
    /// The batch's number in its pool.
    pub(crate) number: u64,
    pub(crate) window: usize,
    pub(crate) threads: usize,
    pub(crate) processors: usize,
    /// Where a retried job joins the queue.
    pub(crate) place: Requeue,
    pub(crate) fail_fast: FailFast,
    /// Makes inputs ones that a stuck attempt can keep.
    pub(crate) share: Option<fn(I) -> SharedInput<I>>,
    /// Tells what runs to stop.
    pub(crate) token: CancelToken,
    pub(crate) clock: Clock,
    /// When the time for the whole batch is over.
    pub(crate) deadline: Option<Nanos>,
    /// For an abandoned attempt that nobody judges any more.
    pub(crate) errors_kept: usize,
    pub(crate) observer: Watcher,
}

impl<I> Setup<I> {
    /// A job that has not been tried.
    #[inline]
    pub(super) fn fresh<E>(&self, input: I, index: usize, now: Nanos) -> Queued<I, E> {
        Queued {
            input: match self.share {
                Some(share) => Input::Shared(share(input)),
                None => Input::Own(input),
            },
            index,
            accepted: now,
            record: None,
        }
    }

    /// Notes that the job's last attempt was abandoned, if it was. Not to be called under the lock: an older error may be dropped.
    pub(super) fn note_expired<E>(&self, job: &mut Queued<I, E>, now: Nanos) {
        let elapsed = now.saturating_sub(job.accepted);
        let Some(record) = &mut job.record else {
            return;
        };
        if let Some(limit) = record.take_expired() {
            let number = record.retry.attempts().saturating_add(1);
            record.note(
                number,
                AttemptError::TimedOut(limit),
                elapsed,
                self.errors_kept,
            );
        }
    }

    pub(crate) fn event(&self, index: usize, attempts: u32) -> JobEvent<'static> {
        JobEvent {
            batch: Some(self.number),
            number: index as u64,
            name: None,
            attempts,
        }
    }

    /// Tells the observer of a job that ended without a further attempt.
    pub(crate) fn tell_ended(&self, ended: Ended) {
        let Ended {
            index,
            attempts,
            reason,
        } = ended;
        self.observer
            .tell(|observer| observer.job_settled(&self.event(index, attempts), Err(reason)));
    }
}
