//! Pools with a capacity: nobody hangs, nothing beyond it is let in, and who waits for room is woken or released.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{Gate, gate, ms, resident};
use retry_pool::{
    Attempt, CancelToken, GiveUpReason, JobHandle, JobState, RetryPolicy, RetryPool, TrySubmitError,
};

const LONG: Duration = Duration::from_secs(3_600);

fn bounded(threads: usize, capacity: usize) -> RetryPool {
    RetryPool::builder()
        .threads(threads)
        .capacity(capacity)
        .retry(RetryPolicy::immediate().max_attempts(4))
        .build()
        .unwrap()
}

/// 100 µs of work that fails three times. Empty jobs get through where real ones hang.
fn fourth_time_lucky(calls: &AtomicUsize) -> Result<(), &'static str> {
    calls.fetch_add(1, Ordering::SeqCst);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_micros(100) {
        std::hint::spin_loop();
    }
    match Attempt::current().number() {
        4.. => Ok(()),
        _ => Err("not yet"),
    }
}

/// A job that has a place in the pool, and keeps it until it is cancelled.
fn holder(pool: &RetryPool) -> JobHandle<(), ()> {
    pool.job(|| Ok::<_, ()>(())).delay(LONG).submit()
}

fn pass(gate: &Gate) -> Result<(), ()> {
    gate.pass();
    Ok(())
}

fn is_full<H, J>(refused: &Result<H, TrySubmitError<J>>) -> bool {
    matches!(refused, Err(TrySubmitError::Full(_)))
}

/// Lets another thread come to different points of what it does.
fn dawdle(round: usize) {
    (0..round % 12).for_each(|_| thread::yield_now());
    (0..round % 7 * 300).for_each(|_| std::hint::spin_loop());
}

#[test]
fn jobs_that_fail_get_through_a_pool_of_capacity_one() {
    for _ in 0..30 {
        let pool = bounded(2, 1);
        let calls = Arc::new(AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let submit = |_| {
                        let calls = Arc::clone(&calls);
                        pool.submit(move || fourth_time_lucky(&calls))
                    };
                    let handles: Vec<_> = (0..150).map(submit).collect();
                    assert!(handles.into_iter().all(|handle| handle.wait().is_ok()));
                });
            }
        });
        assert_eq!(calls.load(Ordering::SeqCst), 2_400);
    }
}

#[test]
fn batches_that_fail_get_through_a_pool_of_capacity_one() {
    for _ in 0..3 {
        let pool = bounded(2, 1);
        let calls = Arc::new(AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let calls = Arc::clone(&calls);
                    let batch = pool.batch(0..150, move |_| fourth_time_lucky(&calls));
                    assert_eq!(batch.window(8).run().succeeded().len(), 150);
                });
            }
        });
        assert_eq!(calls.load(Ordering::SeqCst), 2_400);
    }
}

#[test]
fn a_consumer_resubmits_into_a_full_pool() {
    for _ in 0..3 {
        let pool = bounded(2, 1);
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&calls);
        let batch = pool
            .batch(0..600, move |_| fourth_time_lucky(&counter))
            .retry(RetryPolicy::never())
            .window(8);
        let mut succeeded = 0;
        for done in batch {
            match done.result() {
                Ok(()) => succeeded += 1,
                Err(_) => done.resubmit(),
            }
        }
        assert_eq!((succeeded, calls.load(Ordering::SeqCst)), (600, 2_400));
    }
}

#[test]
fn jobs_resubmit_into_the_full_pool_that_runs_them() {
    let pool = bounded(2, 1);
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let mut batch = pool
        .batch(0..600, move |_| fourth_time_lucky(&counter))
        .retry(RetryPolicy::never())
        .window(8)
        .as_completed();
    let (mut succeeded, mut resubmits) = (0, Vec::new());
    loop {
        match batch.next() {
            Some(done) if done.result().is_ok() => succeeded += 1,
            Some(done) => {
                let slot = Mutex::new(Some(done));
                resubmits.push(pool.submit(move || {
                    let done = slot.lock().unwrap().take().ok_or("twice")?;
                    done.resubmit();
                    Ok::<_, &str>(())
                }));
            }
            // The iteration goes on when what failed has been sent back.
            None if resubmits.is_empty() => break,
            None => resubmits
                .drain(..)
                .for_each(|resubmit| resubmit.wait().unwrap()),
        }
    }
    assert_eq!((succeeded, calls.load(Ordering::SeqCst)), (600, 2_400));
}

