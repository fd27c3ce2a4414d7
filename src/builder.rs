//! How a pool is built: every default and every refusal.

use std::fmt;
use std::io;

use crate::backoff::random_seed;
use crate::crew::{Settings, ThreadHook};
use crate::error::BuildError;
use crate::observe::{Observer, Watcher};
use crate::policy::RetryPolicy;
use crate::roster::Post;
use crate::sync::{Arc, processors, thread};
use crate::unwind::Contained;

/// The most workers that a pool can have.
const MAX_THREADS: usize = 65_535;

/// Builds a [`RetryPool`](crate::RetryPool); made by [`RetryPool::builder`](crate::RetryPool::builder).
///
/// | setting | default |
/// |---|---|
/// | [`threads`](Self::threads) | one per CPU that the process may use |
/// | [`thread_name`](Self::thread_name) | `retry-pool`, so `retry-pool-0` … |
/// | [`stack_size`](Self::stack_size) | the standard library's |
/// | [`retry`](Self::retry) | [`RetryPolicy::default`]: 3 attempts, 100 ms × 2, cap 30 s, full jitter |
/// | [`jitter_seed`](Self::jitter_seed) | random for each pool |
/// | [`capacity`](Self::capacity) | without a limit |
/// | [`max_stuck`](Self::max_stuck) | the greater of 16 and 4 × threads |
/// | [`on_thread_start`](Self::on_thread_start), [`on_thread_stop`](Self::on_thread_stop), [`observer`](Self::observer) | none |
///
/// ```
/// use retry_pool::{RetryPolicy, RetryPool};
///
/// let pool = RetryPool::builder()
///     .threads(4)
///     .thread_name("fetch")
///     .retry(RetryPolicy::immediate().max_attempts(5))
///     .build()?;
/// let name = pool.submit(|| Ok::<_, ()>(std::thread::current().name().map(String::from)));
/// assert!(name.wait().unwrap().unwrap().starts_with("fetch-"));
/// # Ok::<(), retry_pool::BuildError>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until build()"]
pub struct RetryPoolBuilder {
    threads: Option<usize>,
    thread_name: String,
    stack_size: Option<usize>,
    policy: RetryPolicy,
    seed: Option<u64>,
    capacity: Option<usize>,
    max_stuck: Option<usize>,
    on_thread_start: ThreadHook,
    on_thread_stop: ThreadHook,
    observer: Watcher,
}

impl RetryPoolBuilder {
    pub(crate) fn new() -> Self {
        Self {
            threads: None,
            thread_name: String::from("retry-pool"),
            stack_size: None,
            policy: RetryPolicy::default(),
            seed: None,
            capacity: None,
            max_stuck: None,
            on_thread_start: None,
            on_thread_stop: None,
            observer: Watcher::default(),
        }
    }

    /// The number of workers, 1 to 65 535. Default: one per CPU that the process may use.
    pub fn threads(self, threads: usize) -> Self {
        Self {
            threads: Some(threads),
            ..self
        }
    }

    /// What the threads are named after: worker *n* is `prefix-n`, from 0, a spare one `prefix-spare-n`, and the timer's thread
    /// `prefix-timer`. Default:
    /// `retry-pool`.
    pub fn thread_name(self, prefix: impl Into<String>) -> Self {
        Self {
            thread_name: prefix.into(),
            ..self
        }
    }

    /// The stack of each worker in bytes. Default: the standard library's, see [`std::thread::Builder::stack_size`].
    pub fn stack_size(self, bytes: usize) -> Self {
        Self {
            stack_size: Some(bytes),
            ..self
        }
    }

    /// The policy of jobs and batches that have none of their own. Default: [`RetryPolicy::default`].
    pub fn retry(self, policy: RetryPolicy) -> Self {
        Self { policy, ..self }
    }

    /// The seed of the jitter: with the same seed, jobs submitted in the same order have the same delays, whatever the threads
    /// do. Default: random.
    pub fn jitter_seed(self, seed: u64) -> Self {
        Self {
            seed: Some(seed),
            ..self
        }
    }

    /// The greatest number of jobs that are accepted and have not settled: single jobs and those of batches together, queued, parked or
    /// running. A job that is retried keeps its place. Beyond it [`submit`](crate::RetryPool::submit) blocks,
    /// [`try_submit`](crate::RetryPool::try_submit) refuses, and batches pull no more. At least 1; a great one costs nothing until it is
    /// used. Default: without a limit.
    ///
    /// A job that waits for others lends its place meanwhile, so it may submit to its own full pool. A completion that is
    /// [resubmitted](crate::Completion::resubmit) is accepted also where there is no room, since nothing blocks there.
    ///
    /// ```
    /// use retry_pool::{RetryPool, TrySubmitError};
    ///
    /// let pool = RetryPool::builder().threads(1).capacity(1).build()?;
    /// let (sender, gate) = std::sync::mpsc::channel::<()>();
    /// let first = pool.submit(move || gate.recv());
    /// assert!(matches!(pool.try_submit(|| Ok::<_, ()>(())), Err(TrySubmitError::Full(_))));
    /// sender.send(()).unwrap();
    /// first.wait().unwrap();
    /// assert!(pool.try_submit(|| Ok::<_, ()>(())).is_ok());
    /// # Ok::<(), retry_pool::BuildError>(())
    /// ```
    pub fn capacity(self, jobs: usize) -> Self {
        Self {
            capacity: Some(jobs),
            ..self
        }
    }

