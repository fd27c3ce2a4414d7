//! Batches: laziness, the window, both orders, adding, resubmitting, cancelling, dropping.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use crate::common::{Live, eventually, gate, ms, pool};
use retry_pool::{
    Attempt, Completion, FailFast, GiveUpReason, JobEvent, Observer, Progress, RetryPolicy,
    RetryPool,
};

/// Fails until the attempt of the given number.
fn succeed_at(attempt: u32) -> Result<u32, &'static str> {
    match Attempt::current().number() {
        n if n >= attempt => Ok(n),
        _ => Err("not yet"),
    }
}

#[test]
fn nothing_is_pulled_or_run_before_the_first_next() {
    let touched = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&touched);
    let pool = pool(1);
    let items = (0..3).inspect(move |_| flag.store(true, Ordering::SeqCst));
    let mut batch = pool.batch(items, |n| Ok::<_, ()>(*n)).as_completed();
    assert!(!touched.load(Ordering::SeqCst));
    assert_eq!(pool.stats().accepted(), 0);
    assert!(batch.next().is_some());
    assert!(touched.load(Ordering::SeqCst));
}

#[test]
fn every_job_comes_out_once_with_its_input_and_attempts() {
    let pool = pool(4);
    let mut seen = HashMap::new();
    for done in pool.batch(0..1_000u32, |n| succeed_at(n % 4 + 1).map(|a| a * n)) {
        let entry = (done.attempts(), done.result().copied().ok());
        assert!(seen.insert(*done.input(), entry).is_none(), "twice");
        assert_eq!(done.index(), *done.input() as usize);
    }
    for n in 0..1_000 {
        let wanted = n % 4 + 1;
        let outcome = if wanted <= 3 {
            (wanted, Some(wanted * n))
        } else {
            (3, None)
        };
        assert_eq!(seen[&n], outcome);
    }
}

#[test]
fn the_hundred_tasks() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let pool = RetryPool::with_threads(20);
    let run = move |n: &u32| {
        counter.fetch_add(1, Ordering::Relaxed);
        match (n, Attempt::current().number()) {
            (50, attempt) => Err(format!("deterministic error in attempt {attempt}")),
            (n, 1) if n % 10 == 3 => Err(String::from("stochastic error")),
            _ => Ok(n + 1_000_000),
        }
    };
    let report = pool
        .batch(0..100, run)
        .retry(RetryPolicy::immediate().max_attempts(5))
        .run();
    assert_eq!(report.succeeded().len(), 99);
    let [given_up] = report.gave_up() else {
        panic!("{report:?}")
    };
    assert_eq!((*given_up.input(), given_up.attempts()), (50, 5));
    let give_up = given_up.result().unwrap_err();
    assert_eq!(give_up.reason(), GiveUpReason::AttemptsExhausted);
    assert_eq!(give_up.error().unwrap(), "deterministic error in attempt 5");
    assert_eq!(
        (calls.load(Ordering::Relaxed), report.attempts()),
        (114, 114)
    );
    assert!(!report.is_success() && !report.input_left());
}

#[test]
fn a_batch_never_pulls_more_than_its_window_ahead() {
    for window in [1, 2, 3, 22, 1_024] {
        let pulled = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&pulled);
        let input = std::iter::from_fn(move || Some(counter.fetch_add(1, Ordering::SeqCst)));
        let pool = pool(3);
        let batch = pool.batch(input, |n| Ok::<_, ()>(*n)).window(window);
        for (delivered, done) in batch.as_completed().take(5_000).enumerate() {
            assert!(pulled.load(Ordering::SeqCst) <= delivered + 1 + window);
            drop(done);
        }
    }
}

#[test]
fn an_endless_input_with_an_unlimited_window_yields() {
    let pool = pool(2);
    let batch = pool.batch(0u64.., |n| Ok::<_, ()>(*n)).window(usize::MAX);
    assert_eq!(batch.as_completed().take(10_000).count(), 10_000);
}

#[test]
fn in_order_yields_in_the_order_of_the_input_within_the_window() {
    let pulled = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&pulled);
    let pool = pool(4);
    let input = (0..2_000u32).inspect(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let batch = pool
        .batch(input, |n| succeed_at(n % 7 / 3 + 1))
        .window(16)
        .in_order();
    for (position, done) in batch.enumerate() {
        assert_eq!(done.index(), position);
        assert!(pulled.load(Ordering::SeqCst) <= position + 1 + 16);
    }
    assert_eq!(pulled.load(Ordering::SeqCst), 2_000);
}

