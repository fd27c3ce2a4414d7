//! The threads of a pool: their number, their names, and that none is left. One test, since it counts those of the process.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::common::{ms, pool, threads};
use retry_pool::{RetryPolicy, RetryPool};

fn of_pools() -> BTreeSet<String> {
    threads()
        .into_iter()
        .filter(|name| name.starts_with("rp-"))
        .map(|name| name.trim().to_owned())
        .collect()
}

fn named(threads: usize) -> RetryPool {
    RetryPool::builder()
        .threads(threads)
        .thread_name("rp")
        .build()
        .unwrap()
}

#[test]
fn a_pool_has_its_threads_and_leaves_none_behind() {
    let before = threads().len();

    // Blocked jobs, many more than workers, make no further threads; each worker has a name of its own.
    let pool_of_three = named(3);
    let barrier = Arc::new(Barrier::new(4));
    let held: Vec<_> = (0..3 * 15)
        .map(|n| {
            let barrier = Arc::clone(&barrier);
            pool_of_three.submit(move || {
                if n < 3 {
                    barrier.wait();
                    barrier.wait();
                }
                Ok::<_, ()>(())
            })
        })
        .collect();
    barrier.wait();
    // A thread names itself when it starts.
    let names = ["rp-0", "rp-1", "rp-2", "rp-timer"].map(String::from);
    until(|| of_pools() == names.clone().into());
    barrier.wait();
    drop(held);
    drop(pool_of_three);
    wait_for_exits(before);

    // With parked and queued jobs and a batch, each way to the end.
    for way in 0..3 {
        let pool = named(2);
        let hourly = RetryPolicy::fixed(Duration::from_secs(3_600));
        let parked = pool.job(|| Err::<(), _>(())).retry(hourly).submit();
        let mut batch = pool.batch(0.., |n| Ok::<_, ()>(*n)).as_completed();
        assert!(batch.next().is_some());
        match way {
            0 => pool.shutdown_now(),
            1 => pool.shutdown_timeout(ms(1)),
            _ => {
                pool.close();
                pool.shutdown_timeout(ms(1))
            }
        };
        drop(pool);
        assert!(parked.is_settled());
        wait_for_exits(before);
    }

    // A thread that the system refuses: those started before it are gone when `build` returns.
    for refused in [0, 1, 2, 3] {
        assert!(
            RetryPool::builder()
                .threads(refused)
                .stack_size(isize::MAX as usize)
                .build()
                .is_err()
        );
        wait_for_exits(before);
    }

    // A pool of many threads, dropped at once.
    drop(named(200));
    wait_for_exits(before);

    // A pool dropped by its own job ends, too, though nobody joins it.
    let shared = Arc::new(pool(2));
    let inner = Arc::clone(&shared);
    let last = shared.submit(move || {
        while Arc::strong_count(&inner) > 2 {
            std::thread::yield_now();
        }
        Ok::<_, ()>(())
    });
    drop(shared);
    let _ = last.wait();
    wait_for_exits(before);
}

/// A thread that was joined, too, needs a moment to leave the list of the kernel: its end is announced before.
fn wait_for_exits(before: usize) {
    until(|| threads().len() <= before);
}

fn until(done: impl Fn() -> bool) {
    let patience = std::time::Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(
            std::time::Instant::now() < patience,
            "there are: {:?}",
            threads()
        );
        std::thread::yield_now();
    }
}
