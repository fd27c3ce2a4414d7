//! What does an empty job cost with 1 to 256 workers, whatever the number of cores? The parameter is the number of workers.

#[path = "common/floor.rs"]
mod floor;
#[path = "common/harness.rs"]
mod harness;

use std::time::{Duration, Instant};

use harness::Benchmark;
use retry_pool::RetryPool;

const JOBS: u64 = 30_000;

fn main() {
    Benchmark {
        title: "Empty jobs, by the number of workers",
        element: "job",
        tiny: 2,
        table: &[1, 2, 4, 16, 64, 256],
        measured: &[1, 4, 64],
        operations: &[
            ("floor", floor, |_| JOBS),
            ("batch", batch, |_| JOBS),
            ("submit and wait in order", submit_and_wait, |_| JOBS),
        ],
    }
    .run();
}

fn floor(threads: u64) -> Duration {
    floor::batch(threads as usize, JOBS, |_| false)
}

fn batch(threads: u64) -> Duration {
    on_a_pool(threads, |pool| {
        pool.batch(0..JOBS, |_| Ok::<_, ()>(())).into_iter().count()
    })
}

fn submit_and_wait(threads: u64) -> Duration {
    on_a_pool(threads, |pool| {
        let submit = |_| pool.submit(|| Ok::<_, ()>(()));
        let handles: Vec<_> = (0..JOBS).map(submit).collect();
        let waited = handles.into_iter().map(|handle| handle.wait().is_ok());
        waited.filter(|succeeded| *succeeded).count()
    })
}

/// Times the work on a fresh pool, and checks that every job came back.
fn on_a_pool(threads: u64, work: impl FnOnce(&RetryPool) -> usize) -> Duration {
    let pool = RetryPool::with_threads(threads as usize);
    let begun = Instant::now();
    let came_back = work(&pool);
    let took = begun.elapsed();
    assert_eq!(came_back as u64, JOBS);
    took
}