#[test]
fn what_waits_for_its_turn_in_order_is_not_delivered() {
    let pool = pool(2);
    let (tell, told) = mpsc::channel();
    let told = Mutex::new(told);
    let mut batch = pool
        .batch(0..10, move |n| {
            match n {
                0 => told.lock().unwrap().recv().unwrap(),
                9 => tell.send(()).unwrap(),
                _ => {}
            }
            Ok::<_, ()>(())
        })
        .window(10)
        .in_order();
    for delivered in 1..=10 {
        assert!(batch.next().is_some());
        assert_eq!(batch.progress().delivered(), delivered);
    }
}

#[test]
fn in_order_yields_a_resubmitted_job_when_it_settles() {
    let pool = pool(2);
    let batch = pool
        .batch(0..4, |_| succeed_at(2))
        .retry(RetryPolicy::never())
        .in_order();
    let mut order = Vec::new();
    for done in batch {
        match done.result() {
            Ok(_) => order.push(done.index()),
            Err(_) => done.resubmit(),
        }
    }
    order.sort_unstable();
    assert_eq!(order, [0, 1, 2, 3]);
}

#[test]
fn an_iteration_in_order_takes_added_inputs_and_can_be_cancelled() {
    let pool = pool(2);
    let mut batch = pool.batch([0, 1], |n| Ok::<_, ()>(*n)).in_order();
    assert_eq!(batch.by_ref().count(), 2);
    batch.add(2);
    assert_eq!(batch.next().unwrap().into_result().ok(), Some(2));
    batch.cancel();
    batch.add(3);
    let give_up = batch.next().unwrap().into_result().unwrap_err();
    assert_eq!(give_up.reason(), GiveUpReason::Cancelled);
}

#[test]
fn added_inputs_are_seen_by_the_running_iteration_even_after_its_end() {
    let pool = pool(2);
    let mut batch = pool
        .batch([8u32], |n| Ok::<_, ()>(*n))
        .window(2)
        .as_completed();
    let mut seen = Vec::new();
    while let Some(done) = batch.next() {
        let n = *done.input();
        seen.push(n);
        if n > 1 {
            batch.extend([n / 2, n / 2]);
        }
    }
    seen.sort();
    assert_eq!(seen, [1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 8]);
    batch.add(1);
    assert_eq!(batch.next().map(|done| done.index()), Some(15));
    assert!(batch.next().is_none());
}

#[test]
fn resubmitted_jobs_are_yielded_again_and_their_attempts_go_on() {
    let pool = pool(2);
    let mut attempts = Vec::new();
    for done in pool
        .batch(0..100, |_| succeed_at(4))
        .retry(RetryPolicy::never())
    {
        if done.result().is_err() && done.attempts() < 5 {
            done.resubmit();
            continue;
        }
        attempts.push(done.attempts());
    }
    assert_eq!(attempts, [4; 100]);
    let stats = pool.stats();
    assert_eq!(
        (
            stats.accepted(),
            stats.succeeded(),
            stats.gave_up(),
            stats.retries()
        ),
        (400, 100, 300, 300)
    );
}

#[test]
fn an_exhausted_job_that_is_resubmitted_comes_straight_back() {
    let pool = pool(1);
    let mut batch = pool.batch([()], |_| Err::<(), _>("no")).as_completed();
    let done = batch.next().unwrap();
    assert_eq!(done.attempts(), 3);
    done.resubmit();
    let again = batch.next().unwrap();
    assert_eq!(again.attempts(), 4);
    assert_eq!(
        again.result().unwrap_err().reason(),
        GiveUpReason::AttemptsExhausted
    );
}

#[test]
fn a_completion_held_past_the_end_makes_the_iteration_go_on() {
    let pool = pool(1);
    let mut batch = pool.batch([7], |n| Ok::<_, ()>(*n)).as_completed();
    let done = batch.next().unwrap();
    assert!(batch.next().is_none());
    done.resubmit();
    assert_eq!(batch.next().unwrap().attempts(), 2);
    assert!(batch.next().is_none());
}

