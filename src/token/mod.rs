//! A token at work: how a worker helps a batch.
//!
//! A worker with a token takes one job after the other until the lane is empty or its turn is over. The clock is read rarely,
//! because a reading (20–25 ns) costs as much as the rest of an empty job's way: at the start of a turn, after a failure, and else
//! after every job, or every eighth while jobs are tiny ([`Pace`]). A turn can end whenever the clock is read.
//!
//! What a job passes on its way through a turn is inlined by force, here and in `judge` and `lane`: a job moves by value, and each call
//! would copy it. Measured: 625 instead of 800 instructions for an empty job.

use std::time::Duration;

use crate::cancel::Listener;
use crate::clock::{Nanos, nanos};
use crate::crew::{Crew, Due, Lane, Next, Parked, SharedLane, Work};
use crate::give_up::{AttemptError, GiveUp, Record};
use crate::judge::{
    NextAttempt, Outcome, Returned, Rules, Subject, attempt, conclude, conclude_timed_out, prepare,
};
use crate::lane::{After, Core, Input, Leftover, Queued, Ran, Settled, SharedPocket, Turn};
use crate::observe::JobEvent;
use crate::park::Parker;
use crate::policy::{Requeue, RetryPolicy, Verdict};
use crate::reason::GiveUpReason;
use crate::roster::Post;
use crate::sync::{Arc, Weak};
use crate::unwind::{self, Contained, Hook};

mod pace;

use pace::Pace;

/// How long a token helps its lane while something else waits in the work channel.
const TURN: Nanos = 50_000;

/// What a caller has set for the jobs of a batch.
pub(crate) struct BatchOptions<'p, I, T, E> {
    pub(crate) policy: RetryPolicy,
    pub(crate) classify: Hook<dyn Fn(&E) -> Verdict + Send + Sync + 'p>,
    pub(crate) accept: Hook<dyn Fn(&T) -> bool + Send + Sync + 'p>,
    pub(crate) on_retry: Hook<dyn Fn(&I, &AttemptError<E>, NextAttempt) + Send + Sync + 'p>,
    pub(crate) on_give_up: Hook<dyn Fn(&I, &GiveUp<E>) + Send + Sync + 'p>,
    pub(crate) name: Hook<dyn Fn(&I) -> String + Send + Sync + 'p>,
    pub(crate) display: Option<fn(&E) -> String>,
    pub(crate) errors_kept: usize,
    pub(crate) attempt_timeout: Option<Duration>,
    /// The pool's seed and the batch's number, mixed.
    pub(crate) seed: u64,
}

/// Has a batch end when its token is cancelled.
pub(crate) type Listen<'p, I, T, E, F> = fn(&Arc<BatchLane<'p, I, T, E, F>>);

/// Ends the batch on the thread that cancels. For a batch that borrows nothing, since a token can be anywhere.
pub(crate) fn end_on_cancel<I, T, E, F>(lane: &Arc<BatchLane<'static, I, T, E, F>>)
where
    I: Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'static,
{
    let token = lane.core.setup.token.clone();
    token.listen(Arc::clone(lane) as Arc<dyn Listener>);
}

/// Wakes the iterator, which ends the batch; so do workers between two jobs.
pub(crate) fn wake_on_cancel<I, T, E, F>(lane: &Arc<BatchLane<'_, I, T, E, F>>) {
    let token = lane.core.setup.token.clone();
    token.listen(Arc::clone(&lane.core.parker) as Arc<dyn Listener>);
}

impl Listener for Parker {
    fn cancelled(self: Arc<Self>, _reason: GiveUpReason) {
        self.unpark();
    }
}

impl<I, T, E, F> Listener for BatchLane<'static, I, T, E, F>
where
    I: Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'static,
{
    fn cancelled(self: Arc<Self>, reason: GiveUpReason) {
        if let Some(crew) = self.crew.upgrade() {
            self.core.end(&crew, reason);
        }
        unwind::discard(self);
    }
}

/// A batch with its job function: what a token helps.
pub(crate) struct BatchLane<'p, I, T, E, F> {
    pub(crate) core: Arc<Core<I, T, E>>,
    pub(crate) job: Contained<F>,
    pub(crate) options: BatchOptions<'p, I, T, E>,
    pub(crate) crew: Weak<Crew<'p>>,
    pub(crate) this: Weak<Self>,
}

