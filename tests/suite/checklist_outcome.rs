//! What becomes of a job's outcome: the properties of the checklist that no other test shows, each by its number in `CHECKLIST.md`.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::common::{Live, await_worker, eventually, gate, ms, pool};
use cooked_waker::{IntoWaker, WakeRef};
use retry_pool::{GiveUpReason, JobHandle, RetryPolicy, RetryPool, as_completed};

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn p14_settled_is_seen_once_and_for_ever() {
    let pool = pool(2);
    for round in 0..100 {
        let job = pool.job(move || match round % 3 {
            0 => Ok(round),
            _ => Err(()),
        });
        let handle = job
            .retry(RetryPolicy::fixed(Duration::from_micros(10)))
            .submit();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut settled = false;
                    let mut looks_after = 0;
                    while looks_after < 100 {
                        let now = handle.is_settled();
                        assert!(now || !settled, "it was settled before");
                        settled = now;
                        looks_after += usize::from(now);
                    }
                });
            }
        });
        assert!(handle.try_result().is_some() && handle.is_settled());
    }
}

#[test]
fn p16_an_outcome_goes_to_one_of_those_who_ask_and_to_no_other() {
    let pool = pool(2);
    for _ in 0..200 {
        let live = Live::new();
        let output = live.clone();
        let handle = pool.submit(move || Ok::<_, ()>(output.clone()));
        let taken = thread::scope(|scope| {
            let ask = || {
                eventually("settled", || handle.is_settled());
                usize::from(handle.try_result().is_some())
            };
            let asking: Vec<_> = (0..3).map(|_| scope.spawn(ask)).collect();
            asking
                .into_iter()
                .map(|one| one.join().unwrap())
                .sum::<usize>()
        });
        assert_eq!((taken, live.others()), (1, 0));
    }
}

#[test]
fn p17_a_wait_without_time_tells_pending_done_and_cancelled_apart() {
    let pool = pool(1);
    let done = pool.submit(|| Ok::<_, ()>(7));
    eventually("settled", || done.is_settled());
    assert_eq!(done.wait_timeout(Duration::ZERO).unwrap().unwrap(), 7);
    let waits = pool.job(|| Ok::<_, ()>(7)).delay(HOUR).submit();
    let waits = waits.wait_timeout(Duration::ZERO).unwrap_err();
    assert!(waits.try_result().is_none());
    assert!(waits.cancel());
    let cancelled = waits.wait_timeout(Duration::ZERO).unwrap();
    assert_eq!(cancelled.unwrap_err().reason(), GiveUpReason::Cancelled);
}

#[test]
fn p20_a_thread_that_waits_is_woken_by_the_end_and_by_a_cancel() {
    for cancel in [false, true] {
        let pool = pool(1);
        let (gate, keeper) = gate();
        let handle = match cancel {
            true => pool.job(|| Ok::<_, ()>(1)).delay(HOUR).submit(),
            false => pool.submit(move || {
                gate.pass();
                Ok::<_, ()>(1)
            }),
        };
        thread::scope(|scope| {
            let timed = scope.spawn(|| handle.wait_timeout(Duration::MAX).unwrap());
            // Time for it to fall asleep; one that is awake is right, too.
            thread::sleep(ms(5));
            assert!(!timed.is_finished());
            match cancel {
                true => pool.cancel_all(),
                false => keeper.let_through(1),
            }
            assert_eq!(timed.join().unwrap().is_ok(), !cancel);
        });
    }
}

/// Looks at the counts until told to stop: they belong together, and never go back. Gives how often they had changed.
fn watch_counts(pool: &RetryPool, stop: &AtomicBool) -> usize {
    let (mut settled, mut changes) = (0, 0);
    while !stop.load(Ordering::SeqCst) {
        let stats = pool.stats();
        let now = stats.succeeded() + stats.gave_up();
        assert!(now <= stats.accepted(), "{stats:?}");
        assert!(now >= settled, "the counts go back");
        changes += usize::from(now > settled);
        settled = now;
    }
    changes
}

#[test]
fn p21_what_is_seen_at_one_look_belongs_together() {
    let pool = pool(2);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| watch_counts(&pool, &stop));
        let batch = scope.spawn(|| pool.batch(0..50_000, |n| Ok::<_, ()>(*n)).run());
        for n in 0..500u32 {
            let handle = pool.submit(move || if n % 2 == 0 { Ok(n) } else { Err(n) });
            eventually("settled", || handle.is_settled());
            // Whoever sees it settled finds the whole outcome.
            match handle.try_result().expect("settled without an outcome") {
                Ok(value) => assert_eq!((value, n % 2), (n, 0)),
                Err(give_up) => assert_eq!((give_up.error(), give_up.attempts()), (Some(&n), 3)),
            }
        }
        assert!(batch.join().unwrap().is_success());
        stop.store(true, Ordering::SeqCst);
        assert!(watcher.join().unwrap() > 0, "nothing was seen to change");
    });
}

