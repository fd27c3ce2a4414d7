//! A single job before it is submitted: what it is told.

use std::fmt;
use std::marker::PhantomData;

use crate::crew::{Crew, SharedWork};
use crate::give_up::{AttemptError, GiveUp};
use crate::handle::JobHandle;
use crate::job::{Options, Pending, SingleJob, Todo};
use crate::judge::NextAttempt;
use crate::policy::{RetryPolicy, Verdict};
use crate::sync::Arc;
use crate::unwind::Contained;

/// One job with settings of its own; made by [`RetryPool::job`](crate::RetryPool::job).
///
/// | setting | default |
/// |---|---|
/// | [`retry`](Self::retry) | the pool's policy |
/// | [`retry_if`](Self::retry_if), [`classify`](Self::classify) | every error is retried, a panic is not |
/// | [`retry_unless`](Self::retry_unless) | every `Ok` is a success |
/// | [`errors_kept`](Self::errors_kept) | 1: the last error |
/// | [`name`](Self::name), [`on_retry`](Self::on_retry), [`on_give_up`](Self::on_give_up), [`display_errors`](Self::display_errors) | none |
///
/// ```
/// use retry_pool::{RetryPolicy, RetryPool};
///
/// let pool = RetryPool::with_threads(1);
/// let handle = pool
///     .job(|| std::fs::read_to_string("/no/such/file"))
///     .name("read")
///     .retry(RetryPolicy::immediate().max_attempts(5))
///     .retry_if(|error| error.kind() == std::io::ErrorKind::Interrupted)
///     .submit();
/// assert_eq!(handle.name(), Some("read"));
/// assert_eq!(handle.wait().unwrap_err().attempts(), 1);
/// ```
#[must_use = "a job does not run before submit()"]
pub struct Job<'a, F, T, E> {
    crew: &'a Arc<Crew<'static>>,
    job: F,
    name: Option<Arc<str>>,
    options: Option<Box<Options<'static, T, E>>>,
    /// A job gives its handle values, which it does not hold.
    values: PhantomData<fn() -> T>,
}

impl<'a, F, T, E> Job<'a, F, T, E>
where
    F: Fn() -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    pub(crate) fn new(crew: &'a Arc<Crew<'static>>, job: F) -> Self {
        Self {
            crew,
            job,
            name: None,
            options: None,
            values: PhantomData,
        }
    }

    fn options(&mut self) -> &mut Options<'static, T, E> {
        self.options.get_or_insert_default()
    }

    /// Names the job, for its handle, for [`Attempt::job_name`](crate::Attempt::job_name) and for the text of a panic.
    pub fn name(self, name: impl Into<String>) -> Self {
        Self {
            name: Some(Arc::from(name.into())),
            ..self
        }
    }

    /// When to retry. Default: the pool's policy.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options().policy = Some(policy);
        self
    }

    /// Retries an error only if this returns true; any other ends the job as
    /// [`Permanent`](crate::GiveUpReason::Permanent). Replaces [`classify`](Self::classify).
    pub fn retry_if(self, retry: impl Fn(&E) -> bool + Send + 'static) -> Self {
        self.classify(move |error| {
            if retry(error) {
                Verdict::Retry
            } else {
                Verdict::GiveUp
            }
        })
    }

    /// Judges each error. If the function panics, the job ends as [`Panicked`](crate::GiveUpReason::Panicked). Replaces
    /// [`retry_if`](Self::retry_if).
    pub fn classify(mut self, classify: impl Fn(&E) -> Verdict + Send + 'static) -> Self {
        self.options().classify = Some(Contained::new(Box::new(classify)));
        self
    }

    /// Accepts a success only if this returns true; any other counts as a failed attempt
    /// ([`AttemptError::Rejected`]) and is retried by the policy. The value is dropped. If the function panics, the job ends as
    /// [`Panicked`](crate::GiveUpReason::Panicked).
    ///
    /// ```
    /// # use retry_pool::{Attempt, RetryPolicy, RetryPool};
    /// # let pool = RetryPool::with_threads(1);
    /// let job = pool.job(|| Ok::<_, String>(Attempt::current().number())).retry(RetryPolicy::immediate());
    /// assert_eq!(job.retry_unless(|number| *number == 3).submit().wait().unwrap(), 3);
    /// ```
    pub fn retry_unless(mut self, accept: impl Fn(&T) -> bool + Send + 'static) -> Self {
        self.options().accept = Some(Contained::new(Box::new(accept)));
        self
    }

    /// Is called on the worker when an attempt has failed and another one follows, with how it failed and what comes next. A panic in it
    /// is contained.
    pub fn on_retry(
        mut self,
        hook: impl Fn(&AttemptError<E>, NextAttempt) + Send + 'static,
    ) -> Self {
        let hook = move |(): &(), error: &AttemptError<E>, next| hook(error, next);
        self.options().on_retry = Some(Contained::new(Box::new(hook)));
        self
    }

    /// Is called when the job gives up, for whatever reason, just before its handle knows: on the worker of its last attempt, or on
    /// the thread that stops the pool; not if a closed pool refused the job. A panic in it is contained.
    pub fn on_give_up(mut self, hook: impl Fn(&GiveUp<E>) + Send + 'static) -> Self {
        self.options().on_give_up = Some(Contained::new(Box::new(hook)));
        self
    }

    /// How many failed attempts [`GiveUp::history`] keeps, the last one always. Default: 1.
    pub fn errors_kept(mut self, attempts: usize) -> Self {
        self.options().errors_kept = attempts;
        self
    }

    /// Shows each attempt the text of the error before it, as [`Attempt::previous_error`](crate::Attempt::previous_error).
    pub fn display_errors(mut self) -> Self
    where
        E: fmt::Display,
    {
        self.options().display = Some(ToString::to_string);
        self
    }

    /// Submits the job; never blocks. In a pool that is closed the handle is already settled, as
    /// [`Shutdown`](crate::GiveUpReason::Shutdown).
    ///
    /// # Panics
    /// If the policy is refused by [`RetryPolicy::validate`].
    pub fn submit(self) -> JobHandle<T, E> {
        let Self {
            crew,
            job,
            name,
            options,
            values: _,
        } = self;
        let policy = options.as_ref().and_then(|options| options.policy.as_ref());
        if let Some(Err(error)) = policy.map(RetryPolicy::validate) {
            panic!("{error}");
        }
        let todo = Todo {
            job,
            options,
            record: None,
        };
        let Some(number) = crew.admit() else {
            todo.free();
            return JobHandle::new(Arc::new(SingleJob::<F, T, E>::refused(name)));
        };
        let job = Arc::new(SingleJob::new(todo, name, number, crew.clock.now()));
        let pending: Arc<dyn Pending<T, E>> = Arc::clone(&job) as _;
        crew.push(job as SharedWork<'static>);
        JobHandle::new(pending)
    }
}

impl<F, T, E> fmt::Debug for Job<'_, F, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let policy = self
            .options
            .as_ref()
            .and_then(|options| options.policy.as_ref());
        f.debug_struct("Job")
            .field("name", &self.name)
            .field("policy", &policy)
            .finish_non_exhaustive()
    }
}
