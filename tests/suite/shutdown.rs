//! Closing, shutting down and dropping: every accepted job settles, nobody hangs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::common::{await_worker, gate, ms, pool};
use retry_pool::{GiveUpReason, JobHandle, RetryPolicy, RetryPool};

fn hourly() -> RetryPolicy {
    RetryPolicy::fixed(Duration::from_secs(3_600)).unlimited()
}

#[test]
fn a_pool_that_never_had_a_job_shuts_down() {
    for threads in [1, 8] {
        let report = RetryPool::with_threads(threads).shutdown();
        assert_eq!(
            (report.drained(), report.gave_up(), report.still_running()),
            (0, 0, 0)
        );
    }
}

#[test]
fn shutdown_drains_queued_and_parked_jobs_and_reports_them() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let held = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    let retried = pool
        .job(|| Err::<(), _>(()))
        .retry(RetryPolicy::fixed(ms(1)).max_attempts(4))
        .submit();
    let queued: Vec<_> = (0..10)
        .map(|n| pool.submit(move || Ok::<_, ()>(n)))
        .collect();
    std::thread::scope(|scope| {
        let shutdown = scope.spawn(|| pool.shutdown());
        keeper.let_through(1);
        let report = shutdown.join().unwrap();
        assert_eq!((report.gave_up(), report.still_running()), (0, 0));
    });
    assert!(held.is_settled() && queued.iter().all(JobHandle::is_settled));
    assert_eq!(retried.wait().unwrap_err().attempts(), 4);
}

#[test]
fn a_closed_pool_takes_nothing_from_outside_but_its_jobs_may_still_submit() {
    let pool = Arc::new(pool(2));
    let (gate, keeper) = gate();
    let inner = Arc::clone(&pool);
    let outer = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(inner.submit(|| Ok::<_, ()>("from inside")).wait())
    });
    keeper.await_arrivals(1);
    pool.close();
    pool.close();
    let refused = pool.submit(|| Ok::<_, ()>("from outside"));
    assert!(refused.is_settled());
    assert_eq!(refused.wait().unwrap_err().reason(), GiveUpReason::Shutdown);
    let mut batch = pool.batch(0..3, |n| Ok::<_, ()>(*n)).as_completed();
    assert!(batch.next().is_none());
    assert!(batch.progress().input_left());
    keeper.let_through(1);
    assert_eq!(outer.wait().unwrap().unwrap(), "from inside");
}

#[test]
fn a_batch_of_a_closed_pool_ends_after_what_was_admitted_and_says_so() {
    let pool = pool(2);
    let mut batch = pool
        .batch(0u64.., |n| Ok::<_, ()>(*n))
        .window(8)
        .as_completed();
    assert!(batch.next().is_some());
    pool.close();
    assert!(batch.by_ref().count() <= 8);
    assert!(batch.progress().input_left());
    let held = pool.batch([1], |n| Ok::<_, ()>(*n)).run();
    assert!(held.input_left() && !held.is_success());
    batch.add(7);
    let refused = batch.next().unwrap();
    assert_eq!((*refused.input(), refused.attempts()), (7, 0));
    assert_eq!(
        refused.result().unwrap_err().reason(),
        GiveUpReason::Shutdown
    );
    assert!(batch.next().is_none());
}

