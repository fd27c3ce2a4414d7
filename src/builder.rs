//! How a pool is built: every default and every refusal.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::thread::{self, JoinHandle};

use crate::crew::{Crew, Settings};
use crate::error::BuildError;
use crate::policy::RetryPolicy;
use crate::sync::Arc;

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
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until build()"]
pub struct RetryPoolBuilder {
    threads: Option<usize>,
    thread_name: String,
    stack_size: Option<usize>,
    policy: RetryPolicy,
    seed: Option<u64>,
}

impl RetryPoolBuilder {
    pub(crate) fn new() -> Self {
        Self {
            threads: None,
            thread_name: String::from("retry-pool"),
            stack_size: None,
            policy: RetryPolicy::default(),
            seed: None,
        }
    }

    /// The number of workers, 1 to 65 535. Default: one per CPU that the process may use.
    pub fn threads(self, threads: usize) -> Self {
        Self {
            threads: Some(threads),
            ..self
        }
    }

    /// What the threads are named after: worker *n* is `prefix-n`, from 0, and the timer's thread `prefix-timer`. Default:
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

    /// Checks the settings and starts the threads. If one is refused, those already started have ended when this returns.
    pub(crate) fn start(self) -> Result<(Arc<Crew<'static>>, Vec<JoinHandle<()>>), BuildError> {
        let threads = self.threads.unwrap_or_else(num_cpus::get);
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
        self.policy.validate()?;
        let seed = self
            .seed
            .unwrap_or_else(|| RandomState::new().build_hasher().finish());
        let crew = Arc::new(Crew::new(Settings {
            threads,
            policy: self.policy.clone(),
            seed,
        }));
        let mut started = Vec::new();
        match self.start_threads(&crew, &mut started) {
            Ok(()) => Ok((crew, started)),
            Err(error) => {
                crew.stop_now();
                // No job has run on these threads, so they end at once and without a panic.
                started.into_iter().for_each(|thread| drop(thread.join()));
                Err(error)
            }
        }
    }

    fn start_threads(
        &self,
        crew: &Arc<Crew<'static>>,
        started: &mut Vec<JoinHandle<()>>,
    ) -> Result<(), BuildError> {
        for index in 0..crew.settings.threads {
            let crew = Arc::clone(crew);
            started.push(self.spawn(&index.to_string(), self.stack_size, move || {
                crew.work(index);
            })?);
        }
        let crew = Arc::clone(crew);
        started.push(self.spawn("timer", None, move || crew.keep_time())?);
        Ok(())
    }

    fn spawn(
        &self,
        role: &str,
        stack_size: Option<usize>,
        life: impl FnOnce() + Send + 'static,
    ) -> Result<JoinHandle<()>, BuildError> {
        let name = format!("{}-{role}", self.thread_name);
        let mut builder = thread::Builder::new().name(name.clone());
        if let Some(bytes) = stack_size {
            builder = builder.stack_size(bytes);
        }
        builder
            .spawn(life)
            .map_err(|source| BuildError::Spawn { name, source })
    }
}
