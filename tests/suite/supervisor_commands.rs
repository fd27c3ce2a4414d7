//! Commands to a supervisor, what it refuses, and who is listened to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use crate::common::{Live, eventually, gate, ms, stay};
use retry_pool::{Attempt, ChildOptions, ChildState, RetryPolicy, Supervisor, SupervisorError};

/// Waits for its restart for longer than any test.
fn minute() -> ChildOptions {
    ChildOptions::new().delay(RetryPolicy::fixed(Duration::from_secs(60)))
}

fn state(supervisor: &Supervisor, name: &str) -> ChildState {
    supervisor.child(name).unwrap().state()
}

fn await_backoff(supervisor: &Supervisor, name: &str) {
    eventually("in backoff", || {
        matches!(state(supervisor, name), ChildState::Backoff { .. })
    });
}

/// A child that counts its runs and fails in each.
fn crasher(runs: &Arc<AtomicU64>) -> impl Fn() -> Result<(), String> + Send + 'static {
    let runs = Arc::clone(runs);
    move || Err(format!("failure {}", runs.fetch_add(1, SeqCst) + 1))
}

#[test]
fn a_stop_in_backoff_means_no_further_start() {
    let runs = Arc::default();
    let options = ChildOptions::new().delay(RetryPolicy::fixed(ms(1_000)));
    let supervisor = Supervisor::builder()
        .child_with("crash", options, crasher(&runs))
        .start()
        .unwrap();
    await_backoff(&supervisor, "crash");
    supervisor.stop("crash").unwrap();
    let stopped_at = runs.load(SeqCst);
    assert_eq!(state(&supervisor, "crash"), ChildState::Stopped);
    supervisor.join();
    // Another child outlives the time at which the restart was due.
    supervisor
        .add("clock", ChildOptions::new(), || {
            Attempt::current().sleep(ms(1_100));
            Ok::<_, String>(())
        })
        .unwrap();
    supervisor.join();
    assert_eq!(runs.load(SeqCst), stopped_at);
    assert_eq!(state(&supervisor, "crash"), ChildState::Stopped);
}

#[test]
fn a_restart_by_hand_in_backoff_is_exactly_one_run() {
    let runs = Arc::default();
    let supervisor = Supervisor::builder()
        .child_with("crash", minute(), crasher(&runs))
        .start()
        .unwrap();
    for run in 2..50 {
        await_backoff(&supervisor, "crash");
        supervisor.restart("crash").unwrap();
        eventually("it ran again", || runs.load(SeqCst) == run);
    }
    await_backoff(&supervisor, "crash");
    assert_eq!(runs.load(SeqCst), 49);
    assert_eq!(supervisor.child("crash").unwrap().starts(), 49);
}

#[test]
fn a_restart_by_hand_begins_after_the_run_before_has_ended() {
    let (gate, keeper) = gate();
    let busy = AtomicBool::new(false);
    let supervisor = Supervisor::builder()
        .child("deaf", move || {
            assert!(!busy.swap(true, SeqCst), "two runs at once");
            gate.pass();
            busy.store(false, SeqCst);
            Ok::<_, String>(())
        })
        .start()
        .unwrap();
    keeper.await_arrivals(1);
    for _ in 0..3 {
        supervisor.restart("deaf").unwrap();
        assert_eq!(state(&supervisor, "deaf"), ChildState::Stopping);
    }
    keeper.let_through(1);
    keeper.await_arrivals(1);
    assert_eq!(supervisor.child("deaf").unwrap().starts(), 2);
    keeper.let_through(1);
    supervisor.join();
    let child = supervisor.child("deaf").unwrap();
    assert_eq!((child.starts(), child.errors().len()), (2, 0));
}

#[test]
fn the_last_command_counts() {
    let supervisor = Supervisor::builder().child("one", stay).start().unwrap();
    for _ in 0..200 {
        supervisor.restart("one").unwrap();
        supervisor.stop("one").unwrap();
    }
    supervisor.join();
    assert_eq!(state(&supervisor, "one"), ChildState::Stopped);
    for _ in 0..200 {
        supervisor.stop("one").unwrap();
        supervisor.restart("one").unwrap();
    }
    eventually("it runs", || {
        state(&supervisor, "one") == ChildState::Running
    });
}

#[test]
fn only_the_supervisor_says_what_is_cancelled() {
    let hot = ChildOptions::new().delay(RetryPolicy::immediate().hot_loop_ok());
    let supervisor = Supervisor::builder()
        .child_with("self", hot, || {
            let attempt = Attempt::current();
            if attempt.number() == 3 {
                return stay();
            }
            attempt.cancel_token().cancel();
            Err(String::from("cancelled"))
        })
        .start()
        .unwrap();
    eventually("restarted with a token of its own", || {
        let child = supervisor.child("self").unwrap();
        child.starts() == 3 && child.state() == ChildState::Running
    });
}

