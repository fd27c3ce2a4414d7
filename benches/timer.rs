//! What does it cost to park a retry and to fire it, on 2 workers? Every job fails once; the time is without the delay, so it is that of
//! two attempts, of parking and of firing. The floor sends the jobs back at once.

#[path = "common/floor.rs"]
mod floor;
#[path = "common/harness.rs"]
mod harness;

use std::cell::Cell;
use std::time::{Duration, Instant};

use harness::Benchmark;
use retry_pool::{Jitter, RetryPolicy, RetryPool};

const WORKERS: usize = 2;
/// Longer than it takes to park all on a quiet machine.
const DELAY: Duration = Duration::from_millis(300);

fn main() {
    Benchmark {
        title: "Empty jobs on 2 workers, each parked once",
        element: "job",
        tiny: 100,
        table: &[300_000],
        measured: &[100_000],
        operations: &[
            ("floor, at once", floor, |jobs| jobs),
            ("batch", batch, |jobs| jobs),
            ("batch, any order", in_any_order, |jobs| jobs),
            ("single jobs", single_jobs, |jobs| jobs),
        ],
    }
    .run();
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

fn batch(jobs: u64) -> Duration {
    parked_in_a_batch(jobs, RetryPolicy::fixed(DELAY))
}

/// Due times that do not come in order are the heap's common case.
fn in_any_order(jobs: u64) -> Duration {
    let policy = RetryPolicy::fixed(DELAY).jitter(Jitter::Proportional(0.3));
    parked_in_a_batch(jobs, policy)
}

fn parked_in_a_batch(jobs: u64, policy: RetryPolicy) -> Duration {
    let pool = RetryPool::with_threads(WORKERS);
    let fresh = (0..jobs).map(|_| Cell::new(false));
    let begun = Instant::now();
    let batch = pool.batch(fresh, once).retry(policy).window(usize::MAX);
    let succeeded = batch.into_iter().filter(|done| done.result().is_ok());
    assert_eq!(succeeded.count() as u64, jobs);
    begun.elapsed().saturating_sub(DELAY)
}

fn single_jobs(jobs: u64) -> Duration {
    let builder = RetryPool::builder().threads(WORKERS);
    let pool = builder.retry(RetryPolicy::fixed(DELAY)).build().unwrap();
    let begun = Instant::now();
    let submit = |_| {
        let failed = Cell::new(false);
        pool.submit(move || once(&failed))
    };
    let handles: Vec<_> = (0..jobs).map(submit).collect();
    handles
        .into_iter()
        .for_each(|handle| handle.wait().unwrap());
    begun.elapsed().saturating_sub(DELAY)
}
