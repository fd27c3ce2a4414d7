use super::*;
use std::time::Duration;

type Number = Slot<&'static str, u32>;

const JOB: (&str, u32) = ("job", 8);

#[test]
fn a_value_is_set_once_and_taken_once() {
    let slot = Number::pending(JOB);
    assert_eq!((slot.begin(0), slot.begin(0)), (Some(JOB), None));
    slot.put_back(JOB).unwrap();
    assert_eq!((slot.is_settled(), slot.try_take()), (false, Look::NotYet));
    assert_eq!(slot.begin(0), Some(JOB));
    assert_eq!(slot.set(1), None);
    assert_eq!((slot.is_settled(), slot.begin(0)), (true, None));
    assert_eq!(
        (slot.try_take(), slot.try_take()),
        (Look::Value(1), Look::Gone)
    );
    assert!(slot.is_settled());
}

#[test]
fn a_blocked_thread_is_woken_by_the_value_and_by_the_deadline() {
    let slot = Number::pending(JOB);
    let soon = Some(Instant::now() + Duration::from_millis(5));
    let wait = |deadline| block_on(deadline, || slot.try_take(), |waker| slot.poll(waker));
    assert_eq!(wait(soon), Look::NotYet);
    assert!(Some(Instant::now()) >= soon);
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| wait(None));
        slot.begin(0);
        assert_eq!(slot.set(2), None);
        assert_eq!(waiter.join().unwrap(), Look::Value(2));
    });
}

#[test]
fn an_attempt_is_abandoned_or_reclaimed_never_both() {
    let slot = Number::pending(JOB);
    let expire = |attempt| slot.expire(attempt, |_, _| (), |worker| worker);
    slot.begin(3);
    slot.lend(JOB, 1);
    assert_eq!((expire(2), expire(1)), (None, Some(3)));
    assert_eq!((slot.reclaim(3, 1), expire(1)), (None, None));
    assert_eq!(slot.begin(4), Some(JOB));
    slot.lend(JOB, 2);
    assert_eq!((slot.reclaim(3, 1), slot.reclaim(4, 2)), (None, Some(JOB)));
    assert_eq!(expire(2), None);
}

#[test]
fn a_vacant_slot_is_one_that_pends_once_it_is_filled() {
    let slot = Number::vacant();
    slot.fill(JOB);
    assert_eq!(slot.peek(|job| *job), Ok(JOB.0));
    assert_eq!((slot.begin(0), slot.set(1)), (Some(JOB), None));
}

#[test]
fn a_value_that_nobody_asks_for_does_not_stay() {
    type Slot = super::Slot<&'static str, Arc<()>>;
    let value = Arc::new(());
    let slot = Slot::pending(JOB);
    slot.begin(0);
    assert!(slot.set(Arc::clone(&value)).is_none());
    slot.leave();
    assert_eq!((slot.is_settled(), Arc::strong_count(&value)), (true, 1));
    // It is remembered whatever happens to the job before the end, and whenever.
    let ways: [fn(&Slot); 4] = [
        |slot| assert!(slot.put_back(JOB).is_ok()),
        |slot| slot.lend(JOB, 1),
        |slot| {
            slot.lend(JOB, 1);
            assert_eq!(slot.reclaim(0, 1), Some(JOB));
        },
        |slot| {
            slot.lend(JOB, 1);
            slot.expire(1, |_, _| (), |_| ());
        },
    ];
    for (way, left_at) in ways.iter().flat_map(|way| (0..3).map(move |at| (way, at))) {
        let slot = Slot::pending(JOB);
        let leave_at = |moment| {
            if left_at == moment {
                slot.leave();
            }
        };
        leave_at(0);
        slot.begin(0);
        leave_at(1);
        way(&slot);
        leave_at(2);
        let _ = (slot.reclaim(0, 1), slot.begin(0));
        assert!(slot.set(Arc::clone(&value)).is_some());
        assert!(slot.is_settled() && slot.try_take() == Look::Gone);
    }
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn what_was_told_to_stop_is_not_put_back() {
    const CANCELLED: GiveUpReason = GiveUpReason::Cancelled;
    let slot = Number::pending(JOB);
    slot.begin(3);
    assert_eq!(slot.interrupt(CANCELLED, |worker| worker), Err(3));
    slot.lend(JOB, 1);
    assert_eq!(
        slot.interrupt(GiveUpReason::Shutdown, |worker| worker),
        Err(3)
    );
    assert_eq!(slot.told(), Some(CANCELLED));
    assert_eq!(
        (slot.reclaim(3, 1), slot.told()),
        (Some(JOB), Some(CANCELLED))
    );
    assert_eq!(slot.put_back(JOB), Err((JOB, CANCELLED)));
    assert_eq!(slot.set(1), None);
    assert_eq!(slot.interrupt(CANCELLED, |_| ()), Ok(Standing::Settled));
}
