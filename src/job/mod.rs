//! A single job: one attempt, then settle, requeue or park.

use std::task::Waker;
use std::time::Duration;

use crate::cancel::CancelToken;
use crate::clock::{Nanos, nanos};
use crate::crew::{Crew, Next, Parked, Watch, Work};
use crate::give_up::{AttemptError, GiveUp, Record};
use crate::judge::{
    Coming, Outcome, Rules, Subject, attempts, conclude, conclude_timed_out, prepare,
};
use crate::observe::JobEvent;
use crate::reason::GiveUpReason;
use crate::roster::{Post, Stuck};
use crate::slot::{Look, NOBODY, Slot, Standing};
use crate::sync::{Arc, AtomicU32, Ordering};
use crate::unwind;

mod todo;

pub(crate) use todo::{Callable, Options, Plain, SharedFn, Todo};

/// A job of its own, shared by the pool and its handle.
pub(crate) struct SingleJob<'p, J, T, E> {
    pub(crate) crew: Arc<Crew<'p>>,
    slot: Slot<Todo<'p, J, T, E>, Result<T, GiveUp<E>>>,
    accepted: Nanos,
    /// For the jitter; half of the pool's count is enough for that.
    number: u32,
    /// How many attempts have begun.
    attempts: AtomicU32,
    /// Boxed, because most jobs have none.
    name: Option<Box<Arc<str>>>,
}

/// Where a job is; by [`JobHandle::state`](crate::JobHandle::state).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum JobState {
    /// Waits for a worker.
    Queued,
    /// Waits until it is due: its delay or the backoff of a retry.
    Parked,
    /// An attempt runs.
    Running,
    /// Has ended.
    Settled,
}

/// A single job as its handle sees it: the job's own type is gone.
pub(crate) trait Pending<T, E>: Send + Sync {
    fn try_take(&self) -> Look<Result<T, GiveUp<E>>>;
    fn poll(&self, waker: &Waker) -> Look<Result<T, GiveUp<E>>>;
    /// Nobody waits any more.
    fn leave(&self);
    fn is_settled(&self) -> bool;
    fn state(&self) -> JobState;
    /// False if the job had settled.
    fn cancel(&self) -> bool;
    fn attempts(&self) -> u32;
    fn name(&self) -> Option<&str>;
}

impl<'p, J, T, E> SingleJob<'p, J, T, E> {
    pub(crate) fn new(
        crew: Arc<Crew<'p>>,
        todo: Todo<'p, J, T, E>,
        name: Option<Arc<str>>,
        number: u64,
        accepted: Nanos,
    ) -> Self {
        Self {
            crew,
            slot: Slot::pending(todo),
            accepted,
            number: number as u32,
            attempts: AtomicU32::new(0),
            name: name.map(Box::new),
        }
    }

    /// A job that was not accepted.
    pub(crate) fn refused(crew: Arc<Crew<'p>>, name: Option<Arc<str>>) -> Self {
        let refusal = Record::new().give_up(GiveUpReason::Shutdown, 0);
        Self {
            crew,
            slot: Slot::settled(Err(refusal)),
            accepted: 0,
            number: 0,
            attempts: AtomicU32::new(0),
            name: name.map(Box::new),
        }
    }

