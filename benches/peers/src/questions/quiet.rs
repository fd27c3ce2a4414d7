//! What does a pool use that has little or nothing to do?

use std::thread;
use std::time::{Duration, Instant};

use super::{Case, Metrics, latency, metrics};
use crate::contestants::Contestant;
use crate::usage::Usage;

/// One job each millisecond.
pub fn trickle(contestant: &Contestant, case: &Case) -> Metrics {
    let one = latency::one(contestant, case.threads);
    (0..100).for_each(|_| one());
    let (before, begun) = (Usage::now(), Instant::now());
    for n in 1..=case.jobs {
        one();
        thread::sleep(Duration::from_millis(n).saturating_sub(begun.elapsed()));
    }
    let used = Usage::now().since(before);
    let jobs = case.jobs as f64;
    metrics([
        ("cpu_us", used.cpu_seconds * 1e6 / jobs),
        ("switches", used.context_switches / jobs),
    ])
}

/// No job for as many seconds as the case has jobs.
pub fn idle(contestant: &Contestant, case: &Case) -> Metrics {
    let pool = contestant.open.expect("it runs batches")(case.threads);
    pool.batch(case.work, 100);
    thread::sleep(Duration::from_secs(1));
    let before = Usage::now();
    thread::sleep(Duration::from_secs(case.jobs));
    let used = Usage::now().since(before);
    // The caller's own sleep.
    let switches = (used.context_switches - 1.0).max(0.0);
    let seconds = case.jobs as f64;
    metrics([
        ("wakeups", switches / seconds),
        ("cpu_ms", used.cpu_seconds * 1e3 / seconds),
    ])
}
