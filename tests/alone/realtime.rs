//! What needs the wall clock: makespans, latencies, shares. The bounds are those that users are promised, with room for a busy
//! machine where the promise leaves it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common::{at_best, await_worker, ms, pool};
use retry_pool::{Attempt, GiveUpReason, RetryPolicy, RetryPool, Verdict};

const UNIT: Duration = Duration::from_millis(10);

/// Job A takes 1 unit and fails 9 times; job B takes 100 units.
fn pair(name: &char) -> Result<(), ()> {
    sleep(if *name == 'A' { UNIT } else { UNIT * 100 });
    if *name == 'A' && Attempt::current().number() < 10 {
        Err(())
    } else {
        Ok(())
    }
}

fn units(time: Duration) -> f64 {
    time.as_secs_f64() / UNIT.as_secs_f64()
}

#[test]
fn a_retry_never_waits_for_another_job_under_a_policy() {
    let pool = RetryPool::with_threads(2);
    // How much later than it could: A has 10 units to do, and B has 100.
    let mut late = (Duration::ZERO, Duration::ZERO);
    at_best(UNIT * 2, || {
        let begun = Instant::now();
        let order: Vec<(char, Duration)> = pool
            .batch(['A', 'B'], pair)
            .retry(RetryPolicy::immediate().max_attempts(10))
            .as_completed()
            .map(|done| (*done.input(), begun.elapsed()))
            .collect();
        assert_eq!([order[0].0, order[1].0], ['A', 'B']);
        late = (order[0].1 - UNIT * 10, order[1].1 - UNIT * 100);
        late.0.max(late.1 / 2)
    });
    assert!(late.0 <= UNIT * 2, "A: {} units", units(late.0));
    assert!(late.1 < UNIT * 4, "B: {} units", units(late.1));
}

#[test]
fn a_retry_never_waits_for_another_job_by_resubmit() {
    let pool = RetryPool::with_threads(2);
    let first = at_best(UNIT * 12, || {
        let begun = Instant::now();
        let mut order = Vec::new();
        for done in pool.batch(['A', 'B'], pair).retry(RetryPolicy::never()) {
            match done.result() {
                Ok(()) => order.push((*done.input(), begun.elapsed())),
                Err(_) => done.resubmit(),
            }
        }
        assert_eq!([order[0].0, order[1].0], ['A', 'B']);
        order[0].1
    });
    assert!(first <= UNIT * 12, "A settled after {} units", units(first));
}

#[test]
fn a_parked_retry_finds_a_free_worker_while_another_job_runs() {
    let pool = RetryPool::with_threads(8);
    let run = |long: &bool| match Attempt::current().number() {
        _ if *long => {
            sleep(ms(500));
            Ok(())
        }
        3 => Ok(()),
        _ => Err(()),
    };
    let time = at_best(ms(200), || {
        let mut batch = pool
            .batch([true, false], run)
            .retry(RetryPolicy::fixed(ms(10)))
            .as_completed();
        let done = batch.next().unwrap();
        assert!(!*done.input());
        done.elapsed()
    });
    assert!((ms(20)..ms(200)).contains(&time), "{time:?}");
}

#[test]
fn as_many_jobs_as_workers_run_at_the_same_time() {
    let pool = RetryPool::with_threads(8);
    for _ in 0..20 {
        // Nobody passes before all eight have come.
        let all = Barrier::new(8);
        let report = pool.batch(0..8, move |_| Ok::<_, ()>(all.wait().is_leader()));
        let leaders = report
            .run()
            .succeeded()
            .iter()
            .filter(|(_, leads)| *leads)
            .count();
        assert_eq!(leaders, 1);
    }
}

#[test]
fn no_worker_sleeps_for_a_backoff() {
    let pool = RetryPool::with_threads(1);
    let run = |_: &u32| {
        if Attempt::current().number() < 3 {
            Err(())
        } else {
            Ok(())
        }
    };
    let time = at_best(ms(300), || {
        let begun = Instant::now();
        let batch = pool.batch(0..400, run);
        let report = batch.retry(RetryPolicy::fixed(ms(100))).run();
        assert_eq!((report.succeeded().len(), report.attempts()), (400, 1_200));
        begun.elapsed()
    });
    assert!((ms(200)..ms(300)).contains(&time), "{time:?}");
}

#[test]
fn no_retry_is_early_and_they_come_in_the_order_of_their_due_times() {
    // One worker, so that what is due first ends first.
    let pool = pool(1);
    // The pool reads the clock a little later than the job does.
    let slack = Duration::from_micros(100);
    let overtaken = at_best(slack, || overtaken_retries(&pool));
    assert!(overtaken <= slack, "{overtaken:?}");
}

