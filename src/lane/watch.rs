//! Attempts that have a limit, and may be abandoned.
//!
//! While such an attempt runs, its job lies here rather than with the worker, who takes it back when the attempt has returned
//! ([`Core::reclaim`]). When the limit has passed, the timer takes it ([`Core::due`]) and puts it at the front of the queue, marked:
//! the worker that gets it judges the time-out. Both happen under the lock, so it is one or the other.

use super::{Core, Gate, Queued};
use crate::cancel::CancelToken;
use crate::clock::Nanos;
use crate::crew::Due;
use crate::give_up::Record;
use crate::policy::Requeue;
use crate::roster::Post;
use crate::sync::Arc;

/// How many due jobs change their place in one visit.
const BITE: usize = 256;

/// A job whose attempt runs.
pub(super) struct Watched<I, E> {
    pub(super) expires: Nanos,
    job: Queued<I, E>,
    post: Arc<Post>,
    token: CancelToken,
}

impl<I, T, E> Core<I, T, E> {
    /// Keeps a job while its attempt runs; gives its ticket, and when to have the timer look.
    pub(crate) fn lend(
        &self,
        job: Queued<I, E>,
        expires: Nanos,
        post: Arc<Post>,
        token: CancelToken,
    ) -> (u64, Option<Nanos>) {
        let mut state = self.state.lock();
        state.tickets += 1;
        let ticket = state.tickets;
        let watched = Watched {
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

    /// Queues what has come due: parked jobs, and those whose attempts have expired. True if the time for the batch is over.
    pub(crate) fn due(&self, now: Nanos) -> (Due, bool) {
        let setup = &self.setup;
        let mut state = self.state.lock();
        if state.armed <= now {
            state.armed = Nanos::MAX;
        }
        let mut due = Vec::new();
        while due.len() < BITE && state.parked.peek().is_some_and(|first| first.due <= now) {
            due.extend(state.parked.pop().map(|parked| parked.job));
        }
        // What is due first is to be taken first, also from the front.
        if setup.place == Requeue::Front {
            due.reverse();
        }
        due.into_iter()
            .for_each(|job| state.requeue(setup.place, job));
        let mut stuck = Vec::new();
        while let Some(first) = state.watched.first_entry()
            && first.get().expires <= now
        {
            let Watched {
                mut job,
                post,
                token,
                ..
            } = first.remove();
            if post.void_token() {
                state.tokens -= 1;
            } else {
                // It waits for other jobs, or did.
                state.away -= 1;
            }
            stuck.push(setup.roster.mark_stuck(post, token));
            job.record.get_or_insert_with(Record::new).expired = true;
            state.running -= 1;
            state.queued.push_front(job);
        }
        self.wake_iterator(&mut state);
        let over = setup.deadline.is_some_and(|deadline| deadline <= now)
            && matches!(state.gate, Gate::Open | Gate::Closed);
        let next = if over { None } else { state.next_due(setup) };
        let due = Due {
            tokens: state.announce(setup.threads),
            again: next.and_then(|due| state.arm(due)),
            stuck,
        };
        (due, over)
    }
}