#[test]
fn a_job_that_is_refused_comes_back_and_can_be_called() {
    let pool = bounded(1, 1);
    let held = holder(&pool);
    let Err(TrySubmitError::Full(job)) = pool.try_submit(|| Ok::<_, ()>(7)) else {
        panic!("the pool was not full");
    };
    assert_eq!(job(), Ok(7));
    assert!(is_full(&pool.job(|| Ok::<_, ()>(())).try_submit()));
    assert!(held.cancel());
    assert_eq!(pool.try_submit(job).unwrap().wait().unwrap(), 7);
    pool.close();
    let Err(TrySubmitError::Closed(job)) = pool.try_submit(|| Ok::<_, ()>(8)) else {
        panic!("the pool was not closed");
    };
    assert_eq!(job(), Ok(8));
    let closed = pool.submit_timeout(job, Duration::MAX);
    assert!(matches!(closed, Err(TrySubmitError::Closed(_))));
}

#[test]
fn a_timed_submit_is_not_early_and_succeeds_when_room_comes() {
    let pool = bounded(1, 1);
    let held = holder(&pool);
    for timeout in [Duration::ZERO, ms(1), ms(20)] {
        let begun = Instant::now();
        assert!(is_full(&pool.submit_timeout(|| Ok::<_, ()>(()), timeout)));
        assert!(begun.elapsed() >= timeout && begun.elapsed() < Duration::from_secs(10));
    }
    thread::scope(|scope| {
        let late = scope.spawn(|| pool.submit_timeout(|| Ok::<_, ()>(1), Duration::from_secs(30)));
        assert!(held.cancel());
        assert_eq!(late.join().unwrap().unwrap().wait().unwrap(), 1);
    });
}

#[test]
fn a_blocked_submit_is_released_when_the_pool_is_closed() {
    for round in 0..200 {
        let pool = bounded(1, 1);
        let held = holder(&pool);
        thread::scope(|scope| {
            let blocked: Vec<_> = (0..2)
                .map(|_| scope.spawn(|| pool.submit(|| Ok::<_, ()>(()))))
                .collect();
            dawdle(round);
            pool.close();
            for submitter in blocked {
                let refused = submitter.join().unwrap();
                assert!(refused.is_settled());
                assert_eq!(refused.wait().unwrap_err().reason(), GiveUpReason::Shutdown);
            }
        });
        assert!(held.cancel());
    }
}

#[test]
fn a_blocked_submit_gets_the_place_of_a_job_that_is_cancelled() {
    let pool = bounded(1, 1);
    for round in 0..500 {
        let held = holder(&pool);
        thread::scope(|scope| {
            let blocked: Vec<_> = (0..2)
                .map(|n| {
                    let pool = &pool;
                    scope.spawn(move || pool.submit(move || Ok::<_, ()>(n)).wait())
                })
                .collect();
            dawdle(round);
            assert!(held.cancel());
            for (n, submitter) in blocked.into_iter().enumerate() {
                assert_eq!(submitter.join().unwrap().unwrap(), n);
            }
        });
    }
}

#[test]
fn a_job_that_is_parked_to_be_retried_keeps_its_place() {
    let pool = bounded(1, 1);
    let parked = pool
        .job(|| Err::<(), _>(()))
        .retry(RetryPolicy::fixed(LONG))
        .submit();
    while parked.state() != JobState::Parked {
        thread::yield_now();
    }
    assert!(is_full(&pool.try_submit(|| Ok::<_, ()>(()))));
    assert_eq!(pool.stats().unsettled(), 1);
    assert!(parked.cancel());
    assert!(pool.try_submit(|| Ok::<_, ()>(())).is_ok());
}

#[test]
fn the_greatest_capacity_costs_nothing() {
    let before = resident();
    let pool = bounded(1, usize::MAX);
    assert!(pool.try_submit(|| Ok::<_, ()>(())).is_ok());
    let batch = pool
        .batch(0..1_000, |n| Ok::<_, ()>(*n))
        .window(usize::MAX)
        .run();
    assert_eq!(batch.succeeded().len(), 1_000);
    assert!(resident() - before < 16 << 20);
}

