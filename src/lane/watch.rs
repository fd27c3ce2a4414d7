//! Attempts that have a limit, and may be abandoned.
//!
//! While such an attempt runs, its job lies here rather than with the worker, who takes it back when the attempt has returned
//! ([`Core::reclaim`]). When the limit has passed, the timer takes it ([`Core::due`]) and has a worker judge the time-out.
//! Both happen under the lock, so it is one or the other.

use std::collections::binary_heap::PeekMut;

use super::entry::ParkedJob;
use super::{Core, Gate, Queued};
use crate::cancel::CancelToken;
use crate::clock::Nanos;
use crate::crew::Due;
use crate::give_up::Record;
use crate::reason::GiveUpReason;
use crate::roster::Post;
use crate::sync::Arc;

/// How many due jobs change their place in one visit.
const BITE: usize = 256;

/// A job whose attempt runs.
pub(super) struct Watched<I, E> {
    begun: Nanos,
    pub(super) expires: Nanos,
    job: Queued<I, E>,
    post: Arc<Post>,
    token: CancelToken,
}

impl<I, T, E> Core<I, T, E> {
    /// Takes a job whose attempt was abandoned, to judge that, with a token of its own: so its place is lent as any other's if a hook waits.
    pub(crate) fn take_expired(&self) -> Option<Queued<I, E>> {
        let mut state = self.state.lock();
        let job = state.expired.pop_front()?;
        state.running += 1;
        state.tokens += 1;
        state.judging += 1;
        Some(job)
    }

    /// Keeps a job while its attempt runs; gives its ticket, and when to have the timer look.
    pub(crate) fn lend(
        &self,
        job: Queued<I, E>,
        begun: Nanos,
        expires: Nanos,
        post: Arc<Post>,
        token: CancelToken,
    ) -> (u64, Option<Nanos>) {
        let mut state = self.state.lock();
        state.tickets += 1;
        let ticket = state.tickets;
        let watched = Watched {
            begun,
            expires,
            job,
            post,
            token,
        };
        state.watched.insert(ticket, watched);
        (ticket, state.arm(expires))
    }

    /// Gives the job back after its attempt; `None` if that was abandoned.
    pub(crate) fn reclaim(&self, ticket: u64) -> Option<Queued<I, E>> {
        let watched = self.state.lock().watched.remove(&ticket)?;
        Some(watched.job)
    }

    /// Queues the parked jobs that have come due, and takes the running ones whose attempts have expired. When the time for the batch is
    /// over, nothing more begins.
    pub(crate) fn due(&self, now: Nanos) -> Due {
        let setup = &self.setup;
        let mut state = self.state.lock();
        state.armed = state.armed.split_off(&now.saturating_add(1));
        for _ in 0..BITE {
            let Some(first) = state.parked.peek_mut().filter(|first| first.due <= now) else {
                break;
            };
            let ParkedJob { due, job } = PeekMut::pop(first);
            state.requeue_due(setup.place, due, job);
        }
        let mut stuck = Vec::new();
        while let Some(first) = state.watched.first_entry()
            && first.get().expires <= now
        {
            let Watched {
                begun,
                expires,
                mut job,
                post,
                token,
            } = first.remove();
            if post.void_token() {
                state.tokens -= 1;
            } else {
                // It waits for other jobs, or did.
                state.away -= 1;
            }
            stuck.push(setup.roster.mark_stuck(post, token));
            let record = job.record.get_or_insert_with(Record::new);
            record.expire(expires.saturating_sub(begun));
            state.running -= 1;
            state.expired.push_back(job);
        }
        let over = setup.deadline.is_some_and(|deadline| deadline <= now)
            && matches!(state.gate, Gate::Open | Gate::Closed);
        if over {
            // A worker does the rest, which may run user code.
            state.recall();
            state.gate = Gate::Ended(GiveUpReason::DeadlineExceeded);
        }
        let next = state.next_due();
        Due {
            tokens: state.announce(setup.threads),
            again: next.and_then(|due| state.arm(due)),
            stuck,
            over,
        }
    }
}
