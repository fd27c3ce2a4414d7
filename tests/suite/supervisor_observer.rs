//! What an observer is told, and that neither it nor a child can hurt its supervisor.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use crate::common::{eventually, ms, stay};
use retry_pool::{
    Attempt, ChildEvent, ChildOptions, ChildState, Jitter, Observer, RetryPolicy, Supervisor,
};

fn hot() -> ChildOptions {
    ChildOptions::new().delay(RetryPolicy::immediate().hot_loop_ok())
}

/// A place where a child or an observer finds its supervisor.
#[derive(Clone, Default)]
struct Finder(Arc<OnceLock<Weak<Supervisor>>>);

impl Finder {
    fn show(&self, supervisor: Supervisor) -> Arc<Supervisor> {
        let supervisor = Arc::new(supervisor);
        self.0.set(Arc::downgrade(&supervisor)).unwrap();
        supervisor
    }

    fn find(&self) -> Arc<Supervisor> {
        eventually("the supervisor is shown", || self.0.get().is_some());
        self.0.get().unwrap().upgrade().unwrap()
    }
}

struct Log(Mutex<Sender<String>>);

fn log() -> (Log, Receiver<String>) {
    let (sender, lines) = mpsc::channel();
    (Log(Mutex::new(sender)), lines)
}

impl Log {
    fn line(&self, what: &str, event: &ChildEvent<'_>) {
        let (name, start) = (event.name(), event.start());
        let mut line = format!("{what} {}/{name} {start}", event.supervisor());
        if let Some(delay) = event.delay() {
            line += &format!(" in {} ms", delay.as_millis());
        }
        if let Some(error) = event.error() {
            line += &format!(": {error}");
        }
        self.0.lock().unwrap().send(line).unwrap();
    }
}

impl Observer for Log {
    fn child_started(&self, event: &ChildEvent<'_>) {
        self.line("started", event);
    }
    fn child_failed(&self, event: &ChildEvent<'_>) {
        self.line("failed", event);
    }
    fn child_restarting(&self, event: &ChildEvent<'_>) {
        self.line("restarting", event);
    }
    fn child_gave_up(&self, event: &ChildEvent<'_>) {
        self.line("gave up", event);
    }
    fn child_completed(&self, event: &ChildEvent<'_>) {
        self.line("completed", event);
    }
    fn child_stopped(&self, event: &ChildEvent<'_>) {
        self.line("stopped", event);
    }
}

#[test]
fn an_observer_is_told_everything_in_order() {
    let (log, lines) = log();
    let delay = RetryPolicy::fixed(ms(2)).jitter(Jitter::None);
    let options = ChildOptions::new().delay(delay).max_consecutive(2);
    let supervisor = Supervisor::builder()
        .name("s")
        .observer(log)
        .child_with("a", options, || {
            Err::<(), _>(format!("e{}", Attempt::current().number()))
        })
        .start()
        .unwrap();
    supervisor.join();
    let told: Vec<String> = lines.try_iter().collect();
    assert_eq!(
        told,
        [
            "started s/a 1",
            "failed s/a 1: e1",
            "restarting s/a 1 in 2 ms",
            "started s/a 2",
            "failed s/a 2: e2",
            "restarting s/a 2 in 2 ms",
            "started s/a 3",
            "failed s/a 3: e3",
            "gave up s/a 3: e3",
        ]
    );
    let add = |name: &str| supervisor.add(name, ChildOptions::new(), stay).unwrap();
    add("b");
    eventually("b runs", || {
        supervisor.child("b").unwrap().state() == ChildState::Running
    });
    supervisor.restart("b").unwrap();
    eventually("b runs again", || {
        let b = supervisor.child("b").unwrap();
        b.starts() == 2 && b.state() == ChildState::Running
    });
    supervisor.stop("b").unwrap();
    supervisor.join();
    supervisor
        .add("c", ChildOptions::new(), || Ok::<_, String>(()))
        .unwrap();
    supervisor.join();
    supervisor.shutdown(ms(5_000));
    let told: Vec<String> = lines.try_iter().collect();
    assert_eq!(
        told,
        [
            "started s/b 1",
            "restarting s/b 1 in 0 ms",
            "started s/b 2",
            "stopped s/b 2",
            "started s/c 1",
            "completed s/c 1",
        ]
    );
}

#[test]
fn a_silent_heart_is_told_when_it_is_noticed() {
    let (log, lines) = log();
    let options = hot().heartbeat(ms(20)).max_consecutive(0);
    let supervisor = Supervisor::builder()
        .observer(log)
        .child_with("a", options, stay)
        .start()
        .unwrap();
    supervisor.join();
    let told: Vec<String> = lines.try_iter().collect();
    assert_eq!(
        told,
        [
            "started retry-pool/a 1",
            "failed retry-pool/a 1: no heartbeat for 20ms",
            "gave up retry-pool/a 1: no heartbeat for 20ms",
        ]
    );
}