#[test]
fn a_timed_shutdown_gives_up_what_is_queued_and_parked_and_names_what_runs() {
    let pool = pool(1);
    let parked = pool.job(|| Err::<(), _>("busy")).retry(hourly()).submit();
    let mut batch = pool
        .batch(0..5, |_| Err::<(), _>("busy"))
        .retry(hourly())
        .as_completed();
    while batch.progress().accepted() < 5 {
        assert!(batch.next_timeout(ms(1)).is_err());
    }
    let (gate, keeper) = gate();
    let running = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    let queued = pool.submit(|| Ok::<_, ()>(()));
    let report = pool.shutdown_timeout(ms(5));
    assert_eq!(
        (report.drained(), report.gave_up(), report.still_running()),
        (0, 7, 1)
    );
    let give_up = parked.wait().unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.error()),
        (GiveUpReason::Shutdown, Some(&"busy"))
    );
    assert_eq!(queued.wait().unwrap_err().attempts(), 0);
    for done in batch {
        assert_eq!(done.result().unwrap_err().reason(), GiveUpReason::Shutdown);
    }
    assert!(!running.is_settled());
    keeper.let_through(1);
    assert!(running.wait().is_ok());
    let again = pool.shutdown();
    assert_eq!((again.gave_up(), again.still_running()), (0, 0));
}

#[test]
fn a_job_that_fails_after_the_pool_stopped_is_not_retried() {
    let pool = pool(2);
    let (gate, keeper) = gate();
    let (hold, hold_batch) = (gate.clone(), gate);
    let single = pool
        .job(move || {
            hold.pass();
            Err::<(), _>("late")
        })
        .retry(RetryPolicy::immediate().unlimited().hot_loop_ok())
        .submit();
    let mut batch = pool
        .batch([()], move |_| {
            hold_batch.pass();
            Err::<(), _>("late")
        })
        .retry(hourly())
        .as_completed();
    assert!(batch.next_timeout(ms(1)).is_err());
    keeper.await_arrivals(2);
    assert_eq!(pool.shutdown_now().still_running(), 2);
    keeper.let_through(2);
    for give_up in [
        single.wait().unwrap_err(),
        batch.next().unwrap().into_result().unwrap_err(),
    ] {
        assert_eq!(
            (give_up.reason(), give_up.attempts()),
            (GiveUpReason::Shutdown, 1)
        );
        assert_eq!(give_up.into_error(), Some("late"));
    }
}

#[test]
fn many_threads_may_shut_the_same_pool_down() {
    for _ in 0..50 {
        let pool = pool(2);
        let handles: Vec<_> = (0..50)
            .map(|n| pool.submit(move || if n % 2 == 0 { Ok(n) } else { Err(n) }))
            .collect();
        std::thread::scope(|scope| {
            for n in 0..4 {
                let pool = &pool;
                scope.spawn(move || match n {
                    0 => pool.shutdown(),
                    1 => pool.shutdown_timeout(ms(1)),
                    2 => pool.shutdown_now(),
                    _ => pool.shutdown_timeout(Duration::MAX),
                });
            }
        });
        assert!(handles.iter().all(JobHandle::is_settled));
        let stats = pool.stats();
        assert_eq!(stats.accepted(), stats.succeeded() + stats.gave_up());
    }
}

#[test]
fn a_submit_that_races_with_the_end_is_settled_or_refused_never_lost() {
    let (mut ran, mut refused) = (0, 0);
    for round in 0..300 {
        let pool = pool(2);
        let submitted = std::thread::scope(|scope| {
            let submitters: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        (0..50)
                            .map(|n| pool.submit(move || Ok::<_, ()>(n)))
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            (0..round % 50).for_each(|_| std::thread::yield_now());
            if round % 2 == 0 {
                pool.shutdown()
            } else {
                pool.shutdown_now()
            };
            submitters
                .into_iter()
                .flat_map(|submitter| submitter.join().unwrap())
                .collect::<Vec<_>>()
        });
        for handle in submitted {
            match handle
                .wait_timeout(Duration::from_secs(10))
                .expect("a job was lost")
            {
                Ok(_) => ran += 1,
                Err(give_up) => {
                    assert_eq!(give_up.reason(), GiveUpReason::Shutdown);
                    refused += 1;
                }
            }
        }
    }
    assert!(
        ran > 0 && refused > 0,
        "only one side of the race was seen: {ran} ran, {refused} refused"
    );
}

