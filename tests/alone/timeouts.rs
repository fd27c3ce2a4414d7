//! Limits of time: for one attempt, for a whole job, for a batch, for a wait.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{Live, await_worker, gate, ms, pool, threads_named};
use retry_pool::{
    Attempt, AttemptError, GiveUp, GiveUpReason, JobHandle, JobState, RetryPolicy, RetryPool,
};

const HOUR: Duration = Duration::from_secs(3_600);

fn twice() -> RetryPolicy {
    RetryPolicy::immediate().max_attempts(2)
}

/// Waits until something is so, at the longest ten seconds.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < patience, "still not so: {what}");
        thread::yield_now();
    }
}

/// What attempts hang at until the test opens it; it opens by itself after half a minute.
#[derive(Clone, Default)]
struct Hang(Arc<(Mutex<bool>, Condvar)>);

impl Hang {
    fn hang(&self) {
        let (is_open, changed) = &*self.0;
        let guard = is_open.lock().unwrap();
        let patience = Duration::from_secs(30);
        drop(changed.wait_timeout_while(guard, patience, |open| !*open));
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

fn named(threads: usize, name: &str) -> RetryPool {
    RetryPool::builder()
        .threads(threads)
        .thread_name(name)
        .retry(RetryPolicy::immediate())
        .build()
        .unwrap()
}

fn timed_out<E>(give_up: &GiveUp<E>, limit: Duration) -> bool {
    matches!(give_up.last_error(), Some(AttemptError::TimedOut(time)) if *time == limit)
}

fn adds_up(pool: &RetryPool) -> bool {
    let stats = pool.stats();
    stats.accepted() == stats.succeeded() + stats.gave_up()
}

// One attempt.

#[test]
fn attempts_that_hang_cost_the_pool_their_limit_and_no_worker() {
    let pool = named(2, "hung");
    let hang = Hang::default();
    let begun = Instant::now();
    let hung: Vec<_> = (0..2)
        .map(|_| {
            let hang = hang.clone();
            let job = pool.job(move || {
                hang.hang();
                Ok::<_, ()>(())
            });
            job.attempt_timeout(ms(50)).retry(twice()).submit()
        })
        .collect();
    for handle in hung {
        let give_up = handle.wait().unwrap_err();
        assert_eq!(
            (give_up.reason(), give_up.attempts()),
            (GiveUpReason::AttemptsExhausted, 2)
        );
        assert!(timed_out(&give_up, ms(50)));
        assert!(give_up.elapsed() >= ms(100));
    }
    assert!(begun.elapsed() < ms(1_000), "{:?}", begun.elapsed());
    let next: Vec<_> = (0..50)
        .map(|n| pool.submit(move || Ok::<_, ()>(n)))
        .collect();
    assert!(
        next.into_iter()
            .map(|handle| handle.wait().unwrap())
            .eq(0..50)
    );
    assert_eq!(pool.stats().stuck_threads(), 4);
    // Their jobs have settled, so none of them still runs as far as the pool is concerned.
    let report = pool.shutdown_timeout(Duration::from_secs(5));
    assert_eq!((report.gave_up(), report.still_running()), (0, 0));
    assert_eq!(pool.stats().stuck_threads(), 4);
    hang.open();
    until("all threads have ended", || threads_named("hung") == 0);
    assert_eq!(pool.stats().stuck_threads(), 0);
    assert!(adds_up(&pool));
}

#[test]
fn a_shutdown_names_the_job_whose_attempt_hangs_without_a_limit() {
    let pool = pool(1);
    let hang = Hang::default();
    let (begun, begins) = mpsc::channel();
    let held = hang.clone();
    let running = pool.submit(move || {
        begun.send(()).unwrap();
        held.hang();
        Ok::<_, ()>(())
    });
    begins.recv().unwrap();
    assert_eq!(pool.shutdown_timeout(ms(10)).still_running(), 1);
    hang.open();
    assert!(running.wait().is_ok());
}

#[test]
fn the_workers_of_a_pool_are_as_many_as_before_when_stuck_attempts_come_back() {
    let pool = named(2, "back");
    let hang = Hang::default();
    until("started", || threads_named("back") == 3);
    for _ in 0..3 {
        let held = hang.clone();
        let job = pool.job(move || {
            held.hang();
            Ok::<_, ()>(())
        });
        let job = job.attempt_timeout(ms(5)).retry(RetryPolicy::never());
        assert!(job.submit().wait().is_err());
    }
    assert_eq!(pool.stats().stuck_threads(), 3);
    // One that looks after what comes due may be on its way out.
    until("each is replaced", || threads_named("back") == 6);
    hang.open();
    until("the pool is as before", || {
        threads_named("back") == 3 && pool.stats().stuck_threads() == 0
    });
    assert_eq!(pool.stats().spare_threads(), 0);
    assert_eq!(pool.submit(|| Ok::<_, ()>(1)).wait().unwrap(), 1);
}

#[test]
fn a_batch_goes_on_when_all_its_first_attempts_hang() {
    let pool = named(2, "lane");
    let hang = Hang::default();
    let held = hang.clone();
    let run = move |n: &u32| {
        if Attempt::current().number() == 1 {
            held.hang();
        }
        Ok::<_, ()>(*n)
    };
    let batch = pool.batch(0..10, run).attempt_timeout(ms(20)).window(4);
    let mut batch = batch.retry(twice()).as_completed();
    let mut done = Vec::new();
    for next in batch.by_ref() {
        assert_eq!(next.attempts(), 2);
        done.push(next.into_result().unwrap());
    }
    done.sort_unstable();
    assert!(done.into_iter().eq(0..10));
    assert_eq!(batch.progress().retries(), 10);
    assert_eq!(pool.stats().stuck_threads(), 10);
    drop(batch);
    hang.open();
    until("the pool is as before", || {
        threads_named("lane") == 3 && pool.stats().stuck_threads() == 0
    });
    assert!(adds_up(&pool));
}

#[test]
fn no_more_stuck_workers_are_replaced_than_max_stuck_says_and_the_pool_recovers() {
    let pool = RetryPool::builder()
        .threads(2)
        .max_stuck(1)
        .retry(RetryPolicy::never())
        .build()
        .unwrap();
    let hangs = [Hang::default(), Hang::default(), Hang::default()];
    let submit = |hang: &Hang| {
        let held = hang.clone();
        let job = pool.job(move || {
            held.hang();
            Ok::<_, ()>(())
        });
        job.attempt_timeout(ms(10)).submit()
    };
    // The first is replaced; then there is one worker for the rest, and then none.
    let stuck_and_spare = |wanted| {
        until("one is replaced, and no more", || {
            (pool.stats().stuck_threads(), pool.stats().spare_threads()) == wanted
        });
    };
    assert!(submit(&hangs[0]).wait().is_err());
    stuck_and_spare((1, 1));
    assert!(submit(&hangs[1]).wait().is_err());
    stuck_and_spare((2, 1));
    let third = submit(&hangs[2]);
    until("all are stuck", || pool.stats().stuck_threads() == 3);
    let waiting = pool.submit(|| Ok::<_, ()>(7));
    assert_eq!(waiting.state(), JobState::Queued);
    hangs[0].open();
    assert_eq!(waiting.wait().unwrap(), 7);
    assert!(third.wait().is_err());
    hangs[1..].iter().for_each(Hang::open);
    until("the pool has recovered", || {
        let stats = pool.stats();
        (stats.stuck_threads(), stats.spare_threads()) == (0, 0)
    });
    assert!(adds_up(&pool));
}

#[test]
fn nobody_takes_the_place_of_a_stuck_worker_beyond_max_stuck() {
    let pool = RetryPool::builder()
        .threads(1)
        .max_stuck(0)
        .retry(RetryPolicy::never())
        .build()
        .unwrap();
    let hangs: Vec<Hang> = (0..5).map(|_| Hang::default()).collect();
    let mut handles: Vec<_> = hangs
        .iter()
        .map(|hang| {
            let held = hang.clone();
            let job = pool.job(move || {
                held.hang();
                Ok::<_, ()>(())
            });
            job.attempt_timeout(ms(50)).submit()
        })
        .collect();
    // Who is started to settle it leaves after that, and begins none of the others.
    assert!(handles.remove(0).wait().is_err());
    until("who has settled it has left", || {
        let stats = pool.stats();
        (stats.stuck_threads(), stats.spare_threads()) == (1, 0)
    });
    let queued = |job: &JobHandle<(), ()>| job.state() == JobState::Queued;
    assert!(handles.iter().all(queued));
    hangs.iter().for_each(Hang::open);
    for handle in handles {
        handle.wait().unwrap();
    }
    assert_eq!(pool.stats().stuck_threads(), 0);
    assert!(adds_up(&pool));
}

#[test]
fn a_worker_that_was_not_replaced_works_again_when_its_attempt_comes_back() {
    let pool = RetryPool::builder()
        .threads(2)
        .max_stuck(0)
        .retry(RetryPolicy::never())
        .build()
        .unwrap();
    let hang = Hang::default();
    let held = hang.clone();
    let job = pool.job(move || {
        held.hang();
        Ok::<_, ()>(())
    });
    assert!(job.attempt_timeout(ms(50)).submit().wait().is_err());
    hang.open();
    until("it has come back", || pool.stats().stuck_threads() == 0);
    let at_once = Arc::new(AtomicUsize::new(0));
    let jobs = [(); 2].map(|()| {
        let at_once = Arc::clone(&at_once);
        pool.submit(move || {
            at_once.fetch_add(1, Ordering::SeqCst);
            until("both run", || at_once.load(Ordering::SeqCst) == 2);
            Ok::<_, ()>(())
        })
    });
    jobs.into_iter().for_each(|job| job.wait().unwrap());
}

#[test]
fn a_late_value_that_panics_when_it_is_dropped_ends_no_worker() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a late value is dropped");
        }
    }
    let pool = named(1, "bomb");
    let hang = Hang::default();
    let held = hang.clone();
    let job = pool.job(move || {
        held.hang();
        Ok::<_, ()>(Bomb)
    });
    let job = job.attempt_timeout(ms(10)).retry(RetryPolicy::never());
    assert!(job.submit().wait().is_err());
    hang.open();
    until("it has come back", || {
        let stats = pool.stats();
        (stats.stuck_threads(), stats.spare_threads()) == (0, 0)
    });
}

