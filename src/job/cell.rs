//! A single job: one attempt, then settle, requeue or park.

use std::time::Duration;

use super::todo::{Callable, Numbered, Options, SharedFn, Todo};
use crate::cancel::CancelToken;
use crate::clock::{Nanos, nanos};
use crate::crew::{Crew, Next, Parked, Watch};
use crate::give_up::{AttemptError, GiveUp, Record};
use crate::judge::{
    Coming, Outcome, Rules, Subject, attempts, conclude, conclude_timed_out, prepare,
};
use crate::observe::JobEvent;
use crate::reason::GiveUpReason;
use crate::roster::{Post, Stuck};
use crate::slot::{NOBODY, Slot, Standing};
use crate::sync::{Arc, AtomicU32, Ordering, const_fn};
use crate::unwind;

/// What the job's handle is to get, if there is none any more.
type Unwanted<T, E> = Option<Result<T, GiveUp<E>>>;

/// What there is to a single job but for what it shares with its neighbours in the [`Slab`](super::Slab).
pub(crate) struct Cell<J, T, E> {
    pub(super) slot: Slot<Todo<J, E>, Result<T, GiveUp<E>>>,
    /// When it was accepted, in nanoseconds since its slab was. Written before anybody else knows of the job.
    accepted: AtomicU32,
    /// How many attempts have begun.
    attempts: AtomicU32,
}

impl<J, T, E> Cell<J, T, E> {
    const_fn! {
        fn with(slot: Slot<Todo<J, E>, Result<T, GiveUp<E>>>) -> Self {
            Self {
                slot,
                accepted: AtomicU32::new(0),
                attempts: AtomicU32::new(0),
            }
        }
    }

    /// Accepted when its slab is.
    pub(super) fn new(job: J, number: u32) -> Self {
        Self::with(Slot::pending((Todo::new(job), number)))
    }

    const_fn! {
        /// One that is to be filled.
        pub(super) fn vacant() -> Self {
            Self::with(Slot::vacant())
        }
    }

    /// `accepted` so long after the slab.
    pub(super) fn fill(&self, job: J, accepted: u32, number: u32) {
        // ORDERING: published by the channel, or by whatever brings the handle to another thread.
        self.accepted.store(accepted, Ordering::Relaxed);
        self.slot.fill((Todo::new(job), number));
    }

    pub(super) fn attempts(&self) -> u32 {
        // ORDERING: a figure, which publishes nothing else; here and where it is written.
        self.attempts.load(Ordering::Relaxed)
    }

    /// A job that was not accepted.
    pub(super) fn refused() -> Self {
        let refusal = Record::new().give_up(GiveUpReason::Shutdown, 0);
        Self::with(Slot::settled(Err(refusal)))
    }
}

/// A single job, with what it shares.
pub(super) struct SingleJob<'a, 'p, J, T, E> {
    pub(super) crew: &'a Crew<'p>,
    pub(super) name: Option<&'a Arc<str>>,
    /// When its slab was accepted.
    pub(super) since: Nanos,
    pub(super) cell: &'a Cell<J, T, E>,
}

