//! Cancelling: what waits settles at once, what runs is told, nothing is retried, and nobody else is touched.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use crate::common::{await_worker, gate, ms, pool};
use retry_pool::{Attempt, CancelToken, GiveUpReason, JobHandle, JobState, RetryPolicy, RetryPool};

const HOUR: Duration = Duration::from_secs(3_600);

fn hourly() -> RetryPolicy {
    RetryPolicy::fixed(HOUR).unlimited()
}

/// Waits until something is so, at the longest ten seconds.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < patience, "still not so: {what}");
        thread::yield_now();
    }
}

/// Tells which thread dropped it.
struct Tell(mpsc::Sender<ThreadId>);

impl Drop for Tell {
    fn drop(&mut self) {
        let _ = self.0.send(thread::current().id());
    }
}

fn is_cancelled<T, E>(result: Result<T, retry_pool::GiveUp<E>>) -> bool {
    result.is_err_and(|give_up| give_up.reason() == GiveUpReason::Cancelled)
}

fn adds_up(pool: &RetryPool) -> bool {
    let stats = pool.stats();
    stats.accepted() == stats.succeeded() + stats.gave_up()
}

/// Iterates without waiting until this many jobs were admitted; none of them has settled.
macro_rules! admit {
    ($batch:expr, $jobs:expr) => {
        while $batch.progress().accepted() < $jobs {
            assert!($batch.next_timeout(Duration::ZERO).is_err());
        }
    };
}

/// The ways in which a job can listen. Each returns once it was told to stop.
const LISTENERS: [fn(); 3] = [
    || {
        let attempt = Attempt::current();
        while !attempt.is_cancelled() {
            thread::yield_now();
        }
    },
    || assert!(!Attempt::current().sleep(HOUR)),
    || assert!(Attempt::current().cancel_token().wait_timeout(HOUR)),
];

// Jobs that wait.

#[test]
fn a_parked_job_settles_at_the_cancel_and_is_dropped_on_that_thread() {
    for begins_late in [false, true] {
        let pool = pool(1);
        let (dropped, drops) = mpsc::channel();
        let tell = Tell(dropped);
        let job = pool.job(move || {
            let _ = &tell;
            Err::<(), _>("busy")
        });
        let job = job
            .retry(hourly())
            .delay(if begins_late { HOUR } else { Duration::ZERO });
        let handle = job.submit();
        until("parked", || handle.state() == JobState::Parked);
        assert_eq!((handle.cancel(), handle.state()), (true, JobState::Settled));
        assert_eq!(drops.try_recv(), Ok(thread::current().id()));
        assert!(!handle.cancel());
        let give_up = handle.wait().unwrap_err();
        assert_eq!(give_up.reason(), GiveUpReason::Cancelled);
        assert_eq!(give_up.attempts(), u32::from(!begins_late));
        assert_eq!(give_up.into_error(), (!begins_late).then_some("busy"));
        assert!(adds_up(&pool));
    }
}

#[test]
fn a_queued_job_settles_at_the_cancel_is_dropped_on_that_thread_and_never_runs() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let held = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    let (dropped, drops) = mpsc::channel();
    let tell = Tell(dropped);
    let ran = Arc::new(AtomicBool::new(false));
    let runs = Arc::clone(&ran);
    let queued = pool.submit(move || {
        let _ = &tell;
        runs.store(true, Ordering::SeqCst);
        Ok::<_, ()>(())
    });
    assert_eq!((queued.cancel(), queued.cancel()), (true, false));
    assert_eq!(drops.try_recv(), Ok(thread::current().id()));
    assert!(queued.is_settled());
    keeper.let_through(1);
    assert!(held.wait().is_ok());
    await_worker(&pool);
    assert!(!ran.load(Ordering::SeqCst));
    assert_eq!(queued.wait().unwrap_err().attempts(), 0);
    assert!(adds_up(&pool));
}

