//! What the crate refuses, one error type for each operation.

use std::fmt;
use std::io;
use std::time::Duration;

/// A policy that contradicts itself; found by [`RetryPolicy::validate`](crate::RetryPolicy::validate).
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// A job has at least its first attempt.
    #[error(
        "max_attempts is 0: it counts the first attempt, so it is at least 1; RetryPolicy::never() makes exactly one"
    )]
    ZeroAttempts,
    /// A delay that shrinks, or is not a number.
    #[error("multiplier is {0}: it must be a finite number of at least 1")]
    Multiplier(f64),
    /// A share is 0 to 1.
    #[error("the share of a proportional jitter is {0}: it must be from 0 to 1")]
    JitterShare(f64),
    /// A job that keeps failing would be retried millions of times a second.
    #[error(
        "immediate() with unlimited() is a hot loop while a job fails: \
         set a budget, a limit or a delay, or allow it by hot_loop_ok()"
    )]
    HotLoop,
    /// A budget cannot take away for a success.
    #[error("the budget's ratio is {0}: it must be a finite number of at least 0")]
    BudgetRatio(f64),
    /// A budget that forgets at once.
    #[error("the budget's window is 0: what it counts would be forgotten at once")]
    ZeroBudgetWindow,
    /// A backoff without a delay is a loop that its author did not ask for.
    #[error("the initial delay is 0: use RetryPolicy::immediate() to retry without a delay")]
    ZeroDelay,
    /// No delay can be longer than 0.
    #[error("max_delay is 0: use RetryPolicy::immediate() to retry without a delay")]
    ZeroMaxDelay,
    /// The first delay would already be cut.
    #[error("the initial delay {initial:?} is longer than max_delay {max_delay:?}")]
    InitialOverMax {
        /// The delay before the first retry.
        initial: Duration,
        /// The cap of every delay.
        max_delay: Duration,
    },
}

/// A pool that cannot be built; returned by [`RetryPoolBuilder::build`](crate::RetryPoolBuilder::build).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A pool without workers would never run a job.
    #[error("threads is 0: a pool has at least 1 worker")]
    ZeroThreads,
    /// More workers than a pool can have.
    #[error("threads is {threads}: a pool has at most {max}")]
    TooManyThreads {
        /// What was asked for.
        threads: usize,
        /// The most that a pool can have.
        max: usize,
    },
    /// A pool that admits nothing.
    #[error("capacity is 0: a pool admits at least 1 job")]
    ZeroCapacity,
    /// The text that names threads contains a NUL byte, which the operating system refuses.
    #[error("thread_name contains a NUL byte")]
    ThreadName,
    /// The default policy is refused.
    #[error("retry: {0}")]
    Policy(PolicyError),
    /// The operating system refused to start a thread. Those already started have been ended.
    #[error("thread {name} could not be started")]
    Spawn {
        /// The name of the thread that was refused.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
}

impl From<PolicyError> for BuildError {
    fn from(error: PolicyError) -> Self {
        Self::Policy(error)
    }
}

/// What a [`Supervisor`](crate::Supervisor) refuses, or failed of.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// No child has this name, or it has been removed.
    #[error("there is no child named {0:?}")]
    UnknownChild(String),
    /// Another child has this name. That of a removed child is free once its last run has ended.
    #[error("there is a child named {0:?} already")]
    DuplicateName(String),
    /// A child without a name could not be asked for.
    #[error("the name of a child is empty")]
    EmptyName,
    /// The name, of a child or of the supervisor, contains a NUL byte, which the operating system refuses for a thread's.
    #[error("the name {0:?} contains a NUL byte")]
    NulInName(String),
    /// A setting that would make no sense as 0.
    #[error("child {child:?}: {setting} is 0: {must}")]
    ZeroSetting {
        /// The name of the child.
        child: String,
        /// The setting, by the name of its method.
        setting: &'static str,
        /// What it must be, and why.
        must: &'static str,
    },
    /// A child that keeps failing would be restarted thousands of times a second.
    #[error(
        "child {0:?}: restarts without a delay and without a limit are a hot loop: \
         set a delay, max_restarts or max_consecutive, or allow it by hot_loop_ok() on the policy"
    )]
    HotLoop(String),
    /// The policy of a child's delays contradicts itself.
    #[error("child {child:?}: delay: {error}")]
    Policy {
        /// The name of the child.
        child: String,
        /// What is wrong with it.
        error: PolicyError,
    },
    /// The supervisor has been shut down.
    #[error("the supervisor has been shut down")]
    ShutDown,
    /// The operating system refused to start the supervisor's own thread. No child has been started.
    #[error("thread {name} could not be started")]
    Spawn {
        /// The name of the thread that was refused.
        name: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// A child gave up that was told to [`Escalate`](crate::OnGiveUp::Escalate).
    #[error("child {child:?} gave up: {error}")]
    Escalated {
        /// The name of the child.
        child: String,
        /// The text of its last error.
        error: String,
    },
}

/// A job that was not accepted; returned by [`RetryPool::try_submit`](crate::RetryPool::try_submit) with the job.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrySubmitError<J> {
    /// As many jobs as the pool's [`capacity`](crate::RetryPoolBuilder::capacity) allows are accepted and have not settled.
    Full(J),
    /// The pool is closed.
    Closed(J),
}

impl<J> TrySubmitError<J> {
    /// The job that was not accepted.
    #[must_use]
    pub fn into_inner(self) -> J {
        match self {
            Self::Full(job) | Self::Closed(job) => job,
        }
    }

    /// The same with another job in it.
    pub(crate) fn map<K>(self, change: impl FnOnce(J) -> K) -> TrySubmitError<K> {
        match self {
            Self::Full(job) => TrySubmitError::Full(change(job)),
            Self::Closed(job) => TrySubmitError::Closed(change(job)),
        }
    }
}

impl<J> fmt::Display for TrySubmitError<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the pool is full",
            Self::Closed(_) => "the pool is closed",
        })
    }
}

impl<J> fmt::Debug for TrySubmitError<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
        })
    }
}

impl<J> std::error::Error for TrySubmitError<J> {}

/// A timed wait that ended before the next job had settled; returned by [`AsCompleted::next_timeout`](crate::AsCompleted::next_timeout)
/// and [`HandlesCompleted::next_timeout`](crate::HandlesCompleted::next_timeout).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("timed out with {unfinished} jobs unfinished")]
#[non_exhaustive]
pub struct TimedOut {
    /// Jobs that were accepted and have not been delivered yet.
    pub unfinished: usize,
}

/// An input that a batch no longer takes; returned by [`BatchSender::send`](crate::BatchSender::send).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SendError<I>(pub(crate) I);

impl<I> SendError<I> {
    /// The input that was not taken.
    #[must_use]
    pub fn into_inner(self) -> I {
        self.0
    }
}

impl<I> fmt::Display for SendError<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the batch is over")
    }
}

impl<I> fmt::Debug for SendError<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SendError(..)")
    }
}

impl<I> std::error::Error for SendError<I> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_says_why_and_hides_what_it_carries() {
        let shown = |error: TrySubmitError<()>| (error.to_string(), format!("{error:?}"));
        let text = |display: &str, debug: &str| (display.to_owned(), debug.to_owned());
        assert_eq!(
            shown(TrySubmitError::Full(())),
            text("the pool is full", "Full(..)")
        );
        assert_eq!(
            shown(TrySubmitError::Closed(())),
            text("the pool is closed", "Closed(..)")
        );
        assert_eq!(SendError(()).to_string(), "the batch is over");
        assert_eq!(format!("{:?}", SendError(())), "SendError(..)");
    }
}
