//! The slot under every schedule.

use super::*;
use crate::sync::loom::JoinHandle;
use crate::sync::loom::{Sides, check, spawn};

type Number = Slot<&'static str, u32>;

const CANCELLED: GiveUpReason = GiveUpReason::Cancelled;

const JOB: (&str, u32) = ("job", 8);

/// What came of a job that was cancelled.
const GIVEN_UP: u32 = 100;

/// A worker that settles the job at its second attempt.
fn retry_once(slot: &Number) {
    for attempt in 1..=2 {
        let Some(job) = slot.begin(0) else { return };
        if attempt == 2 {
            assert_eq!(slot.set(2), None);
            return;
        }
        if slot.put_back(job).is_err() {
            assert_eq!(slot.set(GIVEN_UP), None);
            return;
        }
    }
}

fn cancel(slot: &Number, sides: &Sides) {
    match slot.interrupt(CANCELLED, |worker| assert_eq!(worker, 0)) {
        Ok(Standing::Pending(_)) => {
            sides.saw("cancelled while pending");
            assert_eq!(slot.set(GIVEN_UP), None);
        }
        Ok(Standing::Settled) => sides.saw("cancelled too late"),
        Err(()) => sides.saw("told"),
    }
}

fn on_thread(slot: &Arc<Number>, f: impl FnOnce(&Number) + Send + 'static) -> JoinHandle<()> {
    let slot = Arc::clone(slot);
    spawn(move || f(&slot))
}

#[test]
fn a_waiter_gets_the_value_whenever_it_is_set() {
    check(&["found", "woken or about to sleep"], |sides| {
        let slot = Arc::new(Number::pending(JOB));
        let worker = on_thread(&slot, |slot| {
            slot.begin(0);
            assert_eq!(slot.set(7), None);
        });
        let found = slot.is_settled();
        let look = block_on(None, || slot.try_take(), |waker| slot.poll(waker));
        assert_eq!(look, Look::Value(7));
        assert_eq!(slot.try_take(), Look::Gone);
        sides.saw(if found {
            "found"
        } else {
            "woken or about to sleep"
        });
        worker.join().unwrap();
    });
}

#[test]
fn the_waker_that_was_left_last_is_woken() {
    check(&["at once", "at the second look", "woken"], |sides| {
        let slot = Arc::new(Number::pending(JOB));
        let worker = on_thread(&slot, |slot| {
            slot.begin(0);
            assert_eq!(slot.set(7), None);
        });
        let [first, last] = [(); 2].map(|()| Arc::new(Parker::default()));
        let poll = |parker: &Arc<Parker>| slot.poll(&Waker::from(Arc::clone(parker)));
        let side = if poll(&first) == Look::Value(7) {
            "at once"
        } else if poll(&last) == Look::Value(7) {
            "at the second look"
        } else {
            assert!(last.park(None));
            assert_eq!(slot.try_take(), Look::Value(7));
            "woken"
        };
        sides.saw(side);
        worker.join().unwrap();
        // Whichever was replaced or unused is gone.
        assert_eq!(
            (Arc::strong_count(&first), Arc::strong_count(&last)),
            (1, 1)
        );
    });
}

#[test]
fn a_job_that_is_cancelled_while_it_retries_settles_once() {
    let sides = ["cancelled while pending", "told", "cancelled too late"];
    check(&sides, |sides| {
        let slot = Arc::new(Number::pending(JOB));
        let worker = on_thread(&slot, retry_once);
        cancel(&slot, sides);
        worker.join().unwrap();
        let look = block_on(None, || slot.try_take(), |waker| slot.poll(waker));
        assert!(matches!(look, Look::Value(2 | GIVEN_UP)), "{look:?}");
    });
}

#[test]
fn an_attempt_is_reclaimed_or_abandoned_and_the_job_settles_once() {
    let sides = [
        "reclaimed",
        "abandoned",
        "cancelled while pending",
        "told",
        "cancelled too late",
    ];
    check(&sides, |sides| {
        let slot = Arc::new(Number::pending(JOB));
        let worker = on_thread(&slot, |slot| {
            let Some(job) = slot.begin(0) else { return };
            slot.lend(job, 1);
            if slot.reclaim(0, 1).is_some() {
                assert_eq!(slot.set(1), None);
            }
        });
        let timer = {
            let (slot, sides) = (Arc::clone(&slot), Arc::clone(sides));
            spawn(move || {
                let left = slot.expire(
                    1,
                    |_, told| assert!(told.is_none_or(|told| told == CANCELLED)),
                    |worker| worker,
                );
                if left == Some(0) {
                    sides.saw("abandoned");
                    // The next worker judges the time-out.
                    if slot.begin(0).is_some() {
                        assert_eq!(slot.set(3), None);
                    }
                }
            })
        };
        cancel(&slot, sides);
        worker.join().unwrap();
        timer.join().unwrap();
        let look = slot.try_take();
        assert!(matches!(look, Look::Value(1 | 3 | GIVEN_UP)), "{look:?}");
        if look == Look::Value(1) {
            sides.saw("reclaimed");
        }
    });
}

#[test]
fn a_value_that_nobody_asks_for_is_dropped_by_one_side() {
    check(&["the worker", "who left"], |sides| {
        let slot = Arc::new(Slot::<(), Arc<()>>::pending(((), 8)));
        let value = Arc::new(());
        let worker = {
            let (slot, value) = (Arc::clone(&slot), Arc::clone(&value));
            spawn(move || {
                slot.begin(0);
                slot.set(value).is_some()
            })
        };
        slot.leave();
        let by_worker = worker.join().unwrap();
        sides.saw(if by_worker { "the worker" } else { "who left" });
        assert_eq!(Arc::strong_count(&value), 1);
        assert_eq!(slot.try_take(), Look::Gone);
    });
}