#[test]
fn all_that_waits_in_a_pool_settles_before_cancel_all_returns() {
    let pool = pool(1);
    let parked: Vec<_> = (0..20)
        .map(|_| pool.job(|| Err::<(), _>(())).retry(hourly()).submit())
        .collect();
    await_worker(&pool);
    let (gate, keeper) = gate();
    let held = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    let queued: Vec<_> = (0..20).map(|_| pool.submit(|| Ok::<_, ()>(()))).collect();
    let late: Vec<_> = (0..20)
        .map(|_| pool.job(|| Ok::<_, ()>(())).delay(HOUR).submit())
        .collect();
    pool.cancel_all();
    for handle in parked.into_iter().chain(queued).chain(late) {
        assert!(handle.is_settled());
        assert!(is_cancelled(handle.wait()));
    }
    keeper.let_through(1);
    assert!(held.wait().is_ok());
    assert!(adds_up(&pool));
}

// Jobs that run.

#[test]
fn a_running_job_that_listens_settles_within_ten_milliseconds() {
    let pool = pool(1);
    let cancels: [fn(&RetryPool, &JobHandle<(), ()>); 2] = [
        |_, handle| assert!(handle.cancel()),
        |pool, _| pool.cancel_all(),
    ];
    for cancel in cancels {
        for listen in LISTENERS {
            let mut times = Vec::new();
            for _ in 0..10 {
                let (begun, begins) = mpsc::channel();
                let handle = pool.submit(move || {
                    begun.send(()).unwrap();
                    listen();
                    Err(())
                });
                begins.recv().unwrap();
                let told = Instant::now();
                cancel(&pool, &handle);
                assert!(is_cancelled(handle.wait()));
                times.push(told.elapsed());
            }
            // The machine may be busy; one that waits for a tick is slow each time.
            assert!(times.iter().min() < Some(&ms(10)), "{times:?}");
        }
    }
    assert!(adds_up(&pool));
}

#[test]
fn the_running_jobs_of_a_batch_settle_within_ten_milliseconds_of_each_way_to_cancel_it() {
    for way in 0..3 {
        for listen in LISTENERS {
            let mut times = Vec::new();
            for _ in 0..5 {
                let pool = pool(2);
                let (begun, begins) = mpsc::channel();
                let token = CancelToken::new();
                let run = move |_: &u32| {
                    begun.send(()).unwrap();
                    listen();
                    Err::<(), _>(())
                };
                let batch = pool.batch(0.., run).window(6).cancel_token(token.clone());
                let mut batch = batch.as_completed();
                admit!(batch, 6);
                (0..2).for_each(|_| begins.recv().unwrap());
                let told = Instant::now();
                match way {
                    0 => batch.cancel(),
                    1 => token.cancel(),
                    _ => pool.cancel_all(),
                }
                let mut inputs: Vec<_> = batch
                    .by_ref()
                    .map(|done| {
                        let (input, result) = done.into_parts();
                        assert!(is_cancelled(result));
                        input.unwrap()
                    })
                    .collect();
                times.push(told.elapsed());
                inputs.sort_unstable();
                assert!(inputs.iter().copied().eq(0..inputs.len() as u32));
                assert_eq!((inputs.len(), batch.progress().input_left()), (6, true));
                assert!(adds_up(&pool));
            }
            assert!(times.iter().min() < Some(&ms(10)), "{times:?}");
        }
    }
}

#[test]
fn a_job_that_succeeds_though_it_was_told_to_stop_is_a_success() {
    let pool = pool(1);
    let (begun, begins) = mpsc::channel();
    let handle = pool.submit(move || {
        begun.send(()).unwrap();
        LISTENERS[0]();
        Ok::<_, ()>("done all the same")
    });
    begins.recv().unwrap();
    assert!(handle.cancel());
    assert_eq!(handle.wait().unwrap(), "done all the same");
    assert_eq!((pool.stats().succeeded(), pool.stats().gave_up()), (1, 0));
    let (begun, begins) = mpsc::channel();
    let mut batch = pool
        .batch([7], move |n| {
            begun.send(()).unwrap();
            LISTENERS[0]();
            Ok::<_, ()>(*n)
        })
        .as_completed();
    assert!(batch.next_timeout(Duration::ZERO).is_err());
    begins.recv().unwrap();
    batch.cancel();
    assert_eq!(batch.next().unwrap().into_result().unwrap(), 7);
    assert!(batch.next().is_none());
}

