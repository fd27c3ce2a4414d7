//! The scenarios, the simple ones first.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use retry_pool::{
    Attempt, Completion, FailFast, GiveUpReason, JobState, RetryPolicy, RetryPool,
    RetryPoolBuilder, TrySubmitError,
};

use crate::explore::{block_on, choose, explore, thread};

/// In the model any time that somebody waits for may pass at once.
const LATER: Duration = Duration::from_millis(1);

/// A pool without anything random, whose jobs have two attempts.
fn builder(threads: usize) -> RetryPoolBuilder {
    let policy = RetryPolicy::immediate().max_attempts(2);
    RetryPool::builder()
        .threads(threads)
        .jitter_seed(1)
        .retry(policy)
}

fn pool(threads: usize) -> RetryPool {
    builder(threads).build().unwrap()
}

/// Fails at the first attempt.
fn second_time_lucky() -> Result<u32, ()> {
    match Attempt::current().number() {
        1 => Err(()),
        n => Ok(n),
    }
}

fn lucky() -> Result<u32, ()> {
    Ok(Attempt::current().number())
}

/// Nothing is left over, and each job was counted as it ended.
fn assert_settled(pool: &RetryPool, succeeded: u64, gave_up: u64) {
    let stats = pool.stats();
    assert_eq!((stats.succeeded(), stats.gave_up()), (succeeded, gave_up));
    assert_eq!(stats.accepted(), succeeded + gave_up);
}

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
fn two_jobs_at_capacity_one() {
    let sides = ["full", "room"];
    explore("two jobs at capacity 1", &sides, |sides| {
        let pool = builder(1).capacity(1).build().unwrap();
        let inside = Arc::new(AtomicU32::new(0));
        // It holds the only permit for as long as it is retried.
        let first = pool.submit({
            let inside = Arc::clone(&inside);
            move || {
                inside.store(1, Ordering::SeqCst);
                let result = second_time_lucky();
                inside.store(u32::from(result.is_err()), Ordering::SeqCst);
                result
            }
        });
        let alone = move || Ok::<_, ()>(inside.load(Ordering::SeqCst) == 0);
        let second = match pool.try_submit(alone) {
            Ok(second) => {
                sides.saw("room");
                second
            }
            Err(TrySubmitError::Full(alone)) => {
                sides.saw("full");
                pool.submit(alone)
            }
            Err(_) => panic!("the pool is open"),
        };
        assert_eq!(first.wait().unwrap(), 2);
        assert!(second.wait().unwrap());
        pool.shutdown();
        assert_settled(&pool, 2, 0);
    });
}

#[test]
fn three_submitters_at_capacity_one() {
    let sides = ["in order", "overtaken"];
    explore("three submitters at capacity 1", &sides, |sides| {
        let pool = Arc::new(builder(1).capacity(1).build().unwrap());
        let order = Arc::new(Mutex::new(Vec::new()));
        let submitters: Vec<_> = (0..3)
            .map(|n| {
                let (pool, order) = (Arc::clone(&pool), Arc::clone(&order));
                thread::spawn(move || {
                    let job = pool.submit(move || {
                        order.lock().unwrap().push(n);
                        Ok::<_, ()>(())
                    });
                    job.wait().unwrap();
                })
            })
            .collect();
        submitters
            .into_iter()
            .for_each(|submitter| submitter.join().unwrap());
        sides.saw(match order.lock().unwrap().is_sorted() {
            true => "in order",
            false => "overtaken",
        });
        pool.shutdown();
        assert_settled(&pool, 3, 0);
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

#[test]
fn park_against_shutdown_now() {
    let sides = ["before the first", "parked", "succeeded"];
    explore("park against shutdown_now", &sides, |sides| {
        let pool = pool(1);
        let policy = RetryPolicy::fixed(LATER).max_attempts(2);
        let job = pool.job(second_time_lucky).retry(policy).submit();
        let stopper = thread::spawn(move || {
            pool.shutdown_now();
            pool
        });
        let result = job.wait();
        sides.saw(match &result {
            Ok(2) => "succeeded",
            Err(give_up) if give_up.reason() == GiveUpReason::Shutdown => {
                match give_up.attempts() {
                    0 => "before the first",
                    _ => "parked",
                }
            }
            other => panic!("{other:?}"),
        });
        let pool = stopper.join().unwrap();
        assert_settled(&pool, result.is_ok().into(), result.is_err().into());
    });
}

#[test]
fn park_against_shutdown() {
    let sides = ["drained", "nothing to drain"];
    explore("park against shutdown", &sides, |sides| {
        let pool = pool(1);
        let policy = RetryPolicy::fixed(LATER).max_attempts(2);
        let job = pool.job(second_time_lucky).retry(policy).submit();
        sides.saw(match pool.shutdown().drained() {
            0 => "nothing to drain",
            _ => "drained",
        });
        assert_eq!(job.wait().unwrap(), 2);
        assert_settled(&pool, 1, 0);
    });
}

#[test]
fn two_shutdowns() {
    let sides = ["drained", "given up"];
    explore("two shutdowns", &sides, |sides| {
        let pool = Arc::new(pool(1));
        let job = pool.submit(second_time_lucky);
        let other = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.shutdown_timeout(LATER)
        });
        pool.shutdown();
        other.join().unwrap();
        sides.saw(match job.wait() {
            Ok(_) => "drained",
            Err(give_up) => {
                assert_eq!(give_up.reason(), GiveUpReason::Shutdown);
                "given up"
            }
        });
        assert_eq!(pool.stats().unsettled(), 0);
    });
}

#[test]
fn shutdown_against_submit() {
    let sides = ["accepted", "refused"];
    explore("shutdown against submit", &sides, |sides| {
        let pool = Arc::new(pool(1));
        let submitter = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.submit(second_time_lucky)
        });
        pool.shutdown();
        let accepted = match submitter.join().unwrap().wait() {
            Ok(2) => {
                sides.saw("accepted");
                1
            }
            Err(give_up) if give_up.reason() == GiveUpReason::Shutdown => {
                sides.saw("refused");
                0
            }
            other => panic!("{other:?}"),
        };
        assert_settled(&pool, accepted, 0);
    });
}

