//! Many jobs: what does each cost?

use std::time::Duration;

use super::{Case, Metrics, metrics};
use crate::contestants::Contestant;
use crate::usage::Usage;
use crate::work::{BUSY, NAP, Work};

/// As a batch.
pub fn ask(contestant: &Contestant, case: &Case) -> Metrics {
    let pool = contestant.open.expect("it runs batches")(case.threads);
    measure(case, |jobs| pool.batch(case.work, jobs))
}

/// With a handle for each.
pub fn ask_with_handles(contestant: &Contestant, case: &Case) -> Metrics {
    let pool = contestant.open_with_handles.expect("it has handles")(case.threads);
    measure(case, |jobs| pool.submit_and_wait(jobs))
}

fn measure(case: &Case, run: impl Fn(u64) -> Duration) -> Metrics {
    // Threads start, and memory comes from the system.
    run(case.jobs.div_ceil(10));
    let before = Usage::now();
    let took: Duration = (0..case.times).map(|_| run(case.jobs)).sum();
    let used = Usage::now().since(before);
    let seconds = took.as_secs_f64();
    let jobs = (case.jobs * case.times) as f64;
    let attempts = (case.work.attempts(case.jobs) * case.times) as f64;
    let mut figures = metrics([
        ("seconds", seconds),
        ("ns", seconds * 1e9 / attempts),
        ("cpu_ns", used.cpu_seconds * 1e9 / attempts),
        ("switches", used.context_switches / jobs),
    ]);
    if let Some(ideal) = ideal(case.work, case.threads) {
        figures.insert(
            "over_ideal".to_owned(),
            seconds / (ideal.as_secs_f64() * attempts),
        );
    }
    figures
}

/// What an attempt takes at least, beside the others.
fn ideal(work: Work, threads: usize) -> Option<Duration> {
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    match work {
        Work::Empty | Work::FailsOnce => None,
        Work::Busy => Some(BUSY.div_f64(threads.min(cores) as f64)),
        Work::Sleeps | Work::SleepsAndFails => Some(NAP.div_f64(threads as f64)),
    }
}
