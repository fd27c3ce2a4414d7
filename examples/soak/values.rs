//! What lives and what has run, counted by the jobs themselves.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicUsize, Ordering};

use crate::round::ROUND;
use crate::watch::deviation;

/// Inputs, results, errors and payloads are of this type: the number of a job, and a count of those that live.
#[derive(Debug)]
pub(crate) struct Guarded(pub(crate) u64);

impl Guarded {
    pub(crate) fn new(n: u64) -> Self {
        count(1);
        Self(n)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        count(-1);
    }
}

/// A count on cache lines of its own.
#[derive(Default)]
#[repr(align(128))]
struct Padded(AtomicI64);

/// Threads share these counts only if there are many of them: the sum is what matters.
const SHARDS: usize = 16;
static LIVE: [Padded; SHARDS] = [const { Padded(AtomicI64::new(0)) }; SHARDS];
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: Cell<Option<usize>> = const { Cell::new(None) };
}

fn count(change: i64) {
    let shard = SHARD.get().unwrap_or_else(|| {
        let shard = THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS;
        SHARD.set(Some(shard));
        shard
    });
    LIVE[shard].0.fetch_add(change, Ordering::Relaxed);
}

pub(crate) fn live() -> i64 {
    LIVE.iter()
        .map(|count| count.0.load(Ordering::Relaxed))
        .sum()
}

/// How often each job of this round has run.
static RUNS: [AtomicU32; ROUND as usize] = [const { AtomicU32::new(0) }; ROUND as usize];

/// Counts an attempt, which ought to be this one.
pub(crate) fn count_run(n: u64, attempt: u32) {
    let runs = RUNS[(n % ROUND) as usize].fetch_add(1, Ordering::Relaxed) + 1;
    if runs != attempt {
        deviation(|| format!("job {n}: run {runs} is called attempt {attempt}"));
    }
}

/// How often a job has run, to be asked once it has settled.
pub(crate) fn take_runs(n: u64) -> u32 {
    RUNS[(n % ROUND) as usize].swap(0, Ordering::Relaxed)
}
