//! A user's code that panics, blocks or calls back at bad moments does its supervisor no harm.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

use crate::common::{Live, eventually, gate, ms, stay};
use retry_pool::{
    Attempt, Child, ChildEvent, ChildExit, ChildOptions, ChildState, Observer, RetryPolicy,
    Strategy, Supervisor, Verdict,
};

fn hot() -> ChildOptions {
    ChildOptions::new().delay(RetryPolicy::immediate().hot_loop_ok())
}

fn state(supervisor: &Supervisor, name: &str) -> ChildState {
    supervisor.child(name).unwrap().state()
}

fn await_running(supervisor: &Supervisor) {
    eventually("all run", || {
        let mut children = supervisor.children().into_iter();
        children.all(|child| child.state() == ChildState::Running)
    });
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in Drop")
    }
}

/// A child whose function and whose predicate panic when they are dropped.
fn bombed(name: &str) -> Child<String> {
    let (function, predicate) = (Bomb, Bomb);
    let child = Child::new(name, move || {
        let _function = &function;
        stay()
    });
    child.retry_if(move |_| {
        let _predicate = &predicate;
        true
    })
}

#[test]
fn two_destructors_of_a_child_do_not_meet() {
    // Two panics at once would abort the process.
    drop(bombed("never given away"));
    assert!(Supervisor::builder().with(bombed("")).start().is_err());
    let supervisor = Supervisor::builder().with(bombed("a")).start().unwrap();
    for refused in ["a", "", "nul\0"] {
        assert!(supervisor.add_child(bombed(refused)).is_err());
    }
    supervisor.add_child(bombed("b")).unwrap();
    supervisor.remove("b").unwrap();
    eventually("b is gone", || supervisor.child("b").is_none());
    assert!(supervisor.shutdown(ms(5_000)).still_running().is_empty());
}

#[test]
fn what_a_child_calls_may_panic() {
    struct Exit;
    impl From<Exit> for ChildExit {
        fn from(_: Exit) -> Self {
            panic!("in Into")
        }
    }
    struct Delays;
    impl Iterator for Delays {
        type Item = Duration;
        fn next(&mut self) -> Option<Duration> {
            panic!("in next")
        }
    }
    impl Drop for Delays {
        fn drop(&mut self) {
            panic!("in Drop")
        }
    }
    let twice = hot().max_consecutive(1);
    let delays = |policy| ChildOptions::new().delay(policy);
    let supervisor = Supervisor::builder()
        .with(Child::new("exit", || Ok::<_, String>(Exit)).options(twice.clone()))
        .with(
            Child::new("predicate", || Err::<(), _>("no"))
                .options(twice.clone())
                .retry_if(|_| panic!("in retry_if")),
        )
        .child_with("payload", twice, || -> Result<(), String> {
            std::panic::panic_any(Bomb)
        })
        .child_with("next", delays(RetryPolicy::from_delays(|| Delays)), || {
            Err::<(), _>("no")
        })
        .child_with(
            "maker",
            delays(RetryPolicy::from_delays(
                || -> std::iter::Empty<Duration> { panic!("in the maker") },
            )),
            || Err::<(), _>("no"),
        )
        .start()
        .unwrap();
    supervisor.join();
    for (name, starts, error) in [
        ("exit", 2, "panicked: in Into"),
        ("predicate", 2, "panicked: in retry_if"),
        ("payload", 2, "panicked: a payload that is not text"),
        ("next", 1, "no"),
        ("maker", 1, "no"),
    ] {
        let child = supervisor.child(name).unwrap();
        let seen = (child.state(), child.starts(), child.last_error());
        assert_eq!(seen, (ChildState::GaveUp, starts, Some(error)), "{name}");
    }
}

/// A place where whatever belongs to a supervisor finds it.
#[derive(Clone, Default)]
struct Finder(Arc<OnceLock<Weak<Supervisor>>>);

impl Finder {
    fn show(&self, supervisor: Supervisor) -> Arc<Supervisor> {
        let supervisor = Arc::new(supervisor);
        self.0.set(Arc::downgrade(&supervisor)).unwrap();
        supervisor
    }

    /// Does everything to it that must not wait on one of its threads.
    fn use_it(&self) {
        eventually("the supervisor is shown", || self.0.get().is_some());
        if let Some(supervisor) = self.0.get().unwrap().upgrade() {
            let _ = format!("{supervisor:?}");
            supervisor.join();
            let _ = supervisor.restart("nobody");
            assert!(supervisor.add("odd", ChildOptions::new(), stay).is_err());
        }
    }
}

#[test]
fn all_that_a_child_has_may_call_its_supervisor() {
    struct Error(Finder);
    impl fmt::Display for Error {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.use_it();
            f.write_str("shown")
        }
    }
    impl Drop for Error {
        fn drop(&mut self) {
            self.0.use_it();
        }
    }
    let finder = Finder::default();
    let (in_child, in_delays) = (Error(finder.clone()), finder.clone());
    let in_predicate = Error(finder.clone());
    let delays = RetryPolicy::from_delays(move || {
        in_delays.use_it();
        std::iter::repeat_n(ms(1), 2)
    });
    let child = Child::new("odd", move || Err::<(), _>(Error(in_child.0.clone())))
        .options(ChildOptions::new().delay(delays))
        .classify(move |_| {
            in_predicate.0.use_it();
            Verdict::Retry
        });
    let supervisor = finder.show(Supervisor::builder().with(child).start().unwrap());
    supervisor.join();
    let child = supervisor.child("odd").unwrap();
    assert_eq!((child.starts(), child.last_error()), (3, Some("shown")));
    drop(supervisor);
}

