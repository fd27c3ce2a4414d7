use std::cell::Cell;
use std::sync::mpsc;
use std::thread;

use super::*;
use crate::judge::Outcome;
use crate::lane::{After, Core, Ran, TINY, Turn};
use crate::sync::unbounded;
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
            until_asleep(&core);
            pool.close();
        });
        batch.next()
    });
    assert!(held.cancel());
    let give_up = done.unwrap().into_result().unwrap_err();
    assert_eq!(give_up.reason(), GiveUpReason::Shutdown);
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        thread::yield_now();
    }
}

fn until_asleep<I, T, E>(core: &Core<I, T, E>) {
    until("the iteration sleeps", || core.is_awaited());
}

#[test]
fn a_call_that_has_no_time_pulls_one_input_though_the_worker_is_hungry() {
    let pool = RetryPool::with_threads(1);
    let pulled = Cell::new(0);
    let input = std::iter::from_fn(|| {
        thread::sleep(Duration::from_millis(5));
        pulled.set(pulled.get() + 1);
        Some(())
    });
    let hourly = RetryPolicy::fixed(Duration::from_secs(3_600));
    let batch = pool.batch(input, |()| Err::<(), _>(())).retry(hourly);
    let mut batch = batch.as_completed();
    for calls in 1..=8 {
        assert!(batch.next_timeout(Duration::ZERO).is_err());
        assert_eq!(pulled.get(), calls);
    }
}

#[test]
fn a_refill_that_something_to_deliver_has_ended_goes_on_though_the_window_is_nearly_full() {
    let (tell, told) = unbounded();
    let (open, gate) = unbounded::<()>();
    let hourly = RetryPolicy::fixed(Duration::from_secs(3_600));
    let next = RetryPool::builder().threads(1).scope(|pool| {
        let (release, released) = unbounded::<()>();
        let held = pool.submit(move || released.recv());
        // All are pulled one by one. While the fifteenth is, the first settles; the second runs until the last is pulled.
        let job = |n: &u32| match *n {
            1 | 16 => Ok(()),
            2 => {
                tell.send(()).unwrap();
                assert!(gate.recv().is_err());
                Err(())
            }
            _ => Err(()),
        };
        let mut open = Some(open);
        let mut pulled = 0;
        let input = std::iter::from_fn(|| {
            thread::sleep(Duration::from_nanos(PATIENCE));
            pulled += 1;
            if pulled == 15 {
                release.send(()).unwrap();
                told.recv().unwrap();
            }
            if pulled == 16 {
                drop(open.take());
            }
            (pulled <= 16).then_some(pulled)
        });
        let batch = pool.batch(input, job).window(16).retry(hourly);
        let mut batch = batch.as_completed();
        let first = *batch.next().unwrap().input();
        let second = batch.next_timeout(Duration::from_secs(20));
        drop(held);
        (first, second.map(|done| *done.unwrap().input()))
    });
    let (first, second) = next.unwrap();
    assert_eq!((first, second.unwrap()), (1, 16));
}

#[test]
fn an_input_that_is_added_leaves_the_other_idle_workers_to_be_fed() {
    // So many are delivered before; what settled and is not delivered takes the place of an input.
    for delivered in [1, 2] {
        let pool = RetryPool::with_threads(2);
        let (open, gate) = unbounded::<()>();
        let job = move |n: &u32| match *n {
            3 | 5 | 9 => Ok(()),
            8 => gate.recv().map_err(drop),
            _ => Err(()),
        };
        let hourly = RetryPolicy::fixed(Duration::from_secs(3_600));
        let mut batch = pool.batch([9], job).window(8).retry(hourly).as_completed();
        batch.extend(0..8);
        until("all workers have left the batch", || {
            batch.lane.core.is_left_alone()
        });
        assert_eq!(batch.by_ref().take(delivered).count(), delivered);
        // Six are parked, both workers are idle, and this gives work to one.
        batch.extend([8]);
        assert_eq!(batch.by_ref().take(2 - delivered).count(), 2 - delivered);
        let next = batch.next_timeout(Duration::from_secs(20));
        drop(open);
        assert_eq!(*next.unwrap().unwrap().input(), 9);
    }
}