#[test]
fn a_resubmission_from_another_thread_wakes_the_iteration() {
    let pool = pool(2);
    let (gate, keeper) = gate();
    let hold = gate.clone();
    let run = move |n: &u32| {
        if *n == 1 {
            hold.pass();
        }
        Ok::<_, ()>(*n)
    };
    let mut batch = pool.batch([0, 1], run).as_completed();
    let first = batch.next().unwrap();
    assert_eq!(*first.input(), 0);
    keeper.await_arrivals(1);
    let resubmitter = std::thread::spawn(move || first.resubmit());
    // The other worker is held, so what comes next is the resubmitted job.
    assert_eq!(*batch.next().unwrap().input(), 0);
    resubmitter.join().unwrap();
    keeper.let_through(1);
    assert_eq!(*batch.next().unwrap().input(), 1);
    assert!(batch.next().is_none());
}

#[test]
fn a_million_completions_held_back_and_resubmitted_one_by_one_block_nobody() {
    let pool = pool(2);
    let jobs = 1_000_000;
    let mut batch = pool
        .batch(0..jobs, |n| Ok::<_, ()>(*n))
        .window(usize::MAX)
        .as_completed();
    let held: Vec<_> = batch.by_ref().collect();
    assert_eq!(held.len(), jobs);
    std::thread::scope(|scope| {
        scope.spawn(move || held.into_iter().for_each(Completion::resubmit));
        let mut seen = vec![0u8; jobs];
        while seen.iter().map(|n| usize::from(*n)).take(1).sum::<usize>() == 0
            || !seen.iter().all(|n| *n == 1)
        {
            let again: Vec<_> = batch.by_ref().collect();
            again.iter().for_each(|done| seen[*done.input()] += 1);
        }
    });
    assert!(batch.next().is_none());
}

#[test]
fn resubmit_in_an_ended_batch_drops_and_try_resubmit_gives_back() {
    let pool = pool(1);
    let mut batch = pool.batch(0..3, |n| Ok::<_, ()>(*n)).as_completed();
    let held: Vec<_> = batch.by_ref().collect();
    batch.cancel();
    let back: Vec<_> = held
        .into_iter()
        .map(|done| done.try_resubmit().unwrap_err())
        .collect();
    assert!(batch.next().is_none());
    drop(batch);
    drop(pool);
    for done in back {
        assert_eq!(done.result().copied().ok(), Some(*done.input()));
        done.resubmit();
    }
}

#[test]
fn resubmit_in_an_ended_batch_contains_a_panic_of_what_it_drops() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("an input is dropped");
        }
    }
    let pool = pool(1);
    let mut batch = pool.batch([Bomb], |_| Ok::<_, ()>(())).as_completed();
    let done = batch.next().unwrap();
    batch.cancel();
    done.resubmit();
}

#[test]
fn cancelled_jobs_come_out_of_the_iteration() {
    let pool = pool(2);
    let (gate, keeper) = gate();
    let mut batch = pool
        .batch(0..100, move |n| {
            gate.pass();
            Ok::<_, ()>(*n)
        })
        .window(7)
        .as_completed();
    // Up to six of seven the window counts as low, so one that stays away for a while is filled in the end.
    while batch.progress().accepted() < 7 {
        assert!(batch.next_timeout(ms(1)).is_err());
    }
    assert_eq!(batch.next_timeout(ms(1)).unwrap_err().unfinished, 7);
    keeper.await_arrivals(2);
    batch.cancel();
    keeper.let_through(2);
    batch.add(100);
    let progress = batch.progress();
    assert!(progress.input_left());
    let outcomes: Vec<_> = batch
        .map(|done| done.into_result().map_err(|give_up| give_up.reason()))
        .collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 2);
    let cancelled = outcomes
        .iter()
        .filter(|outcome| **outcome == Err(GiveUpReason::Cancelled))
        .count();
    assert_eq!(cancelled, 6);
    let stats = pool.stats();
    assert_eq!(
        (stats.accepted(), stats.succeeded(), stats.gave_up()),
        (8, 2, 6)
    );
}

