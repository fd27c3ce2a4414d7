//! How much memory does a job take that waits in the queue?

use std::time::Instant;

use crossbeam_channel::bounded;

use super::{Case, Metrics, metrics};
use crate::contestants::{Contestant, Open};
use crate::usage::{peak_resident, resident};

pub fn ask(contestant: &Contestant, case: &Case) -> Metrics {
    let pool = contestant.open.expect("it runs jobs")(case.threads);
    measure(case, &*pool, |jobs| pool.queue(jobs))
}

pub fn ask_with_handles(contestant: &Contestant, case: &Case) -> Metrics {
    let pool = contestant.open_with_handles.expect("it has handles")(case.threads);
    measure(case, &*pool, |jobs| pool.queue_with_handles(jobs))
}

fn measure(case: &Case, pool: &dyn Open, queue: impl Fn(u64)) -> Metrics {
    let (begun, begins) = bounded(0);
    // Held until the process ends.
    let (gate, closed) = bounded::<()>(0);
    for _ in 0..case.threads {
        let (begun, closed) = (begun.clone(), closed.clone());
        pool.run(Box::new(move || {
            begun.send(()).expect("the caller waits");
            let _ = closed.recv();
        }));
    }
    begins.iter().take(case.threads).for_each(drop);
    let before = resident();
    let started = Instant::now();
    queue(case.jobs);
    let took = started.elapsed();
    let grown = peak_resident() - before;
    std::mem::forget(gate);
    metrics([
        ("bytes", grown / case.jobs as f64),
        ("ns", took.as_secs_f64() * 1e9 / case.jobs as f64),
    ])
}
