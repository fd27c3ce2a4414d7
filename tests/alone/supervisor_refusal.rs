//! The system refuses threads. One test, since it takes memory away from the whole process.
#![cfg(target_os = "linux")]

use std::process::{Child, Command, Stdio, id};
use std::sync::{Mutex, mpsc};

use crate::common::{eventually, ms, status, stay};
use retry_pool::{
    ChildEvent, ChildOptions, ChildState, Observer, RetryPolicy, Supervisor, SupervisorError,
};

/// While it lives the system refuses threads.
struct NoThreads {
    /// Lifts the limit when its input ends. It was started before, since a process may be refused, too.
    lifter: Child,
}

/// Limits the address space of this process to what it has and less than a thread's stack of 2 MiB.
fn refuse_threads() -> NoThreads {
    let prlimit = |limit: &str| format!("prlimit --pid={} --as={limit}:", id());
    let lifter = Command::new("sh")
        .args(["-c", &format!("read line; {}", prlimit("unlimited"))])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // A thread that begins takes 128 MiB of address space for its share of the allocator, and gives half of it back at once.
    eventually("the others sleep", others_sleep);
    let bytes = status("VmSize:") * 1_024 + (7 << 18);
    let limit = prlimit(&bytes.to_string());
    let limited = Command::new("sh").args(["-c", &limit]).status().unwrap();
    assert!(limited.success());
    NoThreads { lifter }
}

/// Do all threads of this process sleep, but for the one that asks?
fn others_sleep() -> bool {
    let own = std::fs::read_link("/proc/thread-self").unwrap();
    let mut tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks.all(|task| {
        let path = task.unwrap().path();
        let status = || std::fs::read_to_string(path.join("status")).unwrap();
        path.file_name() == own.file_name() || status().contains("State:\tS")
    })
}

impl Drop for NoThreads {
    fn drop(&mut self) {
        // Waiting closes its input.
        assert!(self.lifter.wait().unwrap().success());
    }
}

struct Log(Mutex<mpsc::Sender<String>>);

impl Log {
    fn line(&self, what: &str, event: &ChildEvent<'_>) {
        let line = format!("{what} {}", event.start());
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
        assert_eq!(event.delay().unwrap().as_millis(), 1_000);
        self.line("restarting", event);
    }
    fn child_gave_up(&self, event: &ChildEvent<'_>) {
        self.line("gave up", event);
    }
    fn child_stopped(&self, event: &ChildEvent<'_>) {
        self.line("stopped", event);
    }
}

#[test]
fn a_refused_thread_is_a_failure_of_its_child_and_of_nobody_else() {
    let (sender, lines) = mpsc::channel();
    let supervisor = Supervisor::builder()
        .observer(Log(Mutex::new(sender)))
        .start()
        .unwrap();
    let no_threads = refuse_threads();
    let refused = Supervisor::builder()
        .name("none")
        .child("one", stay)
        .start();
    let options = ChildOptions::new().delay(RetryPolicy::fixed(ms(1)));
    supervisor
        .add("limited", options.clone().max_consecutive(0), stay)
        .unwrap();
    eventually("it gives up", || {
        supervisor.child("limited").unwrap().state() == ChildState::GaveUp
    });
    // The observer is told a moment after the state has changed.
    let next_line = || lines.recv_timeout(ms(20_000)).unwrap();
    let told = [next_line(), next_line()];
    supervisor.add("late", options, stay).unwrap();
    eventually("it waits", || {
        let state = supervisor.child("late").unwrap().state();
        matches!(state, ChildState::Backoff { .. })
    });
    drop(no_threads);
    eventually("it runs", || {
        supervisor.child("late").unwrap().state() == ChildState::Running
    });
    let late = supervisor.child("late").unwrap();
    assert!(late.starts() >= 2);
    let error = late.last_error().unwrap();
    assert!(
        error.starts_with("its thread could not be started: "),
        "{error}"
    );
    let Err(SupervisorError::Spawn { name, .. }) = refused else {
        panic!("its own thread is refused")
    };
    assert_eq!(name, "none-supervisor");
    supervisor.shutdown(ms(5_000));
    assert_eq!(told, ["failed 1", "gave up 1"]);
    let mut told = vec![next_line()];
    while !told.last().is_some_and(|line| line.starts_with("stopped")) {
        told.push(next_line());
    }
    told.dedup();
    assert_eq!(told[..2], ["failed 1", "restarting 1"]);
    let starts = late.starts();
    assert_eq!(
        told[told.len() - 2..],
        [format!("started {starts}"), format!("stopped {starts}")]
    );
}
