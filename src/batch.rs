//! Many jobs of one type over an iterator of inputs: what a batch is told before it starts.

use std::fmt;
use std::time::Duration;

use crate::backoff::mix;
use crate::cancel::CancelToken;
use crate::channel::BatchSender;
use crate::clock::nanos;
use crate::completed::AsCompleted;
use crate::crew::{Crew, Parked, SharedLane};
use crate::give_up::{AttemptError, GiveUp};
use crate::in_order::InOrder;
use crate::judge::NextAttempt;
use crate::lane::{Core, FailFast, Setup, SharedInput};
use crate::policy::{RetryPolicy, Verdict};
use crate::report::BatchReport;
use crate::sync::{Arc, now};
use crate::token::{BatchLane, BatchOptions, Listen};
use crate::unwind::Contained;

/// Many jobs of one type: an iterator of inputs and a function, on a pool. Made by [`RetryPool::batch`](crate::RetryPool::batch).
///
/// It is lazy: nothing is pulled from the input, and nothing runs, before the first `next()`. Inputs are pulled on the
/// caller's thread inside `next()`, at most [`window`](Self::window) of them ahead of what has been delivered, so an endless
/// input and a slow consumer are fine. While they come quickly, up to 32 are pulled before the first of them is handed over; so an
/// input must not wait for the jobs of those before it. Each job comes out once it has settled, retries included: in the order in which they
/// settle by [`as_completed`](Self::as_completed) (and by a `for` loop over the batch), or in the order of the input by
/// [`in_order`](Self::in_order).
///
/// | setting | default |
/// |---|---|
/// | [`retry`](Self::retry) | the pool's policy |
/// | [`retry_if`](Self::retry_if), [`classify`](Self::classify) | every error is retried, a panic is not |
/// | [`window`](Self::window) | the greater of 1 024 and 4 × threads |
/// | [`retry_unless`](Self::retry_unless) | every `Ok` is a success |
/// | [`errors_kept`](Self::errors_kept) | 1: the last error |
/// | [`fail_fast`](Self::fail_fast) | never |
/// | [`attempt_timeout`](Self::attempt_timeout), [`timeout`](Self::timeout) | no limit |
/// | [`name`](Self::name), [`cancel_token`](Self::cancel_token), [`on_retry`](Self::on_retry), [`on_give_up`](Self::on_give_up), [`display_errors`](Self::display_errors) | none |
///
/// ```
/// use std::time::Duration;
/// use retry_pool::{RetryPolicy, RetryPool};
///
/// let pool = RetryPool::with_threads(4);
/// let texts = ["1", "2", "three", "4"];
/// let mut sum = 0;
/// for done in pool.batch(texts, |text| text.parse::<u32>())
///     .retry(RetryPolicy::fixed(Duration::from_millis(1)).max_attempts(2))
/// {
///     match done.result() {
///         Ok(number) => sum += number,
///         Err(give_up) => assert_eq!((*done.input(), give_up.attempts()), ("three", 2)),
///     }
/// }
/// assert_eq!(sum, 7);
/// ```
#[must_use = "a batch is lazy: iterate over it, or call run()"]
pub struct Batch<'p, It: Iterator, F, T, E> {
    crew: Arc<Crew<'p>>,
    input: It,
    job: F,
    options: BatchOptions<'p, It::Item, T, E>,
    window: usize,
    fail_fast: FailFast,
    timeout: Option<Duration>,
    token: Option<CancelToken>,
    share: Option<fn(It::Item) -> SharedInput<It::Item>>,
    number: u64,
    listen: Listen<'p, It::Item, T, E, F>,
}

