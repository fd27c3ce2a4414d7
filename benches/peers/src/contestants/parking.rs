//! Jobs that fail at once, and wait for a retry: who can do that without a thread for each.

use std::cell::Cell;
use std::iter::empty;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::Duration;

use retry_pool::{RetryPolicy, RetryPool};
use scheduled_thread_pool::ScheduledThreadPool;

use super::Attempts;
use super::driver::Pool;

/// Two workers, as in most questions.
const THREADS: usize = 2;

impl Attempts {
    fn attempt(&self, tried: &Cell<bool>) -> Result<(), ()> {
        let (count, outcome) = if tried.replace(true) {
            (&self.second, Ok(()))
        } else {
            (&self.first, Err(()))
        };
        // ORDERING: a count; nothing is read by way of it.
        count.fetch_add(1, Relaxed);
        outcome
    }
}

/// retry-pool, as one batch with room for all.
pub fn batch(jobs: u64, delay: Duration, attempts: &'static Attempts) {
    let pool = RetryPool::with_threads(THREADS);
    let batch = pool.batch(empty(), |tried: &Cell<bool>| attempts.attempt(tried));
    let batch = batch.retry(RetryPolicy::fixed(delay)).window(usize::MAX);
    let (sender, completed) = batch.channel();
    thread::spawn(move || completed.for_each(drop));
    (0..jobs).for_each(|_| sender.send(Cell::new(false)).expect("the batch is open"));
    mem::forget((pool, sender));
}

/// retry-pool, as jobs of their own.
pub fn single_jobs(jobs: u64, delay: Duration, attempts: &'static Attempts) {
    let builder = RetryPool::builder().threads(THREADS);
    let pool = builder.retry(RetryPolicy::fixed(delay)).build();
    let pool = pool.expect("a policy that is in order");
    for _ in 0..jobs {
        let tried = Cell::new(false);
        drop(pool.submit(move || attempts.attempt(&tried)));
    }
    mem::forget(pool);
}

/// scheduled-thread-pool: the failed job asks for its second attempt.
pub fn scheduled(jobs: u64, delay: Duration, attempts: &'static Attempts) {
    let pool = Arc::new(ScheduledThreadPool::start(THREADS));
    for _ in 0..jobs {
        let again = Arc::clone(&pool);
        let tried = Cell::new(false);
        let job = move || {
            if attempts.attempt(&tried).is_err() {
                again.execute_after(delay, move || {
                    let _ = attempts.attempt(&tried);
                });
            }
        };
        ScheduledThreadPool::execute(&pool, job);
    }
    mem::forget(pool);
}

/// Tokio: a task for each job, which sleeps between its attempts.
pub fn tokio_timer(jobs: u64, delay: Duration, attempts: &'static Attempts) {
    let builder = &mut tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(THREADS).enable_time().build();
    let runtime = runtime.expect("threads start");
    for _ in 0..jobs {
        let tried = Cell::new(false);
        runtime.spawn(async move {
            if attempts.attempt(&tried).is_err() {
                tokio::time::sleep(delay).await;
                let _ = attempts.attempt(&tried);
            }
        });
    }
    mem::forget(runtime);
}
