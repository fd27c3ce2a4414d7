//! A batch that stops at its failures: soon, once, and with every input accounted for.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{gate, ms, pool};
use retry_pool::{Attempt, CancelToken, FailFast, GiveUpReason, RetryPolicy, RetryPool};

const HOUR: Duration = Duration::from_secs(3_600);

/// Waits until something is so, at the longest ten seconds.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < patience, "still not so: {what}");
        thread::yield_now();
    }
}

fn adds_up(pool: &RetryPool) -> bool {
    let stats = pool.stats();
    stats.accepted() == stats.succeeded() + stats.gave_up()
}

// A bounded queue with three workers whose requests fail from the eleventh on.

const WINDOW: usize = 22;

const COUNTS: [u32; 8] = [11, 12, 30, 32, 33, 34, 60, 1_000];

/// Requests are numbered from 0, and all above 10 fail.
fn request(number: &u32) -> Result<u32, String> {
    if *number > 10 {
        return Err(format!("request {number} failed"));
    }
    Ok(*number)
}

/// Three requests at most run at once, so no more than three fail, and those are among the first three above 10.
fn check(requests: u32, ok: &[u32], failed: &[u32], first: Option<u32>) {
    assert!(ok.iter().copied().eq(0..=10), "{requests}: {ok:?}");
    let possible = requests.saturating_sub(11).min(3) as usize;
    assert!(
        (possible.min(1)..=possible).contains(&failed.len()),
        "{requests}: {failed:?}"
    );
    assert!(
        failed.iter().all(|number| (11..=13).contains(number)),
        "{requests}: {failed:?}"
    );
    assert_eq!(first.is_some(), possible > 0);
    assert!(first.is_none_or(|first| failed.contains(&first)));
}

#[test]
fn a_bounded_batch_stops_at_its_first_failure_and_accounts_for_every_request() {
    for requests in COUNTS {
        for _ in 0..20 {
            let pool = pool(3);
            let report = pool
                .batch(0..requests, request)
                .window(WINDOW)
                .retry(RetryPolicy::never())
                .fail_fast(FailFast::AfterFailures(1))
                .run();
            let ok: Vec<_> = report
                .succeeded()
                .iter()
                .map(|(_, number)| *number)
                .collect();
            let failed: Vec<_> = report.failures().map(|done| *done.input()).collect();
            let first = report.first_failure().map(|done| *done.input());
            check(requests, &ok, &failed, first);
            let stopped = report
                .gave_up()
                .iter()
                .filter(|done| done.result().unwrap_err().reason() == GiveUpReason::FailFast);
            let stopped: Vec<_> = stopped
                .map(|done| (*done.input(), done.attempts()))
                .collect();
            assert!(
                stopped
                    .iter()
                    .all(|(input, attempts)| *input > 10 && *attempts == 0)
            );
            let accepted = ok.len() + failed.len() + stopped.len();
            assert_eq!(report.accepted(), accepted);
            assert!(accepted <= 11 + WINDOW + 2);
            assert!(accepted == requests as usize || report.input_left());
            assert_eq!(report.is_success(), requests == 11);
            assert!(adds_up(&pool));
        }
    }
}

#[test]
fn a_producer_of_a_bounded_batch_gets_back_what_was_not_taken() {
    for requests in COUNTS {
        for _ in 0..20 {
            let pool = pool(3);
            let (sender, completed) = pool
                .batch(std::iter::empty(), request)
                .window(WINDOW)
                .retry(RetryPolicy::never())
                .fail_fast(FailFast::AfterFailures(1))
                .channel();
            let producer = thread::spawn(move || {
                let send = |number| {
                    sender
                        .send(number)
                        .err()
                        .map(retry_pool::SendError::into_inner)
                };
                (0..requests).filter_map(send).collect::<Vec<_>>()
            });
            let (mut ok, mut failed, mut stopped) = (Vec::new(), Vec::new(), Vec::new());
            let mut completed = completed;
            for done in completed.by_ref() {
                match done.result().map_err(retry_pool::GiveUp::reason) {
                    Ok(number) => ok.push(*number),
                    Err(GiveUpReason::FailFast) => stopped.push(*done.input()),
                    Err(_) => failed.push(*done.input()),
                }
            }
            let rejected = producer.join().unwrap();
            ok.sort_unstable();
            let first = completed.first_failure().map(|index| index as u32);
            check(requests, &ok, &failed, first);
            let mut all = [ok, failed, stopped, rejected].concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..requests));
            assert!(adds_up(&pool));
        }
    }
}

