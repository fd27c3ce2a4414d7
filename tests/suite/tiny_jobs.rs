//! Workers take tiny jobs several at a time. Nobody may notice: one of them that turns out long keeps nothing else back.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Instant;

use crate::common::{Live, gate, ms, pool};
use retry_pool::{Attempt, Completion, GiveUpReason, JobState, RetryPolicy, RetryPool};

/// The job that turns out long. Before it there are enough for workers to see that jobs are tiny.
const LONG: u32 = 500;

type Done = Completion<u32, (), ()>;

fn index(done: &Done) -> u32 {
    assert!(done.result().is_ok());
    *done.input()
}

#[test]
fn a_long_job_keeps_none_of_those_behind_it_from_another_worker() {
    for round in 0..20 {
        let pool = pool(2);
        let (gate, keeper) = gate();
        let long = LONG + round;
        let batch = pool.batch(0..2_000, move |n| {
            if *n == long {
                gate.pass();
            }
            Ok(())
        });
        let mut completed = batch.as_completed();
        let before: u64 = completed
            .by_ref()
            .take(1_999)
            .map(|done| u64::from(index(&done)))
            .sum();
        assert_eq!(before, (0..2_000).sum::<u64>() - u64::from(long));
        keeper.let_through(1);
        assert_eq!(
            completed
                .by_ref()
                .map(|done| index(&done))
                .collect::<Vec<_>>(),
            [long]
        );
    }
}

#[test]
fn a_long_job_keeps_none_of_those_behind_it_back_in_an_endless_batch() {
    let pool = pool(2);
    let (gate, keeper) = gate();
    let batch = pool.batch(0_u32.., move |n| {
        if *n == LONG {
            gate.pass();
        }
        Ok::<_, ()>(())
    });
    let mut missing: Vec<u32> = (0..LONG + 100).filter(|n| *n != LONG).collect();
    let mut completed = batch.as_completed();
    while !missing.is_empty() {
        let done = completed.next().unwrap();
        missing.retain(|n| n != done.input());
        // Much later than 50 us, and soon enough to be a failure rather than a hang.
        assert!(*done.input() < 10_000_000, "{missing:?} were kept back");
    }
    keeper.let_through(1);
    drop(completed);
}

/// Runs tiny jobs on one worker up to the long one, which waits; those behind it have not begun.
fn held_up<R>(
    jobs: u32,
    test: impl FnOnce(&RetryPool, &mut dyn FnMut() -> Option<Done>) -> R,
) -> R {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let batch = pool.batch(0..jobs, move |n| {
        if *n == LONG {
            gate.pass();
        }
        Ok(())
    });
    let mut completed = batch.as_completed();
    let result = test(&pool, &mut || completed.next());
    keeper.let_through(1);
    result
}

#[test]
fn successes_are_delivered_and_counted_while_the_next_job_takes_long() {
    held_up(LONG + 400, |pool, next| {
        let delivered: Vec<u32> = (0..LONG)
            .filter_map(|_| next().as_ref().map(index))
            .collect();
        assert_eq!(delivered, (0..LONG).collect::<Vec<_>>());
        assert_eq!(pool.stats().succeeded(), u64::from(LONG));
    });
}

#[test]
fn a_success_is_delivered_before_an_input_is_asked_for_more_than_is_needed() {
    const WINDOW: u32 = 512;
    for long in 90..98 {
        let pool = pool(1);
        let (full, filler) = gate();
        let (gate, keeper) = gate();
        let asked = AtomicU32::new(0);
        let input = (0..2 * WINDOW).inspect(|n| {
            asked.fetch_add(1, Ordering::Relaxed);
            if *n == WINDOW - 1 {
                filler.let_through(1);
            }
        });
        // All but the first fail and are parked, so the worker runs out of jobs. Then they come due together, and one takes long.
        let due = Instant::now() + ms(100);
        let retried = AtomicU32::new(0);
        let job = move |n: &u32| {
            if *n == 0 {
                full.pass();
            } else if Attempt::current().number() == 1 {
                let delay = due.saturating_duration_since(Instant::now());
                return Err(Attempt::retry_after(delay, "down"));
            } else if retried.fetch_add(1, Ordering::Relaxed) == long {
                gate.pass();
            }
            Ok(())
        };
        let batch = pool.batch(input, job).window(WINDOW as usize);
        let mut completed = batch.retry(RetryPolicy::immediate()).as_completed();
        assert_eq!(completed.next().map(|done| *done.input()), Some(0));
        keeper.await_arrivals(1);
        for _ in 0..long {
            assert!(completed.next().unwrap().result().is_ok());
            assert_eq!(asked.load(Ordering::Relaxed), WINDOW);
        }
        keeper.let_through(1);
    }
}

