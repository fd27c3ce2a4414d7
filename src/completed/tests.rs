use std::cell::Cell;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::judge::Outcome;
use crate::lane::{After, Ran, Turn};
use crate::{RetryPolicy, RetryPool};

#[test]
fn an_input_that_waits_for_a_place_in_its_pool_comes_out_when_that_is_closed() {
    let pool = RetryPool::builder().threads(1).capacity(1);
    let pool = pool.build().unwrap();
    let hourly = RetryPolicy::fixed(Duration::from_secs(3_600));
    let held = pool.job(|| Err::<(), _>(())).retry(hourly).submit();
    let mut batch = pool.batch([7], |n| Ok::<_, ()>(*n)).as_completed();
    let core = Arc::clone(&batch.lane.core);
    let done = thread::scope(|scope| {
        scope.spawn(|| {
            let begun = Instant::now();
            while !core.is_awaited() && begun.elapsed() < Duration::from_secs(20) {
                thread::yield_now();
            }
            pool.close();
        });
        batch.next()
    });
    assert!(held.cancel());
    let give_up = done.unwrap().into_result().unwrap_err();
    assert_eq!(give_up.reason(), GiveUpReason::Shutdown);
}

#[test]
fn a_success_in_a_pocket_is_delivered_when_the_inputs_turn_out_slow() {
    let pool = RetryPool::with_threads(1);
    // The worker is kept away, and the test does as it would with three tiny jobs.
    let (release, released) = mpsc::channel();
    let held = pool.submit(move || released.recv());
    let pulled = Cell::new(0);
    let input = std::iter::from_fn(|| {
        thread::sleep(Duration::from_nanos(PATIENCE));
        pulled.set(pulled.get() + 1);
        (pulled.get() <= 50).then_some(0)
    });
    let mut batch = pool.batch(input, |n| Ok::<_, ()>(*n)).as_completed();
    batch.extend([1; 9]);
    batch.crew.callers().succeeded.add(3);
    let core = Arc::clone(&batch.lane.core);
    let (job, pocket) = core.begin(0).unwrap();
    let pocket = pocket.unwrap();
    let mut turn = Turn {
        pocket: Some(&pocket),
        tiny: true,
        over: false,
        time: 0,
    };
    let (After::Job(mut job), _) = core.exchange(Ran::Settled(job.succeed(1)), None, &turn) else {
        panic!("nine were queued");
    };
    assert!(
        pocket
            .exchange(&mut job, Outcome::Succeeded(1), None)
            .is_ok()
    );
    // With so much room it pulls each time, but no more than one.
    for delivered in 0..2 {
        assert_eq!(batch.next().map(|done| done.index()), Some(delivered));
        assert_eq!(pulled.get(), delivered + 1);
    }
    (turn.tiny, turn.over) = (false, true);
    core.exchange(Ran::Settled(job.succeed(1)), None, &turn);
    release.send(()).unwrap();
    assert!(held.wait().is_ok());
    assert_eq!(batch.count(), 7 + 50);
}
