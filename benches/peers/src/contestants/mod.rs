//! Who is asked: the floors, retry-pool and its peers, as a table.

mod driver;
mod floors;
mod futures_pools;
mod ours;
mod parking;
mod plain_pools;
mod tokio_pools;

use std::sync::Arc;
use std::time::Duration;

use crate::work::Work;
use driver::{with_handles, without_handles};

/// A pool that is open, as the questions see it.
pub trait Open: Send + Sync {
    /// Runs so many jobs by the interface for many, and returns once all have succeeded, with the time between.
    fn batch(&self, work: Work, jobs: u64) -> Duration;
    /// Runs one empty job, and waits for its end.
    fn one(&self);
    /// Runs something of which nobody hears.
    fn run(&self, job: Job);
    /// Puts so many jobs, each of which holds a number, behind those that run.
    fn queue(&self, jobs: u64);
}

pub type Job = Box<dyn FnOnce() + Send + Sync>;

/// A pool whose jobs have handles.
pub trait OpenWithHandles: Open {
    /// Submits so many empty jobs, and then waits for each in their order.
    fn submit_and_wait(&self, jobs: u64) -> Duration;
    /// Like `queue`, and keeps the handles.
    fn queue_with_handles(&self, jobs: u64);
}

/// Counts the attempts of jobs that fail once.
#[derive(Debug, Default)]
pub struct Attempts {
    pub first: std::sync::atomic::AtomicU64,
    pub second: std::sync::atomic::AtomicU64,
}

/// Submits so many jobs whose first attempt fails, and whose second one comes after the delay.
pub type Park = fn(u64, Duration, &'static Attempts);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Floor,
    Ours,
    Peer,
}

/// One row of each table.
#[derive(Clone, Copy)]
pub struct Contestant {
    pub name: &'static str,
    /// The package whose version counts.
    pub package: &'static str,
    pub kind: Kind,
    /// Starts it with so many threads.
    pub open: Option<fn(usize) -> Arc<dyn Open>>,
    pub open_with_handles: Option<fn(usize) -> Arc<dyn OpenWithHandles>>,
    pub park: Option<Park>,
    /// Several callers can share its threads.
    pub shares: bool,
    /// Its queue takes any number of jobs.
    pub unbounded: bool,
}

impl Contestant {
    const NONE: Self = Self {
        name: "",
        package: "",
        kind: Kind::Peer,
        open: None,
        open_with_handles: None,
        park: None,
        shares: true,
        unbounded: true,
    };

    const fn peer(name: &'static str, package: &'static str) -> Self {
        Self {
            name,
            package,
            ..Self::NONE
        }
    }

    const fn floor(name: &'static str) -> Self {
        Self {
            kind: Kind::Floor,
            ..Self::peer(name, "crossbeam-channel")
        }
    }

    const fn ours(name: &'static str) -> Self {
        Self {
            kind: Kind::Ours,
            ..Self::peer(name, "retry-pool")
        }
    }
}

/// The first that can answer a question is what the others are compared with.
pub const ALL: &[Contestant] = &[
    Contestant {
        open: Some(floors::open_pipeline),
        shares: false,
        ..Contestant::floor("floor")
    },
    Contestant {
        open: Some(without_handles::<floors::Bare>),
        ..Contestant::floor("floor, a sender in each job")
    },
    Contestant {
        open_with_handles: Some(with_handles::<floors::Bare>),
        ..Contestant::floor("floor, a oneshot channel per job")
    },
    Contestant {
        open: Some(floors::open_bounded_pipeline),
        shares: false,
        unbounded: false,
        ..Contestant::floor("floor, bounded(1024)")
    },
    Contestant {
        open: Some(ours::open),
        open_with_handles: Some(ours::open_with_handles),
        park: Some(parking::batch),
        ..Contestant::ours("retry-pool")
    },
    Contestant {
        park: Some(parking::single_jobs),
        ..Contestant::ours("retry-pool, single jobs")
    },
    Contestant {
        open: Some(without_handles::<threadpool::ThreadPool>),
        ..Contestant::peer("threadpool", "threadpool")
    },
    Contestant {
        open: Some(without_handles::<rusty_pool::ThreadPool>),
        open_with_handles: Some(with_handles::<rusty_pool::ThreadPool>),
        ..Contestant::peer("rusty_pool", "rusty_pool")
    },
    Contestant {
        open: Some(without_handles::<rayon::ThreadPool>),
        ..Contestant::peer("rayon spawn + channel", "rayon")
    },
    Contestant {
        open: Some(without_handles::<futures::executor::ThreadPool>),
        open_with_handles: Some(with_handles::<futures::executor::ThreadPool>),
        ..Contestant::peer("futures ThreadPool", "futures")
    },
    Contestant {
        open: Some(without_handles::<plain_pools::ThunkPool>),
        ..Contestant::peer("workerpool", "workerpool")
    },
    Contestant {
        open: Some(without_handles::<plain_pools::LockedPool>),
        ..Contestant::peer("workerpool-rs", "workerpool-rs")
    },
    Contestant {
        open: Some(without_handles::<scheduled_thread_pool::ScheduledThreadPool>),
        park: Some(parking::scheduled),
        ..Contestant::peer("scheduled-thread-pool", "scheduled-thread-pool")
    },
    Contestant {
        open: Some(without_handles::<plain_pools::Stealing>),
        open_with_handles: Some(with_handles::<plain_pools::Stealing>),
        ..Contestant::peer("executors, work stealing", "executors")
    },
    Contestant {
        open: Some(without_handles::<futures_pools::Blocking>),
        open_with_handles: Some(with_handles::<futures_pools::Blocking>),
        ..Contestant::peer("blocking", "blocking")
    },
    Contestant {
        open: Some(without_handles::<tokio_pools::SpawnBlocking>),
        open_with_handles: Some(with_handles::<tokio_pools::SpawnBlocking>),
        ..Contestant::peer("tokio spawn_blocking", "tokio")
    },
    Contestant {
        park: Some(parking::tokio_timer),
        ..Contestant::peer("tokio timer", "tokio")
    },
    Contestant {
        open: Some(tokio_pools::open_join_set),
        ..Contestant::peer("tokio JoinSet", "tokio")
    },
];