#[test]
fn a_blocked_producer_is_released_within_five_milliseconds_while_a_long_job_runs() {
    let mut times = Vec::new();
    for _ in 0..10 {
        let pool = pool(2);
        let (gate, keeper) = gate();
        let fails = Arc::new(AtomicBool::new(false));
        let failing = Arc::clone(&fails);
        let run = move |number: &u32| {
            if *number == 0 {
                gate.pass();
                return Ok(());
            }
            until("it may fail", || failing.load(Ordering::SeqCst));
            Err(())
        };
        let batch = pool.batch(std::iter::empty(), run).window(3);
        let (sender, completed) = batch
            .retry(RetryPolicy::never())
            .fail_fast(FailFast::AfterFailures(1))
            .channel();
        let (sent, sends) = mpsc::channel();
        let producer = thread::spawn(move || {
            let mut numbers = (0..).inspect(|number| sent.send(*number).unwrap());
            let refused = numbers.find_map(|number| sender.send(number).err());
            (refused.unwrap().into_inner(), Instant::now())
        });
        keeper.await_arrivals(1);
        assert!(sends.iter().take(4).eq(0..4));
        let tripped = Instant::now();
        fails.store(true, Ordering::SeqCst);
        let (refused, released) = producer.join().unwrap();
        times.push(released - tripped);
        assert_eq!(refused, 3);
        // The long job still runs, and what it comes to is reported.
        keeper.let_through(1);
        let ok = completed.filter(|done| done.result().is_ok());
        assert!(ok.map(|done| *done.input()).eq([0]));
    }
    // The machine may be busy; one that waits for a job or a tick is slow each time.
    assert!(times.iter().min() < Some(&ms(5)), "{times:?}");
}

// When it trips.

/// Runs jobs one after the other, of which those that `fails` says fail; gives how many ran.
fn ran(rule: FailFast, jobs: u32, fails: impl Fn(u32) -> bool + Send + Sync + 'static) -> usize {
    let pool = pool(1);
    let run = move |n: &u32| if fails(*n) { Err(*n) } else { Ok(*n) };
    let report = pool
        .batch(0..jobs, run)
        .retry(RetryPolicy::never())
        .fail_fast(rule)
        .run();
    assert!(adds_up(&pool));
    report.succeeded().len() + report.failures().count()
}

#[test]
fn it_trips_at_the_nth_failure_and_not_before() {
    for limit in 1..=5 {
        let rule = FailFast::AfterFailures(limit);
        assert_eq!(ran(rule, 100, |n| n % 3 == 0), 3 * (limit as usize - 1) + 1);
    }
    assert_eq!(ran(FailFast::AfterFailures(6), 15, |n| n % 3 == 0), 15);
    assert_eq!(ran(FailFast::AfterFailures(u64::MAX), 50, |_| true), 50);
    assert_eq!(ran(FailFast::Never, 50, |_| true), 50);
}

#[test]
fn a_rate_trips_once_enough_have_ended_also_by_a_success() {
    let rate = |ratio, min_done| FailFast::AfterRate { ratio, min_done };
    // The share is reached from the start, the minimum by the tenth job, a success.
    assert_eq!(ran(rate(0.5, 10), 100, |n| n < 5), 10);
    assert_eq!(ran(rate(0.5, 10), 100, |n| n >= 5), 10);
    assert_eq!(ran(rate(0.5, 10), 100, |n| n >= 8), 16);
    assert_eq!(ran(rate(1.0, 1), 100, |n| n > 0), 100);
    assert_eq!(ran(rate(1.0, 3), 100, |_| true), 3);
    assert_eq!(ran(rate(f64::MIN_POSITIVE, 0), 100, |n| n == 7), 8);
    assert_eq!(ran(rate(0.1, u64::MAX), 100, |_| true), 100);
}

#[test]
fn only_jobs_whose_retries_are_used_up_count_and_each_once() {
    let pool = pool(1);
    let run = |n: &u32| match (*n, Attempt::current().number()) {
        (n, number) if n < 5 && number < 3 => Err("for a while"),
        (5 | 6, _) => Err("for good"),
        _ => Ok(()),
    };
    let report = pool
        .batch(0..20, run)
        .window(1)
        .retry(RetryPolicy::immediate())
        .fail_fast(FailFast::AfterFailures(2))
        .run();
    assert_eq!(report.succeeded().len(), 5);
    assert_eq!(
        report
            .failures()
            .map(retry_pool::Completion::attempts)
            .collect::<Vec<_>>(),
        [3, 3]
    );
    assert_eq!(report.first_failure().map(|done| *done.input()), Some(5));
}

