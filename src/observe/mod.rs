//! Being told what happens.

#[cfg(feature = "log")]
mod log;

use std::fmt;
use std::time::Duration;

use crate::reason::GiveUpReason;
use crate::sync::Arc;
use crate::unwind::{self, Contained};

#[cfg(feature = "log")]
pub use self::log::LogObserver;

/// Is told what happens in a pool or in a supervisor's group: for logs, metrics and tests. Every method does nothing unless it is written.
///
/// A pool calls them on the thread on which it happens, which they hold up: a worker, a caller, never the timer. A supervisor calls them
/// on its own thread, one after the other, after it has started and stopped what was to be; it does nothing else meanwhile. No lock is
/// held, so they may ask, and command, whom they observe; a panic is contained. What concerns one job comes in its order: accepted, then started and failed for
/// each attempt, then settled. Without an observer nothing is paid for this.
///
/// ```
/// use std::sync::mpsc::{Sender, channel};
/// use retry_pool::{GiveUpReason, JobEvent, Observer, RetryPolicy, RetryPool};
///
/// struct Failures(Sender<String>);
///
/// impl Observer for Failures {
///     fn job_settled(&self, job: &JobEvent<'_>, result: Result<(), GiveUpReason>) {
///         if let Err(reason) = result {
///             let _ = self.0.send(format!("{}: {reason}", job.name().unwrap_or("?")));
///         }
///     }
/// }
///
/// let (sender, failures) = channel();
/// let pool = RetryPool::builder().threads(1).observer(Failures(sender)).build()?;
/// let _ = pool.job(|| Err::<(), _>("no")).name("fetch").retry(RetryPolicy::never()).submit().wait();
/// assert_eq!(failures.recv()?, "fetch: attempts exhausted");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Observer: Send + Sync {
    /// A job was accepted, or a completion resubmitted.
    fn job_accepted(&self, job: &JobEvent<'_>) {
        let _ = job;
    }

    /// An attempt begins.
    fn attempt_started(&self, job: &JobEvent<'_>) {
        let _ = job;
    }

    /// An attempt has failed, and it is decided what follows.
    fn attempt_failed(&self, job: &JobEvent<'_>, failure: &FailureEvent<'_>) {
        let _ = (job, failure);
    }

    /// A job ends; whoever waits for it is told next.
    fn job_settled(&self, job: &JobEvent<'_>, result: Result<(), GiveUpReason>) {
        let _ = (job, result);
    }

    /// A worker's thread begins.
    fn worker_started(&self, worker: &WorkerEvent) {
        let _ = worker;
    }

    /// The attempt of a worker took longer than its `attempt_timeout` and was abandoned; [`replaced`](WorkerEvent::replaced) tells if a
    /// fresh worker took its place, or if there are too many that are stuck.
    fn worker_stuck(&self, worker: &WorkerEvent) {
        let _ = worker;
    }

    /// A worker's thread ends.
    fn worker_stopped(&self, worker: &WorkerEvent) {
        let _ = worker;
    }

    /// A child's thread has been started.
    fn child_started(&self, event: &ChildEvent<'_>) {
        let _ = event;
    }

    /// A run of a child has failed: an error, a panic, a heart that stopped, or a thread that the system refused.
    fn child_failed(&self, event: &ChildEvent<'_>) {
        let _ = event;
    }

    /// A run of a child has ended, and the child is to be started again after [`delay`](ChildEvent::delay).
    fn child_restarting(&self, event: &ChildEvent<'_>) {
        let _ = event;
    }

    /// A child has failed and is not restarted any more.
    fn child_gave_up(&self, event: &ChildEvent<'_>) {
        let _ = event;
    }

    /// A child has ended by itself and in good order, and is not restarted.
    fn child_completed(&self, event: &ChildEvent<'_>) {
        let _ = event;
    }

    /// A child has ended, or will not be started, because it was told to stop.
    fn child_stopped(&self, event: &ChildEvent<'_>) {
        let _ = event;
    }
}

/// A job, as an [`Observer`] is told.
#[derive(Debug, Clone)]
pub struct JobEvent<'a> {
    pub(crate) batch: Option<u64>,
    pub(crate) number: u64,
    pub(crate) name: Option<&'a str>,
    pub(crate) attempts: u32,
}

