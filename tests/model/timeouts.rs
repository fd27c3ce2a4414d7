//! Attempts that are abandoned.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use retry_pool::{CancelToken, GiveUpReason, RetryPolicy};

use crate::explore::{choose, explore, thread, until};
use crate::pools::{LATER, assert_settled, hangs_until, lucky, pool};

#[test]
fn attempt_timeout_against_a_late_result() {
    let sides = ["in time", "one timed out", "both timed out"];
    explore("attempt timeout against a late result", &sides, |sides| {
        let pool = pool(1);
        let results = Arc::new(());
        let job = pool.job({
            let results = Arc::clone(&results);
            move || {
                thread::yield_now();
                Ok::<_, ()>(Arc::clone(&results))
            }
        });
        let job = job.attempt_timeout(LATER).submit();
        assert!(job.attempts() <= 2);
        let result = job.wait();
        let succeeded = result.is_ok();
        sides.saw(match &result {
            Ok(_) if pool.stats().retries() == 0 => "in time",
            Ok(_) => "one timed out",
            Err(give_up) => {
                assert_eq!(give_up.attempts(), 2);
                "both timed out"
            }
        });
        drop(result);
        pool.shutdown();
        assert_settled(&pool, succeeded.into(), (!succeeded).into());
        drop(pool);
        until_dropped(&results);
    });
}

#[test]
fn attempt_timeout_against_a_late_result_in_a_batch() {
    let sides = ["in time", "one timed out", "both timed out"];
    explore("attempt timeout in a batch", &sides, |sides| {
        let pool = pool(1);
        let results = Arc::new(());
        let batch = pool.batch([0_u32], {
            let results = Arc::clone(&results);
            move |_| {
                thread::yield_now();
                Ok::<_, ()>(Arc::clone(&results))
            }
        });
        let mut completed = batch.attempt_timeout(LATER).as_completed();
        let done = completed.next().unwrap();
        assert!(completed.next().is_none());
        let (attempts, result) = (done.attempts(), done.into_result());
        let succeeded = result.is_ok();
        sides.saw(match (&result, attempts) {
            (Ok(_), 1) => "in time",
            (Ok(_), 2) => "one timed out",
            (Err(_), 2) => "both timed out",
            other => panic!("{other:?}"),
        });
        drop((result, completed));
        pool.shutdown();
        assert_settled(&pool, succeeded.into(), (!succeeded).into());
        drop(pool);
        until_dropped(&results);
    });
}

/// What comes late is dropped by a worker that nobody waits for.
fn until_dropped(results: &Arc<()>) {
    until("the late result is dropped", || {
        Arc::strong_count(results) == 1
    });
}

#[test]
fn a_job_behind_a_stuck_one_gets_a_worker() {
    let sides = ["in time", "timed out"];
    explore("a stuck worker is replaced", &sides, |sides| {
        let pool = pool(1 + choose(2) as usize);
        let gate = CancelToken::new();
        let stuck = pool.job(hangs_until(&gate));
        let policy = RetryPolicy::never();
        let stuck = stuck.retry(policy).attempt_timeout(LATER).submit();
        let next = pool.submit(move || {
            gate.cancel();
            Ok::<_, ()>(())
        });
        next.wait().unwrap();
        sides.saw(match stuck.wait() {
            Ok(()) => "in time",
            Err(_) => "timed out",
        });
        pool.shutdown();
        assert_eq!(pool.stats().unsettled(), 0);
    });
}

#[test]
fn shutdown_now_against_the_limit_of_an_attempt() {
    let sides = ["not begun", "abandoned", "abandoned before"];
    explore("shutdown_now against a limit", &sides, |sides| {
        let pool = pool(1);
        let gate = CancelToken::new();
        let job = pool.job(hangs_until(&gate)).retry(RetryPolicy::never());
        let job = job.attempt_timeout(LATER).submit();
        let abandoned_before = job.attempts() == 1 && job.is_settled();
        pool.shutdown_now();
        let give_up = job.wait().unwrap_err();
        sides.saw(match give_up.attempts() {
            0 => "not begun",
            _ if abandoned_before => "abandoned before",
            _ => "abandoned",
        });
        gate.cancel();
        pool.shutdown();
        assert_settled(&pool, 0, 1);
    });
}

