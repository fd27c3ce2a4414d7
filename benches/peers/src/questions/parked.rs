//! What does it cost to let jobs wait for their retry?

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};

use super::{Case, Metrics, metrics};
use crate::contestants::{Attempts, Contestant};
use crate::usage::{Usage, peak_resident, resident};

/// Longer than it takes to park all, or else the two halves cannot be told apart.
const DELAY: Duration = Duration::from_secs(5);

pub fn ask(contestant: &Contestant, case: &Case) -> Metrics {
    let attempts: &'static Attempts = Box::leak(Box::default());
    let park = contestant.park.expect("it can park");
    park(1, Duration::from_millis(1), attempts);
    wait_for(&attempts.second, 1);

    let (base, before, begun) = (resident(), Usage::now(), Instant::now());
    park(case.jobs, DELAY, attempts);
    wait_for(&attempts.first, case.jobs + 1);
    let (parked_in, parked_cpu) = (begun.elapsed(), Usage::now().since(before).cpu_seconds);
    assert!(
        parked_in < DELAY,
        "too slow to tell parking from firing: {parked_in:?}"
    );

    // What was begun is ended, and then nothing is to be done until the first is due.
    thread::sleep(Duration::from_millis(100));
    let bytes = peak_resident() - base;
    let (idle, idle_begun) = (Usage::now(), Instant::now());
    thread::sleep((DELAY - Duration::from_millis(50)).saturating_sub(begun.elapsed()));
    let idle_cpu = Usage::now().since(idle).cpu_seconds / idle_begun.elapsed().as_secs_f64();

    thread::sleep(DELAY.saturating_sub(begun.elapsed()));
    let (firing, fired) = (Usage::now(), Instant::now());
    wait_for(&attempts.second, case.jobs + 1);
    let fired_in = fired.elapsed();
    let cpu = parked_cpu + Usage::now().since(firing).cpu_seconds;

    let each = 1e9 / case.jobs as f64;
    metrics([
        ("cpu_ns", cpu * each),
        ("park_ns", parked_in.as_secs_f64() * each),
        ("fire_ns", fired_in.as_secs_f64() * each),
        ("bytes", bytes / case.jobs as f64),
        ("idle_cpu_percent", idle_cpu * 100.0),
    ])
}

/// Looks each millisecond, which disturbs less than to be told by each job.
fn wait_for(count: &AtomicU64, jobs: u64) {
    // ORDERING: a count; nothing is read by way of it.
    while count.load(Relaxed) < jobs {
        thread::sleep(Duration::from_millis(1));
    }
}
