//! Jobs that wait for jobs: a spare works meanwhile, so nothing deadlocks, and nothing foreign runs on the waiter's stack.

use std::cell::Cell;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use crate::common::threads_named;
use crate::common::{gate, ms, pool};
use retry_pool::{BatchSender, CancelToken, JobHandle, RetryPolicy, RetryPool, SendError};

fn until(what: &str, done: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < patience, "still not: {what}");
        thread::yield_now();
    }
}

fn until_spares_are_gone(pool: &RetryPool) {
    until("all spares have left", || pool.stats().spare_threads() == 0);
}

fn bounded(threads: usize, capacity: usize) -> Arc<RetryPool> {
    let builder = RetryPool::builder().threads(threads).capacity(capacity);
    Arc::new(builder.retry(RetryPolicy::immediate()).build().unwrap())
}

/// A job that waits for a job, and so on. The innermost says how many spares there are.
fn nest(pool: &Arc<RetryPool>, depth: u32) -> JobHandle<usize, ()> {
    let inner = Arc::clone(pool);
    pool.submit(move || match depth {
        0 => Ok(inner.stats().spare_threads()),
        _ => nest(&inner, depth - 1).wait().map_err(drop),
    })
}

#[test]
fn jobs_wait_for_jobs_twelve_deep_on_one_worker() {
    let pool = Arc::new(pool(1));
    for _ in 0..10 {
        assert_eq!(nest(&pool, 12).wait().unwrap(), 12);
        until_spares_are_gone(&pool);
    }
}

#[test]
fn jobs_wait_for_jobs_in_a_pool_of_capacity_one() {
    let pool = bounded(1, 1);
    for _ in 0..50 {
        // One for each that waits. That of a submitter, who lends its permit for a moment, may be on its way out still.
        let spares = nest(&pool, 3).wait().unwrap();
        assert!((3..=6).contains(&spares), "{spares} spares");
        until_spares_are_gone(&pool);
    }
}

#[test]
fn a_job_runs_a_batch_on_its_own_worker_in_each_way() {
    let pool = Arc::new(pool(1));
    let inner = Arc::clone(&pool);
    let outer = pool.submit(move || {
        let batch = || inner.batch(0..50u32, |n| Ok::<_, ()>(*n)).window(4);
        let run = batch().run().succeeded().len();
        let iterated: u32 = batch().into_iter().map(|done| *done.input()).sum();
        let in_order: Vec<_> = batch().in_order().map(|done| *done.input()).collect();
        Ok::<_, ()>((run, iterated, in_order))
    });
    let (run, iterated, in_order) = outer.wait().unwrap();
    assert_eq!((run, iterated), (50, 1_225));
    assert_eq!(in_order, (0..50).collect::<Vec<_>>());
    until_spares_are_gone(&pool);
}

#[test]
fn batch_jobs_submit_to_the_full_pool_that_runs_them() {
    for (threads, capacity) in [(1, 1), (2, 1), (2, 2)] {
        let pool = bounded(threads, capacity);
        let inner = Arc::clone(&pool);
        let report = pool
            .batch(0..40u32, move |n| {
                let n = *n;
                inner.submit(move || Ok::<_, ()>(n)).wait()
            })
            .run();
        assert_eq!(report.succeeded().len(), 40);
        until_spares_are_gone(&pool);
    }
}

#[test]
fn all_workers_wait_at_once() {
    let pool = Arc::new(pool(2));
    let barrier = Arc::new(Barrier::new(2));
    let outer: Vec<_> = (0..2u32)
        .map(|n| {
            let (inner, barrier) = (Arc::clone(&pool), Arc::clone(&barrier));
            pool.submit(move || {
                barrier.wait();
                inner.submit(move || Ok::<_, ()>(n)).wait()
            })
        })
        .collect();
    for (n, handle) in (0..).zip(outer) {
        assert_eq!(handle.wait().unwrap(), n);
    }
    until_spares_are_gone(&pool);
}

type SharedSender = Arc<Mutex<Option<BatchSender<u32>>>>;

fn send(sender: &SharedSender, input: u32) -> Result<(), SendError<u32>> {
    let sender = sender.lock().unwrap().clone().unwrap();
    sender.send(input)
}

#[test]
fn all_workers_send_to_their_own_batch() {
    for _ in 0..50 {
        let pool = pool(2);
        let sender = SharedSender::default();
        let own = Arc::clone(&sender);
        // Even inputs send an odd one. All of them leave a single place in the window, for which they wait.
        let (feeder, completed) = pool
            .batch((0..20).step_by(2), move |n: &u32| match n % 2 {
                0 => send(&own, n + 1),
                _ => Ok(()),
            })
            .window(11)
            .channel();
        *sender.lock().unwrap() = Some(feeder);
        let mut seen = HashSet::new();
        for done in completed {
            assert!(done.result().is_ok() && seen.insert(*done.input()));
            if seen.len() == 20 {
                sender.lock().unwrap().take();
            }
        }
        assert_eq!(seen.len(), 20);
        until_spares_are_gone(&pool);
    }
}