#[test]
fn shutdown_now_against_the_limit_of_an_attempt_in_a_batch() {
    let sides = ["not begun", "abandoned"];
    explore("shutdown_now against a limit in a batch", &sides, |sides| {
        let pool = pool(1);
        let gate = CancelToken::new();
        let hangs = hangs_until(&gate);
        // The first one leaves the timer something to look at.
        let batch = pool.batch(std::iter::empty(), move |hang| match hang {
            true => hangs(),
            false => Ok(()),
        });
        let batch = batch.retry(RetryPolicy::never()).attempt_timeout(LATER);
        let mut completed = batch.as_completed();
        // Admitted at once, so both come out.
        completed.extend([false, true]);
        let first = completed.next().unwrap();
        let succeeded = first.result().is_ok();
        drop(first);
        pool.shutdown_now();
        let hanging = completed.next().unwrap();
        assert!(completed.next().is_none());
        sides.saw(match hanging.attempts() {
            0 => "not begun",
            _ => "abandoned",
        });
        gate.cancel();
        pool.shutdown();
        assert_settled(&pool, succeeded.into(), 1 + u64::from(!succeeded));
    });
}

#[test]
fn an_abandoned_job_begins_to_wait_while_its_pool_is_dropped() {
    let sides = ["waited in time", "waited late"];
    explore("wait in an abandoned job", &sides, |sides| {
        let pool = pool(1);
        let waits = Arc::new(AtomicU32::new(0));
        let panics = Arc::new(AtomicU32::new(0));
        let job = pool.job({
            let (waits, panics) = (Arc::clone(&waits), Arc::clone(&panics));
            move || {
                let wait = || CancelToken::new().wait_timeout(LATER);
                let waited = catch_unwind(AssertUnwindSafe(wait));
                panics.fetch_add(waited.is_err().into(), Ordering::SeqCst);
                waits.fetch_add(1, Ordering::SeqCst);
                Ok::<_, ()>(())
            }
        });
        let policy = RetryPolicy::never();
        let job = job.retry(policy).attempt_timeout(LATER).submit();
        drop(pool);
        let in_time = job.wait().is_ok();
        until("the job has waited", || waits.load(Ordering::SeqCst) == 1);
        assert_eq!(panics.load(Ordering::SeqCst), 0);
        sides.saw(match in_time {
            true => "waited in time",
            false => "waited late",
        });
    });
}

#[test]
fn a_deadline_passes_while_the_only_worker_takes_an_endless_job() {
    let sides = ["before it", "while it runs"];
    explore(
        "a deadline against a worker that gets busy",
        &sides,
        |sides| {
            let pool = pool(1);
            let gate = CancelToken::new();
            let late = pool.job(lucky).delay(LATER).timeout(LATER).submit();
            let endless = pool.submit(hangs_until(&gate));
            let give_up = late.wait().unwrap_err();
            assert_eq!(give_up.reason(), GiveUpReason::DeadlineExceeded);
            sides.saw(match endless.attempts() {
                0 => "before it",
                _ => "while it runs",
            });
            gate.cancel();
            endless.wait().unwrap();
            pool.shutdown();
            assert_settled(&pool, 1, 1);
        },
    );
}

/// Who was started for one of them, and had none left, took the next as its last, and nobody the one after.
#[test]
fn what_is_due_waits_for_what_comes_due_next() {
    let sides = ["all in time", "some are due", "all are due"];
    explore("what is due waits for the next", &sides, |sides| {
        let pool = pool(1);
        let (gate, next) = (CancelToken::new(), CancelToken::new());
        let held = pool.submit({
            let (steps_away, hangs) = (choose(2) == 0, hangs_until(&gate));
            move || {
                if steps_away {
                    CancelToken::new().wait_timeout(LATER);
                }
                hangs()
            }
        });
        let first = pool.job(lucky).timeout(LATER).submit();
        let settles = next.clone();
        let job = pool.job({
            let next = next.clone();
            move || {
                next.cancel();
                lucky()
            }
        });
        let job = job.timeout(LATER).on_give_up(move |_| settles.cancel());
        let waits = pool.job(lucky).timeout(LATER);
        let waits = waits.on_give_up(move |_| {
            next.wait_timeout(Duration::MAX);
        });
        let jobs = [first, waits.submit(), job.submit()];
        if choose(2) == 0 {
            gate.cancel();
        }
        let due = jobs.into_iter().map(|job| usize::from(job.wait().is_err()));
        sides.saw(match due.sum() {
            0 => "all in time",
            3 => "all are due",
            _ => "some are due",
        });
        gate.cancel();
        held.wait().unwrap();
        pool.shutdown();
    });
}