    fn rules<'a>(
        crew: &'a Crew<'p>,
        options: Option<&'a Options<'p, T, E>>,
    ) -> Rules<'a, (), T, E> {
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

    fn subject(&self) -> Subject<'static, ()> {
        Subject {
            input: &(),
            name: self.name.as_deref().cloned(),
            number: u64::from(self.number),
            accepted: self.accepted,
        }
    }

    /// Frees the job, then settles it as given up, in this order, so that who sees it settled sees it freed.
    fn settle_as(&self, todo: Todo<'p, J, T, E>, reason: GiveUpReason, now: Nanos) {
        let Todo {
            job,
            mut options,
            record,
        } = todo;
        // First, since user code that runs here, or sees it settled, may submit the next.
        self.crew.roster.permits.release(1);
        unwind::discard(job);
        let record = self.note_expired(options.as_deref_mut(), record, now);
        let elapsed = now.saturating_sub(self.accepted);
        let give_up = record.unwrap_or_else(Record::new).give_up(reason, elapsed);
        if let Some(hook) = options
            .as_deref()
            .and_then(|options| options.on_give_up.as_ref())
        {
            unwind::contain(|| hook(&give_up));
        }
        unwind::discard(options);
        self.tell_settled(give_up.attempts(), Err(reason));
        self.slot.set(Err(give_up));
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
        let elapsed = now.saturating_sub(self.accepted);
        record.note(number, AttemptError::TimedOut(limit), elapsed, kept);
        Some(record)
    }

    /// Tells the observer how the job has ended, before anybody else is told.
    fn tell_settled(&self, attempts: u32, result: Result<(), GiveUpReason>) {
        let observer = &self.crew.settings.observer;
        observer.tell(|observer| observer.job_settled(&self.event(attempts), result));
    }

    pub(crate) fn event(&self, attempts: u32) -> JobEvent<'_> {
        JobEvent {
            batch: None,
            number: u64::from(self.number),
            name: self.name.as_deref().map(|name| &**name),
            attempts,
        }
    }

    /// Settles a job that is not running, on the thread that wants it ended.
    fn end(&self, todo: Todo<'p, J, T, E>, reason: GiveUpReason) {
        let crew = &self.crew;
        let was_parked = todo.due() > 0;
        crew.callers().gave_up(reason).add(1);
        self.settle_as(todo, reason, crew.clock.now());
        if was_parked {
            crew.forget_parked();
        }
        crew.settled_one();
    }

    /// Does what follows from an attempt.
    fn follow(&self, post: &Post, mut todo: Todo<'p, J, T, E>, outcome: Outcome<T>) -> Next {
        let crew = &*self.crew;
        match outcome {
            Outcome::Succeeded(value) => {
                post.set_holding(false);
                crew.roster.permits.release(1);
                post.counts.succeeded.add(1);
                drop(todo.free());
                if crew.settings.observer.is_there() {
                    // ORDERING: written by this thread.
                    self.tell_settled(self.attempts.load(Ordering::Relaxed), Ok(()));
                }
                self.slot.set(Ok(value));
            }
            Outcome::GaveUp(reason, now) => {
                post.set_holding(false);
                post.counts.gave_up(reason).add(1);
                self.settle_as(todo, reason, now);
            }
            Outcome::Retry(due, now) => {
                let policy = todo
                    .options
                    .as_deref()
                    .and_then(|options| options.policy.as_ref());
                let place = policy.unwrap_or(&crew.settings.policy).place();
                if let Some(record) = &mut todo.record {
                    record.set_due(due.unwrap_or(0));
                }
                post.set_holding(false);
                let (todo, reason) = match self.slot.put_back(todo) {
                    Ok(()) => {
                        return due.map_or(Next::Requeue(place), |due| Next::ParkUntil(due, place));
                    }
                    // Told to stop after it was decided to retry.
                    Err(told) => told,
                };
                post.counts.gave_up(reason).add(1);
                self.settle_as(todo, reason, now);
            }
        }
        crew.settled_one();
        Next::Done
    }

    /// Why the attempt that has just ended was told to stop, if it was.
    fn told(&self, post: &Post) -> Option<GiveUpReason> {
        let told = self.slot.told().or_else(|| post.told_to_stop());
        told.or_else(|| self.crew.has_cancelled(self.accepted))
    }

    /// Why there is to be no further attempt, if so.
    fn is_past(&self, options: Option<&Options<'p, T, E>>) -> Option<GiveUpReason> {
        let crew = &*self.crew;
        crew.has_cancelled(self.accepted).or_else(|| {
            let deadline = options?.deadline?;
            (crew.clock.now() >= deadline).then_some(GiveUpReason::DeadlineExceeded)
        })
    }

    /// The token of the attempt that runs on this worker. To be cancelled without the slot's lock, since listeners are called.
    fn token_on(&self, worker: u32) -> Option<CancelToken> {
        let post = self.crew.roster.post(worker)?;
        Some(post.token())
    }
}

impl<'p, J, T, E> SingleJob<'p, J, T, E>
where
    J: Callable<T, E>,
    T: Send,
    E: Send,
{
    /// An attempt that may be abandoned: the rest of the job stays in the slot meanwhile.
    fn run_shared(
        &self,
        post: &Post,
        mut todo: Todo<'p, J, T, E>,
        coming: Coming,
        job: &SharedFn<T, E>,
    ) -> Next {
        let crew = &*self.crew;
        let now = crew.clock.now();
        let options = todo.options.as_deref();
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
        let (worker, number) = (post.number as u32, coming.number);
        if let Some(options) = &mut todo.options {
            options.limit = Duration::from_nanos(expires.saturating_sub(now));
        }
        self.slot.lend(todo, number);
        if let Some(watch) = &watch {
            crew.park(expires, Parked::Attempt(Arc::downgrade(watch)));
        }
        let returned = coming.run(|| job.call());
        drop(watch);
        let Some(mut todo) = self.slot.reclaim(worker, number) else {
            post.set_holding(false);
            returned.discard();
            return Next::Abandoned;
        };
        let Todo {
            options, record, ..
        } = &mut todo;
        let rules = Self::rules(crew, options.as_deref());
        let told = || self.told(post);
        let outcome = conclude(&rules, &self.subject(), record, returned, told);
        self.follow(post, todo, outcome)
    }
}