#[test]
fn panics_and_permanent_errors_count() {
    for panics in [false, true] {
        let pool = pool(1);
        let run = move |n: &u32| {
            assert!(*n != 2 || !panics, "the third");
            if *n == 2 {
                Err(Attempt::permanent("no"))
            } else {
                Ok(())
            }
        };
        let batch = pool.batch(0..9, run).fail_fast(FailFast::AfterFailures(1));
        let report = batch.run();
        assert_eq!(report.succeeded().len(), 2);
        let reason = report
            .first_failure()
            .unwrap()
            .result()
            .unwrap_err()
            .reason();
        let expected = if panics {
            GiveUpReason::Panicked
        } else {
            GiveUpReason::Permanent
        };
        assert_eq!(reason, expected);
    }
}

#[test]
fn cancelled_jobs_are_no_failures() {
    let pool = pool(1);
    let token = CancelToken::new();
    let cancel = token.clone();
    let run = move |_: &u32| {
        cancel.cancel();
        Err::<(), _>(())
    };
    let report = pool
        .batch(0..5, run)
        .cancel_token(token)
        .fail_fast(FailFast::AfterFailures(1))
        .run();
    assert!(report.first_failure().is_none());
    assert_eq!(report.failures().count(), 0);
    assert!(!report.gave_up().is_empty());
    assert!(
        report
            .gave_up()
            .iter()
            .all(|done| { done.result().unwrap_err().reason() == GiveUpReason::Cancelled })
    );
}

// What becomes of the others.

#[test]
fn what_is_queued_or_parked_comes_out_with_its_input_and_what_runs_is_told_and_counts() {
    let pool = pool(3);
    let (begun, begins) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let fails = Arc::new(AtomicBool::new(false));
    let failing = Arc::clone(&fails);
    let run = move |n: &u32| {
        let attempt = Attempt::current();
        match *n {
            0 => return Err("parked"),
            3 => until("it may fail", || failing.load(Ordering::SeqCst)),
            _ => {
                begun.send(*n).unwrap();
                tell.send(attempt.sleep(HOUR)).unwrap();
            }
        }
        match *n {
            1 => Ok(*n),
            2 => Err(Attempt::permanent("told")),
            _ => Err(Attempt::permanent("first")),
        }
    };
    let mut batch = pool
        .batch(0..8, run)
        .retry(RetryPolicy::fixed(HOUR).unlimited())
        .fail_fast(FailFast::AfterFailures(1))
        .as_completed();
    while batch.progress().accepted() < 8 {
        assert!(batch.next_timeout(Duration::ZERO).is_err());
    }
    let mut running: Vec<_> = begins.iter().take(2).collect();
    running.sort_unstable();
    assert_eq!(running, [1, 2]);
    fails.store(true, Ordering::SeqCst);
    let mut outcomes: Vec<_> = batch
        .by_ref()
        .map(|done| {
            let (input, result) = done.into_parts();
            (
                input.unwrap(),
                result.map_err(|give_up| (give_up.reason(), give_up.into_error())),
            )
        })
        .collect();
    outcomes.sort_unstable_by_key(|(input, _)| *input);
    assert!(told.into_iter().take(2).all(|in_time| !in_time));
    let stopped = |input, error| (input, Err((GiveUpReason::FailFast, error)));
    let failed = |input, error| (input, Err((GiveUpReason::Permanent, Some(error))));
    let mut expected = vec![
        stopped(0, Some("parked")),
        (1, Ok(1)),
        failed(2, "told"),
        failed(3, "first"),
    ];
    expected.extend((4..8).map(|input| stopped(input, None)));
    assert_eq!(outcomes, expected);
    assert_eq!(batch.first_failure(), Some(3));
    assert!(adds_up(&pool));
}

#[test]
fn a_running_job_that_would_be_retried_is_not_after_the_trip() {
    let pool = pool(2);
    let (gate, keeper) = gate();
    let run = move |n: &u32| {
        if *n == 0 {
            gate.pass();
            return Err::<(), _>("again");
        }
        Err(Attempt::permanent("first"))
    };
    let batch = pool.batch(0..2, run).retry(RetryPolicy::immediate());
    let mut batch = batch.fail_fast(FailFast::AfterFailures(1)).as_completed();
    assert_eq!(*batch.next().unwrap().input(), 1);
    keeper.let_through(1);
    let done = batch.next().unwrap();
    assert_eq!((*done.input(), done.attempts()), (0, 1));
    assert_eq!(done.result().unwrap_err().reason(), GiveUpReason::FailFast);
    assert!(batch.next().is_none());
}