#[test]
fn a_refill_that_the_input_has_ended_by_a_panic_goes_on() {
    let pool = RetryPool::with_threads(2);
    let (open, gate) = unbounded::<()>();
    let job = move |n: &u32| match *n {
        14 => gate.recv().map_err(drop),
        16 => Ok(()),
        _ => Err(()),
    };
    let mut n = 13;
    let input = std::iter::from_fn(move || {
        n += 1;
        assert_ne!(n, 15, "on purpose");
        Some(n)
    });
    let hourly = RetryPolicy::fixed(Duration::from_secs(3_600));
    let batch = pool.batch(input, job).window(16).retry(hourly);
    let mut batch = batch.as_completed();
    batch.extend(0..13);
    until("all workers have left the batch", || {
        batch.lane.core.is_left_alone()
    });
    assert!(unwind::catch(|| batch.next()).is_err());
    // One worker is idle; the window is nearly full.
    let next = batch.next_timeout(Duration::from_secs(20));
    drop(open);
    assert_eq!(*next.unwrap().unwrap().input(), 16);
}

#[test]
fn a_refill_that_found_the_pool_full_still_waits_for_a_place_after_a_delivery() {
    let pool = RetryPool::builder().threads(2).capacity(16);
    let pool = pool.build().unwrap();
    // The workers are kept away, and the test does as they would.
    let (opens, held): (Vec<_>, Vec<_>) = (0..2)
        .map(|_| {
            let (open, gate) = unbounded::<()>();
            let held = pool.job(move || gate.recv()).retry(RetryPolicy::never());
            (open, held.submit())
        })
        .unzip();
    let settle_the_last: Cell<Option<Box<dyn FnOnce()>>> = Cell::default();
    let input = std::iter::from_fn(|| settle_the_last.take().map(|settle| (settle(), 14).1));
    let mut batch = pool
        .batch(input, |n| Ok::<u32, ()>(*n))
        .window(16)
        .as_completed();
    batch.extend(0..14);
    let core = Arc::clone(&batch.lane.core);
    let turn = Turn {
        pocket: None,
        each: TINY,
        over: false,
        time: 0,
    };
    // One worker runs the last job; the other one's fail, and then there is nothing left for it.
    let (mut next, _) = core.begin(0).unwrap();
    let mut last = None;
    loop {
        if next.index == 12 {
            last = core.begin(0).map(|(job, _)| job);
        }
        match core.exchange(Ran::Park(Nanos::MAX, next), None, &turn).0 {
            After::Job(job) => next = job,
            _ => break,
        }
    }
    let last = last.unwrap();
    assert!(core.is_hungry());
    let (lane, crew) = (Arc::clone(&core), Arc::clone(&batch.crew));
    settle_the_last.set(Some(Box::new(move || {
        crew.callers().succeeded.add(1);
        crew.roster.permits.release(1);
        lane.exchange(Ran::Settled(last.succeed(13)), None, &turn);
        // Somebody else is first.
        assert_eq!(crew.roster.permits.try_acquire(1), 1);
    })));
    assert_eq!(batch.next().map(|done| done.index()), Some(13));
    let permits = &Arc::clone(&batch.crew).roster.permits;
    let (next, accepted) = thread::scope(|scope| {
        let accepted = scope.spawn(|| {
            until_asleep(&core);
            permits.release(1);
            let begun = Instant::now();
            while core.counts.accepted.get() == 14 && begun.elapsed() < Duration::from_secs(20) {
                thread::yield_now();
            }
            let accepted = core.counts.accepted.get();
            drop(opens);
            accepted
        });
        let next = batch.next_timeout(Duration::from_secs(30));
        (next.unwrap().unwrap().index(), accepted.join().unwrap())
    });
    assert_eq!((next, accepted), (14, 15));
    assert!(held.into_iter().all(|job| job.wait().is_err()));
}

#[test]
fn a_call_in_a_job_that_has_no_time_pulls_one_input_though_the_job_lends_its_place() {
    let pool = RetryPool::builder().threads(1).capacity(1);
    let pool = Arc::new(pool.build().unwrap());
    let inner = Arc::clone(&pool);
    let job = pool.submit(move || {
        let pulled = Cell::new(0);
        let input = std::iter::from_fn(|| {
            pulled.set(pulled.get() + 1);
            Some(())
        });
        let hourly = RetryPolicy::fixed(Duration::from_secs(3_600));
        let batch = inner.batch(input, |()| Err::<(), _>(())).retry(hourly);
        let timed_out = batch.as_completed().next_timeout(Duration::ZERO).is_err();
        Ok::<_, ()>((timed_out, pulled.get()))
    });
    assert_eq!(job.wait().unwrap(), (true, 1));
}

