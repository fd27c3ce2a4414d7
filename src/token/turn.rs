//! A worker's turn: job after job, until the lane is empty or it is the turn of others.

use super::BatchLane;
use super::pace::Pace;
use crate::clock::Nanos;
use crate::crew::{Crew, Next, Parked, SharedLane};
use crate::judge::Outcome;
use crate::lane::{After, Leftover, Queued, Ran, SharedPocket, Turn};
use crate::policy::Requeue;
use crate::reason::GiveUpReason;
use crate::roster::Post;
use crate::sync::Arc;

/// How long a token helps its lane while something else waits in the work channel.
const TURN: Nanos = 50_000;

impl<'p, I, T, E, F> BatchLane<'p, I, T, E, F>
where
    I: Send + 'p,
    T: Send + 'p,
    E: Send + 'p,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'p,
{
    /// The batch's token is cancelled, and so is the batch.
    #[cold]
    fn end_as_told(&self, crew: &Crew<'p>) {
        if let Some(reason) = self.core.setup.token.reason() {
            self.core.end(crew, reason);
        }
    }

    /// Works on the lane until it is empty or the turn is over.
    pub(super) fn take_turn(&self, crew: &Crew<'p>, post: &Arc<Post>) -> Next {
        let rules = self.rules(crew);
        let begun = crew.clock.now();
        let mut pace = Pace::new(begun);
        let Some((mut job, pocket)) = self.core.begin(begun) else {
            return Next::Done;
        };
        let next = loop {
            if job.is_retry() {
                post.counts.retries.bump(1);
            }
            let Some((ran, outcome)) = self.run_one(crew, &rules, post, job) else {
                break Next::Abandoned;
            };
            let now = pace.after_job(outcome.time(), || crew.clock.now());
            if matches!(outcome, Outcome::Succeeded(_)) {
                // The permit first: who sees the success counted may submit the next.
                post.set_holding(false);
                self.core.setup.roster.permits.release(1);
                post.counts.succeeded.bump(1);
            }
            let after = if post.has_token() {
                let long = now.is_some_and(|now| now.saturating_sub(begun) >= TURN);
                let turn = Turn {
                    pocket: pocket.as_ref(),
                    tiny: pace.is_tiny(),
                    over: long && crew.has_waiting(),
                    time: pace.last(),
                };
                self.exchange(crew, post, (ran, outcome), now, &turn)
            } else {
                let ran = self.follow(ran, outcome);
                self.put_away(crew, post, ran, now, pocket.as_ref());
                After::Empty
            };
            if self.core.setup.token.is_cancelled() {
                self.end_as_told(crew);
            }
            job = match after {
                After::Job(job) => job,
                After::Empty => break Next::Done,
                After::TurnOver => break Next::Requeue(Requeue::Back),
            };
        };
        if pace.unread > 0 {
            self.core.tell_time(crew.clock.now());
        }
        next
    }

    /// Puts away what was run, and takes the next job: from the worker's pocket if there is one in it, and nothing else to be done.
    #[inline(always)]
    fn exchange(
        &self,
        crew: &Crew<'p>,
        post: &Post,
        (mut job, outcome): (Queued<I, E>, Outcome<T>),
        now: Option<Nanos>,
        turn: &Turn<'_, I, T, E>,
    ) -> After<I, E> {
        let outcome = match turn.usable() {
            None => outcome,
            Some(pocket) => match pocket.exchange(&mut job, outcome, now) {
                Err(outcome) => outcome,
                Ok(errors) => {
                    post.set_holding(true);
                    drop(errors);
                    if self.core.is_awaited() {
                        self.core.deliver(pocket);
                    }
                    return After::Job(job);
                }
            },
        };
        let ran = self.follow(job, outcome);
        if !post.has_token() {
            // A hook or the observer has waited for other jobs.
            self.put_away(crew, post, ran, now, turn.pocket);
            return After::Empty;
        }
        let (after, leftover) = self.core.exchange(ran, now, turn);
        // User code may wait below: for the next job, or for none.
        let goes_on = matches!(after, After::Job(_));
        post.set_holding(goes_on);
        if !goes_on {
            // The token is gone, or on its way back.
            post.hold_token_of(0);
        }
        self.tidy(crew, leftover);
        after
    }

    /// Puts away what was run by a worker that has waited for other jobs.
    #[cold]
    fn put_away(
        &self,
        crew: &Crew<'p>,
        post: &Post,
        ran: Ran<I, T, E>,
        now: Option<Nanos>,
        pocket: Option<&SharedPocket<I, T, E>>,
    ) {
        let (leftover, tokens) = self.core.put_away(ran, now, pocket);
        post.set_holding(false);
        self.push_tokens(crew, tokens);
        self.tidy(crew, leftover);
    }

    fn push_tokens(&self, crew: &Crew<'p>, tokens: usize) {
        if tokens > 0
            && let Some(lane) = self.this.upgrade()
        {
            let lane: SharedLane<'p> = lane;
            crew.push_tokens(&lane, tokens);
        }
    }

    /// Judges an attempt that was abandoned; on a worker its hooks may wait.
    pub(super) fn judge_expired(&self, crew: &Crew<'p>, post: Option<&Post>) {
        let Some(job) = self.core.take_expired() else {
            return;
        };
        let hold = |lane| {
            if let Some(post) = post {
                post.hold_token_of(lane);
                post.set_holding(lane != 0);
            }
        };
        hold(self.core.setup.number);
        let (job, outcome) = self.judge_one(&self.rules(crew), job);
        let now = outcome.time();
        let ran = self.follow(job, outcome);
        let has_token = post.is_none_or(Post::has_token);
        let (leftover, tokens) = self.core.put_judged(ran, now, has_token);
        hold(0);
        self.push_tokens(crew, tokens);
        self.tidy(crew, leftover);
    }

    /// Does what a visit to the core left to be done after the lock.
    #[inline]
    fn tidy(&self, crew: &Crew<'p>, leftover: Leftover<I, T, E>) {
        let Leftover {
            unread,
            arm,
            tripped,
            ended,
        } = leftover;
        if let Some(ended) = ended {
            self.core.setup.tell_ended(ended);
        }
        if tripped {
            self.core.end(crew, GiveUpReason::FailFast);
        }
        if let Some(due) = arm {
            crew.park(due, Parked::Lane(self.this.clone()));
        }
        if let Some(settled) = unread {
            settled.discard();
        }
    }
}
