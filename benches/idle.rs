//! What does a pool use that has little to do? Processor time, not the clock's, with a job each millisecond on 8 workers, the caller's
//! own included; before that, how often an idle pool wakes up. Linux only: elsewhere all figures are zero.

#[path = "common/floor.rs"]
mod floor;
#[path = "common/harness.rs"]
mod harness;
#[path = "common/proc.rs"]
mod proc;

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use floor::Floor;
use harness::Benchmark;
use retry_pool::RetryPool;

const WORKERS: usize = 8;

fn main() {
    let measured = env::args().any(|argument| argument == "--bench");
    wake_ups(Duration::from_millis(if measured { 3_000 } else { 10 }));
    Benchmark {
        title: "Processor time with a job each millisecond, on 8 workers",
        element: "job",
        tiny: 3,
        table: &[300],
        measured: &[100],
        operations: &[
            ("floor", floor, |jobs| jobs),
            ("submit and wait", submit_and_wait, |jobs| jobs),
        ],
    }
    .run();
}

/// Prints how often the threads of an idle pool are put on a processor.
fn wake_ups(time: Duration) {
    let pool = RetryPool::with_threads(WORKERS);
    let batch = pool.batch(0..100, |_| Ok::<_, ()>(()));
    assert_eq!(batch.into_iter().count(), 100);
    thread::sleep(Duration::from_millis(200));
    let before = proc::context_switches();
    thread::sleep(time);
    // One is the sleep of this thread.
    let switches = (proc::context_switches() - before).saturating_sub(1);
    eprintln!("idle pool: {switches} wake-ups in {time:?}\n");
}

fn floor(jobs: u64) -> Duration {
    let floor = Floor::start(WORKERS);
    let used = trickle(jobs, || floor.one());
    floor.stop();
    used
}

fn submit_and_wait(jobs: u64) -> Duration {
    let pool = RetryPool::with_threads(WORKERS);
    trickle(jobs, || {
        pool.submit(|| Ok::<_, ()>(())).wait().unwrap();
    })
}

/// The processor time for so many jobs, a millisecond apart.
fn trickle(jobs: u64, one: impl Fn()) -> Duration {
    one();
    let (before, begun) = (proc::cpu_time(), Instant::now());
    for n in 1..=jobs {
        one();
        thread::sleep(Duration::from_millis(n).saturating_sub(begun.elapsed()));
    }
    proc::cpu_time().saturating_sub(before)
}