#[test]
fn a_settled_job_is_not_cancelled_and_keeps_its_result() {
    let pool = pool(1);
    let (succeeded, failed) = (
        pool.submit(|| Ok::<_, ()>(1)),
        pool.submit(|| Err::<(), _>("no")),
    );
    until("settled", || succeeded.is_settled() && failed.is_settled());
    assert!(!succeeded.cancel() && !failed.cancel());
    pool.cancel_all();
    assert_eq!(succeeded.try_result().unwrap().unwrap(), 1);
    assert!(!succeeded.cancel());
    assert_eq!(
        failed.wait().unwrap_err().reason(),
        GiveUpReason::AttemptsExhausted
    );
}

#[test]
fn a_job_that_fails_after_it_was_told_is_not_retried_and_keeps_its_error() {
    let policies = [
        RetryPolicy::immediate().unlimited().hot_loop_ok(),
        RetryPolicy::never(),
    ];
    for policy in policies {
        let pool = pool(1);
        let (gate, keeper) = gate();
        let retried = Arc::new(AtomicBool::new(false));
        let hook = Arc::clone(&retried);
        let handle = pool
            .job(move || {
                gate.pass();
                Err::<(), _>("late")
            })
            .retry(policy)
            .on_retry(move |_, _| hook.store(true, Ordering::SeqCst))
            .submit();
        keeper.await_arrivals(1);
        assert!(handle.cancel());
        keeper.let_through(1);
        let give_up = handle.wait().unwrap_err();
        assert_eq!(
            (give_up.reason(), give_up.attempts()),
            (GiveUpReason::Cancelled, 1)
        );
        assert_eq!(give_up.into_error(), Some("late"));
        assert_eq!(pool.stats().retries(), 0);
        assert!(
            !retried.load(Ordering::SeqCst),
            "a hook was told of a retry"
        );
    }
}

// The retry decision.

/// A job that hands its own handle to `ask` while it is judged, and what came of it.
fn cancelled_while_judged(
    policy: RetryPolicy,
    hook: bool,
    ask: impl Fn(&RetryPool, &JobHandle<(), ()>) + Send + Sync + 'static,
) -> retry_pool::GiveUp<()> {
    let pool = Arc::new(pool(1));
    let own = Arc::new(OnceLock::<JobHandle<(), ()>>::new());
    let asked = Arc::new(OnceLock::<()>::new());
    let (handle, inner, once) = (Arc::clone(&own), Arc::downgrade(&pool), Arc::clone(&asked));
    let judge = move || {
        ask(&inner.upgrade().unwrap(), handle.wait());
        let _ = once.set(());
    };
    let job = pool.job(|| Err::<(), _>(())).retry(policy);
    let job = if hook {
        job.on_retry(move |_, _| judge())
    } else {
        job.retry_if(move |_| {
            judge();
            true
        })
    };
    assert!(own.set(job.submit()).is_ok());
    asked.wait();
    until("settled", || own.wait().is_settled());
    assert!(adds_up(&pool));
    let result = own.wait().try_result();
    result.unwrap().unwrap_err()
}

#[test]
fn a_job_cancelled_by_its_own_predicate_or_hook_is_not_retried() {
    for hook in [false, true] {
        for policy in [
            RetryPolicy::immediate().unlimited().hot_loop_ok(),
            RetryPolicy::fixed(ms(1)).unlimited(),
            hourly(),
        ] {
            let give_up =
                cancelled_while_judged(policy, hook, |_, handle| assert!(handle.cancel()));
            assert_eq!(
                (give_up.reason(), give_up.attempts()),
                (GiveUpReason::Cancelled, 1)
            );
        }
    }
}

#[test]
fn a_job_whose_pool_is_cancelled_by_its_predicate_or_hook_is_not_retried() {
    for hook in [false, true] {
        for policy in [
            RetryPolicy::immediate().unlimited().hot_loop_ok(),
            RetryPolicy::fixed(ms(1)).unlimited(),
            hourly(),
        ] {
            let give_up = cancelled_while_judged(policy, hook, |pool, _| pool.cancel_all());
            assert_eq!(
                (give_up.reason(), give_up.attempts()),
                (GiveUpReason::Cancelled, 1)
            );
        }
    }
}