#[test]
fn shutdown_against_a_blocked_submitter() {
    let sides = ["accepted", "refused"];
    explore("shutdown against a blocked submitter", &sides, |sides| {
        let pool = Arc::new(builder(1).capacity(1).build().unwrap());
        let first = pool.submit(second_time_lucky);
        let submitter = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.submit(lucky)
        });
        pool.shutdown();
        let accepted = match submitter.join().unwrap().wait() {
            Ok(1) => {
                sides.saw("accepted");
                1
            }
            Err(give_up) if give_up.reason() == GiveUpReason::Shutdown => {
                sides.saw("refused");
                0
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(first.wait().unwrap(), 2);
        assert_settled(&pool, 1 + accepted, 0);
    });
}

#[test]
fn full_window_against_fail_fast_and_a_blocked_sender() {
    let sides = ["sent 1", "sent 2", "sent 3", "sent all 4"];
    explore("full window, fail-fast, blocked sender", &sides, |sides| {
        let pool = pool(2);
        let batch = pool.batch(std::iter::empty(), |n: &u32| match n {
            0 => Err(()),
            n => Ok(*n),
        });
        let policy = RetryPolicy::never();
        let batch = batch.window(2).retry(policy);
        let (sender, completed) = batch.fail_fast(FailFast::AfterFailures(1)).channel();
        let producer = thread::spawn(move || {
            let sent = (0..4).take_while(|n| sender.send(*n).is_ok());
            sent.count()
        });
        let mut outcomes: Vec<_> = completed.map(Completion::into_parts).collect();
        let sent = producer.join().unwrap();
        outcomes.sort_by_key(|(input, _)| *input);
        assert_eq!(outcomes.len(), sent);
        let reasons = outcomes.iter().map(|(_, result)| match result {
            Ok(_) => None,
            Err(give_up) => Some(give_up.reason()),
        });
        let reasons: Vec<_> = reasons.collect();
        assert_eq!(reasons[0], Some(GiveUpReason::AttemptsExhausted));
        let stopped = [None, Some(GiveUpReason::FailFast)];
        assert!(reasons[1..].iter().all(|reason| stopped.contains(reason)));
        sides.saw(["sent 1", "sent 2", "sent 3", "sent all 4"][sent - 1]);
        pool.shutdown();
        let gave_up = reasons.iter().flatten().count();
        assert_settled(&pool, (sent - gave_up) as u64, gave_up as u64);
    });
}

#[test]
fn a_batch_with_retries() {
    let sides = ["in order", "out of order"];
    explore("a batch with retries", &sides, |sides| {
        let pool = pool(2);
        let batch = pool.batch(0..3_u32, |n| match (n, Attempt::current().number()) {
            (0, 1) => Err(()),
            _ => Ok(*n),
        });
        let completed = batch.window(2);
        let order: Vec<_> = completed
            .into_iter()
            .map(|done| done.into_result().unwrap())
            .collect();
        sides.saw(match order.is_sorted() {
            true => "in order",
            false => "out of order",
        });
        assert_eq!(order.iter().sum::<u32>(), 3);
        pool.shutdown();
        assert_settled(&pool, 3, 0);
    });
}

#[test]
fn a_nested_wait_with_one_worker() {
    let sides = ["in order", "overtaken"];
    explore("nested wait, one worker", &sides, |sides| {
        let pool = Arc::new(pool(1));
        let order = Arc::new(Mutex::new(Vec::new()));
        let outer = (0..2).map(|n| {
            let (weak, order) = (Arc::downgrade(&pool), Arc::clone(&order));
            pool.submit(move || {
                let inner = weak.upgrade().ok_or(())?.submit(second_time_lucky);
                inner.wait().map_err(drop)?;
                order.lock().unwrap().push(n);
                Ok::<_, ()>(())
            })
        });
        let outer: Vec<_> = outer.collect();
        outer.into_iter().for_each(|outer| outer.wait().unwrap());
        sides.saw(match order.lock().unwrap().is_sorted() {
            true => "in order",
            false => "overtaken",
        });
        pool.shutdown();
        assert_settled(&pool, 4, 0);
    });
}

