//! Policies at work: limits, budgets, predicates, hooks, history, and the place in the queue.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::common::{at_best, ms, pool};
use retry_pool::{
    Attempt, AttemptError, FailedAttempt, GiveUpReason, Jitter, PanicPolicy, Requeue, RetryBudget,
    RetryPolicy, RetryPool, Verdict,
};

#[test]
fn max_elapsed_gives_up_at_once_when_the_next_attempt_would_be_due_later() {
    let pool = pool(1);
    let policy = RetryPolicy::fixed(Duration::from_secs(10)).max_elapsed(Duration::from_secs(1));
    let begun = Instant::now();
    let give_up = pool
        .job(|| Err::<(), _>("no"))
        .retry(policy)
        .submit()
        .wait()
        .unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.attempts()),
        (GiveUpReason::ElapsedExhausted, 1)
    );
    assert!(begun.elapsed() < ms(500), "{:?}", begun.elapsed());
}

#[test]
fn a_hint_of_decades_gives_up_at_once_and_a_hint_obeys_every_limit() {
    let pool = pool(1);
    let hinted = |policy: RetryPolicy, hint: Duration| {
        let job = pool
            .job(|| Err::<(), _>("busy"))
            .retry(policy)
            .classify(move |_| Verdict::RetryAfter(hint));
        let begun = Instant::now();
        let give_up = job.submit().wait().unwrap_err();
        (give_up.reason(), give_up.attempts(), begun.elapsed())
    };
    let hours = Duration::from_secs(484_289 * 3_600);
    let (reason, attempts, elapsed) = hinted(RetryPolicy::default(), hours);
    assert_eq!((reason, attempts), (GiveUpReason::ElapsedExhausted, 1));
    assert!(elapsed < ms(500), "{elapsed:?}");
    let (reason, attempts, elapsed) = hinted(RetryPolicy::immediate().max_hint(ms(5)), hours);
    assert_eq!((reason, attempts), (GiveUpReason::AttemptsExhausted, 3));
    assert!((ms(10)..ms(200)).contains(&elapsed), "{elapsed:?}");
    let (reason, attempts, _) = hinted(RetryPolicy::immediate().max_attempts(2), ms(1));
    assert_eq!((reason, attempts), (GiveUpReason::AttemptsExhausted, 2));
    let (reason, attempts, _) = hinted(
        RetryPolicy::immediate()
            .max_elapsed(ms(200))
            .max_attempts(99),
        ms(80),
    );
    assert_eq!(reason, GiveUpReason::ElapsedExhausted);
    assert!((2..=3).contains(&attempts), "{attempts}");
}

/// 10⁵ jobs that all fail, 3 attempts each.
fn load_in_an_outage(policy: RetryPolicy) -> (u64, usize) {
    let pool = RetryPool::with_threads(2);
    let mut exhausted = 0;
    let batch = pool
        .batch(0..100_000, |_| Err::<(), _>("down"))
        .retry(policy.max_attempts(3));
    let attempts = batch
        .as_completed()
        .map(|done| {
            exhausted +=
                usize::from(done.result().unwrap_err().reason() == GiveUpReason::BudgetExhausted);
            u64::from(done.attempts())
        })
        .sum();
    (attempts, exhausted)
}

#[test]
fn in_a_total_outage_a_budget_keeps_the_load_down() {
    assert_eq!(load_in_an_outage(RetryPolicy::immediate()), (300_000, 0));
    let begun = Instant::now();
    let (attempts, exhausted) =
        load_in_an_outage(RetryPolicy::immediate().budget(RetryBudget::default()));
    // 10 retries for each second of the run, and 10 seconds' worth at the start.
    let reserve = 100 + 10 * (begun.elapsed().as_secs() + 1);
    assert!(attempts <= 120_000 + reserve, "{attempts}");
    assert!(
        attempts >= 100_100 && exhausted > 99_000,
        "{attempts}, {exhausted}"
    );
}