#[test]
fn a_cancelled_job_is_not_retried_and_keeps_its_last_error() {
    let pool = pool(1);
    let hourly = RetryPolicy::fixed(ms(3_600_000)).unlimited();
    let mut batch = pool
        .batch([()], |_| Err::<(), _>("busy"))
        .retry(hourly)
        .as_completed();
    while batch.progress().retries() == 0 && pool.stats().unsettled() < 1 {
        let _ = batch.next_timeout(ms(1));
    }
    // Wait until the job is parked: then its worker is free for another one.
    pool.submit(|| Ok::<_, ()>(())).wait().unwrap();
    batch.cancel();
    let give_up = batch.next().unwrap().into_result().unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.attempts()),
        (GiveUpReason::Cancelled, 1)
    );
    assert_eq!(give_up.into_error(), Some("busy"));
    assert!(batch.next().is_none());
}

#[test]
fn what_runs_while_its_batch_fails_fast_is_not_retried_and_no_hook_says_so() {
    let exhausted = GiveUpReason::AttemptsExhausted;
    for (attempts, reason) in [(2, GiveUpReason::FailFast), (1, exhausted)] {
        let pool = pool(2);
        let (begun, begins) = mpsc::channel();
        let begins = Mutex::new(begins);
        let run = move |n: &u32| {
            if *n == 0 {
                begins.lock().unwrap().recv().unwrap();
                return Err(Attempt::permanent("first"));
            }
            begun.send(()).unwrap();
            assert!(!Attempt::current().sleep(Duration::MAX));
            Err::<(), _>("told")
        };
        let retried = Arc::new(AtomicUsize::new(0));
        let hook = Arc::clone(&retried);
        let report = pool
            .batch(0..2, run)
            .retry(RetryPolicy::immediate().max_attempts(attempts))
            .fail_fast(FailFast::AfterFailures(1))
            .on_retry(move |_, _, _| {
                hook.fetch_add(1, Ordering::SeqCst);
            })
            .run();
        let told = report.gave_up()[1].result().unwrap_err();
        assert_eq!(
            (told.reason(), told.attempts(), told.error()),
            (reason, 1, Some(&"told"))
        );
        assert_eq!(retried.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn dropping_the_iterator_early_drops_what_has_not_begun_and_leaks_nothing() {
    let live = Live::new();
    let pool = pool(2);
    let (gate, keeper) = gate();
    let (inputs, function) = (live.clone(), live.clone());
    let items = (0..1_000).map(move |_| inputs.clone());
    let mut batch = pool
        .batch(items, move |input: &Live| {
            let _ = &function;
            gate.pass();
            Ok::<_, ()>(input.clone())
        })
        .window(50)
        .as_completed();
    // Nothing settles, so this fills the window.
    while batch.progress().accepted() < 50 {
        assert!(batch.next_timeout(ms(1)).is_err());
    }
    keeper.await_arrivals(2);
    drop(batch);
    // Two inputs are with the running attempts, and the function.
    assert_eq!(live.others(), 3);
    keeper.let_through(2);
    pool.shutdown();
    assert_eq!(live.others(), 0);
    let stats = pool.stats();
    assert_eq!(
        (stats.accepted(), stats.succeeded(), stats.gave_up()),
        (50, 2, 48)
    );
}

#[test]
fn each_result_is_freed_as_soon_as_it_is_taken() {
    let live = Live::new();
    let template = live.clone();
    let pool = pool(2);
    let batch = pool
        .batch(0..1_000, move |_| Ok::<_, ()>(template.clone()))
        .window(8);
    for done in batch {
        drop(done);
        assert!(live.others() <= 1 + 8);
    }
    // The function goes with the last worker that helps the batch.
    pool.shutdown();
    assert_eq!(live.others(), 0);
}

#[test]
fn a_panicking_input_reaches_the_caller_and_the_batch_goes_on() {
    let pool = pool(2);
    let mut pulls = 0;
    let input = std::iter::from_fn(move || {
        pulls += 1;
        assert!(pulls != 6, "the sixth pull");
        (pulls <= 10).then_some(pulls)
    });
    let mut batch = pool.batch(input, |n| Ok::<_, ()>(*n)).as_completed();
    let mut seen = Vec::new();
    let mut panics = 0;
    loop {
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| batch.next())) {
            Ok(Some(done)) => seen.push(*done.input()),
            Ok(None) => break,
            Err(_) => panics += 1,
        }
    }
    seen.sort();
    assert_eq!((panics, seen), (1, vec![1, 2, 3, 4, 5, 7, 8, 9, 10]));
}

#[test]
fn an_input_may_use_the_pool_itself() {
    let pool = pool(1);
    let input = (0..50).map(|n| pool.submit(move || Ok::<_, ()>(n)).wait().unwrap());
    let report = pool.batch(input, |n| Ok::<_, ()>(*n)).window(3).run();
    assert_eq!(report.succeeded().len(), 50);
}

#[test]
fn names_reach_the_attempt_and_a_name_function_that_panics_is_contained() {
    let pool = pool(2);
    let name = |n: &u32| {
        if *n == 1 {
            panic!("no name")
        } else {
            format!("job-{n}")
        }
    };
    let report = pool
        .batch(0..3, |_| {
            Ok::<_, ()>(Attempt::current().job_name().map(String::from))
        })
        .name(name)
        .run();
    let names: Vec<_> = report
        .succeeded()
        .iter()
        .map(|(_, name)| name.as_deref())
        .collect();
    assert_eq!(names, [Some("job-0"), None, Some("job-2")]);
}

#[test]
fn the_last_attempt_knows_that_it_is_the_last() {
    let pool = pool(1);
    let last = |_: &()| match Attempt::current() {
        attempt if attempt.is_last() => Ok(attempt.number()),
        _ => Err(()),
    };
    let report = pool
        .batch([()], last)
        .retry(RetryPolicy::immediate().max_attempts(7))
        .run();
    assert_eq!(report.succeeded(), [(0, 7)]);
    let never = pool
        .batch([()], |_| Ok::<_, ()>(Attempt::current().is_last()))
        .retry(RetryPolicy::never())
        .run();
    assert_eq!(never.succeeded(), [(0, true)]);
}

#[test]
fn neither_inputs_nor_results_need_be_sync_or_clone() {
    let pool = pool(2);
    let inputs: Vec<std::cell::Cell<u32>> = vec![std::cell::Cell::new(1)];
    let run = |n: &std::cell::Cell<u32>| {
        n.set(n.get() + 1);
        if n.get() < 4 {
            Err(())
        } else {
            Ok(std::cell::Cell::new(n.get()))
        }
    };
    let report = pool.batch(inputs, run).run();
    assert_eq!(report.succeeded()[0].1.get(), 4);
}

#[test]
fn a_report_tells_how_long_its_batch_took() {
    let pool = pool(1);
    let batch = pool.batch([()], |()| succeed_at(2));
    let report = batch.retry(RetryPolicy::fixed(ms(5))).run();
    assert!(report.elapsed() >= ms(5));
}

#[test]
fn a_job_that_was_submitted_first_begins_before_a_batch() {
    let pool = pool(1);
    for _ in 0..20 {
        let (gate, keeper) = gate();
        let held = pool.submit(move || {
            gate.pass();
            Ok::<_, ()>(())
        });
        keeper.await_arrivals(1);
        let (begun, begins) = mpsc::channel();
        let of_batch = begun.clone();
        let single = pool.submit(move || begun.send("single"));
        let batch = pool.batch([()], move |()| of_batch.send("batch"));
        let mut batch = batch.as_completed();
        assert!(batch.next_timeout(Duration::ZERO).is_err());
        keeper.let_through(1);
        assert!(held.wait().is_ok() && single.wait().is_ok());
        assert!(batch.next().is_some());
        assert!(begins.iter().take(2).eq(["single", "batch"]));
    }
}

#[test]
fn progress_tells_how_far_a_batch_has_come() {
    let pool = pool(1);
    let mut batch = pool
        .batch(0..5, |n| if *n < 2 { Err(()) } else { Ok(()) })
        .as_completed();
    let told = |progress: Progress| {
        let settled = (progress.succeeded(), progress.gave_up(), progress.retries());
        (progress.accepted(), settled, progress.delivered())
    };
    assert_eq!(told(batch.progress()), (0, (0, 0, 0), 0));
    assert!(batch.by_ref().take(5).count() == 5 && batch.next().is_none());
    assert_eq!(told(batch.progress()), (5, (3, 2, 4), 5));
    let progress = batch.progress();
    assert_eq!((progress.undelivered(), progress.input_left()), (0, false));
}

#[test]
fn a_window_is_refilled_when_a_quarter_of_it_is_free() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let pulled = AtomicUsize::new(0);
    let input = (8..20).inspect(|_| {
        pulled.fetch_add(1, Ordering::SeqCst);
    });
    let job = move |_: &u32| {
        gate.pass();
        Ok::<_, ()>(())
    };
    let mut batch = pool.batch(input, job).window(8).as_completed();
    batch.extend(0..8);
    for refilled in [false, false, true] {
        keeper.let_through(1);
        assert!(batch.next().is_some());
        assert_eq!(pulled.load(Ordering::SeqCst) > 0, refilled);
    }
    keeper.let_through(17);
    assert_eq!(batch.count(), 17);
}