impl<'p, J, T, E> SingleJob<'_, 'p, J, T, E>
where
    J: Callable<'p, T, E>,
{
    fn rules<'r>(
        crew: &'r Crew<'p>,
        options: Option<&'r Options<'p, T, E>>,
    ) -> Rules<'r, (), T, E> {
        let settings = &crew.settings;
        Rules {
            policy: options
                .and_then(|options| options.policy.as_ref())
                .unwrap_or(&settings.policy),
            classify: options.and_then(|options| Some(&***options.classify.as_ref()? as _)),
            accept: options.and_then(|options| Some(&***options.accept.as_ref()? as _)),
            on_retry: options.and_then(|options| Some(&***options.on_retry.as_ref()? as _)),
            display: options.and_then(|options| options.display),
            errors_kept: options.map_or(1, |options| options.errors_kept),
            seed: settings.seed,
            deadline: options.and_then(|options| options.deadline),
            observer: &settings.observer,
            batch: None,
            clock: &crew.clock,
        }
    }

    pub(super) fn accepted(&self) -> Nanos {
        // ORDERING: see `Cell::fill`.
        self.since + Nanos::from(self.cell.accepted.load(Ordering::Relaxed))
    }

    /// When the job may begin, or begin again.
    pub(super) fn due(todo: &Todo<J, E>) -> Nanos {
        match (&todo.record, todo.job.options()) {
            (Some(record), _) => record.due(),
            (None, Some(options)) => options.begins,
            (None, None) => 0,
        }
    }

    fn subject(&self, number: u32) -> Subject<'static, ()> {
        Subject {
            input: &(),
            name: self.name.cloned(),
            number: u64::from(number),
            accepted: self.accepted(),
        }
    }

    /// Frees the job, then settles it as given up, in this order, so that who sees it settled sees it freed.
    fn settle_as(
        &self,
        (todo, number): Numbered<J, E>,
        reason: GiveUpReason,
        now: Nanos,
    ) -> Unwanted<T, E> {
        let Todo { job, record } = todo;
        // First, since user code that runs here, or sees it settled, may submit the next.
        self.crew.roster.permits.release(1);
        let mut options = job.free();
        let record = self.note_expired(options.as_deref_mut(), record, now);
        let elapsed = now.saturating_sub(self.accepted());
        let give_up = record.unwrap_or_else(Record::new).give_up(reason, elapsed);
        if let Some(hook) = options
            .as_deref()
            .and_then(|options| options.on_give_up.as_ref())
        {
            unwind::contain(|| hook(&give_up));
        }
        unwind::discard(options);
        self.tell_settled(number, give_up.attempts(), Err(reason));
        self.cell.slot.set(Err(give_up))
    }

    /// An attempt that was abandoned, and will not be judged any more, still counts.
    fn note_expired(
        &self,
        options: Option<&mut Options<'p, T, E>>,
        record: Option<Box<Record<E>>>,
        now: Nanos,
    ) -> Option<Box<Record<E>>> {
        let expired =
            options.and_then(|options| Some((options.timed_out.take()?, options.errors_kept)));
        let Some((limit, kept)) = expired else {
            return record;
        };
        let mut record = record.unwrap_or_else(Record::new);
        let number = record.retry.attempts().saturating_add(1);
        let elapsed = now.saturating_sub(self.accepted());
        record.note(number, AttemptError::TimedOut(limit), elapsed, kept);
        Some(record)
    }

    /// Tells the observer how the job has ended, before anybody else is told.
    fn tell_settled(&self, number: u32, attempts: u32, result: Result<(), GiveUpReason>) {
        let event = JobEvent {
            batch: None,
            number: u64::from(number),
            name: self.name.map(|name| &**name),
            attempts,
        };
        let observer = &self.crew.settings.observer;
        observer.tell(|observer| observer.job_settled(&event, result));
    }

    /// Settles a job that is not running, on the thread that wants it ended.
    fn end(&self, todo: Numbered<J, E>, reason: GiveUpReason) {
        let crew = self.crew;
        let was_parked = Self::due(&todo.0) > 0;
        crew.callers().gave_up(reason).add(1);
        let unwanted = self.settle_as(todo, reason, crew.clock.now());
        if was_parked {
            crew.forget_parked();
        }
        crew.settled_one();
        unwind::discard(unwanted);
    }

    /// Does what follows from an attempt.
    fn follow(&self, post: &Post, (mut todo, number): Numbered<J, E>, outcome: Outcome<T>) -> Next {
        let crew = self.crew;
        let unwanted = match outcome {
            Outcome::Succeeded(value) => {
                post.set_holding(false);
                crew.roster.permits.release(1);
                post.counts.succeeded.add(1);
                unwind::discard(todo.job.free());
                drop(todo.record);
                if crew.settings.observer.is_there() {
                    self.tell_settled(number, self.cell.attempts(), Ok(()));
                }
                self.cell.slot.set(Ok(value))
            }
            Outcome::GaveUp(reason, now) => {
                post.set_holding(false);
                post.counts.gave_up(reason).add(1);
                self.settle_as((todo, number), reason, now)
            }
            Outcome::Retry(due, now) => {
                let options = todo.job.options();
                let policy = options.and_then(|options| options.policy.as_ref());
                let place = policy.unwrap_or(&crew.settings.policy).place();
                if let Some(record) = &mut todo.record {
                    record.set_due(due.unwrap_or(0));
                }
                post.set_holding(false);
                let (todo, reason) = match self.cell.slot.put_back((todo, number)) {
                    Ok(()) => {
                        return due.map_or(Next::Requeue(place), |due| Next::ParkUntil(due, place));
                    }
                    // Told to stop after it was decided to retry.
                    Err(told) => told,
                };
                post.counts.gave_up(reason).add(1);
                self.settle_as(todo, reason, now)
            }
        };
        crew.settled_one();
        unwind::discard(unwanted);
        Next::Done
    }

    /// Why the attempt that has just ended was told to stop, if it was.
    fn told(&self, post: &Post) -> Option<GiveUpReason> {
        let told = self.cell.slot.told().or_else(|| post.told_to_stop());
        told.or_else(|| self.crew.has_cancelled(self.accepted()))
    }

    /// Why there is to be no further attempt, if so.
    fn is_past(&self, options: Option<&Options<'p, T, E>>) -> Option<GiveUpReason> {
        let crew = self.crew;
        crew.has_cancelled(self.accepted()).or_else(|| {
            let deadline = options?.deadline?;
            (crew.clock.now() >= deadline).then_some(GiveUpReason::DeadlineExceeded)
        })
    }

    /// The token of the attempt that runs on this worker. To be cancelled without the slot's lock, since listeners are called.
    fn token_on(&self, worker: u32) -> Option<CancelToken> {
        let post = self.crew.roster.post(worker)?;
        Some(post.token())
    }

    /// An attempt that may be abandoned: the rest of the job stays in the slot meanwhile.
    fn run_shared(
        &self,
        post: &Post,
        (mut todo, number): Numbered<J, E>,
        coming: Coming,
        job: &SharedFn<T, E>,
    ) -> Next {
        let crew = self.crew;
        let now = crew.clock.now();
        let options = todo.job.options();
        let limit = options
            .and_then(|options| options.attempt_timeout)
            .map_or(Nanos::MAX, nanos);
        let deadline = options.and_then(|options| options.deadline);
        let expires = now
            .saturating_add(limit)
            .min(deadline.unwrap_or(Nanos::MAX));
        let coming = coming.until(crew.clock.instant(expires));
        let watch = options
            .and_then(|options| options.this.clone())
            .map(|work| {
                Arc::new(Watch {
                    work,
                    attempt: coming.number,
                })
            });
        let (worker, attempt) = (post.number as u32, coming.number);
        if let Some(options) = todo.job.options_mut() {
            options.limit = Duration::from_nanos(expires.saturating_sub(now));
        }
        self.cell.slot.lend((todo, number), attempt);
        if let Some(watch) = &watch {
            crew.park(expires, Parked::Attempt(Arc::downgrade(watch)));
        }
        let returned = coming.run(|| job.call());
        drop(watch);
        let Some((mut todo, number)) = self.cell.slot.reclaim(worker, attempt) else {
            post.set_holding(false);
            returned.discard();
            return Next::Abandoned;
        };
        let Todo { job, record } = &mut todo;
        let rules = Self::rules(crew, job.options());
        let told = || self.told(post);
        let outcome = conclude(&rules, &self.subject(number), record, returned, told);
        self.follow(post, (todo, number), outcome)
    }

    pub(super) fn run(&self, post: &Arc<Post>) -> Next {
        let crew = self.crew;
        post.renew_token();
        let Some((mut todo, number)) = self.cell.slot.begin(post.number as u32) else {
            return Next::Done;
        };
        post.set_holding(true);
        let options = todo.job.options_mut();
        let timed_out = options.and_then(|options| options.timed_out.take());
        if timed_out.is_none()
            && let Some(reason) = self.is_past(todo.job.options())
        {
            let ended = Outcome::GaveUp(reason, crew.clock.now());
            return self.follow(post, (todo, number), ended);
        }
        let Todo { job, record } = &mut todo;
        let subject = self.subject(number);
        if let Some(limit) = timed_out {
            let told = job.options_mut().and_then(|options| options.told.take());
            let told = told.or_else(|| self.is_past(job.options()));
            let rules = Self::rules(crew, job.options());
            let outcome = conclude_timed_out(&rules, &subject, record, limit, told);
            return self.follow(post, (todo, number), outcome);
        }
        let attempt = attempts(record.as_deref()).saturating_add(1);
        self.cell.attempts.store(attempt, Ordering::Relaxed);
        if record.is_some() {
            post.counts.retries.bump(1);
        }
        let rules = Self::rules(crew, job.options());
        let coming = prepare(&rules, &subject, record);
        if let Some(job) = job.share() {
            return self.run_shared(post, (todo, number), coming, &job);
        }
        let returned = coming.run(|| job.call());
        let told = || self.told(post);
        let outcome = conclude(&rules, &subject, record, returned, told);
        self.follow(post, (todo, number), outcome)
    }

    pub(super) fn give_up(&self, reason: GiveUpReason) {
        if let Some(todo) = self.cell.slot.begin(NOBODY) {
            self.end(todo, reason);
        }
    }

    pub(super) fn is_over(&self) -> Option<GiveUpReason> {
        self.crew.has_cancelled(self.accepted())
    }

    pub(super) fn expire(&self, attempt: u32) -> Option<Stuck> {
        let roster = &self.crew.roster;
        let mark = |todo: &mut Todo<J, E>, told| {
            if let Some(options) = todo.job.options_mut() {
                options.timed_out = Some(options.limit);
                options.told = told;
            }
        };
        let left = |worker| {
            let post = roster.post(worker)?;
            let token = post.token();
            Some(roster.mark_stuck(post, token))
        };
        self.cell.slot.expire(attempt, mark, left).flatten()
    }

    pub(super) fn pass_deadline(&self) -> (bool, Option<CancelToken>) {
        let reason = GiveUpReason::DeadlineExceeded;
        match self.cell.slot.tell(reason, |worker| self.token_on(worker)) {
            Ok(Standing::Pending(())) => (true, None),
            Ok(Standing::Settled) => (false, None),
            Err(token) => (false, token),
        }
    }

    pub(super) fn cancel(&self) -> bool {
        let reason = GiveUpReason::Cancelled;
        let running = |worker| self.token_on(worker);
        match self.cell.slot.interrupt(reason, running) {
            Ok(Standing::Pending(todo)) => self.end(todo, reason),
            Ok(Standing::Settled) => return false,
            Err(None) => {}
            Err(Some(token)) => token.cancel_for(reason),
        }
        true
    }
}