#[test]
fn a_nested_wait_comes_back_while_work_arrives() {
    let sides = ["by the worker", "by the spare"];
    explore("nested wait against submit", &sides, |sides| {
        let pool = Arc::new(pool(1));
        let thread_of = || Ok::<_, ()>(thread::current().id());
        let weak = Arc::downgrade(&pool);
        let outer = pool.submit(move || {
            let inner = weak.upgrade().ok_or(())?.submit(thread_of);
            inner.wait().map_err(drop)
        });
        let spare = outer.wait().unwrap();
        // Meanwhile the worker comes back, and the spare leaves.
        let next = pool.submit(thread_of).wait().unwrap();
        sides.saw(match next == spare {
            true => "by the spare",
            false => "by the worker",
        });
        pool.shutdown();
        assert_settled(&pool, 3, 0);
    });
}

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
        let attempts = |handle: &retry_pool::JobHandle<Arc<()>, ()>| handle.attempts();
        let begun = attempts(&job);
        assert!(begun <= 2);
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
        // What came late is dropped by a worker that nobody waits for.
        for _ in 0..1_000 {
            if Arc::strong_count(&results) == 1 {
                return;
            }
            thread::yield_now();
        }
        panic!("a late result was kept");
    });
}

#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn await_against_settle_and_drop_of_the_handle() {
    let sides = ["ready at once", "ready later", "dropped"];
    explore("await against settle and drop", &sides, |sides| {
        let pool = pool(1);
        let (mut job, other) = (pool.submit(lucky), pool.submit(lucky));
        let woken = Arc::<Count>::default();
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        match std::pin::Pin::new(&mut job).poll(&mut context) {
            Poll::Ready(result) => {
                assert_eq!(result.unwrap(), 1);
                sides.saw("ready at once");
            }
            // Polled again with another waker, which takes the place of the first.
            Poll::Pending => match other.is_settled() {
                true => {
                    drop(job);
                    sides.saw("dropped");
                }
                false => {
                    assert_eq!(block_on(job).unwrap(), 1);
                    sides.saw("ready later");
                }
            },
        }
        // Dropped while it may be about to be settled.
        drop(other);
        pool.shutdown();
        assert!(woken.0.load(Ordering::SeqCst) <= 1);
        assert_settled(&pool, 2, 0);
    });
}

#[test]
fn resubmit_against_the_end_of_the_iteration() {
    let sides = ["yielded again", "ended first"];
    explore("resubmit against the end", &sides, |sides| {
        let pool = pool(1);
        let batch = pool.batch([0_u32], |_| second_time_lucky());
        let mut completed = batch.retry(RetryPolicy::never()).as_completed();
        let failed = completed.next().unwrap();
        assert!(failed.result().is_err());
        let other = thread::spawn(move || failed.try_resubmit().is_ok());
        let again = completed.next();
        sides.saw(match again.is_some() {
            true => "yielded again",
            false => "ended first",
        });
        assert!(other.join().unwrap());
        let again = again.or_else(|| completed.next()).unwrap();
        assert_eq!(
            (again.into_result().unwrap(), completed.next().is_none()),
            (2, true)
        );
        drop(completed);
        pool.shutdown();
        assert_settled(&pool, 1, 1);
    });
}

#[test]
fn drop_of_the_pool_in_a_worker() {
    let sides = ["in the worker", "outside"];
    explore("drop of the pool in a worker", &sides, |sides| {
        let pool = Arc::new(pool(1));
        let kept = Mutex::new(Some(Arc::clone(&pool)));
        let job = pool.submit(move || {
            let pool = kept.lock().unwrap().take();
            Ok::<_, ()>(pool.and_then(Arc::into_inner).is_some())
        });
        let outside = Arc::into_inner(pool).is_some();
        let inside = job.wait().unwrap();
        assert_ne!(inside, outside);
        sides.saw(match inside {
            true => "in the worker",
            false => "outside",
        });
    });
}

#[test]
fn cancel_all_against_a_delayed_job() {
    let sides = ["cancelled", "ran"];
    explore("cancel_all against a delayed job", &sides, |sides| {
        let pool = pool(1);
        let delayed = pool.job(lucky).delay(LATER).submit();
        pool.cancel_all();
        let after = pool.submit(lucky);
        let result = delayed.wait();
        sides.saw(match &result {
            Ok(1) => "ran",
            Err(give_up) if give_up.reason() == GiveUpReason::Cancelled => "cancelled",
            other => panic!("{other:?}"),
        });
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
