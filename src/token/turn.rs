//! A worker's turn: job after job, until the lane is empty or it is the turn of others.

use super::BatchLane;
use super::pace::Pace;
use crate::clock::Nanos;
use crate::crew::{Crew, Next, Parked, SharedLane};
use crate::judge::Outcome;
use crate::lane::{After, Input, Leftover, Queued, Ran, SharedPocket, Turn};
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
    /// If the batch's token is cancelled, so is the batch.
    #[inline(always)]
    fn obey(&self, crew: &Crew<'p>) {
        if self.core.setup.token.is_cancelled() {
            self.end_as_told(crew);
        }
    }

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
            let outcome = if matches!(job.input, Input::Own(_)) {
                self.run_one(&rules, &mut job)
            } else {
                let Some((back, outcome)) = self.run_limited(crew, &rules, post, job) else {
                    break Next::Abandoned;
                };
                job = back;
                outcome
            };
            let now = pace.after_job(outcome.time(), || crew.clock.now());
            if matches!(outcome, Outcome::Succeeded(_)) {
                // The permit first: who sees the success counted may submit the next.
                post.set_holding(false);
                self.core.setup.roster.permits.release(1);
                post.counts.succeeded.bump(1);
            }
            let long = now.is_some_and(|now| now.saturating_sub(begun) >= TURN);
            let turn = Turn {
                pocket: pocket.as_ref(),
                each: pace.each(),
                over: long && crew.has_waiting(),
                time: pace.last(),
            };
            match self.exchange_in_pocket(post, &mut job, outcome, now, &turn) {
                Ok(()) => self.obey(crew),
                Err(outcome) => {
                    let after = self.exchange(crew, post, (job, outcome), now, &turn);
                    self.obey(crew);
                    job = match after {
                        After::Job(job) => job,
                        After::Empty => break Next::Done,
                        After::TurnOver => break Next::Requeue(Requeue::Back),
                    };
                }
            }
        };
        if pace.unread > 0 {
            self.core.tell_time(crew.clock.now());
        }
        next
    }

    /// Exchanges what was run for the next job in the worker's pocket, if there is one, and nothing else to be done.
    #[inline(always)]
    fn exchange_in_pocket(
        &self,
        post: &Post,
        job: &mut Queued<I, E>,
        outcome: Outcome<T>,
        now: Option<Nanos>,
        turn: &Turn<'_, I, T, E>,
    ) -> Result<(), Outcome<T>> {
        let Some(pocket) = turn.usable().filter(|_| post.has_token()) else {
            return Err(outcome);
        };
        let errors = pocket.exchange(job, outcome, now)?;
        post.set_holding(true);
        drop(errors);
        if self.core.is_awaited() {
            self.core.deliver(pocket);
        }
        Ok(())
    }

    /// Puts away what was run, and takes the next job.
    fn exchange(
        &self,
        crew: &Crew<'p>,
        post: &Post,
        (job, outcome): (Queued<I, E>, Outcome<T>),
        now: Option<Nanos>,
        turn: &Turn<'_, I, T, E>,
    ) -> After<I, E> {
        let ran = self.follow(job, outcome);
        if !post.has_token() {
            // The job, a hook or the observer has waited for other jobs.
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::super::wake_on_cancel;
    use super::*;
    use crate::clock::{Clock, nanos};
    use crate::crew::Settings;
    use crate::roster::Role;
    use crate::sync::{AtomicU64, Ordering, unbounded};
    use crate::{Attempt, Batch, CancelToken, RetryPolicy, RetryPool};

    #[test]
    fn jobs_that_were_not_timed_have_ended_by_the_end_of_the_turn() {
        // Time stands still during the first job, which is tiny, so that the clock is not read after the second one.
        let clock = Clock::standing_for(Duration::from_millis(20));
        let mut crew = Crew::new(Settings::plain());
        crew.clock = clock;
        let crew = Arc::new(crew);
        let job = move |n: &u32| {
            while *n == 2 && clock.now() == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok::<_, ()>(())
        };
        let batch = Batch::new(&crew, std::iter::empty(), job, wake_on_cancel);
        let mut completed = batch.as_completed();
        completed.extend(1..=2);
        crew.close();
        // The test's thread takes the part of the worker's, which leaves when all is done.
        let worker = Arc::downgrade(&crew);
        crew.roster.set_recruiter(Arc::new(move |post| {
            worker.upgrade().unwrap().work(&post);
            Ok(())
        }));
        crew.roster.recruit(Role::Regular).unwrap();
        let over = clock.now();
        // Whoever looks only now is too late.
        std::thread::sleep(Duration::from_millis(1));
        let elapsed: Vec<_> = completed.map(|done| done.elapsed()).collect();
        assert_eq!(elapsed.len(), 2);
        assert!(elapsed.iter().all(|time| nanos(*time) <= over));
    }

    #[test]
    fn a_hook_of_an_abandoned_attempt_lends_the_place_of_its_job() {
        let builder = RetryPool::builder().threads(1).capacity(1);
        let pool = Arc::new(builder.build().unwrap());
        let weak = Arc::downgrade(&pool);
        let (open, gate) = unbounded::<()>();
        let batch = pool.batch([()], move |()| gate.recv());
        let batch = batch.retry(RetryPolicy::never());
        let batch = batch.attempt_timeout(Duration::from_millis(1));
        let (sender, submitted) = mpsc::channel();
        let batch = batch.on_give_up(move |(), _| {
            let pool = weak.upgrade().unwrap();
            let job = pool.submit_timeout(|| Ok::<_, ()>(()), Duration::from_secs(5));
            let ran = job.is_ok_and(|job| job.wait().is_ok());
            sender.send(ran).unwrap();
        });
        let report = batch.run();
        assert_eq!((report.gave_up().len(), submitted.recv()), (1, Ok(true)));
        open.send(()).unwrap();
    }

    #[test]
    fn an_attempt_that_is_abandoned_before_the_time_of_its_batch_is_over_is_retried() {
        let pool = RetryPool::with_threads(1);
        let (open, gate) = unbounded::<()>();
        let batch = pool.batch([()], move |()| match Attempt::current().number() {
            1 => gate.recv(),
            _ => Ok(()),
        });
        let policy = RetryPolicy::fixed(Duration::from_millis(1)).unlimited();
        let batch = batch.retry(policy).timeout(Duration::from_secs(3_600));
        let report = batch.attempt_timeout(Duration::from_millis(1)).run();
        assert_eq!(report.succeeded().len(), 1);
        open.send(()).unwrap();
    }

    /// Of so many jobs of a batch that borrows, how many run though one of them cancels it, and nobody iterates.
    fn run_until(jobs: u32, cancels: u64) -> u64 {
        let (ran, token) = (AtomicU64::new(0), CancelToken::new());
        let run = |_: &u32| {
            if ran.fetch_add(1, Ordering::SeqCst) + 1 == cancels {
                token.cancel();
            }
            Ok::<_, ()>(())
        };
        let builder = RetryPool::builder().threads(1);
        let scope = builder.scope(|pool| {
            let (open, gate) = unbounded::<()>();
            let held = pool.submit(move || gate.recv());
            let batch = pool.batch(std::iter::empty(), run);
            let mut completed = batch.cancel_token(token.clone()).as_completed();
            completed.extend(0..jobs);
            open.send(()).unwrap();
            held.wait().unwrap();
            while pool.stats().unsettled() > 0 {
                std::thread::yield_now();
            }
            assert_eq!(completed.count(), jobs as usize);
        });
        scope.unwrap();
        ran.load(Ordering::SeqCst)
    }

    #[test]
    fn a_batch_that_borrows_is_ended_by_its_worker_though_nobody_iterates() {
        // The next one may have been taken already; and by the later of these, a pocket has been filled.
        assert!(run_until(10, 1) <= 2);
        assert!(run_until(1_000, 100) <= 101);
    }
}
