//! Cancelling, capacity and the end: the properties of the checklist that no other test shows, each by its number in `CHECKLIST.md`.

use std::cell::RefCell;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak, mpsc};
use std::thread;
use std::time::Duration;

use crate::common::{eventually, gate, ms, pool};
use retry_pool::{Attempt, GiveUpReason, JobHandle, RetryPolicy, RetryPool, TrySubmitError};

const HOUR: Duration = Duration::from_secs(3_600);

fn adds_up(pool: &RetryPool) -> bool {
    let stats = pool.stats();
    stats.unsettled() == 0 && stats.accepted() == stats.succeeded() + stats.gave_up()
}

#[test]
fn p34_dropping_a_pool_whose_jobs_panic_does_not_panic() {
    for _ in 0..50 {
        let pool = pool(2);
        let handles: Vec<_> = (0..20u64)
            .map(|n| {
                let panics = move || -> Result<(), ()> { std::panic::resume_unwind(Box::new(n)) };
                let job = pool.job(panics);
                job.delay(Duration::from_micros(n * 20)).submit()
            })
            .collect();
        drop(pool);
        for handle in handles {
            assert!(handle.is_settled());
            assert_eq!(handle.wait().unwrap_err().reason(), GiveUpReason::Panicked);
        }
    }
}

#[test]
fn p51_of_many_racing_jobs_of_which_all_but_one_are_cancelled_one_completes() {
    const JOBS: usize = 20;
    let pool = pool(2);
    for round in 0..200 {
        let handles: Vec<_> = (0..JOBS)
            .map(|n| {
                pool.submit(move || {
                    // None ends by itself but the one that nobody cancels.
                    match n == round % JOBS || Attempt::current().sleep(HOUR) {
                        true => Ok(n),
                        false => Err(()),
                    }
                })
            })
            .collect();
        thread::scope(|scope| {
            for half in 0..2 {
                let cancelled = handles.iter().enumerate().skip(half).step_by(2);
                scope.spawn(move || {
                    for (_, handle) in cancelled.filter(|(n, _)| *n != round % JOBS) {
                        handle.cancel();
                    }
                });
            }
        });
        let results = handles.into_iter().map(JobHandle::wait);
        let done: Vec<_> = results.filter_map(Result::ok).collect();
        assert_eq!(done, [round % JOBS]);
    }
    assert!(adds_up(&pool));
}

#[test]
fn p62_no_more_jobs_run_than_there_are_workers() {
    const WORKERS: usize = 3;
    let pool = pool(WORKERS);
    let (running, most) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let run = |n: u64| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        move || {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            match n % 3 {
                0 => Err(()),
                _ => Ok(()),
            }
        }
    };
    for n in 0..2_000 {
        drop(pool.submit(run(n)));
    }
    let batch = run(1);
    assert!(pool.batch(0..2_000, move |_| batch()).run().is_success());
    drop(pool);
    assert!(most.load(Ordering::SeqCst) <= WORKERS);
}

#[test]
fn p67_a_shutdown_that_gives_up_leaves_no_job_pending() {
    let pool = pool(5);
    let (gate, keeper) = gate();
    let handles: Vec<_> = (0..50)
        .map(|n| {
            let gate = gate.clone();
            pool.submit(move || {
                gate.pass();
                Ok::<_, ()>(n)
            })
        })
        .collect();
    keeper.await_arrivals(5);
    assert_eq!(pool.shutdown_now().gave_up(), 45);
    assert_eq!(handles.iter().filter(|job| job.is_settled()).count(), 45);
    keeper.let_through(5);
    let results: Vec<_> = handles.into_iter().map(JobHandle::wait).collect();
    let reasons = results.iter().filter_map(|result| result.as_ref().err());
    assert!(
        reasons
            .map(retry_pool::GiveUp::reason)
            .eq([GiveUpReason::Shutdown; 45])
    );
    assert_eq!(results.iter().flatten().count(), 5);
    pool.shutdown();
    assert!(adds_up(&pool));
}

#[test]
fn p68_a_shutdown_now_gives_up_the_queued_the_delayed_and_the_parked() {
    let pool = pool(1);
    let parked = pool.job(|| Err::<(), _>(()));
    let parked = parked.retry(RetryPolicy::fixed(HOUR)).submit();
    crate::common::await_worker(&pool);
    let (gate, keeper) = gate();
    let running = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    let queued = pool.submit(|| Ok::<_, ()>(()));
    let delayed = pool.job(|| Ok::<_, ()>(())).delay(HOUR).submit();
    let report = pool.shutdown_now();
    assert_eq!((report.gave_up(), report.still_running()), (3, 1));
    for (handle, attempts) in [(parked, 1), (queued, 0), (delayed, 0)] {
        assert!(handle.is_settled());
        let give_up = handle.wait().unwrap_err();
        let told = (give_up.reason(), give_up.attempts());
        assert_eq!(told, (GiveUpReason::Shutdown, attempts));
    }
    keeper.let_through(1);
    assert!(running.wait().is_ok());
}

