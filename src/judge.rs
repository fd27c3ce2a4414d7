//! One attempt, and what follows from it: every kind of job goes through here.

use std::time::Duration;

use crate::attempt::{Attempt, Texts};
use crate::clock::{Clock, Nanos};
use crate::give_up::{AttemptError, GiveUpReason, Record};
use crate::panic::Panic;
use crate::policy::{Decision, Draw, RetryPolicy, Verdict};
use crate::sync::Arc;
use crate::unwind::{self, Payload};

/// What the judging of a failed attempt depends on, the same for all jobs of a batch.
pub(crate) struct Rules<'a, I, T, E> {
    pub(crate) policy: &'a RetryPolicy,
    pub(crate) classify: Option<&'a dyn Fn(&E) -> Verdict>,
    pub(crate) accept: Option<&'a dyn Fn(&T) -> bool>,
    pub(crate) on_retry: Option<&'a dyn Fn(&I, &AttemptError<E>, NextAttempt)>,
    pub(crate) display: Option<fn(&E) -> String>,
    pub(crate) errors_kept: usize,
    pub(crate) seed: u64,
    pub(crate) clock: &'a Clock,
}

/// The job that is tried.
pub(crate) struct Subject<'a, I> {
    /// `()` for a single job.
    pub(crate) input: &'a I,
    pub(crate) name: Option<Arc<str>>,
    /// Its number, for the jitter.
    pub(crate) number: u64,
    pub(crate) accepted: Nanos,
}

/// How an attempt ended, and when, if it failed.
pub(crate) enum Outcome<T> {
    Succeeded(T),
    /// Again at this time; `None` for at once.
    Retry(Option<Nanos>, Nanos),
    GaveUp(GiveUpReason, Nanos),
}

/// The attempt that comes next, as a hook is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextAttempt {
    number: u32,
    delay: Duration,
}

impl NextAttempt {
    /// Which attempt it will be, from 2.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// How long the job waits before it; zero for at once.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay
    }
}

/// Runs one attempt and judges it. A failure is written into `record`, which knows the attempts so far (none: the first).
pub(crate) fn attempt<I, T, E>(
    rules: &Rules<'_, I, T, E>,
    subject: &Subject<'_, I>,
    record: &mut Option<Box<Record<E>>>,
    job: impl FnOnce() -> Result<T, E>,
) -> Outcome<T> {
    let number = attempts(record.as_deref()).saturating_add(1);
    let last = rules.policy.is_last(number);
    let texts = texts(rules, subject, record.as_deref_mut());
    let (result, mark) = Attempt::during(number, last, texts, || unwind::catch(job));
    let error = match result {
        Ok(Ok(value)) => match rules.accept.map(|accept| unwind::catch(|| accept(&value))) {
            None | Some(Ok(true)) => {
                rules.policy.reward();
                return Outcome::Succeeded(value);
            }
            Some(Ok(false)) => {
                unwind::discard(value);
                AttemptError::Rejected
            }
            Some(Err(payload)) => {
                unwind::discard(value);
                return broken(rules, subject, record, number, payload);
            }
        },
        Ok(Err(error)) => AttemptError::Failed(error),
        Err(payload) => AttemptError::Panicked(Panic::new(payload, subject.name.clone())),
    };
    judge(rules, subject, record, number, error, mark)
}