impl JobEvent<'_> {
    /// The number of the job's batch in its pool, from 1; `None` for a single job.
    #[must_use]
    pub fn batch(&self) -> Option<u64> {
        self.batch
    }

    /// The job's index in its batch, or the number of a single job in its pool, from 0. Single jobs that were refused leave gaps, and
    /// the numbers start again after 2³².
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The job's name, if it has one. The jobs of a batch have theirs while they are tried.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name
    }

    /// How many attempts have begun: while one is told of, this is its number.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

/// Which job, for a log: `job 3 (fetch)`, `batch 1 job 7`.
impl fmt::Display for JobEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(batch) = self.batch {
            write!(f, "batch {batch} ")?;
        }
        write!(f, "job {}", self.number)?;
        match self.name {
            Some(name) => write!(f, " ({name})"),
            None => Ok(()),
        }
    }
}

/// How an attempt failed, as an [`Observer`] is told.
#[derive(Debug, Clone)]
pub struct FailureEvent<'a> {
    pub(crate) error: Option<&'a str>,
    pub(crate) next: Result<Duration, GiveUpReason>,
}

impl FailureEvent<'_> {
    /// The text of the error, where it has one: of an error that the job returned only if the job or batch was told to
    /// `display_errors()`; always for panics, time-outs and rejected values.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error
    }

    /// What follows: another attempt after this delay, or the end for this reason.
    ///
    /// # Errors
    /// Why the job gives up.
    pub fn next(&self) -> Result<Duration, GiveUpReason> {
        self.next
    }
}

/// A worker, as an [`Observer`] is told.
#[derive(Debug, Clone)]
pub struct WorkerEvent {
    pub(crate) number: usize,
    pub(crate) spare: bool,
    pub(crate) replaced: bool,
}

impl WorkerEvent {
    /// The number in the name of its thread.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Was it started in the place of one that waits for other jobs or is stuck?
    #[must_use]
    pub fn is_spare(&self) -> bool {
        self.spare
    }

    /// Did another take its place?
    #[must_use]
    pub fn replaced(&self) -> bool {
        self.replaced
    }
}

/// What an [`Observer`] is told of a child.
#[derive(Debug, Clone, Copy)]
pub struct ChildEvent<'a> {
    pub(crate) supervisor: &'a str,
    pub(crate) name: &'a str,
    pub(crate) start: u64,
    pub(crate) error: Option<&'a str>,
    pub(crate) delay: Option<Duration>,
}

impl<'a> ChildEvent<'a> {
    /// The name of the supervisor.
    #[must_use]
    pub fn supervisor(&self) -> &'a str {
        self.supervisor
    }

    /// The name of the child.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.name
    }

    /// How often the child has been started, this run included; 0 before the first start.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }

    /// The text of the error: in `child_failed` and `child_gave_up`.
    #[must_use]
    pub fn error(&self) -> Option<&'a str> {
        self.error
    }

    /// How long the child waits before it is started again: in `child_restarting`; zero for at once.
    #[must_use]
    pub fn delay(&self) -> Option<Duration> {
        self.delay
    }
}

/// An observer, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Watcher(Option<Arc<Contained<Box<dyn Observer>>>>);

impl Watcher {
    pub(crate) fn new(observer: impl Observer + 'static) -> Self {
        Self(Some(Arc::new(Contained::new(Box::new(observer)))))
    }

    pub(crate) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// Tells it something. Not to be called under a lock.
    #[inline]
    pub(crate) fn tell(&self, tell: impl FnOnce(&dyn Observer)) {
        if let Some(observer) = &self.0 {
            call(&****observer, tell);
        }
    }
}

/// Apart, so that nothing of it is in the way of who has no observer.
#[cold]
#[inline(never)]
fn call(observer: &dyn Observer, tell: impl FnOnce(&dyn Observer)) {
    unwind::contain(|| tell(observer));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_told_of_by_its_numbers_and_its_name() {
        let job = JobEvent {
            batch: Some(2),
            number: 7,
            name: Some("fetch"),
            attempts: 3,
        };
        let told = (job.batch(), job.number(), job.name(), job.attempts());
        assert_eq!(told, (Some(2), 7, Some("fetch"), 3));
        assert_eq!(job.to_string(), "batch 2 job 7 (fetch)");
        let job = JobEvent {
            batch: None,
            name: None,
            ..job
        };
        assert_eq!((job.batch(), job.name()), (None, None));
        assert_eq!(job.to_string(), "job 7");
    }

    #[test]
    fn nobody_is_told_unless_an_observer_was_given() {
        struct Silent;
        impl Observer for Silent {}
        assert!(!Watcher::default().is_there());
        assert!(Watcher::new(Silent).is_there());
    }
}
