//! What the real jobs do: each attempt reports to the driver, and waits to be told how to end.

use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use retry_pool::{Attempt, AttemptError, GiveUp};

use crate::common::Live;
use crate::model::{End, Fault, Id};
use crate::ops::Outcome;

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);

/// An attempt has begun.
pub(crate) struct Begun {
    pub(crate) id: Id,
    pub(crate) attempt: u32,
    pub(crate) is_last: bool,
    pub(crate) gate: Sender<Outcome>,
}

pub(crate) enum Report {
    Begun(Begun),
    /// It was decided to retry this job.
    Retried(Id),
}

/// Where attempts report.
#[derive(Clone)]
pub(crate) struct Reports {
    pub(crate) sender: Sender<Report>,
    pub(crate) live: Live,
}

pub(crate) struct Input {
    pub(crate) id: Id,
    _live: Live,
}

pub(crate) struct Value {
    id: Id,
    attempt: u32,
    pub(crate) is_accepted: bool,
    _live: Live,
}

pub(crate) struct Failure {
    id: Id,
    attempt: u32,
    _live: Live,
}

impl Reports {
    pub(crate) fn input(&self, id: Id) -> Input {
        Input {
            id,
            _live: self.live.clone(),
        }
    }

    pub(crate) fn retried(&self, id: Id) {
        let _ = self.sender.send(Report::Retried(id));
    }

    /// One attempt of a job.
    pub(crate) fn attempt(&self, id: Id) -> Result<Value, Failure> {
        let (attempt, is_last) = {
            let attempt = Attempt::current();
            (attempt.number(), attempt.is_last())
        };
        let (gate, told) = mpsc::channel();
        let begun = Begun {
            id,
            attempt,
            is_last,
            gate,
        };
        // Where the driver has gone, the job is to end.
        let _ = self.sender.send(Report::Begun(begun));
        let outcome = told.recv().unwrap_or(Outcome::Succeed);
        let live = self.live.clone();
        let failure = Failure {
            id,
            attempt,
            _live: live.clone(),
        };
        match outcome {
            Outcome::Succeed | Outcome::Reject => Ok(Value {
                id,
                attempt,
                is_accepted: outcome == Outcome::Succeed,
                _live: live,
            }),
            Outcome::Fail => Err(failure),
            Outcome::Park => Err(Attempt::retry_after(HOUR, failure)),
            Outcome::FailForGood => Err(Attempt::permanent(failure)),
            Outcome::Panic => std::panic::resume_unwind(Box::new(live)),
        }
    }
}

/// What came of job `id`, in the words of the model; `attempts` is not told by the result of a success.
pub(crate) fn end(
    id: Id,
    attempts: u32,
    result: Result<&Value, &GiveUp<Failure>>,
) -> Result<End, String> {
    let (reason, attempts, last_fault) = match result {
        Ok(value) if value.id != id || value.attempt != attempts => {
            let Value { id, attempt, .. } = value;
            return Err(format!("the result is that of job {id}, attempt {attempt}"));
        }
        Ok(_) => (None, attempts, None),
        Err(give_up) => {
            let fault = match give_up.last_error() {
                None => None,
                Some(AttemptError::Failed(failure)) if failure.id != id => {
                    return Err(format!("the error is that of job {}", failure.id));
                }
                Some(AttemptError::Failed(failure)) => Some(Fault::Failed(failure.attempt)),
                Some(AttemptError::Panicked(_)) => Some(Fault::Panicked),
                Some(AttemptError::TimedOut(_)) => Some(Fault::TimedOut),
                Some(_) => Some(Fault::Rejected),
            };
            (Some(give_up.reason()), give_up.attempts(), fault)
        }
    };
    Ok(End {
        reason,
        attempts,
        last_fault,
    })
}