#[test]
fn what_an_abandoned_attempt_returns_is_dropped_and_its_panic_contained() {
    let pool = named(1, "late");
    let live = Live::new();
    for panics in [false, true] {
        let hang = Hang::default();
        let (held, value) = (hang.clone(), live.clone());
        let job = pool.job(move || {
            if Attempt::current().number() == 1 {
                held.hang();
                assert!(!panics, "a late panic");
                return Ok(("late", Some(value.clone())));
            }
            Ok::<_, ()>(("in time", None))
        });
        let handle = job.attempt_timeout(ms(10)).retry(twice()).submit();
        assert_eq!(handle.wait().unwrap().0, "in time");
        assert_eq!(live.others(), 1);
        hang.open();
        until("dropped", || live.others() == 0);
    }
    let hang = Hang::default();
    let (held, value) = (hang.clone(), live.clone());
    let batch = pool.batch(0..4, move |n| {
        held.hang();
        match n % 2 {
            0 => Ok::<_, ()>(value.clone()),
            _ => panic!("a late panic"),
        }
    });
    let batch = batch.attempt_timeout(ms(5)).retry(RetryPolicy::never());
    let report = batch.run();
    assert_eq!(report.failures().count(), 4);
    hang.open();
    until("dropped", || live.others() == 0);
    until("the pool is as before", || threads_named("late") == 2);
    assert_eq!(pool.stats().succeeded(), 2);
}