#[test]
fn after_the_trip_nothing_is_resubmitted_and_what_is_added_comes_out() {
    let pool = pool(1);
    let mut batch = pool
        .batch(0..1, |n: &u32| Err::<(), _>(*n))
        .retry(RetryPolicy::never())
        .fail_fast(FailFast::AfterFailures(1))
        .as_completed();
    let failed = batch.next().unwrap();
    let failed = failed.try_resubmit().unwrap_err();
    assert_eq!(
        (*failed.input(), failed.result().unwrap_err().error()),
        (0, Some(&0))
    );
    failed.resubmit();
    assert!(batch.next().is_none());
    batch.extend([7, 8]);
    for input in [7, 8] {
        let added = batch.next().unwrap();
        assert_eq!((*added.input(), added.attempts()), (input, 0));
        assert_eq!(added.result().unwrap_err().reason(), GiveUpReason::FailFast);
    }
    assert!(batch.next().is_none());
    assert_eq!(pool.stats().gave_up_as(GiveUpReason::FailFast), 2);
    assert!(adds_up(&pool));
}

#[test]
fn with_several_producers_every_offered_input_is_accounted_for() {
    for round in 0..48u32 {
        let pool = pool(2);
        let (sender, completed) = pool
            .batch(std::iter::empty(), move |n: &u32| {
                if n % 97 == round % 97 {
                    Err(*n)
                } else {
                    Ok(*n)
                }
            })
            .window(8)
            .retry(RetryPolicy::never())
            .fail_fast(FailFast::AfterFailures(u64::from(round % 4) + 1))
            .channel();
        let producers: Vec<_> = (0..3)
            .map(|producer| {
                let sender = sender.clone();
                thread::spawn(move || {
                    let inputs = producer * 200..producer * 200 + 200;
                    let refused = |n| sender.send(n).err().map(retry_pool::SendError::into_inner);
                    inputs.filter_map(refused).collect::<Vec<u32>>()
                })
            })
            .collect();
        drop(sender);
        let mut inputs: Vec<_> = completed.map(|done| done.into_input().unwrap()).collect();
        let accepted = inputs.len() as u64;
        inputs.extend(
            producers
                .into_iter()
                .flat_map(|producer| producer.join().unwrap()),
        );
        inputs.sort_unstable();
        assert!(inputs.into_iter().eq(0..600));
        assert_eq!(pool.stats().accepted(), accepted);
        assert!(adds_up(&pool));
    }
}

// Nonsense.

fn begin_with(rule: FailFast) {
    let pool = pool(1);
    drop(
        pool.batch(0..1, |n| Ok::<_, ()>(*n))
            .fail_fast(rule)
            .as_completed(),
    );
}

fn refusal(rule: FailFast) -> String {
    let payload = std::panic::catch_unwind(|| begin_with(rule)).unwrap_err();
    payload.downcast_ref::<String>().unwrap().clone()
}

#[test]
fn a_rule_that_makes_no_sense_is_refused_by_name_and_value() {
    assert!(refusal(FailFast::AfterFailures(0)).contains("fail_fast is AfterFailures(0)"));
    for ratio in [0.0, -0.5, 1.01, f64::NAN, f64::INFINITY] {
        let text = refusal(FailFast::AfterRate { ratio, min_done: 1 });
        assert!(
            text.contains(&format!("the ratio of fail_fast is {ratio}")),
            "{text}"
        );
    }
    begin_with(FailFast::AfterRate {
        ratio: 1.0,
        min_done: 0,
    });
}

#[test]
fn after_the_failure_of_a_tiny_job_none_begins() {
    const FAILS: u32 = 5_000;
    let begun = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&begun);
    let job = move |n: &u32| {
        counter.fetch_add(1, Ordering::SeqCst);
        if *n == FAILS { Err(()) } else { Ok(()) }
    };
    let report = pool(1)
        .batch(0..2 * FAILS, job)
        .retry(RetryPolicy::never())
        .window(1_000)
        .fail_fast(FailFast::AfterFailures(1))
        .run();
    assert_eq!(begun.load(Ordering::SeqCst), FAILS + 1);
    assert_eq!(report.succeeded().len(), FAILS as usize);
}
