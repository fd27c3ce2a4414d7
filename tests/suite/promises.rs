//! The guarantees of the crate's documentation, each by its name there. The other test files go into their corners.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{Live, eventually, gate, ms, pool};
use retry_pool::{
    Attempt, AttemptError, CancelToken, GiveUpReason, JobHandle, RetryPolicy, RetryPool,
};

#[test]
fn every_guarantee_of_the_crate_docs_has_a_test_of_its_name() {
    let read = |file: &str| {
        std::fs::read_to_string(format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let (docs, tests) = (read("src/lib.rs"), read("tests/suite/promises.rs"));
    let headings: Vec<String> = docs
        .lines()
        .filter_map(|line| line.strip_prefix("//! ## "))
        .map(|heading| heading.to_lowercase().replace(' ', "_"))
        .collect();
    assert_eq!(headings.len(), 12);
    for heading in headings {
        assert!(
            tests.contains(&format!("#[test]\nfn {heading}()")),
            "no test {heading}"
        );
    }
}

#[test]
fn every_accepted_job_settles_exactly_once() {
    let pool = pool(3);
    let mut seen = HashSet::new();
    let run = |n: &u32| match n % 4 {
        0 => Ok(*n),
        1 if Attempt::current().number() == 2 => Ok(*n),
        2 => panic!("two"),
        _ => Err(()),
    };
    let handles: Vec<JobHandle<u32, ()>> = (0..100).map(|n| pool.submit(move || run(&n))).collect();
    for done in pool.batch(0..1_000, run) {
        assert!(seen.insert(*done.input()));
    }
    handles.into_iter().for_each(|handle| drop(handle.wait()));
    drop(pool.batch(0.., run).as_completed().next());
    pool.shutdown();
    let stats = pool.stats();
    assert_eq!(seen.len(), 1_000);
    assert_eq!(stats.accepted(), stats.succeeded() + stats.gave_up());
    assert_eq!(stats.unsettled(), 0);
}

#[test]
fn a_retry_never_waits_for_another_job_to_finish() {
    let pool = pool(2);
    let (gate, keeper) = gate();
    let run = move |held: &bool| match Attempt::current().number() {
        _ if *held => {
            gate.pass();
            Ok(1)
        }
        n if n < 10 => Err(()),
        n => Ok(n),
    };
    let batch = pool
        .batch([true, false], run)
        .retry(RetryPolicy::immediate().max_attempts(10));
    let mut batch = batch.as_completed();
    // All ten attempts of the second job happen while the first one runs.
    let done = batch.next().unwrap();
    assert_eq!((*done.input(), done.into_result().unwrap()), (false, 10));
    keeper.await_arrivals(1);
    keeper.let_through(1);
    assert!(batch.next().is_some());
}

#[test]
fn no_worker_ever_blocks_on_a_queue_of_the_pool() {
    // Windows of one and a consumer that does not look: retries go on all the same.
    let pool = pool(2);
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let mut batch = pool
        .batch(0.., move |_: &u32| {
            counter.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_micros(100));
            Err::<(), _>(())
        })
        .retry(RetryPolicy::immediate().max_attempts(4))
        .window(1)
        .as_completed();
    for jobs in 1..=50 {
        assert_eq!(batch.next().unwrap().attempts(), 4);
        // While the consumer is away, the pool is free for others.
        assert!(pool.submit(|| Ok::<_, ()>(())).wait().is_ok());
        assert!(calls.load(Ordering::SeqCst) <= (jobs + 1) * 4);
    }
}

#[test]
fn no_worker_ever_sleeps_for_a_backoff() {
    let pool = RetryPool::with_threads(1);
    let hourly = RetryPolicy::fixed(Duration::from_secs(3_600));
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let fail = move |_: &u32| {
        counter.fetch_add(1, Ordering::SeqCst);
        Err::<(), _>(())
    };
    let mut batch = pool
        .batch(0..10_000, fail)
        .retry(hourly)
        .window(10_000)
        .as_completed();
    while calls.load(Ordering::SeqCst) < 10_000 {
        assert!(batch.next_timeout(ms(1)).is_err());
    }
    // The one worker is free.
    pool.submit(|| Ok::<_, ()>(())).wait().unwrap();
    assert_eq!(batch.progress().gave_up(), 0);
    let begun = Instant::now();
    batch.cancel();
    assert_eq!(batch.filter(|done| done.attempts() == 1).count(), 10_000);
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_panic_is_an_error_value() {
    let pool = pool(1);
    let handle = pool
        .job(|| -> Result<(), ()> { panic!("out of {}", std::env::consts::OS) })
        .name("shop")
        .submit();
    let expected = format!("out of {}", std::env::consts::OS);
    let give_up = handle.wait().unwrap_err();
    assert_eq!(give_up.reason(), GiveUpReason::Panicked);
    let Some(AttemptError::Panicked(panic)) = give_up.into_last_error() else {
        unreachable!()
    };
    assert_eq!(
        (panic.message(), panic.job_name()),
        (&*expected, Some("shop"))
    );
    assert_eq!(
        *panic.into_payload().downcast::<String>().unwrap(),
        expected
    );
    assert_eq!(
        pool.submit(|| Ok::<_, ()>("alive")).wait().unwrap(),
        "alive"
    );
}

#[test]
fn memory_is_bounded() {
    let live = Live::new();
    let (input, result) = (live.clone(), live.clone());
    let pool = pool(2);
    let inputs = std::iter::from_fn(move || Some(input.clone()));
    let batch = pool
        .batch(inputs, move |_| Ok::<_, ()>(result.clone()))
        .window(10);
    for done in batch.as_completed().take(1_000) {
        drop(done);
        // The two templates, and an input and a result for each job of the window.
        assert!(live.others() <= 2 + 2 * 10);
    }
    pool.shutdown();
    assert_eq!(live.others(), 0);
}

#[test]
fn waiting_in_a_job_does_not_deadlock() {
    // One worker and room for one job: each job waits for the next, deeper and deeper.
    let pool = RetryPool::builder().threads(1).capacity(1).build().unwrap();
    let pool = Arc::new(pool);
    fn deeper(pool: &Arc<RetryPool>, depth: u32) -> Result<u32, ()> {
        if depth == 0 {
            return Ok(0);
        }
        let inner = Arc::clone(pool);
        let below = pool.submit(move || deeper(&inner, depth - 1));
        let sum: u32 = pool
            .batch(0..3u32, |n| Ok::<_, ()>(*n))
            .as_completed()
            .map(|done| done.into_result().unwrap())
            .sum();
        Ok(below.wait().unwrap() + sum)
    }
    assert_eq!(deeper(&pool, 12), Ok(36));
    assert_eq!(pool.stats().unsettled(), 0);
}

#[test]
fn cancelling_is_cooperative_and_complete() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let token = CancelToken::new();
    let run = move |n: &u32| match n {
        0 => {
            gate.pass();
            Ok(Attempt::current().is_cancelled())
        }
        _ => Err(()),
    };
    let batch = pool
        .batch(0..5, run)
        .retry(RetryPolicy::fixed(Duration::from_secs(3600)));
    let mut batch = batch.cancel_token(token.clone()).as_completed();
    while batch.progress().accepted() < 5 {
        assert!(batch.next_timeout(ms(1)).is_err());
    }
    keeper.await_arrivals(1);
    let queued = pool.submit(|| Ok::<_, ()>(()));
    token.cancel();
    assert!(queued.cancel());
    // All but the running one are out before it has returned.
    for _ in 0..4 {
        let done = batch.next().unwrap();
        assert_eq!(
            done.into_result().unwrap_err().reason(),
            GiveUpReason::Cancelled
        );
    }
    assert_eq!(queued.wait().unwrap_err().reason(), GiveUpReason::Cancelled);
    keeper.let_through(1);
    assert_eq!(
        batch.next().map(|done| done.into_result().unwrap()),
        Some(true)
    );
    assert!(batch.next().is_none());
    assert_eq!(pool.stats().retries(), 0);
}

#[test]
fn a_hung_attempt_cannot_take_the_pool_with_it() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let gate = Mutex::new(gate);
    let run = move || match Attempt::current().number() {
        1 => {
            gate.lock().unwrap().pass();
            Ok("late")
        }
        _ => Ok::<_, ()>("in time"),
    };
    let job = pool.job(run).attempt_timeout(ms(20));
    let handle = job.retry(RetryPolicy::immediate()).submit();
    assert_eq!(handle.wait().unwrap(), "in time");
    // One that looks after what comes due may be on its way out.
    eventually("one takes its place", || {
        (pool.stats().stuck_threads(), pool.stats().spare_threads()) == (1, 1)
    });
    assert_eq!(pool.submit(|| Ok::<_, ()>(7)).wait().unwrap(), 7);
    keeper.let_through(1);
    while pool.stats().stuck_threads() + pool.stats().spare_threads() > 0 {
        std::thread::yield_now();
    }
    assert_eq!(pool.stats().succeeded(), 2);
}

