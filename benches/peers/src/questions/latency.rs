//! How long does one job take, when nothing else is to be done?

use std::time::{Duration, Instant};

use super::{Case, Metrics, metrics};
use crate::contestants::Contestant;
use crate::work::spin;

/// Long enough for every worker to go to sleep.
const PAUSE: Duration = Duration::from_micros(100);

pub fn ask(contestant: &Contestant, case: &Case) -> Metrics {
    let one = one(contestant, case.threads);
    let measure = |pause: Duration| {
        (0..case.jobs).for_each(|_| one());
        let timed = |_| {
            spin(pause);
            let begun = Instant::now();
            one();
            begun.elapsed()
        };
        let mut times: Vec<_> = (0..case.jobs).map(timed).collect();
        times.sort_unstable();
        times
    };
    let (paused, back_to_back) = (measure(PAUSE), measure(Duration::ZERO));
    metrics([
        ("p50_us", quantile(&paused, 0.5)),
        ("p99_us", quantile(&paused, 0.99)),
        ("back_to_back_us", quantile(&back_to_back, 0.5)),
    ])
}

/// Runs one job and waits for it, by its handle where there are handles.
pub fn one(contestant: &Contestant, threads: usize) -> Box<dyn Fn()> {
    if let Some(open) = contestant.open_with_handles {
        let pool = open(threads);
        Box::new(move || pool.one())
    } else {
        let pool = contestant.open.expect("it runs jobs")(threads);
        Box::new(move || pool.one())
    }
}

/// Of sorted times, in microseconds.
pub fn quantile(sorted: &[Duration], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share) as usize;
    sorted
        .get(at.min(sorted.len().saturating_sub(1)))
        .map_or(f64::NAN, |time| time.as_secs_f64() * 1e6)
}