#[test]
fn a_budget_is_shared_by_jobs_batches_and_pools() {
    let budget = RetryBudget::default().min_per_second(1);
    let policy = RetryPolicy::immediate()
        .max_attempts(100)
        .budget(budget.clone());
    let (first, second) = (pool(1), pool(1));
    let give_up = first
        .job(|| Err::<(), _>(()))
        .retry(policy.clone())
        .submit()
        .wait()
        .unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.attempts()),
        (GiveUpReason::BudgetExhausted, 11)
    );
    let report = second
        .batch(0..5, |_| Err::<(), _>(()))
        .retry(policy.clone())
        .run();
    assert_eq!(report.attempts(), 5);
    // Successes pay for more: ten of them for two retries.
    assert_eq!(
        second
            .batch(0..10, |n| Ok::<_, ()>(*n))
            .retry(policy.clone())
            .run()
            .succeeded()
            .len(),
        10
    );
    assert_eq!(budget.available(), 2);
    assert_eq!(
        first
            .job(|| Err::<(), _>(()))
            .retry(policy)
            .submit()
            .wait()
            .unwrap_err()
            .attempts(),
        3
    );
}

#[test]
fn a_cancelled_retry_is_paid_back() {
    let budget = RetryBudget::default().min_per_second(1);
    let hourly = RetryPolicy::fixed(Duration::from_secs(3_600)).budget(budget.clone());
    let pool = pool(1);
    let mut batch = pool
        .batch(0..7, |_| Err::<(), _>(()))
        .retry(hourly.clone())
        .as_completed();
    let parked = pool.job(|| Err::<(), _>(())).retry(hourly).submit();
    while budget.available() > 2 {
        let _ = batch.next_timeout(ms(1));
    }
    batch.cancel();
    assert_eq!(budget.available(), 9);
    drop(batch);
    pool.shutdown_now();
    assert!(parked.is_settled());
    assert_eq!(budget.available(), 10);
}

#[test]
fn a_panic_is_retried_where_the_policy_says_so() {
    let pool = pool(1);
    let run = || match Attempt::current().number() {
        1 | 2 => panic!("flaky"),
        n => Ok::<_, ()>(n),
    };
    let policy = RetryPolicy::immediate().on_panic(PanicPolicy::Retry);
    assert_eq!(
        pool.job(run).retry(policy.clone()).submit().wait().unwrap(),
        3
    );
    let give_up = pool
        .job(run)
        .retry(policy.max_attempts(2))
        .submit()
        .wait()
        .unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.attempts()),
        (GiveUpReason::AttemptsExhausted, 2)
    );
    assert!(matches!(
        give_up.last_error(),
        Some(AttemptError::Panicked(_))
    ));
}

#[test]
fn a_success_that_is_not_good_enough_counts_as_a_failure() {
    let pool = pool(2);
    let number = |_: &u32| Ok::<_, String>(Attempt::current().number());
    let report = pool.batch(0..10, number).retry_unless(|n| *n == 3).run();
    assert!(report.succeeded().iter().all(|(_, n)| *n == 3));
    let report = pool.batch(0..10, number).retry_unless(|n| *n == 4).run();
    for done in report.gave_up() {
        let give_up = done.result().unwrap_err();
        assert_eq!(
            (give_up.reason(), give_up.attempts()),
            (GiveUpReason::AttemptsExhausted, 3)
        );
        assert!(matches!(give_up.last_error(), Some(AttemptError::Rejected)));
    }
    let broken = pool
        .job(|| Ok::<_, ()>(1))
        .retry_unless(|_| panic!("broken"))
        .submit();
    assert_eq!(broken.wait().unwrap_err().reason(), GiveUpReason::Panicked);
}

#[test]
fn a_job_marks_its_own_error_and_the_mark_goes_before_the_predicate() {
    let pool = pool(1);
    let permanent = pool
        .job(|| Err::<(), _>(Attempt::permanent("no such page")))
        .retry_if(|_| true);
    let give_up = permanent.submit().wait().unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.error()),
        (GiveUpReason::Permanent, Some(&"no such page"))
    );
    let begun = Instant::now();
    let later = pool.job(|| match Attempt::current().number() {
        1 => Err(Attempt::retry_after(ms(20), "busy")),
        n => Ok(n),
    });
    assert_eq!(later.retry_if(|_| false).submit().wait().unwrap(), 2);
    assert!(begun.elapsed() >= ms(20));
    // A mark is for its own attempt only, and outside a job for none.
    let stale = pool.job(|| match Attempt::current().number() {
        1 => {
            let _ = Attempt::permanent("not returned");
            panic!("instead");
        }
        2 => Err("transient"),
        n => Ok(n),
    });
    let policy = RetryPolicy::immediate().on_panic(PanicPolicy::Retry);
    assert_eq!(stale.retry(policy).submit().wait().unwrap(), 3);
    assert_eq!(Attempt::permanent(1), 1);
}

