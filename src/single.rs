//! A single job before it is submitted: what it is told.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::clock::{deadline_after, nanos};
use crate::crew::{Crew, Parked, Patience, Piece, Refusal};
use crate::error::TrySubmitError;
use crate::give_up::{AttemptError, GiveUp};
use crate::handle::{JobHandle, ScopedHandle};
use crate::job::{Callable, Limited, Options, Plain, SharedFn, Slab, Tuned, place};
use crate::judge::NextAttempt;
use crate::observe::JobEvent;
use crate::policy::{Requeue, RetryPolicy, Verdict};
use crate::sync::{Arc, Weak};
use crate::unwind::{self, Contained};

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
pub struct Job<'p, F, T, E> {
    crew: Arc<Crew<'p>>,
    job: F,
    /// Makes the job one whose attempts have a limit.
    share: Option<fn(F) -> SharedFn<T, E>>,
    name: Option<Arc<str>>,
    options: Option<Box<Options<'p, T, E>>>,
    /// A job gives its handle values, which it does not hold.
    values: PhantomData<fn() -> T>,
}

impl<'p, F, T, E> Job<'p, F, T, E>
where
    F: Fn() -> Result<T, E> + Send + 'p,
    T: Send + 'p,
    E: Send + 'p,
{
    pub(crate) fn new(crew: Arc<Crew<'p>>, job: F) -> Self {
        Self {
            crew,
            job,
            share: None,
            name: None,
            options: None,
            values: PhantomData,
        }
    }

    fn options(&mut self) -> &mut Options<'p, T, E> {
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
    pub fn retry_if(self, retry: impl Fn(&E) -> bool + Send + 'p) -> Self {
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
    pub fn classify(mut self, classify: impl Fn(&E) -> Verdict + Send + 'p) -> Self {
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
    pub fn retry_unless(mut self, accept: impl Fn(&T) -> bool + Send + 'p) -> Self {
        self.options().accept = Some(Contained::new(Box::new(accept)));
        self
    }

    /// Is called on the worker when an attempt has failed and another one follows, with how it failed and what comes next. A panic in it
    /// is contained.
    pub fn on_retry(mut self, hook: impl Fn(&AttemptError<E>, NextAttempt) + Send + 'p) -> Self {
        let hook = move |(): &(), error: &AttemptError<E>, next| hook(error, next);
        self.options().on_retry = Some(Contained::new(Box::new(hook)));
        self
    }

    /// Is called when the job gives up, for whatever reason, just before its handle knows: on a worker, or in the call that ends
    /// it, which cancels, stops the pool, or submits while the pool stops; not if a closed pool refused the job. A panic in it is contained.
    pub fn on_give_up(mut self, hook: impl Fn(&GiveUp<E>) + Send + 'p) -> Self {
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

    /// The time allowed for the whole job from its submission, retries and waiting included. When it is over, a job that waits ends as
    /// [`DeadlineExceeded`](crate::GiveUpReason::DeadlineExceeded), and so does one whose next attempt would come too late; a running
    /// attempt is told to stop, and ends the job when it returns: with its success, or else as `DeadlineExceeded`. Not to wait for an
    /// attempt that does not listen, set [`attempt_timeout`](Self::attempt_timeout), too: this time limits that one. Default: no limit.
    pub fn timeout(mut self, time: Duration) -> Self {
        self.options().timeout = Some(time);
        self
    }

    /// Waits this long after the submission before the first attempt. Default: zero.
    ///
    /// ```
    /// use std::time::{Duration, Instant};
    /// use retry_pool::RetryPool;
    ///
    /// let pool = RetryPool::with_threads(1);
    /// let submitted = Instant::now();
    /// let begun = pool.job(|| Ok::<_, ()>(Instant::now())).delay(Duration::from_millis(20)).submit();
    /// assert!(begun.wait().unwrap() - submitted >= Duration::from_millis(20));
    /// ```
    pub fn delay(mut self, time: Duration) -> Self {
        self.options().delay = time;
        self
    }

    /// Submits the job; blocks while the pool is full ([`capacity`](crate::RetryPoolBuilder::capacity)). In a pool that is closed the
    /// handle is already settled, as [`Shutdown`](crate::GiveUpReason::Shutdown).
    ///
    /// # Panics
    /// If the policy is refused by [`RetryPolicy::validate`]; in a job that submits to a full pool, if the operating system refuses the
    /// spare thread that works meanwhile.
    pub fn submit(self) -> ScopedHandle<'p, T, E> {
        match self.try_admit(Patience::Until(None)) {
            Ok(handle) => handle,
            Err((refused, _)) => {
                let Self {
                    crew,
                    job,
                    name,
                    options,
                    ..
                } = refused;
                unwind::discard(job);
                unwind::discard(options);
                refused_handle(&crew, name)
            }
        }
    }

    /// Submits the job if the pool has room for it; never blocks.
    ///
    /// # Errors
    /// [`TrySubmitError::Full`] or [`TrySubmitError::Closed`] with the job.
    ///
    /// # Panics
    /// If the policy is refused by [`RetryPolicy::validate`].
    pub fn try_submit(self) -> Result<ScopedHandle<'p, T, E>, TrySubmitError<Self>> {
        self.try_admit(Patience::None).map_err(refused)
    }

    /// Submits the job; waits for room in the pool no longer than `timeout`.
    ///
    /// # Errors
    /// [`TrySubmitError::Full`] or [`TrySubmitError::Closed`] with the job.
    ///
    /// # Panics
    /// As [`submit`](Self::submit).
    pub fn submit_timeout(
        self,
        timeout: Duration,
    ) -> Result<ScopedHandle<'p, T, E>, TrySubmitError<Self>> {
        self.try_admit(Patience::Until(deadline_after(timeout)))
            .map_err(refused)
    }

    /// The job's function alone, once it was refused.
    pub(crate) fn into_job(self) -> F {
        self.job
    }

    fn try_admit(self, patience: Patience) -> Result<ScopedHandle<'p, T, E>, (Self, Refusal)> {
        let policy = self
            .options
            .as_ref()
            .and_then(|options| options.policy.as_ref());
        if let Some(Err(error)) = policy.map(RetryPolicy::validate) {
            panic!("{error}");
        }
        let number = match self.crew.admit(patience) {
            Ok(number) => number,
            Err(refusal) => return Err((self, refusal)),
        };
        let Self {
            crew,
            job,
            share,
            name,
            options,
            values: _,
        } = self;
        Ok(match share {
            None => launch(&crew, Tuned { job, options }, name, number),
            Some(share) => {
                let (job, options) = (share(job), options.unwrap_or_default());
                launch(&crew, Limited { job, options }, name, number)
            }
        })
    }
}

