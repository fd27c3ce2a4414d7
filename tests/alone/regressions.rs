//! Faults that were found by attacking the pool, each as the property that it broke.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};
use std::{future::Future, pin::Pin, thread};

use crate::common::{Live, at_best, await_worker, gate, ms, pool};
use retry_pool::{GiveUpReason, RetryPolicy, RetryPool};

fn hourly() -> RetryPolicy {
    RetryPolicy::fixed(Duration::from_secs(3_600)).unlimited()
}

/// A destructor that panics.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a bomb");
    }
}

#[test]
fn workers_survive_batches_that_are_dropped_early() {
    let pool = pool(1);
    for round in 0..300 {
        let mut batch = pool
            .batch(0..200, |n| Ok::<_, ()>(*n))
            .window(64)
            .as_completed();
        for _ in 0..=round % 40 {
            assert!(
                batch
                    .next_timeout(Duration::from_secs(10))
                    .unwrap()
                    .is_some()
            );
        }
    }
}

#[test]
fn a_resubmitted_job_runs_though_nobody_iterates() {
    let pool = pool(2);
    let run = |_: &u32| Err::<(), _>("no");
    let mut batch = pool
        .batch(0..1, run)
        .retry(RetryPolicy::never())
        .as_completed();
    batch.next().unwrap().resubmit();
    pool.shutdown();
    assert_eq!(pool.stats().gave_up(), 2);
    assert_eq!(batch.next().unwrap().attempts(), 2);
}

#[test]
fn inputs_refused_while_the_pool_drains_do_not_hold_it_up() {
    for _ in 0..300 {
        let pool = pool(2);
        let go = Arc::new(AtomicBool::new(false));
        let held = Arc::clone(&go);
        let mut batch = pool
            .batch(std::iter::empty(), |n: &u32| Ok::<_, ()>(*n))
            .as_completed();
        let job = pool.submit(move || {
            while !held.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            Ok::<_, ()>(())
        });
        pool.close();
        thread::scope(|scope| {
            scope.spawn(|| pool.shutdown());
            go.store(true, Ordering::SeqCst);
            batch.extend(0..500);
        });
        assert!(job.wait().is_ok());
        assert_eq!(batch.count(), 500);
    }
}

#[test]
fn shutdown_waits_for_running_jobs_also_after_a_forced_one() {
    let pool = pool(2);
    let (gate, keeper) = gate();
    let running = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    assert_eq!(pool.shutdown_timeout(ms(1)).still_running(), 1);
    thread::scope(|scope| {
        let shutdown = scope.spawn(|| pool.shutdown());
        thread::sleep(ms(20));
        assert!(!shutdown.is_finished());
        keeper.let_through(1);
        assert_eq!(shutdown.join().unwrap().still_running(), 0);
    });
    assert!(running.is_settled());
}

/// Shuts the pool down when it is dropped or woken.
struct Closer(Weak<RetryPool>);

impl Closer {
    fn call(&self) {
        if let Some(pool) = self.0.upgrade() {
            pool.shutdown();
        }
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.call();
    }
}

impl Wake for Closer {
    fn wake(self: Arc<Self>) {
        self.call();
    }
}

