//! Tokio's threads for blocking calls, with handles of their own and in a set.

use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::executor::block_on;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::{JoinHandle, JoinSet};

use super::driver::{Handles, Pool};
use super::{Job, Open};
use crate::work::{AGAIN, Work};

/// A runtime with nothing but threads for blocking calls.
fn runtime(threads: usize) -> Runtime {
    let builder = &mut Builder::new_current_thread();
    let runtime = builder.max_blocking_threads(threads).build();
    runtime.expect("a runtime without drivers")
}

pub struct SpawnBlocking(Runtime);

impl Pool for SpawnBlocking {
    fn start(threads: usize) -> Self {
        Self(runtime(threads))
    }

    fn execute(&self, job: impl FnOnce() + Send + Sync + 'static) {
        self.0.spawn_blocking(job);
    }
}

impl Handles for SpawnBlocking {
    type Handle = JoinHandle<u64>;

    fn submit(&self, job: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle {
        self.0.spawn_blocking(job)
    }

    fn wait(&self, handle: Self::Handle) -> u64 {
        block_on(handle).expect("the job does not panic")
    }
}

/// The same threads, with the jobs of a batch in a `JoinSet`. Since it is not shared, all are put in before the first is taken out.
struct Set(Handle);

pub fn open_join_set(threads: usize) -> Arc<dyn Open> {
    let runtime = runtime(threads);
    let handle = runtime.handle().clone();
    mem::forget(runtime);
    Arc::new(Set(handle))
}

impl Set {
    fn filled(&self, jobs: u64) -> JoinSet<u64> {
        let mut set = JoinSet::new();
        for n in 0..jobs {
            set.spawn_blocking_on(move || Work::Empty.perform(n).unwrap_or(0), &self.0);
        }
        set
    }
}

impl Open for Set {
    fn batch(&self, work: Work, jobs: u64) -> Duration {
        let begun = Instant::now();
        let mut set = JoinSet::new();
        let spawn = |set: &mut JoinSet<_>, n| {
            set.spawn_blocking_on(move || work.perform(n), &self.0);
        };
        (0..jobs).for_each(|n| spawn(&mut set, n));
        block_on(async {
            while let Some(joined) = set.join_next().await {
                if let Err(n) = joined.expect("the job does not panic") {
                    spawn(&mut set, n | AGAIN);
                }
            }
        });
        begun.elapsed()
    }

    fn one(&self) {
        let mut set = self.filled(1);
        block_on(set.join_next());
    }

    fn run(&self, job: Job) {
        self.0.spawn_blocking(job);
    }

    fn queue(&self, jobs: u64) {
        mem::forget(self.filled(jobs));
    }
}