#[test]
fn an_input_for_a_worker_without_a_job_is_pulled_as_soon_as_there_is_room() {
    let pool = pool(8);
    let pulled = AtomicUsize::new(0);
    let input = (8..20).inspect(|_| {
        pulled.fetch_add(1, Ordering::SeqCst);
    });
    let batch = pool.batch(input, |n: &u32| Ok::<_, ()>(*n));
    let mut batch = batch.window(8).as_completed();
    batch.extend(0..8);
    eventually("settled", || batch.progress().succeeded() == 8);
    assert!(batch.next().is_some());
    assert_eq!(pulled.load(Ordering::SeqCst), 0);
    assert!(batch.next().is_some());
    assert_eq!(pulled.load(Ordering::SeqCst), 1);
    assert_eq!(batch.count(), 18);
}

#[test]
fn quick_inputs_are_handed_over_several_at_a_time() {
    let pool = pool(1);
    let mut accepted = HashSet::new();
    let input = (0..1_000).inspect(|_| {
        accepted.insert(pool.stats().accepted());
    });
    let batch = pool.batch(input, |n| Ok::<_, ()>(*n));
    assert_eq!(batch.run().succeeded().len(), 1_000);
    assert!(accepted.len() < 1_000);
}

#[test]
fn a_slow_input_is_handed_over_before_the_next_is_pulled() {
    let pool = pool(1);
    let (ran, runs) = mpsc::channel();
    let input = (0..300).inspect(move |n| {
        // The first ones are quick, and some may be at hand when it turns out that others are not.
        if *n >= 200 {
            std::thread::sleep(Duration::from_micros(100));
        }
        if *n >= 240 {
            while runs.recv_timeout(ms(10_000)).expect("it was kept back") + 1 < *n {}
        }
    });
    let job = move |n: &u32| {
        // Nobody asks for the last one.
        let _ = ran.send(*n);
        Ok::<_, ()>(())
    };
    assert_eq!(pool.batch(input, job).run().succeeded().len(), 300);
}

