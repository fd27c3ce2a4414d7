//! What of a supervisor is measured by the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::common::{at_best, eventually, gate, is_asleep, ms, stay, thread_status};
use retry_pool::{Attempt, ChildOptions, ChildState, Jitter, RetryPolicy, Supervisor};

fn state(supervisor: &Supervisor, name: &str) -> ChildState {
    supervisor.child(name).unwrap().state()
}

fn hot() -> ChildOptions {
    ChildOptions::new().delay(RetryPolicy::immediate().hot_loop_ok())
}

fn await_backoff(supervisor: &Supervisor, name: &str) {
    eventually("in backoff", || {
        matches!(state(supervisor, name), ChildState::Backoff { .. })
    });
}

/// The median time from the end of a run to the beginning of the next, over a thousand restarts.
fn restart_latency() -> Duration {
    let (sender, times) = mpsc::channel();
    let supervisor = Supervisor::builder()
        .child_with("crash", hot().max_consecutive(1_000), move || {
            let begun = Instant::now();
            sender.send((begun, Instant::now())).unwrap();
            Err::<(), _>("no")
        })
        .start()
        .unwrap();
    supervisor.join();
    let times: Vec<(Instant, Instant)> = times.try_iter().collect();
    let mut pauses: Vec<Duration> = times.windows(2).map(|two| two[1].0 - two[0].1).collect();
    pauses.sort();
    assert_eq!(pauses.len(), 1_000);
    println!(
        "restart latency: p50 {:?}, p99 {:?}",
        pauses[500], pauses[990]
    );
    pauses[500]
}

#[test]
fn a_restart_without_a_delay_takes_less_than_a_millisecond() {
    let p50 = at_best(ms(1), restart_latency);
    assert!(p50 < ms(1), "p50 {p50:?}");
}

#[test]
fn an_instant_crasher_starts_eight_times_in_two_seconds() {
    // Due after 0, 10, 30, 70, 150, 310, 630 and 1 270 ms; the next one after 2 270.
    let delay = RetryPolicy::exponential(ms(10))
        .max_delay(ms(1_000))
        .jitter(Jitter::None);
    let time = at_best(ms(2_200), || {
        let begun = Instant::now();
        let supervisor = Supervisor::builder()
            .child_with("crash", ChildOptions::new().delay(delay.clone()), || {
                Err::<(), _>("no")
            })
            .start()
            .unwrap();
        std::thread::sleep(ms(2_000));
        let starts = supervisor.child("crash").unwrap().starts();
        let time = begun.elapsed();
        assert!(starts == 8 || time > ms(2_200), "{starts} in {time:?}");
        time
    });
    assert!(time <= ms(2_200), "{time:?}");
}

#[test]
fn a_limit_trips_though_the_backoff_spreads_the_failures() {
    // By the clock on the wall no second would ever have five restarts.
    let delay = RetryPolicy::exponential(ms(100)).jitter(Jitter::None);
    let options = ChildOptions::new().delay(delay).max_restarts(4, ms(1_000));
    let begun = Instant::now();
    let supervisor = Supervisor::builder()
        .child_with("crash", options, || Err::<(), _>("no"))
        .start()
        .unwrap();
    supervisor.join();
    let child = supervisor.child("crash").unwrap();
    assert_eq!((child.state(), child.starts()), (ChildState::GaveUp, 5));
    assert!(begun.elapsed() >= ms(1_500));
}

#[test]
fn a_stable_run_brings_the_first_delay_back() {
    let delay = RetryPolicy::exponential(ms(20))
        .multiplier(1_000.0)
        .jitter(Jitter::None);
    let options = ChildOptions::new().delay(delay).stable_after(ms(30));
    let supervisor = Supervisor::builder()
        .child_with("fair", options, || {
            Attempt::current().sleep(ms(31));
            Err::<(), _>("no")
        })
        .start()
        .unwrap();
    // With an exponent that goes on, the third start would be 20 s later.
    eventually("three starts", || {
        supervisor.child("fair").unwrap().starts() >= 4
    });
}

