//! The pool: submitting, and the end.

use std::fmt;
use std::io;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::builder::{Outfit, RetryPoolBuilder};
use crate::clock::deadline_after;
use crate::crew::{Crew, Patience};
use crate::error::{BuildError, TrySubmitError};
use crate::handle::JobHandle;
use crate::periodic::Periodic;
use crate::reason::GiveUpReason;
use crate::roster::{Recruiter, Role, blocking_for_the_end};
use crate::single::{Job, refused, refused_handle, submit_plain};
use crate::stats::Stats;
use crate::sync::thread::{self, JoinHandle, ThreadId};
use crate::sync::{Arc, Mutex, now};
use crate::token::end_on_cancel;
use crate::unwind;

/// A set of OS threads that share one work channel, and whose jobs retry.
///
/// Share it by reference or in an [`Arc`]. Dropping it settles every accepted job, retries included, and joins its threads, as
/// leaving [`std::thread::scope`] does; while unwinding it ends as by [`shutdown_now`](Self::shutdown_now).
///
/// ```
/// use retry_pool::RetryPool;
///
/// let pool = RetryPool::new();
/// let handle = pool.submit(|| "21".parse::<u32>());
/// let doubled = pool.batch(1..=3, |n| Ok::<_, String>(n * 2)).run();
/// assert_eq!(handle.wait()?, 21);
/// assert_eq!(doubled.succeeded(), [(0, 2), (1, 4), (2, 6)]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
pub struct RetryPool {
    crew: Arc<Crew<'static>>,
    threads: Arc<Threads>,
}

impl RetryPool {
    /// A pool with one worker for each CPU that the process may use.
    ///
    /// # Panics
    /// If the operating system refuses a thread; [`builder`](Self::builder) returns an error instead.
    #[must_use]
    pub fn new() -> Self {
        Self::builder()
            .build()
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// A pool with `threads` workers.
    ///
    /// # Panics
    /// If `threads` is 0 or over 65 535, or the operating system refuses a thread; [`builder`](Self::builder) returns an error
    /// instead.
    #[must_use]
    pub fn with_threads(threads: usize) -> Self {
        Self::builder()
            .threads(threads)
            .build()
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// A pool with settings of one's own.
    pub fn builder() -> RetryPoolBuilder {
        RetryPoolBuilder::new()
    }

    /// Submits one job with the pool's policy; blocks while the pool is full ([`capacity`](RetryPoolBuilder::capacity)). In a pool that is
    /// closed the handle is already settled, as [`Shutdown`](GiveUpReason::Shutdown).
    ///
    /// The job is `Fn`, since it may run more than once, but it need not be `Sync`: one attempt runs at a time, so state that
    /// outlives an attempt can lie in a [`Cell`](std::cell::Cell).
    ///
    /// ```
    /// # use retry_pool::RetryPool;
    /// # let pool = RetryPool::with_threads(2);
    /// let sum = pool.submit(|| Ok::<_, String>((1..=10).sum::<u32>()));
    /// assert_eq!(sum.wait().unwrap(), 55);
    /// ```
    pub fn submit<F, T, E>(&self, job: F) -> JobHandle<T, E>
    where
        F: Fn() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        submit_plain(&self.crew, job, Patience::Until(None)).unwrap_or_else(|(job, _)| {
            unwind::discard(job);
            refused_handle(&self.crew, None)
        })
    }

    /// Submits one job with the pool's policy if the pool has room for it; never blocks.
    ///
    /// # Errors
    /// [`TrySubmitError::Full`] or [`TrySubmitError::Closed`] with the job.
    pub fn try_submit<F, T, E>(&self, job: F) -> Result<JobHandle<T, E>, TrySubmitError<F>>
    where
        F: Fn() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        submit_plain(&self.crew, job, Patience::None).map_err(refused)
    }

