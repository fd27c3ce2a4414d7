//! Handles of single jobs: waiting, polling, awaiting, dropping.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::common::{Live, gate, ms, pool};
use retry_pool::{AttemptError, GiveUpReason, JobHandle, RetryPolicy, RetryPool};

#[derive(Default)]
struct CountingWaker(AtomicUsize);

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll<T, E>(
    handle: &mut JobHandle<T, E>,
    waker: &Waker,
) -> Poll<Result<T, retry_pool::GiveUp<E>>> {
    Pin::new(handle).poll(&mut Context::from_waker(waker))
}

#[test]
fn a_result_can_be_waited_for_asked_for_and_awaited() {
    let pool = pool(2);
    let submit = || pool.submit(|| Ok::<_, ()>(7));
    assert_eq!(submit().wait().unwrap(), 7);
    assert_eq!(submit().wait_timeout(Duration::MAX).unwrap().unwrap(), 7);
    assert_eq!(futures::executor::block_on(submit()).unwrap(), 7);
    let handle = submit();
    while !handle.is_settled() {
        std::thread::yield_now();
    }
    assert_eq!(handle.try_result().unwrap().unwrap(), 7);
    assert!(handle.try_result().is_none());
    assert!(handle.is_settled());
}

#[test]
fn a_job_need_not_be_sync_and_keeps_its_state_across_attempts() {
    let pool = pool(4);
    let calls = Cell::new(0);
    let job = pool.job(move || {
        calls.set(calls.get() + 1);
        if calls.get() < 5 {
            Err(calls.get())
        } else {
            Ok(calls.get())
        }
    });
    let handle = job
        .retry(RetryPolicy::immediate().unlimited().hot_loop_ok())
        .submit();
    assert_eq!(handle.wait().unwrap(), 5);
    assert_eq!(pool.stats().retries(), 4);
}

#[test]
fn attempts_can_be_watched() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let handle = pool.submit(move || {
        gate.pass();
        Err::<(), _>(())
    });
    keeper.await_arrivals(1);
    assert_eq!((handle.attempts(), handle.is_settled()), (1, false));
    keeper.let_through(1);
    keeper.await_arrivals(1);
    assert_eq!(handle.attempts(), 2);
    keeper.let_through(2);
    assert_eq!(handle.wait().unwrap_err().attempts(), 3);
}

#[test]
fn a_timed_wait_gives_the_handle_back_and_is_never_early() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let mut handle = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(1)
    });
    for timeout in [Duration::ZERO, ms(1), ms(5)] {
        let begun = Instant::now();
        handle = handle.wait_timeout(timeout).unwrap_err();
        assert!(begun.elapsed() >= timeout);
    }
    keeper.let_through(1);
    assert_eq!(handle.wait_timeout(Duration::MAX).unwrap().unwrap(), 1);
}

#[test]
fn polling_from_another_task_replaces_the_waker() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let mut handle = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(1)
    });
    let (first, second) = (
        Arc::new(CountingWaker::default()),
        Arc::new(CountingWaker::default()),
    );
    assert!(poll(&mut handle, &Waker::from(Arc::clone(&first))).is_pending());
    assert!(poll(&mut handle, &Waker::from(Arc::clone(&second))).is_pending());
    keeper.let_through(1);
    drop(pool);
    assert_eq!(
        (
            first.0.load(Ordering::SeqCst),
            second.0.load(Ordering::SeqCst)
        ),
        (0, 1)
    );
    assert!(poll(&mut handle, Waker::noop()).is_ready());
}

#[test]
fn a_handle_polled_once_and_dropped_leaks_nothing() {
    let live = Live::new();
    let pool = pool(1);
    let (gate, keeper) = gate();
    let (job, waker) = (live.clone(), Arc::new(CountingWaker::default()));
    let mut handle = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(job.clone())
    });
    assert!(poll(&mut handle, &Waker::from(Arc::clone(&waker))).is_pending());
    drop(handle);
    keeper.let_through(1);
    drop(pool);
    assert_eq!((live.others(), Arc::strong_count(&waker)), (0, 1));
}

#[test]
fn dropping_the_handle_detaches_the_job_which_still_runs_and_retries() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let pool = pool(1);
    drop(pool.submit(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        Err::<(), _>("no")
    }));
    drop(pool);
    assert_eq!(calls.load(Ordering::SeqCst), 3);
}

#[test]
fn a_handle_outlives_its_pool() {
    let pool = pool(1);
    let handle = pool.submit(|| Ok::<_, ()>(String::from("late")));
    drop(pool);
    assert!(handle.is_settled());
    assert_eq!(handle.wait().unwrap(), "late");
}

/// Enough jobs for a thread to have them share memory.
const MANY: usize = 500;