#[test]
fn a_healthy_sibling_is_back_at_once_during_a_crash_loop() {
    let (fail, failing) = mpsc::channel::<()>();
    let (back, is_back) = mpsc::channel();
    let supervisor = Supervisor::builder()
        .child_with(
            "crash",
            ChildOptions::new().delay(RetryPolicy::exponential(ms(500))),
            || Err::<(), _>("no"),
        )
        .child_with("healthy", hot(), move || {
            back.send(Instant::now()).unwrap();
            failing.recv().map_err(|_| "over")?;
            Err::<(), _>("once")
        })
        .start()
        .unwrap();
    is_back.recv().unwrap();
    eventually("the other one crashes", || {
        supervisor.child("crash").unwrap().errors().len() > 1
    });
    let pause = at_best(ms(20), || {
        let failed = Instant::now();
        fail.send(()).unwrap();
        is_back.recv().unwrap() - failed
    });
    assert!(pause < ms(20), "{pause:?}");
    drop(fail);
}

#[test]
fn a_shutdown_does_not_wait_for_a_backoff() {
    let options = ChildOptions::new().delay(RetryPolicy::fixed(Duration::from_secs(60)));
    let supervisor = Supervisor::builder()
        .child_with("crash", options, || Err::<(), _>("no"))
        .start()
        .unwrap();
    await_backoff(&supervisor, "crash");
    let report = supervisor.shutdown(Duration::from_secs(5));
    assert!(report.elapsed() < ms(500), "{:?}", report.elapsed());
    assert!(report.still_running().is_empty());
    assert_eq!(report.children()[0].state(), ChildState::Stopped);
}

#[test]
fn join_returns_as_soon_as_all_are_done() {
    let late = at_best(ms(50), || {
        let (sender, ended) = mpsc::channel();
        let supervisor = Supervisor::builder()
            .child("short", move || {
                Attempt::current().sleep(ms(100));
                sender.send(Instant::now()).unwrap();
                Ok::<_, String>(())
            })
            .start()
            .unwrap();
        supervisor.join();
        ended.recv().unwrap().elapsed()
    });
    assert!(late < ms(50), "{late:?}");
}

#[test]
fn a_child_that_ignores_its_token_is_named_and_holds_nobody_up_for_long() {
    let time = at_best(ms(300), shut_down_beside_a_deaf_child);
    assert!((ms(200)..ms(300)).contains(&time), "{time:?}");
}

/// How long a shutdown with 200 ms for all takes.
fn shut_down_beside_a_deaf_child() -> Duration {
    let (gate, keeper) = gate();
    let told = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&told);
    let supervisor = Supervisor::builder()
        .child("first", move || {
            stay()?;
            counter.fetch_add(1, SeqCst);
            Ok::<_, String>(())
        })
        .child("deaf", move || {
            gate.pass();
            Ok::<_, String>(())
        })
        .start()
        .unwrap();
    keeper.await_arrivals(1);
    eventually("first runs", || {
        state(&supervisor, "first") == ChildState::Running
    });
    let report = supervisor.shutdown(ms(200));
    assert_eq!(report.still_running(), ["deaf"]);
    // The deaf one is the last, so the other one was told in time all the same.
    assert_eq!(told.load(SeqCst), 1);
    assert_eq!(state(&supervisor, "deaf"), ChildState::Stopping);
    keeper.let_through(1);
    supervisor.join();
    assert!(supervisor.shutdown(ms(0)).still_running().is_empty());
    assert_eq!(state(&supervisor, "deaf"), ChildState::Stopped);
    report.elapsed()
}

#[test]
fn a_shutdown_without_grace_returns_at_once_and_tells_everybody() {
    let time = at_best(ms(50), shut_down_without_grace);
    assert!(time < ms(50), "{time:?}");
}

