//! Restarts leave nothing behind. One test, since it looks at the threads and the size of the process.
#![cfg(target_os = "linux")]

use crate::common::{eventually, ms, resident, stay, threads};
use retry_pool::{Attempt, ChildOptions, ChildState, RetryPolicy, Supervisor};

#[test]
fn ten_thousand_restarts_leak_nothing() {
    let before = threads().len();
    let options = ChildOptions::new()
        .delay(RetryPolicy::immediate())
        .max_restarts(20_000, std::time::Duration::MAX);
    let supervisor = Supervisor::builder()
        .name("leaks")
        .child_with("crash", options, || match Attempt::current().number() {
            2_000 | 12_000 => stay(),
            n => Err(format!("failure {n}")),
        })
        .start()
        .unwrap();
    let await_start = |start| {
        eventually("that start", || {
            let child = supervisor.child("crash").unwrap();
            child.starts() == start && child.state() == ChildState::Running
        });
        eventually("only two threads are left", || {
            threads().len() == before + 2
        });
        resident()
    };
    let begun = await_start(2_000);
    supervisor.restart("crash").unwrap();
    let ended = await_start(12_000);
    let grown = ended.saturating_sub(begun);
    println!("grown by {grown} bytes in 10 000 restarts");
    // The times of 10 000 restarts, which the limit has to know, are 80 kB of it.
    assert!(grown < 1 << 20, "grew by {grown} bytes");
    supervisor.shutdown(ms(5_000));
    eventually("no thread is left", || threads().len() == before);
}