/// Retries jobs after delays that get shorter from one to the next; says how much later than its predecessor a retry was due at most that came
/// before it.
fn overtaken_retries(pool: &RetryPool) -> Duration {
    let failed: Arc<Vec<AtomicU64>> = Arc::new((0..50).map(|_| AtomicU64::new(0)).collect());
    let begun = Instant::now();
    let nanos = move || u64::try_from(begun.elapsed().as_nanos()).unwrap();
    let times = Arc::clone(&failed);
    let run = move |n: &u64| {
        let slot = &times[*n as usize];
        if Attempt::current().number() == 1 {
            slot.store(nanos(), Ordering::SeqCst);
            return Err(*n);
        }
        Ok(nanos() - slot.load(Ordering::SeqCst))
    };
    let batch = pool
        .batch(0..50u64, run)
        .classify(|n| Verdict::RetryAfter(ms(100 - 2 * n)));
    let mut due = Vec::new();
    for done in batch {
        let n = *done.input();
        let delay = ms(100 - 2 * n);
        assert!(Duration::from_nanos(*done.result().unwrap()) >= delay);
        due.push(Duration::from_nanos(failed[n as usize].load(Ordering::SeqCst)) + delay);
    }
    let overtaken = due.windows(2).map(|two| two[0].saturating_sub(two[1]));
    overtaken.max().unwrap()
}

#[test]
fn a_slow_input_does_not_hold_the_first_result_back() {
    let pool = pool(2);
    let time = at_best(ms(30), || {
        let begun = Instant::now();
        let input = (0..).inspect(|_| sleep(ms(10)));
        let mut batch = pool.batch(input, |n| Ok::<_, ()>(*n)).as_completed();
        assert!(batch.next().is_some());
        begun.elapsed()
    });
    assert!(time < ms(30), "{time:?}");
}

/// How long a job of those that share a pool takes.
const LENGTH: Duration = Duration::from_micros(500);

#[test]
fn batches_and_single_jobs_share_the_pool() {
    let enough = 4 * LENGTH;
    let mut shares = Vec::new();
    let waited = at_best(enough, || {
        let (waited, share) = share_a_pool();
        shares.push(share);
        // Who shares unequally has been held up, too.
        if (0.4..=0.6).contains(&share) {
            waited
        } else {
            Duration::MAX
        }
    });
    assert!(
        waited <= enough,
        "a single job waited {waited:?}; one batch had {shares:?} of the attempts"
    );
}

/// How long a single job waits beside two batches, and which share one of these gets.
fn share_a_pool() -> (Duration, f64) {
    fn work() {
        let begun = Instant::now();
        while begun.elapsed() < LENGTH {
            std::hint::spin_loop();
        }
    }
    let pool = pool(2);
    let stop = Arc::new(AtomicBool::new(false));
    let counts = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    let mut waits: Vec<Duration> = std::thread::scope(|scope| {
        for count in &counts {
            let (count, input_stop, pool) = (Arc::clone(count), Arc::clone(&stop), &pool);
            scope.spawn(move || {
                let input = (0u64..).take_while(move |_| !input_stop.load(Ordering::SeqCst));
                let run = move |_: &u64| {
                    work();
                    count.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, ()>(())
                };
                pool.batch(input, run)
                    .window(16)
                    .as_completed()
                    .for_each(drop);
            });
        }
        sleep(ms(20));
        let waits = (0..100)
            .map(|_| {
                let submitted = Instant::now();
                pool.submit(move || {
                    let waited = submitted.elapsed();
                    work();
                    Ok::<_, ()>(waited)
                })
                .wait()
                .unwrap()
            })
            .collect();
        stop.store(true, Ordering::SeqCst);
        waits
    });
    let [a, b] = counts.map(|count| count.load(Ordering::SeqCst) as f64);
    // The median, since the machine may take the CPUs away from the pool for longer than any job takes.
    waits.sort();
    (waits[50], a / (a + b))
}

#[test]
fn shutdown_does_not_wait_for_a_backoff() {
    let pool = RetryPool::with_threads(1);
    let minute = RetryPolicy::fixed(Duration::from_secs(60));
    let parked = pool.job(|| Err::<(), _>(())).retry(minute).submit();
    await_worker(&pool);
    let begun = Instant::now();
    assert_eq!(pool.shutdown_timeout(ms(10)).gave_up(), 1);
    assert!(
        (ms(10)..ms(500)).contains(&begun.elapsed()),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(parked.wait().unwrap_err().reason(), GiveUpReason::Shutdown);
}

#[test]
fn elapsed_is_told_for_short_and_long_jobs_alike() {
    let pool = pool(1);
    // Tiny jobs, then a long one, read by a slow consumer.
    let run = |n: &u32| {
        if *n == 1_000 {
            sleep(ms(50));
        }
        Ok::<_, ()>(())
    };
    let time = at_best(ms(150), || {
        let mut batch = pool.batch(0..=1_000, run).window(2_000).as_completed();
        let first = batch.next().unwrap();
        sleep(ms(200));
        let mut all = std::iter::once(first).chain(batch);
        all.find(|done| *done.input() == 1_000).unwrap().elapsed()
    });
    assert!((ms(50)..ms(150)).contains(&time), "{time:?}");
}
