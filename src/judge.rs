//! One attempt, and what follows from it: every kind of job goes through here.

use std::time::{Duration, Instant};

use crate::attempt::{Attempt, Texts};
use crate::clock::{Clock, Nanos};
use crate::give_up::{AttemptError, Record};
use crate::observe::{FailureEvent, JobEvent, Watcher};
use crate::panic::Panic;
use crate::policy::{Draw, RetryPolicy, Verdict};
use crate::reason::GiveUpReason;
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
    /// When the time for the whole job or batch is over.
    pub(crate) deadline: Option<Nanos>,
    pub(crate) observer: &'a Watcher,
    /// The batch's number; `None` for a single job.
    pub(crate) batch: Option<u64>,
    pub(crate) clock: &'a Clock,
}

/// The job that is tried.
// In this order, because the number and the time are copied out of a job that was moved just before: side by side they would be loaded at
// once, and the load would wait for both stores. A batch of which 10 % fail at once took 1.2 of the time, one of empty jobs as long.
#[repr(C)]
pub(crate) struct Subject<'a, I> {
    /// Its number, for the jitter.
    pub(crate) number: u64,
    /// `()` for a single job.
    pub(crate) input: &'a I,
    pub(crate) name: Option<Arc<str>>,
    pub(crate) accepted: Nanos,
}

/// How an attempt ended, and when, if it failed.
pub(crate) enum Outcome<T> {
    Succeeded(T),
    /// Again at this time; `None` for at once.
    Retry(Option<Nanos>, Nanos),
    GaveUp(GiveUpReason, Nanos),
}

impl<T> Outcome<T> {
    /// The time after the attempt, if somebody has looked.
    pub(crate) fn time(&self) -> Option<Nanos> {
        match self {
            Self::Succeeded(_) => None,
            Self::Retry(_, now) | Self::GaveUp(_, now) => Some(*now),
        }
    }
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

/// How the user's function came back.
pub(crate) struct Returned<T, E> {
    result: Result<Result<T, E>, Payload>,
    /// What the job itself said of its error.
    mark: Option<Verdict>,
}

impl<T, E> Returned<T, E> {
    /// Nobody wants it any more: its attempt was abandoned.
    pub(crate) fn discard(self) {
        unwind::discard(self.result);
    }
}

/// Runs one attempt and judges it. A failure is written into `record`, which knows the attempts so far (none: the first). `told` says
/// if the job was told to stop.
#[inline(always)]
pub(crate) fn attempt<I, T, E>(
    rules: &Rules<'_, I, T, E>,
    subject: &Subject<'_, I>,
    record: &mut Option<Box<Record<E>>>,
    told: impl FnOnce() -> Option<GiveUpReason>,
    job: impl FnOnce() -> Result<T, E>,
) -> Outcome<T> {
    let coming = prepare(rules, subject, record);
    let returned = coming.run(job);
    conclude(rules, subject, record, returned, told)
}

/// What an attempt will find when it asks.
#[inline(always)]
pub(crate) fn prepare<I, T, E>(
    rules: &Rules<'_, I, T, E>,
    subject: &Subject<'_, I>,
    record: &mut Option<Box<Record<E>>>,
) -> Coming {
    let number = attempts(record.as_deref()).saturating_add(1);
    rules
        .observer
        .tell(|observer| observer.attempt_started(&event(rules, subject, number)));
    Coming {
        number,
        last: rules.policy.is_last(number),
        texts: match (&record, &subject.name) {
            (None, None) => None,
            _ => texts(rules, subject, record.as_deref_mut()),
        },
        deadline: rules
            .deadline
            .and_then(|deadline| rules.clock.instant(deadline)),
    }
}

/// Judges what the user's function came back with.
#[inline(always)]
pub(crate) fn conclude<I, T, E>(
    rules: &Rules<'_, I, T, E>,
    subject: &Subject<'_, I>,
    record: &mut Option<Box<Record<E>>>,
    returned: Returned<T, E>,
    told: impl FnOnce() -> Option<GiveUpReason>,
) -> Outcome<T> {
    let Returned { result, mark } = returned;
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
                return broken(rules, subject, record, payload);
            }
        },
        Ok(Err(error)) => AttemptError::Failed(error),
        Err(payload) => AttemptError::Panicked(Panic::new(payload, subject.name.clone())),
    };
    judge(rules, subject, record, error, mark, told())
}

