//! Supervisors and their children.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use retry_pool::{Attempt, ChildOptions, ChildState, RetryPolicy, Supervisor};

use crate::explore::{choose, explore, thread};
use crate::pools::LATER;

/// Runs of one child: how many there were, and are.
#[derive(Default)]
struct Runs {
    begun: AtomicU32,
    running: AtomicU32,
}

impl Runs {
    /// One run, of which there is never a second at the same time.
    fn run<R>(&self, body: impl FnOnce(u32) -> R) -> R {
        let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
        assert_eq!(self.running.fetch_add(1, Ordering::SeqCst), 0);
        let result = body(number);
        self.running.fetch_sub(1, Ordering::SeqCst);
        result
    }

    fn begun(&self) -> u32 {
        self.begun.load(Ordering::SeqCst)
    }
}

fn state(supervisor: &Supervisor) -> ChildState {
    supervisor.child("child").unwrap().state()
}

#[test]
fn stop_against_a_due_restart() {
    let sides = ["before it ran", "after a run", "too late"];
    explore("stop against a due restart", &sides, |sides| {
        let runs = Arc::<Runs>::default();
        let child = Arc::clone(&runs);
        let options = ChildOptions::new().delay(RetryPolicy::fixed(LATER));
        let supervisor = Supervisor::builder().jitter_seed(1);
        let supervisor = supervisor.child_with("child", options, move || {
            child.run(|number| if number < 3 { Err("again") } else { Ok(()) })
        });
        let supervisor = supervisor.start().unwrap();
        let begun = choose(3);
        while runs.begun() < begun {
            thread::yield_now();
        }
        supervisor.stop("child").unwrap();
        supervisor.join();
        let (begun, state) = (runs.begun(), state(&supervisor));
        sides.saw(match (state, begun) {
            (ChildState::Stopped, 0) => "before it ran",
            (ChildState::Stopped, 1..=3) => "after a run",
            (ChildState::Completed, 3) => "too late",
            other => panic!("{other:?}"),
        });
        // No restart comes after the stop.
        supervisor.shutdown(Duration::MAX);
        assert_eq!(runs.begun(), begun);
    });
}

#[test]
fn shutdown_of_a_supervisor_against_the_end_of_its_child() {
    let sides = ["not begun", "failed", "ended", "stopped", "still running"];
    explore("shutdown against a child's end", &sides, |sides| {
        let runs = Arc::<Runs>::default();
        let child = Arc::clone(&runs);
        let options = ChildOptions::new().delay(RetryPolicy::fixed(LATER));
        let supervisor = Supervisor::builder().jitter_seed(1);
        let supervisor = supervisor.child_with("child", options, move || {
            child.run(|number| {
                thread::yield_now();
                if number == 1 { Err("again") } else { Ok(()) }
            })
        });
        let supervisor = supervisor.start().unwrap();
        let begun = choose(3);
        while runs.begun() < begun {
            thread::yield_now();
        }
        let patient = choose(2) == 1;
        let grace = if patient { Duration::MAX } else { LATER };
        let report = supervisor.shutdown(grace);
        let begun = runs.begun();
        let late = !report.still_running().is_empty();
        assert!(!(patient && late));
        sides.saw(match (state(&supervisor), begun) {
            _ if late => "still running",
            (ChildState::Completed, 2) => "ended",
            (ChildState::Stopped, 0) => "not begun",
            (ChildState::Stopped, 1) => "failed",
            (ChildState::Stopped, 2) => "stopped",
            (_, _) if !patient => "still running",
            other => panic!("{other:?}"),
        });
        // Nothing starts after it.
        drop(supervisor);
        assert!(runs.begun() <= begun + u32::from(!patient));
    });
}

#[test]
fn restart_by_hand_against_the_end_of_a_child() {
    let sides = ["one run", "two runs"];
    explore("restart against a child's end", &sides, |sides| {
        let runs = Arc::<Runs>::default();
        let child = Arc::clone(&runs);
        let supervisor = Supervisor::builder().jitter_seed(1);
        let supervisor = supervisor.child("child", move || {
            child.run(|_| {
                Attempt::current().sleep(LATER);
                Ok::<_, &str>(())
            })
        });
        let supervisor = supervisor.start().unwrap();
        supervisor.restart("child").unwrap();
        supervisor.join();
        assert_eq!(state(&supervisor), ChildState::Completed);
        sides.saw(match runs.begun() {
            1 => "one run",
            2 => "two runs",
            n => panic!("{n} runs"),
        });
        supervisor.shutdown(Duration::MAX);
    });
}
