//! Jobs that borrow from the caller's stack.
//!
//! A pool of its own inside [`std::thread::scope`], whose promise that all threads have ended is what makes borrowing sound. The
//! pool's shared part has the scope's lifetime, so it lies in a place that outlives the scope and is emptied before that ends. Threads
//! can be started only by who has the standard library's `Scope`, which the shared part cannot hold: so a *foreman*, a thread of the
//! scope, starts workers on request.

use std::fmt;
use std::io;
use std::mem::ManuallyDrop;
use std::time::Duration;

use crate::batch::Batch;
use crate::builder::{Outfit, RetryPoolBuilder};
use crate::crew::Crew;
use crate::error::{BuildError, TrySubmitError};
use crate::handle::ScopedHandle;
use crate::roster::{Post, Recruiter, Role, blocking_for_the_end};
use crate::single::Job;
use crate::stats::Stats;
use crate::sync::{Arc, Mutex, Receiver, Sender, thread, unbounded};
use crate::token::wake_on_cancel;
use crate::unwind;

/// A pool whose jobs may borrow what lives longer than the scope; see [`scope`](fn@scope).
pub struct ScopedPool<'scope, 'env> {
    /// Invariant: `Some` while the scope's closure runs.
    crew: Mutex<Option<Arc<Crew<'scope>>>>,
    /// What is borrowed lives at least for the scope, and is used by it.
    env: std::marker::PhantomData<&'scope mut &'env ()>,
}

/// Runs `f` with a pool whose jobs may borrow from the caller's stack, as [`std::thread::scope`] does for threads. The pool has one
/// worker for each CPU; [`RetryPoolBuilder::scope`] takes settings. Leaving settles every job, retries included, and joins the threads.
///
/// Attempts cannot be abandoned here, since they borrow: there is no `attempt_timeout`.
///
/// # Panics
/// If the operating system refuses a thread. If `f` panics, what has not begun is given up, and that panic goes on.
///
/// ```
/// let words = vec![String::from("a"), String::from("bcd")];
/// let total = std::sync::atomic::AtomicUsize::new(0);
/// retry_pool::scope(|pool| {
///     let longest = pool.submit(|| Ok::<_, ()>(words.iter().map(String::len).max()));
///     for done in pool.batch(&words, |word| { total.fetch_add(word.len(), std::sync::atomic::Ordering::Relaxed); Ok::<_, ()>(()) }) {
///         assert!(done.result().is_ok());
///     }
///     assert_eq!(longest.wait().unwrap(), Some(3));
/// });
/// assert_eq!(total.into_inner(), 4);
/// ```
///
/// What borrows cannot escape:
///
/// ```compile_fail
/// let handle = retry_pool::scope(|pool| {
///     let local = String::from("gone at the end of the closure");
///     pool.submit(|| Ok::<_, ()>(local.len()))
/// });
/// ```
pub fn scope<'env, R>(f: impl for<'scope> FnOnce(&'scope ScopedPool<'scope, 'env>) -> R) -> R {
    RetryPoolBuilder::new()
        .scope(f)
        .unwrap_or_else(|error| panic!("{error}"))
}

impl RetryPoolBuilder {
    /// Runs `f` with a pool whose jobs may borrow, as [`scope`](fn@scope) does, and with these settings.
    ///
    /// # Errors
    /// As [`build`](Self::build); then `f` is not called.
    ///
    /// ```
    /// use std::sync::Mutex;
    /// use retry_pool::{RetryPolicy, RetryPool};
    ///
    /// let cells: Vec<Mutex<u32>> = (0..4).map(Mutex::new).collect();
    /// RetryPool::builder().threads(2).retry(RetryPolicy::never()).scope(|pool| {
    ///     pool.batch(&cells, |cell| { *cell.lock().unwrap() += 10; Ok::<_, ()>(()) }).run();
    /// })?;
    /// assert_eq!(cells.iter().map(|cell| *cell.lock().unwrap()).collect::<Vec<_>>(), [10, 11, 12, 13]);
    /// # Ok::<(), retry_pool::BuildError>(())
    /// ```
    pub fn scope<'env, R>(
        self,
        f: impl for<'scope> FnOnce(&'scope ScopedPool<'scope, 'env>) -> R,
    ) -> Result<R, BuildError> {
        let (settings, outfit) = (self.settings()?, self.outfit());
        // Never dropped, since it is borrowed for as long as it lives; it is emptied instead.
        let place = ManuallyDrop::new(ScopedPool {
            crew: Mutex::new(None),
            env: std::marker::PhantomData,
        });
        let pool: &ScopedPool<'_, 'env> = &place;
        thread::scope(|scope| {
            let crew = Arc::new(Crew::new(settings));
            let (requests, foreman) = unbounded();
            crew.roster.set_recruiter(recruiter(requests));
            let started = {
                let (crew, workers) = (Arc::clone(&crew), outfit.clone());
                let hire = move |post: Arc<Post>| {
                    let (builder, crew) = (workers.worker(&post), Arc::clone(&crew));
                    builder
                        .spawn_scoped(scope, move || crew.work(&post))
                        .map(drop)
                };
                outfit
                    .foreman()
                    .spawn_scoped(scope, move || serve(&foreman, hire))
            };
            let started = started
                .map(drop)
                .map_err(|source| outfit.refused(None, source))
                .and_then(|()| {
                    start(&crew, &outfit, |crew| {
                        outfit
                            .timer()
                            .spawn_scoped(scope, move || crew.keep_time())
                            .map(drop)
                    })
                });
            let result = started.map(|()| {
                *pool.crew.lock() = Some(Arc::clone(&crew));
                unwind::catch(|| f(pool))
            });
            blocking_for_the_end(|| {
                crew.close();
                if !matches!(&result, Ok(Ok(_))) {
                    crew.stop_now();
                }
                crew.wait_until_stopped(None);
                crew.wait_for_threads(None);
            });
            crew.roster.dismiss_recruiter();
            let kept = pool.crew.lock().take();
            drop(kept);
            match result {
                Ok(Ok(value)) => Ok(value),
                Ok(Err(payload)) => std::panic::resume_unwind(payload),
                Err(error) => Err(error),
            }
        })
    }
}