#[test]
fn never_more_jobs_are_unsettled_than_the_capacity_whatever_the_window() {
    // One worker and jobs that fail, so that the figures stand still while a job looks at them.
    let pool = Arc::new(bounded(1, 3));
    let most = Arc::new(AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (inner, most) = (Arc::clone(&pool), Arc::clone(&most));
                let look = move |_: &u32| {
                    most.fetch_max(inner.stats().unsettled(), Ordering::SeqCst);
                    Err::<(), _>(())
                };
                let batch = pool.batch(0..2_000, look).retry(RetryPolicy::never());
                assert_eq!(batch.window(usize::MAX).as_completed().count(), 2_000);
            });
        }
    });
    assert_eq!(most.load(Ordering::SeqCst), 3);
}

#[test]
fn batches_and_single_jobs_share_a_capacity_of_two() {
    let pool = bounded(2, 2);
    let calls = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let calls = Arc::clone(&calls);
                let batch = pool.batch(0..300, move |_| fourth_time_lucky(&calls));
                assert_eq!(batch.in_order().count(), 300);
            });
        }
        for _ in 0..300 {
            let calls = Arc::clone(&calls);
            assert!(
                pool.submit(move || fourth_time_lucky(&calls))
                    .wait()
                    .is_ok()
            );
        }
    });
    assert_eq!(calls.load(Ordering::SeqCst), 3_600);
}

#[test]
fn blocked_iterators_wake_for_places_that_others_give_up() {
    for round in 0..100 {
        let pool = bounded(2, 1);
        let held = holder(&pool);
        let (all_blocked, done) = (Barrier::new(4), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    let mut batch = pool
                        .batch(0..5, |n| Ok::<_, ()>(*n))
                        .window(4)
                        .as_completed();
                    assert!(batch.next_timeout(Duration::ZERO).is_err());
                    all_blocked.wait();
                    done.fetch_add(batch.count(), Ordering::SeqCst);
                });
            }
            all_blocked.wait();
            dawdle(round);
            assert!(held.cancel());
        });
        assert_eq!(done.load(Ordering::SeqCst), 15);
    }
}

#[test]
fn a_sender_that_waits_for_a_place_gets_its_input_back_when_the_batch_is_over() {
    for round in 0..180 {
        let pool = bounded(1, 1);
        let held = holder(&pool);
        let token = CancelToken::new();
        let (sender, mut completed) = pool
            .batch(std::iter::empty(), |n: &usize| Ok::<_, ()>(*n))
            .cancel_token(token.clone())
            .channel();
        let blocked = thread::spawn(move || sender.send(round));
        dawdle(round / 4);
        match round % 4 {
            0 => completed.cancel(),
            1 => pool.close(),
            2 => token.cancel(),
            _ => drop(completed),
        }
        let refused = blocked.join().unwrap().unwrap_err();
        assert_eq!(refused.into_inner(), round);
        assert!(held.cancel());
    }
}

#[test]
fn a_sender_that_waits_for_a_place_goes_on_when_one_comes_free() {
    let pool = bounded(1, 1);
    for round in 0..300 {
        let held = holder(&pool);
        let (sender, completed) = pool
            .batch(std::iter::empty(), |n: &usize| Ok::<_, ()>(*n))
            .channel();
        let senders: Vec<_> = (0..2)
            .map(|n| {
                let sender = sender.clone();
                thread::spawn(move || (0..4).try_for_each(|k| sender.send(4 * n + k)))
            })
            .collect();
        drop(sender);
        dawdle(round);
        assert!(held.cancel());
        let mut inputs: Vec<_> = completed.map(|done| *done.input()).collect();
        inputs.sort_unstable();
        assert_eq!(inputs, (0..8).collect::<Vec<_>>());
        for sender in senders {
            sender.join().unwrap().unwrap();
        }
    }
}

#[test]
fn a_job_that_runs_keeps_its_place_until_it_ends() {
    let pool = bounded(2, 2);
    let (gate, keeper) = gate();
    let running: Vec<_> = (0..2)
        .map(|_| {
            let gate = gate.clone();
            pool.submit(move || pass(&gate))
        })
        .collect();
    let (sender, submitted) = mpsc::channel();
    thread::scope(|scope| {
        keeper.await_arrivals(1);
        assert!(is_full(&pool.try_submit(|| Ok::<_, ()>(()))));
        scope.spawn(|| sender.send(pool.submit(|| Ok::<_, ()>(3))).unwrap());
        keeper.let_through(1);
        assert_eq!(submitted.recv().unwrap().wait().unwrap(), 3);
        keeper.let_through(1);
    });
    assert!(running.into_iter().all(|handle| handle.wait().is_ok()));
}