    /// Submits one job with the pool's policy; waits for room in the pool no longer than `timeout`.
    ///
    /// # Errors
    /// [`TrySubmitError::Full`] or [`TrySubmitError::Closed`] with the job.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use retry_pool::RetryPool;
    /// # let pool = RetryPool::with_threads(1);
    /// let handle = pool.submit_timeout(|| Ok::<_, ()>(1), Duration::from_secs(1)).unwrap();
    /// assert_eq!(handle.wait().unwrap(), 1);
    /// ```
    pub fn submit_timeout<F, T, E>(
        &self,
        job: F,
        timeout: Duration,
    ) -> Result<JobHandle<T, E>, TrySubmitError<F>>
    where
        F: Fn() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        let patience = Patience::Until(deadline_after(timeout));
        submit_plain(&self.crew, job, patience).map_err(refused)
    }

    /// One job with settings of its own; [`Job::submit`] starts it.
    pub fn job<F, T, E>(&self, job: F) -> Job<'static, F, T, E>
    where
        F: Fn() -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        Job::new(Arc::clone(&self.crew), job)
    }

    /// Many jobs of one type: `job` is called for each of `items`, and each comes out when it has settled.
    ///
    /// The input is iterated lazily, inside `next()` on the caller's thread. An input that blocks there (a pipe, a socket) would hold
    /// back completions that are ready: feed it by [`Batch::channel`] from a thread of its own.
    ///
    /// ```
    /// # use retry_pool::RetryPool;
    /// # let pool = RetryPool::with_threads(2);
    /// for done in pool.batch(["a", "bb"], |word| Ok::<_, String>(word.len())) {
    ///     assert_eq!(done.result().ok(), Some(&done.input().len()));
    /// }
    /// ```
    pub fn batch<It, F, T, E>(&self, items: It, job: F) -> Batch<'static, It::IntoIter, F, T, E>
    where
        It: IntoIterator,
        It::Item: Send + 'static,
        F: Fn(&It::Item) -> Result<T, E> + Send + Sync + 'static,
        T: Send + 'static,
        E: Send + 'static,
    {
        Batch::new(&self.crew, items.into_iter(), job, end_on_cancel)
    }

    /// Calls `function` at a fixed rate: now, and each `period` from now on. The rate does not drift; a call that comes late, because
    /// the one before took too long or no worker was free, skips those that were missed. Calls do not overlap, and are no jobs that
    /// [`stats`](Self::stats) counts. They end with [`Periodic::stop`], [`cancel_all`](Self::cancel_all), or as soon as the pool is closed.
    /// A panic is contained, and the next call is made.
    ///
    /// # Panics
    /// If `period` is zero.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use retry_pool::RetryPool;
    /// # let pool = RetryPool::with_threads(1);
    /// let (sender, ticks) = std::sync::mpsc::channel();
    /// let clock = pool.every(Duration::from_millis(5), move || drop(sender.send(())));
    /// assert_eq!(ticks.iter().take(3).count(), 3);
    /// clock.stop();
    /// ticks.iter().for_each(drop); // That ends, since the function is dropped, and with it the sender.
    /// ```
    pub fn every(&self, period: Duration, function: impl Fn() + Send + 'static) -> Periodic {
        Periodic::start(&self.crew, period, function)
    }

    /// What the pool has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.crew.stats()
    }

    /// Cancels whatever was accepted before: single jobs and batches. What is queued or parked settles at once, as
    /// [`Cancelled`](GiveUpReason::Cancelled); what runs is told ([`Attempt::is_cancelled`](crate::Attempt::is_cancelled)) and not
    /// retried. The pool goes on; what is submitted while this runs may be cancelled or not.
    ///
    /// ```
    /// use std::time::Duration;
    /// # use retry_pool::{GiveUpReason, RetryPolicy, RetryPool};
    /// # let pool = RetryPool::with_threads(2);
    /// let later = pool.job(|| Ok::<_, ()>(1)).delay(Duration::from_secs(3600)).submit();
    /// pool.cancel_all();
    /// assert_eq!(later.wait().unwrap_err().reason(), GiveUpReason::Cancelled);
    /// assert_eq!(pool.submit(|| Ok::<_, ()>(2)).wait().unwrap(), 2);
    /// ```
    pub fn cancel_all(&self) {
        self.crew.cancel_all();
    }

    /// Accepts nothing more from outside, and returns at once. What was accepted goes on, retries included, and its attempts may still
    /// submit to this pool, which ends with the last one: a hook or a destructor that comes after that one may find it ended. Batches
    /// pull no more of their input and end after what was admitted. May be repeated.
    ///
    /// ```
    /// # use retry_pool::{GiveUpReason, RetryPool};
    /// # let pool = RetryPool::with_threads(2);
    /// let before = pool.submit(|| Ok::<_, String>(1));
    /// pool.close();
    /// let after = pool.submit(|| Ok::<_, String>(2));
    /// assert_eq!(before.wait().unwrap(), 1);
    /// assert_eq!(after.wait().unwrap_err().reason(), GiveUpReason::Shutdown);
    /// ```
    pub fn close(&self) {
        self.crew.close();
    }

    /// Closes the pool, waits until every accepted job has settled, retries included, and joins the threads. May be repeated,
    /// also at once from several threads; each waits for the end.
    ///
    /// Called from a thread of this pool, which cannot wait for itself, it closes the pool and returns.
    pub fn shutdown(&self) -> ShutdownReport {
        self.end(&self.stats(), None)
    }

    /// As [`shutdown`](Self::shutdown), but waits no longer than `timeout`. Then jobs that are queued or parked settle as
    /// [`Shutdown`](GiveUpReason::Shutdown); threads whose job still runs are left behind and end after it. If all jobs have ended in time,
    /// the threads are joined, however long the destructors of their thread-local values take.
    ///
    /// ```
    /// use std::time::Duration;
    /// use retry_pool::{RetryPolicy, RetryPool};
    ///
    /// let pool = RetryPool::with_threads(1);
    /// let hourly = RetryPolicy::fixed(Duration::from_secs(3600));
    /// let parked = pool.job(|| Err::<(), _>("busy")).retry(hourly).submit();
    /// let report = pool.shutdown_timeout(Duration::from_millis(500));
    /// assert_eq!((report.gave_up(), report.still_running()), (1, 0));
    /// assert_eq!(parked.wait().unwrap_err().into_error(), Some("busy"));
    /// ```
    pub fn shutdown_timeout(&self, timeout: Duration) -> ShutdownReport {
        self.end(&self.stats(), deadline_after(timeout))
    }

    /// As [`shutdown_timeout`](Self::shutdown_timeout) with no time at all.
    pub fn shutdown_now(&self) -> ShutdownReport {
        let before = self.stats();
        self.crew.stop_now();
        self.end(&before, Some(now()))
    }

    fn end(&self, before: &Stats, deadline: Option<Instant>) -> ShutdownReport {
        self.crew.close();
        if !self.crew.is_inside() {
            // Maybe on a worker of another pool.
            blocking_for_the_end(|| {
                if !self.crew.wait_until_stopped(deadline) {
                    self.crew.stop_now();
                }
                let all_ended = self.crew.wait_for_threads(deadline);
                self.threads
                    .join(all_ended, &self.crew.roster.stuck_threads());
            });
        }
        ShutdownReport::between(before, &self.stats())
    }
}

