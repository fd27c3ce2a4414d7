//! Functions that are called at a fixed rate, and jobs that are delayed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{Live, await_worker, gate, ms, pool};
use retry_pool::{Attempt, GiveUpReason, JobState, Periodic, RetryPool};

const LONG: Duration = Duration::from_secs(3_600);

fn until(what: &str, done: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !done() {
        assert!(Instant::now() < patience, "still not: {what}");
        thread::yield_now();
    }
}

#[test]
fn the_rate_does_not_drift() {
    let pool = pool(1);
    let (sender, ticks) = mpsc::channel();
    let begun = Instant::now();
    let clock = pool.every(ms(5), move || {
        // Each call comes at its multiple of the period or later, so lateness does not add up.
        let _ = sender.send(Instant::now());
        thread::sleep(ms(2));
    });
    let started = Instant::now();
    let mut last = None;
    for (k, tick) in (0..100u32).zip(ticks.iter()) {
        assert!(tick >= begun + ms(5) * k, "call {k} is early");
        last = Some(tick);
    }
    let calls = last.unwrap() - started;
    // With its length added to the period it would take 700 ms at the least; what was missed counts as made.
    let due = ms(5) * (99 + u32::try_from(clock.skipped()).unwrap());
    assert!(calls < due + ms(150), "{calls:?} for what takes {due:?}");
    clock.stop();
}

#[test]
fn calls_that_were_missed_are_skipped_and_calls_never_overlap() {
    let pool = pool(2);
    let (gate, keeper) = gate();
    let running = Arc::new(AtomicBool::new(false));
    let (inside, period) = (Arc::clone(&running), ms(2));
    let clock = pool.every(period, move || {
        assert!(!inside.swap(true, Ordering::SeqCst), "two calls at once");
        gate.pass();
        inside.store(false, Ordering::SeqCst);
    });
    keeper.await_arrivals(1);
    let held = Instant::now();
    while held.elapsed() < period * 10 {
        assert_eq!((clock.runs(), clock.skipped()), (0, 0));
        thread::sleep(period);
    }
    keeper.let_through(1);
    keeper.await_arrivals(1);
    assert_eq!(clock.runs(), 1);
    assert!(clock.skipped() >= 9, "{clock:?}");
    clock.stop();
    keeper.let_through(1);
    until("the second call has ended", || clock.runs() == 2);
    assert_eq!(clock.panics(), 0);
    drop(pool);
}

#[test]
fn a_busy_pool_skips_calls_and_takes_them_up_again() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let clock = pool.every(ms(1), || ());
    until("it has begun", || clock.runs() > 0);
    let busy = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    let runs = clock.runs();
    thread::sleep(ms(20));
    assert_eq!(clock.runs(), runs);
    keeper.let_through(1);
    busy.wait().unwrap();
    until("it goes on", || clock.runs() > runs + 3);
    assert!(clock.skipped() >= 15, "{clock:?}");
    assert_eq!(pool.stats().accepted(), 1);
    clock.stop();
}

/// A clock whose function holds something that is counted.
fn counted(pool: &RetryPool, live: &Live, period: Duration) -> Periodic {
    let live = live.clone();
    pool.every(period, move || assert!(live.others() > 0))
}

#[test]
fn a_stop_from_outside_ends_the_calls_and_drops_the_function_at_once() {
    let pool = pool(1);
    let live = Live::new();
    for period in [ms(1), LONG] {
        let clock = counted(&pool, &live, period);
        until("it was called", || clock.runs() > 0);
        await_worker(&pool);
        assert!(!clock.is_stopped());
        assert_eq!(live.others(), 1);
        clock.stop();
        clock.clone().stop();
        assert!(clock.is_stopped());
        // A call that runs drops it when it ends.
        until("it is dropped", || live.others() == 0);
        let runs = clock.runs();
        thread::sleep(ms(10));
        assert_eq!((clock.runs(), clock.panics()), (runs, 0));
    }
}

#[test]
fn a_stop_from_inside_ends_the_calls_and_tells_the_one_that_runs() {
    let pool = pool(2);
    let live = Live::new();
    let own = Arc::new(Mutex::new(None::<Periodic>));
    let (slot, held, told) = (Arc::clone(&own), live.clone(), Arc::<AtomicBool>::default());
    let was_told = Arc::clone(&told);
    let clock = pool.every(ms(1), move || {
        let _ = &held;
        if let Some(clock) = &*slot.lock().unwrap() {
            clock.stop();
            was_told.store(Attempt::current().is_cancelled(), Ordering::SeqCst);
        }
    });
    *own.lock().unwrap() = Some(clock.clone());
    until("it is stopped", || clock.is_stopped());
    until("it is dropped", || live.others() == 0);
    assert!(told.load(Ordering::SeqCst));
    let runs = clock.runs();
    thread::sleep(ms(10));
    assert_eq!(clock.runs(), runs);
}

