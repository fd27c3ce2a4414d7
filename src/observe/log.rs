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

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use ::log::{Log, Metadata, Record};

    use super::*;

    thread_local! {
        static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    /// Keeps what the current thread writes.
    struct Lines;

    impl Log for Lines {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &Record<'_>) {
            let line = format!("{} {}", record.level(), record.args());
            LINES.with(|lines| lines.borrow_mut().push(line));
        }

        fn flush(&self) {}
    }

    fn observer() -> LogObserver {
        // Another test may have set it.
        let _ = ::log::set_logger(&Lines);
        ::log::set_max_level(::log::LevelFilter::Trace);
        LogObserver::new()
    }

    /// What the current thread has written since it was last asked.
    #[track_caller]
    fn wrote(expected: &[&str]) {
        assert_eq!(LINES.take(), expected);
    }

    #[test]
    fn each_step_of_a_job_is_a_line_at_its_level() {
        let observer = observer();
        let job = JobEvent {
            batch: Some(2),
            number: 7,
            name: Some("fetch"),
            attempts: 3,
        };
        observer.job_accepted(&job);
        observer.attempt_started(&job);
        wrote(&[
            "TRACE batch 2 job 7 (fetch): accepted",
            "TRACE batch 2 job 7 (fetch): attempt 3",
        ]);
        let failure = |error, next| FailureEvent { error, next };
        let delay = Duration::from_millis(20);
        observer.attempt_failed(&job, &failure(Some("lost"), Ok(Duration::ZERO)));
        observer.attempt_failed(&job, &failure(Some("lost"), Ok(delay)));
        observer.attempt_failed(&job, &failure(None, Err(GiveUpReason::Permanent)));
        wrote(&[
            "WARN batch 2 job 7 (fetch): attempt 3 failed, retried now: lost",
            "WARN batch 2 job 7 (fetch): attempt 3 failed, retried in 20.0ms: lost",
            "WARN batch 2 job 7 (fetch): attempt 3 failed: an error without a text",
        ]);
        observer.job_settled(&job, Ok(()));
        observer.job_settled(&job, Err(GiveUpReason::AttemptsExhausted));
        wrote(&[
            "TRACE batch 2 job 7 (fetch): succeeded at attempt 3",
            "ERROR batch 2 job 7 (fetch): gave up after 3 attempts: attempts exhausted",
        ]);
    }

    #[test]
    fn each_step_of_a_worker_or_a_child_is_a_line_at_its_level() {
        let observer = observer();
        let worker = |replaced| WorkerEvent {
            number: 4,
            spare: false,
            replaced,
        };
        observer.worker_started(&worker(false));
        observer.worker_stuck(&worker(true));
        observer.worker_stuck(&worker(false));
        observer.worker_stopped(&worker(false));
        wrote(&[
            "DEBUG worker 4 started",
            "WARN worker 4 is stuck and was replaced",
            "WARN worker 4 is stuck and was not replaced: the pool is one short",
            "DEBUG worker 4 stopped",
        ]);

        let child = ChildEvent {
            supervisor: "root",
            name: "web",
            start: 5,
            error: Some("lost"),
            delay: Some(Duration::from_millis(20)),
        };
        observer.child_started(&child);
        observer.child_failed(&child);
        observer.child_restarting(&child);
        observer.child_gave_up(&child);
        observer.child_completed(&child);
        observer.child_stopped(&child);
        wrote(&[
            "INFO root: child web: start 5",
            "WARN root: child web: start 5 failed: lost",
            "INFO root: child web: restarted in 20.0ms",
            "ERROR root: child web: gave up at start 5: lost",
            "INFO root: child web: completed",
            "INFO root: child web: stopped",
        ]);
    }
}