#[test]
fn the_jobs_of_a_batch_cancelled_by_its_own_hook_are_not_retried() {
    for policy in [RetryPolicy::immediate(), hourly()] {
        let pool = pool(1);
        let token = CancelToken::new();
        let cancel = token.clone();
        let batch = pool
            .batch(0..5, |_| Err::<(), _>(()))
            .retry(policy)
            .on_retry(move |_, _, _| cancel.cancel())
            .cancel_token(token);
        let attempts: u32 = batch
            .into_iter()
            .map(|done| {
                let attempts = done.attempts();
                assert!(is_cancelled(done.into_result()));
                attempts
            })
            .sum();
        assert_eq!(attempts, 1);
        assert!(adds_up(&pool));
    }
}

// Races.

/// A job to be cancelled after as many spins, and a flag to be set then.
type Race = (Arc<JobHandle<u32, u32>>, usize, Arc<AtomicBool>);

/// Cancels each job that it is sent; says if the job had not settled.
fn canceller() -> (mpsc::Sender<Race>, mpsc::Receiver<bool>) {
    let (jobs, races) = mpsc::channel::<Race>();
    let (done, dones) = mpsc::channel();
    thread::spawn(move || {
        for (handle, pause, flag) in races {
            (0..pause).for_each(|_| std::hint::spin_loop());
            let cancelled = handle.cancel();
            flag.store(true, Ordering::SeqCst);
            drop(handle);
            if done.send(cancelled).is_err() {
                break;
            }
        }
    });
    (jobs, dones)
}

/// Races cancels with jobs that fail twice by this policy. No attempt begins untold once its job was cancelled.
fn race_with(policy: &RetryPolicy, rounds: usize, spread: usize) {
    let pool = pool(2);
    let (jobs, cancels) = canceller();
    let (mut stopped, mut done) = (0, 0);
    for round in 0..rounds {
        let cancelled = Arc::new(AtomicBool::new(false));
        let untold = Arc::new(AtomicUsize::new(0));
        let (was_cancelled, wrong) = (Arc::clone(&cancelled), Arc::clone(&untold));
        let job = pool.job(move || {
            let before = was_cancelled.load(Ordering::SeqCst);
            if before && !Attempt::current().is_cancelled() {
                wrong.fetch_add(1, Ordering::SeqCst);
            }
            match Attempt::current().number() {
                3 => Ok(3),
                number => Err(number),
            }
        });
        let handle = Arc::new(job.retry(policy.clone()).submit());
        let pause = round * 7_919 % spread;
        let race = (Arc::clone(&handle), pause, cancelled);
        jobs.send(race).unwrap();
        let was_cancelled = cancels.recv().unwrap();
        until("settled", || handle.is_settled());
        let result = handle.try_result().unwrap();
        assert!(handle.try_result().is_none() && !handle.cancel());
        assert_eq!(untold.load(Ordering::SeqCst), 0, "in round {round}");
        match result {
            Ok(_) => done += 1,
            Err(give_up) => {
                assert!(was_cancelled);
                assert_eq!(give_up.reason(), GiveUpReason::Cancelled);
                stopped += 1;
            }
        }
    }
    // How the race goes is the machine's business here; under the model checker both sides are seen.
    assert_eq!(stopped + done, rounds);
    assert!(adds_up(&pool));
}

#[test]
fn a_cancel_that_races_with_retries_at_once_stops_them() {
    race_with(&RetryPolicy::immediate(), 5_000, 4_000);
}

#[test]
fn a_cancel_that_races_with_the_timer_stops_the_job() {
    let policy = RetryPolicy::fixed(Duration::from_micros(50));
    race_with(&policy, 2_000, 30_000);
}

#[test]
fn of_many_cancels_at_once_of_a_job_that_waits_one_succeeds() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let held = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    for _ in 0..200 {
        let handle = pool.submit(|| Ok::<_, ()>(()));
        let cancelled = thread::scope(|scope| {
            let cancellers: Vec<_> = (0..3).map(|_| scope.spawn(|| handle.cancel())).collect();
            let cancelled = cancellers.into_iter().filter_map(|each| each.join().ok());
            cancelled.filter(|cancelled| *cancelled).count()
        });
        // One that comes between the cancel and its end finds the job not settled, and is right, too.
        assert!((1..=3).contains(&cancelled));
        assert!(!handle.cancel() && is_cancelled(handle.wait()));
    }
    keeper.let_through(1);
    assert!(held.wait().is_ok());
    assert_eq!(pool.stats().gave_up(), 200);
}