impl<'p, J, T, E> Work<'p> for SingleJob<'p, J, T, E>
where
    J: Callable<T, E>,
    T: Send,
    E: Send,
{
    fn run(&self, crew: &Crew<'p>, post: &Arc<Post>) -> Next {
        post.renew_token();
        let Some(mut todo) = self.slot.begin(post.number as u32) else {
            return Next::Done;
        };
        post.set_holding(true);
        let timed_out = todo
            .options
            .as_mut()
            .and_then(|options| options.timed_out.take());
        if timed_out.is_none()
            && let Some(reason) = self.is_past(todo.options.as_deref())
        {
            post.set_holding(false);
            post.counts.gave_up(reason).add(1);
            self.settle_as(todo, reason, crew.clock.now());
            crew.settled_one();
            return Next::Done;
        }
        let Todo {
            job,
            options,
            record,
        } = &mut todo;
        let subject = self.subject();
        if let Some(limit) = timed_out {
            let told = options.as_mut().and_then(|options| options.told.take());
            let told = told.or_else(|| self.is_past(options.as_deref()));
            let rules = Self::rules(crew, options.as_deref());
            let outcome = conclude_timed_out(&rules, &subject, record, limit, told);
            return self.follow(post, todo, outcome);
        }
        // ORDERING: a figure for `JobHandle::attempts`; it publishes nothing else.
        self.attempts.store(
            attempts(record.as_deref()).saturating_add(1),
            Ordering::Relaxed,
        );
        if record.is_some() {
            post.counts.retries.bump(1);
        }
        let rules = Self::rules(crew, options.as_deref());
        let coming = prepare(&rules, &subject, record);
        if let Some(job) = job.share() {
            return self.run_shared(post, todo, coming, &job);
        }
        let returned = coming.run(|| job.call());
        let told = || self.told(post);
        let outcome = conclude(&rules, &subject, record, returned, told);
        self.follow(post, todo, outcome)
    }

    fn give_up(&self, _crew: &Crew<'p>, reason: GiveUpReason) {
        if let Some(todo) = self.slot.begin(NOBODY) {
            self.end(todo, reason);
        }
    }

    fn is_live(&self) -> bool {
        !self.slot.is_settled()
    }

    fn is_over(&self, crew: &Crew<'p>) -> Option<GiveUpReason> {
        crew.has_cancelled(self.accepted)
    }

    fn expire(&self, attempt: u32) -> Option<Stuck> {
        let roster = &self.crew.roster;
        let mark = |todo: &mut Todo<'p, J, T, E>, told| {
            if let Some(options) = &mut todo.options {
                options.timed_out = Some(options.limit);
                options.told = told;
            }
        };
        let left = |worker| {
            let post = roster.post(worker)?;
            let token = post.token();
            Some(roster.mark_stuck(post, token))
        };
        self.slot.expire(attempt, mark, left).flatten()
    }

    fn pass_deadline(&self) -> (bool, Option<CancelToken>) {
        let reason = GiveUpReason::DeadlineExceeded;
        match self.slot.tell(reason, |worker| self.token_on(worker)) {
            Ok(Standing::Pending(())) => (true, None),
            Ok(Standing::Settled) => (false, None),
            Err(token) => (false, token),
        }
    }
}

impl<J, T, E> Pending<T, E> for SingleJob<'_, J, T, E>
where
    J: Send,
    T: Send,
    E: Send,
{
    fn try_take(&self) -> Look<Result<T, GiveUp<E>>> {
        self.slot.try_take()
    }

    fn poll(&self, waker: &Waker) -> Look<Result<T, GiveUp<E>>> {
        self.slot.poll(waker)
    }

    fn leave(&self) {
        self.slot.leave();
    }

    fn is_settled(&self) -> bool {
        self.slot.is_settled()
    }

    fn state(&self) -> JobState {
        match self.slot.peek(Todo::due) {
            Ok(due) if due > self.crew.clock.now() => JobState::Parked,
            Ok(_) => JobState::Queued,
            Err(true) => JobState::Running,
            Err(false) => JobState::Settled,
        }
    }

    fn cancel(&self) -> bool {
        let reason = GiveUpReason::Cancelled;
        match self.slot.interrupt(reason, |worker| self.token_on(worker)) {
            Ok(Standing::Pending(todo)) => self.end(todo, reason),
            Ok(Standing::Settled) => return false,
            Err(None) => {}
            Err(Some(token)) => token.cancel_for(reason),
        }
        true
    }

    fn attempts(&self) -> u32 {
        // ORDERING: see `run`.
        self.attempts.load(Ordering::Relaxed)
    }

    fn name(&self) -> Option<&str> {
        self.name.as_deref().map(|name| &**name)
    }
}