/// The threads of a pool, to be joined.
#[derive(Default)]
struct Threads {
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Threads {
    fn add(&self, thread: JoinHandle<()>) {
        let mut handles = self.handles.lock();
        if handles.len() == handles.capacity() {
            handles.retain(|thread| !thread.is_finished());
        }
        handles.push(thread);
    }

    /// Joins the threads, but leaves those behind that still run a job. The others have nothing to do any more but the destructors of
    /// thread-local values.
    fn join(&self, all_ended: bool, stuck: &[ThreadId]) {
        for thread in self.handles.lock().drain(..) {
            let ended = all_ended && !stuck.contains(&thread.thread().id());
            if ended || thread.is_finished() {
                // A worker's thread returns nothing and contains every panic.
                let _ = thread.join();
            }
        }
    }
}

impl RetryPoolBuilder {
    /// Starts the pool.
    ///
    /// # Errors
    /// - [`BuildError::ZeroThreads`], [`BuildError::TooManyThreads`]: `threads` is not in 1 … 65 535.
    /// - [`BuildError::ZeroCapacity`]: `capacity` is 0.
    /// - [`BuildError::ThreadName`]: the name contains a NUL byte.
    /// - [`BuildError::Policy`]: the policy is refused by [`RetryPolicy::validate`](crate::RetryPolicy::validate).
    /// - [`BuildError::Spawn`]: the operating system refused a thread. Those already started have ended when this returns.
    pub fn build(self) -> Result<RetryPool, BuildError> {
        let outfit = self.outfit();
        let crew = Arc::new(Crew::new(self.settings()?));
        let threads = Arc::<Threads>::default();
        crew.roster
            .set_recruiter(recruiter(&crew, &threads, &outfit));
        let pool = RetryPool { crew, threads };
        let crew = &pool.crew;
        for number in 0..crew.settings.threads {
            let started = crew.roster.recruit(Role::Regular);
            started.map_err(|source| outfit.refused(Some(number), source))?;
        }
        crew.roster.count_timer(true);
        let shared = Arc::clone(crew);
        match outfit.timer().spawn(move || shared.keep_time()) {
            Ok(thread) => pool.threads.add(thread),
            Err(source) => {
                crew.roster.count_timer(false);
                return Err(outfit.refused(None, source));
            }
        }
        Ok(pool)
    }
}

/// How the pool's workers are started, spares included. It keeps nothing alive.
fn recruiter(crew: &Arc<Crew<'static>>, threads: &Arc<Threads>, outfit: &Outfit) -> Recruiter {
    let (crew, threads) = (Arc::downgrade(crew), Arc::downgrade(threads));
    let outfit = outfit.clone();
    Arc::new(move |post| {
        let Some(crew) = crew.upgrade() else {
            return Err(io::Error::other("the pool is gone"));
        };
        let builder = outfit.worker(&post);
        let thread = builder.spawn(move || crew.work(&post))?;
        // A pool that was dropped by one of its own jobs still drains; then nobody joins.
        if let Some(threads) = threads.upgrade() {
            threads.add(thread);
        }
        Ok(())
    })
}

// What a panic leaves behind is sound: no user code runs while the pool's own state changes.
impl UnwindSafe for RetryPool {}
impl RefUnwindSafe for RetryPool {}

/// The same as [`RetryPool::new`].
impl Default for RetryPool {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for RetryPool {
    fn drop(&mut self) {
        if thread::panicking() {
            self.shutdown_now();
        } else {
            self.shutdown();
        }
    }
}

impl fmt::Debug for RetryPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPool")
            .field("crew", &self.crew)
            .finish()
    }
}

