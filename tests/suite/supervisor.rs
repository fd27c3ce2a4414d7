//! Children that come back, and those that do not: what follows from the end of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::Duration;

use crate::common::{eventually, ms, stay};
use retry_pool::{
    Attempt, Child, ChildError, ChildExit, ChildOptions, ChildState, Restart, RetryPolicy,
    Supervisor, Verdict,
};

/// Restarts at once, however often.
fn hot() -> ChildOptions {
    ChildOptions::new().delay(RetryPolicy::immediate().hot_loop_ok())
}

fn state(supervisor: &Supervisor, name: &str) -> ChildState {
    supervisor.child(name).unwrap().state()
}

/// A child that counts its runs and fails in each.
fn crasher(runs: &Arc<AtomicU64>) -> impl Fn() -> Result<(), String> + Send + 'static {
    let runs = Arc::clone(runs);
    move || Err(format!("failure {}", runs.fetch_add(1, SeqCst) + 1))
}

/// Ten children that tick 200 times each and fail by script, as the workers of the question do: 2 of 11 ticks, three kinds of error.

#[test]
fn ten_children_come_back_from_every_failure_with_their_own_argument() {
    const TICKS: u64 = 200;
    let fails = |child: u64, tick: u64| (child * 7 + tick * 5) % 11 < 2;
    let mut builder = Supervisor::builder();
    let (started, starts) = mpsc::channel();
    for child in 0..10u64 {
        let (ticks, busy, started) = (AtomicU64::new(0), AtomicBool::new(false), started.clone());
        builder = builder.child_with(format!("worker-{child}"), hot(), move || {
            assert!(!busy.swap(true, SeqCst), "two runs of {child} at once");
            let name = Attempt::current().job_name().map(String::from);
            started.send((child, name)).unwrap();
            let error = loop {
                let tick = ticks.fetch_add(1, SeqCst);
                if tick >= TICKS {
                    break None;
                }
                if fails(child, tick) {
                    break Some(["runtime", "value", "timeout"][(tick % 3) as usize]);
                }
            };
            let end = match error {
                Some(error) => Err(error),
                None => {
                    Attempt::current().sleep(Duration::MAX);
                    Ok(())
                }
            };
            busy.store(false, SeqCst);
            end
        });
    }
    drop(started);
    let failures: Vec<u64> = (0..10)
        .map(|child| (0..TICKS).filter(|tick| fails(child, *tick)).count() as u64)
        .collect();
    assert!((355..=370).contains(&failures.iter().sum::<u64>()));
    let supervisor = builder.start().unwrap();
    eventually("all run after their last failure", || {
        let children = supervisor.children();
        let mut pairs = children.iter().zip(&failures);
        pairs.all(|(child, failures)| {
            child.state() == ChildState::Running && child.restarts() == *failures
        })
    });
    assert!(supervisor.shutdown(ms(5_000)).still_running().is_empty());
    drop(supervisor);
    let mut seen = [0; 10];
    for (child, name) in starts {
        assert_eq!(name, Some(format!("worker-{child}")));
        seen[child as usize] += 1;
    }
    assert!(seen.iter().zip(&failures).all(|(s, f)| *s == f + 1));
}

#[test]
fn max_restarts_allows_n_restarts_so_n_plus_1_starts() {
    let runs = Arc::default();
    let options = ChildOptions::new()
        .delay(RetryPolicy::immediate())
        .max_restarts(5, ms(10_000));
    let supervisor = Supervisor::builder()
        .child_with("crash", options, crasher(&runs))
        .start()
        .unwrap();
    supervisor.join();
    let child = supervisor.child("crash").unwrap();
    assert_eq!(runs.load(SeqCst), 6);
    assert_eq!((child.starts(), child.restarts()), (6, 5));
    assert_eq!(child.state(), ChildState::GaveUp);
    assert_eq!(child.last_error(), Some("failure 6"));
}

#[test]
fn a_limit_of_100_trips_at_the_101st_failure() {
    let within = |options: ChildOptions| options.max_restarts(100, ms(10_000));
    let in_a_row = |options: ChildOptions| options.max_consecutive(100);
    for limit in [within as fn(ChildOptions) -> ChildOptions, in_a_row] {
        let runs = Arc::default();
        let options = limit(ChildOptions::new().delay(RetryPolicy::immediate()));
        let supervisor = Supervisor::builder()
            .child_with("crash", options, crasher(&runs))
            .start()
            .unwrap();
        supervisor.join();
        assert_eq!(runs.load(SeqCst), 101);
    }
}

#[test]
fn a_child_that_returns_ok_is_restarted_only_if_permanent() {
    let runs = Arc::new(AtomicU64::new(0));
    for (restart, expected) in [
        (Restart::Transient, 1),
        (Restart::Temporary, 1),
        (Restart::Permanent, 4),
    ] {
        runs.store(0, SeqCst);
        let counter = Arc::clone(&runs);
        let options = hot().restart(restart).max_consecutive(3);
        let supervisor = Supervisor::builder()
            .child_with("once", options, move || {
                counter.fetch_add(1, SeqCst);
                Ok::<_, String>(())
            })
            .start()
            .unwrap();
        supervisor.join();
        assert_eq!(runs.load(SeqCst), expected, "{restart:?}");
        let end = match restart {
            Restart::Permanent => ChildState::GaveUp,
            _ => ChildState::Completed,
        };
        assert_eq!(state(&supervisor, "once"), end);
    }
}

#[test]
fn do_not_restart_ends_a_permanent_child_for_good() {
    let supervisor = Supervisor::builder()
        .child_with("done", hot().restart(Restart::Permanent), || {
            Ok::<_, String>(ChildExit::DoNotRestart)
        })
        .start()
        .unwrap();
    supervisor.join();
    let child = supervisor.child("done").unwrap();
    assert_eq!((child.state(), child.starts()), (ChildState::Completed, 1));
}

