//! What a job leaves when it does not succeed.

use std::any::Any;
use std::fmt;
use std::time::Duration;

use crate::sync::{Arc, Mutex};
use crate::unwind::Payload;

/// Why a job ended without success.
///
/// ```
/// use retry_pool::{GiveUpReason, RetryPolicy, RetryPool};
///
/// let pool = RetryPool::with_threads(1);
/// let give_up = pool.job(|| Err::<(), _>("no")).retry(RetryPolicy::immediate()).submit().wait().unwrap_err();
/// assert_eq!(give_up.reason(), GiveUpReason::AttemptsExhausted);
/// assert_eq!(give_up.reason().to_string(), "attempts exhausted");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GiveUpReason {
    /// The verdict on the last error was [`GiveUp`](crate::Verdict::GiveUp): no retry can help.
    Permanent,
    /// The policy's number of attempts was used up.
    AttemptsExhausted,
    /// The next attempt would have begun after the policy's `max_elapsed`.
    ElapsedExhausted,
    /// The shared retry budget was empty.
    BudgetExhausted,
    /// The job panicked, or the predicate that judged its error did.
    Panicked,
    /// The time allowed for the whole job ran out.
    DeadlineExceeded,
    /// The job, its batch or its pool was cancelled.
    Cancelled,
    /// Another job of the batch had failed and the batch was to stop then.
    FailFast,
    /// The pool ended before the job could.
    Shutdown,
}

impl GiveUpReason {
    pub(crate) const COUNT: usize = 9;
}

impl fmt::Display for GiveUpReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Permanent => "permanent error",
            Self::AttemptsExhausted => "attempts exhausted",
            Self::ElapsedExhausted => "time for retries exhausted",
            Self::BudgetExhausted => "retry budget exhausted",
            Self::Panicked => "panicked",
            Self::DeadlineExceeded => "deadline exceeded",
            Self::Cancelled => "cancelled",
            Self::FailFast => "stopped by another failure",
            Self::Shutdown => "pool shut down",
        })
    }
}

/// How one attempt failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum AttemptError<E> {
    /// The job returned this error.
    Failed(E),
    /// The job panicked.
    Panicked(Panic),
    /// The attempt took longer than this, the time allowed for it.
    TimedOut(Duration),
}

impl<E: fmt::Display> fmt::Display for AttemptError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Panicked(panic) => panic.fmt(f),
            Self::TimedOut(limit) => write!(f, "attempt timed out after {limit:?}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for AttemptError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::Panicked(_) | Self::TimedOut(_) => None,
        }
    }
}

/// A panic that was caught: its payload, its text and the name of the job.
///
/// ```
/// use retry_pool::{AttemptError, RetryPool};
///
/// let pool = RetryPool::with_threads(1);
/// let job = pool.job(|| -> Result<(), String> { panic!("out of {}", "cheese") }).name("shop");
/// let give_up = job.submit().wait().unwrap_err();
/// let Some(AttemptError::Panicked(panic)) = give_up.last_error() else { unreachable!() };
/// assert_eq!((panic.message(), panic.job_name()), ("out of cheese", Some("shop")));
/// ```
pub struct Panic {
    message: String,
    job_name: Option<Arc<str>>,
    /// Behind a mutex because a payload need not be `Sync`, and this value is.
    payload: Mutex<Payload>,
}

impl Panic {
    pub(crate) fn new(payload: Payload, job_name: Option<Arc<str>>) -> Self {
        let message = match payload.downcast_ref::<&str>() {
            Some(text) => (*text).to_owned(),
            None => match payload.downcast_ref::<String>() {
                Some(text) => text.clone(),
                None => String::from("a payload that is not text"),
            },
        };
        Self {
            message,
            job_name,
            payload: Mutex::new(payload),
        }
    }

    /// The text of the panic, or a stand-in where its payload is neither `&str` nor `String`.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The name of the job that panicked, if it has one.
    #[must_use]
    pub fn job_name(&self) -> Option<&str> {
        self.job_name.as_deref()
    }

