//! Jobs that borrow: leaving the scope settles all of them and ends every thread, whatever happened inside.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;
#[cfg(target_os = "linux")]
use std::time::Instant;

#[cfg(target_os = "linux")]
use crate::common::threads_named;
use crate::common::{Live, gate, ms, pool};
use retry_pool::{
    Attempt, BuildError, CancelToken, GiveUpReason, JobState, RetryPolicy, RetryPool,
    RetryPoolBuilder, scope,
};

const LONG: Duration = Duration::from_secs(3_600);

fn builder(threads: usize) -> RetryPoolBuilder {
    RetryPool::builder()
        .threads(threads)
        .retry(RetryPolicy::immediate())
}

fn hourly() -> RetryPolicy {
    RetryPolicy::fixed(LONG).unlimited()
}

fn third_time_lucky() -> Result<(), &'static str> {
    match Attempt::current().number() {
        3 => Ok(()),
        _ => Err("not yet"),
    }
}

#[test]
fn a_batch_fills_what_it_borrows_with_retries() {
    let cells: Vec<Mutex<u32>> = (0..500).map(|_| Mutex::new(0)).collect();
    let failed = AtomicUsize::new(0);
    let settled = builder(2)
        .scope(|pool| {
            let batch = pool.batch(cells.iter().zip(0..), |(cell, n)| {
                let tried = third_time_lucky();
                match tried {
                    Ok(()) => *cell.lock().unwrap() = *n,
                    Err(_) => drop(failed.fetch_add(1, Ordering::SeqCst)),
                }
                tried
            });
            batch.run().succeeded().len()
        })
        .unwrap();
    assert_eq!((settled, failed.into_inner()), (500, 1_000));
    let filled = cells.into_iter().map(|cell| cell.into_inner().unwrap());
    assert!(filled.eq(0..500));
}

#[test]
fn leaving_settles_everything_also_what_is_parked() {
    let calls = AtomicUsize::new(0);
    let live = Live::new();
    scope(|pool| {
        for _ in 0..20 {
            let held = live.clone();
            let calls = &calls;
            let job = pool.job(move || {
                let _ = &held;
                calls.fetch_add(1, Ordering::SeqCst);
                third_time_lucky()
            });
            drop(job.retry(RetryPolicy::fixed(ms(5))).submit());
        }
        drop(
            pool.job(|| {
                calls
                    .fetch_add(1, Ordering::SeqCst)
                    .eq(&0)
                    .then_some(())
                    .ok_or(())
            })
            .delay(ms(20))
            .retry(RetryPolicy::never())
            .submit(),
        );
    });
    assert_eq!(calls.into_inner(), 61);
    assert_eq!(live.others(), 0);
}

#[test]
fn a_panic_gives_up_what_has_not_begun_joins_the_rest_and_goes_on() {
    let (begun, ended) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let given_up = Mutex::new(Vec::new());
    let live = Live::new();
    let (gate, keeper) = gate();
    let payload = catch_unwind(AssertUnwindSafe(|| {
        let left: Result<(), _> = builder(1).scope(|pool| {
            let note = |give_up: &retry_pool::GiveUp<()>| {
                given_up.lock().unwrap().push(give_up.reason());
            };
            let parked = pool.job(|| Err::<(), ()>(())).retry(hourly());
            let parked = parked.on_give_up(note).submit();
            while parked.state() != JobState::Parked {
                thread::yield_now();
            }
            drop(pool.submit(|| {
                gate.pass();
                begun.fetch_add(1, Ordering::SeqCst);
                let attempt = Attempt::current();
                while !attempt.is_cancelled() {
                    thread::yield_now();
                }
                ended.fetch_add(1, Ordering::SeqCst);
                Err::<(), _>(())
            }));
            keeper.await_arrivals(1);
            keeper.let_through(1);
            for _ in 0..10 {
                let held = live.clone();
                let job = pool
                    .job(move || {
                        drop(held.clone());
                        Ok::<_, ()>(())
                    })
                    .on_give_up(note);
                drop(job.submit());
            }
            let mut batch = pool.batch(0..3, |_| Ok::<_, ()>(())).as_completed();
            assert!(batch.next_timeout(ms(1)).is_err());
            panic!("the closure fails");
        });
        left.unwrap();
    }));
    let payload = payload.unwrap_err();
    assert_eq!(payload.downcast_ref(), Some(&"the closure fails"));
    assert_eq!((begun.into_inner(), ended.into_inner()), (1, 1));
    assert_eq!(given_up.into_inner().unwrap(), [GiveUpReason::Shutdown; 11]);
    assert_eq!(live.others(), 0);
}

