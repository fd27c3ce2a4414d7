//! Hooks and observers run on a worker that may still have its batch's token, and may wait for other jobs as a job may.

use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, ThreadId};

use crate::common::{eventually, ms, pool};
use retry_pool::{GiveUpReason, JobEvent, Observer, RetryPolicy, RetryPool};

/// The regular worker of a pool of one.
fn worker(pool: &RetryPool) -> ThreadId {
    eventually("no spare is left", || pool.stats().spare_threads() == 0);
    let thread = pool.submit(|| Ok::<_, ()>(thread::current().id()));
    thread.wait().unwrap()
}

/// Waits for a job of the pool.
fn wait_for_another(pool: &Weak<RetryPool>) {
    let pool = pool.upgrade().unwrap();
    pool.submit(|| Ok::<_, ()>(())).wait().unwrap();
}

#[test]
fn a_hook_that_waits_takes_no_token_with_it() {
    let pool = Arc::new(pool(1));
    let before = worker(&pool);
    let weak = Arc::downgrade(&pool);
    let batch = pool.batch([1_u32], |n| if *n == 1 { Err(()) } else { Ok(()) });
    let batch = batch.retry(RetryPolicy::never());
    let mut completed = batch
        .on_give_up(move |_, _| wait_for_another(&weak))
        .as_completed();
    assert!(completed.next().is_some_and(|done| done.result().is_err()));
    assert_eq!(worker(&pool), before, "the worker has died of it");
    // Its batch still finds workers.
    completed.add(2);
    let next = completed
        .next_timeout(ms(10_000))
        .expect("it finds a worker");
    assert!(next.is_some_and(|done| done.result().is_ok()));
}

#[test]
fn hooks_that_wait_in_a_narrow_window_lose_nothing() {
    let pool = Arc::new(pool(2));
    let weak = Arc::downgrade(&pool);
    let batch = pool.batch(0..1_000_u32, |n| match n % 50 {
        49 => Err(()),
        _ => Ok(()),
    });
    let batch = batch.retry(RetryPolicy::never()).window(8);
    let mut completed = batch
        .on_give_up(move |_, _| wait_for_another(&weak))
        .as_completed();
    let failed = completed.by_ref().filter(|done| done.result().is_err());
    assert_eq!(failed.count(), 20);
    completed.extend(0..100);
    assert_eq!(completed.by_ref().count(), 100);
    // The jobs of the batch, and one for each of its hooks.
    let stats = pool.stats();
    assert_eq!((stats.accepted(), stats.unsettled()), (1_100 + 22, 0));
}

/// Waits for a job of its pool whenever a job of a batch ends.
#[derive(Clone, Default)]
struct Waits(Arc<OnceLock<Weak<RetryPool>>>);

impl Observer for Waits {
    fn job_settled(&self, event: &JobEvent<'_>, _result: Result<(), GiveUpReason>) {
        if let (Some(pool), Some(_)) = (self.0.get(), event.batch()) {
            wait_for_another(pool);
        }
    }
}

#[test]
fn an_observer_that_waits_at_capacity_one_lets_the_batch_go_on() {
    let observer = Waits::default();
    let builder = RetryPool::builder().threads(1).capacity(1);
    let pool = Arc::new(builder.observer(observer.clone()).build().unwrap());
    observer.0.set(Arc::downgrade(&pool)).unwrap();
    let before = worker(&pool);
    let policy = RetryPolicy::immediate().max_attempts(2);
    let batch = pool.batch(0..200_u32, |n| match n % 10 {
        0 => Err(()),
        _ => Ok(()),
    });
    let report = batch.retry(policy).run();
    let counts = (report.succeeded().len(), report.gave_up().len());
    assert_eq!(counts, (180, 20));
    assert_eq!(worker(&pool), before, "the worker has died of it");
    assert_eq!(pool.stats().unsettled(), 0);
}
