//! What comes due while every worker is busy is settled all the same, and nothing else is done on that occasion.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::common::{eventually, gate, ms};
use retry_pool::{Attempt, GiveUpReason, JobState, Requeue, RetryPolicy, RetryPool};

/// A retry waits at the front of a pool whose only worker is busy, and then the time of another job is over. True if that came about: the
/// worker must be on its way from one job to the next for less than the backoff.
fn deadline_behind_a_retry_at_the_front() -> bool {
    let pool = RetryPool::with_threads(1);
    let (gate, keeper) = gate();
    let to_front = RetryPolicy::fixed(ms(200)).requeue(Requeue::Front);
    let retried = pool
        .job(|| match Attempt::current().number() {
            1 => Err(()),
            _ => Ok(()),
        })
        .retry(to_front)
        .submit();
    let held = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    let came_about = retried.attempts() == 1;
    if came_about {
        eventually("it is due", || retried.state() == JobState::Queued);
        let late = pool.job(|| Ok::<_, ()>(())).timeout(Duration::ZERO);
        let late = late.submit().wait().unwrap_err();
        assert_eq!(late.reason(), GiveUpReason::DeadlineExceeded);
        eventually("only the worker is left", || {
            pool.stats().spare_threads() == 0
        });
        assert_eq!((retried.state(), retried.attempts()), (JobState::Queued, 1));
    }
    keeper.let_through(1);
    held.wait().unwrap();
    retried.wait().unwrap();
    came_about
}

#[test]
fn who_settles_what_is_due_runs_no_job_beside_the_others() {
    assert!((0..5).any(|_| deadline_behind_a_retry_at_the_front()));
}

#[test]
fn one_worker_is_started_for_all_that_is_due() {
    let (gate, keeper) = gate();
    let workers = AtomicUsize::new(0);
    let pool = RetryPool::builder()
        .threads(1)
        .on_thread_start(move || {
            // Any but the first stays there until what follows has come due, too.
            if workers.fetch_add(1, Ordering::SeqCst) > 0 {
                gate.pass();
            }
        })
        .build()
        .unwrap();
    let (tell, told) = mpsc::channel();
    let (open, opened) = mpsc::channel::<()>();
    let busy = pool.job(move || {
        tell.send(()).unwrap();
        let attempt = Attempt::current();
        while !attempt.is_cancelled() {
            thread::yield_now();
        }
        tell.send(()).unwrap();
        opened.recv()
    });
    let busy = busy.timeout(ms(200)).submit();
    told.recv().unwrap();
    let due = [(); 5].map(|()| {
        let job = pool.job(|| Ok::<_, ()>(()));
        job.timeout(Duration::ZERO).submit()
    });
    told.recv().unwrap();
    assert!(pool.stats().spare_threads() <= 1, "{:?}", pool.stats());
    keeper.let_through(1);
    open.send(()).unwrap();
    busy.wait().unwrap();
    for late in due {
        let reason = late.wait().unwrap_err().reason();
        assert_eq!(reason, GiveUpReason::DeadlineExceeded);
    }
}
