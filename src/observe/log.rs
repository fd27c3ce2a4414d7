//! An observer that writes to the `log` facade.

use std::time::Duration;

use super::{ChildEvent, FailureEvent, JobEvent, Observer, WorkerEvent};
use crate::reason::GiveUpReason;

/// Writes to the [`log`](https://docs.rs/log) facade who failed, what is retried and what is given up. With the feature `log`.
///
/// | level | what |
/// |---|---|
/// | `error` | a job or a child gave up |
/// | `warn` | an attempt or a child failed; a worker is stuck |
/// | `info` | a child is started, restarted, or has ended |
/// | `debug` | workers come and go |
/// | `trace` | a job was accepted, an attempt started, a job succeeded |
///
/// ```
/// use retry_pool::{LogObserver, RetryPool};
///
/// let pool = RetryPool::builder().threads(1).observer(LogObserver::new()).build()?;
/// # Ok::<(), retry_pool::BuildError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct LogObserver;

impl LogObserver {
    /// One that writes to the logger that is installed when something happens.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Observer for LogObserver {
    fn job_accepted(&self, job: &JobEvent<'_>) {
        log::trace!("{job}: accepted");
    }

    fn attempt_started(&self, job: &JobEvent<'_>) {
        log::trace!("{job}: attempt {}", job.attempts());
    }

    fn attempt_failed(&self, job: &JobEvent<'_>, failure: &FailureEvent<'_>) {
        let error = failure.error().unwrap_or("an error without a text");
        let attempt = job.attempts();
        match failure.next() {
            Ok(delay) if delay.is_zero() => {
                log::warn!("{job}: attempt {attempt} failed, retried now: {error}");
            }
            Ok(delay) => {
                log::warn!("{job}: attempt {attempt} failed, retried in {delay:.1?}: {error}");
            }
            Err(_) => log::warn!("{job}: attempt {attempt} failed: {error}"),
        }
    }

    fn job_settled(&self, job: &JobEvent<'_>, result: Result<(), GiveUpReason>) {
        let attempts = job.attempts();
        match result {
            Ok(()) => log::trace!("{job}: succeeded at attempt {attempts}"),
            Err(reason) => log::error!("{job}: gave up after {attempts} attempts: {reason}"),
        }
    }

    fn worker_started(&self, worker: &WorkerEvent) {
        log::debug!("worker {} started", worker.number());
    }

    fn worker_stuck(&self, worker: &WorkerEvent) {
        let number = worker.number();
        if worker.replaced() {
            log::warn!("worker {number} is stuck and was replaced");
        } else {
            log::warn!("worker {number} is stuck and was not replaced: the pool is one short");
        }
    }

    fn worker_stopped(&self, worker: &WorkerEvent) {
        log::debug!("worker {} stopped", worker.number());
    }

    fn child_started(&self, event: &ChildEvent<'_>) {
        log::info!("{}: start {}", Child(event), event.start());
    }

    fn child_failed(&self, event: &ChildEvent<'_>) {
        let error = event.error().unwrap_or_default();
        log::warn!("{}: start {} failed: {error}", Child(event), event.start());
    }

    fn child_restarting(&self, event: &ChildEvent<'_>) {
        let delay = event.delay().unwrap_or(Duration::ZERO);
        log::info!("{}: restarted in {delay:.1?}", Child(event));
    }

    fn child_gave_up(&self, event: &ChildEvent<'_>) {
        let error = event.error().unwrap_or_default();
        log::error!(
            "{}: gave up at start {}: {error}",
            Child(event),
            event.start()
        );
    }

    fn child_completed(&self, event: &ChildEvent<'_>) {
        log::info!("{}: completed", Child(event));
    }

    fn child_stopped(&self, event: &ChildEvent<'_>) {
        log::info!("{}: stopped", Child(event));
    }
}

/// Which child of which group.
struct Child<'a>(&'a ChildEvent<'a>);

impl std::fmt::Display for Child<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: child {}", self.0.supervisor(), self.0.name())
    }
}