#[test]
fn history_keeps_the_last_errors_with_their_times() {
    let pool = pool(1);
    let fail = || Err::<(), _>(Attempt::current().number());
    let history = |kept: usize| {
        let job = pool
            .job(fail)
            .errors_kept(kept)
            .retry(RetryPolicy::fixed(ms(2)).max_attempts(5));
        let give_up = job.submit().wait().unwrap_err();
        assert!(give_up.history().is_sorted_by_key(FailedAttempt::elapsed));
        assert!(
            give_up
                .history()
                .all(|failed| failed.elapsed() >= ms(2) * (failed.number() - 1))
        );
        let errors = give_up.history().map(|failed| match failed.error() {
            AttemptError::Failed(n) => (*n, failed.number()),
            _ => (0, 0),
        });
        errors.collect::<Vec<_>>()
    };
    assert_eq!(history(0), [(5, 5)]);
    assert_eq!(history(1), [(5, 5)]);
    assert_eq!(history(3), [(3, 3), (4, 4), (5, 5)]);
    assert_eq!(
        history(usize::MAX),
        [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]
    );
}

#[test]
fn an_attempt_can_see_the_error_before_it() {
    let pool = pool(1);
    let run = |_: &()| match Attempt::current() {
        attempt if attempt.number() == 3 => Ok(attempt.previous_error().map(String::from)),
        attempt => Err(format!(
            "attempt {} after {:?}",
            attempt.number(),
            attempt.previous_error()
        )),
    };
    let seen = |shown: bool| {
        let batch = pool.batch([()], run);
        let batch = if shown { batch.display_errors() } else { batch };
        batch.run().into_parts().0.remove(0).1
    };
    assert_eq!(seen(false), None);
    assert_eq!(
        seen(true).unwrap(),
        "attempt 2 after Some(\"attempt 1 after None\")"
    );
}

#[test]
fn hooks_are_told_each_retry_and_the_end_and_their_panics_are_contained() {
    let pool = pool(1);
    let told = Arc::new(Mutex::new(Vec::new()));
    let (retries, ends) = (Arc::clone(&told), Arc::clone(&told));
    let report = pool
        .batch(["a"], |_| Err::<(), _>("no"))
        .retry(RetryPolicy::fixed(ms(1)))
        .on_retry(move |input, error, next| {
            retries.lock().unwrap().push(format!(
                "{input}: {error}, {} in {:?}",
                next.number(),
                next.delay()
            ));
            panic!("in the hook");
        })
        .on_give_up(move |input, give_up| {
            ends.lock()
                .unwrap()
                .push(format!("{input}: {}", give_up.reason()));
            panic!("in the hook");
        })
        .run();
    assert_eq!(report.gave_up().len(), 1);
    let told: Vec<String> = told.lock().unwrap().clone();
    assert_eq!(
        told,
        [
            "a: no, 2 in 1ms",
            "a: no, 3 in 1ms",
            "a: attempts exhausted"
        ]
    );
    let ended = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ended);
    let job = pool
        .job(|| Err::<(), _>("no"))
        .on_retry(|_, _| panic!("in the hook"));
    let handle = job
        .on_give_up(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
        })
        .submit();
    assert!(handle.wait().is_err());
    assert_eq!(ended.load(Ordering::SeqCst), 1);
}