/// Decides what follows from a failure. The user's predicate, iterator of delays and hook are called here.
fn judge<I, T, E>(
    rules: &Rules<'_, I, T, E>,
    subject: &Subject<'_, I>,
    record: &mut Option<Box<Record<E>>>,
    number: u32,
    error: AttemptError<E>,
    mark: Option<Verdict>,
) -> Outcome<T> {
    let state = &mut record.get_or_insert_with(Record::new).retry;
    let decided = unwind::catch(|| {
        let verdict = match (&error, mark) {
            (AttemptError::Panicked(_), _) if !rules.policy.retries_panics() => {
                return (Decision::GiveUp(GiveUpReason::Panicked), rules.clock.now());
            }
            (AttemptError::Failed(_), Some(mark)) => mark,
            (AttemptError::Failed(error), None) => rules
                .classify
                .map_or(Verdict::Retry, |classify| classify(error)),
            _ => Verdict::Retry,
        };
        // Read after the predicate, so that no retry is early.
        let now = rules.clock.now();
        let draw = Draw {
            seed: rules.seed,
            job: subject.number,
            attempt: number,
        };
        let elapsed = now.saturating_sub(subject.accepted);
        (rules.policy.decide(draw, state, elapsed, verdict), now)
    });
    let (decision, now) = match decided {
        Ok(decided) => decided,
        Err(payload) => {
            unwind::discard(error);
            return broken(rules, subject, record, number, payload);
        }
    };
    if let (Decision::Retry { delay, .. }, Some(hook)) = (&decision, rules.on_retry) {
        let next = NextAttempt {
            number: number.saturating_add(1),
            delay: Duration::from_nanos(*delay),
        };
        unwind::contain(|| hook(subject.input, &error, next));
    }
    note(rules, subject, record, number, error, now);
    match decision {
        Decision::GiveUp(reason) => Outcome::GaveUp(reason, now),
        Decision::Retry { delay, charge } => {
            if let Some(record) = record {
                record.charge = charge;
            }
            Outcome::Retry((delay > 0).then(|| now.saturating_add(delay)), now)
        }
    }
}

/// The user's predicate or iterator of delays has panicked: the job ends with that panic.
fn broken<I, T, E>(
    rules: &Rules<'_, I, T, E>,
    subject: &Subject<'_, I>,
    record: &mut Option<Box<Record<E>>>,
    number: u32,
    payload: Payload,
) -> Outcome<T> {
    let now = rules.clock.now();
    let error = AttemptError::Panicked(Panic::new(payload, subject.name.clone()));
    note(rules, subject, record, number, error, now);
    Outcome::GaveUp(GiveUpReason::Panicked, now)
}

fn note<I, T, E>(
    rules: &Rules<'_, I, T, E>,
    subject: &Subject<'_, I>,
    record: &mut Option<Box<Record<E>>>,
    number: u32,
    error: AttemptError<E>,
    now: Nanos,
) {
    let record = record.get_or_insert_with(Record::new);
    record.note(
        number,
        error,
        now.saturating_sub(subject.accepted),
        rules.errors_kept,
    );
}

/// What the coming attempt can be told in words, if anything. What was paid for it is spent.
fn texts<I, T, E>(
    rules: &Rules<'_, I, T, E>,
    subject: &Subject<'_, I>,
    record: Option<&mut Record<E>>,
) -> Option<Texts> {
    if record.is_none() && subject.name.is_none() {
        return None;
    }
    let previous_error = record.and_then(|record| {
        if let Some(charge) = record.charge.take() {
            charge.spend();
        }
        let display = rules.display?;
        match record.last_error()? {
            AttemptError::Failed(error) => match unwind::catch(|| display(error)) {
                Ok(text) => Some(Arc::from(text)),
                Err(payload) => {
                    unwind::discard(payload);
                    None
                }
            },
            AttemptError::Panicked(panic) => Some(Arc::from(panic.to_string())),
            AttemptError::Rejected => Some(Arc::from("the value was rejected")),
            AttemptError::TimedOut(limit) => {
                Some(Arc::from(format!("attempt timed out after {limit:?}")))
            }
        }
    });
    let job_name = subject.name.clone();
    (job_name.is_some() || previous_error.is_some()).then_some(Texts {
        job_name,
        previous_error,
    })
}

/// The attempts that a record knows of.
pub(crate) fn attempts<E>(record: Option<&Record<E>>) -> u32 {
    record.map_or(0, |record| record.retry.attempts())
}
