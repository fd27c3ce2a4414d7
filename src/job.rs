//! A single job: one attempt, then settle, requeue or park.

use std::task::Waker;

use crate::clock::Nanos;
use crate::crew::{Crew, Next, Work};
use crate::give_up::{AttemptError, GiveUp, GiveUpReason, Record};
use crate::judge::{NextAttempt, Outcome, Rules, Subject, attempt, attempts};
use crate::policy::{RetryPolicy, Verdict};
use crate::slot::{Look, Slot};
use crate::stats::Counts;
use crate::sync::{Arc, AtomicU32, Ordering};
use crate::unwind::{self, Hook};

/// A job of its own, shared by the pool and its handle.
pub(crate) struct SingleJob<'p, F, T, E> {
    slot: Slot<Todo<'p, F, T, E>, Result<T, GiveUp<E>>>,
    accepted: Nanos,
    /// For the jitter; half of the pool's count is enough for that.
    number: u32,
    /// How many attempts have begun.
    attempts: AtomicU32,
    /// Boxed, because most jobs have none.
    name: Option<Box<Arc<str>>>,
}

/// What it takes to run a single job. It belongs to the worker during an attempt, so the job need not be `Sync`.
pub(crate) struct Todo<'p, F, T, E> {
    pub(crate) job: F,
    /// `None`: the pool's policy, and every error is retried.
    pub(crate) options: Option<Box<Options<'p, T, E>>>,
    pub(crate) record: Option<Box<Record<E>>>,
}

impl<F, T, E> Todo<'_, F, T, E> {
    /// Drops the user's closures, each by itself, since each may panic in its destructor. What is left is the record.
    pub(crate) fn free(self) -> Option<Box<Record<E>>> {
        unwind::discard(self.job);
        unwind::discard(self.options);
        self.record
    }
}

/// What a caller has set for a single job.
pub(crate) struct Options<'p, T, E> {
    pub(crate) policy: Option<RetryPolicy>,
    pub(crate) classify: Hook<dyn Fn(&E) -> Verdict + Send + 'p>,
    pub(crate) accept: Hook<dyn Fn(&T) -> bool + Send + 'p>,
    pub(crate) on_retry: Hook<dyn Fn(&(), &AttemptError<E>, NextAttempt) + Send + 'p>,
    pub(crate) on_give_up: Hook<dyn Fn(&GiveUp<E>) + Send + 'p>,
    pub(crate) display: Option<fn(&E) -> String>,
    pub(crate) errors_kept: usize,
}

impl<T, E> Default for Options<'_, T, E> {
    fn default() -> Self {
        Self {
            policy: None,
            classify: None,
            accept: None,
            on_retry: None,
            on_give_up: None,
            display: None,
            errors_kept: 1,
        }
    }
}

/// A single job as its handle sees it: the job's own type is gone.
pub(crate) trait Pending<T, E>: Send + Sync {
    fn try_take(&self) -> Look<Result<T, GiveUp<E>>>;
    fn poll(&self, waker: &Waker) -> Look<Result<T, GiveUp<E>>>;
    /// Nobody waits any more.
    fn leave(&self);
    fn is_settled(&self) -> bool;
    fn attempts(&self) -> u32;
    fn name(&self) -> Option<&str>;
}

impl<'p, F, T, E> SingleJob<'p, F, T, E> {
    pub(crate) fn new(
        todo: Todo<'p, F, T, E>,
        name: Option<Arc<str>>,
        number: u64,
        accepted: Nanos,
    ) -> Self {
        Self {
            slot: Slot::pending(todo),
            accepted,
            number: number as u32,
            attempts: AtomicU32::new(0),
            name: name.map(Box::new),
        }
    }

    /// A job that was not accepted.
    pub(crate) fn refused(name: Option<Arc<str>>) -> Self {
        let refusal = Record::new().give_up(GiveUpReason::Shutdown, 0);
        Self {
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
            clock: &crew.clock,
        }
    }

    /// Frees the job, then settles it as given up, in this order, so that who sees it settled sees it freed.
    fn settle_as(&self, todo: Todo<'p, F, T, E>, reason: GiveUpReason, now: Nanos) {
        let Todo {
            job,
            options,
            record,
        } = todo;
        unwind::discard(job);
        let elapsed = now.saturating_sub(self.accepted);
        let give_up = record.unwrap_or_else(Record::new).give_up(reason, elapsed);
        if let Some(hook) = options
            .as_deref()
            .and_then(|options| options.on_give_up.as_ref())
        {
            unwind::contain(|| hook(&give_up));
        }
        unwind::discard(options);
        self.slot.set(Err(give_up));
    }
}

impl<'p, F, T, E> Work<'p> for SingleJob<'p, F, T, E>
where
    F: Fn() -> Result<T, E> + Send,
    T: Send,
    E: Send,
{
    fn run(&self, crew: &Crew<'p>, counts: &Counts) -> Next {
        let Some(mut todo) = self.slot.begin() else {
            return Next::Done;
        };
        // ORDERING: a figure for `JobHandle::attempts`; it publishes nothing else.
        self.attempts.store(
            attempts(todo.record.as_deref()).saturating_add(1),
            Ordering::Relaxed,
        );
        if todo.record.is_some() {
            counts.retries.bump(1);
        }
        let Todo {
            job,
            options,
            record,
        } = &mut todo;
        let rules = Self::rules(crew, options.as_deref());
        let subject = Subject {
            input: &(),
            name: self.name.as_deref().cloned(),
            number: u64::from(self.number),
            accepted: self.accepted,
        };
        let place = rules.policy.place();
        let outcome = attempt(&rules, &subject, record, job);
        match outcome {
            Outcome::Succeeded(value) => {
                drop(todo.free());
                counts.succeeded.bump(1);
                self.slot.set(Ok(value));
            }
            Outcome::GaveUp(reason, now) => {
                counts.gave_up(reason).bump(1);
                self.settle_as(todo, reason, now);
            }
            Outcome::Retry(due, _) => {
                self.slot.put_back(todo);
                return due.map_or(Next::Requeue(place), |due| Next::ParkUntil(due, place));
            }
        }
        crew.settled();
        Next::Done
    }

    fn give_up(&self, crew: &Crew<'p>) {
        if let Some(todo) = self.slot.begin() {
            crew.callers().gave_up(GiveUpReason::Shutdown).add(1);
            self.settle_as(todo, GiveUpReason::Shutdown, crew.clock.now());
            crew.settled();
        }
    }
}

impl<F, T, E> Pending<T, E> for SingleJob<'_, F, T, E>
where
    F: Send,
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

    fn attempts(&self) -> u32 {
        // ORDERING: see `run`.
        self.attempts.load(Ordering::Relaxed)
    }
    fn name(&self) -> Option<&str> {
        self.name.as_deref().map(|name| &**name)
    }
}
