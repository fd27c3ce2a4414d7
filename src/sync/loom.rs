//! What `model.rs` asks of a model checker, by loom, which tries every schedule of a small model and every value that the ordering of
//! an atomic lets it read.
//!
//! | what | in the model |
//! |---|---|
//! | locks, atomics, fences, threads | loom's |
//! | a sequentially consistent access | loom orders only fences in that way, and takes an access for an acquire and a release; so a fence is added between such a write and a later such read of the same thread, which is what the standard gives them |
//! | time | stands still. A wait with a deadline that is less than an hour away ends with it, at some moment; one that is further away needs to be woken |
//! | scoped threads | none: the system refuses them |
//!
//! The models are in the modules that they check, under `models`.

use std::cell::Cell;
use std::io;
use std::time::Duration;

use super::Ordering;

pub(super) use ::loom::sync;

/// Time that no model waits for.
#[cfg(test)]
pub(crate) const FAR: Duration = Duration::from_secs(7200);

/// How a wait with a deadline ends: does the time come, and do others go on before? `None`: it does not come.
pub(super) fn lapse(deadline: Duration) -> Option<(bool, bool)> {
    (deadline < Duration::from_secs(3600)).then_some((true, false))
}

::loom::thread_local! {
    /// Has this thread written in the one order of all sequentially consistent accesses, since its last such read?
    static WROTE: Cell<bool> = Cell::new(false);
}

pub(super) fn before_load(order: Ordering) {
    if order == Ordering::SeqCst && WROTE.with(|wrote| wrote.replace(false)) {
        sync::atomic::fence(order);
    }
}

pub(super) fn before_write(order: Ordering) {
    if order == Ordering::SeqCst {
        WROTE.with(|wrote| wrote.set(true));
    }
}

pub(super) fn spawn_scoped<'scope, R: Send + 'scope>(
    _scope: &'scope thread::Scope<'scope, '_>,
    _f: impl FnOnce() -> R + Send + 'scope,
) -> io::Result<thread::ScopedJoinHandle<'scope, R>> {
    Err(io::Error::other("the model has no scoped threads"))
}

/// loom's threads, with what they lack to be like the standard library's.
pub(super) mod thread {
    use std::io;
    use std::marker::PhantomData;

    pub(crate) use ::loom::thread::{
        AccessError, JoinHandle, LocalKey, Thread, ThreadId, current, panicking, park, yield_now,
    };

    #[derive(Debug)]
    pub(crate) struct Builder(::loom::thread::Builder);

    impl Default for Builder {
        fn default() -> Self {
            Self(::loom::thread::Builder::new())
        }
    }

    impl Builder {
        pub(crate) fn name(self, name: String) -> Self {
            Self(self.0.name(name))
        }

        pub(crate) fn spawn<R: Send + 'static>(
            self,
            f: impl FnOnce() -> R + Send + 'static,
        ) -> io::Result<JoinHandle<R>> {
            self.0.spawn(f)
        }
    }

    /// A scope without threads.
    #[derive(Debug)]
    pub(crate) struct Scope<'scope, 'env: 'scope>(PhantomData<(&'scope mut &'scope (), &'env ())>);

    #[derive(Debug)]
    pub(crate) struct ScopedJoinHandle<'scope, R>(PhantomData<&'scope R>);

    pub(crate) fn scope<'env, R>(
        f: impl for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> R,
    ) -> R {
        f(&Scope(PhantomData))
    }
}

#[cfg(test)]
pub(crate) use checking::{JoinHandle, Sides, check, check_bounded, spawn};

#[cfg(test)]
mod checking {
    use std::collections::BTreeMap;
    use std::env;
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    pub(crate) use super::thread::JoinHandle;

    /// Which sides of its race a model has seen, and how often.
    pub(crate) struct Sides(Mutex<BTreeMap<&'static str, u64>>);

    impl Sides {
        pub(crate) fn saw(&self, side: &'static str) {
            let mut seen = self.0.lock().unwrap();
            let count = seen.get_mut(side);
            *count.unwrap_or_else(|| panic!("{side:?} is no side of this race")) += 1;
        }
    }

    /// Starts a thread of the model.
    pub(crate) fn spawn<R: Send + 'static>(
        f: impl FnOnce() -> R + Send + 'static,
    ) -> JoinHandle<R> {
        ::loom::thread::spawn(f)
    }

    /// Runs `model` under every schedule, and checks that it has seen all of its `sides`.
    pub(crate) fn check(
        sides: &[&'static str],
        model: impl Fn(&Arc<Sides>) + Send + Sync + 'static,
    ) {
        explore(None, sides, model);
    }

    /// As `check`, for a model that is too large for that: a thread is interrupted (where it need not wait) a few times only in each schedule.
    pub(crate) fn check_bounded(
        sides: &[&'static str],
        model: impl Fn(&Arc<Sides>) + Send + Sync + 'static,
    ) {
        let bound = env::var("RP_LOOM_BOUND").map_or(2, |bound| bound.parse().unwrap());
        explore(Some(bound), sides, model);
    }

    fn explore(
        bound: Option<usize>,
        sides: &[&'static str],
        model: impl Fn(&Arc<Sides>) + Send + Sync + 'static,
    ) {
        let seen = sides.iter().map(|side| (*side, 0)).collect();
        let seen = Arc::new(Sides(Mutex::new(seen)));
        let schedules = Arc::new(Mutex::new(0_u64));
        let begun = Instant::now();
        let mut builder = ::loom::model::Builder::new();
        builder.preemption_bound = bound;
        builder.max_branches = 10_000;
        let (shared, counted) = (Arc::clone(&seen), Arc::clone(&schedules));
        builder.check(move || {
            *counted.lock().unwrap() += 1;
            crate::sync::set_time(Duration::ZERO);
            model(&shared);
        });
        let seconds = begun.elapsed().as_secs_f64();
        let seen = seen.0.lock().unwrap();
        let counts: Vec<_> = seen.iter().map(|(side, n)| format!("{side} {n}")).collect();
        println!(
            "loom: {}: {} schedules{} in {seconds:.1} s: {}",
            std::thread::current().name().unwrap_or_default(),
            schedules.lock().unwrap(),
            bound.map_or(String::new(), |bound| format!(" of {bound} interruptions")),
            counts.join(", ")
        );
        let unseen: Vec<_> = seen.iter().filter(|(_, n)| **n == 0).collect();
        assert!(unseen.is_empty(), "never seen: {unseen:?}");
    }
}