#[test]
fn a_temporary_child_is_never_restarted() {
    let supervisor = Supervisor::builder()
        .child_with("once", hot().restart(Restart::Temporary), || {
            Err::<(), _>("no")
        })
        .start()
        .unwrap();
    supervisor.join();
    let child = supervisor.child("once").unwrap();
    assert_eq!((child.state(), child.starts()), (ChildState::GaveUp, 1));
}

#[test]
fn a_panic_is_a_failure_with_its_text() {
    let supervisor = Supervisor::builder()
        .child_with(
            "shop",
            hot().max_consecutive(1),
            || -> Result<(), String> { panic!("out of {}", "cheese") },
        )
        .start()
        .unwrap();
    supervisor.join();
    let child = supervisor.child("shop").unwrap();
    assert_eq!(
        (child.starts(), child.last_error()),
        (2, Some("panicked: out of cheese"))
    );
}

#[test]
fn an_error_that_cannot_be_shown_or_dropped_is_a_failure_like_any_other() {
    struct Mine;
    impl std::fmt::Display for Mine {
        fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            panic!("in Display")
        }
    }
    impl Drop for Mine {
        fn drop(&mut self) {
            panic!("in Drop")
        }
    }
    let supervisor = Supervisor::builder()
        .child_with("odd", hot().max_consecutive(2), || Err::<(), _>(Mine))
        .start()
        .unwrap();
    supervisor.join();
    let child = supervisor.child("odd").unwrap();
    assert_eq!(
        (child.starts(), child.last_error()),
        (3, Some("panicked: in Display"))
    );
}

#[test]
fn a_child_that_fails_three_times_while_it_starts_still_comes_back() {
    let supervisor = Supervisor::builder()
        .child_with("late", hot(), || match Attempt::current().number() {
            1..=3 => Err(String::from("not yet")),
            _ => stay(),
        })
        .start()
        .unwrap();
    eventually("it runs", || {
        let child = supervisor.child("late").unwrap();
        child.starts() == 4 && child.state() == ChildState::Running
    });
}

#[test]
fn an_error_that_is_not_worth_it_gives_up() {
    let judged = Child::new("judged", || Err::<(), _>(404))
        .options(hot())
        .retry_if(|status| *status != 404);
    let classified = Child::new("classified", || Err::<(), _>(404))
        .options(hot())
        .classify(|_| Verdict::GiveUp);
    let supervisor = Supervisor::builder()
        .with(judged)
        .with(classified)
        .child_with("marked", hot(), || {
            Err::<(), _>(Attempt::permanent("never"))
        })
        .start()
        .unwrap();
    supervisor.join();
    for child in supervisor.children() {
        assert_eq!((child.state(), child.starts()), (ChildState::GaveUp, 1));
    }
}

#[test]
fn the_child_itself_may_ask_for_a_longer_delay() {
    let supervisor = Supervisor::builder()
        .child_with("busy", hot(), || {
            Err::<(), _>(Attempt::retry_after(Duration::from_secs(60), "busy"))
        })
        .start()
        .unwrap();
    eventually("it waits", || {
        matches!(state(&supervisor, "busy"), ChildState::Backoff { .. })
    });
}

#[test]
fn an_iterator_of_delays_that_ends_gives_up() {
    let delays = RetryPolicy::from_delays(|| std::iter::repeat_n(ms(1), 2));
    let supervisor = Supervisor::builder()
        .child_with("few", ChildOptions::new().delay(delays), || {
            Err::<(), _>("no")
        })
        .start()
        .unwrap();
    supervisor.join();
    assert_eq!(supervisor.child("few").unwrap().starts(), 3);
}

#[test]
fn errors_kept_are_bounded_and_numbered() {
    let supervisor = Supervisor::builder()
        .child_with("crash", hot().max_consecutive(20).errors_kept(3), || {
            Err::<(), _>(format!(
                "{}{}",
                Attempt::current().number(),
                "x".repeat(5_000)
            ))
        })
        .start()
        .unwrap();
    supervisor.join();
    let child = supervisor.child("crash").unwrap();
    let starts: Vec<u64> = child.errors().iter().map(ChildError::start).collect();
    assert_eq!(starts, [19, 20, 21]);
    assert!(
        child
            .errors()
            .iter()
            .all(|error| error.text().len() == 1_024)
    );
    assert!(child.last_error().unwrap().starts_with("21x"));
    assert!(child.errors().is_sorted_by_key(ChildError::at));
}

#[test]
fn a_run_knows_the_error_of_the_one_before() {
    let (sender, seen) = mpsc::channel();
    let supervisor = Supervisor::builder()
        .child_with("crash", hot().max_consecutive(2), move || {
            let attempt = Attempt::current();
            sender
                .send(attempt.previous_error().map(String::from))
                .unwrap();
            Err::<(), _>(attempt.number())
        })
        .start()
        .unwrap();
    supervisor.join();
    drop(supervisor);
    let seen: Vec<_> = seen.iter().collect();
    assert_eq!(seen, [None, Some("1".into()), Some("2".into())]);
}

#[test]
fn a_child_waits_for_a_pools_jobs_as_any_other_thread() {
    let supervisor = Supervisor::builder()
        .child("asks", || {
            let pool = crate::common::pool(1);
            let handle = pool.submit(|| Ok::<_, String>(Attempt::current().job_name().is_none()));
            handle.wait().map(|unnamed| assert!(unnamed))
        })
        .start()
        .unwrap();
    supervisor.join();
    assert_eq!(state(&supervisor, "asks"), ChildState::Completed);
}