/// More than three quarters of a window are parked for an hour or held by `hold`, which `meanwhile` can end once the iteration sleeps; one place
/// is free, and one input left.
fn a_place_is_left_while_the_worker_is_held(
    hold: impl Fn() + Send + Sync,
    meanwhile: impl FnOnce(&Core<u32, (), ()>) + Send,
    after: impl FnOnce(),
) {
    let (tell, told) = unbounded();
    let job = |n: &u32| match *n {
        3 | 8 => Ok(()),
        7 => {
            tell.send(()).unwrap();
            hold();
            Err(())
        }
        _ => Err(()),
    };
    let hourly = RetryPolicy::fixed(Duration::from_secs(3_600));
    let next = RetryPool::builder().threads(1).scope(|pool| {
        let (release, released) = unbounded::<()>();
        let held = pool.submit(move || released.recv());
        let batch = pool.batch([8], job).window(8).retry(hourly);
        let mut batch = batch.as_completed();
        batch.extend(0..8);
        release.send(()).unwrap();
        held.wait().unwrap();
        assert_eq!(*batch.next().unwrap().input(), 3);
        // The worker is busy, and three quarters of the window are taken: a refill can wait.
        let core = Arc::clone(&batch.lane.core);
        let next = thread::scope(|scope| {
            scope.spawn(move || {
                told.recv().unwrap();
                meanwhile(&core);
            });
            batch.next_timeout(Duration::from_secs(20))
        });
        after();
        next.map(|done| *done.unwrap().input())
    });
    assert_eq!(next.unwrap().unwrap(), 8);
}

#[test]
fn an_iteration_that_sleeps_over_a_window_that_is_nearly_full_is_woken_by_a_hungry_worker() {
    let (open, gate) = unbounded::<()>();
    let hold = move || assert!(gate.recv().is_err());
    let meanwhile = |core: &_| {
        until_asleep(core);
        drop(open);
    };
    a_place_is_left_while_the_worker_is_held(hold, meanwhile, || {});
}

#[test]
fn an_iteration_that_sleeps_over_a_window_that_is_nearly_full_is_woken_by_a_job_that_waits() {
    let other = RetryPool::with_threads(1);
    let (open, gate) = unbounded::<()>();
    let policy = RetryPolicy::never();
    let awaited = other.job(move || gate.recv()).retry(policy).submit();
    let awaited = crate::sync::Mutex::new(Some(awaited));
    let hold = || {
        let awaited = awaited.lock().take();
        assert!(awaited.unwrap().wait().is_err());
    };
    a_place_is_left_while_the_worker_is_held(hold, |_| {}, || drop(open));
}

#[test]
fn an_iteration_that_has_waited_for_a_place_in_its_pool_takes_it() {
    let pool = RetryPool::builder().threads(1).capacity(8);
    let pool = pool.build().unwrap();
    let (release, released) = mpsc::channel::<()>();
    let held = pool.submit(move || released.recv());
    let (open, gate) = unbounded::<()>();
    let batch = pool.batch(0..9, move |_: &u32| Ok::<_, ()>(gate.recv()));
    let mut batch = batch.window(8).as_completed();
    assert!(batch.next_timeout(Duration::from_millis(20)).is_err());
    // It waits for a place after that, too.
    batch.extend([]);
    let core = Arc::clone(&batch.lane.core);
    let (begun, accepted) = thread::scope(|scope| {
        let accepted = scope.spawn(move || {
            until_asleep(&core);
            let before = core.counts.accepted.get();
            release.send(()).unwrap();
            let begun = Instant::now();
            while core.counts.accepted.get() == before && begun.elapsed() < Duration::from_secs(20)
            {
                thread::yield_now();
            }
            let after = core.counts.accepted.get();
            drop(open);
            (before, after)
        });
        (batch.next().is_some(), accepted.join().unwrap())
    });
    assert!(begun && held.wait().is_ok());
    assert_eq!(accepted, (7, 8));
    assert_eq!(batch.count(), 8);
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
        each: 0,
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
    (turn.each, turn.over) = (TINY, true);
    core.exchange(Ran::Settled(job.succeed(1)), None, &turn);
    release.send(()).unwrap();
    assert!(held.wait().is_ok());
    assert_eq!(batch.count(), 7 + 50);
}
