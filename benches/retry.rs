//! What does a retry cost that happens at once, on 2 workers? Every job fails once.

#[path = "common/floor.rs"]
mod floor;
#[path = "common/harness.rs"]
mod harness;

use std::cell::Cell;
use std::time::{Duration, Instant};

use harness::Benchmark;
use retry_pool::{Requeue, RetryPolicy, RetryPool};

const WORKERS: usize = 2;

fn main() {
    Benchmark {
        title: "Empty jobs on 2 workers, each of which fails once",
        element: "attempt",
        tiny: 1_000,
        table: &[300_000],
        measured: &[10_000, 100_000],
        operations: &[
            ("floor, sent back by hand", floor, attempts),
            ("batch, by policy", by_policy, attempts),
            ("batch, by policy, to the front", to_the_front, attempts),
            ("batch, resubmitted by hand", by_hand, attempts),
            ("single jobs, by policy", single_jobs, attempts),
        ],
    }
    .run();
}

fn attempts(jobs: u64) -> u64 {
    2 * jobs
}

fn floor(jobs: u64) -> Duration {
    floor::batch(WORKERS, jobs, |_| true)
}

/// A job that remembers whether it has failed.
fn once(failed: &Cell<bool>) -> Result<(), ()> {
    if failed.replace(true) {
        Ok(())
    } else {
        Err(())
    }
}

fn fresh(jobs: u64) -> impl Iterator<Item = Cell<bool>> {
    (0..jobs).map(|_| Cell::new(false))
}

fn by_policy(jobs: u64) -> Duration {
    batch(jobs, RetryPolicy::immediate())
}

fn to_the_front(jobs: u64) -> Duration {
    batch(jobs, RetryPolicy::immediate().requeue(Requeue::Front))
}

fn batch(jobs: u64, policy: RetryPolicy) -> Duration {
    on_a_pool(jobs, |pool| {
        let batch = pool.batch(fresh(jobs), once).retry(policy);
        let succeeded = batch.into_iter().filter(|done| done.result().is_ok());
        succeeded.count() as u64
    })
}

fn by_hand(jobs: u64) -> Duration {
    on_a_pool(2 * jobs, |pool| {
        let batch = pool.batch(fresh(jobs), once);
        let mut yielded = 0;
        for done in batch.retry(RetryPolicy::never()) {
            yielded += 1;
            if done.result().is_err() {
                done.resubmit();
            }
        }
        yielded
    })
}

fn single_jobs(jobs: u64) -> Duration {
    on_a_pool(jobs, |pool| {
        let submit = |failed: Cell<bool>| {
            let job = pool.job(move || once(&failed));
            job.retry(RetryPolicy::immediate()).submit()
        };
        let handles: Vec<_> = fresh(jobs).map(submit).collect();
        let waited = handles.into_iter().map(|handle| handle.wait().is_ok());
        waited.map(u64::from).sum()
    })
}

/// Times the work on a fresh pool, and checks that so many jobs came back.
fn on_a_pool(expected: u64, work: impl FnOnce(&RetryPool) -> u64) -> Duration {
    let pool = RetryPool::with_threads(WORKERS);
    let begun = Instant::now();
    let came_back = work(&pool);
    let took = begun.elapsed();
    assert_eq!(came_back, expected);
    took
}