#[test]
fn p70_submitting_cancelling_and_shutting_down_at_once_ends() {
    for round in 0..200 {
        let pool = pool(2);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for n in 0..50u64 {
                        let job = pool.job(move || if n % 2 == 0 { Ok(n) } else { Err(n) });
                        let handle = job.delay(Duration::from_micros(n % 3 * 50)).submit();
                        handle.cancel();
                        assert!(handle.wait_timeout(Duration::from_secs(20)).is_ok());
                    }
                });
            }
            (0..round % 40).for_each(|_| thread::yield_now());
            pool.shutdown();
        });
        assert!(adds_up(&pool));
    }
}

#[test]
fn p71_a_shutdown_that_runs_out_of_time_says_so_and_the_next_one_ends() {
    let pool = pool(2);
    let (gate, keeper) = gate();
    let running = pool.submit(move || {
        gate.pass();
        Ok::<_, ()>(())
    });
    keeper.await_arrivals(1);
    let begun = std::time::Instant::now();
    assert_eq!(pool.shutdown_timeout(ms(10)).still_running(), 1);
    assert!(begun.elapsed() >= ms(10));
    assert!(!running.is_settled());
    assert!(matches!(
        pool.try_submit(|| Ok::<_, ()>(())),
        Err(TrySubmitError::Closed(_))
    ));
    keeper.let_through(1);
    let report = pool.shutdown_timeout(Duration::MAX);
    assert_eq!((report.still_running(), report.gave_up()), (0, 0));
    assert!(running.is_settled());
}

#[test]
fn p73_a_job_that_runs_while_its_pool_ends_may_submit_more_and_all_of_it_runs() {
    let pool = Arc::new(pool(2));
    let ran = Arc::<AtomicUsize>::default();
    let (gate, keeper) = gate();
    let (inner, counter) = (Arc::downgrade(&pool), Arc::clone(&ran));
    let outer = pool.submit(move || {
        gate.pass();
        let pool = inner.upgrade().ok_or("the pool is gone")?;
        let counter = Arc::clone(&counter);
        drop(pool.submit(move || Ok::<_, ()>(counter.fetch_add(1, Ordering::SeqCst))));
        Ok::<_, &str>(())
    });
    keeper.await_arrivals(1);
    let drained = thread::scope(|scope| {
        let end = scope.spawn(|| pool.shutdown());
        eventually("closed", || pool.try_submit(|| Ok::<_, ()>(())).is_err());
        keeper.let_through(1);
        end.join().unwrap().drained()
    });
    assert!(outer.wait().is_ok());
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert!(adds_up(&pool) && drained >= 1);
}

#[test]
fn p76_a_process_that_a_job_starts_ends_and_the_pool_goes_on() {
    let pool = pool(2);
    let outcomes = pool.batch(0..20, |n| {
        let status = Command::new("sh")
            .args(["-c", &format!("exit {n}")])
            .status();
        status.map(|status| status.code())
    });
    for (n, code) in outcomes.run().succeeded() {
        assert_eq!(*code, i32::try_from(*n).ok());
    }
    assert_eq!(pool.shutdown().still_running(), 0);
}

/// Submits to its pool when its thread ends.
struct Submitter(Weak<RetryPool>, mpsc::Sender<Result<u32, GiveUpReason>>);

impl Drop for Submitter {
    fn drop(&mut self) {
        let Some(pool) = self.0.upgrade() else {
            return;
        };
        let result = pool.submit(|| Ok::<_, ()>(7)).wait();
        let _ = self.1.send(result.map_err(|give_up| give_up.reason()));
    }
}

thread_local! {
    static AT_THE_END: RefCell<Option<Submitter>> = const { RefCell::new(None) };
}

#[test]
fn p77_a_pool_can_be_used_while_the_locals_of_a_thread_are_dropped() {
    let pool = Arc::new(pool(1));
    let (tell, told) = mpsc::channel();
    // By a thread of somebody else, and by a worker, whose pool has closed by then.
    let (weak, other) = (Arc::downgrade(&pool), tell.clone());
    let foreign = thread::spawn(move || AT_THE_END.set(Some(Submitter(weak, other))));
    foreign.join().unwrap();
    assert_eq!(told.recv().unwrap(), Ok(7));
    let weak = Arc::downgrade(&pool);
    let own = pool.submit(move || {
        AT_THE_END.set(Some(Submitter(weak.clone(), tell.clone())));
        Ok::<_, ()>(())
    });
    own.wait().unwrap();
    pool.shutdown();
    assert_eq!(told.recv().unwrap(), Err(GiveUpReason::Shutdown));
}