impl<F, T, E> Job<'static, F, T, E>
where
    F: Fn() -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    /// The time allowed for one attempt. One that takes longer is told to stop and counts as failed
    /// ([`AttemptError::TimedOut`]); the job goes on by its policy, a fresh worker takes the place of the stuck one, and whatever that
    /// attempt returns later is dropped. So two attempts may run at once, which is why the job has to be `Sync` here. Default: no limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use retry_pool::{Attempt, RetryPolicy, RetryPool};
    ///
    /// let pool = RetryPool::with_threads(1);
    /// let job = || match Attempt::current().number() {
    ///     1 => Ok::<_, ()>(std::thread::sleep(Duration::from_millis(600))),
    ///     _ => Ok(()),
    /// };
    /// let job = pool.job(job).attempt_timeout(Duration::from_millis(20)).retry(RetryPolicy::immediate());
    /// let handle = job.submit().wait_timeout(Duration::from_millis(500));
    /// assert!(handle.is_ok_and(|result| result.is_ok()));
    /// ```
    pub fn attempt_timeout(mut self, time: Duration) -> Self
    where
        F: Sync,
    {
        self.options().attempt_timeout = Some(time);
        self.share = Some(SharedFn::new);
        self
    }
}

pub(crate) fn refused<V>((given, refusal): (V, Refusal)) -> TrySubmitError<V> {
    match refusal {
        Refusal::Full => TrySubmitError::Full(given),
        Refusal::Closed => TrySubmitError::Closed(given),
    }
}

/// Submits a job with nothing but the pool's settings.
pub(crate) fn submit_plain<F, T, E>(
    crew: &Arc<Crew<'static>>,
    job: F,
    patience: Patience,
) -> Result<JobHandle<T, E>, (F, Refusal)>
where
    F: Fn() -> Result<T, E> + Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    let number = match crew.admit(patience) {
        Ok(number) => number,
        Err(refusal) => return Err((job, refusal)),
    };
    let (work, job) = place(crew, job, crew.clock.now(), number);
    tell_accepted(crew, number, None);
    crew.push(work);
    Ok(ScopedHandle::new(job))
}

/// Sends an admitted job with settings of its own to work.
fn launch<'p, J, T, E>(
    crew: &Arc<Crew<'p>>,
    mut job: J,
    name: Option<Arc<str>>,
    number: u32,
) -> ScopedHandle<'p, T, E>
where
    J: Callable<'p, T, E> + 'p,
    T: Send + 'p,
    E: Send + 'p,
{
    let accepted = crew.clock.now();
    let (mut begins, mut deadline, mut watched) = (accepted, None, false);
    if let Some(options) = job.options_mut() {
        begins = accepted.saturating_add(nanos(options.delay));
        deadline = options
            .timeout
            .map(|time| accepted.saturating_add(nanos(time)));
        watched = options.attempt_timeout.is_some();
        (options.begins, options.deadline) = (begins, deadline);
    }
    tell_accepted(crew, number, name.as_deref());
    let (work, job) = if watched {
        Arc::new_cyclic(|this: &Weak<Slab<'p, J, T, E, 1>>| {
            if let Some(options) = job.options_mut() {
                options.this = Some(Piece::whole(this.clone() as _));
            }
            Slab::single(crew, name, job, accepted, number)
        })
    } else {
        Arc::new(Slab::single(crew, name, job, accepted, number))
    }
    .whole();
    if let Some(deadline) = deadline {
        crew.park(deadline, Parked::Deadline(work.downgrade()));
    }
    if begins > accepted {
        crew.park(begins, Parked::Job(work, Requeue::Back));
    } else {
        crew.push(work);
    }
    ScopedHandle::new(job)
}

fn tell_accepted(crew: &Crew<'_>, number: u32, name: Option<&str>) {
    crew.settings.observer.tell(|observer| {
        observer.job_accepted(&JobEvent {
            batch: None,
            number: u64::from(number),
            name,
            attempts: 0,
        });
    });
}

/// The handle of a job that was not accepted.
pub(crate) fn refused_handle<'p, T, E>(
    crew: &Arc<Crew<'p>>,
    name: Option<Arc<str>>,
) -> ScopedHandle<'p, T, E>
where
    T: Send + 'p,
    E: Send + 'p,
{
    let job = Slab::<Plain<fn() -> Result<T, E>>, T, E, 1>::refused(crew, name);
    ScopedHandle::new(Arc::new(job).whole().1)
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
