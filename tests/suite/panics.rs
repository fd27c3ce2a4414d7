//! Panics in jobs, payloads, results, inputs, errors and wakers: contained, and the workers live on.

use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::{future::Future, panic::panic_any, pin::Pin};

use crate::common::{gate, pool};
use retry_pool::{AttemptError, GiveUpReason, RetryPolicy, RetryPool};

/// Panics when it is dropped, and that panic's payload does so too, `depth` times.
#[derive(Debug)]
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Bomb(self.0 - 1));
        }
    }
}

/// Every worker still serves, and the counts add up.
fn assert_sound(pool: &RetryPool, threads: usize) {
    let (gate, keeper) = gate();
    let held: Vec<_> = (0..threads)
        .map(|_| {
            let gate = gate.clone();
            pool.submit(move || {
                gate.pass();
                Ok::<_, ()>(())
            })
        })
        .collect();
    keeper.await_arrivals(threads);
    keeper.let_through(threads);
    held.into_iter().for_each(|handle| handle.wait().unwrap());
    pool.shutdown();
    let stats = pool.stats();
    assert_eq!(stats.accepted(), stats.succeeded() + stats.gave_up());
}

#[test]
fn a_panic_is_an_error_value_with_its_payload() {
    let pool = pool(2);
    let give_up = pool
        .submit(|| -> Result<(), ()> { panic_any(42u8) })
        .wait()
        .unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.attempts()),
        (GiveUpReason::Panicked, 1)
    );
    let Some(AttemptError::Panicked(panic)) = give_up.into_last_error() else {
        panic!("no panic")
    };
    assert_eq!(panic.message(), "a payload that is not text");
    assert_eq!(*panic.into_payload().downcast::<u8>().unwrap(), 42);
    assert_sound(&pool, 2);
}

#[test]
fn a_panicking_job_does_not_disturb_its_siblings() {
    let pool = pool(2);
    let run = |n: &u32| {
        if n.is_multiple_of(3) {
            panic!("{n}")
        } else {
            Ok::<_, String>(*n)
        }
    };
    let report = pool.batch(0..300, run).run();
    assert_eq!(
        (report.succeeded().len(), report.gave_up().len()),
        (200, 100)
    );
    for done in report.gave_up() {
        let give_up = done.result().unwrap_err();
        assert_eq!(
            (give_up.reason(), give_up.attempts()),
            (GiveUpReason::Panicked, 1)
        );
        assert!(
            give_up
                .to_string()
                .ends_with(&format!("panicked: {}", done.input()))
        );
    }
    assert_sound(&pool, 2);
}

#[test]
fn payloads_that_panic_when_dropped_are_contained() {
    let pool = pool(2);
    for depth in 0..4 {
        // Dropped by a worker, by the caller with its result, by the caller in a report, and with the iterator.
        drop(pool.submit(move || -> Result<(), ()> { panic_any(Bomb(depth)) }));
        let run = move |_: &u32| -> Result<(), ()> { panic_any(Bomb(depth)) };
        drop(pool.submit(move || run(&0)).wait());
        assert_eq!(pool.batch(0..10, run).run().gave_up().len(), 10);
        drop(pool.batch(0..10, run).as_completed().next());
    }
    assert_sound(&pool, 2);
}

#[test]
fn results_jobs_and_errors_that_panic_when_dropped_are_contained() {
    let pool = pool(2);
    for _ in 0..10 {
        drop(pool.submit(|| Ok::<_, ()>(Bomb(2))));
        drop(pool.submit(|| Err::<(), _>(Bomb(2))));
        let captured = Bomb(1);
        let job = pool.submit(move || {
            let _ = &captured;
            Err::<(), _>(())
        });
        assert!(job.wait().is_err());
        let settled = pool.submit(|| Ok::<_, ()>(Bomb(1)));
        while !settled.is_settled() {
            std::thread::yield_now();
        }
        drop(settled);
    }
    assert_sound(&pool, 2);
}

#[test]
fn a_batch_dropped_early_contains_its_bombs() {
    let pool = pool(2);
    let captured = Bomb(0);
    let mut batch = pool
        .batch((0..).map(|_| Bomb(2)), move |_| {
            let _ = &captured;
            if false { Err(Bomb(2)) } else { Ok(Bomb(2)) }
        })
        .window(20)
        .as_completed();
    std::mem::forget(batch.next());
    drop(batch);
    assert_sound(&pool, 2);
}

#[test]
fn an_iteration_in_order_dropped_early_contains_what_waits_for_its_turn() {
    let pool = pool(2);
    let (tell, told) = mpsc::channel();
    let told = Mutex::new(told);
    let job = move |n: &u32| {
        match n {
            0 => told.lock().unwrap().recv().unwrap(),
            9 => tell.send(()).unwrap(),
            _ => {}
        }
        Ok::<_, ()>(Bomb((*n).min(2)))
    };
    let mut batch = pool.batch(0..10, job).in_order();
    assert_eq!(batch.next().unwrap().index(), 0);
    drop(batch);
    assert_sound(&pool, 2);
}

#[test]
fn a_job_that_fails_with_bombs_before_it_succeeds() {
    let pool = pool(1);
    let mut batch = pool
        .batch([()], |_| match retry_pool::Attempt::current().number() {
            1 | 2 => Err(Bomb(2)),
            n => Ok(n),
        })
        .retry(RetryPolicy::immediate())
        .as_completed();
    assert_eq!(batch.next().unwrap().into_result().ok(), Some(3));
    assert!(batch.next().is_none());
    assert_sound(&pool, 1);
}

struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("in wake");
    }
}

impl Drop for Panicking {
    fn drop(&mut self) {
        panic!("in the waker's drop");
    }
}

#[test]
fn a_waker_that_panics_is_contained() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let mut handle = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(1)
    });
    let waker = Waker::from(Arc::new(Panicking));
    assert!(
        Pin::new(&mut handle)
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    std::mem::forget(waker);
    keeper.let_through(1);
    assert_eq!(handle.wait().unwrap(), 1);
    assert_sound(&pool, 1);
}
