//! Cancelling a job that waits: how soon it has settled, and what the pool still holds of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Live, at_best, await_worker, gate, ms, pool};
use retry_pool::{GiveUpReason, JobHandle, RetryPolicy, RetryPool};

const HOUR: Duration = Duration::from_secs(3_600);

/// Jobs that wait, each with a capture that is counted.
fn waiting(pool: &RetryPool, delay: Duration, live: &Live) -> Vec<JobHandle<(), ()>> {
    let submit = |_| {
        let held = live.clone();
        let job = pool.job(move || {
            let _ = &held;
            Ok(())
        });
        job.delay(delay).submit()
    };
    (0..20_000).map(submit).collect()
}

/// The time that 999 of 1000 cancels take at most, each of them looked at when it is over.
fn time_of_cancels(handles: Vec<JobHandle<(), ()>>, live: &Live) -> Duration {
    let mut times = Vec::with_capacity(handles.len());
    for handle in handles {
        let before = live.others();
        let begun = Instant::now();
        assert!(handle.cancel() && handle.is_settled());
        times.push(begun.elapsed());
        assert_eq!(live.others(), before - 1);
        let give_up = handle.wait().unwrap_err();
        assert_eq!(give_up.reason(), GiveUpReason::Cancelled);
    }
    times.sort_unstable();
    times[times.len() * 999 / 1_000]
}

#[test]
fn a_job_that_waits_settles_and_is_freed_within_a_millisecond_of_its_cancel() {
    let live = Live::new();
    let pool = pool(1);
    let (gate, keeper) = gate();
    let held = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    for delay in [Duration::ZERO, HOUR] {
        let time = at_best(ms(1), || {
            time_of_cancels(waiting(&pool, delay, &live), &live)
        });
        assert!(time <= ms(1), "{time:?} where jobs wait for {delay:?}");
    }
    keeper.let_through(1);
    held.wait().unwrap();
}

/// What the pool may keep of cancelled jobs besides as many as still wait.
const REST: usize = 64;

#[test]
fn what_the_timer_keeps_of_cancelled_jobs_is_no_more_than_what_waits() {
    const WAITING: usize = 1_000;
    let (rounds, jobs) = (10, 100_000);
    let live = Live::new();
    let pool = pool(1);
    let hourly = RetryPolicy::fixed(HOUR);
    let parked = |count: usize| {
        let park = |_| {
            let error = live.clone();
            let fail = move || Err::<(), _>(error.clone());
            pool.job(fail).retry(hourly.clone()).submit()
        };
        let handles: Vec<_> = (0..count).map(park).collect();
        await_worker(&pool);
        handles
    };
    let others = parked(WAITING);
    for _ in 0..rounds {
        for handle in parked(jobs) {
            assert!(handle.cancel());
        }
        // Those that wait have a function and an error each.
        let dead = live.others() - 2 * WAITING;
        assert!(dead <= WAITING + REST, "{dead} errors are left");
    }
    others
        .into_iter()
        .for_each(|handle| assert!(handle.cancel()));
    assert!(live.others() <= REST, "{} errors are left", live.others());
}

#[test]
fn the_jobs_of_a_batch_are_freed_by_its_cancel() {
    let live = Live::new();
    let pool = pool(1);
    let failed = Arc::new(AtomicUsize::new(0));
    let (input, error, counter) = (live.clone(), live.clone(), Arc::clone(&failed));
    let inputs = (0..10_000).map(move |_| input.clone());
    let fail = move |_: &Live| {
        counter.fetch_add(1, Ordering::SeqCst);
        Err::<(), _>(error.clone())
    };
    let mut batch = pool
        .batch(inputs, fail)
        .retry(RetryPolicy::fixed(HOUR))
        .window(10_000)
        .as_completed();
    while failed.load(Ordering::SeqCst) < 10_000 {
        assert!(batch.next_timeout(ms(1)).is_err());
    }
    await_worker(&pool);
    assert_eq!(live.others(), 2 + 2 * 10_000);
    drop(batch);
    assert_eq!(live.others(), 0);
}