#[test]
fn an_attempt_that_waits_for_another_job_may_be_abandoned() {
    let pool = Arc::new(named(1, "wait"));
    let hang = Hang::default();
    let (held, inner) = (hang.clone(), Arc::clone(&pool));
    let outer = pool.job(move || {
        let held = held.clone();
        let other = inner.submit(move || {
            held.hang();
            Ok::<_, ()>(())
        });
        Ok::<_, ()>(other.wait().is_ok())
    });
    let outer = outer.attempt_timeout(ms(20)).retry(RetryPolicy::never());
    let outer = outer.submit();
    // The spare runs what the stuck attempt waits for, so who judges has to be a further one.
    until("stuck", || pool.stats().stuck_threads() == 1);
    hang.open();
    assert!(timed_out(&outer.wait().unwrap_err(), ms(20)));
    until("the pool is as before", || {
        threads_named("wait") == 2 && pool.stats().stuck_threads() == 0
    });
    assert_eq!(pool.submit(|| Ok::<_, ()>(1)).wait().unwrap(), 1);
    assert!(adds_up(&pool));
}

#[test]
fn an_abandoned_attempt_may_begin_to_wait_for_another_job() {
    let pool = Arc::new(named(1, "wait"));
    let hang = Hang::default();
    let (held, inner) = (hang.clone(), Arc::downgrade(&pool));
    let (tell, told) = mpsc::channel();
    let outer = pool.job(move || {
        held.hang();
        let other = inner.upgrade().unwrap().submit(|| Ok::<_, ()>(5));
        tell.send(other.wait().unwrap()).unwrap();
        Ok::<_, ()>(())
    });
    let outer = outer.attempt_timeout(ms(5)).retry(RetryPolicy::never());
    assert!(outer.submit().wait().is_err());
    hang.open();
    assert_eq!(told.recv(), Ok(5));
    until("the pool is as before", || {
        threads_named("wait") == 2 && pool.stats().stuck_threads() == 0
    });
}