#[test]
fn a_cancel_reaches_every_job_that_has_not_begun() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let job = move |n: &u32| {
        if *n == LONG {
            gate.pass();
        }
        assert!(*n <= LONG, "{n} began after the cancel");
        Ok::<_, ()>(())
    };
    let mut completed = pool.batch(0..LONG + 400, job).as_completed();
    let begun: Vec<_> = completed.by_ref().take(LONG as usize).collect();
    keeper.await_arrivals(1);
    completed.cancel();
    let cancelled = completed.progress().undelivered() - 1;
    for done in completed.by_ref().take(cancelled as usize) {
        assert_eq!(
            done.into_result().unwrap_err().reason(),
            GiveUpReason::Cancelled
        );
    }
    keeper.let_through(1);
    assert_eq!(
        completed
            .by_ref()
            .map(|done| index(&done))
            .collect::<Vec<_>>(),
        [LONG]
    );
    let stats = pool.stats();
    assert_eq!(stats.succeeded(), begun.len() as u64 + 1);
    assert_eq!((stats.gave_up(), stats.unsettled()), (cancelled, 0));
}

#[test]
fn dropping_the_iteration_frees_the_inputs_that_have_not_begun() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let live = Live::new();
    let inputs: Vec<_> = (0..LONG + 400).map(|n| (n, live.clone())).collect();
    let batch = pool.batch(inputs, move |(n, _)| {
        if *n == LONG {
            gate.pass();
        }
        Ok::<_, ()>(())
    });
    let mut completed = batch.as_completed();
    completed.by_ref().take(LONG as usize).for_each(drop);
    keeper.await_arrivals(1);
    drop(completed);
    assert_eq!(live.others(), 1);
    keeper.let_through(1);
    drop(pool);
    assert_eq!(live.others(), 0);
}

#[test]
fn the_time_of_a_batch_ends_for_every_job_that_has_not_begun() {
    let pool = pool(1);
    let (gate, keeper) = gate();
    let batch = pool.batch(0..LONG + 400, move |n| {
        if *n == LONG {
            gate.pass();
        }
        Ok::<_, ()>(())
    });
    let mut completed = batch.timeout(ms(100)).as_completed();
    let (mut last, mut out_of_time) = (0, 0);
    // Until nothing but the long job is left.
    while out_of_time == 0 || completed.progress().undelivered() > 1 {
        let done = completed.next().unwrap();
        match done.result() {
            Ok(()) => last = last.max(*done.input()),
            Err(give_up) => {
                assert_eq!(give_up.reason(), GiveUpReason::DeadlineExceeded);
                out_of_time += 1;
            }
        }
    }
    keeper.let_through(1);
    assert!(last < LONG, "{last} began behind the long one");
}

#[test]
fn a_tiny_job_may_wait_for_another_of_its_pool() {
    let pool = pool(1);
    let waited = AtomicBool::new(false);
    retry_pool::scope(|scoped| {
        let batch = scoped.batch(0..LONG + 400, |n| {
            if *n == LONG {
                let other = pool.submit(|| Ok::<_, ()>(()));
                assert_ne!(other.state(), JobState::Parked);
                other.wait()?;
                let inner = scoped.submit(|| Ok::<_, ()>(()));
                waited.store(inner.wait().is_ok(), Ordering::SeqCst);
            }
            Ok::<_, retry_pool::GiveUp<()>>(())
        });
        assert_eq!(batch.run().succeeded().len(), LONG as usize + 400);
    });
    assert!(waited.load(Ordering::SeqCst));
}

