//! What a job can ask about the attempt that it is.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::cancel::CancelToken;
use crate::clock::{Clock, Nanos, deadline_after};
use crate::policy::Verdict;
use crate::roster::{blocking, current_post};
use crate::sync::{Arc, AtomicU64, Ordering, thread_local};

/// The attempt that the current thread is running.
///
/// It is looked up rather than passed, so that it reaches the code that a job calls. Outside a job it is a detached first
/// attempt, so a job's function can be called as it is from a test. In a child of a [`Supervisor`](crate::Supervisor) it is the
/// current run: its number counts the starts, and it is told to stop when the child is.
///
/// ```
/// use retry_pool::{Attempt, RetryPolicy, RetryPool};
///
/// fn third_time_lucky() -> Result<u32, String> {
///     match Attempt::current().number() {
///         3 => Ok(3),
///         n => Err(format!("attempt {n} failed")),
///     }
/// }
/// let pool = RetryPool::with_threads(1);
/// let job = pool.job(third_time_lucky).retry(RetryPolicy::immediate());
/// assert_eq!(job.submit().wait().unwrap(), 3);
/// assert_eq!(Attempt::current().number(), 1);
/// ```
#[derive(Debug, Clone)]
pub struct Attempt {
    number: u32,
    last: bool,
    job_name: Option<Arc<str>>,
    previous_error: Option<Arc<str>>,
    deadline: Option<Instant>,
    /// `None` outside a job.
    token: Option<CancelToken>,
    /// Of a supervised child.
    heart: Option<Arc<Heart>>,
}

thread_local! {
    static NUMBER: Cell<u32> = const { Cell::new(1) };
    static LAST: Cell<bool> = const { Cell::new(false) };
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
    /// What the job itself says of the error that it is about to return.
    static MARK: Cell<Option<Verdict>> = const { Cell::new(None) };
    /// Of a thread that a supervisor has started.
    static LIFELINE: RefCell<Option<Lifeline>> = const { RefCell::new(None) };
    static TEXTS: RefCell<Texts> = const { RefCell::new(Texts { job_name: None, previous_error: None }) };
}

/// What only some attempts have.
#[derive(Clone, Default)]
pub(crate) struct Texts {
    pub(crate) job_name: Option<Arc<str>>,
    pub(crate) previous_error: Option<Arc<str>>,
}

/// What links a supervised child's thread with its supervisor: the one tells it to stop, by the other it says that it lives.
#[derive(Debug, Clone)]
pub(crate) struct Lifeline {
    pub(crate) token: CancelToken,
    pub(crate) heart: Arc<Heart>,
}

/// When a child last said that it lives.
#[derive(Debug)]
pub(crate) struct Heart {
    clock: Clock,
    last: AtomicU64,
}

impl Lifeline {
    pub(crate) fn new(clock: Clock, now: Nanos) -> Self {
        let last = AtomicU64::new(now);
        Self {
            token: CancelToken::new(),
            heart: Arc::new(Heart { clock, last }),
        }
    }
}

impl Heart {
    pub(crate) fn last_beat(&self) -> Nanos {
        // ORDERING: a time, which publishes nothing else.
        self.last.load(Ordering::Relaxed)
    }

    fn beat(&self) {
        // ORDERING: see `last_beat`.
        self.last.store(self.clock.now(), Ordering::Relaxed);
    }
}

impl Attempt {
    /// The attempt that the calling thread is running, or a detached first attempt outside a job.
    #[must_use]
    pub fn current() -> Self {
        // The texts are gone while the thread's locals are torn down; no job runs then.
        let texts = TEXTS
            .try_with(|texts| texts.borrow().clone())
            .unwrap_or_default();
        let Texts {
            job_name,
            previous_error,
        } = texts;
        let (token, heart) = match current_post() {
            Some(post) => (Some(post.token()), None),
            None => match LIFELINE.try_with(|lifeline| lifeline.borrow().clone()) {
                Ok(Some(lifeline)) => (Some(lifeline.token), Some(lifeline.heart)),
                _ => (None, None),
            },
        };
        Self {
            number: NUMBER.get(),
            last: LAST.get(),
            job_name,
            previous_error,
            deadline: DEADLINE.get(),
            token,
            heart,
        }
    }

