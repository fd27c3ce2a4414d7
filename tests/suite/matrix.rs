//! Each kind of job, each use of its handle, each state of its pool: one test for each combination.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{Live, ms, pool};
use retry_pool::{Attempt, GiveUpReason, JobHandle, JobState, RetryPolicy, RetryPool};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ok,
    /// Fails twice.
    Transient,
    Permanent,
    Panics,
    /// Until it is told to stop, or for 20 ms.
    Hangs,
    /// Fails once and waits for its retry: for an hour where the test ends it, else for 1 ms.
    Parks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Wait,
    /// For a job that waits an hour, too short; it is cancelled after.
    WaitTimeout,
    Await,
    Drop,
    Cancel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Closed,
    /// Another thread waits in `shutdown`.
    Draining,
    /// Another thread drops it.
    Dropped,
}

type Outcome = Result<u32, GiveUpReason>;

/// Waits until something is so; the watchdog knows for how long.
fn until(is_so: impl Fn() -> bool) {
    while !is_so() {
        thread::yield_now();
    }
}

/// Runs a cell on a thread of its own; one that does not end is a failure.
fn watched(name: &str, cell: impl FnOnce() + Send + 'static) {
    let (done, ends) = mpsc::channel();
    let thread = thread::spawn(move || {
        cell();
        let _ = done.send(());
    });
    if ends.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        panic!("{name} did not end within {PATIENCE:?}");
    }
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

impl Kind {
    /// One attempt.
    fn run(self) -> Result<u32, &'static str> {
        let attempt = Attempt::current();
        match (self, attempt.number()) {
            (Self::Transient, 1 | 2) | (Self::Parks, 1) => Err("not yet"),
            (Self::Permanent, _) => Err(Attempt::permanent("never")),
            (Self::Panics, _) => panic!("as it does each time"),
            (Self::Hangs, _) if !attempt.sleep(ms(20)) => Err("told to stop"),
            (_, number) => Ok(number),
        }
    }

    fn policy(self, is_ended: bool) -> RetryPolicy {
        match (self, is_ended) {
            (Self::Parks, true) => RetryPolicy::fixed(Duration::from_secs(3_600)),
            (Self::Parks, false) => RetryPolicy::fixed(ms(1)),
            _ => RetryPolicy::immediate(),
        }
    }

    /// What comes of it if nobody interferes.
    fn by_itself(self) -> Outcome {
        match self {
            Self::Ok | Self::Hangs => Ok(1),
            Self::Transient => Ok(3),
            Self::Parks => Ok(2),
            Self::Permanent => Err(GiveUpReason::Permanent),
            Self::Panics => Err(GiveUpReason::Panicked),
        }
    }
}

/// What the handle says in the end, and whether it could be cancelled.
fn use_handle(
    act: Act,
    handle: JobHandle<u32, &'static str>,
    parks: bool,
) -> (Option<Outcome>, bool) {
    let mut cancelled = false;
    let result = match act {
        Act::Wait => handle.wait(),
        Act::Await => futures::executor::block_on(handle),
        Act::WaitTimeout if parks => {
            let begun = Instant::now();
            let handle = handle.wait_timeout(ms(2)).expect_err("it waits an hour");
            assert!(begun.elapsed() >= ms(2));
            cancelled = handle.cancel();
            handle.wait()
        }
        Act::WaitTimeout => {
            let settled = handle.wait_timeout(PATIENCE);
            settled.expect("it did not settle")
        }
        Act::Drop => return (None, false),
        Act::Cancel => {
            cancelled = handle.cancel();
            handle.wait()
        }
    };
    (Some(result.map_err(|give_up| give_up.reason())), cancelled)
}

/// Ends the pool on another thread, if that is its state. The pool is given back unless it was dropped.
fn begin_end(
    state: State,
    pool: RetryPool,
) -> (Option<Arc<RetryPool>>, Option<thread::JoinHandle<()>>) {
    let pool = Arc::new(pool);
    let other = Arc::clone(&pool);
    match state {
        State::Running => (Some(pool), None),
        State::Closed => {
            pool.close();
            (Some(pool), None)
        }
        State::Draining => {
            let end = thread::spawn(move || assert_eq!(other.shutdown().still_running(), 0));
            until(|| pool.try_submit(|| Ok::<_, ()>(())).is_err());
            (Some(pool), Some(end))
        }
        State::Dropped => {
            drop(other);
            (None, Some(thread::spawn(move || drop(pool))))
        }
    }
}

fn cell(kind: Kind, act: Act, state: State) {
    let is_ended = matches!(act, Act::WaitTimeout | Act::Cancel);
    let parks = kind == Kind::Parks && is_ended;
    let (pool, live) = (pool(2), Live::new());
    let held = live.clone();
    let job = pool.job(move || {
        let _ = &held;
        kind.run()
    });
    let handle = job.retry(kind.policy(is_ended)).submit();
    if parks {
        until(|| handle.state() == JobState::Parked);
    }
    let (pool, end) = begin_end(state, pool);
    let (outcome, cancelled) = use_handle(act, handle, parks);
    if let Some(outcome) = outcome {
        // Its closure is freed before its settlement is seen.
        assert_eq!(live.others(), 0);
        let expected = if parks {
            Err(GiveUpReason::Cancelled)
        } else {
            kind.by_itself()
        };
        // Whether a job that was cancelled had begun, and whether it listened, is open.
        let raced = cancelled && outcome == Err(GiveUpReason::Cancelled);
        assert!(outcome == expected || raced, "{outcome:?}, {cancelled}");
        assert!(!parks || cancelled);
    }
    if let Some(end) = end {
        end.join().unwrap();
    }
    if let Some(pool) = pool {
        until(|| pool.stats().unsettled() == 0);
        let stats = pool.stats();
        assert_eq!(stats.accepted(), stats.succeeded() + stats.gave_up());
        if outcome.is_none() {
            let expected = kind.by_itself().err();
            let gave_up = expected.map_or(0, |reason| stats.gave_up_as(reason));
            assert_eq!(stats.gave_up(), u64::from(expected.is_some()));
            assert_eq!(gave_up, stats.gave_up());
        }
        let later = pool.try_submit(|| Ok::<_, ()>(()));
        assert_eq!(later.is_ok(), state == State::Running);
    }
    until(|| live.others() == 0);
}

macro_rules! jobs {
    ($($job:ident is $kind:ident),*) => {
        $(mod $job {
            handles!($kind: waited_for is Wait, waited_for_with_a_limit is WaitTimeout, awaited is Await, detached is Drop, cancelled is Cancel);
        })*
    };
}

macro_rules! handles {
    ($kind:ident: $($handle:ident is $act:ident),*) => {
        $(mod $handle {
            pools!($kind, $act: in_a_running_pool is Running, in_a_closed_pool is Closed, in_a_draining_pool is Draining, in_a_dropped_pool is Dropped);
        })*
    };
}

macro_rules! pools {
    ($kind:ident, $act:ident: $($pool:ident is $state:ident),*) => {
        $(#[test]
        fn $pool() {
            use crate::matrix::{Act, Kind, State};
            crate::matrix::watched(stringify!($kind, $act, $state), || {
                crate::matrix::cell(Kind::$kind, Act::$act, State::$state);
            });
        })*
    };
}

jobs!(
    one_that_succeeds is Ok,
    one_that_fails_twice is Transient,
    one_that_fails_for_good is Permanent,
    one_that_panics is Panics,
    one_that_hangs is Hangs,
    one_that_is_parked is Parks
);
