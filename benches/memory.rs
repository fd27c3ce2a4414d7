//! How much memory does a queued job take, and how long does it take to queue it behind a worker that is busy?
//!
//! The table of bytes comes first, each figure from a process of its own: the growth of its resident memory at the peak. Linux only:
//! elsewhere it is zero.

#[path = "common/floor.rs"]
mod floor;
#[path = "common/harness.rs"]
mod harness;
#[path = "common/proc.rs"]
mod proc;

use std::env;
use std::iter::empty;
use std::process::Command;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use floor::{Floor, Outcome};
use harness::{Benchmark, Operation};
use retry_pool::RetryPool;

/// Names the operation that a child process is to measure, and says for how many jobs.
const TASK: &str = "RETRY_POOL_BENCH_MEMORY";

const OPERATIONS: &[Operation] = &[
    ("floor", floor, |jobs| jobs),
    ("batch", batch, |jobs| jobs),
    ("submit, with the handle", submit, |jobs| jobs),
];

fn main() {
    if let Ok(task) = env::var(TASK) {
        return measure_bytes(&task);
    }
    let measured = env::args().any(|argument| argument == "--bench");
    let jobs = if measured { 1_000_000 } else { 1_000 };
    for (name, ..) in OPERATIONS {
        let mut child = Command::new(env::current_exe().unwrap());
        let output = child.env(TASK, format!("{name}\t{jobs}")).output().unwrap();
        let bytes = String::from_utf8(output.stdout).unwrap();
        eprintln!("{name:30} {:>6} bytes per queued job", bytes.trim());
    }
    eprintln!();
    Benchmark {
        title: "Queueing jobs behind a busy worker",
        element: "job",
        tiny: 100,
        table: &[300_000],
        measured: &[100_000],
        operations: OPERATIONS,
    }
    .run();
}

fn measure_bytes(task: &str) {
    let (name, jobs) = task.split_once('\t').unwrap();
    let (_, run, _) = OPERATIONS.iter().find(|(one, ..)| *one == name).unwrap();
    // What the threads take is there already.
    run(1);
    let before = proc::memory("VmRSS:");
    let jobs: u64 = jobs.parse().unwrap();
    run(jobs);
    let grown = proc::memory("VmHWM:").saturating_sub(before);
    println!("{:.0}", grown as f64 / jobs as f64);
}

/// Holds a worker until the sender is dropped, and says when it does.
fn gate() -> (
    Sender<()>,
    impl Fn() -> Outcome + Send + 'static,
    Receiver<()>,
) {
    let (open, closed) = bounded::<()>(0);
    let (holds, held) = bounded(1);
    let hold = move || {
        holds.send(()).unwrap();
        closed.recv().unwrap_err();
        Ok(0)
    };
    (open, hold, held)
}

fn floor(jobs: u64) -> Duration {
    let (open, hold, held) = gate();
    let floor = Floor::start(1);
    floor.send(hold);
    held.recv().unwrap();
    let begun = Instant::now();
    (0..jobs).for_each(|n| floor.send(move || Ok(n)));
    let took = begun.elapsed();
    drop(open);
    floor.stop();
    took
}

fn batch(jobs: u64) -> Duration {
    let (open, hold, held) = gate();
    let pool = RetryPool::with_threads(1);
    let holder = pool.submit(hold);
    held.recv().unwrap();
    let batch = pool.batch(empty(), |n: &u64| Ok::<_, ()>(*n));
    let (sender, completed) = batch.window(usize::MAX).channel();
    let begun = Instant::now();
    (0..jobs).for_each(|n| sender.send(n).unwrap());
    let took = begun.elapsed();
    drop((open, sender));
    holder.wait().unwrap();
    assert_eq!(completed.count() as u64, jobs);
    took
}

fn submit(jobs: u64) -> Duration {
    let (open, hold, held) = gate();
    let pool = RetryPool::with_threads(1);
    let holder = pool.submit(hold);
    held.recv().unwrap();
    let begun = Instant::now();
    let submit = |n| pool.submit(move || Ok::<_, ()>(n));
    let handles: Vec<_> = (0..jobs).map(submit).collect();
    let took = begun.elapsed();
    drop(open);
    holder.wait().unwrap();
    for handle in handles {
        handle.wait().unwrap();
    }
    took
}
