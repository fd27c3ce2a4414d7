//! What comes due while every worker is busy is settled all the same, and nothing else is done on that occasion.

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