#[test]
fn an_observer_that_panics_does_no_harm() {
    struct Panics;
    impl Observer for Panics {
        fn child_started(&self, _: &ChildEvent<'_>) {
            panic!("started")
        }
        fn child_failed(&self, _: &ChildEvent<'_>) {
            std::panic::panic_any(Bomb)
        }
        fn child_gave_up(&self, _: &ChildEvent<'_>) {
            panic!("gave up")
        }
    }
    impl Drop for Panics {
        fn drop(&mut self) {
            panic!("in Drop")
        }
    }
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in Drop")
        }
    }
    let supervisor = Supervisor::builder()
        .observer(Panics)
        .child_with("crash", hot().max_consecutive(3), || Err::<(), _>("no"))
        .start()
        .unwrap();
    supervisor.join();
    assert_eq!(supervisor.child("crash").unwrap().starts(), 4);
}

/// Calls whatever can be called on its supervisor, and tells whether each call did as it should.
struct CallsBack(Finder, AtomicUsize, mpsc::Sender<bool>);

impl Observer for CallsBack {
    fn child_failed(&self, event: &ChildEvent<'_>) {
        let supervisor = self.0.find();
        self.2
            .send(supervisor.child(event.name()).is_some())
            .unwrap();
        // Not the run's number: one that ends while its restart is asked for has not failed.
        match self.1.fetch_add(1, Ordering::Relaxed) {
            0 => supervisor.restart(event.name()).unwrap(),
            1 => supervisor.add("late", ChildOptions::new(), stay).unwrap(),
            _ => supervisor.stop(event.name()).unwrap(),
        }
        supervisor.join();
    }

    fn child_stopped(&self, _: &ChildEvent<'_>) {
        let report = self.0.find().shutdown(Duration::from_secs(60));
        let is_prompt = report.elapsed() < Duration::from_secs(10);
        self.2.send(is_prompt).unwrap();
    }
}

#[test]
fn an_observer_may_command_its_supervisor() {
    let finder = Finder::default();
    let (tell, told) = mpsc::channel();
    let supervisor = finder.show(
        Supervisor::builder()
            .observer(CallsBack(finder.clone(), AtomicUsize::new(0), tell))
            .child_with("crash", hot(), || Err::<(), _>("no"))
            .start()
            .unwrap(),
    );
    supervisor.join();
    assert!(supervisor.shutdown(ms(5_000)).still_running().is_empty());
    assert_eq!(supervisor.children().len(), 2);
    let told: Vec<bool> = told.try_iter().collect();
    // Of two or three failures, and the ends of both children.
    assert!(
        told.len() >= 4 && told.iter().all(|right| *right),
        "{told:?}"
    );
}

#[test]
fn a_child_may_command_its_supervisor_and_itself() {
    let finder = Finder::default();
    let found = finder.clone();
    let supervisor = finder.show(
        Supervisor::builder()
            .child("boss", move || {
                let supervisor = found.find();
                match Attempt::current().number() {
                    1 => {
                        supervisor.add("worker", ChildOptions::new(), stay).unwrap();
                        supervisor.restart("boss").unwrap();
                    }
                    2 => {
                        supervisor.remove("worker").unwrap();
                        // Neither can come to an end before this child has.
                        supervisor.join();
                        supervisor.stop("boss").unwrap();
                    }
                    _ => unreachable!("it was stopped"),
                }
                stay()
            })
            .start()
            .unwrap(),
    );
    supervisor.join();
    let boss = supervisor.child("boss").unwrap();
    assert_eq!((boss.state(), boss.starts()), (ChildState::Stopped, 2));
    assert_eq!(boss.last_error(), None);
}

#[test]
fn a_child_may_shut_its_supervisor_down() {
    let finder = Finder::default();
    let found = finder.clone();
    let supervisor = finder.show(
        Supervisor::builder()
            .child("other", stay)
            .child("ends", move || {
                let report = found.find().shutdown(Duration::from_secs(60));
                assert!(report.still_running().contains(&String::from("ends")));
                Ok::<_, String>(())
            })
            .start()
            .unwrap(),
    );
    supervisor.join();
    let report = supervisor.shutdown(ms(5_000));
    assert!(report.still_running().is_empty());
    for child in report.children() {
        // The one that ends by itself may do so before it is told to.
        assert!(child.state().is_terminal() && child.errors().is_empty());
    }
}