    /// Which attempt of its job this is, from 1.
    #[must_use]
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Is this the last attempt that the policy's `max_attempts` allows? A job can then fail with more to say, or take its
    /// fallback. Always false for an unlimited policy and outside a job.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.last
    }

    /// The name of the job, if it was given one.
    #[must_use]
    pub fn job_name(&self) -> Option<&str> {
        self.job_name.as_deref()
    }

    /// The text of the error that the attempt before this one ended with. Only where the job or batch was told to
    /// `display_errors()`, since not every error can be displayed. In a child of a [`Supervisor`](crate::Supervisor): the last error of its
    /// earlier runs.
    #[must_use]
    pub fn previous_error(&self) -> Option<&str> {
        self.previous_error.as_deref()
    }

    /// Was the attempt told to stop? By [`JobHandle::cancel`](crate::JobHandle::cancel), by the end of its batch or pool, or because its
    /// time is over. A job that runs for long should ask now and then, and return early; what it returns still counts, a success as a
    /// success. Always false outside a job.
    ///
    /// ```
    /// use retry_pool::{Attempt, GiveUpReason, RetryPool};
    ///
    /// let pool = RetryPool::with_threads(1);
    /// let (started, running) = std::sync::mpsc::channel();
    /// let endless = pool.submit(move || {
    ///     started.send(()).unwrap();
    ///     let attempt = Attempt::current();
    ///     while !attempt.is_cancelled() {
    ///         std::thread::yield_now();
    ///     }
    ///     Err::<(), _>("stopped")
    /// });
    /// running.recv().unwrap();
    /// assert!(endless.cancel());
    /// assert_eq!(endless.wait().unwrap_err().reason(), GiveUpReason::Cancelled);
    /// ```
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.token.as_ref().is_some_and(CancelToken::is_cancelled)
    }

    /// The token that is cancelled when the attempt is told to stop: to be handed to code that takes one. Outside a job it is a token
    /// that nobody else has.
    #[must_use]
    pub fn cancel_token(&self) -> CancelToken {
        self.token.clone().unwrap_or_default()
    }

    /// When the attempt's time is over: the earlier of its `attempt_timeout` and what is left of the `timeout` of its job or batch.
    /// `None` without a limit.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Sleeps for `time`, but no longer than until the attempt is told to stop. True if the whole time has passed. The worker stays
    /// occupied meanwhile; to wait before a retry is the policy's business.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use retry_pool::Attempt;
    /// assert!(Attempt::current().sleep(Duration::from_millis(1)));
    /// ```
    pub fn sleep(&self, time: Duration) -> bool {
        !self.cancel_token().wait_until(deadline_after(time))
    }

    /// Says that a supervised child lives. One that has a [`heartbeat`](crate::ChildOptions::heartbeat) and is silent for longer is told to
    /// stop, and counts as failed. Costs a reading of the clock. Anywhere else this does nothing.
    ///
    /// ```
    /// # use retry_pool::Attempt;
    /// let attempt = Attempt::current();
    /// for _part in 0..10 {
    ///     attempt.beat();
    ///     // … work on it
    /// }
    /// ```
    pub fn beat(&self) {
        if let Some(heart) = &self.heart {
            heart.beat();
        }
    }

    /// Marks the error that the running attempt is about to return as permanent: the job ends as
    /// [`Permanent`](crate::GiveUpReason::Permanent), whatever predicate it has. The error itself stays as it is, so its type needs
    /// no wrapper. Outside a job this does nothing. What is marked is the attempt: if it goes on and returns another error, that one is
    /// permanent; if it succeeds or panics, the mark is forgotten.
    ///
    /// ```
    /// use retry_pool::{Attempt, GiveUpReason, RetryPool};
    ///
    /// fn read(text: &str) -> Result<u32, std::num::ParseIntError> {
    ///     text.parse().map_err(Attempt::permanent)
    /// }
    /// let pool = RetryPool::with_threads(1);
    /// let give_up = pool.submit(|| read("x")).wait().unwrap_err();
    /// assert_eq!((give_up.reason(), give_up.attempts()), (GiveUpReason::Permanent, 1));
    /// ```
    #[must_use = "the error is to be returned"]
    pub fn permanent<E>(error: E) -> E {
        MARK.set(Some(Verdict::GiveUp));
        error
    }

    /// Marks the error that the running attempt is about to return as one to be retried no sooner than `delay` from now, as
    /// [`Verdict::RetryAfter`] does. The error itself stays as it is. Outside a job this does nothing.
    #[must_use = "the error is to be returned"]
    pub fn retry_after<E>(delay: Duration, error: E) -> E {
        MARK.set(Some(Verdict::RetryAfter(delay)));
        error
    }

    /// Links the current thread, which runs a child and nothing else, with its supervisor.
    pub(crate) fn supervise(lifeline: Lifeline) {
        LIFELINE.set(Some(lifeline));
    }

    /// Makes the given attempt the current one while `f` runs, and returns what the job said of its error. `f` does not unwind.
    #[inline(always)]
    pub(crate) fn during<R>(
        number: u32,
        last: bool,
        texts: Option<Box<Texts>>,
        deadline: Option<Instant>,
        f: impl FnOnce() -> R,
    ) -> (R, Option<Verdict>) {
        NUMBER.set(number);
        LAST.set(last);
        MARK.set(None);
        if deadline.is_some() {
            DEADLINE.set(deadline);
        }
        let has_texts = texts.is_some();
        if let Some(texts) = texts {
            TEXTS.set(*texts);
        }
        let result = f();
        NUMBER.set(1);
        LAST.set(false);
        if deadline.is_some() {
            DEADLINE.set(None);
        }
        if has_texts {
            TEXTS.set(Texts::default());
        }
        (result, MARK.take())
    }
}

impl CancelToken {
    /// Waits until the token is cancelled, but not longer than `timeout`. True if it is cancelled. In a job, a spare worker takes the
    /// place of the one that waits; not so for the attempt's own token, for which this is [`Attempt::sleep`].
    ///
    /// # Panics
    /// In a job, if the operating system refuses the spare thread.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use retry_pool::CancelToken;
    /// let token = CancelToken::new();
    /// assert!(!token.wait_timeout(Duration::from_millis(1)));
    /// let other = token.clone();
    /// std::thread::spawn(move || other.cancel());
    /// assert!(token.wait_timeout(Duration::MAX));
    /// ```
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let deadline = deadline_after(timeout);
        if current_post().is_some_and(|post| post.is_told_by(self)) {
            return self.wait_until(deadline);
        }
        self.is_cancelled() || blocking(|| self.wait_until(deadline))
    }
}