#[test]
fn jobs_wait_for_jobs_in_a_scope_with_one_worker() {
    let words = ["a", "bc", "def"];
    let total = builder(1).capacity(1).scope(|pool| {
        let words = &words;
        let outer = pool.submit(move || {
            let lengths = words.iter().map(|word| {
                let inner = pool.submit(move || Ok::<_, ()>(word.len()));
                inner.wait().unwrap()
            });
            Ok::<_, ()>(lengths.sum::<usize>())
        });
        outer.wait().unwrap()
    });
    assert_eq!(total.unwrap(), 6);
    let deep = builder(1).scope(|pool| {
        let outer = pool.submit(move || {
            let middle = pool.submit(move || {
                let batch = pool.batch(words, |word| Ok::<_, ()>(word.len())).in_order();
                Ok::<_, ()>(batch.map(|done| done.into_result().unwrap()).collect())
            });
            middle.wait().map_err(drop)
        });
        outer.wait().unwrap()
    });
    let deep: Vec<usize> = deep.unwrap();
    assert_eq!(deep, [1, 2, 3]);
}

#[test]
fn a_scope_lives_inside_a_job_of_a_pool() {
    let pool = std::sync::Arc::new(pool(1));
    let outer = std::sync::Arc::clone(&pool);
    let job = pool.submit(move || {
        let sums = Mutex::new(0);
        let scoped = builder(1).scope(|inner| {
            // These need the worker of the outer pool, which waits in here.
            let batch = inner.batch(1..=10, |n| {
                let n = *n;
                *sums.lock().unwrap() +=
                    outer.submit(move || Ok::<_, ()>(n)).wait().map_err(drop)?;
                Ok::<_, ()>(())
            });
            batch.run().is_success()
        });
        assert!(scoped.unwrap());
        // Leaving waits for them, too.
        let left = builder(1).scope(|inner| {
            drop(inner.submit(|| {
                *sums.lock().unwrap() += outer.submit(|| Ok::<_, ()>(100)).wait().map_err(drop)?;
                Ok::<_, ()>(())
            }));
        });
        left.unwrap();
        Ok::<_, ()>(sums.into_inner().unwrap())
    });
    assert_eq!(job.wait().unwrap(), 155);
}

#[test]
fn a_scope_lives_inside_a_scope() {
    let sum = AtomicUsize::new(0);
    let inside = builder(1).scope(|outer| {
        let own = AtomicUsize::new(0);
        let result = builder(1).scope(|inner| {
            let batch = inner.batch(0..20, |n| {
                own.fetch_add(*n, Ordering::SeqCst);
                sum.fetch_add(*n, Ordering::SeqCst);
                outer.submit(|| Ok::<_, ()>(())).wait()
            });
            batch.run().is_success()
        });
        assert!(result.unwrap());
        let in_a_job = outer.submit(|| {
            let nested = builder(1).scope(|inner| {
                let job = inner.submit(|| Ok::<_, ()>(sum.load(Ordering::SeqCst)));
                job.wait().unwrap()
            });
            Ok::<_, ()>(nested.unwrap())
        });
        (own.into_inner(), in_a_job.wait().unwrap())
    });
    assert_eq!(inside.unwrap(), (190, 190));
}

#[test]
fn what_failed_is_resubmitted_inside_a_scope() {
    let calls = AtomicUsize::new(0);
    let succeeded = builder(2).scope(|pool| {
        let batch = pool.batch(0..200, |_| {
            calls.fetch_add(1, Ordering::SeqCst);
            third_time_lucky()
        });
        let mut succeeded = 0;
        for done in batch.retry(RetryPolicy::never()) {
            match done.result() {
                Ok(()) => succeeded += 1,
                Err(_) => done.resubmit(),
            }
        }
        succeeded
    });
    assert_eq!((succeeded.unwrap(), calls.into_inner()), (200, 600));
}

#[test]
fn an_iterator_that_is_blocked_hears_the_cancel_of_its_token() {
    let values = [1, 2, 3];
    for round in 0..200 {
        let token = CancelToken::new();
        let reasons = builder(1).scope(|pool| {
            let batch = pool.batch(&values, |n| Err::<(), _>(**n)).retry(hourly());
            let batch = batch.cancel_token(token.clone()).as_completed();
            thread::scope(|threads| {
                threads.spawn(|| {
                    (0..round % 20).for_each(|_| thread::yield_now());
                    token.cancel();
                });
                let reasons = batch.map(|done| done.into_result().unwrap_err().reason());
                reasons.collect::<Vec<_>>()
            })
        });
        let reasons = reasons.unwrap();
        // A cancel that comes first keeps them in the input.
        assert!(reasons.len() <= 3);
        assert!(
            reasons
                .iter()
                .all(|reason| *reason == GiveUpReason::Cancelled)
        );
    }
}