#[test]
fn a_stuck_attempt_keeps_the_input_until_it_comes_back() {
    let pool = pool(1);
    let hang = Hang::default();
    let held = hang.clone();
    let run = move |_: &String| {
        held.hang();
        Ok::<_, ()>(())
    };
    let begin = || {
        let input = [String::from("input")];
        let batch = pool.batch(input, run.clone()).attempt_timeout(ms(5));
        batch.retry(RetryPolicy::never()).as_completed()
    };
    let mut batches = [begin(), begin()];
    let [kept, early] = batches.each_mut().map(|batch| batch.next().unwrap());
    assert_eq!(early.input(), "input");
    assert_eq!(early.into_input(), None);
    hang.open();
    until("it came back", || pool.stats().stuck_threads() == 0);
    assert_eq!(kept.into_input().as_deref(), Some("input"));
}

#[test]
fn attempts_with_a_limit_know_their_number_and_deadline_and_are_told_when_it_is_over() {
    let pool = pool(1);
    let (tell, told) = mpsc::channel();
    let job = pool.job(move || {
        let (attempt, now) = (Attempt::current(), Instant::now());
        let left = attempt.deadline().map(|deadline| deadline - now);
        // It returns once it is told, so nothing is stuck for long.
        let in_time = attempt.sleep(HOUR);
        let known = (attempt.number(), left, in_time, attempt.is_cancelled());
        tell.send(known).unwrap();
        Err::<(), _>(())
    });
    let job = job.attempt_timeout(ms(20));
    let job = job.retry(RetryPolicy::immediate().max_attempts(3));
    assert_eq!(job.submit().wait().unwrap_err().attempts(), 3);
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let (number, left, in_time, is_cancelled) = told.recv().unwrap();
        numbers.push(number);
        assert!(left.is_some_and(|left| left <= ms(20)));
        assert_eq!((in_time, is_cancelled), (false, true));
    }
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(pool.stats().retries(), 2);
}

