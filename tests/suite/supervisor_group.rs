//! Strategies, what a give-up does to the others, and supervisors in supervisors.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{eventually, gate, ms, stay};
use retry_pool::{
    Attempt, ChildExit, ChildOptions, ChildState, ChildStatus, OnGiveUp, RetryPolicy, Strategy,
    Supervisor, SupervisorError,
};

fn hot() -> ChildOptions {
    ChildOptions::new().delay(RetryPolicy::immediate().hot_loop_ok())
}

fn states(supervisor: &Supervisor) -> Vec<ChildState> {
    let children = supervisor.children();
    children.iter().map(ChildStatus::state).collect()
}

fn await_running(supervisor: &Supervisor) {
    eventually("all run", || {
        states(supervisor)
            .iter()
            .all(|state| *state == ChildState::Running)
    });
}

/// A log of starts (`+name`) and ends (`-name`), and a switch for each child that makes it fail.
struct Script {
    log: Receiver<String>,
    switches: BTreeMap<&'static str, Sender<()>>,
    supervisor: Supervisor,
}

/// Four children, which poll their switch and their token, and end some time after they were told to stop.
fn script(strategy: Strategy) -> Script {
    script_with(strategy, &hot())
}

fn script_with(strategy: Strategy, options: &ChildOptions) -> Script {
    let (log, lines) = mpsc::channel();
    let mut switches = BTreeMap::new();
    let mut builder = Supervisor::builder().strategy(strategy);
    for name in ["a", "b", "c", "d"] {
        let (switch, switched) = mpsc::channel();
        switches.insert(name, switch);
        let (log, busy) = (log.clone(), AtomicBool::new(false));
        builder = builder.child_with(name, options.clone(), move || {
            assert!(!busy.swap(true, SeqCst), "two copies of {name}");
            let attempt = Attempt::current();
            log.send(format!("+{name}")).unwrap();
            let failed = loop {
                if switched.try_recv().is_ok() {
                    break true;
                }
                if !attempt.sleep(ms(1)) {
                    std::thread::sleep(ms(3));
                    break false;
                }
            };
            log.send(format!("-{name}")).unwrap();
            busy.store(false, SeqCst);
            if failed { Err("switched") } else { Ok(()) }
        });
    }
    let supervisor = builder.start().unwrap();
    await_running(&supervisor);
    let script = Script {
        log: lines,
        switches,
        supervisor,
    };
    let mut started = script.lines(4);
    started.sort();
    assert_eq!(started, ["+a", "+b", "+c", "+d"]);
    script
}

impl Script {
    fn fail(&self, name: &str) {
        self.switches[name].send(()).unwrap();
    }

    fn lines(&self, count: usize) -> Vec<String> {
        self.log.iter().take(count).collect()
    }

    /// The ends in their order, then the starts, sorted, since threads begin in any order.
    fn cycle(&self, children: usize) -> (Vec<String>, Vec<String>) {
        let ends = self.lines(children);
        let mut starts = self.lines(children);
        starts.sort();
        (ends, starts)
    }
}

#[test]
fn one_for_one_leaves_the_siblings_alone() {
    let script = script(Strategy::OneForOne);
    for name in ["b", "d", "b"] {
        script.fail(name);
        assert_eq!(script.lines(2), [format!("-{name}"), format!("+{name}")]);
    }
    let starts: Vec<u64> = script
        .supervisor
        .children()
        .iter()
        .map(ChildStatus::starts)
        .collect();
    assert_eq!(starts, [1, 3, 1, 2]);
}

#[test]
fn a_child_that_is_restarted_with_a_sibling_keeps_its_own_delays() {
    let delays = || [ms(1); 3].into_iter();
    let options = ChildOptions::new().delay(RetryPolicy::from_delays(delays));
    let script = script_with(Strategy::OneForAll, &options);
    for (starts, name) in (2..).zip(["b", "a", "a", "a", "b"]) {
        script.fail(name);
        eventually("all have been restarted", || {
            let children = script.supervisor.children();
            let restarted = |child: &ChildStatus| {
                (child.starts(), child.state()) == (starts, ChildState::Running)
            };
            children.iter().all(restarted)
        });
    }
}