#[test]
fn drop_joins() {
    let calls = Arc::new(AtomicUsize::new(0));
    let pool = RetryPool::with_threads(2);
    let handles: Vec<_> = (0..20)
        .map(|_| {
            let calls = Arc::clone(&calls);
            pool.job(move || {
                calls.fetch_add(1, Ordering::SeqCst);
                Err::<(), _>(())
            })
            .retry(RetryPolicy::fixed(ms(1)))
            .submit()
        })
        .collect();
    drop(pool);
    assert_eq!(calls.load(Ordering::SeqCst), 60);
    assert!(handles.iter().all(JobHandle::is_settled));
}

#[test]
fn huge_values_are_safe() {
    let pool = pool(1);
    let policy = RetryPolicy::exponential(Duration::MAX)
        .max_retries(u32::MAX)
        .max_delay(Duration::MAX);
    let parked = pool.job(|| Err::<(), _>(())).retry(policy).submit();
    let batch = pool.batch(0u64.., |n| Ok::<_, ()>(*n)).window(usize::MAX);
    assert_eq!(batch.as_completed().take(1_000).count(), 1_000);
    let parked = parked.wait_timeout(ms(1)).unwrap_err();
    assert_eq!(pool.shutdown_timeout(ms(1)).gave_up(), 1);
    assert!(parked.wait_timeout(Duration::MAX).unwrap().is_err());
}