#[test]
fn a_cancel_never_reaches_the_job_that_runs_next_on_the_same_worker() {
    let pool = pool(1);
    let (jobs, cancels) = canceller();
    let mut cancelled_running = 0;
    for round in 0..5_000 {
        let first = Arc::new(pool.submit(move || {
            (0..round % 50).for_each(|_| std::hint::spin_loop());
            Err::<u32, _>(u32::from(Attempt::current().is_cancelled()))
        }));
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let next = pool.submit(move || {
            until("cancelled", || is_done.load(Ordering::SeqCst));
            Ok::<_, ()>(Attempt::current().is_cancelled())
        });
        let race = (Arc::clone(&first), round * 7_919 % 3_000, done);
        jobs.send(race).unwrap();
        let _ = cancels.recv().unwrap();
        assert!(!next.wait().unwrap(), "in round {round}");
        until("settled", || first.is_settled());
        let give_up = first.try_result().unwrap().unwrap_err();
        cancelled_running += usize::from(give_up.attempts() > 0);
    }
    assert!(cancelled_running > 0);
    assert!(adds_up(&pool));
}

#[test]
fn cancelling_a_batch_while_it_works_accounts_for_every_input() {
    for round in 0..300 {
        let pool = pool(2);
        let token = CancelToken::new();
        let batch = pool
            .batch(0..200u32, |n| if n % 3 == 0 { Err(()) } else { Ok(*n) })
            .window(16)
            .cancel_token(token.clone())
            .as_completed();
        let settled = thread::scope(|scope| {
            scope.spawn(|| {
                (0..round % 60).for_each(|_| thread::yield_now());
                match round % 2 {
                    0 => token.cancel(),
                    _ => pool.cancel_all(),
                }
            });
            let mut inputs: Vec<_> = batch.map(|done| done.into_input().unwrap()).collect();
            inputs.sort_unstable();
            inputs
        });
        assert!(settled.iter().copied().eq(0..settled.len() as u32));
        assert_eq!(pool.stats().accepted(), settled.len() as u64);
        assert!(adds_up(&pool));
    }
}

// Tokens.

#[test]
fn a_cancel_goes_down_the_family_and_to_clones_and_not_up_or_sideways() {
    let root = CancelToken::new();
    let (child, sibling) = (root.child(), root.child());
    let (grandchild, twin) = (child.child(), child.clone());
    twin.cancel();
    let cancelled = [&root, &child, &sibling, &grandchild, &twin].map(CancelToken::is_cancelled);
    assert_eq!(cancelled, [false, true, false, true, true]);
    assert!(child.child().is_cancelled() && !root.child().is_cancelled());
    root.cancel();
    root.cancel();
    assert!(sibling.is_cancelled() && sibling.wait_timeout(HOUR));
}

#[test]
fn a_token_that_is_dropped_cancels_nothing() {
    let pool = pool(1);
    let parent = CancelToken::new();
    let batch = pool.batch(0..10, |n| Ok::<_, ()>(*n));
    let batch = batch.cancel_token(parent.child()).as_completed();
    let orphan = parent.child();
    drop(parent);
    assert!(!orphan.is_cancelled());
    assert!(batch.map(|done| done.into_result().unwrap()).eq(0..10));
}

#[test]
fn a_token_outlives_its_batches_and_their_pool() {
    let token = CancelToken::new();
    let pool = pool(1);
    let begin = || {
        pool.batch(0..3, |_| Err::<(), _>(()))
            .retry(hourly())
            .cancel_token(token.clone())
            .as_completed()
    };
    drop(begin());
    let mut begun = begin();
    assert!(begun.next_timeout(Duration::ZERO).is_err());
    drop(begun);
    drop(pool);
    token.cancel();
    assert!(token.is_cancelled());
}

