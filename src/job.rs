//! A single job: one attempt, then settle, requeue or park. Also [`attempt`], which every kind of job goes through.

use std::task::Waker;
use std::time::Duration;

use crate::attempt::Attempt;
use crate::clock::Nanos;
use crate::crew::{Crew, Next, Work};
use crate::give_up::{AttemptError, GiveUp, GiveUpReason, Panic, Record};
use crate::policy::{Decision, RetryPolicy, Verdict};
use crate::slot::{Look, Slot};
use crate::stats::Counts;
use crate::sync::{Arc, AtomicU32, Ordering};
use crate::unwind;

/// What governs one attempt.
pub(crate) struct Rules<'a, E> {
    pub(crate) policy: &'a RetryPolicy,
    pub(crate) classify: Option<&'a dyn Fn(&E) -> Verdict>,
    pub(crate) name: Option<&'a Arc<str>>,
    pub(crate) seed: u64,
    /// The job's number, for the jitter.
    pub(crate) number: u64,
}

/// How an attempt ended.
pub(crate) enum Outcome<T> {
    Succeeded(T),
    Failed(Decision),
}

/// Runs one attempt and judges it. A failure is written into `record`, which knows the attempts so far (none: the first).
pub(crate) fn attempt<T, E>(
    rules: &Rules<'_, E>,
    record: &mut Option<Box<Record<E>>>,
    job: impl FnOnce() -> Result<T, E>,
) -> Outcome<T> {
    let number = attempts(record.as_deref()).saturating_add(1);
    let last = rules.policy.is_last(number);
    let result = Attempt::during(number, last, rules.name, || unwind::catch(job));
    let panicked = |payload| AttemptError::Panicked(Panic::new(payload, rules.name.cloned()));
    let (error, decision) = match result {
        Ok(Ok(value)) => return Outcome::Succeeded(value),
        Ok(Err(error)) => {
            match unwind::catch(|| rules.classify.map_or(Verdict::Retry, |f| f(&error))) {
                Ok(verdict) => {
                    let decision = rules
                        .policy
                        .decide(rules.seed, rules.number, number, verdict);
                    (AttemptError::Failed(error), decision)
                }
                Err(payload) => {
                    unwind::discard(error);
                    (panicked(payload), Decision::GiveUp(GiveUpReason::Panicked))
                }
            }
        }
        Err(payload) => (panicked(payload), Decision::GiveUp(GiveUpReason::Panicked)),
    };
    let record = record.get_or_insert_with(Record::new);
    record.attempts = number;
    unwind::discard(record.last.replace(error));
    Outcome::Failed(decision)
}

/// The attempts that a record knows of.
pub(crate) fn attempts<E>(record: Option<&Record<E>>) -> u32 {
    record.map_or(0, |record| record.attempts)
}

/// A job of its own, shared by the pool and its handle.
pub(crate) struct SingleJob<'p, F, T, E> {
    slot: Slot<Todo<'p, F, E>, Result<T, GiveUp<E>>>,
    accepted: Nanos,
    /// For the jitter; half of the pool's count is enough for that.
    number: u32,
    /// How many attempts have begun.
    attempts: AtomicU32,
    /// Boxed, because most jobs have none.
    name: Option<Box<Arc<str>>>,
}

/// What it takes to run a single job. It belongs to the worker during an attempt, so the job need not be `Sync`.
pub(crate) struct Todo<'p, F, E> {
    pub(crate) job: F,
    /// `None`: the pool's policy, and every error is retried.
    pub(crate) options: Option<Box<Options<'p, E>>>,
    pub(crate) record: Option<Box<Record<E>>>,
}

impl<F, E> Todo<'_, F, E> {
    /// Drops the user's closures, each by itself, since each may panic in its destructor. What is left is the record.
    pub(crate) fn free(self) -> Option<Box<Record<E>>> {
        unwind::discard(self.job);
        unwind::discard(self.options);
        self.record
    }
}

pub(crate) type Classify<'p, E> = Box<dyn Fn(&E) -> Verdict + Send + 'p>;

/// What a caller has set for a single job.
pub(crate) struct Options<'p, E> {
    pub(crate) policy: Option<RetryPolicy>,
    pub(crate) classify: Option<Classify<'p, E>>,
}

impl<E> Default for Options<'_, E> {
    fn default() -> Self {
        Self {
            policy: None,
            classify: None,
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
        todo: Todo<'p, F, E>,
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
        let refusal = Record::new().give_up(GiveUpReason::Shutdown, Duration::ZERO);
        Self {
            slot: Slot::settled(Err(refusal)),
            accepted: 0,
            number: 0,
            attempts: AtomicU32::new(0),
            name: name.map(Box::new),
        }
    }

    /// Frees the job, then settles it as given up, in this order, so that who sees it settled sees it freed.
    fn settle_as(&self, crew: &Crew<'p>, todo: Todo<'p, F, E>, reason: GiveUpReason) {
        let record = todo.free();
        let elapsed = Duration::from_nanos(crew.clock.now().saturating_sub(self.accepted));
        self.slot.set(Err(record
            .unwrap_or_else(Record::new)
            .give_up(reason, elapsed)));
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
        let options = todo.options.as_deref();
        let classify = options.and_then(|options| options.classify.as_deref());
        let rules = Rules {
            policy: options
                .and_then(|options| options.policy.as_ref())
                .unwrap_or(&crew.settings.policy),
            classify: classify.map(|classify| classify as &dyn Fn(&E) -> Verdict),
            name: self.name.as_deref(),
            seed: crew.settings.seed,
            number: u64::from(self.number),
        };
        match attempt(&rules, &mut todo.record, &todo.job) {
            Outcome::Succeeded(value) => {
                unwind::discard(todo.free());
                counts.succeeded.bump(1);
                self.slot.set(Ok(value));
            }
            Outcome::Failed(Decision::GiveUp(reason)) => {
                counts.gave_up(reason).bump(1);
                self.settle_as(crew, todo, reason);
            }
            Outcome::Failed(Decision::Now) => {
                self.slot.put_back(todo);
                return Next::Requeue;
            }
            Outcome::Failed(Decision::After(delay)) => {
                self.slot.put_back(todo);
                return Next::ParkUntil(crew.clock.now().saturating_add(delay));
            }
        }
        crew.settled();
        Next::Done
    }

    fn give_up(&self, crew: &Crew<'p>) {
        if let Some(todo) = self.slot.begin() {
            crew.callers().gave_up(GiveUpReason::Shutdown).add(1);
            self.settle_as(crew, todo, GiveUpReason::Shutdown);
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
