//! The floors: bare channels and threads, with nothing that a pool adds.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use super::driver::{Handles, Pool};
use super::{Job, Open};
use crate::work::{AGAIN, Outcome, Work};

type Answer = Box<dyn FnOnce() -> Outcome + Send>;

/// A producer, the workers and one consumer, joined by two channels. What fails is sent back by the consumer. One caller at a time.
struct Pipeline {
    give: Sender<Answer>,
    completions: Receiver<Outcome>,
}

pub fn open_pipeline(threads: usize) -> Arc<dyn Open> {
    open(threads, unbounded())
}

/// The same over a work channel that holds 1024 jobs: the producer waits, and memory is bounded.
pub fn open_bounded_pipeline(threads: usize) -> Arc<dyn Open> {
    open(threads, bounded(1024))
}

fn open(threads: usize, (give, queued): (Sender<Answer>, Receiver<Answer>)) -> Arc<dyn Open> {
    let (done, completions) = unbounded();
    for _ in 0..threads {
        let (queued, done) = (queued.clone(), done.clone());
        thread::spawn(move || {
            for job in queued {
                // Who does not wait for the end has hung up.
                let _ = done.send(job());
            }
        });
    }
    Arc::new(Pipeline { give, completions })
}

impl Pipeline {
    fn send(&self, job: impl FnOnce() -> Outcome + Send + 'static) {
        self.give.send(Box::new(job)).expect("the workers live");
    }
}

impl Open for Pipeline {
    fn batch(&self, work: Work, jobs: u64) -> Duration {
        let begun = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| (0..jobs).for_each(|n| self.send(move || work.perform(n))));
            let mut left = jobs;
            while left > 0 {
                match self.completions.recv().expect("the workers live") {
                    Ok(_) => left -= 1,
                    Err(n) => self.send(move || work.perform(n | AGAIN)),
                }
            }
            begun.elapsed()
        })
    }

    fn one(&self) {
        self.send(|| Work::Empty.perform(0));
        let _ = self.completions.recv();
    }

    fn run(&self, job: Job) {
        self.send(|| {
            job();
            Ok(0)
        });
    }

    fn queue(&self, jobs: u64) {
        (0..jobs).for_each(|n| self.send(move || Work::Empty.perform(n)));
    }
}

/// Threads that run boxed closures from an unbounded channel, shared by all callers, each with a completion channel of its own.
pub struct Bare(Sender<Box<dyn FnOnce() + Send>>);

impl Pool for Bare {
    fn start(threads: usize) -> Self {
        let (give, queued) = unbounded::<Box<dyn FnOnce() + Send>>();
        for _ in 0..threads {
            let queued = queued.clone();
            thread::spawn(move || queued.iter().for_each(|job| job()));
        }
        Self(give)
    }

    fn execute(&self, job: impl FnOnce() + Send + Sync + 'static) {
        self.0.send(Box::new(job)).expect("the threads live");
    }
}

/// A oneshot channel for each job.
impl Handles for Bare {
    type Handle = oneshot::Receiver<u64>;

    fn submit(&self, job: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle {
        let (sender, handle) = oneshot::channel();
        let job = move || drop(sender.send(job()));
        self.0.send(Box::new(job)).expect("the threads live");
        handle
    }

    fn wait(&self, handle: Self::Handle) -> u64 {
        handle.recv().expect("the job answers")
    }
}