#[test]
fn user_code_that_runs_in_a_shutdown_may_shut_down() {
    let pool = Arc::new(pool(1));
    let closer = Closer(Arc::downgrade(&pool));
    let parked = pool.job(move || {
        let _ = &closer;
        Err::<(), _>(())
    });
    let mut parked = parked.retry(hourly()).submit();
    await_worker(&pool);
    let waker = Waker::from(Arc::new(Closer(Arc::downgrade(&pool))));
    assert!(
        Pin::new(&mut parked)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    pool.shutdown_now();
    assert!(parked.is_settled());
}

thread_local! {
    static KEPT: RefCell<Option<Arc<RetryPool>>> = const { RefCell::new(None) };
}

#[test]
fn a_pool_may_be_dropped_by_a_thread_local_of_its_own_worker() {
    let pool = Arc::new(pool(2));
    let inner = Arc::clone(&pool);
    let kept = pool.submit(move || {
        KEPT.set(Some(Arc::clone(&inner)));
        Ok::<_, ()>(())
    });
    kept.wait().unwrap();
    let stats = pool.stats();
    pool.close();
    drop(pool);
    assert_eq!(stats.succeeded(), 1);
}

#[test]
fn a_forced_shutdown_reports_what_it_gave_up() {
    let pool = pool(1);
    let _parked: Vec<_> = (0..5)
        .map(|_| pool.job(|| Err::<(), _>(())).retry(hourly()).submit())
        .collect();
    await_worker(&pool);
    let report = pool.shutdown_now();
    assert_eq!((report.drained(), report.gave_up()), (0, 5));
}

#[test]
fn several_destructors_that_panic_in_one_batch_do_not_end_the_process() {
    let pool = pool(2);
    let (job, judge) = (Bomb, Bomb);
    let batch = pool.batch(0..50, move |_| {
        let _ = &job;
        Ok::<_, Bomb>(Bomb)
    });
    let batch = batch.retry_if(move |_| {
        let _ = &judge;
        true
    });
    let mut batch = batch.in_order();
    std::mem::forget(batch.next());
    drop(batch);
    let input = (0..3).map(|n| if n == 1 { None } else { Some(Bomb) });
    let report = pool.batch(input, |_| Ok::<_, ()>(())).run();
    assert_eq!(report.succeeded().len(), 3);
    pool.close();
    let (job, judge) = (Bomb, Bomb);
    let refused = pool.job(move || {
        let _ = &job;
        Err::<(), _>(())
    });
    let refused = refused.retry_if(move |()| {
        let _ = &judge;
        true
    });
    assert_eq!(
        refused.submit().wait().unwrap_err().reason(),
        GiveUpReason::Shutdown
    );
}

struct Slow(Duration);

impl Drop for Slow {
    fn drop(&mut self) {
        thread::sleep(self.0);
    }
}

#[test]
fn a_timed_shutdown_does_not_wait_for_a_slow_destructor() {
    let time = at_best(ms(300), || {
        let pool = pool(1);
        let (gate, keeper) = gate();
        drop(pool.submit(move || {
            gate.pass();
            Ok::<_, ()>(Slow(ms(500)))
        }));
        keeper.await_arrivals(1);
        keeper.let_through(1);
        while pool.stats().succeeded() == 0 {
            thread::yield_now();
        }
        let begun = Instant::now();
        pool.shutdown_timeout(ms(1));
        begun.elapsed()
    });
    assert!(time < ms(300), "{time:?}");
}

#[test]
fn a_timed_next_ends_in_time_though_the_window_has_room() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let run = move |_: &u64| {
        gate.pass();
        Ok::<_, ()>(())
    };
    let input = (0u64..).inspect(|_| thread::sleep(ms(1)));
    let mut batch = pool.batch(input, run).window(usize::MAX).as_completed();
    let begun = Instant::now();
    assert!(batch.next_timeout(ms(10)).is_err());
    assert!(
        (ms(10)..ms(200)).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    drop(batch);
    keeper.let_through(1);
}

#[test]
fn a_window_full_of_parked_jobs_does_not_keep_workers_idle() {
    let pool = RetryPool::with_threads(2);
    let run = |n: &u32| if *n < 7 { Err("later") } else { Ok(*n) };
    let mut batch = pool
        .batch(0..8, run)
        .retry(hourly())
        .window(8)
        .as_completed();
    let done = batch
        .next_timeout(Duration::from_secs(10))
        .unwrap()
        .unwrap();
    assert_eq!(*done.input(), 7);
}

#[test]
fn items_and_senders_together_keep_to_the_window() {
    let live = Live::new();
    let pool = pool(2);
    let template = live.clone();
    let items = (0..2_000).map(move |_| template.clone());
    let run = |_: &Live| Ok::<_, ()>(());
    let (sender, completed) = pool.batch(items, run).window(4).channel();
    let sent = live.clone();
    let producer = thread::spawn(move || (0..2_000).try_for_each(|_| sender.send(sent.clone())));
    for done in completed {
        // The templates, the window, what the iterator has pulled ahead, and what the sender holds.
        assert!(live.others() <= 2 + 4 + 4 + 1, "{} inputs", live.others());
        drop(done);
    }
    assert!(producer.join().unwrap().is_ok());
}

#[test]
fn a_dropped_handle_drops_its_waker() {
    let live = Arc::new(());
    struct Idle(#[expect(dead_code, reason = "counted by its clones")] Arc<()>);
    impl Wake for Idle {
        fn wake(self: Arc<Self>) {}
    }
    let pool = pool(1);
    let mut handle = pool.job(|| Err::<(), _>(())).retry(hourly()).submit();
    let waker = Waker::from(Arc::new(Idle(Arc::clone(&live))));
    assert!(
        Pin::new(&mut handle)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    drop((handle, waker));
    assert_eq!(Arc::strong_count(&live), 1);
    pool.shutdown_now();
}

#[test]
fn a_cancelled_jobs_two_times_agree() {
    let pool = pool(1);
    let mut batch = pool
        .batch([()], |()| Err::<(), _>(()))
        .retry(hourly())
        .as_completed();
    assert!(batch.next_timeout(ms(5)).is_err());
    batch.cancel();
    thread::sleep(ms(20));
    let done = batch.next().unwrap();
    assert_eq!(done.result().unwrap_err().elapsed(), done.elapsed());
}

#[test]
fn a_policy_and_a_history_with_destructors_that_panic_end_nothing() {
    let pool = pool(1);
    let captured = Bomb;
    let delays = RetryPolicy::from_delays(move || {
        let _ = &captured;
        let item = Bomb;
        std::iter::from_fn(move || {
            let _ = &item;
            Some(ms(1))
        })
    });
    assert!(
        pool.job(|| Ok::<_, ()>(1))
            .retry(delays.clone())
            .submit()
            .wait()
            .is_ok()
    );
    let fail = || Err::<(), _>(Bomb);
    drop(pool.job(fail).errors_kept(3).retry(delays.clone()).submit());
    let batch = pool
        .batch(0..5, move |_| fail())
        .errors_kept(3)
        .retry(delays);
    let mut batch = batch.as_completed();
    drop(batch.next());
    drop(batch);
    assert!(pool.submit(|| Ok::<_, ()>(())).wait().is_ok());
    pool.shutdown();
    let stats = pool.stats();
    assert_eq!(stats.accepted(), stats.succeeded() + stats.gave_up());
}

#[test]
fn retries_at_the_front_leave_nothing_behind_in_the_work_channel() {
    let pool = pool(1);
    let policy = RetryPolicy::immediate()
        .max_attempts(200_000)
        .requeue(retry_pool::Requeue::Front);
    assert!(
        pool.job(|| Err::<(), _>(()))
            .retry(policy)
            .submit()
            .wait()
            .is_err()
    );
    let submitted = Instant::now();
    let waited = pool
        .submit(move || Ok::<_, ()>(submitted.elapsed()))
        .wait()
        .unwrap();
    assert!(waited < ms(50), "{waited:?}");
}

#[test]
fn jobs_that_come_due_together_at_the_front_run_in_the_order_of_their_due_times() {
    let pool = pool(1);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let run = move |n: &u32| {
        if retry_pool::Attempt::current().number() == 1 {
            return Err(());
        }
        seen.lock().unwrap().push(*n);
        Ok(())
    };
    let policy = RetryPolicy::fixed(ms(100)).requeue(retry_pool::Requeue::Front);
    let (gate, keeper) = gate();
    let mut batch = pool.batch(0..20, run).retry(policy).as_completed();
    assert!(batch.next_timeout(ms(5)).is_err());
    // The worker is held until all are due.
    let held = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    thread::sleep(ms(150));
    keeper.let_through(1);
    held.wait().unwrap();
    assert_eq!(batch.count(), 20);
    assert!(
        order.lock().unwrap().is_sorted(),
        "{:?}",
        order.lock().unwrap()
    );
}
