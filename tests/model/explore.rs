//! Running a scenario under many schedules.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Which sides of its race a scenario has seen, and how often.
pub(crate) struct Sides(Mutex<BTreeMap<&'static str, u64>>);

impl Sides {
    pub(crate) fn saw(&self, side: &'static str) {
        let mut seen = self.0.lock().unwrap();
        let count = seen.get_mut(side);
        *count.unwrap_or_else(|| panic!("{side:?} is no side of this race")) += 1;
    }

    fn unseen(&self) -> Vec<&'static str> {
        let seen = self.0.lock().unwrap();
        let unseen = seen.iter().filter(|(_, count)| **count == 0);
        unseen.map(|(side, _)| *side).collect()
    }
}

/// Says which schedule was the last if it failed.
struct Tally {
    name: String,
    begun: Arc<AtomicU64>,
}

impl Tally {
    fn finish(&mut self) -> u64 {
        self.begun.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let schedule = self.finish();
        if schedule > 0 {
            println!("model: {}: failed in schedule {schedule}", self.name);
        }
    }
}

/// Runs `scenario` under many schedules, and checks that it has seen all of its `sides`.
pub(crate) fn explore(
    name: &str,
    sides: &[&'static str],
    scenario: impl Fn(&Sides) + Send + Sync + 'static,
) {
    let seen = sides.iter().map(|side| (*side, 0)).collect();
    let seen = Arc::new(Sides(Mutex::new(seen)));
    let shared = Arc::clone(&seen);
    let begun = Instant::now();
    let mut tally = Tally {
        name: name.to_owned(),
        begun: Arc::default(),
    };
    let counted = Arc::clone(&tally.begun);
    let counting = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        scenario(&shared);
    };
    run(counting, || seen.unseen().is_empty());
    let schedules = tally.finish();
    let seconds = begun.elapsed().as_secs_f64();
    let counts = seen.0.lock().unwrap().clone();
    let counts: Vec<_> = counts
        .iter()
        .map(|(side, n)| format!("{side} {n}"))
        .collect();
    println!(
        "model: {name}: {schedules} schedules in {seconds:.1} s: {}",
        counts.join(", ")
    );
    let unseen = seen.unseen();
    assert!(
        unseen.is_empty() || !sees_all(),
        "{name} has not seen {unseen:?}"
    );
}

/// One of the numbers below `n`: chosen by the schedule in the model, and in turn on real threads.
pub(crate) fn choose(n: u32) -> u32 {
    #[cfg(rp_shuttle)]
    return shuttle::rand::Rng::gen_range(&mut shuttle::rand::thread_rng(), 0..n);
    #[cfg(not(rp_shuttle))]
    {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        (NEXT.fetch_add(1, Ordering::Relaxed) % u64::from(n)) as u32
    }
}

#[cfg(not(rp_shuttle))]
pub(crate) use {futures::executor::block_on, std::sync::mpsc, std::thread};

/// Offers others the turn until it is so.
pub(crate) fn until(what: &str, done: impl Fn() -> bool) {
    let patience = Instant::now() + Duration::from_secs(10);
    let mut looks = 0;
    while !done() {
        looks += 1;
        let in_time = match cfg!(rp_shuttle) {
            true => looks < 1_000,
            false => Instant::now() < patience,
        };
        assert!(in_time, "still not: {what}");
        thread::yield_now();
    }
}

/// Real threads race as they like.
#[cfg(not(rp_shuttle))]
fn sees_all() -> bool {
    false
}

/// A few times on real threads.
#[cfg(not(rp_shuttle))]
fn run(scenario: impl Fn() + Send + Sync + 'static, _has_seen_all: impl Fn() -> bool) {
    (0..20).for_each(|_| scenario());
}

#[cfg(rp_shuttle)]
pub(crate) use {
    shuttle::{future::block_on, sync::mpsc, thread},
    under_shuttle::{run, sees_all},
};

#[cfg(rp_shuttle)]
mod under_shuttle {
    use std::env;
    use std::sync::Arc;

    use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
    use shuttle::{Config, MaxSteps, Runner};

    /// Schedules with each of the two ways to make them.
    const SCHEDULES: usize = 1_000;

    /// As long as a side of the race is rare and has not been seen, as many come again, this often at most.
    const ROUNDS: u64 = 10;

    /// How many changes of priority a bug that is found for sure may need.
    const DEPTH: usize = 3;

    fn number(variable: &str) -> Option<u64> {
        let text = env::var(variable).ok()?;
        Some(
            text.parse()
                .unwrap_or_else(|_| panic!("{variable}: not a number")),
        )
    }

    fn schedules() -> usize {
        number("RP_MODEL_SCHEDULES").map_or(SCHEDULES, |n| n as usize)
    }

    /// Are these schedules enough to see each side of a race? A planted fault has to be found by more than a side that is missing.
    pub(crate) fn sees_all() -> bool {
        let is_set = |variable| env::var_os(variable).is_some();
        schedules() >= SCHEDULES && !is_set("RP_MODEL_REPLAY") && !is_set("RP_MODEL_FAULT")
    }

    pub(crate) fn run(
        scenario: impl Fn() + Send + Sync + 'static,
        has_seen_all: impl Fn() -> bool,
    ) {
        let scenario = Arc::new(scenario);
        let under = |scheduler: Box<dyn Scheduler + Send>| {
            let mut config = Config::new();
            config.stack_size = 1 << 18;
            config.max_steps = MaxSteps::FailAfter(100_000);
            config.silence_warnings = true;
            config
                .ungraceful_shutdown_config
                .immediately_return_on_panic = true;
            let scenario = Arc::clone(&scenario);
            Runner::new(scheduler, config).run(move || scenario());
        };
        if let Ok(schedule) = env::var("RP_MODEL_REPLAY") {
            under(Box::new(ReplayScheduler::new_from_encoded(&schedule)));
            return;
        }
        let schedules = schedules();
        // The same schedules each time, so that a change is to blame for a failure.
        let seed = number("RP_MODEL_SEED").unwrap_or(1);
        for round in 0..ROUNDS {
            let seed = seed.wrapping_add(round << 32);
            let pct = PctScheduler::new_from_seed(seed, DEPTH, schedules);
            under(Box::new(pct));
            under(Box::new(RandomScheduler::new_from_seed(seed, schedules)));
            if has_seen_all() || !sees_all() {
                return;
            }
        }
    }
}