#[test]
fn hooks_of_timed_out_attempts_run_on_workers() {
    let pool = named(1, "hook");
    let hang = Hang::default();
    let (tell, told) = mpsc::channel();
    let thread_name = || String::from(thread::current().name().unwrap());
    for batch in [false, true] {
        let held = hang.clone();
        let hung = move || {
            held.hang();
            Ok::<_, ()>(())
        };
        let (retry, give_up) = (tell.clone(), tell.clone());
        if batch {
            pool.batch([()], move |()| hung())
                .attempt_timeout(ms(5))
                .retry(twice())
                .on_retry(move |(), _, _| retry.send(thread_name()).unwrap())
                .on_give_up(move |(), _| give_up.send(thread_name()).unwrap())
                .run();
        } else {
            let job = pool.job(hung).attempt_timeout(ms(5)).retry(twice());
            let handle = job
                .on_retry(move |_, _| retry.send(thread_name()).unwrap())
                .on_give_up(move |_| give_up.send(thread_name()).unwrap())
                .submit();
            assert!(handle.wait().is_err());
        }
    }
    drop(tell);
    hang.open();
    let names: Vec<_> = told.iter().take(4).collect();
    assert_eq!(names.len(), 4);
    assert!(
        names
            .iter()
            .all(|name| name.starts_with("hook-") && name != "hook-timer"),
        "{names:?}"
    );
}

/// Spins for about this long.
fn spin(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

#[test]
fn attempts_that_end_just_at_their_limit_settle_once_and_leave_no_thread_behind() {
    let pool = named(2, "edge");
    let limit = Duration::from_micros(200);
    let (mut in_time, mut late) = (0, 0);
    for round in 0..3_000u64 {
        let length = limit - Duration::from_micros(60) + Duration::from_micros(round % 300);
        let job = pool.job(move || {
            spin(length);
            Ok::<_, ()>(())
        });
        let job = job.attempt_timeout(limit).retry(RetryPolicy::never());
        match job.submit().wait() {
            Ok(()) => in_time += 1,
            Err(give_up) => {
                assert_eq!(give_up.reason(), GiveUpReason::AttemptsExhausted);
                late += 1;
            }
        }
    }
    assert!(in_time > 0 && late > 0, "{in_time} in time, {late} late");
    assert!(adds_up(&pool));
    assert_eq!(pool.stats().accepted(), 3_000);
    until("the pool is as before", || {
        let stats = pool.stats();
        (stats.stuck_threads(), stats.spare_threads()) == (0, 0) && threads_named("edge") == 3
    });
}

#[test]
fn attempts_of_a_batch_that_end_just_at_their_limit_do_not_end_the_batch() {
    let pool = named(2, "edge");
    let limit = Duration::from_micros(200);
    let run = move |n: &u64| {
        spin(limit - Duration::from_micros(60) + Duration::from_micros(n % 300));
        Ok::<_, ()>(())
    };
    let batch = pool.batch(0..4_000, run).attempt_timeout(limit);
    let report = batch.retry(RetryPolicy::never()).run();
    let late = report.gave_up();
    assert!(
        late.iter()
            .all(|done| { done.result().unwrap_err().reason() == GiveUpReason::AttemptsExhausted })
    );
    assert_eq!((report.accepted(), report.input_left()), (4_000, false));
    assert!(!late.is_empty() && !report.succeeded().is_empty());
    assert!(adds_up(&pool));
    until("the pool is as before", || {
        let stats = pool.stats();
        (stats.stuck_threads(), stats.spare_threads()) == (0, 0) && threads_named("edge") == 3
    });
}

#[test]
fn a_batch_that_ended_settles_a_stuck_job_at_its_limit_also_in_a_pool_that_drains() {
    for dropped in [false, true] {
        let pool = pool(1);
        let hang = Hang::default();
        let (begun, begins) = mpsc::channel();
        let held = hang.clone();
        let run = move |_: &u32| {
            begun.send(()).unwrap();
            held.hang();
            Ok::<_, ()>(())
        };
        let batch = pool.batch([1], run).attempt_timeout(ms(300));
        let mut batch = Some(batch.as_completed());
        assert!(
            batch
                .as_mut()
                .unwrap()
                .next_timeout(Duration::ZERO)
                .is_err()
        );
        begins.recv().unwrap();
        batch.as_mut().unwrap().cancel();
        if dropped {
            batch = None;
        }
        let begun = Instant::now();
        let report = pool.shutdown_timeout(Duration::from_secs(5));
        assert!(begun.elapsed() < ms(2_000), "{:?}", begun.elapsed());
        assert_eq!((report.drained(), report.still_running()), (1, 0));
        assert_eq!(pool.stats().gave_up_as(GiveUpReason::Cancelled), 1);
        if let Some(mut batch) = batch {
            let done = batch.next().unwrap();
            assert_eq!(done.attempts(), 1);
        }
        hang.open();
    }
}

#[test]
fn an_attempt_of_a_batch_is_abandoned_at_its_limit_also_in_a_stopped_pool() {
    let pool = pool(1);
    let hang = Hang::default();
    let (begun, begins) = mpsc::channel();
    let held = hang.clone();
    let run = move |_: &u32| {
        begun.send(()).unwrap();
        held.hang();
        Ok::<_, ()>(())
    };
    let batch = pool.batch([1], run).retry(RetryPolicy::never());
    let mut batch = batch.attempt_timeout(ms(200)).as_completed();
    assert!(batch.next_timeout(Duration::ZERO).is_err());
    begins.recv().unwrap();
    pool.shutdown_now();
    let done = batch.next_timeout(Duration::from_secs(10)).unwrap();
    let result = done.unwrap().into_result();
    assert!(timed_out(&result.unwrap_err(), ms(200)));
    hang.open();
}

// A whole job.

#[test]
fn a_job_that_waits_when_its_time_is_over_ends_then() {
    let pool = pool(1);
    let limit = ms(30);
    let hourly = RetryPolicy::fixed(HOUR).unlimited();
    let parked = pool.job(|| Ok::<_, ()>(())).delay(HOUR).timeout(limit);
    let parked = parked.submit();
    let give_up = parked.wait().unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.attempts()),
        (GiveUpReason::DeadlineExceeded, 0)
    );
    assert!(give_up.elapsed() >= limit && give_up.elapsed() < ms(1_000));
    // A retry that would begin too late is not waited for.
    let hopeless = pool.job(|| Err::<(), _>("no")).retry(hourly).timeout(HOUR);
    let give_up = hopeless.submit().wait().unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.attempts()),
        (GiveUpReason::DeadlineExceeded, 1)
    );
    assert!(give_up.elapsed() < ms(1_000));
    assert_eq!(give_up.into_error(), Some("no"));
}

