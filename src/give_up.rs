//! What a job leaves when it does not succeed.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use crate::backoff::RetryState;
use crate::budget::Charge;
use crate::clock::Nanos;
use crate::panic::Panic;
use crate::reason::GiveUpReason;
use crate::unwind::Contained;

/// How one attempt failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum AttemptError<E> {
    /// The job returned this error.
    Failed(E),
    /// The job panicked.
    Panicked(Panic),
    /// The job returned a value that was not good enough, by `retry_unless`.
    Rejected,
    /// The attempt took longer than this, the time allowed for it.
    TimedOut(Duration),
}

impl<E: fmt::Display> fmt::Display for AttemptError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => error.fmt(f),
            Self::Panicked(panic) => panic.fmt(f),
            Self::Rejected => f.write_str("the value was rejected"),
            Self::TimedOut(limit) => write!(f, "attempt timed out after {limit:?}"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for AttemptError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Failed(error) => error.source(),
            Self::Panicked(_) | Self::Rejected | Self::TimedOut(_) => None,
        }
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

/// One failed attempt, as it is kept in the history of a job; see [`GiveUp::history`].
pub struct FailedAttempt<E> {
    number: u32,
    ended: Nanos,
    /// The user's errors are dropped one by one, wherever: each may panic in its destructor.
    error: Contained<AttemptError<E>>,
}

impl<E> FailedAttempt<E> {
    /// Which attempt it was, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// The time from the job's acceptance to the end of this attempt.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.ended)
    }

    /// How it failed.
    #[must_use]
    pub fn error(&self) -> &AttemptError<E> {
        &self.error
    }
}

impl<E: fmt::Debug> fmt::Debug for FailedAttempt<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailedAttempt")
            .field("number", &self.number)
            .field("elapsed", &self.elapsed())
            .field("error", self.error())
            .finish()
    }
}

/// What is known of a job that has failed, and not yet succeeded. It becomes the [`GiveUp`] without being moved.
pub(crate) struct Record<E> {
    pub(crate) retry: RetryState,
    reason: GiveUpReason,
    /// While the job waits, when it is due (0: at once; never, if its caller has resubmitted it); the limit of an abandoned attempt,
    /// where `expired`; at the end, how long it took. One field, since a million may be parked.
    time: Nanos,
    /// The attempt that ran was abandoned and is still to be judged.
    expired: bool,
    /// What was paid for the retry that is pending; paid back when the record goes without it.
    pub(crate) charge: Option<Charge>,
    last: Option<FailedAttempt<E>>,
    /// Those before the last, oldest first.
    #[expect(
        clippy::box_collection,
        reason = "most jobs keep none, and a million may be parked"
    )]
    earlier: Option<Box<VecDeque<FailedAttempt<E>>>>,
}

impl<E> Record<E> {
    pub(crate) fn new() -> Box<Self> {
        // Made where it is to be: `Box::new` would move it there.
        Box::write(
            Box::new_uninit(),
            Self {
                retry: RetryState::new(),
                reason: GiveUpReason::Cancelled,
                time: 0,
                expired: false,
                charge: None,
                last: None,
                earlier: None,
            },
        )
    }

    /// Notes that an attempt has failed, and keeps the last `kept` of them. User code is dropped here: the oldest error.
    pub(crate) fn note(&mut self, number: u32, error: AttemptError<E>, ended: Nanos, kept: usize) {
        self.retry.set_attempts(number);
        let error = Contained::new(error);
        let before = self.last.replace(FailedAttempt {
            number,
            ended,
            error,
        });
        let Some(before) = before.filter(|_| kept > 1) else {
            return;
        };
        let earlier = self.earlier.get_or_insert_default();
        earlier.push_back(before);
        if earlier.len() >= kept {
            earlier.pop_front();
        }
    }

    pub(crate) fn last_error(&self) -> Option<&AttemptError<E>> {
        self.last.as_ref().map(FailedAttempt::error)
    }

    /// When the next attempt is due; 0 for at once.
    pub(crate) fn due(&self) -> Nanos {
        self.time
    }

    pub(crate) fn set_due(&mut self, due: Nanos) {
        self.time = due;
    }

    /// The attempt with this limit was abandoned.
    pub(crate) fn expire(&mut self, limit: Nanos) {
        (self.time, self.expired) = (limit, true);
    }