#[test]
fn a_batch_that_races_with_the_end_accounts_for_every_input() {
    for round in 0..300 {
        let pool = pool(2);
        let batch = pool
            .batch(0..200u32, |n| if n % 5 == 0 { Err(*n) } else { Ok(*n) })
            .window(16)
            .as_completed();
        let settled = std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..round % 60).for_each(|_| std::thread::yield_now());
                if round % 2 == 0 {
                    pool.shutdown()
                } else {
                    pool.shutdown_now()
                };
            });
            batch.count()
        });
        assert!(settled <= 200);
        pool.shutdown();
        let stats = pool.stats();
        assert_eq!(stats.accepted(), settled as u64);
        assert_eq!(stats.accepted(), stats.succeeded() + stats.gave_up());
    }
}

#[test]
fn shutdown_from_a_job_closes_and_returns() {
    let pool = Arc::new(pool(2));
    let inner = Arc::clone(&pool);
    let report = pool
        .submit(move || Ok::<_, ()>(inner.shutdown()))
        .wait()
        .unwrap();
    assert_eq!(report.still_running(), 1);
    let refused = pool.submit(|| Ok::<_, ()>(()));
    assert_eq!(refused.wait().unwrap_err().reason(), GiveUpReason::Shutdown);
}

#[test]
fn the_last_reference_may_be_dropped_in_a_job_of_the_pool() {
    for _ in 0..100 {
        let pool = Arc::new(pool(2));
        let (done, is_done) = mpsc::channel();
        let slot = Arc::new(Mutex::new(Some(Arc::clone(&pool))));
        let (ready, is_ready) = mpsc::channel::<()>();
        let (is_ready, done) = (Mutex::new(is_ready), done);
        let detached = pool.submit(move || {
            is_ready.lock().unwrap().recv().unwrap();
            drop(slot.lock().unwrap().take());
            done.send(()).unwrap();
            Err::<(), _>(())
        });
        let other = pool.submit(|| Err::<(), _>(()));
        drop(pool);
        // The job is tried three times; only the first has a pool to drop.
        (0..3).for_each(|_| ready.send(()).unwrap());
        (0..3).for_each(|_| is_done.recv().unwrap());
        assert_eq!(detached.wait().unwrap_err().attempts(), 3);
        assert_eq!(other.wait().unwrap_err().attempts(), 3);
    }
}

#[test]
fn drop_settles_every_accepted_job_retries_included() {
    let calls = Arc::new(AtomicUsize::new(0));
    let pool = pool(2);
    let handles: Vec<_> = (0..100)
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
    assert!(handles.iter().all(JobHandle::is_settled));
    assert_eq!(calls.load(Ordering::SeqCst), 300);
}

#[test]
fn drop_while_unwinding_gives_up_what_has_not_begun() {
    let mut parked = None;
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let pool = pool(1);
        parked = Some(pool.job(|| Err::<(), _>(())).retry(hourly()).submit());
        await_worker(&pool);
        panic!("the caller fails");
    }));
    assert!(result.is_err());
    assert_eq!(
        parked.unwrap().wait().unwrap_err().reason(),
        GiveUpReason::Shutdown
    );
}

#[test]
fn a_job_that_has_dropped_its_pool_can_wait_for_its_jobs() {
    let kept = Arc::new(pool(1));
    let last = Mutex::new(Some(Arc::clone(&kept)));
    let (sender, dropped) = mpsc::channel::<()>();
    let outer = kept.submit(move || {
        let _ = dropped.recv();
        let pool = last.lock().unwrap().take().ok_or(())?;
        let inner = pool.submit(|| Ok::<_, ()>(7));
        // The last reference: nothing but what was accepted is left of the pool.
        drop(Arc::into_inner(pool).ok_or(())?);
        inner.wait().map_err(drop)
    });
    drop(kept);
    sender.send(()).unwrap();
    assert_eq!(outer.wait().unwrap(), 7);
}