    /// How many workers may be stuck in attempts that were abandoned ([`Job::attempt_timeout`](crate::Job::attempt_timeout)) and have a
    /// fresh worker in their place. Those beyond are not replaced, so that attempts that never return cannot make the process grow without
    /// end; [`Stats::stuck_threads`](crate::Stats::stuck_threads) tells. Default: the greater of 16 and 4 × threads.
    pub fn max_stuck(self, workers: usize) -> Self {
        Self {
            max_stuck: Some(workers),
            ..self
        }
    }

    /// Is called on each worker's thread, spares included, before its first job. A panic in it is contained.
    pub fn on_thread_start(self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            on_thread_start: Some(Arc::new(Contained::new(Box::new(hook)))),
            ..self
        }
    }

    /// Is called on each worker's thread, spares included, after its last job. A panic in it is contained.
    pub fn on_thread_stop(self, hook: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            on_thread_stop: Some(Arc::new(Contained::new(Box::new(hook)))),
            ..self
        }
    }

    /// Is told what happens in the pool. Default: nobody is.
    pub fn observer(self, observer: impl Observer + 'static) -> Self {
        Self {
            observer: Watcher::new(observer),
            ..self
        }
    }

    /// Checks the settings.
    pub(crate) fn settings(&self) -> Result<Settings, BuildError> {
        let processors = processors();
        let threads = self.threads.unwrap_or(processors);
        match threads {
            0 => return Err(BuildError::ZeroThreads),
            1..=MAX_THREADS => {}
            _ => {
                return Err(BuildError::TooManyThreads {
                    threads,
                    max: MAX_THREADS,
                });
            }
        }
        if self.thread_name.contains('\0') {
            return Err(BuildError::ThreadName);
        }
        if self.capacity == Some(0) {
            return Err(BuildError::ZeroCapacity);
        }
        self.policy.validate()?;
        Ok(Settings {
            threads,
            processors,
            policy: self.policy.clone(),
            seed: self.seed.unwrap_or_else(random_seed),
            capacity: self.capacity,
            max_stuck: self.max_stuck.unwrap_or((4 * threads).max(16)),
            on_thread_start: self.on_thread_start.clone(),
            on_thread_stop: self.on_thread_stop.clone(),
            observer: self.observer.clone(),
        })
    }

    /// How the threads of a pool are named and what they get.
    pub(crate) fn outfit(&self) -> Outfit {
        Outfit {
            prefix: self.thread_name.clone(),
            stack_size: self.stack_size,
        }
    }
}

impl fmt::Debug for RetryPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryPoolBuilder")
            .field("threads", &self.threads)
            .field("thread_name", &self.thread_name)
            .field("stack_size", &self.stack_size)
            .field("policy", &self.policy)
            .field("capacity", &self.capacity)
            .field("max_stuck", &self.max_stuck)
            .finish_non_exhaustive()
    }
}

/// What the threads of a pool have in common.
#[derive(Debug, Clone)]
pub(crate) struct Outfit {
    prefix: String,
    stack_size: Option<usize>,
}

impl Outfit {
    /// A worker's thread, not started yet.
    pub(crate) fn worker(&self, post: &Post) -> thread::Builder {
        let role = if post.is_spare() { "spare-" } else { "" };
        let builder = self.thread(&format!("{role}{}", post.number));
        match self.stack_size {
            Some(bytes) => builder.stack_size(bytes),
            None => builder,
        }
    }

    pub(crate) fn timer(&self) -> thread::Builder {
        self.thread("timer")
    }

    /// The thread that starts those of a scope.
    pub(crate) fn foreman(&self) -> thread::Builder {
        self.thread("foreman")
    }

    fn thread(&self, role: &str) -> thread::Builder {
        thread::Builder::new().name(format!("{}-{role}", self.prefix))
    }

    /// The error for a worker or (`None`) the timer that the system refused.
    pub(crate) fn refused(&self, worker: Option<usize>, source: io::Error) -> BuildError {
        let role = worker.map_or_else(|| String::from("timer"), |number| number.to_string());
        BuildError::Spawn {
            name: format!("{}-{role}", self.prefix),
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_default_four_times_the_threads_may_be_stuck_and_sixteen_at_least() {
        let max_stuck = |threads| {
            let settings = RetryPoolBuilder::new().threads(threads).settings();
            settings.unwrap().max_stuck
        };
        assert_eq!([1, 4, 5, 100].map(max_stuck), [16, 16, 20, 400]);
    }
}
