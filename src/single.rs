//! A single job before it is submitted: what it is told.

use std::fmt;
use std::marker::PhantomData;

use crate::crew::{Crew, SharedWork};
use crate::handle::JobHandle;
use crate::job::{Options, Pending, SingleJob, Todo};
use crate::policy::{RetryPolicy, Verdict};
use crate::sync::Arc;

/// One job with settings of its own; made by [`RetryPool::job`](crate::RetryPool::job).
///
/// | setting | default |
/// |---|---|
/// | [`retry`](Self::retry) | the pool's policy |
/// | [`retry_if`](Self::retry_if), [`classify`](Self::classify) | every error is retried, a panic is not |
/// | [`name`](Self::name) | no name |
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
    options: Option<Box<Options<'static, E>>>,
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

    fn options(&mut self) -> &mut Options<'static, E> {
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
        self.options().classify = Some(Box::new(classify));
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