#[test]
fn a_batch_whose_token_is_cancelled_before_it_starts_runs_nothing_and_pulls_nothing() {
    let pool = pool(2);
    let token = CancelToken::new();
    let (ran, pulled) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
    let runs = Arc::clone(&ran);
    let input = (0..10).inspect(|_| {
        pulled.fetch_add(1, Ordering::SeqCst);
    });
    let batch = pool
        .batch(input, move |_| {
            runs.fetch_add(1, Ordering::SeqCst);
            Ok::<_, ()>(())
        })
        .cancel_token(token.clone());
    token.cancel();
    let mut batch = batch.as_completed();
    assert!(batch.next().is_none());
    assert!(batch.progress().input_left());
    batch.add(70);
    let added = batch.next().unwrap();
    assert_eq!((*added.input(), added.attempts()), (70, 0));
    assert!(is_cancelled(added.into_result()));
    assert!(batch.next().is_none());
    drop(batch);
    let counts = (ran.load(Ordering::SeqCst), pulled.load(Ordering::SeqCst));
    assert_eq!(counts, (0, 0));
}

#[test]
fn one_token_ends_many_batches_and_spares_the_others() {
    let pool = pool(1);
    let token = CancelToken::new();
    let begin = |token: &CancelToken| {
        let mut batch = pool
            .batch(0..4, |_| Err::<(), _>(()))
            .retry(hourly())
            .cancel_token(token.clone())
            .as_completed();
        admit!(batch, 4);
        batch
    };
    let mut spared = begin(&CancelToken::new());
    let batches: Vec<_> = (0..20).map(|_| begin(&token)).collect();
    await_worker(&pool);
    token.cancel();
    for batch in batches {
        let inputs = batch.map(|done| {
            let (input, result) = done.into_parts();
            assert!(is_cancelled(result));
            input.unwrap()
        });
        let mut inputs: Vec<_> = inputs.collect();
        inputs.sort_unstable();
        assert_eq!(inputs, [0, 1, 2, 3]);
    }
    assert!(spared.next_timeout(Duration::ZERO).is_err());
}

#[test]
fn the_token_of_an_attempt_is_a_child_of_its_batch() {
    let pool = pool(1);
    let token = CancelToken::new();
    let (tell, told) = mpsc::channel();
    let (gate, keeper) = gate();
    let mut batch = pool
        .batch([()], move |()| {
            tell.send(Attempt::current().cancel_token()).unwrap();
            gate.pass();
            Err::<(), _>(())
        })
        .cancel_token(token.clone())
        .as_completed();
    assert!(batch.next_timeout(Duration::ZERO).is_err());
    let attempt = told.recv().unwrap();
    assert!(!attempt.is_cancelled());
    token.cancel();
    assert!(attempt.is_cancelled());
    keeper.let_through(1);
    assert!(is_cancelled(batch.next().unwrap().into_result()));
}

// What else is waiting.

#[test]
fn cancelled_jobs_come_out_of_an_iteration_in_order_with_their_inputs() {
    let pool = pool(1);
    let token = CancelToken::new();
    let batch = pool
        .batch(0..8, |n| if *n == 3 { Err(()) } else { Ok(*n) })
        .retry(hourly())
        .cancel_token(token.clone());
    let mut batch = batch.in_order();
    assert!(batch.by_ref().take(3).map(|done| done.index()).eq(0..3));
    await_worker(&pool);
    token.cancel();
    let last: Vec<_> = batch.collect();
    assert!(last.iter().map(|done| *done.input()).eq(3..8));
    let reasons = last
        .iter()
        .map(|done| done.result().err().map(retry_pool::GiveUp::reason));
    let cancelled = reasons.collect::<Vec<_>>();
    assert_eq!(cancelled[0], Some(GiveUpReason::Cancelled));
    assert!(
        cancelled[1..]
            .iter()
            .all(|reason| *reason != Some(GiveUpReason::AttemptsExhausted))
    );
}

