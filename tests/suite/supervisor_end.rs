//! The end of a supervisor, whoever brings it about.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use crate::common::{Live, eventually, gate, ms, stay};
use retry_pool::{ChildOptions, ChildState, RetryPolicy, Supervisor};

fn hot() -> ChildOptions {
    ChildOptions::new().delay(RetryPolicy::immediate().hot_loop_ok())
}

#[test]
fn the_last_reference_may_be_dropped_by_a_child() {
    for _ in 0..20 {
        let (sender, receiver) = mpsc::channel::<Arc<Supervisor>>();
        let (dropped, is_dropped) = mpsc::channel();
        let live = Live::new();
        let kept = live.clone();
        let supervisor = Supervisor::builder()
            .grace(Duration::from_secs(60))
            .child("other", move || {
                let _kept = &kept;
                stay()
            })
            .child("owner", move || {
                drop(receiver.recv().unwrap());
                dropped.send(()).unwrap();
                stay()
            })
            .start()
            .unwrap();
        sender.send(Arc::new(supervisor)).unwrap();
        is_dropped.recv_timeout(Duration::from_secs(10)).unwrap();
        eventually("all have ended", || live.others() == 0);
    }
}

#[test]
fn a_child_of_a_nested_supervisor_may_drop_the_outer_one() {
    let (sender, receiver) = mpsc::channel::<Supervisor>();
    let (dropped, is_dropped) = mpsc::channel();
    let receiver = Arc::new(Mutex::new(receiver));
    let outer = Supervisor::builder()
        .grace(Duration::from_secs(60))
        .child("inner", move || {
            let (receiver, dropped) = (Arc::clone(&receiver), dropped.clone());
            let drops = move || {
                drop(receiver.lock().unwrap().recv());
                dropped.send(()).unwrap();
                stay()
            };
            Supervisor::builder().child("drops", drops).run()
        })
        .start()
        .unwrap();
    sender.send(outer).unwrap();
    is_dropped.recv_timeout(Duration::from_secs(10)).unwrap();
}

#[test]
fn two_threads_may_shut_down_at_once() {
    for _ in 0..50 {
        let supervisor = Supervisor::builder()
            .child("a", stay)
            .child_with("b", hot(), || Err::<(), _>("no"))
            .start()
            .unwrap();
        let barrier = Barrier::new(3);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    barrier.wait();
                    let report = supervisor.shutdown(Duration::from_secs(10));
                    assert!(report.still_running().is_empty());
                });
            }
            barrier.wait();
            supervisor.join();
        });
    }
}

#[test]
fn a_drop_while_unwinding_does_not_wait() {
    let (gate, keeper) = gate();
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _supervisor = Supervisor::builder()
            .child("deaf", move || {
                gate.pass();
                Ok::<_, String>(())
            })
            .start()
            .unwrap();
        keeper.await_arrivals(1);
        panic!("on the way out")
    }));
    // It has not waited for the child, which still is at the gate.
    assert!(unwound.is_err());
}

#[test]
fn dropping_waits_and_drops_what_the_children_hold() {
    let live = Live::new();
    let ended = Arc::new(AtomicU64::new(0));
    let mut builder = Supervisor::builder();
    for name in ["a", "b", "c"] {
        let (kept, ended) = (live.clone(), Arc::clone(&ended));
        builder = builder.child(name, move || {
            let _kept = &kept;
            stay()?;
            ended.fetch_add(1, SeqCst);
            Err::<(), _>(String::from("stopped"))
        });
    }
    let supervisor = builder.start().unwrap();
    eventually("all run", || {
        supervisor
            .children()
            .iter()
            .all(|child| child.state() == ChildState::Running)
    });
    drop(supervisor);
    assert_eq!((ended.load(SeqCst), live.others()), (3, 0));
}

#[test]
fn functions_that_panic_when_they_are_dropped_do_no_harm() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in Drop")
        }
    }
    let bombed = || {
        let bomb = Bomb;
        move || {
            let _bomb = &bomb;
            stay()
        }
    };
    let supervisor = Supervisor::builder()
        .child("a", bombed())
        .child("b", bombed())
        .start()
        .unwrap();
    supervisor.remove("b").unwrap();
    assert!(supervisor.add("a", ChildOptions::new(), bombed()).is_err());
    eventually("b is gone", || supervisor.child("b").is_none());
    assert!(supervisor.shutdown(ms(5_000)).still_running().is_empty());
}
