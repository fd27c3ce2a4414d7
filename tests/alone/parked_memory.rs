//! What a parked retry costs. One test, since it looks at the size of the process.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::resident;
use retry_pool::{RetryPolicy, RetryPool};

#[test]
fn a_million_parked_retries_cost_at_most_two_hundred_bytes_each() {
    const JOBS: usize = 1_000_000;
    let pool = RetryPool::with_threads(2);
    let before = resident();
    let failed = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&failed);
    let fail = move |_: &u32| {
        counter.fetch_add(1, Ordering::Relaxed);
        Err::<(), u32>(7)
    };
    let hourly = RetryPolicy::fixed(Duration::from_secs(3_600));
    let mut batch = pool
        .batch(0..JOBS as u32, fail)
        .retry(hourly)
        .window(JOBS)
        .as_completed();
    while failed.load(Ordering::Relaxed) < JOBS {
        assert!(batch.next_timeout(Duration::from_millis(20)).is_err());
    }
    pool.submit(|| Ok::<_, ()>(())).wait().unwrap();
    let each = resident().saturating_sub(before) / JOBS;
    println!("{each} bytes for each parked retry");
    assert!(each <= 200, "{each} bytes for each parked retry");
    batch.cancel();
    assert_eq!(batch.count(), JOBS);
}