#[test]
fn a_panic_is_contained_and_the_next_call_is_made() {
    let pool = pool(1);
    let clock = pool.every(ms(1), || panic!("a call that panics"));
    until("it was called five times", || clock.runs() >= 5);
    clock.stop();
    await_worker(&pool);
    assert_eq!(clock.panics(), clock.runs());
}

#[test]
fn the_end_of_the_pool_ends_the_calls_and_drops_the_function() {
    for way in 0..5 {
        for period in [ms(1), LONG] {
            let pool = pool(1);
            let live = Live::new();
            let clock = counted(&pool, &live, period);
            until("it was called", || clock.runs() > 0);
            await_worker(&pool);
            match way {
                0 => drop(pool),
                1 => drop(pool.shutdown_now()),
                2 => drop(pool.shutdown()),
                3 => pool.close(),
                _ => drop(pool.shutdown_timeout(ms(1))),
            }
            until("it is stopped", || clock.is_stopped());
            until("it is dropped", || live.others() == 0);
            let runs = clock.runs();
            thread::sleep(ms(3));
            assert_eq!((clock.runs(), clock.panics()), (runs, 0));
        }
    }
}

#[test]
fn a_clock_that_is_started_in_a_closed_pool_never_ticks() {
    let pool = pool(1);
    pool.shutdown();
    let live = Live::new();
    let clock = counted(&pool, &live, ms(1));
    until("it is stopped", || clock.is_stopped());
    assert_eq!((clock.runs(), live.others()), (0, 0));
}

#[test]
fn a_cancel_of_all_ends_a_clock_that_waits_and_one_that_runs() {
    let pool = pool(1);
    let live = Live::new();
    let waiting = counted(&pool, &live, LONG);
    until("it was called", || waiting.runs() > 0);
    let (gate, keeper) = gate();
    let held = live.clone();
    let running = pool.every(LONG, move || {
        let _ = &held;
        gate.pass();
    });
    keeper.await_arrivals(1);
    pool.cancel_all();
    assert!(waiting.is_stopped() && running.is_stopped());
    assert_eq!(live.others(), 1);
    keeper.let_through(1);
    until("it is dropped", || live.others() == 0);
    // The pool goes on.
    let next = pool.every(LONG, || ());
    until("the next is called", || next.runs() > 0);
}

#[test]
fn a_clock_does_not_hold_the_pool_open_and_its_call_may_wait() {
    let pool = Arc::new(pool(1));
    let inner = Arc::downgrade(&pool);
    let waited = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&waited);
    let clock = pool.every(ms(1), move || {
        let Some(pool) = inner.upgrade() else { return };
        if pool.submit(|| Ok::<_, ()>(1)).wait().is_ok() {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    until("it has waited", || waited.load(Ordering::SeqCst) >= 5);
    assert_eq!(clock.panics(), 0);
    drop(pool);
    until("it is stopped", || clock.is_stopped());
}

#[test]
#[should_panic(expected = "the period is 0")]
fn a_period_of_zero_is_refused() {
    let _ = pool(1).every(Duration::ZERO, || ());
}

#[test]
fn a_delayed_job_is_parked_and_never_early() {
    let pool = pool(2);
    let handles: Vec<_> = (0..50)
        .map(|n| {
            let (submitted, delay) = (Instant::now(), Duration::from_micros(400 * n));
            let begun = pool.job(|| Ok::<_, ()>(Instant::now())).delay(delay);
            (submitted + delay, begun.submit())
        })
        .collect();
    for (due, handle) in handles {
        assert!(handle.wait().unwrap() >= due);
    }
    let parked = pool.job(|| Ok::<_, ()>(())).delay(LONG).submit();
    assert_eq!((parked.state(), parked.attempts()), (JobState::Parked, 0));
    assert!(!parked.is_settled());
    pool.shutdown_now();
    assert_eq!(parked.state(), JobState::Settled);
    assert_eq!(parked.wait().unwrap_err().reason(), GiveUpReason::Shutdown);
}

#[test]
fn a_delayed_job_is_cancelled_at_once_and_freed() {
    let pool = pool(1);
    let live = Live::new();
    let held = live.clone();
    let parked = pool
        .job(move || Ok::<_, ()>(held.others()))
        .delay(LONG)
        .submit();
    assert_eq!((parked.state(), live.others()), (JobState::Parked, 1));
    assert!(parked.cancel());
    assert_eq!((parked.state(), live.others()), (JobState::Settled, 0));
    assert!(!parked.cancel());
    let give_up = parked.wait().unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.attempts()),
        (GiveUpReason::Cancelled, 0)
    );
    // Nothing is left that the end would wait for.
    pool.shutdown();
}

#[test]
fn the_end_of_a_pool_waits_for_a_delayed_job() {
    let pool = pool(1);
    let submitted = Instant::now();
    let delayed = pool.job(|| Ok::<_, ()>(())).delay(ms(20)).submit();
    assert_eq!(pool.shutdown().gave_up(), 0);
    assert!(submitted.elapsed() >= ms(20));
    assert!(delayed.wait().is_ok());
}