#[test]
fn a_job_that_sends_to_its_own_full_batch_lends_its_place() {
    let pool = pool(2);
    let batches: Vec<_> = (0..2u32)
        .map(|n| {
            let sender = SharedSender::default();
            let own = Arc::clone(&sender);
            let job = move |n: &u32| match n {
                0..10 => send(&own, n + 10).map_err(drop),
                _ => {
                    own.lock().unwrap().take();
                    Ok(())
                }
            };
            let (feeder, completed) = pool.batch([n], job).window(1).channel();
            *sender.lock().unwrap() = Some(feeder);
            completed
        })
        .collect();
    for batch in batches {
        assert_eq!(batch.filter(|done| done.result().is_ok()).count(), 2);
    }
    until_spares_are_gone(&pool);
}

#[test]
fn two_pools_wait_for_each_other() {
    for threads in [1, 2] {
        let (first, second) = (Arc::new(pool(threads)), Arc::new(pool(threads)));
        let handles: Vec<_> = (0..4u32)
            .map(|n| {
                let (there, back) = (Arc::clone(&second), Arc::clone(&first));
                first.submit(move || {
                    let back = Arc::clone(&back);
                    let there = there.submit(move || {
                        let back = back.submit(move || Ok::<_, ()>(n));
                        back.wait().map_err(drop)
                    });
                    there.wait().map_err(drop)
                })
            })
            .collect();
        for (n, handle) in (0..).zip(handles) {
            assert_eq!(handle.wait().unwrap(), n);
        }
        until_spares_are_gone(&first);
        until_spares_are_gone(&second);
    }
}

#[test]
fn a_job_shuts_a_pool_down_whose_jobs_need_its_worker() {
    let first = Arc::new(pool(1));
    for way in 0..2 {
        let outer = Arc::clone(&first);
        let ended = first.submit(move || {
            let second = pool(1);
            let back = Arc::clone(&outer);
            let needs = second.submit(move || back.submit(|| Ok::<_, ()>(1)).wait());
            if way == 0 {
                let report = second.shutdown();
                assert_eq!((report.gave_up(), report.still_running()), (0, 0));
            } else {
                drop(second);
            }
            needs.wait().map_err(drop)
        });
        assert_eq!(ended.wait().unwrap(), 1);
    }
    until_spares_are_gone(&first);
}

#[cfg(target_os = "linux")]
#[test]
fn a_job_that_drops_its_own_pool_after_it_waited_leaves_no_thread() {
    for _ in 0..20 {
        let pool = RetryPool::builder()
            .threads(2)
            .thread_name("own-pool")
            .build();
        let pool = Arc::new(pool.unwrap());
        let slot = Mutex::new(Some(Arc::clone(&pool)));
        let (dropped, is_dropped) = mpsc::channel::<()>();
        let is_dropped = Mutex::new(is_dropped);
        let last = pool.submit(move || {
            is_dropped.lock().unwrap().recv().unwrap();
            let pool = slot.lock().unwrap().take().unwrap();
            pool.submit(|| {
                thread::sleep(ms(1));
                Ok::<_, ()>(())
            })
            .wait()
            .unwrap();
            assert_eq!(Arc::strong_count(&pool), 1);
            {
                drop(pool);
                Ok::<_, ()>(())
            }
        });
        drop(pool);
        dropped.send(()).unwrap();
        last.wait().unwrap();
        until("no thread is left", || threads_named("own-pool") == 0);
    }
}

#[test]
fn a_timed_wait_in_a_job_ends_in_time_and_gives_the_handle_back() {
    let pool = Arc::new(pool(1));
    let (gate, keeper) = gate();
    let inner = Arc::clone(&pool);
    let opener = Mutex::new(keeper);
    let outer = pool.submit(move || {
        let gate = gate.clone();
        let slow = inner.submit(move || {
            gate.pass();
            Ok::<_, ()>(())
        });
        let begun = Instant::now();
        let slow = slow.wait_timeout(ms(10)).unwrap_err();
        let waited = begun.elapsed();
        opener.lock().unwrap().let_through(1);
        slow.wait().map_err(drop)?;
        Ok::<_, ()>(waited)
    });
    let waited = outer.wait().unwrap();
    assert!(waited >= ms(10) && waited < Duration::from_secs(10));
    until_spares_are_gone(&pool);
}

