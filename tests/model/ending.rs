//! How pools end while something is under way.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use retry_pool::{GiveUpReason, RetryPolicy};

use crate::explore::{choose, explore, thread};
use crate::pools::{LATER, assert_settled, builder, lucky, pool, second_time_lucky};

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
fn a_scope_that_ends_while_a_job_retries() {
    let sides = ["at once", "parked"];
    explore("end of a scope against a retry", &sides, |sides| {
        let runs = AtomicU32::new(0);
        let job = || {
            runs.fetch_add(1, Ordering::SeqCst);
            second_time_lucky()
        };
        let late = choose(2) == 1;
        let handle = builder(1).scope(|pool| {
            let policy = RetryPolicy::fixed(LATER).max_attempts(2);
            let job = pool.job(job);
            let job = if late { job.retry(policy) } else { job };
            drop(job.submit());
        });
        handle.unwrap();
        sides.saw(if late { "parked" } else { "at once" });
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn shutdown_now_against_a_job_that_begins_to_wait() {
    let sides = ["waited for", "inner refused", "inner given up", "not begun"];
    explore("shutdown_now against a nested wait", &sides, |sides| {
        let pool = Arc::new(pool(1));
        let weak = Arc::downgrade(&pool);
        let outer = pool.submit(move || {
            let inner = weak.upgrade().ok_or("dropped")?.submit(lucky);
            let result = inner.wait();
            Ok::<_, &str>(result.map_err(|give_up| (give_up.reason(), give_up.attempts())))
        });
        let stopper = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.shutdown_now()
        });
        sides.saw(match outer.wait() {
            Ok(Ok(1)) => "waited for",
            Ok(Err((GiveUpReason::Shutdown, 0))) if pool.stats().accepted() == 1 => "inner refused",
            Ok(Err((GiveUpReason::Shutdown, 0))) => "inner given up",
            Err(give_up) if give_up.reason() == GiveUpReason::Shutdown => {
                assert_eq!(give_up.attempts(), 0);
                "not begun"
            }
            other => panic!("{other:?}"),
        });
        stopper.join().unwrap();
        pool.shutdown();
        assert_eq!(pool.stats().unsettled(), 0);
    });
}

#[test]
fn drop_of_the_pool_in_one_job_while_another_waits() {
    let sides = ["waited for", "refused"];
    explore("drop of the pool against a nested wait", &sides, |sides| {
        let pool = Arc::new(pool(2));
        let weak = Arc::downgrade(&pool);
        let waiting = pool.submit(move || {
            let inner = weak.upgrade().map(|pool| pool.submit(second_time_lucky));
            // If this was the last reference but one, the other job drops the pool about now.
            Ok::<_, ()>(inner.map(|inner| inner.wait().unwrap()))
        });
        let last = Mutex::new(Some(pool));
        let dropping = {
            let pool = Arc::clone(last.lock().unwrap().as_ref().unwrap());
            pool.submit(move || {
                drop(last.lock().unwrap().take());
                Ok::<_, ()>(())
            })
        };
        sides.saw(match waiting.wait() {
            Ok(Some(2)) => "waited for",
            Ok(None) => "refused",
            other => panic!("{other:?}"),
        });
        dropping.wait().unwrap();
    });
}
