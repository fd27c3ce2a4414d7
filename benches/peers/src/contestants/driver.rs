//! How any pool that runs closures answers the questions.

use std::mem;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded, unbounded};

use super::{Job, Open, OpenWithHandles};
use crate::work::{AGAIN, Outcome, Work};

/// A pool that runs closures and says nothing of their end.
pub trait Pool: Send + Sync + 'static {
    fn start(threads: usize) -> Self;
    fn execute(&self, job: impl FnOnce() + Send + Sync + 'static);
}

/// A pool that gives a handle for each closure.
pub trait Handles: Pool {
    type Handle: Send + 'static;
    fn submit(&self, job: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle;
    fn wait(&self, handle: Self::Handle) -> u64;
}

/// Starts a pool. It is never dropped, since some peers' threads spin from then on.
pub fn without_handles<P: Pool>(threads: usize) -> Arc<dyn Open> {
    let driver = Arc::new(Driver(P::start(threads)));
    mem::forget(Arc::clone(&driver));
    driver
}

pub fn with_handles<P: Handles>(threads: usize) -> Arc<dyn OpenWithHandles> {
    let driver = Arc::new(HandleDriver(Driver(P::start(threads))));
    mem::forget(Arc::clone(&driver));
    driver
}

struct Driver<P>(P);

impl<P: Pool> Driver<P> {
    fn send(&self, work: Work, n: u64, done: &Sender<Outcome>) {
        let done = done.clone();
        self.0.execute(move || {
            // Who does not wait for the end has hung up.
            let _ = done.send(work.perform(n));
        });
    }
}

impl<P: Pool> Open for Driver<P> {
    fn batch(&self, work: Work, jobs: u64) -> Duration {
        let (done, completions) = unbounded();
        let begun = Instant::now();
        thread::scope(|scope| {
            let produced = done.clone();
            scope.spawn(move || (0..jobs).for_each(|n| self.send(work, n, &produced)));
            let mut left = jobs;
            while left > 0 {
                match completions.recv() {
                    Ok(Ok(_)) => left -= 1,
                    Ok(Err(n)) => self.send(work, n | AGAIN, &done),
                    Err(_) => unreachable!("a sender is kept"),
                }
            }
            begun.elapsed()
        })
    }

    fn one(&self) {
        let (done, completion) = bounded(1);
        self.send(Work::Empty, 0, &done);
        completion
            .recv()
            .expect("the job answers")
            .expect("the job is empty");
    }

    fn run(&self, job: Job) {
        self.0.execute(job);
    }

    fn queue(&self, jobs: u64) {
        for n in 0..jobs {
            self.0.execute(move || {
                let _ = Work::Empty.perform(n);
            });
        }
    }
}

struct HandleDriver<P>(Driver<P>);

impl<P: Handles> HandleDriver<P> {
    fn submit(&self, n: u64) -> P::Handle {
        let job = move || Work::Empty.perform(n).unwrap_or(0);
        self.0.0.submit(job)
    }
}

impl<P: Handles> Open for HandleDriver<P> {
    fn batch(&self, work: Work, jobs: u64) -> Duration {
        self.0.batch(work, jobs)
    }

    fn one(&self) {
        self.0.0.wait(self.submit(0));
    }

    fn run(&self, job: Job) {
        self.0.run(job);
    }

    fn queue(&self, jobs: u64) {
        self.0.queue(jobs);
    }
}

impl<P: Handles> OpenWithHandles for HandleDriver<P> {
    fn submit_and_wait(&self, jobs: u64) -> Duration {
        let begun = Instant::now();
        let handles: Vec<_> = (0..jobs).map(|n| self.submit(n)).collect();
        let sum: u64 = handles
            .into_iter()
            .map(|handle| self.0.0.wait(handle))
            .sum();
        let took = begun.elapsed();
        assert_eq!(sum, (0..jobs).sum::<u64>());
        took
    }

    fn queue_with_handles(&self, jobs: u64) {
        let handles: Vec<_> = (0..jobs).map(|n| self.submit(n)).collect();
        mem::forget(handles);
    }
}
