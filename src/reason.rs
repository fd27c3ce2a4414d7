//! Why a job ends without success.

use std::fmt;

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
    /// The job panicked, or what judged it did: a predicate, or the policy's iterator of delays.
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

    /// In the order of their numbers.
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Permanent,
        Self::AttemptsExhausted,
        Self::ElapsedExhausted,
        Self::BudgetExhausted,
        Self::Panicked,
        Self::DeadlineExceeded,
        Self::Cancelled,
        Self::FailFast,
        Self::Shutdown,
    ];
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