#[test]
fn one_for_all_stops_in_reverse_order_and_starts_all() {
    let script = script(Strategy::OneForAll);
    for round in 2..10 {
        script.fail("b");
        let (ends, starts) = script.cycle(4);
        assert_eq!(ends, ["-b", "-d", "-c", "-a"]);
        assert_eq!(starts, ["+a", "+b", "+c", "+d"]);
        await_running(&script.supervisor);
        assert!(
            script
                .supervisor
                .children()
                .iter()
                .all(|c| c.starts() == round)
        );
    }
    // The failures are those of one child; what happened to the others was no failure of theirs.
    let errors: Vec<usize> = script
        .supervisor
        .children()
        .iter()
        .map(|c| c.errors().len())
        .collect();
    assert_eq!(errors, [0, 8, 0, 0]);
}

#[test]
fn rest_for_one_restarts_those_started_after() {
    let script = script(Strategy::RestForOne);
    script.fail("b");
    let (ends, starts) = script.cycle(3);
    assert_eq!(ends, ["-b", "-d", "-c"]);
    assert_eq!(starts, ["+b", "+c", "+d"]);
    script.fail("d");
    assert_eq!(script.lines(2), ["-d", "+d"]);
    await_running(&script.supervisor);
    let starts: Vec<u64> = script
        .supervisor
        .children()
        .iter()
        .map(ChildStatus::starts)
        .collect();
    assert_eq!(starts, [1, 2, 2, 3]);
}

#[test]
fn a_shutdown_stops_in_reverse_order() {
    let script = script(Strategy::OneForOne);
    assert!(
        script
            .supervisor
            .shutdown(ms(5_000))
            .still_running()
            .is_empty()
    );
    assert_eq!(script.lines(4), ["-d", "-c", "-b", "-a"]);
    assert_eq!(states(&script.supervisor), [ChildState::Stopped; 4]);
}

#[test]
fn a_group_restarts_without_the_one_that_does_not_heed_its_token() {
    let (gate, keeper) = gate();
    let (switch, switched) = mpsc::channel::<()>();
    let deaf = ChildOptions::new().grace(ms(20));
    let supervisor = Supervisor::builder()
        .strategy(Strategy::OneForAll)
        .child("polite", stay)
        .child_with("deaf", deaf, move || {
            gate.pass();
            stay()
        })
        .child_with("fails", hot(), move || {
            while Attempt::current().sleep(ms(1)) {
                if switched.try_recv().is_ok() {
                    return Err("switched");
                }
            }
            Ok(())
        })
        .start()
        .unwrap();
    keeper.await_arrivals(1);
    await_running(&supervisor);
    switch.send(()).unwrap();
    eventually("the others are back", || {
        let starts: Vec<u64> = supervisor
            .children()
            .iter()
            .map(ChildStatus::starts)
            .collect();
        starts == [2, 1, 2]
    });
    assert_eq!(states(&supervisor)[1], ChildState::Stopping);
    keeper.let_through(1);
    keeper.await_arrivals(1);
    assert_eq!(supervisor.child("deaf").unwrap().starts(), 2);
    keeper.let_through(1);
    await_running(&supervisor);
}

#[test]
fn what_was_stopped_or_completed_stays_so_when_the_group_restarts() {
    let script = script(Strategy::OneForAll);
    script.supervisor.stop("c").unwrap();
    eventually("c has stopped", || {
        states(&script.supervisor)[2] == ChildState::Stopped
    });
    assert_eq!(script.lines(1), ["-c"]);
    script.fail("a");
    let (ends, starts) = script.cycle(3);
    assert_eq!(ends, ["-a", "-d", "-b"]);
    assert_eq!(starts, ["+a", "+b", "+d"]);
    assert_eq!(states(&script.supervisor)[2], ChildState::Stopped);
}

#[test]
fn a_child_may_end_the_group() {
    let supervisor = Supervisor::builder()
        .child("stays", stay)
        .child("ends", || Ok::<_, String>(ChildExit::StopGroup))
        .start()
        .unwrap();
    supervisor.join();
    assert_eq!(
        states(&supervisor),
        [ChildState::Stopped, ChildState::Completed]
    );
}