impl<'p, It, F, T, E> Batch<'p, It, F, T, E>
where
    It: Iterator,
    It::Item: Send + 'p,
    F: Fn(&It::Item) -> Result<T, E> + Send + Sync + 'p,
    T: Send + 'p,
    E: Send + 'p,
{
    /// Enough to keep empty jobs flowing between a filling and a draining side, and little memory.
    const DEFAULT_WINDOW: usize = 1_024;

    pub(crate) fn new(
        crew: &Arc<Crew<'p>>,
        input: It,
        job: F,
        listen: Listen<'p, It::Item, T, E, F>,
    ) -> Self {
        let number = crew.next_batch();
        let options = BatchOptions {
            policy: crew.settings.policy.clone(),
            classify: None,
            accept: None,
            on_retry: None,
            on_give_up: None,
            name: None,
            display: None,
            errors_kept: 1,
            attempt_timeout: None,
            seed: mix(crew.settings.seed, number, 0),
        };
        Self {
            input,
            job,
            options,
            window: Self::DEFAULT_WINDOW.max(crew.settings.threads.saturating_mul(4)),
            fail_fast: FailFast::Never,
            timeout: None,
            token: None,
            share: None,
            number,
            listen,
            crew: Arc::clone(crew),
        }
    }

    /// When to retry. Default: the pool's policy, see [`RetryPoolBuilder::retry`](crate::RetryPoolBuilder::retry).
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.options.policy = policy;
        self
    }

    /// Retries an error only if this returns true; any other ends its job as [`Permanent`](crate::GiveUpReason::Permanent).
    /// Replaces [`classify`](Self::classify).
    pub fn retry_if(self, retry: impl Fn(&E) -> bool + Send + Sync + 'p) -> Self {
        self.classify(move |error| {
            if retry(error) {
                Verdict::Retry
            } else {
                Verdict::GiveUp
            }
        })
    }

    /// Judges each error. If the function panics, its job ends as [`Panicked`](crate::GiveUpReason::Panicked).
    /// Replaces [`retry_if`](Self::retry_if).
    pub fn classify(mut self, classify: impl Fn(&E) -> Verdict + Send + Sync + 'p) -> Self {
        self.options.classify = Some(Contained::new(Box::new(classify)));
        self
    }

    /// Accepts a success only if this returns true; any other counts as a failed attempt
    /// ([`AttemptError::Rejected`]) and is retried by the policy. The value is dropped. If the function panics, its job ends as
    /// [`Panicked`](crate::GiveUpReason::Panicked).
    pub fn retry_unless(mut self, accept: impl Fn(&T) -> bool + Send + Sync + 'p) -> Self {
        self.options.accept = Some(Contained::new(Box::new(accept)));
        self
    }

    /// Is called on the worker when an attempt has failed and another one follows, with the input, how it failed and what comes next.
    /// A panic in it is contained.
    ///
    /// ```
    /// # use retry_pool::{Attempt, RetryPolicy, RetryPool};
    /// # let pool = RetryPool::with_threads(1);
    /// let (sender, retries) = std::sync::mpsc::channel();
    /// let run = |n: &u32| if Attempt::current().number() > *n { Ok(()) } else { Err("busy") };
    /// pool.batch(0..3, run)
    ///     .retry(RetryPolicy::immediate())
    ///     .on_retry(move |input, error, next| sender.send(format!("{input}: {error}, attempt {}", next.number())).unwrap())
    ///     .run();
    /// assert_eq!(retries.iter().next().unwrap(), "1: busy, attempt 2");
    /// ```
    pub fn on_retry(
        mut self,
        hook: impl Fn(&It::Item, &AttemptError<E>, NextAttempt) + Send + Sync + 'p,
    ) -> Self {
        self.options.on_retry = Some(Contained::new(Box::new(hook)));
        self
    }

    /// Is called on the worker when the attempt was a job's last, with the input and why it gave up, just before the job comes out. Jobs
    /// that end without a further attempt (cancelled, or their pool stopped) are not told. A panic in it is contained.
    pub fn on_give_up(mut self, hook: impl Fn(&It::Item, &GiveUp<E>) + Send + Sync + 'p) -> Self {
        self.options.on_give_up = Some(Contained::new(Box::new(hook)));
        self
    }

    /// How many failed attempts [`GiveUp::history`] keeps, the last one always. Default: 1.
    pub fn errors_kept(mut self, attempts: usize) -> Self {
        self.options.errors_kept = attempts;
        self
    }

    /// Shows each attempt the text of the error before it, as [`Attempt::previous_error`](crate::Attempt::previous_error).
    pub fn display_errors(mut self) -> Self
    where
        E: fmt::Display,
    {
        self.options.display = Some(ToString::to_string);
        self
    }

    /// The greatest number of jobs that are admitted and not delivered yet: queued, parked, running, or settled and not yet
    /// taken by the caller. What the caller has taken counts until a later call: the next one if nothing else is ready, else at most a
    /// quarter of the window, or 64 jobs, later. A job that waits for others, in a call of this crate, lends its place meanwhile to those who send by
    /// [`channel`](Self::channel). A job that is [resubmitted](crate::Completion::resubmit) is admitted also where there is no room.
    /// At least 1; a large one costs nothing until it is used. Default: the greater of 1 024 and 4 × threads.
    pub fn window(self, jobs: usize) -> Self {
        Self {
            window: jobs,
            ..self
        }
    }

    /// When the batch stops because jobs of it failed. Default: [`FailFast::Never`].
    pub fn fail_fast(self, rule: FailFast) -> Self {
        Self {
            fail_fast: rule,
            ..self
        }
    }

    /// The time allowed for the whole batch, from the start of the iteration. When it is over, what is queued or parked comes out as
    /// [`DeadlineExceeded`](crate::GiveUpReason::DeadlineExceeded), nothing more is pulled, and what runs is told to stop and comes out
    /// as it ends. Default: no limit.
    pub fn timeout(self, time: Duration) -> Self {
        Self {
            timeout: Some(time),
            ..self
        }
    }

    /// Cancels the batch when this token is cancelled, as [`AsCompleted::cancel`] does. The token of each attempt is a child of this one.
    pub fn cancel_token(self, token: CancelToken) -> Self {
        Self {
            token: Some(token),
            ..self
        }
    }

    /// Names each job after its input, for [`Attempt::job_name`](crate::Attempt::job_name) and the text of a panic. The
    /// function is called before each attempt, and at times once more for the same; one that panics leaves the job without a name.
    pub fn name(mut self, name: impl Fn(&It::Item) -> String + Send + Sync + 'p) -> Self {
        self.options.name = Some(Contained::new(Box::new(name)));
        self
    }

    /// Iterates in the order in which jobs settle.
    ///
    /// # Panics
    /// If the policy is refused by [`RetryPolicy::validate`], the window is 0, or [`fail_fast`](Self::fail_fast) can never or only ever
    /// apply (0 failures, a ratio that is not over 0 and at most 1).
    pub fn as_completed(self) -> AsCompleted<'p, It, F, T, E> {
        let Self {
            crew,
            input,
            job,
            options,
            window,
            fail_fast,
            timeout,
            token,
            share,
            number,
            listen,
        } = self;
        if let Err(error) = options.policy.validate() {
            panic!("{error}");
        }
        assert!(window > 0, "window is 0: a batch admits at least 1 job");
        if let Some(fault) = fail_fast.fault() {
            panic!("{fault}");
        }
        let deadline = timeout.map(|time| crew.clock.now().saturating_add(nanos(time)));
        let given = token.is_some();
        let setup = Setup {
            roster: Arc::clone(&crew.roster),
            number,
            window,
            threads: crew.settings.threads,
            processors: crew.settings.processors,
            place: options.policy.place(),
            fail_fast,
            share,
            token: token.map_or_else(CancelToken::new, |token| token.child()),
            clock: crew.clock,
            deadline,
            errors_kept: options.errors_kept,
            observer: crew.settings.observer.clone(),
        };
        let lane = Arc::new_cyclic(|this| BatchLane {
            core: Arc::new(Core::new(setup)),
            job: Contained::new(job),
            options,
            crew: Arc::downgrade(&crew),
            this: this.clone(),
        });
        let shared: SharedLane<'p> = Arc::clone(&lane) as _;
        crew.register(number, &shared, Arc::clone(&lane.core.counts));
        if let Some(deadline) = deadline {
            crew.park(deadline, Parked::Lane(Arc::downgrade(&shared)));
        }
        if given {
            listen(&lane);
        }
        AsCompleted::new(crew, lane, input)
    }

    /// Iterates in the order of the input, in the same bounded window: jobs that wait for an earlier one count, too.
    ///
    /// # Panics
    /// As [`as_completed`](Self::as_completed).
    ///
    /// ```
    /// # use retry_pool::RetryPool;
    /// # let pool = RetryPool::with_threads(2);
    /// let squares = pool.batch(1..=4, |n| Ok::<_, String>(n * n)).in_order();
    /// let squares: Result<Vec<i32>, _> = squares.map(|done| done.into_result()).collect();
    /// assert_eq!(squares.unwrap(), [1, 4, 9, 16]);
    /// ```
    pub fn in_order(self) -> InOrder<'p, It, F, T, E> {
        InOrder::new(self.as_completed())
    }

    /// Runs the batch to its end and returns what came of it.
    ///
    /// # Panics
    /// As [`as_completed`](Self::as_completed).
    ///
    /// ```
    /// # use retry_pool::{RetryPolicy, RetryPool};
    /// # let pool = RetryPool::with_threads(2);
    /// let report = pool.batch(["1", "x"], |text| text.parse::<u32>()).retry(RetryPolicy::never()).run();
    /// assert_eq!(report.succeeded(), [(0, 1)]);
    /// assert_eq!(*report.gave_up()[0].input(), "x");
    /// ```
    pub fn run(self) -> BatchReport<It::Item, T, E> {
        let begun = now();
        let mut completed = self.as_completed();
        let mut report = BatchReport::new();
        completed.by_ref().for_each(|done| report.add(done));
        let first_failure = completed.first_failure();
        report.finish(now() - begun, completed.input_left(), first_failure)
    }
}