/// Judges an attempt that was abandoned.
pub(crate) fn conclude_timed_out<I, T, E>(
    rules: &Rules<'_, I, T, E>,
    subject: &Subject<'_, I>,
    record: &mut Option<Box<Record<E>>>,
    limit: Duration,
    told: Option<GiveUpReason>,
) -> Outcome<T> {
    let error = AttemptError::TimedOut(limit);
    judge(rules, subject, record, error, None, told)
}

/// Decides what follows from a failure. The user's predicate, iterator of delays and hook are called here.
fn judge<I, T, E>(
    rules: &Rules<'_, I, T, E>,
    subject: &Subject<'_, I>,
    record: &mut Option<Box<Record<E>>>,
    error: AttemptError<E>,
    mark: Option<Verdict>,
    told: Option<GiveUpReason>,
) -> Outcome<T> {
    let number = attempts(record.as_deref()).saturating_add(1);
    let kept = record.get_or_insert_with(Record::new);
    let decided = unwind::catch(|| {
        let verdict = match (&error, mark) {
            (AttemptError::Panicked(_), _) if !rules.policy.retries_panics() => {
                return (Err(GiveUpReason::Panicked), rules.clock.now());
            }
            // What a batch that fails fast was doing is reported as it ends by itself.
            _ if told.is_some_and(|reason| reason != GiveUpReason::FailFast) => {
                return (
                    Err(told.unwrap_or(GiveUpReason::Cancelled)),
                    rules.clock.now(),
                );
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
        let decided = rules.policy.decide(draw, &mut kept.retry, elapsed, verdict);
        let decided = decided.and_then(|delay| {
            // Paid back where it goes no further than here.
            let charge = rules.policy.charge()?;
            match told {
                Some(reason) => Err(reason),
                None if rules.is_too_late(now, delay) => Err(GiveUpReason::DeadlineExceeded),
                None => {
                    kept.charge = charge;
                    Ok(delay)
                }
            }
        });
        (decided, now)
    });
    let (decision, now) = match decided {
        Ok(decided) => decided,
        Err(payload) => {
            unwind::discard(error);
            return broken(rules, subject, record, payload);
        }
    };
    let delay = decision.map(Duration::from_nanos);
    tell_failed(rules, subject, number, &error, delay);
    if let (Ok(delay), Some(hook)) = (delay, rules.on_retry) {
        let next = NextAttempt {
            number: number.saturating_add(1),
            delay,
        };
        unwind::contain(|| hook(subject.input, &error, next));
    }
    note(rules, subject, record, number, error, now);
    match decision {
        Err(reason) => Outcome::GaveUp(reason, now),
        Ok(delay) => Outcome::Retry((delay > 0).then(|| now.saturating_add(delay)), now),
    }
}

/// The user's predicate or iterator of delays has panicked: the job ends with that panic.
fn broken<I, T, E>(
    rules: &Rules<'_, I, T, E>,
    subject: &Subject<'_, I>,
    record: &mut Option<Box<Record<E>>>,
    payload: Payload,
) -> Outcome<T> {
    let number = attempts(record.as_deref()).saturating_add(1);
    let now = rules.clock.now();
    let error = AttemptError::Panicked(Panic::new(payload, subject.name.clone()));
    let next = Err(GiveUpReason::Panicked);
    tell_failed(rules, subject, number, &error, next);
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
) -> Option<Box<Texts>> {
    let previous_error = record.and_then(|record| {
        if let Some(charge) = record.charge.take() {
            charge.spend();
        }
        rules.display?;
        text(rules, record.last_error()?)
    });
    let job_name = subject.name.clone();
    (job_name.is_some() || previous_error.is_some()).then(|| {
        Box::new(Texts {
            job_name,
            previous_error,
        })
    })
}

/// The text of an error, where it has one.
fn text<I, T, E>(rules: &Rules<'_, I, T, E>, error: &AttemptError<E>) -> Option<Arc<str>> {
    match error {
        AttemptError::Failed(error) => {
            let display = rules.display?;
            match unwind::catch(|| display(error)) {
                Ok(text) => Some(Arc::from(text)),
                Err(payload) => {
                    unwind::discard(payload);
                    None
                }
            }
        }
        AttemptError::Panicked(panic) => Some(Arc::from(panic.to_string())),
        AttemptError::Rejected => Some(Arc::from("the value was rejected")),
        AttemptError::TimedOut(limit) => {
            Some(Arc::from(format!("attempt timed out after {limit:?}")))
        }
    }
}

/// Tells the observer how an attempt failed, and what follows.
fn tell_failed<I, T, E>(
    rules: &Rules<'_, I, T, E>,
    subject: &Subject<'_, I>,
    number: u32,
    error: &AttemptError<E>,
    next: Result<Duration, GiveUpReason>,
) {
    rules.observer.tell(|observer| {
        let text = text(rules, error);
        let failure = FailureEvent {
            error: text.as_deref(),
            next,
        };
        observer.attempt_failed(&event(rules, subject, number), &failure);
    });
}

fn event<'a, I, T, E>(
    rules: &Rules<'_, I, T, E>,
    subject: &'a Subject<'_, I>,
    attempts: u32,
) -> JobEvent<'a> {
    JobEvent {
        batch: rules.batch,
        number: subject.number,
        name: subject.name.as_deref(),
        attempts,
    }
}