/// What a shutdown did to the jobs that had not settled when it was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShutdownReport {
    drained: usize,
    gave_up: usize,
    still_running: usize,
}

impl ShutdownReport {
    fn between(before: &Stats, after: &Stats) -> Self {
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let settled = |stats: &Stats| stats.succeeded() + stats.gave_up();
        let shutdown = |stats: &Stats| stats.gave_up_as(GiveUpReason::Shutdown);
        let gave_up = shutdown(after) - shutdown(before);
        Self {
            drained: count((settled(after) - settled(before)).saturating_sub(gave_up)),
            gave_up: count(gave_up),
            still_running: count(after.unsettled()),
        }
    }

    /// Jobs that settled in their own way while the shutdown waited.
    #[must_use]
    pub fn drained(&self) -> usize {
        self.drained
    }

    /// Jobs that settled as [`Shutdown`](GiveUpReason::Shutdown).
    #[must_use]
    pub fn gave_up(&self) -> usize {
        self.gave_up
    }

    /// Jobs that had not settled when the shutdown returned. Their threads were left behind.
    #[must_use]
    pub fn still_running(&self) -> usize {
        self.still_running
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::{processors, unbounded};

    #[test]
    fn a_pool_has_a_worker_for_each_processor() {
        for pool in [RetryPool::new(), RetryPool::default()] {
            assert_eq!(pool.stats().threads(), processors());
        }
    }

    #[test]
    fn threads_that_run_are_kept_and_those_that_have_ended_do_not_pile_up() {
        let threads = Threads::default();
        let mut keepers = Vec::new();
        for _ in 0..20 {
            let (keep, kept) = unbounded::<()>();
            keepers.push(keep);
            let runs = thread::Builder::new().spawn(move || while kept.recv().is_ok() {});
            threads.add(runs.unwrap());
        }
        assert_eq!(threads.handles.lock().len(), 20);
        for _ in 0..50 {
            let ends = thread::Builder::new().spawn(|| ()).unwrap();
            while !ends.is_finished() {
                std::thread::yield_now();
            }
            threads.add(ends);
        }
        assert!((20..60).contains(&threads.handles.lock().len()));
        drop(keepers);
        threads.join(true, &[]);
    }
}