/// Starts the workers and the timer.
fn start<'p>(
    crew: &Arc<Crew<'p>>,
    outfit: &Outfit,
    timer: impl FnOnce(Arc<Crew<'p>>) -> io::Result<()>,
) -> Result<(), BuildError> {
    for number in 0..crew.settings.threads {
        let started = crew.roster.recruit(Role::Regular);
        started.map_err(|source| outfit.refused(Some(number), source))?;
    }
    crew.roster.count_timer(true);
    timer(Arc::clone(crew)).map_err(|source| {
        crew.roster.count_timer(false);
        outfit.refused(None, source)
    })
}

/// A worker that is wanted, and where to say if it was started.
type Request = (Arc<Post>, Sender<io::Result<()>>);

/// Asks the foreman.
fn recruiter(requests: Sender<Request>) -> Recruiter {
    Arc::new(move |post| {
        let (answer, answered) = unbounded();
        let gone = || io::Error::other("the scope is over");
        requests.send((post, answer)).map_err(|_| gone())?;
        answered.recv().unwrap_or_else(|_| Err(gone()))
    })
}

/// The life of the foreman: until nobody can ask any more.
fn serve(requests: &Receiver<Request>, hire: impl Fn(Arc<Post>) -> io::Result<()>) {
    while let Ok((post, answer)) = requests.recv() {
        // Who asked waits for the answer.
        let _ = answer.send(hire(post));
    }
}

impl<'scope, 'env> ScopedPool<'scope, 'env> {
    fn crew(&self) -> Arc<Crew<'scope>> {
        match &*self.crew.lock() {
            Some(crew) => Arc::clone(crew),
            None => unreachable!("the scope's closure is over"),
        }
    }

    /// Submits one job, as [`RetryPool::submit`](crate::RetryPool::submit) does.
    pub fn submit<F, T, E>(&'scope self, job: F) -> ScopedHandle<'scope, T, E>
    where
        F: Fn() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        E: Send + 'scope,
    {
        self.job(job).submit()
    }

    /// Submits one job if there is room for it, as [`RetryPool::try_submit`](crate::RetryPool::try_submit) does.
    ///
    /// # Errors
    /// [`TrySubmitError::Full`] with the job.
    pub fn try_submit<F, T, E>(
        &'scope self,
        job: F,
    ) -> Result<ScopedHandle<'scope, T, E>, TrySubmitError<F>>
    where
        F: Fn() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        E: Send + 'scope,
    {
        let refused = |error: TrySubmitError<Job<'scope, F, T, E>>| error.map(Job::into_job);
        self.job(job).try_submit().map_err(refused)
    }

    /// Submits one job, and waits for room no longer than `timeout`, as
    /// [`RetryPool::submit_timeout`](crate::RetryPool::submit_timeout) does.
    ///
    /// # Errors
    /// [`TrySubmitError::Full`] with the job.
    pub fn submit_timeout<F, T, E>(
        &'scope self,
        job: F,
        timeout: Duration,
    ) -> Result<ScopedHandle<'scope, T, E>, TrySubmitError<F>>
    where
        F: Fn() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        E: Send + 'scope,
    {
        let refused = |error: TrySubmitError<Job<'scope, F, T, E>>| error.map(Job::into_job);
        self.job(job).submit_timeout(timeout).map_err(refused)
    }

    /// One job with settings of its own; [`Job::submit`] starts it.
    pub fn job<F, T, E>(&'scope self, job: F) -> Job<'scope, F, T, E>
    where
        F: Fn() -> Result<T, E> + Send + 'scope,
        T: Send + 'scope,
        E: Send + 'scope,
    {
        Job::new(self.crew(), job)
    }

    /// Many jobs of one type, as [`RetryPool::batch`](crate::RetryPool::batch).
    pub fn batch<It, F, T, E>(
        &'scope self,
        items: It,
        job: F,
    ) -> Batch<'scope, It::IntoIter, F, T, E>
    where
        It: IntoIterator,
        It::Item: Send + 'scope,
        F: Fn(&It::Item) -> Result<T, E> + Send + Sync + 'scope,
        T: Send + 'scope,
        E: Send + 'scope,
    {
        Batch::new(&self.crew(), items.into_iter(), job, wake_on_cancel)
    }

    /// What the pool has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.crew().stats()
    }

    /// Cancels whatever was accepted before, as [`RetryPool::cancel_all`](crate::RetryPool::cancel_all) does.
    pub fn cancel_all(&self) {
        self.crew().cancel_all();
    }
}

impl fmt::Debug for ScopedPool<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScopedPool")
            .field("crew", &self.crew())
            .finish()
    }
}