#[test]
fn a_job_that_was_queued_too_long_does_not_run() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let held = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    let ran = Arc::new(AtomicBool::new(false));
    let runs = Arc::clone(&ran);
    let submitted = Instant::now();
    let job = pool.job(move || {
        runs.store(true, Ordering::SeqCst);
        Ok::<_, ()>(())
    });
    let queued = job.timeout(ms(10)).submit();
    until("its time is over", || submitted.elapsed() > ms(10));
    keeper.let_through(1);
    assert!(held.wait().is_ok());
    let give_up = queued.wait().unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.attempts()),
        (GiveUpReason::DeadlineExceeded, 0)
    );
    await_worker(&pool);
    assert!(!ran.load(Ordering::SeqCst));
    assert!(adds_up(&pool));
}

#[test]
fn a_queued_job_ends_in_time_though_every_worker_is_busy() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let held = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    let queued = pool.job(|| Ok::<_, ()>(())).timeout(ms(10)).submit();
    let ended = queued.wait_timeout(Duration::from_secs(1));
    keeper.let_through(1);
    assert!(held.wait().is_ok());
    let give_up = ended.expect("it still waits").unwrap_err();
    assert_eq!(give_up.reason(), GiveUpReason::DeadlineExceeded);
}

#[test]
fn a_running_job_is_told_when_its_time_is_over_and_a_success_still_counts() {
    let pool = pool(1);
    let run = |succeeds: bool| {
        let job = pool.job(move || {
            let attempt = Attempt::current();
            assert!(attempt.deadline().is_some() && !attempt.sleep(HOUR));
            if succeeds { Ok("late") } else { Err("late") }
        });
        job.timeout(ms(100)).submit()
    };
    assert_eq!(run(true).wait().unwrap(), "late");
    let give_up = run(false).wait().unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.attempts()),
        (GiveUpReason::DeadlineExceeded, 1)
    );
    assert!(give_up.elapsed() >= ms(100) && give_up.elapsed() < ms(1_000));
    assert_eq!(give_up.into_error(), Some("late"));
}

