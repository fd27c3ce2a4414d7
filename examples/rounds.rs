//! Two jobs on two workers, first in rounds, then as one batch: `cargo run --release --example rounds`.
//! Job A takes 1 unit and succeeds at its 10th attempt, job B takes 100 units.

use std::time::{Duration, Instant};
use std::{cell::RefCell, collections::BTreeMap, ops::Range, thread};

use retry_pool::{Completion, RetryPolicy, RetryPool};

const UNIT: Duration = Duration::from_millis(10);

/// A job that fails by script and remembers when it ran.
struct Job {
    name: char,
    units: u32,
    failures: usize,
    attempts: RefCell<Attempts>,
}

type Attempts = Vec<Range<Instant>>;
type Succeeded = Vec<(usize, (char, Attempts))>;

fn main() {
    println!("a column is a unit of {UNIT:?}: = running, x failed, # succeeded, . waiting");
    let pool = RetryPool::with_threads(2);
    println!("\nin rounds: a retry waits for the end of its round");
    show(&pool, in_rounds);
    println!("\nas one batch: a retry waits for nothing");
    show(&pool, in_one_batch);
}

fn in_rounds(pool: &RetryPool) -> Succeeded {
    let (mut jobs, mut settled) = (jobs(), Vec::new());
    while !jobs.is_empty() {
        let round = pool.batch(jobs, run).retry(RetryPolicy::never());
        // The barrier: this returns once the longest job of the round has ended.
        let (succeeded, failed) = round.run().into_parts();
        settled.extend(succeeded);
        jobs = failed
            .into_iter()
            .filter_map(Completion::into_input)
            .collect();
    }
    settled
}

fn in_one_batch(pool: &RetryPool) -> Succeeded {
    let policy = RetryPolicy::immediate().max_attempts(10);
    let report = pool.batch(jobs(), run).retry(policy).run();
    report.into_parts().0
}

fn jobs() -> Vec<Job> {
    let job = |name, units, failures| Job {
        name,
        units,
        failures,
        attempts: RefCell::default(),
    };
    vec![job('A', 1, 9), job('B', 100, 0)]
}

fn run(job: &Job) -> Result<(char, Attempts), &'static str> {
    let start = Instant::now();
    thread::sleep(UNIT * job.units);
    job.attempts.borrow_mut().push(start..Instant::now());
    if job.attempts.borrow().len() <= job.failures {
        return Err("a scripted failure");
    }
    Ok((job.name, job.attempts.take()))
}

fn show(pool: &RetryPool, work: fn(&RetryPool) -> Succeeded) {
    let begun = Instant::now();
    let jobs: BTreeMap<_, _> = work(pool).into_iter().map(|(_, job)| job).collect();
    for (name, attempts) in &jobs {
        println!("{name} {}", timeline(attempts, begun));
    }
    for (name, attempts) in &jobs {
        let settled = attempts.last().map_or(0.0, |last| units(last.end - begun));
        println!("{name} settled after {settled:.1} units");
    }
}

fn timeline(attempts: &[Range<Instant>], begun: Instant) -> String {
    let column = |at: Instant| units(at - begun).round() as usize;
    let mut line = String::new();
    for (attempt, left) in attempts.iter().zip((0..attempts.len()).rev()) {
        let (start, end) = (column(attempt.start), column(attempt.end));
        line += &".".repeat(start.saturating_sub(line.len()));
        line += &"=".repeat(end.saturating_sub(line.len() + 1));
        line.push(if left > 0 { 'x' } else { '#' });
    }
    line
}

fn units(time: Duration) -> f64 {
    time.div_duration_f64(UNIT)
}