#[test]
fn what_is_ready_does_not_wait_for_slow_inputs() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let pulled = AtomicUsize::new(0);
    let input = (400..).inspect(|_| {
        pulled.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_micros(100));
    });
    let job = move |n: &u32| {
        if *n == 400 {
            gate.pass();
        }
        Ok::<_, ()>(())
    };
    let mut batch = pool.batch(input, job).window(400).as_completed();
    batch.extend(0..400);
    eventually("settled", || batch.progress().succeeded() == 400);
    for _ in 0..400 {
        let before = pulled.load(Ordering::SeqCst);
        assert!(batch.next().is_some());
        assert!(pulled.load(Ordering::SeqCst) <= before + 1);
    }
    assert!(pulled.load(Ordering::SeqCst) > 0);
    keeper.let_through(1);
}

/// How many quick inputs are pulled in one go for a window of which a quarter is free, while there is something to deliver.
fn pulled_in_one_go() -> usize {
    let pool = pool(1);
    let pulled = AtomicUsize::new(0);
    let input = (256..).inspect(|_| {
        pulled.fetch_add(1, Ordering::SeqCst);
    });
    let batch = pool.batch(input, |n: &u32| Ok::<_, ()>(*n));
    let mut batch = batch.window(256).as_completed();
    batch.extend(0..256);
    eventually("settled", || batch.progress().succeeded() == 256);
    assert_eq!(batch.by_ref().take(64).count(), 64);
    assert_eq!(pulled.load(Ordering::SeqCst), 0);
    assert!(batch.next().is_some());
    pulled.load(Ordering::SeqCst)
}

/// Is told of the jobs of a bite one after the other, once all of it is pulled.
#[derive(Clone, Default)]
struct Bites {
    pulled: Arc<AtomicUsize>,
    accepted: Arc<AtomicUsize>,
    greatest: Arc<AtomicUsize>,
}

