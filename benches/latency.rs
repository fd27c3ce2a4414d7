//! How long does one empty job take from its submission until the caller has the answer, on 2 workers that have nothing else to do?

#[path = "common/floor.rs"]
mod floor;
#[path = "common/harness.rs"]
mod harness;

use std::hint::spin_loop;
use std::time::{Duration, Instant};

use floor::Floor;
use harness::Benchmark;
use retry_pool::RetryPool;

const WORKERS: usize = 2;
/// Long enough for every worker to go to sleep.
const PAUSE: Duration = Duration::from_micros(100);

fn main() {
    Benchmark {
        title: "One empty job at a time",
        element: "job",
        tiny: 10,
        table: &[10_000],
        measured: &[1_000],
        operations: &[
            ("floor, asleep", |jobs| floor(jobs, PAUSE), |jobs| jobs),
            ("submit, asleep", |jobs| submit(jobs, PAUSE), |jobs| jobs),
            (
                "batch of one, asleep",
                |jobs| batch(jobs, PAUSE),
                |jobs| jobs,
            ),
            (
                "floor, back to back",
                |jobs| floor(jobs, Duration::ZERO),
                |jobs| jobs,
            ),
            (
                "submit, back to back",
                |jobs| submit(jobs, Duration::ZERO),
                |jobs| jobs,
            ),
            (
                "batch of one, back to back",
                |jobs| batch(jobs, Duration::ZERO),
                |jobs| jobs,
            ),
        ],
    }
    .run();
}

fn floor(jobs: u64, pause: Duration) -> Duration {
    let floor = Floor::start(WORKERS);
    let took = one_by_one(jobs, pause, || floor.one());
    floor.stop();
    took
}

fn submit(jobs: u64, pause: Duration) -> Duration {
    let pool = RetryPool::with_threads(WORKERS);
    one_by_one(jobs, pause, || {
        pool.submit(|| Ok::<_, ()>(())).wait().unwrap();
    })
}

fn batch(jobs: u64, pause: Duration) -> Duration {
    let pool = RetryPool::with_threads(WORKERS);
    one_by_one(jobs, pause, || {
        let batch = pool.batch([()], |()| Ok::<_, ()>(()));
        assert_eq!(batch.into_iter().count(), 1);
    })
}

/// The sum of the times without the pauses, in which the caller stays awake.
fn one_by_one(jobs: u64, pause: Duration, one: impl Fn()) -> Duration {
    one();
    let timed = |_| {
        let paused = Instant::now();
        while paused.elapsed() < pause {
            spin_loop();
        }
        let begun = Instant::now();
        one();
        begun.elapsed()
    };
    (0..jobs).map(timed).sum()
}