#[test]
fn all_is_cancelled_inside_a_scope_and_it_goes_on() {
    let reasons = builder(1).scope(|pool| {
        let parked: Vec<_> = (0..5)
            .map(|n| pool.job(move || Ok::<_, ()>(n)).delay(LONG).submit())
            .collect();
        pool.cancel_all();
        assert_eq!(pool.submit(|| Ok::<_, ()>(1)).wait().unwrap(), 1);
        let reasons = parked
            .into_iter()
            .map(|job| job.wait().unwrap_err().reason());
        reasons.collect::<Vec<_>>()
    });
    assert_eq!(reasons.unwrap(), [GiveUpReason::Cancelled; 5]);
}

#[test]
fn a_scope_tells_what_it_has_done_so_far() {
    let stats = builder(2).scope(|pool| {
        assert!(pool.batch(0..3, |_| third_time_lucky()).run().is_success());
        assert!(pool.submit(|| Err::<(), _>(())).wait().is_err());
        pool.stats()
    });
    let stats = stats.unwrap();
    assert_eq!((stats.accepted(), stats.threads()), (4, 2));
    assert_eq!((stats.succeeded(), stats.gave_up()), (3, 1));
    assert_eq!(stats.retries(), 8);
}

#[test]
fn what_is_forgotten_does_no_harm() {
    let calls = AtomicUsize::new(0);
    let count = |_: &u32| {
        calls.fetch_add(1, Ordering::SeqCst);
        third_time_lucky()
    };
    let left = builder(2).scope(|pool| {
        let mut batch = pool.batch(0..50, count).window(8).as_completed();
        while batch.progress().accepted() < 8 {
            assert!(batch.next().is_some());
        }
        std::mem::forget(batch);
        std::mem::forget(pool.submit(|| count(&0)));
        std::mem::forget(pool.batch(0..50, count));
        std::mem::forget(pool.job(|| count(&0)));
        let begun = calls.load(Ordering::SeqCst);
        assert!(begun >= 3);
    });
    left.unwrap();
    // Of the batch at least the window was admitted, and what was admitted ran to its end.
    let calls = calls.into_inner();
    assert!(calls.is_multiple_of(3) && calls >= 3 * 8, "{calls} calls");
}

#[test]
fn nonsense_is_refused_and_nothing_is_called() {
    let called = AtomicBool::new(false);
    let refused = |builder: RetryPoolBuilder| {
        let result = builder.scope(|_| called.store(true, Ordering::SeqCst));
        result.unwrap_err()
    };
    assert!(matches!(refused(builder(0)), BuildError::ZeroThreads));
    assert!(matches!(
        refused(builder(70_000)),
        BuildError::TooManyThreads {
            threads: 70_000,
            ..
        }
    ));
    assert!(matches!(
        refused(builder(1).capacity(0)),
        BuildError::ZeroCapacity
    ));
    assert!(matches!(
        refused(builder(1).thread_name("a\0b")),
        BuildError::ThreadName
    ));
    let policy = RetryPolicy::immediate().max_attempts(0);
    assert!(matches!(
        refused(builder(1).retry(policy)),
        BuildError::Policy(_)
    ));
    assert!(matches!(
        refused(builder(2).stack_size(isize::MAX as usize)),
        BuildError::Spawn { .. }
    ));
    assert!(!called.into_inner());
}

#[cfg(target_os = "linux")]
#[test]
fn a_scope_leaves_no_thread_behind() {
    for way in 0..4 {
        let left = catch_unwind(AssertUnwindSafe(|| {
            let scoped = builder(3).thread_name("scoped-x").scope(|pool| {
                let job = pool.submit(|| {
                    pool.submit(|| {
                        thread::sleep(ms(1));
                        Ok::<_, ()>(())
                    })
                    .wait()
                    .map_err(drop)
                });
                // A thread names itself when it starts: three workers and the timer.
                until(|| threads_named("scoped-x") >= 4);
                match way {
                    0 => job.wait().unwrap(),
                    1 => drop(job),
                    2 => panic!("the closure fails"),
                    _ => std::mem::forget(pool.batch(0..9, |_| Err::<(), ()>(())).as_completed()),
                }
            });
            scoped.unwrap();
        }));
        assert_eq!(left.is_err(), way == 2);
        // One that was joined needs a moment to leave the list of the kernel.
        until(|| threads_named("scoped-x") == 0);
    }
}

#[cfg(target_os = "linux")]
fn until(done: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < patience);
        thread::yield_now();
    }
}