#[test]
fn children_are_added_and_removed_at_run_time() {
    let live = Live::new();
    let supervisor = Supervisor::builder().start().unwrap();
    supervisor.join();
    let add = |name: &str| {
        let kept = live.clone();
        supervisor.add(name, ChildOptions::new(), move || {
            let _kept = &kept;
            stay()
        })
    };
    add("a").unwrap();
    add("b").unwrap();
    assert!(matches!(add("a"), Err(SupervisorError::DuplicateName(name)) if name == "a"));
    let names: Vec<String> = supervisor
        .children()
        .iter()
        .map(|c| c.name().into())
        .collect();
    assert_eq!(names, ["a", "b"]);
    eventually("a runs", || state(&supervisor, "a") == ChildState::Running);
    supervisor.remove("a").unwrap();
    assert!(matches!(
        supervisor.restart("a"),
        Err(SupervisorError::UnknownChild(name)) if name == "a"
    ));
    eventually("a is gone", || supervisor.child("a").is_none());
    eventually("its function is dropped", || live.others() == 1);
    add("a").unwrap();
    eventually("a runs", || state(&supervisor, "a") == ChildState::Running);
    assert!(supervisor.shutdown(ms(5_000)).still_running().is_empty());
    assert_eq!(live.others(), 0);
}

#[test]
fn a_name_is_taken_until_the_last_run_of_a_removed_child_has_ended() {
    let (gate, keeper) = gate();
    let supervisor = Supervisor::builder()
        .child("deaf", move || {
            gate.pass();
            Ok::<_, String>(())
        })
        .start()
        .unwrap();
    keeper.await_arrivals(1);
    supervisor.remove("deaf").unwrap();
    assert_eq!(state(&supervisor, "deaf"), ChildState::Stopping);
    assert!(supervisor.add("deaf", ChildOptions::new(), stay).is_err());
    keeper.let_through(1);
    eventually("the name is free", || supervisor.child("deaf").is_none());
    supervisor.add("deaf", ChildOptions::new(), stay).unwrap();
}

#[test]
fn nonsense_is_refused_by_name_and_value() {
    let refused = |options: ChildOptions| {
        let builder = Supervisor::builder().child_with("odd", options, stay);
        let at_start = builder.start().unwrap_err().to_string();
        assert!(at_start.contains("odd"), "{at_start}");
        at_start
    };
    let new = ChildOptions::new;
    assert!(refused(new().stable_after(Duration::ZERO)).contains("stable_after is 0"));
    assert!(refused(new().max_restarts(5, Duration::ZERO)).contains("max_restarts is 0"));
    assert!(refused(new().heartbeat(Duration::ZERO)).contains("heartbeat is 0"));
    assert!(refused(new().errors_kept(0)).contains("errors_kept is 0"));
    assert!(refused(new().delay(RetryPolicy::immediate())).contains("hot loop"));
    assert!(refused(new().delay(RetryPolicy::immediate().unlimited())).contains("hot loop"));
    assert!(refused(new().delay(RetryPolicy::fixed(ms(1)).multiplier(0.5))).contains("0.5"));
    assert!(refused(new().delay(RetryPolicy::fixed(ms(1)).max_attempts(0))).contains("is 0"));
    let named = |name: &str| Supervisor::builder().child(name, stay).start().unwrap_err();
    assert!(matches!(named(""), SupervisorError::EmptyName));
    assert!(matches!(named("a\0b"), SupervisorError::NulInName(name) if name == "a\0b"));
    let twice = Supervisor::builder().child("a", stay).child("a", stay);
    assert!(matches!(
        twice.start(),
        Err(SupervisorError::DuplicateName(_))
    ));
    let nul = Supervisor::builder().name("a\0").start();
    assert!(matches!(nul, Err(SupervisorError::NulInName(_))));
    for limited in [
        new().delay(RetryPolicy::immediate()).max_consecutive(0),
        new()
            .delay(RetryPolicy::immediate().unlimited())
            .max_restarts(9, ms(1)),
        new().delay(RetryPolicy::immediate().hot_loop_ok()),
    ] {
        let supervisor = Supervisor::builder()
            .child_with("fine", limited, stay)
            .start();
        assert!(supervisor.is_ok());
    }
}