#[test]
fn an_observer_may_drop_its_supervisor() {
    struct Owner(Mutex<mpsc::Receiver<Supervisor>>);
    impl Observer for Owner {
        fn child_started(&self, _: &ChildEvent<'_>) {
            drop(self.0.lock().unwrap().recv());
        }
    }
    let (sender, receiver) = mpsc::channel();
    let live = Live::new();
    let kept = live.clone();
    let supervisor = Supervisor::builder()
        .grace(Duration::from_secs(60))
        .observer(Owner(Mutex::new(receiver)))
        .child("other", move || {
            let _kept = &kept;
            stay()
        })
        .start()
        .unwrap();
    sender.send(supervisor).unwrap();
    eventually("all have ended", || live.others() == 0);
}

#[test]
fn a_supervisor_may_be_owned_by_the_function_of_its_own_child() {
    let home = Arc::new(Mutex::new(None::<Supervisor>));
    let (kept, live) = (Arc::clone(&home), Live::new());
    let counted = live.clone();
    let supervisor = Supervisor::builder()
        .grace(Duration::from_secs(60))
        .child_with("owner", hot(), move || {
            let _kept = (&kept, &counted);
            stay()
        })
        .start()
        .unwrap();
    await_running(&supervisor);
    *home.lock().unwrap() = Some(supervisor);
    // The function is dropped by its own run, and the supervisor with it.
    let removed = home.lock().unwrap().as_ref().unwrap().remove("owner");
    removed.unwrap();
    let home = {
        let strong = home;
        Arc::downgrade(&strong)
    };
    eventually("all have ended", || live.others() == 0);
    assert!(home.upgrade().is_none());
}

#[test]
fn many_threads_may_join_while_others_shut_down() {
    for round in 0..30 {
        let (gate, keeper) = gate();
        let supervisor = Supervisor::builder()
            .child("polite", stay)
            .child("deaf", move || {
                gate.pass();
                Ok::<_, String>(())
            })
            .start()
            .unwrap();
        keeper.await_arrivals(1);
        let barrier = Barrier::new(7);
        std::thread::scope(|scope| {
            for joiner in 0..6 {
                let (supervisor, barrier) = (&supervisor, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    match joiner {
                        0..3 => supervisor.join(),
                        3 => drop(supervisor.shutdown(Duration::ZERO)),
                        4 => drop(supervisor.shutdown(Duration::from_micros(round * 10))),
                        _ => drop(supervisor.shutdown(Duration::MAX)),
                    }
                });
            }
            barrier.wait();
            keeper.let_through(1);
        });
        assert!(supervisor.shutdown(ms(5_000)).still_running().is_empty());
    }
}

#[test]
fn a_hint_of_more_than_a_day_gives_up_and_a_shorter_one_waits() {
    let hour = Duration::from_secs(3_600);
    let child = |name: &str, hours| {
        Child::new(name, || Err::<(), _>("no"))
            .options(hot())
            .classify(move |_| Verdict::RetryAfter(hour * hours))
    };
    let supervisor = Supervisor::builder()
        .with(child("day", 24))
        .with(child("longer", 25))
        .start()
        .unwrap();
    eventually("both have failed", || {
        let children = supervisor.children();
        children.iter().all(|child| child.last_error().is_some())
    });
    let ChildState::Backoff { due } = state(&supervisor, "day") else {
        panic!("it waits")
    };
    assert!(due > Instant::now() + hour * 23);
    assert_eq!(state(&supervisor, "longer"), ChildState::GaveUp);
}

/// Children that fail now and then and take their time to end, under each strategy, while a thread commands them: no name ever has
/// two runs, and in the end all come back.
#[test]
fn no_strategy_makes_two_runs_of_a_name() {
    for strategy in [
        Strategy::OneForOne,
        Strategy::OneForAll,
        Strategy::RestForOne,
    ] {
        let twice = Arc::new(AtomicBool::new(false));
        let failing = Arc::new(AtomicBool::new(true));
        let runs = Arc::new(AtomicU64::new(0));
        let mut builder = Supervisor::builder().strategy(strategy);
        for child in 0..4u64 {
            let (twice, failing) = (Arc::clone(&twice), Arc::clone(&failing));
            let (busy, runs) = (AtomicBool::new(false), Arc::clone(&runs));
            let options = hot().grace(Duration::from_micros(300 * child));
            builder = builder.child_with(format!("{child}"), options, move || {
                if busy.swap(true, SeqCst) {
                    twice.store(true, SeqCst);
                }
                let run = runs.fetch_add(1, SeqCst);
                let time = Duration::from_micros(run % 7 * 100);
                let whole = Attempt::current().sleep(time);
                // Some do not heed their token for longer than their grace.
                if run.is_multiple_of(5) {
                    std::thread::sleep(Duration::from_micros(900));
                }
                let fails = failing.load(SeqCst) && whole && run.is_multiple_of(2);
                if !fails {
                    Attempt::current().sleep(Duration::MAX);
                }
                busy.store(false, SeqCst);
                if fails { Err("by script") } else { Ok(()) }
            });
        }
        let supervisor = builder.start().unwrap();
        // However slow the machine is.
        let rounds = (0..).take_while(|_| runs.load(SeqCst) < 150);
        for round in rounds {
            let name = format!("{}", round % 4);
            match round % 5 {
                0 => supervisor.stop(&name).unwrap(),
                1 => {}
                _ => supervisor.restart(&name).unwrap(),
            }
            std::thread::sleep(Duration::from_micros(round % 11 * 40));
        }
        failing.store(false, SeqCst);
        for child in supervisor.children() {
            supervisor.restart(child.name()).unwrap();
        }
        await_running(&supervisor);
        assert!(supervisor.shutdown(ms(10_000)).still_running().is_empty());
        assert!(!twice.load(SeqCst), "two runs of a name under {strategy:?}");
    }
}
