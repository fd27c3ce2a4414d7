//! retry-pool: a batch for many jobs, a handle for one.

use std::cell::Cell;
use std::iter::empty;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant};

use retry_pool::{Completion, JobHandle, RetryPolicy, RetryPool};

use super::{Job, Open, OpenWithHandles};
use crate::work::{AGAIN, Work};

struct Ours(RetryPool);

pub fn open(threads: usize) -> Arc<dyn Open> {
    start(threads)
}

pub fn open_with_handles(threads: usize) -> Arc<dyn OpenWithHandles> {
    start(threads)
}

fn start(threads: usize) -> Arc<Ours> {
    let pool = Arc::new(Ours(RetryPool::with_threads(threads)));
    // Like the peers, it is never dropped.
    mem::forget(Arc::clone(&pool));
    pool
}

impl Ours {
    fn submit(&self, n: u64) -> JobHandle<u64, u64> {
        self.0.submit(move || Work::Empty.perform(n))
    }
}

fn count<I>(batch: impl IntoIterator<Item = Completion<I, u64, u64>>) -> u64 {
    let mut succeeded = 0;
    for done in batch {
        succeeded += u64::from(done.result().is_ok());
    }
    succeeded
}

impl Open for Ours {
    fn batch(&self, work: Work, jobs: u64) -> Duration {
        let begun = Instant::now();
        let succeeded = if work.fails() {
            // An input that remembers that it was tried; the worker retries it.
            let inputs = (0..jobs).map(Cell::new);
            let job = move |n: &Cell<u64>| work.perform(n.replace(n.get() | AGAIN));
            count(self.0.batch(inputs, job).retry(RetryPolicy::immediate()))
        } else {
            count(self.0.batch(0..jobs, move |n| work.perform(*n)))
        };
        assert_eq!(succeeded, jobs);
        begun.elapsed()
    }

    fn one(&self) {
        self.submit(0).wait().expect("the job is empty");
    }

    fn run(&self, job: Job) {
        let once = Cell::new(Some(job));
        let job = move || {
            once.take().into_iter().for_each(|job| job());
            Ok::<_, ()>(())
        };
        drop(self.0.submit(job));
    }

    fn queue(&self, jobs: u64) {
        let batch = self.0.batch(empty(), |n: &u64| Work::Empty.perform(*n));
        let (sender, completed) = batch.window(usize::MAX).channel();
        (0..jobs).for_each(|n| sender.send(n).expect("the batch is open"));
        mem::forget((sender, completed));
    }
}

impl OpenWithHandles for Ours {
    fn submit_and_wait(&self, jobs: u64) -> Duration {
        let begun = Instant::now();
        let handles: Vec<_> = (0..jobs).map(|n| self.submit(n)).collect();
        let sum: u64 = handles
            .into_iter()
            .map(|handle| handle.wait().unwrap_or(0))
            .sum();
        let took = begun.elapsed();
        assert_eq!(sum, (0..jobs).sum::<u64>());
        took
    }

    fn queue_with_handles(&self, jobs: u64) {
        let handles: Vec<_> = (0..jobs).map(|n| self.submit(n)).collect();
        mem::forget(handles);
    }
}