#[test]
fn one_handle_keeps_no_result_of_another_job() {
    let live = Live::new();
    let pool = pool(2);
    let submit = |_| {
        let result = live.clone();
        pool.submit(move || Ok::<_, ()>(result.clone()))
    };
    let mut handles: Vec<_> = (0..MANY).map(submit).collect();
    let last = handles.split_off(MANY - 1);
    // Of the others half are dropped before they were waited for, and half are waited for.
    for (n, handle) in handles.into_iter().enumerate() {
        if n % 2 == 0 {
            drop(handle.wait().unwrap());
        }
    }
    pool.shutdown();
    assert_eq!(live.others(), 1);
    drop(last);
    assert_eq!(live.others(), 0);
}

#[test]
fn many_jobs_cancelled_one_by_one_are_those_that_were_meant() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let first = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(0)
    });
    let handles: Vec<_> = (0..MANY)
        .map(|n| pool.submit(move || Ok::<_, ()>(n)))
        .collect();
    for (n, handle) in handles.iter().enumerate() {
        assert!(n % 3 != 0 || handle.cancel());
    }
    keeper.let_through(1);
    assert_eq!(first.wait().unwrap(), 0);
    for (n, handle) in handles.into_iter().enumerate() {
        let result = handle.wait();
        match n % 3 {
            0 => assert_eq!(result.unwrap_err().reason(), GiveUpReason::Cancelled),
            _ => assert_eq!(result.unwrap(), n),
        }
    }
}

#[test]
fn a_handle_keeps_nothing_of_its_pool() {
    let live = Live::new();
    let hook = live.clone();
    let builder = RetryPool::builder().threads(1);
    let pool = builder.on_thread_start(move || _ = &hook).build().unwrap();
    let handles: Vec<_> = (0..MANY)
        .map(|n| pool.submit(move || Ok::<_, ()>(n)))
        .collect();
    drop(pool);
    assert_eq!(live.others(), 0);
    for (n, handle) in handles.into_iter().enumerate() {
        assert!(!handle.cancel() && handle.is_settled());
        assert_eq!(handle.state(), retry_pool::JobState::Settled);
        assert_eq!(handle.wait().unwrap(), n);
    }
}

#[test]
fn a_job_is_freed_before_its_settlement_is_seen() {
    let live = Live::new();
    let pool = pool(2);
    for outcome in [Ok(()), Err(())] {
        for _ in 0..200 {
            let job = live.clone();
            let handle = pool.submit(move || {
                let _ = &job;
                outcome
            });
            let _ = handle.wait();
            assert_eq!(live.others(), 0);
        }
    }
}

#[test]
#[should_panic(expected = "taken already")]
fn a_result_is_not_waited_for_twice() {
    let pool = pool(1);
    let handle = pool.submit(|| Ok::<_, ()>(1));
    while handle.try_result().is_none() {}
    let _ = handle.wait();
}

#[test]
fn classify_decides_and_a_predicate_that_panics_ends_the_job() {
    let pool = pool(1);
    let permanent = pool
        .job(|| Err::<(), _>(404))
        .retry_if(|status| *status >= 500)
        .submit();
    let give_up = permanent.wait().unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.attempts(), give_up.error()),
        (GiveUpReason::Permanent, 1, Some(&404))
    );
    let broken = pool
        .job(|| Err::<(), _>(500))
        .retry_if(|_| panic!("broken predicate"))
        .name("ask")
        .submit();
    let give_up = broken.wait().unwrap_err();
    assert_eq!(give_up.reason(), GiveUpReason::Panicked);
    let Some(AttemptError::Panicked(panic)) = give_up.last_error() else {
        panic!("{give_up}")
    };
    assert_eq!(
        (panic.message(), panic.job_name()),
        ("broken predicate", Some("ask"))
    );
}

#[test]
fn a_give_up_tells_what_happened() {
    let pool = pool(1);
    let text = |handle: JobHandle<(), std::io::Error>| handle.wait().unwrap_err().to_string();
    let failing = || Err(std::io::Error::other("disk on fire"));
    let told = text(pool.submit(failing));
    assert!(
        told.starts_with("attempts exhausted after 3 attempts in "),
        "{told}"
    );
    assert!(told.ends_with(": disk on fire"), "{told}");
    let told = text(pool.job(|| panic!("boom")).name("fuse").submit());
    assert!(
        told.starts_with("panicked after 1 attempt in ")
            && told.ends_with(": job fuse panicked: boom"),
        "{told}"
    );
    pool.close();
    assert_eq!(
        text(pool.submit(failing)),
        "pool shut down after 0 attempts in 0.0ns"
    );
    fn question_mark(pool: &RetryPool) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(pool
            .submit(|| Err::<(), _>(std::io::Error::other("x")))
            .wait()?)
    }
    assert!(question_mark(&pool).is_err());
}

#[test]
fn a_thousand_handles_waited_for_while_they_settle() {
    let pool = pool(2);
    for _ in 0..20 {
        let handles: Vec<_> = (0..1_000)
            .map(|n| pool.submit(move || Ok::<_, ()>(n)))
            .collect();
        for (n, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.wait().unwrap(), n);
        }
    }
}
