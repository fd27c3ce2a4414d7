//! Does a single job get its share while batches run?

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use super::latency::quantile;
use super::{Case, Metrics, metrics};
use crate::contestants::Contestant;

/// Between the end of a single job and the next one.
const PAUSE: Duration = Duration::from_micros(500);

pub fn ask(contestant: &Contestant, case: &Case) -> Metrics {
    let pool = contestant.open.expect("it runs batches")(case.threads);
    let batch = || pool.batch(case.work, case.jobs);
    let alone = batch() + batch();

    let over = AtomicBool::new(false);
    let (mixed, mut singles) = thread::scope(|scope| {
        let singles = scope.spawn(|| {
            let mut times = Vec::new();
            // ORDERING: a signal to stop soon; nothing is read by way of it.
            while !over.load(Relaxed) {
                let begun = Instant::now();
                pool.one();
                times.push(begun.elapsed());
                thread::sleep(PAUSE);
            }
            times
        });
        let begun = Instant::now();
        let batches = [scope.spawn(batch), scope.spawn(batch)];
        for batch in batches {
            batch.join().expect("it ends");
        }
        let mixed = begun.elapsed();
        // ORDERING: see above.
        over.store(true, Relaxed);
        (mixed, singles.join().expect("it ends"))
    });
    singles.sort_unstable();
    metrics([
        ("p50_us", quantile(&singles, 0.5)),
        ("p99_us", quantile(&singles, 0.99)),
        ("max_us", quantile(&singles, 1.0)),
        ("singles", singles.len() as f64),
        ("slowdown", mixed.as_secs_f64() / alone.as_secs_f64()),
    ])
}