#[test]
fn blocked_senders_and_a_blocked_iterator_are_released() {
    for all in [false, true] {
        let pool = pool(1);
        let token = CancelToken::new();
        let (begun, begins) = mpsc::channel();
        let (sender, completed) = pool
            .batch(std::iter::empty(), move |_: &u32| {
                begun.send(()).unwrap();
                LISTENERS[1]();
                Err::<(), _>(())
            })
            .window(2)
            .cancel_token(token.clone())
            .channel();
        (0..2).for_each(|n| sender.send(n).unwrap());
        begins.recv().unwrap();
        let senders: Vec<_> = (2..5)
            .map(|n| {
                let sender = sender.clone();
                thread::spawn(move || sender.send(n).unwrap_err().into_inner())
            })
            .collect();
        let iterator = thread::spawn(move || {
            completed
                .map(|done| done.into_input().unwrap())
                .collect::<Vec<_>>()
        });
        if all {
            pool.cancel_all();
        } else {
            token.cancel();
        }
        for (n, sender) in (2..5).zip(senders) {
            assert_eq!(sender.join().unwrap(), n);
        }
        let mut inputs = iterator.join().unwrap();
        inputs.sort_unstable();
        assert_eq!(inputs, [0, 1]);
        assert_eq!(sender.send(9).unwrap_err().into_inner(), 9);
        assert!(adds_up(&pool));
    }
}

#[test]
fn an_iterator_that_waits_for_a_silent_producer_ends_when_the_batch_is_cancelled() {
    let pool = pool(1);
    let token = CancelToken::new();
    let (sender, mut completed) = pool
        .batch(std::iter::empty::<u32>(), |n| Ok::<_, ()>(*n))
        .cancel_token(token.clone())
        .channel();
    let iterator = thread::spawn(move || completed.next().is_none());
    token.cancel();
    assert!(iterator.join().unwrap());
    assert!(sender.send(1).is_err());
}

#[test]
fn a_pool_that_was_cancelled_goes_on_and_later_jobs_are_not_touched() {
    let pool = pool(1);
    for round in 0..1_000 {
        let before = pool.submit(move || {
            if round % 2 == 0 {
                LISTENERS[0]();
            }
            Err::<(), _>(())
        });
        let parked = pool.job(|| Err::<(), _>(())).retry(hourly()).submit();
        pool.cancel_all();
        let after = pool.submit(|| Ok::<_, ()>(Attempt::current().is_cancelled()));
        let retried = pool.submit(|| match Attempt::current().number() {
            3 => Ok(()),
            _ => Err(()),
        });
        let batch = pool.batch(0..3, |_| match Attempt::current().is_cancelled() {
            true => Err(()),
            false => Ok(()),
        });
        assert!(batch.run().is_success());
        assert!(!after.wait().unwrap() && retried.wait().is_ok());
        assert!(before.wait().is_err() && is_cancelled(parked.wait()));
    }
    assert!(adds_up(&pool));
}

// Who may cancel.

#[test]
fn a_job_may_cancel_itself_its_fellows_and_its_pool() {
    let pool = Arc::new(pool(2));
    let own = Arc::new(OnceLock::<JobHandle<(), ()>>::new());
    let handle = Arc::clone(&own);
    let job = pool.submit(move || {
        assert!(handle.wait().cancel() && Attempt::current().is_cancelled());
        Err::<(), _>(())
    });
    assert!(own.set(job).is_ok());
    until("settled", || own.wait().is_settled());
    assert!(is_cancelled(own.wait().try_result().unwrap()));

    let parked = pool.job(|| Ok::<_, ()>(())).delay(HOUR).submit();
    let cancels =
        pool.submit(move || Ok::<_, ()>((parked.cancel(), is_cancelled(parked_result(&parked)))));
    assert_eq!(cancels.wait().unwrap(), (true, true));

    let parked = pool.job(|| Ok::<_, ()>(())).delay(HOUR).submit();
    let inner = Arc::clone(&pool);
    let cancels = pool.submit(move || {
        inner.cancel_all();
        match Attempt::current().is_cancelled() {
            true => Err(()),
            false => Ok(()),
        }
    });
    assert!(is_cancelled(parked.wait()) && is_cancelled(cancels.wait()));
    assert!(adds_up(&pool));
}

fn parked_result(handle: &JobHandle<(), ()>) -> Result<(), retry_pool::GiveUp<()>> {
    handle.try_result().expect("it has settled at the cancel")
}