#[test]
fn a_give_up_is_ignored_or_stops_the_group() {
    for on_give_up in [OnGiveUp::Ignore, OnGiveUp::StopGroup, OnGiveUp::Escalate] {
        let fragile = hot().max_consecutive(1).on_give_up(on_give_up);
        let supervisor = Supervisor::builder()
            .child("stays", stay)
            .child_with("fragile", fragile, || Err::<(), _>("no"))
            .start()
            .unwrap();
        eventually("it gives up", || {
            states(&supervisor)[1] == ChildState::GaveUp
        });
        if on_give_up == OnGiveUp::Ignore {
            await_running_first(&supervisor);
        } else {
            supervisor.join();
            assert_eq!(states(&supervisor)[0], ChildState::Stopped);
        }
        let report = supervisor.shutdown(ms(5_000));
        let escalated = (on_give_up == OnGiveUp::Escalate).then_some("fragile");
        assert_eq!(report.escalated_by(), escalated);
    }
}

fn await_running_first(supervisor: &Supervisor) {
    eventually("the first one runs", || {
        states(supervisor)[0] == ChildState::Running
    });
}

/// A supervisor whose second child fails until the whole has been started `good` times.
fn nested(starts: &Arc<AtomicU64>, good: u64) -> impl Fn() -> Result<(), SupervisorError> + use<> {
    let starts = Arc::clone(starts);
    move || {
        let whole = starts.fetch_add(1, SeqCst) + 1;
        let fragile = hot().max_consecutive(2).on_give_up(OnGiveUp::Escalate);
        Supervisor::builder()
            .name("inner")
            .child("stays", stay)
            .child_with("fragile", fragile, move || match whole {
                n if n >= good => stay(),
                n => Err(format!("failure in whole {n}")),
            })
            .run()
    }
}

#[test]
fn a_nested_supervisor_that_escalates_is_restarted_as_a_whole() {
    let starts = Arc::new(AtomicU64::new(0));
    let outer = Supervisor::builder()
        .child_with("inner", hot(), nested(&starts, 3))
        .start()
        .unwrap();
    eventually("the third one stays", || {
        outer.child("inner").unwrap().errors().len() == 2 && starts.load(SeqCst) == 3
    });
    let inner = outer.child("inner").unwrap();
    assert_eq!(
        inner.last_error(),
        Some("child \"fragile\" gave up: failure in whole 2")
    );
    assert!(outer.shutdown(ms(5_000)).still_running().is_empty());
}

#[test]
fn a_nested_supervisor_stops_with_its_child() {
    let outer = Supervisor::builder()
        .child("inner", nested(&Arc::default(), 0))
        .start()
        .unwrap();
    await_running(&outer);
    outer.restart("inner").unwrap();
    eventually("restarted", || outer.child("inner").unwrap().starts() == 2);
    outer.stop("inner").unwrap();
    outer.join();
    assert_eq!(states(&outer), [ChildState::Stopped]);
}

#[test]
fn a_nested_supervisor_ends_when_its_children_are_done() {
    let outer = Supervisor::builder()
        .child("inner", || {
            let builder = Supervisor::builder().child("short", || Ok::<_, String>(()));
            builder.run()
        })
        .start()
        .unwrap();
    outer.join();
    assert_eq!(states(&outer), [ChildState::Completed]);
}

#[test]
fn a_nested_supervisor_waits_for_a_child_that_does_not_heed_its_token() {
    let (gate, keeper) = gate();
    let gate = Arc::new(Mutex::new(gate));
    let outer = Supervisor::builder()
        .child("inner", move || {
            let gate = gate.lock().unwrap().clone();
            let deaf = move || {
                gate.pass();
                Ok::<_, String>(())
            };
            let quick = Duration::from_millis(1);
            Supervisor::builder().grace(quick).child("deaf", deaf).run()
        })
        .start()
        .unwrap();
    keeper.await_arrivals(1);
    outer.restart("inner").unwrap();
    let report = outer.child("inner").unwrap();
    assert_eq!((report.state(), report.starts()), (ChildState::Stopping, 1));
    keeper.let_through(1);
    keeper.await_arrivals(1);
    assert_eq!(outer.child("inner").unwrap().starts(), 2);
    keeper.let_through(1);
    outer.join();
}
