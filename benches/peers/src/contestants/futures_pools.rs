//! Peers whose handles are futures.

use std::num::NonZeroUsize;

use blocking::{set_max_blocking_threads, unblock};
use futures::executor::{ThreadPool, block_on};
use futures::future::RemoteHandle;
use futures::task::SpawnExt;

use super::driver::{Handles, Pool};

impl Pool for ThreadPool {
    fn start(threads: usize) -> Self {
        let builder = Self::builder().pool_size(threads).create();
        builder.expect("threads start")
    }

    fn execute(&self, job: impl FnOnce() + Send + Sync + 'static) {
        self.spawn_ok(async { job() });
    }
}

impl Handles for ThreadPool {
    type Handle = RemoteHandle<u64>;

    fn submit(&self, job: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle {
        let handle = self.spawn_with_handle(async { job() });
        handle.expect("the pool is open")
    }

    fn wait(&self, handle: Self::Handle) -> u64 {
        block_on(handle)
    }
}

/// `blocking`, whose pool is one for the whole process.
pub struct Blocking;

impl Pool for Blocking {
    fn start(threads: usize) -> Self {
        set_max_blocking_threads(NonZeroUsize::new(threads).expect("at least one thread"));
        Self
    }

    fn execute(&self, job: impl FnOnce() + Send + Sync + 'static) {
        unblock(job).detach();
    }
}

impl Handles for Blocking {
    type Handle = blocking::Task<u64>;

    fn submit(&self, job: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle {
        unblock(job)
    }

    fn wait(&self, handle: Self::Handle) -> u64 {
        block_on(handle)
    }
}