#[test]
fn an_attempt_that_does_not_listen_is_cut_at_the_deadline_of_its_job() {
    let pool = named(1, "cut");
    let hang = Hang::default();
    let held = hang.clone();
    let job = pool.job(move || {
        held.hang();
        Ok::<_, ()>(())
    });
    let job = job.attempt_timeout(HOUR).timeout(ms(100));
    let give_up = job.submit().wait().unwrap_err();
    assert_eq!(
        (give_up.reason(), give_up.attempts()),
        (GiveUpReason::DeadlineExceeded, 1)
    );
    assert!(matches!(
        give_up.last_error(),
        Some(AttemptError::TimedOut(_))
    ));
    assert!(give_up.elapsed() >= ms(100) && give_up.elapsed() < ms(1_000));
    assert_eq!(pool.submit(|| Ok::<_, ()>(1)).wait().unwrap(), 1);
    hang.open();
    until("the pool is as before", || threads_named("cut") == 2);
}

// A whole batch.

#[test]
fn when_the_time_of_a_batch_is_over_what_has_not_begun_comes_out_and_nothing_is_pulled() {
    let pool = pool(2);
    let pulled = Arc::new(AtomicUsize::new(0));
    let pulls = Arc::clone(&pulled);
    let input = (0..u32::MAX).inspect(move |_| {
        pulls.fetch_add(1, Ordering::SeqCst);
    });
    let batch = pool.batch(input, |n| {
        if n % 2 == 0 {
            return Err::<(), _>("parked");
        }
        assert!(!Attempt::current().sleep(HOUR));
        Err("told")
    });
    let mut batch = batch
        .retry(RetryPolicy::fixed(ms(1)).unlimited())
        .window(9)
        .timeout(ms(40))
        .as_completed();
    let begun = Instant::now();
    let mut inputs: Vec<_> = batch
        .by_ref()
        .map(|done| {
            let (input, result) = done.into_parts();
            let reason = result.unwrap_err().reason();
            assert_eq!(reason, GiveUpReason::DeadlineExceeded);
            input.unwrap()
        })
        .collect();
    assert!(begun.elapsed() >= ms(40) && begun.elapsed() < ms(1_000));
    inputs.sort_unstable();
    assert!(inputs.into_iter().eq(0..9));
    assert_eq!(pulled.load(Ordering::SeqCst), 9);
    assert!(batch.progress().input_left());
    assert!(adds_up(&pool));
}

#[test]
fn an_attempt_of_a_batch_that_does_not_listen_is_cut_at_the_deadline_of_the_batch() {
    let pool = named(1, "cut");
    let hang = Hang::default();
    let held = hang.clone();
    let run = move |n: &u32| {
        held.hang();
        Ok::<_, ()>(*n)
    };
    let batch = pool.batch(0..5, run).attempt_timeout(HOUR);
    let report = batch.timeout(ms(20)).run();
    assert_eq!(report.gave_up().len(), 5);
    assert!(
        report
            .gave_up()
            .iter()
            .all(|done| { done.result().unwrap_err().reason() == GiveUpReason::DeadlineExceeded })
    );
    assert!(report.elapsed() >= ms(20) && report.elapsed() < ms(1_000));
    hang.open();
    until("the pool is as before", || threads_named("cut") == 2);
    assert_eq!(pool.submit(|| Ok::<_, ()>(1)).wait().unwrap(), 1);
}

