//! Tiny jobs that workers take together, in pockets, against whoever takes them back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use retry_pool::{Attempt, Completion, GiveUpReason};

use crate::explore::{choose, explore, thread};
use crate::pools::{assert_settled, pool};

/// Enough for pockets: a worker alone takes half of what is queued, one of two a fourth.
const JOBS: u32 = 10;

#[test]
fn pockets_against_two_workers_and_retries() {
    let sides = ["a retry last", "a fresh job last"];
    explore("tiny jobs, retries", &sides, |sides| {
        let pool = pool(2);
        let batch = pool.batch(0..JOBS, |n| match (n % 4, Attempt::current().number()) {
            (3, 1) => Err(()),
            _ => Ok(*n),
        });
        let done = batch.into_iter().map(Completion::into_result);
        let order: Vec<_> = done.map(Result::unwrap).collect();
        sides.saw(match order.last() {
            Some(n) if n % 4 == 3 => "a retry last",
            _ => "a fresh job last",
        });
        assert_eq!(order.iter().sum::<u32>(), (0..JOBS).sum());
        pool.shutdown();
        assert_settled(&pool, JOBS.into(), 0);
    });
}

#[test]
fn pockets_against_a_cancel() {
    let sides = ["none begun", "some begun", "all done"];
    explore("tiny jobs, cancel", &sides, |sides| {
        let pool = pool(2);
        let begun = Arc::new(AtomicU32::new(0));
        let batch = pool.batch(std::iter::empty(), {
            let begun = Arc::clone(&begun);
            move |n: &u32| {
                begun.fetch_add(1, Ordering::SeqCst);
                Ok::<_, ()>(*n)
            }
        });
        let mut completed = batch.as_completed();
        completed.extend(0..JOBS);
        completed.cancel();
        let outcomes: Vec<_> = completed.by_ref().collect();
        let begun = begun.load(Ordering::SeqCst) as usize;
        let succeeded = outcomes.iter().filter(|done| done.result().is_ok()).count();
        assert_eq!(succeeded, begun, "one began and was not told of");
        let cancelled = outcomes.iter().filter_map(|done| done.result().err());
        assert!(
            cancelled
                .map(retry_pool::GiveUp::reason)
                .all(|reason| reason == GiveUpReason::Cancelled)
        );
        assert_eq!(outcomes.len(), JOBS as usize);
        sides.saw(match begun {
            0 => "none begun",
            begun if begun < outcomes.len() => "some begun",
            _ => "all done",
        });
        drop((outcomes, completed));
        pool.shutdown();
        assert_settled(&pool, begun as u64, u64::from(JOBS) - begun as u64);
    });
}

#[test]
fn pockets_against_a_drop_of_the_iteration() {
    let sides = ["some begun", "all done"];
    explore("tiny jobs, drop", &sides, |sides| {
        let pool = pool(2);
        let live = Arc::new(());
        let inputs: Vec<_> = (0..JOBS).map(|_| Arc::clone(&live)).collect();
        let mut completed = pool
            .batch(std::iter::empty::<Arc<()>>(), |_| {
                thread::yield_now();
                Ok::<_, ()>(())
            })
            .as_completed();
        completed.extend(inputs);
        // The first of them, or all but one.
        let taken = [1, JOBS as usize - 1][choose(2) as usize];
        assert_eq!(completed.by_ref().take(taken).count(), taken);
        drop(completed);
        pool.shutdown();
        let stats = pool.stats();
        assert_eq!(stats.unsettled(), 0);
        sides.saw(match stats.gave_up() {
            0 => "all done",
            _ => "some begun",
        });
        drop(pool);
        assert_eq!(Arc::strong_count(&live), 1);
    });
}

#[test]
fn pockets_against_a_job_that_waits() {
    let sides = ["in order", "out of order"];
    explore("tiny jobs, nested wait", &sides, |sides| {
        let pool = Arc::new(pool(1));
        let weak = Arc::downgrade(&pool);
        let batch = pool.batch(0..JOBS, move |n| {
            if *n == 2 {
                let inner = weak.upgrade().ok_or(())?.submit(|| Ok::<_, ()>(()));
                inner.wait().map_err(drop)?;
            }
            Ok::<_, ()>(*n)
        });
        let done = batch.into_iter().map(Completion::into_result);
        let order: Vec<_> = done.map(Result::unwrap).collect();
        assert_eq!(order.iter().sum::<u32>(), (0..JOBS).sum());
        sides.saw(match order.is_sorted() {
            true => "in order",
            false => "out of order",
        });
        pool.shutdown();
        assert_settled(&pool, u64::from(JOBS) + 1, 0);
    });
}

#[test]
fn pockets_with_failures_against_a_cancel() {
    let sides = ["none begun", "some retried", "none retried", "all done"];
    explore("tiny jobs, retries and cancel", &sides, |sides| {
        let pool = pool(2);
        let calls = Arc::new(AtomicU32::new(0));
        let batch = pool.batch(std::iter::empty(), {
            let calls = Arc::clone(&calls);
            move |n: &u32| {
                calls.fetch_add(1, Ordering::SeqCst);
                match (n % 2, Attempt::current().number()) {
                    (1, 1) => Err(()),
                    _ => Ok(*n),
                }
            }
        });
        let mut completed = batch.as_completed();
        completed.extend(0..JOBS);
        completed.cancel();
        let outcomes: Vec<_> = completed.by_ref().collect();
        let calls = calls.load(Ordering::SeqCst);
        let attempts: u32 = outcomes.iter().map(Completion::attempts).sum();
        assert_eq!(calls, attempts, "an attempt was lost, or told twice");
        let mut inputs: Vec<_> = outcomes.iter().map(|done| *done.input()).collect();
        inputs.sort_unstable();
        assert!(inputs.into_iter().eq(0..JOBS));
        for done in &outcomes {
            let wanted = match done.result() {
                Ok(_) => 1 + done.input() % 2..=1 + done.input() % 2,
                Err(_) => 0..=done.input() % 2,
            };
            assert!(wanted.contains(&done.attempts()), "{done:?}");
        }
        let succeeded = outcomes.iter().filter(|done| done.result().is_ok()).count();
        let retried = outcomes.iter().any(|done| done.attempts() == 2);
        sides.saw(match (calls, succeeded) {
            (0, _) => "none begun",
            (_, all) if all == outcomes.len() => "all done",
            _ if retried => "some retried",
            _ => "none retried",
        });
        drop((outcomes, completed));
        pool.shutdown();
        assert_settled(&pool, succeeded as u64, u64::from(JOBS) - succeeded as u64);
    });
}
