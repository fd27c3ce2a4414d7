//! One job's future: to block on, to poll, to await.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::clock::deadline_after;
use crate::give_up::GiveUp;
use crate::job::{JobState, Pending, Reference};
use crate::slot::{Look, block_on};
use crate::unwind;

/// A job that has been submitted: its result can be blocked on, asked for or awaited.
///
/// Dropping the handle detaches the job: it still runs, retries included, and its result is dropped. A handle outlives its
/// pool.
///
/// ```
/// use retry_pool::RetryPool;
///
/// let pool = RetryPool::with_threads(2);
/// let handle = pool.submit(|| Ok::<_, String>(6 * 7));
/// assert_eq!(handle.wait().unwrap(), 42);
/// ```
///
/// It is a [`Future`] too, for whichever runtime is there; no runtime is needed:
///
/// ```
/// # use retry_pool::RetryPool;
/// # let pool = RetryPool::with_threads(2);
/// let handle = pool.submit(|| Ok::<_, String>("awaited"));
/// let text = futures::executor::block_on(async { handle.await });
/// assert_eq!(text.unwrap(), "awaited");
/// ```
#[must_use = "dropping the handle detaches the job: its result will not be seen"]
pub struct ScopedHandle<'scope, T, E> {
    /// Invariant: `Some` until the result was waited for or the handle is dropped.
    job: Option<Reference<'scope, T, E>>,
}

/// The handle of a job of a [`RetryPool`](crate::RetryPool), which borrows nothing: see [`ScopedHandle`] for what it does.
///
/// Small jobs that a thread gives to [`submit`](crate::RetryPool::submit) by the hundred share memory, eight at a time. It is freed once all of these
/// have settled and their handles are gone; each thread keeps the last such piece, of 1 KiB at most, for what it submits next.
pub type JobHandle<T, E> = ScopedHandle<'static, T, E>;

impl<'scope, T, E> ScopedHandle<'scope, T, E> {
    pub(crate) fn new(job: Reference<'scope, T, E>) -> Self {
        Self { job: Some(job) }
    }

    fn job(&self) -> (&(dyn Pending<T, E> + 'scope), u32) {
        let job = self.job.as_ref();
        let (job, at) = job.expect("a handle that was waited for is gone");
        (&**job, *at)
    }

    /// Blocks until the job has settled, retries included. In a job of any pool, a spare worker takes the place of the one that waits.
    ///
    /// # Errors
    /// The [`GiveUp`] of a job that ended without success.
    ///
    /// # Panics
    /// If the result has been taken already, by [`try_result`](Self::try_result) or by polling; in a job, if the operating system
    /// refuses the spare thread.
    pub fn wait(mut self) -> Result<T, GiveUp<E>> {
        self.block(None)
            .expect("a wait without a limit ends with the result")
    }

    /// Blocks until the job has settled, but not longer than `timeout`.
    ///
    /// # Errors
    /// The handle itself if the job has not settled in time.
    ///
    /// # Panics
    /// If the result has been taken already, as for [`wait`](Self::wait).
    ///
    /// ```
    /// use std::time::Duration;
    /// # use retry_pool::RetryPool;
    /// # let pool = RetryPool::with_threads(1);
    /// let (sender, gate) = std::sync::mpsc::channel::<()>();
    /// let handle = pool.submit(move || gate.recv());
    /// let handle = handle.wait_timeout(Duration::from_millis(1)).unwrap_err();
    /// sender.send(()).unwrap();
    /// assert!(handle.wait_timeout(Duration::MAX).unwrap().is_ok());
    /// ```
    pub fn wait_timeout(mut self, timeout: Duration) -> Result<Result<T, GiveUp<E>>, Self> {
        self.block(deadline_after(timeout)).ok_or(self)
    }

    fn block(&mut self, deadline: Option<Instant>) -> Option<Result<T, GiveUp<E>>> {
        let (job, at) = self.job();
        let result = found(block_on(
            deadline,
            || job.try_take(at),
            |waker| job.poll(at, waker),
        ))?;
        // Nobody waits any more, so there is no waker to be dropped.
        unwind::discard(self.job.take());
        Some(result)
    }

    /// Takes the result if the job has settled; never blocks. `None` afterwards.
    #[must_use]
    pub fn try_result(&self) -> Option<Result<T, GiveUp<E>>> {
        let (job, at) = self.job();
        match job.try_take(at) {
            Look::Value(result) => Some(result),
            Look::NotYet | Look::Gone => None,
        }
    }

    /// Has the job settled? Once true, it stays true.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let (job, at) = self.job();
        job.is_settled(at)
    }

    /// Where the job is now; it may be elsewhere a moment later.
    #[must_use]
    pub fn state(&self) -> JobState {
        let (job, at) = self.job();
        job.state(at)
    }

    /// Cancels the job: true unless it had settled. A queued or parked job settles at once, as
    /// [`Cancelled`](crate::GiveUpReason::Cancelled), and its closure is dropped on this thread; a running one is told
    /// ([`Attempt::is_cancelled`](crate::Attempt::is_cancelled)) and not retried; if it still succeeds, that counts.
    ///
    /// ```
    /// use std::time::Duration;
    /// use retry_pool::{GiveUpReason, JobState, RetryPolicy, RetryPool};
    ///
    /// let pool = RetryPool::with_threads(1);
    /// let hourly = RetryPolicy::fixed(Duration::from_secs(3600));
    /// let handle = pool.job(|| Err::<(), _>("busy")).retry(hourly).submit();
    /// while handle.state() != JobState::Parked {
    ///     std::thread::yield_now();
    /// }
    /// assert!(handle.cancel());
    /// assert!(!handle.cancel());
    /// assert_eq!(handle.wait().unwrap_err().reason(), GiveUpReason::Cancelled);
    /// ```
    pub fn cancel(&self) -> bool {
        let (job, at) = self.job();
        job.cancel(at)
    }

    /// How many attempts of the job have begun.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        let (job, at) = self.job();
        job.attempts(at)
    }

    /// The name of the job, if it was given one by [`Job::name`](crate::Job::name).
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.job().0.name()
    }
}

/// To wait for a result that was taken would never end, so that is refused.
fn found<V>(look: Look<V>) -> Option<V> {
    match look {
        Look::Value(value) => Some(value),
        Look::NotYet => None,
        Look::Gone => panic!("the result of this job has been taken already"),
    }
}

/// Resolves when the job has settled. Polling again from another task replaces the waker. No runtime is needed.
///
/// # Panics
/// When polled after the result was taken.
impl<T, E> Future for ScopedHandle<'_, T, E> {
    type Output = Result<T, GiveUp<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (job, at) = self.job();
        match found(job.poll(at, context.waker())) {
            Some(result) => Poll::Ready(result),
            None => Poll::Pending,
        }
    }
}

impl<T, E> Drop for ScopedHandle<'_, T, E> {
    fn drop(&mut self) {
        if let Some((job, at)) = self.job.take() {
            job.leave(at);
            unwind::discard(job);
        }
    }
}

impl<T, E> fmt::Debug for ScopedHandle<'_, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobHandle")
            .field("name", &self.name())
            .field("state", &self.state())
            .field("attempts", &self.attempts())
            .finish()
    }
}