/// Calls the pool when it is dropped, which would not return if the pool held a lock.
struct Meddler(Arc<Mutex<Option<Arc<RetryPool>>>>);

impl Drop for Meddler {
    fn drop(&mut self) {
        let pool = self.0.lock().unwrap().clone();
        if let Some(pool) = pool {
            let _ = (
                pool.stats(),
                format!("{pool:?}"),
                pool.submit(|| Ok::<_, ()>(())),
            );
        }
    }
}

#[test]
fn no_user_code_runs_under_a_lock() {
    let shared = Arc::new(pool(2));
    let slot = Arc::new(Mutex::new(Some(Arc::clone(&shared))));
    let meddler = || Meddler(Arc::clone(&slot));
    let captured = meddler();
    let (inner, slot_of_jobs) = (Arc::clone(&shared), Arc::clone(&slot));
    let input = std::iter::from_fn(|| {
        let _ = inner.stats();
        Some(meddler())
    });
    let run = move |_: &Meddler| {
        let _ = &captured;
        if Attempt::current().number() == 1 {
            Err(Meddler(Arc::clone(&slot_of_jobs)))
        } else {
            Ok(())
        }
    };
    let batch = shared
        .batch(input.take(100).collect::<Vec<_>>(), run)
        .window(10);
    let batch = batch.name(|meddler| {
        format!(
            "{:?}",
            meddler.0.lock().unwrap().as_ref().map(|pool| pool.stats())
        )
    });
    let mut batch = batch
        .retry_if(|meddler| meddler.0.lock().is_ok())
        .as_completed();
    batch.by_ref().take(50).for_each(drop);
    batch.cancel();
    drop(batch);
    let handle = shared.submit({
        let captured = meddler();
        move || {
            let _ = &captured;
            Ok::<_, ()>(())
        }
    });
    handle.wait().unwrap();
    slot.lock().unwrap().take();
}