#[test]
fn a_job_waits_for_a_token_that_a_queued_job_cancels() {
    let pool = Arc::new(pool(1));
    for _ in 0..50 {
        let token = CancelToken::new();
        let (inner, waited) = (Arc::clone(&pool), token.clone());
        let outer = pool.submit(move || {
            let token = waited.clone();
            let cancels = inner.submit(move || {
                token.cancel();
                Ok::<_, ()>(())
            });
            let cancelled = waited.wait_timeout(Duration::from_secs(30));
            cancels.wait().map_err(drop)?;
            Ok::<_, ()>(cancelled)
        });
        assert!(outer.wait().unwrap());
    }
    until_spares_are_gone(&pool);
}

#[test]
fn a_spare_is_counted_and_named_while_a_job_waits_and_leaves_after_it() {
    let names = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&names);
    let pool = RetryPool::builder()
        .threads(1)
        .thread_name("pond")
        .on_thread_stop(move || {
            let name = thread::current().name().map(String::from);
            seen.lock().unwrap().extend(name);
        })
        .build();
    let pool = Arc::new(pool.unwrap());
    assert_eq!(pool.stats().spare_threads(), 0);
    let inner = Arc::clone(&pool);
    let outer = pool.submit(move || {
        let look = Arc::clone(&inner);
        let look = inner.submit(move || {
            let name = thread::current().name().map(String::from);
            Ok::<_, ()>((look.stats().spare_threads(), name))
        });
        look.wait().map_err(drop)
    });
    let (spares, name) = outer.wait().unwrap();
    assert_eq!(spares, 1);
    assert!(
        name.as_ref().unwrap().starts_with("pond-spare-"),
        "{name:?}"
    );
    until_spares_are_gone(&pool);
    assert_eq!(*names.lock().unwrap(), Vec::from_iter(name));
    assert_eq!(pool.stats().threads(), 1);
}

#[test]
fn a_batch_goes_on_when_the_worker_that_helps_it_waits() {
    for threads in [1, 2].into_iter().cycle().take(10) {
        let pool = pool(threads);
        let tokens: Arc<[_]> = (0..30).map(|_| CancelToken::new()).collect();
        // Each job waits for what the next one does.
        let report = pool
            .batch(0..tokens.len(), move |n| {
                if *n > 0 {
                    tokens[n - 1].cancel();
                }
                let last = *n == tokens.len() - 1;
                match last || tokens[*n].wait_timeout(Duration::from_secs(30)) {
                    true => Ok(()),
                    false => Err(()),
                }
            })
            .retry(RetryPolicy::never())
            .run();
        assert_eq!(report.succeeded().len(), 30);
        until_spares_are_gone(&pool);
    }
}

#[test]
fn nothing_else_runs_on_the_stack_of_a_job_that_waits() {
    thread_local! {
        static INSIDE: Cell<bool> = const { Cell::new(false) };
    }
    let pool = Arc::new(pool(2));
    let checked = Arc::new(AtomicUsize::new(0));
    let outer: Vec<_> = (0..100)
        .map(|_| {
            let (inner, checked) = (Arc::clone(&pool), Arc::clone(&checked));
            pool.submit(move || {
                assert!(!INSIDE.replace(true), "a job runs inside another");
                let checked = Arc::clone(&checked);
                let waiter = thread::current().id();
                let nested = inner.submit(move || {
                    assert!(!INSIDE.get(), "a job runs inside another");
                    checked.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, ()>(thread::current().id())
                });
                let nested = nested.wait();
                INSIDE.set(false);
                assert_ne!(nested.map_err(drop)?, waiter);
                Ok::<_, ()>(())
            })
        })
        .collect();
    for handle in outer {
        handle.wait().unwrap();
    }
    assert_eq!(checked.load(Ordering::SeqCst), 100);
    until_spares_are_gone(&pool);
}

/// Nobody keeps it for the sake of the token that the waiting job has lost, least of all in the queue behind those who wait for its end.
#[test]
fn the_function_of_a_batch_goes_with_its_iteration_though_its_job_has_waited() {
    let pool = Arc::new(pool(1));
    let weak = Arc::downgrade(&pool);
    let alive = Arc::new(());
    let held = Arc::downgrade(&alive);
    let batch = pool.batch([0], move |_| {
        let _held = &alive;
        let pool = weak.upgrade().unwrap();
        let quick = pool.submit(|| Ok::<_, ()>(()));
        let waits = [(); 2].map(|()| {
            let held = held.clone();
            pool.submit(move || {
                until("it is gone", || held.strong_count() == 0);
                Ok::<_, ()>(())
            })
        });
        quick.wait().unwrap();
        Ok::<_, ()>(waits)
    });
    let done = batch.as_completed().next().unwrap();
    for waits in done.into_result().unwrap() {
        waits.wait().unwrap();
    }
}
