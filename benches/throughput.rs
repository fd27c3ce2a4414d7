//! What does an empty job cost on 2 workers, next to the floor? The floor is a bare crossbeam pipeline: a producer thread, the
//! workers, boxed closures over an unbounded work channel, an unbounded completion channel and one consumer.
//!
//! `cargo bench --bench throughput` first prints a table. For it the operations take turns, so that what disturbs one disturbs
//! its neighbours, too: read the ratios, not the times. Then criterion measures each operation alone. With `-- --quick` both
//! take less time, and `-- --test` only sees whether everything runs.

use std::time::{Duration, Instant};
use std::{cell::Cell, env, thread};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use crossbeam_channel::unbounded;
use retry_pool::{Completion, RetryPolicy, RetryPool};

const WORKERS: usize = 2;
/// In the failing batch one job of so many fails once, which is 10 % of the attempts.
const ONE_FAILS_OF: u64 = 9;

/// A name, what runs so many jobs and says how long they took, and how many attempts they make.
type Operation = (&'static str, fn(u64) -> Duration, fn(u64) -> u64);

const OPERATIONS: [Operation; 4] = [
    ("floor", floor, |jobs| jobs),
    ("batch", batch, |jobs| jobs),
    ("batch, 10 % fail at once", failing_batch, failing_attempts),
    ("submit and wait in order", submit_and_wait, |jobs| jobs),
];

fn main() {
    let mut criterion = Criterion::default().without_plots().configure_from_args();
    let given = |flag: &str| env::args().any(|argument| argument == flag);
    // Cargo passes `--bench` where it is to measure. Elsewhere the standard output is the harness's alone.
    if !given("--bench") || given("--test") || given("--list") {
        eprintln!("{}", compare(1_000, 1));
    } else {
        let rounds = if given("--quick") { 3 } else { 9 };
        println!("{}", compare(1_000_000, rounds));
    }
    for operation in OPERATIONS {
        measure(&mut criterion, operation);
    }
    criterion.final_summary();
}

fn measure(criterion: &mut Criterion, (name, run, attempts): Operation) {
    let mut group = criterion.benchmark_group(name);
    group.sample_size(10).sampling_mode(SamplingMode::Flat);
    group.warm_up_time(Duration::from_secs(1));
    group.measurement_time(Duration::from_secs(2));
    for jobs in [10_000, 100_000] {
        group.throughput(Throughput::Elements(attempts(jobs)));
        group.bench_function(BenchmarkId::from_parameter(jobs), |bencher| {
            bencher.iter_custom(|times| (0..times).map(|_| run(jobs)).sum());
        });
    }
    group.finish();
}

/// Runs the operations in turns, and makes a table of the times.
fn compare(jobs: u64, rounds: usize) -> String {
    let ns = |(_, run, attempts): Operation| run(jobs).as_nanos() as f64 / attempts(jobs) as f64;
    let rounds: Vec<_> = (0..rounds).map(|_| OPERATIONS.map(ns)).collect();
    let mut table = format!(
        "{jobs} empty jobs on {WORKERS} workers, median of {} (min..max); ratio of the medians, median of the rounds' ratios\n\
         {:25} {:>22} {:>15} {:>15}\n",
        rounds.len(),
        "",
        "ns per attempt",
        "to the floor",
        "to the batch"
    );
    for (i, (name, ..)) in OPERATIONS.iter().enumerate() {
        let [least, median, most] = spread(&rounds, |ns| ns[i]);
        let times = format!("{median:.0} ({least:.0}..{most:.0})");
        let [to_floor, to_batch] = [0, 1].map(|base| ratios(&rounds, i, base));
        table += &format!("{name:25} {times:>22} {to_floor:>15} {to_batch:>15}\n");
    }
    table
}

/// Two operations' ratio of the medians, and the median of their ratios within each round.
fn ratios(rounds: &[[f64; 4]], of: usize, to: usize) -> String {
    let median = |value: &dyn Fn(&[f64; 4]) -> f64| spread(rounds, value)[1];
    let of_medians = median(&|ns| ns[of]) / median(&|ns| ns[to]);
    format!("{of_medians:.2}, {:.2}", median(&|ns| ns[of] / ns[to]))
}

/// The least, the median and the greatest of what the rounds say.
fn spread(rounds: &[[f64; 4]], value: impl Fn(&[f64; 4]) -> f64) -> [f64; 3] {
    let mut values: Vec<_> = rounds.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    [0, values.len() / 2, values.len() - 1].map(|at| values[at])
}

/// Holds the job's number, as a box of nothing would not be allocated.
type Job = Box<dyn FnOnce() -> u64 + Send>;

fn floor(jobs: u64) -> Duration {
    let (work, queued) = unbounded::<Job>();
    let (done, completions) = unbounded();
    let workers = [(); WORKERS].map(|()| {
        let (queued, done) = (queued.clone(), done.clone());
        thread::spawn(move || queued.iter().for_each(|job| done.send(job()).unwrap()))
    });
    let begun = Instant::now();
    let produce = move || (0..jobs).for_each(|n| work.send(Box::new(move || n)).unwrap());
    let producer = thread::spawn(produce);
    let came_back: u64 = completions.iter().take(jobs as usize).map(|_| 1).sum();
    let took = begun.elapsed();
    for thread in workers.into_iter().chain([producer]) {
        thread.join().unwrap();
    }
    assert_eq!((came_back, completions.len()), (jobs, 0));
    took
}

fn batch(jobs: u64) -> Duration {
    let job = |_: &u64| Ok(());
    on_a_pool(jobs, 0, |pool| count(pool.batch(0..jobs, job)))
}

fn failing_batch(jobs: u64) -> Duration {
    let fails_once = (0..jobs).map(|n| Cell::new(n % ONE_FAILS_OF == 0));
    let job = |fails: &Cell<bool>| if fails.take() { Err(()) } else { Ok(()) };
    on_a_pool(jobs, jobs.div_ceil(ONE_FAILS_OF), |pool| {
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
