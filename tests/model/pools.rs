//! The pools and jobs of the scenarios.

use std::time::Duration;

use crate::explore::thread;
use retry_pool::{Attempt, CancelToken, RetryPolicy, RetryPool, RetryPoolBuilder};

/// In the model any time that somebody waits for may pass at once.
pub(crate) const LATER: Duration = Duration::from_millis(1);

/// A pool without anything random, whose jobs have two attempts.
pub(crate) fn builder(threads: usize) -> RetryPoolBuilder {
    let policy = RetryPolicy::immediate().max_attempts(2);
    RetryPool::builder()
        .threads(threads)
        .jitter_seed(1)
        .retry(policy)
}

pub(crate) fn pool(threads: usize) -> RetryPool {
    builder(threads).build().unwrap()
}

/// Fails at the first attempt.
pub(crate) fn second_time_lucky() -> Result<u32, ()> {
    match Attempt::current().number() {
        1 => Err(()),
        n => Ok(n),
    }
}

pub(crate) fn lucky() -> Result<u32, ()> {
    Ok(Attempt::current().number())
}

/// Nothing is left over, and each job was counted as it ended.
pub(crate) fn assert_settled(pool: &RetryPool, succeeded: u64, gave_up: u64) {
    let stats = pool.stats();
    assert_eq!((stats.succeeded(), stats.gave_up()), (succeeded, gave_up));
    assert_eq!(stats.accepted(), succeeded + gave_up);
}

/// Runs until the gate is opened, whatever its own token says.
pub(crate) fn hangs_until(gate: &CancelToken) -> impl Fn() -> Result<(), ()> + Send + Sync + use<> {
    let gate = gate.clone();
    move || {
        while !gate.is_cancelled() {
            thread::yield_now();
        }
        Ok(())
    }
}
