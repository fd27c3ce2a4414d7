//! Pools that are full, and who waits for room.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use retry_pool::{CancelToken, GiveUpReason, TrySubmitError};

use crate::explore::{explore, thread};
use crate::pools::{LATER, assert_settled, builder, hangs_until, lucky, second_time_lucky};

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

/// A job may go on waiting for a place while its pool drains, and has to hear of it when that is stopped.
#[test]
fn a_stop_against_a_job_that_waits_for_a_place() {
    let sides = ["not begun", "refused at once", "refused"];
    explore("a stop against a job that waits", &sides, |sides| {
        let pool = Arc::new(builder(2).capacity(1).build().unwrap());
        let weak = Arc::downgrade(&pool);
        let job = pool.submit(move || {
            let pool = weak.upgrade().unwrap();
            let gate = CancelToken::new();
            let holds = pool.submit(hangs_until(&gate));
            let refused = pool.submit(lucky);
            gate.cancel();
            let reason = refused.wait().unwrap_err().reason();
            assert_eq!(reason, GiveUpReason::Shutdown);
            Ok::<_, ()>(holds.wait().is_ok())
        });
        pool.shutdown_timeout(LATER);
        sides.saw(match job.wait() {
            Err(_) => "not begun",
            Ok(false) => "refused at once",
            Ok(true) => "refused",
        });
        pool.shutdown();
    });
}

#[test]
fn a_permit_for_a_submitter_that_has_lost_patience_goes_to_the_next() {
    let sides = ["accepted", "out of time"];
    explore("impatient and patient submitter", &sides, |sides| {
        let pool = Arc::new(builder(1).capacity(1).build().unwrap());
        let first = pool.submit(second_time_lucky);
        let impatient = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.submit_timeout(lucky, LATER).map_err(drop)
        });
        let patient = thread::spawn({
            let pool = Arc::clone(&pool);
            move || pool.submit(lucky).wait()
        });
        assert_eq!(patient.join().unwrap().unwrap(), 1);
        let accepted = match impatient.join().unwrap() {
            Ok(job) => {
                assert_eq!(job.wait().unwrap(), 1);
                sides.saw("accepted");
                1
            }
            Err(()) => {
                sides.saw("out of time");
                0
            }
        };
        assert_eq!(first.wait().unwrap(), 2);
        pool.shutdown();
        assert_settled(&pool, 2 + accepted, 0);
    });
}