#[test]
fn an_attempt_that_was_cut_with_its_batch_was_made() {
    let pool = pool(1);
    let hang = Hang::default();
    let held = hang.clone();
    let run = move |_: &u32| {
        held.hang();
        Ok::<_, ()>(())
    };
    let batch = pool.batch([1], run).attempt_timeout(HOUR);
    let report = batch.timeout(ms(100)).run();
    hang.open();
    assert_eq!(report.attempts(), 1);
    let give_up = report.gave_up()[0].result().unwrap_err();
    assert!(matches!(
        give_up.last_error(),
        Some(AttemptError::TimedOut(_))
    ));
}

// A wait.

#[test]
fn a_wait_for_a_batch_that_is_too_long_says_how_many_jobs_are_unfinished() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let mut batch = pool
        .batch(0..3, move |n| {
            gate.pass();
            Ok::<_, ()>(*n)
        })
        .as_completed();
    while batch.progress().accepted() < 3 {
        assert!(batch.next_timeout(Duration::ZERO).is_err());
    }
    keeper.await_arrivals(1);
    let begun = Instant::now();
    assert_eq!(batch.next_timeout(ms(5)).unwrap_err().unfinished, 3);
    assert!(begun.elapsed() >= ms(5));
    keeper.let_through(1);
    let first = batch.next_timeout(Duration::MAX).unwrap().unwrap();
    assert_eq!(first.into_result().unwrap(), 0);
    let error = batch.next_timeout(Duration::ZERO).unwrap_err();
    assert_eq!(error.to_string(), "timed out with 2 jobs unfinished");
    keeper.let_through(2);
    assert_eq!(batch.count(), 2);
}

// Extremes.

#[test]
fn no_limit_is_too_long() {
    let pool = pool(2);
    let run = || match Attempt::current().number() {
        3 => Ok(3),
        _ => Err(()),
    };
    let job = pool
        .job(run)
        .attempt_timeout(Duration::MAX)
        .timeout(Duration::MAX);
    let handle = job.submit().wait_timeout(Duration::MAX);
    assert_eq!(handle.unwrap().unwrap(), 3);
    let late = pool.job(run).delay(Duration::MAX).submit();
    let batch = pool.batch(0..20, move |_: &u32| run());
    let batch = batch.attempt_timeout(Duration::MAX).timeout(Duration::MAX);
    let mut batch = batch.as_completed();
    let mut done = 0;
    while let Some(next) = batch.next_timeout(Duration::MAX).unwrap() {
        assert_eq!(next.into_result().unwrap(), 3);
        done += 1;
    }
    assert_eq!(done, 20);
    assert!(late.cancel());
    assert!(adds_up(&pool));
}

#[test]
fn a_limit_of_zero_settles_every_job() {
    let pool = pool(2);
    let settled = |handle: JobHandle<(), ()>| {
        let result = handle.wait_timeout(Duration::from_secs(10));
        result
            .expect("it did not settle")
            .map_err(|give_up| give_up.reason())
    };
    for _ in 0..300 {
        let run = || Ok::<_, ()>(());
        let result = settled(pool.job(run).attempt_timeout(Duration::ZERO).submit());
        assert!(matches!(
            result,
            Ok(()) | Err(GiveUpReason::AttemptsExhausted)
        ));
        let result = settled(pool.job(run).timeout(Duration::ZERO).submit());
        assert_eq!(result, Err(GiveUpReason::DeadlineExceeded));
        let job = pool.job(run).timeout(Duration::ZERO);
        let result = settled(job.attempt_timeout(Duration::ZERO).submit());
        assert_eq!(result, Err(GiveUpReason::DeadlineExceeded));
        let batch = pool
            .batch(0..5, |_| Ok::<_, ()>(()))
            .timeout(Duration::ZERO);
        let report = batch.attempt_timeout(Duration::ZERO).run();
        assert!(report.accepted() <= 5);
        assert!(report.accepted() == 5 || report.input_left());
    }
    until("nothing is stuck", || pool.stats().stuck_threads() == 0);
    assert!(adds_up(&pool));
}