/// A job succeeds while the iterator pulls slow inputs, and the next but one, in the same pocket as a rule, takes long. Says how many inputs
/// are pulled before that success is delivered.
fn pulled_before_delivery(first: u32) -> u64 {
    let pool = pool(1);
    let ((gate, keeper), (long_gate, long_keeper)) = (gate(), gate());
    let long_keeper = Arc::new(Mutex::new(long_keeper));
    let (delivered, pulled) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU64::new(0)));
    let input = {
        let (delivered, pulled) = (Arc::clone(&delivered), Arc::clone(&pulled));
        let (long_keeper, mut long_runs) = (Arc::clone(&long_keeper), false);
        (0..1_000_u32).inspect(move |n| {
            if *n < 600 {
                return;
            }
            // Slower than a refill is patient.
            std::thread::sleep(ms(1));
            pulled.fetch_add(u64::from(long_runs), Ordering::SeqCst);
            if !long_runs && delivered.load(Ordering::SeqCst) == first {
                keeper.let_through(1);
                long_keeper.lock().unwrap().await_arrivals(1);
                long_runs = true;
            }
        })
    };
    let batch = pool.batch(input, move |n| {
        if *n == first {
            gate.pass();
        } else if *n == first + 2 {
            long_gate.pass();
        }
        Ok(())
    });
    let mut completed = batch.as_completed();
    for _ in 0..first {
        drop(completed.next().unwrap());
        delivered.fetch_add(1, Ordering::SeqCst);
    }
    assert_eq!(index(&completed.next().unwrap()), first);
    long_keeper.lock().unwrap().let_through(1);
    pulled.load(Ordering::SeqCst)
}

#[test]
fn a_success_is_delivered_while_more_inputs_are_pulled_slowly() {
    let most = (500..512).map(pulled_before_delivery).max();
    assert!(most < Some(20), "{most:?} inputs were pulled before");
}

#[test]
fn a_long_job_keeps_the_retry_of_the_job_before_it_from_no_other_worker() {
    let mut elsewhere = 0;
    for first in LONG..LONG + 20 {
        let (tell, told) = mpsc::channel();
        let told = Mutex::new(Some(told));
        let failed_on = OnceLock::new();
        let retried_on = RetryPool::builder().threads(2).scope(|scoped| {
            let batch = scoped.batch(0..2_000, |n: &u32| {
                let here = thread::current().id();
                if *n == first && Attempt::current().number() == 1 {
                    failed_on.set(here).unwrap();
                    return Err(());
                }
                if *n == first {
                    tell.send(here).unwrap();
                } else if failed_on.get() == Some(&here)
                    && let Some(told) = told.lock().unwrap().take()
                {
                    // The next job on the worker that has seen the failure takes as long as the retry.
                    return Ok(Some(told.recv_timeout(ms(10_000)).ok()));
                }
                Ok(None)
            });
            let retrying = batch.retry(RetryPolicy::immediate());
            let results = retrying.as_completed().map(Completion::into_result);
            results.filter_map(|result| result.unwrap()).next()
        });
        let Some(retried_on) = retried_on.unwrap() else {
            // The other worker was so quick that it ran all the rest.
            continue;
        };
        assert!(retried_on.is_some(), "the retry was kept back");
        // The worker that has seen the failure may have nothing else in its pocket, and retry it at once itself.
        elsewhere += usize::from(retried_on.as_ref() != failed_on.get());
    }
    assert!(elsewhere > 0);
}

#[test]
fn retries_of_tiny_jobs_are_counted_by_their_batch_and_by_the_pool() {
    let pool = pool(2);
    let batch = pool.batch(0..10_000, |n: &u32| {
        match (n % 10, Attempt::current().number()) {
            (3, 1) => Err(()),
            _ => Ok(()),
        }
    });
    let mut completed = batch.as_completed();
    assert_eq!(completed.by_ref().count(), 10_000);
    let progress = completed.progress();
    assert_eq!((progress.retries(), progress.succeeded()), (1_000, 10_000));
    let stats = pool.stats();
    assert_eq!((stats.retries(), stats.succeeded()), (1_000, 10_000));
}
