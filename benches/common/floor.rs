//! The floor: a bare crossbeam pipeline. A producer thread, the workers, boxed closures over an unbounded work channel, an unbounded
//! completion channel and one consumer.

#![allow(dead_code, reason = "each benchmark uses its own part")]

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};

/// The number of the job, as a success or a failed attempt.
pub(crate) type Outcome = Result<u64, u64>;

/// Holds the job's number, as a box of nothing would not be allocated.
type Job = Box<dyn FnOnce() -> Outcome + Send>;

pub(crate) struct Floor {
    work: Sender<Job>,
    completions: Receiver<Outcome>,
    workers: Vec<JoinHandle<()>>,
}

impl Floor {
    pub(crate) fn start(threads: usize) -> Self {
        let (work, queued) = unbounded::<Job>();
        let (done, completions) = unbounded();
        let worker = |_| {
            let (queued, done) = (queued.clone(), done.clone());
            thread::spawn(move || queued.iter().for_each(|job| done.send(job()).unwrap()))
        };
        let workers = (0..threads).map(worker).collect();
        Self {
            work,
            completions,
            workers,
        }
    }

    pub(crate) fn send(&self, job: impl FnOnce() -> Outcome + Send + 'static) {
        self.work.send(Box::new(job)).unwrap();
    }

    /// Sends one empty job, and waits for its end.
    pub(crate) fn one(&self) {
        self.send(|| Ok(0));
        self.completions.recv().unwrap().unwrap();
    }

    /// Times so many jobs. What fails is sent back at once, and succeeds.
    pub(crate) fn batch(&self, jobs: u64, fails: fn(u64) -> bool) -> Duration {
        let begun = Instant::now();
        thread::scope(|scope| {
            let job = move |n| if fails(n) { Err(n) } else { Ok(n) };
            scope.spawn(move || (0..jobs).for_each(|n| self.send(move || job(n))));
            let mut left = jobs;
            while left > 0 {
                match self.completions.recv().unwrap() {
                    Ok(_) => left -= 1,
                    Err(n) => self.send(move || Ok(n)),
                }
            }
        });
        let took = begun.elapsed();
        assert_eq!(self.completions.len(), 0);
        took
    }

    /// Ends the workers once they have run what is queued.
    pub(crate) fn stop(self) {
        drop(self.work);
        self.workers
            .into_iter()
            .for_each(|worker| worker.join().unwrap());
    }
}

/// Times so many jobs on threads of their own, started and ended outside the time.
pub(crate) fn batch(threads: usize, jobs: u64, fails: fn(u64) -> bool) -> Duration {
    let floor = Floor::start(threads);
    let took = floor.batch(jobs, fails);
    floor.stop();
    took
}
