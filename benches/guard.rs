//! The hot paths that `scripts/bench-guard` counts the instructions of, each by its name: `guard PATH JOBS`. Without a path, every one of
//! them with a few jobs, to see that it runs.
//!
//! A count can be repeated only if nobody spins in wait of somebody else. So one worker and the caller work by turns: the worker is held
//! while jobs are queued, the caller sleeps while they run, and results are taken when all are there. What does not grow with the
//! jobs is left out by the difference between so many and twice as many.

use std::cell::Cell;
use std::env;
use std::iter::{Empty, empty};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use retry_pool::{Batch, Completion, RetryPolicy, RetryPool, Verdict};

/// Longer than it takes to park all, on a simulated processor.
const PARKED: Duration = Duration::from_secs(3);
/// By which the due times differ, and the timer is done with them.
const MARGIN: Duration = Duration::from_millis(500);

/// A name, and what takes it for so many jobs.
type HotPath = (&'static str, fn(u64));

const PATHS: [HotPath; 5] = [
    ("batch", batch),
    ("submit-and-wait", submit_and_wait),
    ("retry-at-once", retry_at_once),
    ("park-and-fire", park_and_fire),
    ("cancel-queued", cancel_queued),
];

fn main() {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let asked = |path: &&HotPath| arguments.first().is_some_and(|name| name == path.0);
    match PATHS.iter().find(asked) {
        Some((_, take)) => take(arguments[1].parse().expect("a number of jobs")),
        None => PATHS.iter().for_each(|(_, take)| take(10)),
    }
}

/// Opened once. Who waits for it sleeps at once.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let closed = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(closed, |open| !*open).unwrap());
    }
}

/// A pool whose one worker is held, and the gate that lets it go.
fn held_pool() -> (RetryPool, Gate) {
    let pool = RetryPool::with_threads(1);
    let (held, gate) = (Gate::default(), Gate::default());
    hold(&pool, &held, &gate);
    held.wait();
    (pool, gate)
}

/// Has a worker wait for the gate, once it comes to that.
fn hold(pool: &RetryPool, held: &Gate, gate: &Gate) {
    let (held, gate) = (held.clone(), gate.clone());
    drop(pool.submit(move || {
        held.open();
        gate.wait();
        Ok::<_, ()>(())
    }));
}

/// Lets the worker go, and sleeps until it has come to the end of the single jobs, which begin in their order.
fn run_what_is_queued(pool: &RetryPool, gate: &Gate) {
    let over = Gate::default();
    let told = over.clone();
    drop(pool.submit(move || {
        told.open();
        Ok::<_, ()>(())
    }));
    gate.open();
    over.wait();
}

/// So many jobs of a batch: all are queued, then run, then yielded.
fn batch(jobs: u64) {
    run_batch(jobs, false);
}

/// The same, and each fails once.
fn retry_at_once(jobs: u64) {
    run_batch(jobs, true);
}

fn run_batch(jobs: u64, each_fails: bool) {
    let (pool, gate) = held_pool();
    let over = Gate::default();
    let batch = pool.batch(empty(), job(jobs, [&Gate::default(), &over]));
    let batch = batch.retry(RetryPolicy::immediate());
    let completed = feed(batch, jobs, each_fails);
    gate.open();
    over.wait();
    assert_eq!(completed.count() as u64, jobs);
}

/// The number of the job, and whether it fails.
type Input = (u64, Cell<bool>);

/// Queues all at once, by a channel: an iterator is pulled in bites whose size depends on the time.
fn feed<F>(
    batch: Batch<'static, Empty<Input>, F, (), ()>,
    jobs: u64,
    each_fails: bool,
) -> impl Iterator<Item = Completion<Input, (), ()>>
where
    F: Fn(&Input) -> Result<(), ()> + Send + Sync + 'static,
{
    let (sender, completed) = batch.window(usize::MAX).channel();
    for n in 0..jobs {
        sender.send((n, Cell::new(each_fails))).unwrap();
    }
    completed
}

/// Fails where it is told to. The last one opens the first gate at its failure, and the second one at its success.
fn job(
    jobs: u64,
    [failed, over]: [&Gate; 2],
) -> impl Fn(&Input) -> Result<(), ()> + Send + Sync + use<> {
    let (failed, over) = (failed.clone(), over.clone());
    move |(n, fails)| {
        let (gate, outcome) = if fails.take() {
            (&failed, Err(()))
        } else {
            (&over, Ok(()))
        };
        if n + 1 == jobs {
            gate.open();
        }
        outcome
    }
}

/// So many single jobs: all are submitted, then run, then waited for.
fn submit_and_wait(jobs: u64) {
    let (pool, gate) = held_pool();
    let submit = |_| pool.submit(|| Ok::<_, ()>(()));
    let handles: Vec<_> = (0..jobs).map(submit).collect();
    run_what_is_queued(&pool, &gate);
    for handle in handles {
        handle.wait().unwrap();
    }
}

/// So many jobs that fail once and come due at about the same time: all are parked, then fired, then run, then yielded.
fn park_and_fire(jobs: u64) {
    let (pool, gate) = held_pool();
    let (parked, over) = (Gate::default(), Gate::default());
    let due = Instant::now() + PARKED;
    let batch = pool.batch(empty(), job(jobs, [&parked, &over]));
    let batch = batch.retry(RetryPolicy::fixed(Duration::from_millis(1)));
    let until_due =
        move |_: &()| Verdict::RetryAfter(due.saturating_duration_since(Instant::now()));
    let completed = feed(batch.classify(until_due), jobs, true);
    gate.open();
    parked.wait();
    // Held again, so that the timer works alone.
    let (held, again) = (Gate::default(), Gate::default());
    hold(&pool, &held, &again);
    held.wait();
    thread::sleep((due + MARGIN).saturating_duration_since(Instant::now()));
    again.open();
    over.wait();
    assert_eq!(completed.count() as u64, jobs);
}

/// So many single jobs that are cancelled while they are queued.
fn cancel_queued(jobs: u64) {
    let (pool, gate) = held_pool();
    let submit = |_| pool.submit(|| Ok::<_, ()>(()));
    let handles: Vec<_> = (0..jobs).map(submit).collect();
    for handle in &handles {
        assert!(handle.cancel());
    }
    drop(handles);
    run_what_is_queued(&pool, &gate);
}