#[test]
fn p22_a_handle_shows_where_its_job_is() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let running = pool
        .job(move || {
            gate.pass();
            Ok::<_, ()>(1)
        })
        .name("fetch")
        .submit();
    keeper.await_arrivals(1);
    let shown = |handle: &JobHandle<i32, ()>| format!("{handle:?}");
    assert!(shown(&running).contains("\"fetch\"") && shown(&running).contains("Running"));
    let queued = pool.submit(|| Ok::<_, ()>(2));
    assert!(shown(&queued).contains("Queued"), "{queued:?}");
    let parked = pool.job(|| Ok::<_, ()>(3)).delay(HOUR).submit();
    assert!(shown(&parked).contains("Parked"), "{parked:?}");
    assert!(parked.cancel());
    assert!(shown(&parked).contains("Settled"), "{parked:?}");
    keeper.let_through(1);
    eventually("settled", || running.is_settled());
    assert!(shown(&running).contains("Settled"), "{running:?}");
    let give_up = parked.wait().unwrap_err();
    assert!(format!("{give_up:?}").contains("Cancelled"), "{give_up:?}");
}

/// Counts how often it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn p24_an_output_is_dropped_once_whether_pool_or_handle_goes_first() {
    for way in [
        "pool first",
        "handle first",
        "handle before the end",
        "taken",
    ] {
        let drops = Arc::new(AtomicUsize::new(0));
        let (gate, keeper) = gate();
        let pool = pool(1);
        let counter = Arc::clone(&drops);
        let handle = pool.submit(move || {
            gate.pass();
            Ok::<_, ()>(Counted(Arc::clone(&counter)))
        });
        keeper.await_arrivals(1);
        if way == "handle before the end" {
            drop(handle);
            keeper.let_through(1);
            drop(pool);
            assert_eq!(drops.load(Ordering::SeqCst), 1, "{way}");
            continue;
        }
        keeper.let_through(1);
        eventually("settled", || handle.is_settled());
        assert_eq!(drops.load(Ordering::SeqCst), 0, "{way}");
        match way {
            "pool first" => {
                drop(pool);
                assert_eq!(drops.load(Ordering::SeqCst), 0, "{way}");
                drop(handle);
            }
            "handle first" => {
                drop(handle);
                assert_eq!(drops.load(Ordering::SeqCst), 1, "{way}");
                drop(pool);
            }
            _ => {
                drop(handle.wait());
                drop(pool);
            }
        }
        assert_eq!(drops.load(Ordering::SeqCst), 1, "{way}");
    }
}

/// Counts how often the future inside is polled.
struct Polls(JobHandle<u32, ()>, u32);

impl Future for Polls {
    type Output = (u32, u32);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.1 += 1;
        let polls = self.1;
        Pin::new(&mut self.0)
            .poll(context)
            .map(|result| (result.unwrap(), polls))
    }
}

#[test]
fn p27_a_handle_is_polled_no_more_than_twice_for_each_await() {
    let pool = pool(2);
    for round in 0..300 {
        let run = move || match retry_pool::Attempt::current().number() {
            3 => Ok(round),
            _ => Err(()),
        };
        let policy = RetryPolicy::fixed(Duration::from_micros(u64::from(round % 50) + 1));
        let handle = pool.job(run).retry(policy).submit();
        let (value, polls) = futures::executor::block_on(Polls(handle, 0));
        // At first, and when it is woken: retries wake nobody.
        assert_eq!(value, round);
        assert!(polls <= 2, "{polls} polls");
    }
}

/// A waker that panics when it is cloned.
struct Uncloneable;

impl Clone for Uncloneable {
    fn clone(&self) -> Self {
        panic!("in the waker's clone");
    }
}

impl WakeRef for Uncloneable {
    fn wake_by_ref(&self) {}
}

impl cooked_waker::Wake for Uncloneable {}

#[test]
fn p28_a_waker_whose_clone_panics_leaves_the_handle_as_good_as_before() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let mut handle = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(7)
    });
    let broken: Waker = Box::new(Uncloneable).into_waker();
    for _ in 0..3 {
        let poll = || Pin::new(&mut handle).poll(&mut Context::from_waker(&broken));
        assert!(catch_unwind(AssertUnwindSafe(poll)).is_err());
        assert!(!handle.is_settled());
    }
    let polled = Pin::new(&mut handle).poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    keeper.let_through(1);
    assert_eq!(handle.wait().unwrap(), 7);
    await_worker(&pool);
}

#[test]
fn p52_each_handle_comes_out_once_also_the_done_and_the_cancelled() {
    let pool = pool(2);
    let done = pool.submit(|| Ok::<_, ()>(0));
    eventually("settled", || done.is_settled());
    let before = pool.job(|| Ok(1)).delay(HOUR).submit();
    assert!(before.cancel());
    let later: Vec<_> = (2..50)
        .map(|n| pool.job(move || Ok(n)).delay(ms(n % 3)).submit())
        .collect();
    let mut finished = as_completed([done, before].into_iter().chain(later));
    finished.add(pool.job(|| Ok(50)).delay(HOUR).submit());
    let mut seen: Vec<_> = finished
        .by_ref()
        .take(50)
        .map(|done| done.index())
        .collect();
    pool.cancel_all();
    let last = finished.next().unwrap();
    assert_eq!(last.index(), 50);
    assert_eq!(last.result().unwrap_err().reason(), GiveUpReason::Cancelled);
    assert!(finished.next().is_none());
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..50));
}

#[test]
fn p57_an_iteration_over_handles_keeps_nothing_of_what_it_has_yielded() {
    let live = Live::new();
    let pool = pool(1);
    let handles: Vec<_> = (0..100)
        .map(|_| {
            let output = live.clone();
            pool.submit(move || Ok::<_, ()>(output.clone()))
        })
        .collect();
    await_worker(&pool);
    assert_eq!(live.others(), 100);
    let mut finished = as_completed(handles);
    for left in (0..100).rev() {
        drop(finished.next().unwrap());
        assert_eq!(live.others(), left);
    }
}