fn shut_down_without_grace() -> Duration {
    let (gate, keeper) = gate();
    let waiting = gate.clone();
    let supervisor = Supervisor::builder()
        .child("a", move || {
            stay()?;
            waiting.pass();
            Ok::<_, String>(())
        })
        .child("b", move || {
            stay()?;
            gate.pass();
            Ok::<_, String>(())
        })
        .start()
        .unwrap();
    eventually("both run", || {
        supervisor
            .children()
            .iter()
            .all(|child| child.state() == ChildState::Running)
    });
    let report = supervisor.shutdown(Duration::ZERO);
    assert_eq!(report.still_running(), ["a", "b"]);
    keeper.await_arrivals(2);
    keeper.let_through(2);
    assert!(supervisor.shutdown(ms(5_000)).still_running().is_empty());
    report.elapsed()
}

#[test]
fn a_child_whose_heart_stops_is_replaced_by_the_rules() {
    let hung = Arc::new(AtomicBool::new(false));
    let beats = Arc::new(AtomicUsize::new(0));
    let (once, beaten) = (Arc::clone(&hung), Arc::clone(&beats));
    let (gate, keeper) = gate();
    let options = hot().heartbeat(ms(100)).max_consecutive(1);
    let supervisor = Supervisor::builder()
        .child_with("fragile", options, move || {
            let attempt = Attempt::current();
            if !once.swap(true, SeqCst) {
                // Hangs, in spite of its token.
                gate.pass();
                return Ok::<_, String>(());
            }
            for _ in 0..40 {
                attempt.beat();
                if !attempt.sleep(ms(5)) {
                    break;
                }
                beaten.fetch_add(1, SeqCst);
            }
            attempt.sleep(Duration::MAX);
            Ok(())
        })
        .start()
        .unwrap();
    keeper.await_arrivals(1);
    eventually("told to stop", || {
        state(&supervisor, "fragile") == ChildState::Stopping
    });
    let status = supervisor.child("fragile").unwrap();
    assert_eq!(status.last_error(), Some("no heartbeat for 100ms"));
    assert_eq!(status.starts(), 1);
    keeper.let_through(1);
    // The second one beats for 200 ms, and then forgets to.
    supervisor.join();
    let status = supervisor.child("fragile").unwrap();
    assert_eq!((status.state(), status.starts()), (ChildState::GaveUp, 2));
    assert_eq!(status.errors().len(), 2);
    assert!(
        beats.load(SeqCst) > 10,
        "told to stop though it was beating"
    );
}

#[test]
fn an_idle_supervisor_sleeps() {
    let supervisor = Supervisor::builder()
        .name("idle")
        .child_with(
            "beats",
            ChildOptions::new().heartbeat(Duration::from_secs(60)),
            stay,
        )
        .child("rests", stay)
        .start()
        .unwrap();
    eventually("both run", || {
        supervisor
            .children()
            .iter()
            .all(|child| child.state() == ChildState::Running)
    });
    let switches = || {
        let status = thread_status("idle-super").unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("voluntary"))
            .unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    eventually("nothing to do", || is_asleep("idle-super"));
    std::thread::sleep(ms(50));
    let before = switches();
    std::thread::sleep(ms(300));
    assert_eq!(switches(), before);
}

#[test]
fn the_time_for_which_a_child_hangs_does_not_make_its_run_a_good_one() {
    // One delay, then none: a run that was called good would have both anew.
    let once = RetryPolicy::from_delays(|| std::iter::once(ms(1)));
    let options = ChildOptions::new()
        .delay(once)
        .heartbeat(ms(5))
        .stable_after(ms(500));
    let supervisor = Supervisor::builder()
        .child_with("hangs", options, || {
            std::thread::sleep(ms(600));
            Ok::<_, String>(())
        })
        .start()
        .unwrap();
    eventually("it has been started twice", || {
        supervisor.child("hangs").unwrap().starts() > 1
    });
    supervisor.join();
    assert_eq!(supervisor.child("hangs").unwrap().starts(), 2);
}