#[test]
fn hooks_and_jobs_of_another_pool_may_cancel() {
    let (pool, other) = (pool(1), crate::common::pool(1));
    let parked = Arc::new(pool.job(|| Ok::<_, ()>(())).delay(HOUR).submit());
    let (cancels, seen) = mpsc::channel();
    let (first, second) = (Arc::clone(&parked), Arc::clone(&parked));
    let seen_by_retry = cancels.clone();
    let hooked = pool
        .job(|| Err::<(), _>(()))
        .retry(RetryPolicy::immediate().max_attempts(2))
        .on_retry(move |_, _| seen_by_retry.send(first.cancel()).unwrap())
        .on_give_up(move |_| cancels.send(second.cancel()).unwrap())
        .submit();
    assert!(hooked.wait().is_err());
    assert!(seen.into_iter().eq([true, false]));

    let parked = pool.job(|| Ok::<_, ()>(())).delay(HOUR).submit();
    let cancelled =
        other.submit(move || Ok::<_, ()>((parked.cancel(), is_cancelled(parked_result(&parked)))));
    assert_eq!(cancelled.wait().unwrap(), (true, true));
    assert!(adds_up(&pool) && adds_up(&other));
}

#[test]
fn a_hook_of_a_cancelled_job_is_told_and_may_use_the_pool() {
    let pool = Arc::new(pool(1));
    let inner = Arc::downgrade(&pool);
    let (tell, told) = mpsc::channel();
    let parked = pool
        .job(|| Ok::<_, ()>(()))
        .delay(HOUR)
        .on_give_up(move |give_up| {
            let pool = inner.upgrade().unwrap();
            pool.cancel_all();
            tell.send((give_up.reason(), pool.stats().accepted()))
                .unwrap();
        })
        .submit();
    assert!(parked.cancel());
    assert_eq!(told.try_recv(), Ok((GiveUpReason::Cancelled, 1)));
}

// The end of the pool.

#[test]
fn a_cancel_lets_a_pool_end_that_waits_for_parked_jobs() {
    for all in [false, true] {
        let pool = pool(1);
        let parked = pool.job(|| Err::<(), _>(())).retry(hourly()).submit();
        await_worker(&pool);
        let (tell, told) = mpsc::channel();
        thread::scope(|scope| {
            let end = scope.spawn(|| {
                let report = pool.shutdown();
                tell.send(()).unwrap();
                report
            });
            // It has closed the pool once nothing is accepted any more.
            until("closed", || pool.try_submit(|| Ok::<_, ()>(())).is_err());
            assert!(told.try_recv().is_err());
            if all {
                pool.cancel_all();
            } else {
                assert!(parked.cancel());
            }
            let report = end.join().unwrap();
            assert_eq!((report.gave_up(), report.still_running()), (0, 0));
        });
        assert!(is_cancelled(parked.wait()));
        assert!(adds_up(&pool));
    }
}

#[test]
fn a_batch_in_a_closed_pool_can_be_cancelled() {
    let pool = pool(1);
    let mut batch = pool
        .batch(0..4, |_| Err::<(), _>(()))
        .retry(hourly())
        .as_completed();
    admit!(batch, 4);
    await_worker(&pool);
    pool.close();
    batch.cancel();
    assert_eq!(batch.filter(|done| done.result().is_err()).count(), 4);
    assert_eq!(pool.shutdown().still_running(), 0);
    assert_eq!(pool.stats().gave_up_as(GiveUpReason::Cancelled), 4);
}

#[test]
fn after_the_end_of_the_pool_there_is_nothing_left_to_cancel() {
    let pool = pool(1);
    let token = CancelToken::new();
    let done = pool.submit(|| Ok::<_, ()>(5));
    let mut batch = pool
        .batch(0..4, |n| Ok::<_, ()>(*n))
        .cancel_token(token.clone())
        .as_completed();
    assert!(batch.next().is_some());
    pool.shutdown();
    pool.cancel_all();
    drop(pool);
    assert!(!done.cancel());
    token.cancel();
    batch.cancel();
    assert_eq!(batch.filter(|done| done.result().is_ok()).count(), 3);
    assert_eq!(done.wait().unwrap(), 5);
}