impl<It, F, T, E> Batch<'static, It, F, T, E>
where
    It: Iterator,
    It::Item: Send + 'static,
    F: Fn(&It::Item) -> Result<T, E> + Send + Sync + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    /// The time allowed for one attempt. One that takes longer is told to stop and counts as failed
    /// ([`AttemptError::TimedOut`]); its job goes on by the policy, a fresh worker takes the place of the stuck one, and whatever that
    /// attempt returns later is dropped. So two attempts of a job may run at once, which is why inputs have to be `Sync` here, and
    /// [`Completion::into_input`](crate::Completion::into_input) gives nothing while a stuck attempt still holds the input. Default: no
    /// limit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use retry_pool::{Attempt, RetryPolicy, RetryPool};
    ///
    /// let pool = RetryPool::with_threads(2);
    /// let job = |n: &u64| {
    ///     if Attempt::current().number() == 1 {
    ///         std::thread::sleep(Duration::from_millis(600));
    ///     }
    ///     Ok::<_, ()>(*n)
    /// };
    /// let batch = pool.batch(0..4, job).attempt_timeout(Duration::from_millis(20));
    /// let mut batch = batch.retry(RetryPolicy::immediate()).as_completed();
    /// while let Some(done) = batch.next_timeout(Duration::from_millis(500)).unwrap() {
    ///     assert_eq!(done.attempts(), 2);
    /// }
    /// ```
    pub fn attempt_timeout(mut self, time: Duration) -> Self
    where
        It::Item: Sync,
    {
        self.options.attempt_timeout = Some(time);
        self.share = Some(|input| Arc::new(Contained::new(input)));
        self
    }

    /// Opens the batch to producers on other threads: what they send is worked on at once, also before the first `next()`.
    /// The input of the batch is still pulled; [`std::iter::empty`] if there is none. The iteration ends when every
    /// sender is dropped and every job has settled.
    ///
    /// This is the way for inputs that block, such as lines of a pipe: an iterator that blocks inside `next()` would hold
    /// completions back that are ready.
    ///
    /// # Panics
    /// As [`as_completed`](Self::as_completed).
    ///
    /// ```
    /// # use retry_pool::RetryPool;
    /// # let pool = RetryPool::with_threads(2);
    /// let (sender, completed) = pool.batch(std::iter::empty(), |n: &u32| Ok::<_, String>(n * 2)).channel();
    /// std::thread::spawn(move || (1..=3).try_for_each(|n| sender.send(n)));
    /// let sum: u32 = completed.map(|done| done.into_result().unwrap()).sum();
    /// assert_eq!(sum, 12);
    /// ```
    pub fn channel(self) -> (BatchSender<It::Item>, AsCompleted<'static, It, F, T, E>) {
        let completed = self.as_completed();
        (completed.sender(), completed)
    }
}

impl<'p, It, F, T, E> IntoIterator for Batch<'p, It, F, T, E>
where
    It: Iterator,
    It::Item: Send + 'p,
    F: Fn(&It::Item) -> Result<T, E> + Send + Sync + 'p,
    T: Send + 'p,
    E: Send + 'p,
{
    type Item = crate::Completion<It::Item, T, E>;
    type IntoIter = AsCompleted<'p, It, F, T, E>;

    /// The same as [`as_completed`](Batch::as_completed).
    fn into_iter(self) -> Self::IntoIter {
        self.as_completed()
    }
}

impl<It: Iterator, F, T, E> fmt::Debug for Batch<'_, It, F, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("policy", &self.options.policy)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