impl<I, T, E> Rules<'_, I, T, E> {
    /// Would an attempt after this delay begin past the deadline?
    fn is_too_late(&self, now: Nanos, delay: Nanos) -> bool {
        self.deadline
            .is_some_and(|deadline| now.saturating_add(delay) >= deadline)
    }
}

/// An attempt that is about to run.
pub(crate) struct Coming {
    pub(crate) number: u32,
    last: bool,
    /// Boxed, because most attempts have none, and this is moved before each.
    texts: Option<Box<Texts>>,
    deadline: Option<Instant>,
}

impl Coming {
    /// The same with this limit, which is the earlier one.
    pub(crate) fn until(self, deadline: Option<Instant>) -> Self {
        Self { deadline, ..self }
    }

    /// Calls the user's function.
    #[inline(always)]
    pub(crate) fn run<T, E>(self, job: impl FnOnce() -> Result<T, E>) -> Returned<T, E> {
        let (result, mark) =
            Attempt::during(self.number, self.last, self.texts, self.deadline, || {
                unwind::catch(job)
            });
        Returned { result, mark }
    }
}

/// The attempts that a record knows of.
pub(crate) fn attempts<E>(record: Option<&Record<E>>) -> u32 {
    record.map_or(0, |record| record.retry.attempts())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_failure_is_known_and_that_of_a_success_is_not() {
        let exhausted = GiveUpReason::AttemptsExhausted;
        let failures = [
            Outcome::<()>::Retry(None, 5),
            Outcome::Retry(Some(9), 5),
            Outcome::GaveUp(exhausted, 5),
        ];
        assert!(failures.iter().all(|failure| failure.time() == Some(5)));
        assert_eq!(Outcome::Succeeded(()).time(), None);
    }

    #[test]
    fn an_attempt_that_would_begin_at_the_deadline_is_too_late() {
        let policy = RetryPolicy::never();
        let mut rules: Rules<'_, (), (), ()> = Rules {
            policy: &policy,
            classify: None,
            accept: None,
            on_retry: None,
            display: None,
            errors_kept: 1,
            seed: 0,
            deadline: Some(10),
            observer: &Watcher::default(),
            batch: None,
            clock: &Clock::new(),
        };
        let late = [(3, 6), (3, 7), (3, Nanos::MAX), (11, 0)];
        let late = late.map(|(now, delay)| rules.is_too_late(now, delay));
        assert_eq!(late, [false, true, true, true]);
        rules.deadline = None;
        assert!(!rules.is_too_late(3, Nanos::MAX));
    }
}
