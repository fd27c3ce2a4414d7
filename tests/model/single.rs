//! Single jobs: their retries, and who cancels them.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use retry_pool::{Attempt, GiveUpReason, JobHandle, JobState, RetryBudget, RetryPolicy, RetryPool};

use crate::explore::{choose, explore, mpsc, thread};
use crate::pools::{LATER, assert_settled, lucky, pool, second_time_lucky};

#[test]
fn submit_and_wait() {
    let sides = ["settled first", "waited first"];
    explore("submit and wait", &sides, |sides| {
        let pool = pool(1);
        let job = pool.submit(lucky);
        sides.saw(match job.is_settled() {
            true => "settled first",
            false => "waited first",
        });
        assert_eq!(job.wait().unwrap(), 1);
        pool.shutdown();
        assert_settled(&pool, 1, 0);
    });
}

/// Adds to a count when it is dropped.
struct Tally(Arc<AtomicU32>);

impl Drop for Tally {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn neighbours_in_a_slab() {
    let sides = ["settled before", "not yet settled"];
    explore("neighbours in a slab", &sides, |sides| {
        let pool = pool(2);
        let dropped = Arc::new(AtomicU32::new(0));
        let submit = || {
            let dropped = Arc::clone(&dropped);
            pool.submit(move || Ok::<_, ()>(Tally(Arc::clone(&dropped))))
        };
        let (left, kept) = (submit(), submit());
        sides.saw(match left.is_settled() {
            true => "settled before",
            false => "not yet settled",
        });
        drop(left);
        // In a slab of its own, or in the same one if that is free.
        let [kept, next] = [kept.wait(), submit().wait()].map(Result::unwrap);
        pool.shutdown();
        // What nobody asked for is gone, though the memory it was in may not be.
        assert_eq!(dropped.load(Ordering::SeqCst), 1);
        drop((kept, next));
        assert_eq!(dropped.load(Ordering::SeqCst), 3);
        assert_settled(&pool, 3, 0);
    });
}

#[test]
fn retry_once() {
    let sides = ["queued", "running", "settled"];
    explore("retry at once", &sides, |sides| {
        let pool = pool(1);
        let job = pool.submit(second_time_lucky);
        sides.saw(match job.state() {
            JobState::Queued => "queued",
            JobState::Running => "running",
            _ => "settled",
        });
        assert_eq!(job.wait().unwrap(), 2);
        pool.shutdown();
        assert_settled(&pool, 1, 0);
    });
}

#[test]
fn retry_later() {
    let sides = ["queued", "running", "parked", "settled"];
    explore("retry later", &sides, |sides| {
        let pool = pool(1);
        let policy = RetryPolicy::fixed(LATER).max_attempts(2);
        let job = pool.job(second_time_lucky).retry(policy).submit();
        sides.saw(match job.state() {
            JobState::Queued => "queued",
            JobState::Running => "running",
            JobState::Parked => "parked",
            _ => "settled",
        });
        assert_eq!(job.wait().unwrap(), 2);
        pool.shutdown();
        assert_settled(&pool, 1, 0);
    });
}

#[test]
fn cancel_against_complete() {
    let sides = ["before it began", "while it ran", "too late"];
    explore("cancel against complete", &sides, |sides| {
        let pool = pool(1);
        let job = pool.submit(lucky);
        let told = job.cancel();
        let result = job.wait();
        sides.saw(match (&result, told) {
            (Err(give_up), true) => {
                assert_eq!(give_up.reason(), GiveUpReason::Cancelled);
                assert_eq!(give_up.attempts(), 0);
                "before it began"
            }
            (Ok(1), true) => "while it ran",
            (Ok(1), false) => "too late",
            other => panic!("{other:?}"),
        });
        pool.shutdown();
        assert_settled(&pool, result.is_ok().into(), result.is_err().into());
    });
}

#[test]
fn cancel_against_the_retry_decision() {
    let sides = [
        "before the first",
        "after the first",
        "after the second",
        "in the last",
        "after the last",
        "too late",
    ];
    explore("cancel against the retry decision", &sides, |sides| {
        let pool = pool(1);
        let cancelled = Arc::new(AtomicBool::new(false));
        let late = Arc::new(AtomicU32::new(0));
        let policy = RetryPolicy::immediate().max_attempts(3);
        let job = pool.job({
            let (cancelled, late) = (Arc::clone(&cancelled), Arc::clone(&late));
            move || {
                late.fetch_add(
                    u32::from(cancelled.load(Ordering::SeqCst)),
                    Ordering::SeqCst,
                );
                Err::<(), _>(())
            }
        });
        let job = job.retry(policy).submit();
        let begun = choose(4);
        while job.attempts() < begun {
            thread::yield_now();
        }
        let told = job.cancel();
        cancelled.store(told, Ordering::SeqCst);
        let give_up = job.wait().unwrap_err();
        sides.saw(match (give_up.reason(), give_up.attempts(), told) {
            (GiveUpReason::Cancelled, 0, true) => "before the first",
            (GiveUpReason::Cancelled, 1, true) => "after the first",
            (GiveUpReason::Cancelled, 2, true) => "after the second",
            (GiveUpReason::Cancelled, 3, true) => "in the last",
            (GiveUpReason::AttemptsExhausted, 3, true) => "after the last",
            (GiveUpReason::AttemptsExhausted, 3, false) => "too late",
            other => panic!("{other:?}"),
        });
        // One that had been begun may reach the job's function after the cancel, but no other.
        let late = late.load(Ordering::SeqCst);
        assert!(
            late <= give_up.attempts().min(1),
            "{late} attempts after the cancel"
        );
        pool.shutdown();
        assert_settled(&pool, 0, 1);
    });
}

/// A job that keeps a worker until it is released: what was cancelled before does not wait for that.
fn occupy(pool: &RetryPool) -> (mpsc::Sender<()>, JobHandle<u32, ()>) {
    let (release, released) = mpsc::channel();
    let released = Mutex::new(released);
    let job = pool.submit(move || {
        released.lock().unwrap().recv().unwrap();
        lucky()
    });
    (release, job)
}

#[test]
fn cancel_all_against_a_delayed_job() {
    let sides = ["cancelled", "ran"];
    explore("cancel_all against a delayed job", &sides, |sides| {
        let pool = pool(1);
        let delayed = pool.job(lucky).delay(LATER).submit();
        pool.cancel_all();
        let (release, after) = occupy(&pool);
        let result = delayed.wait();
        sides.saw(match &result {
            Ok(1) => "ran",
            Err(give_up) if give_up.reason() == GiveUpReason::Cancelled => "cancelled",
            other => panic!("{other:?}"),
        });
        release.send(()).unwrap();
        assert_eq!(after.wait().unwrap(), 1);
        pool.shutdown();
        assert_settled(&pool, 1 + u64::from(result.is_ok()), result.is_err().into());
    });
}

#[test]
fn two_submitters_and_sleeping_workers() {
    let sides = ["one worker", "two workers"];
    explore("two submitters, sleeping workers", &sides, |sides| {
        let pool = Arc::new(pool(2));
        let work = |pool: Arc<RetryPool>| {
            let worker = || Ok::<_, ()>(thread::current().id());
            let first = pool.submit(worker).wait().unwrap();
            // By now the other worker sleeps, or is about to.
            (first, pool.submit(worker).wait().unwrap())
        };
        let other = thread::spawn({
            let pool = Arc::clone(&pool);
            move || work(pool)
        });
        let mine = work(Arc::clone(&pool));
        let theirs = other.join().unwrap();
        sides.saw(match [mine.1, theirs.0, theirs.1] == [mine.0; 3] {
            true => "one worker",
            false => "two workers",
        });
        pool.shutdown();
        assert_settled(&pool, 4, 0);
    });
}

#[test]
fn cancel_all_against_a_retry() {
    let sides = ["before the first", "after the first", "succeeded"];
    explore("cancel_all against a retry", &sides, |sides| {
        let pool = pool(1);
        let cancelled = Arc::new(AtomicBool::new(false));
        let job = pool.submit({
            let cancelled = Arc::clone(&cancelled);
            move || {
                // An attempt that begins after it is none, or was about to and is told.
                let is_late = cancelled.load(Ordering::SeqCst);
                assert!(!is_late || Attempt::current().is_cancelled());
                second_time_lucky()
            }
        });
        pool.cancel_all();
        cancelled.store(true, Ordering::SeqCst);
        let (release, after) = occupy(&pool);
        let result = job.wait();
        sides.saw(match &result {
            Ok(2) => "succeeded",
            Err(give_up) if give_up.reason() == GiveUpReason::Cancelled => {
                match give_up.attempts() {
                    0 => "before the first",
                    1 => "after the first",
                    n => panic!("cancelled after {n} attempts"),
                }
            }
            other => panic!("{other:?}"),
        });
        // What comes after the cancel does not share in it.
        release.send(()).unwrap();
        assert_eq!(after.wait().unwrap(), 1);
        pool.shutdown();
        assert_settled(&pool, 1 + u64::from(result.is_ok()), result.is_err().into());
    });
}

#[test]
fn refund_of_a_budget_against_the_cancel_of_a_parked_retry() {
    let sides = ["before the first", "refunded", "spent"];
    explore("refund against the cancel of a retry", &sides, |sides| {
        let pool = pool(1);
        let second = Duration::from_secs(1);
        let budget = RetryBudget::default().ratio(0.0).window(second);
        let budget = budget.min_per_second(1);
        let policy = RetryPolicy::fixed(LATER).max_attempts(2);
        let policy = policy.budget(budget.clone());
        let job = pool.job(second_time_lucky).retry(policy).submit();
        let begun = choose(3);
        while job.attempts() < begun {
            thread::yield_now();
        }
        job.cancel();
        let result = job.wait();
        let left = budget.available();
        sides.saw(match &result {
            Ok(2) => {
                assert_eq!(left, 0);
                "spent"
            }
            Err(give_up) if give_up.reason() == GiveUpReason::Cancelled => {
                assert_eq!(left, 1);
                match give_up.attempts() {
                    0 => "before the first",
                    _ => "refunded",
                }
            }
            other => panic!("{other:?}"),
        });
        pool.shutdown();
        assert_settled(&pool, result.is_ok().into(), result.is_err().into());
    });
}