#[test]
fn the_same_seed_gives_the_same_delays_whatever_the_threads_do() {
    let delays = |threads: usize| {
        let pool = RetryPool::builder()
            .threads(threads)
            .jitter_seed(7)
            .build()
            .unwrap();
        let seen: Arc<Vec<AtomicU64>> = Arc::new((0..200).map(|_| AtomicU64::new(0)).collect());
        let slots = Arc::clone(&seen);
        pool.batch(0..200usize, |_| Err::<(), _>(()))
            .retry(RetryPolicy::exponential(Duration::from_micros(100)).jitter(Jitter::Full))
            .on_retry(move |input, _, next| {
                let nanos = next.delay().as_nanos() as u64;
                slots[*input].fetch_add(nanos * u64::from(next.number()), Ordering::SeqCst);
            })
            .run();
        seen.iter()
            .map(|slot| slot.load(Ordering::SeqCst))
            .collect::<Vec<_>>()
    };
    let first = delays(1);
    assert_eq!(first, delays(4));
    assert!(first.windows(2).any(|pair| pair[0] != pair[1]));
}

/// 100 tasks of one unit on 20 workers; task 50 fails 5 times, a scripted tenth fails once. The makespan in units.
fn makespan(place: Requeue, enough: f64) -> f64 {
    const UNIT: Duration = Duration::from_millis(50);
    let time = at_best(UNIT.mul_f64(enough), || time_of_scenario(place, UNIT));
    time.as_secs_f64() / UNIT.as_secs_f64()
}

fn time_of_scenario(place: Requeue, unit: Duration) -> Duration {
    let pool = RetryPool::with_threads(20);
    let run = move |n: &u32| {
        std::thread::sleep(unit);
        match (n, Attempt::current().number()) {
            (50, _) => Err("always"),
            (n, 1) if n % 10 == 3 => Err("once"),
            _ => Ok(()),
        }
    };
    let policy = RetryPolicy::immediate().max_attempts(5).requeue(place);
    let begun = Instant::now();
    let report = pool.batch(0..100, run).retry(policy).run();
    let time = begun.elapsed();
    assert_eq!((report.succeeded().len(), report.attempts()), (99, 114));
    time
}

#[test]
fn retries_at_the_front_shorten_the_makespan() {
    let (front, back) = (makespan(Requeue::Front, 7.5), makespan(Requeue::Back, 9.5));
    assert!(front <= 7.5, "front: {front}");
    assert!(back <= 9.5, "back: {back}");
}

#[test]
fn a_single_job_at_the_front_goes_before_queued_ones() {
    let pool = RetryPool::with_threads(1);
    let order = Arc::new(Mutex::new(Vec::new()));
    let (gate, keeper) = crate::common::gate();
    let first = Arc::clone(&order);
    let policy = RetryPolicy::immediate().requeue(Requeue::Front);
    let retried = pool
        .job(move || {
            gate.pass();
            first.lock().unwrap().push(0);
            if Attempt::current().number() < 3 {
                Err(())
            } else {
                Ok(())
            }
        })
        .retry(policy)
        .submit();
    keeper.await_arrivals(1);
    let queued: Vec<_> = (1..=3)
        .map(|n| {
            let order = Arc::clone(&order);
            pool.submit(move || {
                order.lock().unwrap().push(n);
                Ok::<_, ()>(())
            })
        })
        .collect();
    keeper.let_through(3);
    retried.wait().unwrap();
    queued.into_iter().for_each(|handle| handle.wait().unwrap());
    assert_eq!(*order.lock().unwrap(), [0, 0, 0, 1, 2, 3]);
}

#[test]
fn a_policy_whose_iterator_panics_ends_the_job() {
    let pool = pool(1);
    let policies = [
        RetryPolicy::from_delays(|| -> std::iter::Empty<Duration> { panic!("no iterator") }),
        RetryPolicy::from_delays(|| std::iter::from_fn(|| panic!("no item"))),
    ];
    for policy in policies {
        let give_up = pool
            .job(|| Err::<(), _>(()))
            .retry(policy)
            .submit()
            .wait()
            .unwrap_err();
        assert_eq!(
            (give_up.reason(), give_up.attempts()),
            (GiveUpReason::Panicked, 1)
        );
    }
    let ended = RetryPolicy::from_delays(|| [ms(1), ms(1)].into_iter()).unlimited();
    let give_up = pool
        .job(|| Err::<(), _>(()))
        .retry(ended)
        .submit()
        .wait()
        .unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.attempts()),
        (GiveUpReason::AttemptsExhausted, 3)
    );
}