#[test]
fn a_supervisor_that_was_shut_down_refuses_commands() {
    let supervisor = Supervisor::builder().child("one", stay).start().unwrap();
    supervisor.shutdown(ms(5_000));
    for refused in [
        supervisor.stop("one"),
        supervisor.restart("one"),
        supervisor.remove("one"),
        supervisor.add("two", ChildOptions::new(), stay),
    ] {
        assert!(matches!(refused, Err(SupervisorError::ShutDown)));
    }
    assert_eq!(state(&supervisor, "one"), ChildState::Stopped);
    supervisor.join();
}

#[test]
fn huge_times_are_safe() {
    let options = ChildOptions::new()
        .delay(RetryPolicy::fixed(Duration::MAX))
        .stable_after(Duration::MAX)
        .max_restarts(u32::MAX, Duration::MAX)
        .max_consecutive(u32::MAX)
        .heartbeat(Duration::MAX)
        .grace(Duration::MAX)
        .errors_kept(usize::MAX);
    let supervisor = Supervisor::builder()
        .grace(Duration::MAX)
        .child_with("far", options, || Err::<(), _>("no"))
        .start()
        .unwrap();
    await_backoff(&supervisor, "far");
    let ChildState::Backoff { due } = state(&supervisor, "far") else {
        unreachable!("it is in backoff")
    };
    assert!(due > Instant::now() + Duration::from_secs(3_600));
    assert!(
        supervisor
            .shutdown(Duration::MAX)
            .still_running()
            .is_empty()
    );
}

#[test]
fn after_a_restart_by_hand_the_counts_begin_anew() {
    let runs = Arc::default();
    let options = ChildOptions::new()
        .delay(RetryPolicy::immediate())
        .max_consecutive(1);
    let supervisor = Supervisor::builder()
        .child_with("crash", options, crasher(&runs))
        .start()
        .unwrap();
    for started in [2, 4, 6] {
        supervisor.join();
        assert_eq!(state(&supervisor, "crash"), ChildState::GaveUp);
        assert_eq!(runs.load(SeqCst), started);
        supervisor.restart("crash").unwrap();
    }
}

#[test]
fn a_shutdown_drops_the_functions_of_those_that_do_not_run() {
    let live = Live::new();
    let (waits, rests) = (live.clone(), live.clone());
    let supervisor = Supervisor::builder()
        .child_with("waits", minute(), move || {
            let _waits = &waits;
            Err::<(), _>("no")
        })
        .child("rests", move || {
            let _rests = &rests;
            Ok::<_, String>(())
        })
        .start()
        .unwrap();
    await_backoff(&supervisor, "waits");
    eventually("it has completed", || {
        state(&supervisor, "rests") == ChildState::Completed
    });
    assert_eq!(live.others(), 2);
    supervisor.shutdown(ms(5_000));
    assert_eq!(live.others(), 0);
}

/// Three threads command three children, which fail now and then, in any order; a name never has two runs.
#[test]
fn no_order_of_commands_makes_two_runs_of_a_name() {
    let supervisor = Supervisor::builder().start().unwrap();
    let busy: Arc<[AtomicBool; 3]> = Arc::default();
    let (twice, runs) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let add = |child: usize| {
        let (busy, twice, runs) = (Arc::clone(&busy), Arc::clone(&twice), Arc::clone(&runs));
        let options = ChildOptions::new().delay(RetryPolicy::immediate().hot_loop_ok());
        supervisor.add(format!("{child}"), options, move || {
            if busy[child].swap(true, SeqCst) {
                twice.store(true, SeqCst);
            }
            let run = runs.fetch_add(1, SeqCst);
            let fails = run % 3 == 0 && Attempt::current().sleep(Duration::from_micros(run % 50));
            if !fails {
                Attempt::current().sleep(Duration::MAX);
            }
            busy[child].store(false, SeqCst);
            if fails { Err("by script") } else { Ok(()) }
        })
    };
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let (supervisor, add) = (&supervisor, &add);
            scope.spawn(move || {
                let mut random = thread;
                for _ in 0..1_500 {
                    // The generator of Knuth's MMIX.
                    random = random
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    let (command, child) = ((random >> 40) % 8, (random >> 50) as usize % 3);
                    let name = format!("{child}");
                    // Some at once after the one before, some so late that it has been done.
                    std::thread::sleep(Duration::from_micros((random >> 30) % 150));
                    // Which of them are refused depends on the others.
                    let _ = match command {
                        0 => supervisor.remove(&name),
                        1..3 => supervisor.stop(&name),
                        3..6 => supervisor.restart(&name),
                        _ => add(child),
                    };
                }
            });
        }
    });
    assert!(supervisor.shutdown(ms(10_000)).still_running().is_empty());
    assert!(!twice.load(SeqCst), "two runs of a name at once");
    assert!(runs.load(SeqCst) > 100);
}
