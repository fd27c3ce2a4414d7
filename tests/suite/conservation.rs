//! Every accepted job settles exactly once, with the attempts that its script says, and the counts add up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::common::pool;
use retry_pool::{Attempt, GiveUpReason, RetryPolicy, RetryPool};

/// What a job does, by its number: how often it fails, and then how it ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Success,
    Permanent,
    Panic,
    Exhausted,
}

fn script(n: u64) -> (u32, End) {
    // Multiplying by a large odd number spreads neighbours over the table.
    let roll = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    let failures = (roll % 4) as u32;
    let end = match roll / 4 % 50 {
        0 => End::Panic,
        1 => End::Exhausted,
        2..5 => End::Permanent,
        _ => End::Success,
    };
    (failures, end)
}

const LIMIT: u32 = 6;

fn run(n: u64) -> Result<u64, &'static str> {
    let (failures, end) = script(n);
    match end {
        _ if Attempt::current().number() <= failures => Err("transient"),
        End::Success => Ok(n),
        End::Permanent => Err("permanent"),
        End::Panic => std::panic::resume_unwind(Box::new(n)),
        End::Exhausted => Err("transient"),
    }
}

fn expected(n: u64) -> (u32, Option<GiveUpReason>) {
    let (failures, end) = script(n);
    match end {
        End::Success => (failures + 1, None),
        End::Permanent => (failures + 1, Some(GiveUpReason::Permanent)),
        End::Panic => (failures + 1, Some(GiveUpReason::Panicked)),
        End::Exhausted => (LIMIT, Some(GiveUpReason::AttemptsExhausted)),
    }
}

fn assert_counts(pool: &RetryPool, jobs: u64) {
    let stats = pool.stats();
    let all = || (0..jobs).map(expected);
    let ended_as = |reason| all().filter(|(_, end)| *end == reason).count() as u64;
    assert_eq!(stats.accepted(), jobs);
    assert_eq!(stats.succeeded(), ended_as(None));
    assert_eq!(stats.succeeded() + stats.gave_up(), jobs);
    for reason in [
        GiveUpReason::Permanent,
        GiveUpReason::Panicked,
        GiveUpReason::AttemptsExhausted,
    ] {
        assert_eq!(stats.gave_up_as(reason), ended_as(Some(reason)), "{reason}");
    }
    assert_eq!(
        stats.retries(),
        all()
            .map(|(attempts, _)| u64::from(attempts) - 1)
            .sum::<u64>()
    );
    assert_eq!(stats.unsettled(), 0);
}

#[test]
fn three_hundred_thousand_jobs_of_a_batch_settle_exactly_once() {
    const JOBS: u64 = 300_000;
    let pool = pool(4);
    let seen: Vec<AtomicU8> = (0..JOBS).map(|_| AtomicU8::new(0)).collect();
    let batch = pool
        .batch(0..JOBS, |n| run(*n))
        .retry(RetryPolicy::immediate().max_attempts(LIMIT))
        .retry_if(|error| *error == "transient");
    for done in batch {
        let n = *done.input();
        assert_eq!(
            seen[n as usize].fetch_add(1, Ordering::Relaxed),
            0,
            "{n} came out twice"
        );
        let end = done.result().err().map(retry_pool::GiveUp::reason);
        assert_eq!((done.attempts(), end), expected(n));
    }
    assert!(seen.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    assert_counts(&pool, JOBS);
}

#[test]
fn single_jobs_from_many_threads_settle_exactly_once() {
    const JOBS: u64 = 40_000;
    const SUBMITTERS: u64 = 4;
    let pool = Arc::new(pool(4));
    std::thread::scope(|scope| {
        for submitter in 0..SUBMITTERS {
            let pool = &pool;
            scope.spawn(move || {
                let numbers = (0..JOBS).filter(|n| n % SUBMITTERS == submitter);
                let submit = |n| {
                    let job = pool
                        .job(move || run(n))
                        .retry(RetryPolicy::immediate().max_attempts(LIMIT));
                    (n, job.retry_if(|error| *error == "transient").submit())
                };
                for (n, handle) in numbers.map(submit).collect::<Vec<_>>() {
                    let (attempts, end) = expected(n);
                    match handle.wait() {
                        Ok(value) => assert_eq!((value, None), (n, end)),
                        Err(give_up) => assert_eq!(
                            (give_up.attempts(), Some(give_up.reason())),
                            (attempts, end)
                        ),
                    }
                }
            });
        }
    });
    assert_counts(&pool, JOBS);
}

#[test]
fn a_hundred_thousand_jobs_that_each_fail_five_times_are_all_delivered() {
    let pool = pool(2);
    let run = |_: &u32| {
        if Attempt::current().number() <= 5 {
            Err(())
        } else {
            Ok(())
        }
    };
    let batch = pool
        .batch(0..100_000u32, run)
        .retry(RetryPolicy::immediate().max_attempts(6));
    let delivered = batch
        .as_completed()
        .filter(|done| done.result().is_ok() && done.attempts() == 6)
        .count();
    assert_eq!(delivered, 100_000);
    assert_eq!(pool.stats().retries(), 500_000);
}

#[test]
fn a_thousand_short_lived_batches_are_all_in_the_counts() {
    let pool = pool(2);
    for _ in 0..1_000 {
        assert_eq!(
            pool.batch(0..3, |n| Ok::<_, ()>(*n))
                .as_completed()
                .take(2)
                .count(),
            2
        );
    }
    pool.shutdown();
    let stats = pool.stats();
    assert_eq!(stats.accepted(), 3_000);
    assert_eq!(stats.succeeded() + stats.gave_up(), 3_000);
}
