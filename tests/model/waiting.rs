//! Who waits for handles: one by one, many at a time, as futures.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use retry_pool::{CancelToken, Until, as_completed, wait_for};

use crate::explore::{block_on, choose, explore, thread};
use crate::pools::{LATER, assert_settled, lucky, pool, second_time_lucky};

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
            Poll::Pending => match choose(2) == 1 {
                true => {
                    drop(job);
                    sides.saw("dropped");
                }
                false => {
                    // Polled again with another waker, which takes the place of the first.
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
fn as_completed_over_handles_against_settle() {
    let sides = ["in order", "out of order"];
    explore("as_completed over handles", &sides, |sides| {
        let pool = pool(2);
        let mut completed = as_completed([pool.submit(second_time_lucky), pool.submit(lucky)]);
        let first = completed.next().unwrap();
        // Seen by the iteration that runs already.
        completed.add(pool.submit(lucky));
        let mut order = vec![first.index()];
        order.extend(completed.map(|done| {
            assert!(done.result().is_ok());
            done.index()
        }));
        sides.saw(match order.is_sorted() {
            true => "in order",
            false => "out of order",
        });
        order.sort_unstable();
        assert_eq!(order, [0, 1, 2]);
        pool.shutdown();
        assert_settled(&pool, 3, 0);
    });
}

#[test]
fn wait_for_the_first_against_settle() {
    let sides = ["none", "one", "both"];
    explore("wait_for the first", &sides, |sides| {
        let pool = pool(2);
        let handles = [pool.submit(second_time_lucky), pool.submit(lucky)];
        let limit = (choose(2) == 1).then_some(LATER);
        let waited = wait_for(handles, Until::First, limit);
        assert_eq!(waited.done.len() + waited.pending.len(), 2);
        assert!(limit.is_some() || !waited.done.is_empty());
        sides.saw(["none", "one", "both"][waited.done.len()]);
        for done in waited.done {
            assert!(done.into_result().is_ok());
        }
        for pending in waited.pending {
            assert!(pending.wait().is_ok());
        }
        pool.shutdown();
        assert_settled(&pool, 2, 0);
    });
}

#[test]
fn a_wait_with_a_limit_against_settle() {
    let sides = ["settled", "out of time"];
    explore("a wait with a limit", &sides, |sides| {
        let pool = pool(1);
        let job = pool.submit(second_time_lucky);
        let waiter = thread::spawn(move || match job.wait_timeout(LATER) {
            Ok(result) => (result, "settled"),
            Err(job) => (job.wait(), "out of time"),
        });
        let (result, side) = waiter.join().unwrap();
        assert_eq!(result.unwrap(), 2);
        sides.saw(side);
        pool.shutdown();
        assert_settled(&pool, 1, 0);
    });
}

#[test]
fn a_child_of_a_token_against_its_cancel() {
    let sides = ["born cancelled", "cancelled before the wait", "woken"];
    explore("a child token against the cancel", &sides, |sides| {
        let parent = CancelToken::new();
        let canceller = thread::spawn({
            let parent = parent.clone();
            move || parent.cancel()
        });
        let before = parent.is_cancelled();
        let child = parent.child();
        sides.saw(match (before, child.is_cancelled()) {
            (true, _) => "born cancelled",
            (false, true) => "cancelled before the wait",
            (false, false) => "woken",
        });
        // In the model this ends with the cancel or never.
        assert!(child.wait_timeout(Duration::MAX));
        canceller.join().unwrap();
    });
}
