//! What it takes to run a single job.

use std::time::Duration;

use crate::clock::Nanos;
use crate::crew::WeakWork;
use crate::give_up::{AttemptError, GiveUp, Record};
use crate::judge::NextAttempt;
use crate::policy::{RetryPolicy, Verdict};
use crate::reason::GiveUpReason;
use crate::sync::Arc;
use crate::unwind::{self, Contained, Hook};

/// All that a worker needs. It belongs to the worker during an attempt, so the job need not be `Sync`.
pub(crate) struct Todo<J, E> {
    pub(crate) job: J,
    pub(crate) record: Option<Box<Record<E>>>,
}

impl<J, E> Todo<J, E> {
    pub(crate) fn new(job: J) -> Self {
        Self { job, record: None }
    }
}

/// The same, with the job's number: for the jitter and the observer, so half of the pool's count is enough.
pub(crate) type Numbered<J, E> = (Todo<J, E>, u32);

/// The user's function, with the options that the job has.
pub(crate) trait Callable<'p, T, E>: Send {
    fn call(&self) -> Result<T, E>;

    /// A second reference, for a function that may be abandoned while it runs.
    fn share(&self) -> Option<SharedFn<T, E>> {
        None
    }

    /// `None`: the pool's policy, and every error is retried.
    fn options(&self) -> Option<&Options<'p, T, E>> {
        None
    }

    fn options_mut(&mut self) -> Option<&mut Options<'p, T, E>> {
        None
    }

    /// Drops the function. The options are left, since closures in them may be asked or told about the end.
    fn free(self) -> Option<Box<Options<'p, T, E>>>;
}

/// One without options, that runs on one thread at a time.
pub(crate) struct Plain<F>(pub(crate) F);

impl<'p, F: Fn() -> Result<T, E> + Send, T, E> Callable<'p, T, E> for Plain<F> {
    fn call(&self) -> Result<T, E> {
        (self.0)()
    }

    fn free(self) -> Option<Box<Options<'p, T, E>>> {
        unwind::discard(self.0);
        None
    }
}

/// One with options, that runs on one thread at a time.
pub(crate) struct Tuned<'p, F, T, E> {
    pub(crate) job: F,
    pub(crate) options: Option<Box<Options<'p, T, E>>>,
}

impl<'p, F: Fn() -> Result<T, E> + Send, T, E> Callable<'p, T, E> for Tuned<'p, F, T, E> {
    fn call(&self) -> Result<T, E> {
        (self.job)()
    }

    fn options(&self) -> Option<&Options<'p, T, E>> {
        self.options.as_deref()
    }

    fn options_mut(&mut self) -> Option<&mut Options<'p, T, E>> {
        self.options.as_deref_mut()
    }

    fn free(self) -> Option<Box<Options<'p, T, E>>> {
        unwind::discard(self.job);
        self.options
    }
}

/// A function whose attempts have a limit: a stuck one may still run beside the next.
pub(crate) struct SharedFn<T, E>(Arc<Contained<Box<dyn Fn() -> Result<T, E> + Send + Sync>>>);

impl<T, E> SharedFn<T, E> {
    pub(crate) fn new(job: impl Fn() -> Result<T, E> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Contained::new(Box::new(job))))
    }

    pub(super) fn call(&self) -> Result<T, E> {
        (self.0)()
    }
}

/// One whose attempts have a limit.
pub(crate) struct Limited<'p, T, E> {
    pub(crate) job: SharedFn<T, E>,
    pub(crate) options: Box<Options<'p, T, E>>,
}

impl<'p, T, E> Callable<'p, T, E> for Limited<'p, T, E> {
    fn call(&self) -> Result<T, E> {
        self.job.call()
    }

    fn share(&self) -> Option<SharedFn<T, E>> {
        Some(SharedFn(Arc::clone(&self.job.0)))
    }

    fn options(&self) -> Option<&Options<'p, T, E>> {
        Some(&self.options)
    }

    fn options_mut(&mut self) -> Option<&mut Options<'p, T, E>> {
        Some(&mut self.options)
    }

    fn free(self) -> Option<Box<Options<'p, T, E>>> {
        Some(self.options)
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
    /// The limit of one attempt, of the whole job, and the time before its first attempt.
    pub(crate) attempt_timeout: Option<Duration>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) delay: Duration,
    // What follows belongs to the running job.
    pub(crate) this: Option<WeakWork<'p>>,
    pub(crate) begins: Nanos,
    pub(crate) deadline: Option<Nanos>,
    /// That of the attempt that runs.
    pub(crate) limit: Duration,
    /// The attempt that was abandoned is still to be judged.
    pub(crate) timed_out: Option<Duration>,
    /// The job was told to stop while an attempt with a limit was running.
    pub(crate) told: Option<GiveUpReason>,
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
            attempt_timeout: None,
            timeout: None,
            delay: Duration::ZERO,
            this: None,
            begins: 0,
            deadline: None,
            limit: Duration::MAX,
            timed_out: None,
            told: None,
        }
    }
}