    /// The limit of the abandoned attempt that is to be judged, which is now the caller's business.
    pub(crate) fn take_expired(&mut self) -> Option<Duration> {
        let limit = Duration::from_nanos(self.time);
        std::mem::take(&mut self.expired).then_some(limit)
    }

    pub(crate) fn give_up(mut self: Box<Self>, reason: GiveUpReason, elapsed: Nanos) -> GiveUp<E> {
        self.reason = reason;
        self.time = elapsed;
        // If it is unspent, it is paid back.
        self.charge = None;
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
        self.record.retry.attempts()
    }

    /// The time from the job's acceptance to its end.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.record.time)
    }

    /// The error that the last attempt returned; `None` if it returned none (it panicked, timed out, or its value was rejected), or
    /// none was made.
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
        self.record.last_error()
    }

    /// The last attempts that failed, oldest first: as many as `errors_kept` says, so the very last alone by default.
    ///
    /// ```
    /// # use retry_pool::{Attempt, RetryPolicy, RetryPool};
    /// # let pool = RetryPool::with_threads(1);
    /// let job = pool.job(|| Err::<(), _>(Attempt::current().number())).errors_kept(2);
    /// let give_up = job.retry(RetryPolicy::immediate().max_attempts(5)).submit().wait().unwrap_err();
    /// let numbers: Vec<u32> = give_up.history().map(|failed| failed.number()).collect();
    /// assert_eq!(numbers, [4, 5]);
    /// ```
    pub fn history(&self) -> impl Iterator<Item = &FailedAttempt<E>> {
        let Record { earlier, last, .. } = &*self.record;
        earlier
            .iter()
            .flat_map(|earlier| earlier.iter())
            .chain(last)
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
        self.record.last.map(|failed| failed.error.into_inner())
    }

    /// The record, for a job that its caller sends back to work.
    pub(crate) fn into_record(self) -> Box<Record<E>> {
        self.record
    }
}

impl<E: fmt::Display> fmt::Display for GiveUp<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (attempts, reason) = (self.attempts(), self.reason());
        let elapsed = self.elapsed();
        let noun = if attempts == 1 { "attempt" } else { "attempts" };
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
            .field("attempts", &self.attempts())
            .field("elapsed", &self.elapsed())
            .field("last_error", &self.last_error())
            .finish()
    }
}

impl<E: std::error::Error + 'static> std::error::Error for GiveUp<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.last_error().and_then(std::error::Error::source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::error::Error;

    /// An error that names another as its source.
    #[derive(Debug)]
    struct Outer(fmt::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    fn record<E>(errors: impl IntoIterator<Item = AttemptError<E>>, kept: usize) -> Box<Record<E>> {
        let mut record = Record::new();
        for (number, error) in (1..).zip(errors) {
            record.note(number, error, 0, kept);
        }
        record
    }

    #[test]
    fn the_source_is_what_the_last_error_names_as_its_own() {
        let error = AttemptError::Failed(Outer(fmt::Error));
        let source = error.source().unwrap();
        assert!(source.is::<fmt::Error>());
        let give_up = record([error], 1).give_up(GiveUpReason::Permanent, 0);
        let source = give_up.source().unwrap();
        assert!(source.is::<fmt::Error>());
        let timed_out = AttemptError::TimedOut(Duration::ZERO);
        let give_up = record::<Outer>([timed_out], 1).give_up(GiveUpReason::Permanent, 0);
        assert!(give_up.source().is_none());
    }

    #[test]
    fn a_record_keeps_as_many_errors_as_were_asked_for_and_no_list_for_one() {
        let numbers = |kept| {
            let record = record((1..=5).map(AttemptError::Failed), kept);
            let has_list = record.earlier.is_some();
            let give_up = record.give_up(GiveUpReason::AttemptsExhausted, 0);
            let numbers: Vec<u32> = give_up.history().map(FailedAttempt::number).collect();
            (has_list, numbers)
        };
        assert_eq!(numbers(0), (false, vec![5]));
        assert_eq!(numbers(1), (false, vec![5]));
        assert_eq!(numbers(2), (true, vec![4, 5]));
        assert_eq!(numbers(9), (true, vec![1, 2, 3, 4, 5]));
    }
}
