//! What does an empty job cost on 2 workers, next to the floor? And where 10 % of the attempts fail at once, or each job has a handle?

#[path = "common/floor.rs"]
mod floor;
#[path = "common/harness.rs"]
mod harness;

use std::cell::Cell;
use std::time::{Duration, Instant};

use harness::Benchmark;
use retry_pool::{Completion, RetryPolicy, RetryPool};

const WORKERS: usize = 2;
/// In the failing batch one job of so many fails once, which is 10 % of the attempts.
const ONE_FAILS_OF: u64 = 9;

fn main() {
    Benchmark {
        title: "Empty jobs on 2 workers",
        element: "attempt",
        tiny: 1_000,
        table: &[1_000_000],
        measured: &[10_000, 100_000],
        operations: &[
            ("floor", floor, |jobs| jobs),
            ("batch", batch, |jobs| jobs),
            ("batch of jobs that could fail", sound_batch, |jobs| jobs),
            ("batch, 10 % fail at once", failing_batch, failing_attempts),
            ("submit and wait in order", submit_and_wait, |jobs| jobs),
        ],
    }
    .run();
}

fn floor(jobs: u64) -> Duration {
    floor::batch(WORKERS, jobs, |_| false)
}

fn batch(jobs: u64) -> Duration {
    let job = |_: &u64| Ok(());
    on_a_pool(jobs, 0, |pool| count(pool.batch(0..jobs, job)))
}

/// What the next one is to be compared with: the same, but none fails.
fn sound_batch(jobs: u64) -> Duration {
    batch_of_cells(jobs, |_| false, 0)
}

fn failing_batch(jobs: u64) -> Duration {
    let fails = |n: u64| n.is_multiple_of(ONE_FAILS_OF);
    batch_of_cells(jobs, fails, jobs.div_ceil(ONE_FAILS_OF))
}

fn batch_of_cells(jobs: u64, fails: fn(u64) -> bool, retries: u64) -> Duration {
    let fails_once = (0..jobs).map(|n| Cell::new(fails(n)));
    let job = |fails: &Cell<bool>| if fails.take() { Err(()) } else { Ok(()) };
    on_a_pool(jobs, retries, |pool| {
        count(pool.batch(fails_once, job).retry(RetryPolicy::immediate()))
    })
}

fn failing_attempts(jobs: u64) -> u64 {
    jobs + jobs.div_ceil(ONE_FAILS_OF)
}

fn count<I>(batch: impl IntoIterator<Item = Completion<I, (), ()>>) -> u64 {
    let mut succeeded = 0;
    for done in batch {
        succeeded += u64::from(done.result().is_ok());
    }
    succeeded
}

fn submit_and_wait(jobs: u64) -> Duration {
    on_a_pool(jobs, 0, |pool| {
        let submit = |_| pool.submit(|| Ok::<_, ()>(()));
        let handles: Vec<_> = (0..jobs).map(submit).collect();
        let waited = handles.into_iter().map(|handle| handle.wait().is_ok());
        waited.map(u64::from).sum()
    })
}

/// Times the work on a fresh pool, and checks that every job came back as a success after the retries that were meant.
fn on_a_pool(jobs: u64, retries: u64, work: impl FnOnce(&RetryPool) -> u64) -> Duration {
    let pool = RetryPool::with_threads(WORKERS);
    let begun = Instant::now();
    let came_back = work(&pool);
    let took = begun.elapsed();
    assert_eq!((came_back, pool.stats().retries()), (jobs, retries));
    took
}
