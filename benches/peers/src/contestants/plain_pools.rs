//! Peers that run closures on threads.

use executors::crossbeam_workstealing_pool::{self, ThreadPool as StealingPool};
use executors::parker::DynParker;
use executors::{Executor, FuturesExecutor, JoinHandle};
use futures::executor::block_on;
use scheduled_thread_pool::ScheduledThreadPool;
use workerpool::thunk::{Thunk, ThunkWorker};
use workerpool_rs::pool::WorkerPool;

use super::driver::{Handles, Pool};

impl Pool for threadpool::ThreadPool {
    fn start(threads: usize) -> Self {
        Self::new(threads)
    }

    fn execute(&self, job: impl FnOnce() + Send + Sync + 'static) {
        Self::execute(self, job);
    }
}

impl Pool for rusty_pool::ThreadPool {
    fn start(threads: usize) -> Self {
        let pool = rusty_pool::Builder::new()
            .core_size(threads)
            .max_size(threads)
            .build();
        pool.start_core_threads();
        pool
    }

    fn execute(&self, job: impl FnOnce() + Send + Sync + 'static) {
        Self::execute(self, job);
    }
}

impl Handles for rusty_pool::ThreadPool {
    type Handle = rusty_pool::JoinHandle<u64>;

    fn submit(&self, job: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle {
        self.evaluate(job)
    }

    fn wait(&self, handle: Self::Handle) -> u64 {
        handle.await_complete()
    }
}

impl Pool for rayon::ThreadPool {
    fn start(threads: usize) -> Self {
        let builder = rayon::ThreadPoolBuilder::new().num_threads(threads);
        builder.build().expect("threads start")
    }

    fn execute(&self, job: impl FnOnce() + Send + Sync + 'static) {
        self.spawn(job);
    }
}

impl Pool for ScheduledThreadPool {
    fn start(threads: usize) -> Self {
        Self::new(threads)
    }

    fn execute(&self, job: impl FnOnce() + Send + Sync + 'static) {
        Self::execute(self, job);
    }
}

/// `workerpool` with its worker for closures.
pub struct ThunkPool(workerpool::Pool<ThunkWorker<()>>);

impl Pool for ThunkPool {
    fn start(threads: usize) -> Self {
        Self(workerpool::Pool::new(threads))
    }

    fn execute(&self, job: impl FnOnce() + Send + Sync + 'static) {
        self.0.execute(Thunk::of(job));
    }
}

/// `workerpool-rs`: a receiver behind a mutex.
pub struct LockedPool(WorkerPool);

impl Pool for LockedPool {
    fn start(threads: usize) -> Self {
        Self(WorkerPool::new(threads))
    }

    fn execute(&self, job: impl FnOnce() + Send + Sync + 'static) {
        self.0.execute(job);
    }
}

/// `executors` with its work-stealing pool.
pub struct Stealing(StealingPool<DynParker>);

impl Pool for Stealing {
    fn start(threads: usize) -> Self {
        Self(crossbeam_workstealing_pool::pool_with_auto_parker(threads))
    }

    fn execute(&self, job: impl FnOnce() + Send + Sync + 'static) {
        self.0.execute(job);
    }
}

impl Handles for Stealing {
    type Handle = JoinHandle<u64>;

    fn submit(&self, job: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle {
        self.0.spawn(async { job() })
    }

    fn wait(&self, handle: Self::Handle) -> u64 {
        block_on(handle)
    }
}
