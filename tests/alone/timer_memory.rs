//! A limit that is far away leaves nothing behind in the timer with each retry. One test, since it looks at the size of the process.
#![cfg(target_os = "linux")]

use crate::common::{ms, resident};
use retry_pool::{RetryPolicy, RetryPool};
use std::time::Duration;

#[test]
fn the_timer_keeps_nothing_of_retries_that_are_over() {
    let grown = |limited: bool| {
        let pool = RetryPool::with_threads(1);
        let policy = RetryPolicy::fixed(Duration::from_micros(20)).unlimited();
        let mut batch = pool.batch(0..1, |_| Err::<(), ()>(())).retry(policy);
        if limited {
            batch = batch.timeout(Duration::from_secs(3_600));
        }
        let mut batch = batch.as_completed();
        assert!(batch.next_timeout(ms(300)).is_err());
        let (before, retries) = (resident(), pool.stats().retries());
        assert!(batch.next_timeout(ms(2_000)).is_err());
        assert!(pool.stats().retries() - retries > 1_000);
        resident().saturating_sub(before)
    };
    grown(false);
    let grown = grown(true);
    assert!(grown < 100_000, "grew by {grown} bytes");
}