impl<'p, I, T, E, F> BatchLane<'p, I, T, E, F>
where
    I: Send + 'p,
    T: Send + 'p,
    E: Send + 'p,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'p,
{
    fn rules<'a>(&'a self, crew: &'a Crew<'p>) -> Rules<'a, I, T, E> {
        let options = &self.options;
        Rules {
            policy: &options.policy,
            classify: options.classify.as_ref().map(|classify| &***classify as _),
            accept: options.accept.as_ref().map(|accept| &***accept as _),
            on_retry: options.on_retry.as_ref().map(|hook| &***hook as _),
            display: options.display,
            errors_kept: options.errors_kept,
            seed: options.seed,
            deadline: self.core.setup.deadline,
            observer: &self.core.setup.observer,
            batch: Some(self.core.setup.number),
            clock: &crew.clock,
        }
    }

    /// One attempt of one job; nothing comes back if it was abandoned.
    fn run_one(
        &self,
        rules: &Rules<'_, I, T, E>,
        post: &Arc<Post>,
        mut job: Queued<I, E>,
    ) -> Option<(Queued<I, E>, Outcome<T>)> {
        if matches!(job.input, Input::Shared(_)) {
            return self.run_limited(rules, post, job);
        }
        let (subject, record) = self.look_at(&mut job);
        let input = subject.input;
        let told = || self.core.setup.token.reason();
        let outcome = attempt(rules, &subject, record, told, || (self.job)(input));
        Some((job, outcome))
    }

    /// One attempt of a job whose attempts have a limit, or the judging of one that was abandoned.
    fn run_limited(
        &self,
        rules: &Rules<'_, I, T, E>,
        post: &Arc<Post>,
        mut job: Queued<I, E>,
    ) -> Option<(Queued<I, E>, Outcome<T>)> {
        let told = || self.core.setup.token.reason();
        let expired = match &mut job.record {
            Some(record) => record.take_expired(),
            None => None,
        };
        let outcome = if let Some(limit) = expired {
            let (subject, record) = self.look_at(&mut job);
            let is_over = || {
                let deadline = rules.deadline?;
                (rules.clock.now() >= deadline).then_some(GiveUpReason::DeadlineExceeded)
            };
            conclude_timed_out(rules, &subject, record, limit, told().or_else(is_over))
        } else {
            let returned;
            (job, returned) = match self.run_shared(rules, post, job)? {
                Tried::Once(job, returned) => (job, returned),
                Tried::Not(job) => return Some((job, Outcome::Retry(None, rules.clock.now()))),
            };
            let (subject, record) = self.look_at(&mut job);
            conclude(rules, &subject, record, returned, told)
        };
        Some((job, outcome))
    }

    #[inline(always)]
    fn look_at<'a>(
        &self,
        job: &'a mut Queued<I, E>,
    ) -> (Subject<'a, I>, &'a mut Option<Box<Record<E>>>) {
        let name = self.options.name.as_ref();
        let input = job.input.get();
        let subject = Subject {
            input,
            name: name.and_then(|name| name_of(&***name, input)),
            number: job.index as u64,
            accepted: job.accepted,
        };
        (subject, &mut job.record)
    }

    /// An attempt that may be abandoned: the lane keeps the job meanwhile.
    fn run_shared(
        &self,
        rules: &Rules<'_, I, T, E>,
        post: &Arc<Post>,
        mut job: Queued<I, E>,
    ) -> Option<Tried<I, T, E>> {
        let input = job.input.clone_shared()?;
        let (subject, record) = self.look_at(&mut job);
        let coming = prepare(rules, &subject, record);
        let limit = self.options.attempt_timeout.map_or(Nanos::MAX, nanos);
        let begun = rules.clock.now();
        let expires = begun.saturating_add(limit);
        let expires = expires.min(rules.deadline.unwrap_or(Nanos::MAX));
        let coming = coming.until(rules.clock.instant(expires));
        let token = self.core.setup.token.child();
        let (ticket, arm) = self
            .core
            .lend(job, begun, expires, Arc::clone(post), token.clone());
        if let (Some(due), Some(crew)) = (arm, self.crew.upgrade())
            && !crew.watch(due, Parked::Lane(self.this.clone()))
            && let Some(job) = self.core.reclaim(ticket)
        {
            // The pool has stopped in this moment, and the batch with it.
            return Some(Tried::Not(job));
        }
        let before = post.swap_token(token);
        let returned = coming.run(|| (self.job)(input.get()));
        drop(post.swap_token(before));
        unwind::discard(input);
        let Some(job) = self.core.reclaim(ticket) else {
            post.set_holding(false);
            returned.discard();
            return None;
        };
        if let Some(crew) = self.crew.upgrade() {
            crew.watch_is_over();
        }
        Some(Tried::Once(job, returned))
    }

    /// Does what follows from an attempt, but for the lane.
    #[inline(always)]
    fn follow(&self, job: Queued<I, E>, outcome: Outcome<T>) -> Ran<I, T, E> {
        match outcome {
            Outcome::Succeeded(value) => {
                let settled = job.succeed(value);
                if self.core.setup.observer.is_there() {
                    self.tell_settled(&settled, Ok(()));
                }
                Ran::Settled(settled)
            }
            Outcome::Retry(None, _) => Ran::Retry(job),
            Outcome::Retry(Some(due), _) => Ran::Park(due, job),
            Outcome::GaveUp(reason, now) => {
                let settled = job.give_up(reason, now);
                if let (Some(hook), Err(give_up)) = (&self.options.on_give_up, &settled.result) {
                    unwind::contain(|| hook(settled.input.get(), give_up));
                }
                if self.core.setup.observer.is_there() {
                    self.tell_settled(&settled, Err(reason));
                }
                Ran::Settled(settled)
            }
        }
    }

    /// The batch's token is cancelled, and so is the batch.
    #[cold]
    fn end_as_told(&self, crew: &Crew<'p>) {
        if let Some(reason) = self.core.setup.token.reason() {
            self.core.end(crew, reason);
        }
    }

    /// Works on the lane until it is empty or the turn is over.
    fn take_turn(&self, crew: &Crew<'p>, post: &Arc<Post>) -> Next {
        let rules = self.rules(crew);
        let begun = crew.clock.now();
        let mut pace = Pace::new(begun);
        let Some((mut job, pocket)) = self.core.begin(begun) else {
            return Next::Done;
        };
        let next = loop {
            let Some((ran, outcome)) = self.run_one(&rules, post, job) else {
                break Next::Abandoned;
            };
            let now = pace.after_job(outcome.time(), || crew.clock.now());
            if matches!(outcome, Outcome::Succeeded(_)) {
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
                self.put_away(crew, self.follow(ran, outcome), now, pocket.as_ref());
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
        let outcome = match (outcome, turn.usable()) {
            // The errors of a retried job are dropped without a lock, so it takes the other way.
            (Outcome::Succeeded(value), Some(pocket)) if job.record.is_none() => {
                match pocket.exchange(&mut job, value, now) {
                    None => {
                        // A success in the pocket has ended, and its place in the pool is free.
                        self.core.setup.roster.permits.release(1);
                        if self.core.is_awaited() {
                            self.core.deliver(pocket);
                        }
                        return After::Job(job);
                    }
                    Some(value) => Outcome::Succeeded(value),
                }
            }
            (outcome, _) => outcome,
        };
        let ran = self.follow(job, outcome);
        let (after, leftover) = self.core.exchange(ran, now, turn);
        if !matches!(after, After::Job(_)) {
            // The token is gone, or on its way back, and user code may wait below.
            post.hold_token_of(0);
            post.set_holding(false);
        }
        self.tidy(crew, leftover);
        after
    }

    /// Puts away what was run by a worker that has waited for other jobs.
    #[cold]
    fn put_away(
        &self,
        crew: &Crew<'p>,
        ran: Ran<I, T, E>,
        now: Option<Nanos>,
        pocket: Option<&SharedPocket<I, T, E>>,
    ) {
        let (leftover, tokens) = self.core.put_away(ran, now, pocket);
        if tokens > 0
            && let Some(lane) = self.this.upgrade()
        {
            let lane: SharedLane<'p> = lane;
            crew.push_tokens(&lane, tokens);
        }
        self.tidy(crew, leftover);
    }

    #[cold]
    fn tell_settled(&self, settled: &Settled<I, T, E>, result: Result<(), GiveUpReason>) {
        let name = self.options.name.as_ref();
        let name = name.and_then(|name| name_of(&***name, settled.input.get()));
        let setup = &self.core.setup;
        let event = JobEvent {
            name: name.as_deref(),
            ..setup.event(settled.index, settled.attempts)
        };
        setup
            .observer
            .tell(|observer| observer.job_settled(&event, result));
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

impl<'p, I, T, E, F> Work<'p> for BatchLane<'p, I, T, E, F>
where
    I: Send + 'p,
    T: Send + 'p,
    E: Send + 'p,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'p,
{
    fn run(&self, crew: &Crew<'p>, post: &Arc<Post>) -> Next {
        post.hold_token_of(self.core.setup.number);
        let own = post.swap_token(self.core.setup.token.clone());
        post.set_holding(true);
        let next = self.take_turn(crew, post);
        post.set_holding(false);
        drop(post.swap_token(own));
        post.hold_token_of(0);
        crew.settled();
        next
    }

    fn give_up(&self, crew: &Crew<'p>, reason: GiveUpReason) {
        self.core.end(crew, reason);
    }

    fn void_token(&self) {
        self.core.void_token();
    }
}

impl<'p, I, T, E, F> Lane<'p> for BatchLane<'p, I, T, E, F>
where
    I: Send + 'p,
    T: Send + 'p,
    E: Send + 'p,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'p,
{
    fn due(&self, now: Nanos) -> Due {
        self.core.due(now)
    }

    fn missing_tokens(&self, gone: bool) -> usize {
        self.core.missing_tokens(gone)
    }

    fn is_watching(&self) -> bool {
        self.core.is_watching()
    }

    fn close(&self) {
        self.core.close();
    }
}

/// A job that was to be tried, with a limit.
enum Tried<I, T, E> {
    Once(Queued<I, E>, Returned<T, E>),
    Not(Queued<I, E>),
}

/// A name function that panics leaves its job without a name.
fn name_of<I>(name: &dyn Fn(&I) -> String, input: &I) -> Option<Arc<str>> {
    match unwind::catch(|| name(input)) {
        Ok(name) => Some(Arc::from(name)),
        Err(payload) => {
            unwind::discard(payload);
            None
        }
    }
}