    /// The payload, as [`std::thread::JoinHandle::join`] would give it; to go on panicking, pass it to
    /// [`std::panic::resume_unwind`].
    #[must_use]
    pub fn into_payload(self) -> Box<dyn Any + Send> {
        self.payload.into_inner()
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.job_name {
            Some(name) => write!(f, "job {name} panicked: {}", self.message),
            None => write!(f, "panicked: {}", self.message),
        }
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panic")
            .field("message", &self.message)
            .field("job_name", &self.job_name)
            .finish_non_exhaustive()
    }
}

/// A job that ended without success: why, after how many attempts and how long, and its last error by value.
///
/// It is `Send + Sync` where the error is, so that `?` turns it into a `Box<dyn Error + Send + Sync>`. Its text contains that of the
/// last error; [`source`](std::error::Error::source) is what that error names as its own.
///
/// ```
/// use retry_pool::{GiveUpReason, RetryPolicy, RetryPool};
///
/// let pool = RetryPool::with_threads(1);
/// let job = pool.job(|| "x".parse::<u32>()).retry(RetryPolicy::immediate().max_attempts(4));
/// let give_up = job.submit().wait().unwrap_err();
/// assert_eq!((give_up.reason(), give_up.attempts()), (GiveUpReason::AttemptsExhausted, 4));
/// assert!(give_up.to_string().ends_with("invalid digit found in string"));
/// let error: std::num::ParseIntError = give_up.into_error().unwrap();
/// # let _ = error;
/// ```
pub struct GiveUp<E> {
    record: Box<Record<E>>,
}

/// What is known of a job that has failed, and not yet succeeded. It becomes the [`GiveUp`] without being moved.
pub(crate) struct Record<E> {
    pub(crate) attempts: u32,
    pub(crate) last: Option<AttemptError<E>>,
    reason: GiveUpReason,
    elapsed: Duration,
}

impl<E> Record<E> {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self {
            attempts: 0,
            last: None,
            reason: GiveUpReason::Cancelled,
            elapsed: Duration::ZERO,
        })
    }

    pub(crate) fn give_up(
        mut self: Box<Self>,
        reason: GiveUpReason,
        elapsed: Duration,
    ) -> GiveUp<E> {
        self.reason = reason;
        self.elapsed = elapsed;
        GiveUp { record: self }
    }
}

impl<E> GiveUp<E> {
    /// What stopped the job.
    #[must_use]
    pub fn reason(&self) -> GiveUpReason {
        self.record.reason
    }

    /// How many attempts were made; 0 if the job never ran.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.record.attempts
    }

    /// The time from the job's acceptance to its end.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.record.elapsed
    }

    /// The error that the last attempt returned; `None` if it panicked or timed out, or none was made.
    #[must_use]
    pub fn error(&self) -> Option<&E> {
        match self.last_error() {
            Some(AttemptError::Failed(error)) => Some(error),
            _ => None,
        }
    }

    /// How the last attempt failed; `None` if none was made.
    #[must_use]
    pub fn last_error(&self) -> Option<&AttemptError<E>> {
        self.record.last.as_ref()
    }

    /// The error that the last attempt returned, by value.
    #[must_use]
    pub fn into_error(self) -> Option<E> {
        match self.into_last_error() {
            Some(AttemptError::Failed(error)) => Some(error),
            _ => None,
        }
    }

    /// How the last attempt failed, by value.
    #[must_use]
    pub fn into_last_error(self) -> Option<AttemptError<E>> {
        self.record.last
    }

    /// The record, for a job that its caller sends back to work.
    pub(crate) fn into_record(self) -> Box<Record<E>> {
        self.record
    }
}

impl<E: fmt::Display> fmt::Display for GiveUp<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record {
            attempts,
            reason,
            elapsed,
            ..
        } = &*self.record;
        let noun = if *attempts == 1 {
            "attempt"
        } else {
            "attempts"
        };
        write!(f, "{reason} after {attempts} {noun} in {elapsed:.1?}")?;
        match self.last_error() {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for GiveUp<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GiveUp")
            .field("reason", &self.record.reason)
            .field("attempts", &self.record.attempts)
            .field("elapsed", &self.record.elapsed)
            .field("last_error", &self.record.last)
            .finish()
    }
}

impl<E: std::error::Error + 'static> std::error::Error for GiveUp<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.last_error().and_then(std::error::Error::source)
    }
}