impl Observer for Bites {
    fn job_accepted(&self, _: &JobEvent<'_>) {
        let accepted = self.accepted.fetch_add(1, Ordering::SeqCst);
        let bite = self.pulled.load(Ordering::SeqCst) - accepted;
        self.greatest.fetch_max(bite, Ordering::SeqCst);
    }
}

#[test]
fn up_to_32_quick_inputs_are_pulled_before_the_first_is_handed_over() {
    let bites = Bites::default();
    let builder = RetryPool::builder().threads(1).observer(bites.clone());
    let pool = builder.build().unwrap();
    // Only a few, where the machine holds the iterator up.
    eventually("a full bite", || {
        let input = (0..2_000).inspect(|_| {
            bites.pulled.fetch_add(1, Ordering::SeqCst);
        });
        let report = pool.batch(input, |n: &u32| Ok::<_, ()>(*n)).run();
        assert_eq!(report.succeeded().len(), 2_000);
        bites.greatest.load(Ordering::SeqCst) >= 32
    });
    assert_eq!(bites.greatest.load(Ordering::SeqCst), 32);
}

#[test]
fn quick_inputs_are_pulled_on_though_something_is_ready() {
    // Only a few, where the machine holds the iterator up.
    assert!((0..50).any(|_| pulled_in_one_go() > 1));
}

#[test]
fn an_added_input_runs_before_the_next_next() {
    let pool = pool(1);
    let (ran, runs) = mpsc::channel();
    let mut batch = pool
        .batch(std::iter::empty(), move |n: &u32| ran.send(*n))
        .window(1)
        .as_completed();
    batch.extend([1, 2]);
    assert_eq!(runs.recv_timeout(ms(10_000)), Ok(1));
    // The other one waits for room.
    assert_eq!(batch.count(), 2);
}

#[test]
fn an_iteration_shows_how_many_jobs_are_unfinished() {
    let pool = pool(1);
    let mut batch = pool
        .batch(std::iter::empty(), |n: &u32| Ok::<_, ()>(*n))
        .as_completed();
    batch.extend([1, 2, 3]);
    let shown = format!("{batch:?}");
    assert_eq!(shown, "AsCompleted { delivered: 0, unfinished: 3, .. }");
    assert!(batch.next().is_some());
    let shown = format!("{batch:?}");
    assert_eq!(shown, "AsCompleted { delivered: 1, unfinished: 2, .. }");
    assert_eq!(batch.count(), 2);
}

#[test]
fn an_iteration_in_order_shows_as_unfinished_what_it_withholds() {
    let pool = pool(2);
    let (last, ended) = mpsc::channel();
    let ended = Mutex::new(ended);
    let job = move |n: &u32| match n {
        0 => ended.lock().unwrap().recv().map_err(drop),
        2 => last.send(()).map_err(drop),
        _ => Ok(()),
    };
    let mut batch = pool.batch(0..3, job).in_order();
    assert!(batch.next().is_some());
    let shown = format!("{batch:?}");
    assert!(shown.contains("delivered: 1, unfinished: 2"), "{shown}");
    assert_eq!(batch.count(), 2);
}

#[test]
fn a_resubmitted_job_runs_though_nobody_iterates() {
    let pool = pool(1);
    let (ran, runs) = mpsc::channel();
    let mut batch = pool.batch([7], move |n| ran.send(*n)).as_completed();
    let done = batch.next().unwrap();
    assert!(batch.next().is_none());
    done.resubmit();
    let run = || runs.recv_timeout(ms(10_000));
    assert_eq!((run(), run()), (Ok(7), Ok(7)));
    assert_eq!(batch.count(), 1);
}

#[test]
fn a_window_is_filled_by_calls_that_have_little_time_each() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let job = move |_: &u32| {
        gate.pass();
        Ok::<_, ()>(())
    };
    let slow = (0..).inspect(|_| thread::sleep(ms(2)));
    let mut batch = pool.batch(slow, job).window(8).as_completed();
    for _ in 0..8 {
        assert!(batch.next_timeout(ms(1)).is_err());
    }
    assert_eq!(batch.progress().accepted(), 8);
    batch.cancel();
    keeper.let_through(1);
}
