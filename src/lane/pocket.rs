//! What a worker takes out of the queue in one go while jobs are tiny: its pocket.
//!
//! With a visit to the lane after each job, workers with tiny jobs would meet at the lane's lock all the time. A pocket has a lock of
//! its own, which nobody else wants as a rule: its worker puts a success, or a job that is to be retried at once, into it and takes the
//! next job out, and goes to the lane once it is empty.
//!
//! A job in a pocket is still queued, and a success still to be delivered, so all can be taken back by anybody who has the lane's
//! lock, which comes first where both are held:
//!
//! - *Nothing is held back* for longer than a nap. An iterator with nothing to deliver gathers successes out of the pockets: before it pulls more inputs than it
//!   has to and once they have taken some time, and before it offers its CPU to others. It does not at other visits, nor while it spins, one
//!   or two microseconds, or naps, some 55. Workers are likely to bring them meanwhile, and the memory of a pocket that somebody else has touched is slow: with a
//!   look into the pockets at each visit an empty job took 1.4 times as long. Before it
//!   sleeps it sets [`Hints::awaited`](super::Hints), then gathers; a worker puts a success down, then looks at the flag. Both hold the
//!   pocket's lock in between, so one of the two sees the other.
//! - *Nothing is kept from a free worker.* One that finds the queue empty recalls all pockets, and every visit of a worker
//!   recalls those that were filled [`STALE`] ago, by the last reading of its worker's clock: a job that turned out long sits on them, say.
//! - *Nothing begins that is not to begin.* Whoever ends the batch recalls all pockets under the same hold of the lane's lock.
//!
//! Invariant: pockets are filled under the lane's lock, and something is put in only where a job is taken out; so a pocket that was
//! recalled stays empty until its worker visits the lane.

use std::collections::VecDeque;

use super::{Queued, Settled, State};
use crate::clock::Nanos;
use crate::give_up::Record;
use crate::judge::Outcome;
use crate::sync::{Arc, Mutex, MutexGuard, Padded};

/// The most jobs in a pocket. An empty job took 0.94 of the time that it took with 32, and 1.1 of it with 128.
const ROOM: usize = 64;

/// A pocket that was filled so long ago is recalled, and no more is put in than should take so long.
const STALE: Nanos = 50_000;

pub(crate) struct Pocket<I, T, E>(Padded<Mutex<Contents<I, T, E>>>);

pub(crate) type SharedPocket<I, T, E> = Arc<Pocket<I, T, E>>;

struct Contents<I, T, E> {
    queued: VecDeque<Queued<I, E>>,
    settled: VecDeque<Settled<I, T, E>>,
    /// To be retried at once: they go to the back of the queue at the next visit.
    failed: VecDeque<Queued<I, E>>,
    /// Settled jobs whose time is known.
    timed: usize,
    /// Attempts that were begun after the first, of jobs out of here.
    retries: u64,
}

/// A pocket that a worker has, and when it was filled.
pub(super) struct Filled<I, T, E> {
    pocket: SharedPocket<I, T, E>,
    at: Nanos,
}

impl<I, T, E> Pocket<I, T, E> {
    fn new() -> Self {
        Self(Padded::new(Mutex::new(Contents {
            queued: VecDeque::new(),
            settled: VecDeque::new(),
            failed: VecDeque::new(),
            timed: 0,
            retries: 0,
        })))
    }

    /// Puts a job in that has succeeded or is to be retried at once, and takes the next job out; without one, or after another outcome, that
    /// comes back. The record of a job that has succeeded is given out, to be dropped without a lock: there are errors in it.
    #[inline(always)]
    pub(crate) fn exchange(
        &self,
        job: &mut Queued<I, E>,
        outcome: Outcome<T>,
        now: Option<Nanos>,
    ) -> Result<Option<Box<Record<E>>>, Outcome<T>> {
        if !matches!(outcome, Outcome::Succeeded(_) | Outcome::Retry(None, _)) {
            return Err(outcome);
        }
        let mut contents = self.0.lock();
        // There is room (see `fill`). Where the compiler knows, a success goes straight to its place: an empty job took 0.86 to 0.96 of the time.
        if contents.settled.len() == contents.settled.capacity() {
            return Err(outcome);
        }
        let Some(next) = contents.next() else {
            return Err(outcome);
        };
        let mut done = std::mem::replace(job, next);
        let record = if let Outcome::Succeeded(value) = outcome {
            let record = done.record.take();
            let success = done.succeed_after(record.as_deref(), value);
            contents.settled.push_back(success);
            record
        } else {
            contents.failed.push_back(done);
            None
        };
        if let Some(now) = now {
            let from = contents.timed;
            let untimed = contents.settled.range_mut(from..);
            untimed.for_each(|settled| settled.tell_time(now));
            contents.timed = contents.settled.len();
        }
        Ok(record)
    }

    /// Takes a job out that is to be run without putting anything in.
    pub(super) fn next(&self) -> Option<Queued<I, E>> {
        self.0.lock().next()
    }
}

impl<I, T, E> Contents<I, T, E> {
    #[inline(always)]
    fn next(&mut self) -> Option<Queued<I, E>> {
        let next = self.queued.pop_front()?;
        self.retries += u64::from(next.is_retry());
        Some(next)
    }
}

impl<I, T, E> State<I, T, E> {
    /// A pocket for a worker that begins a turn.
    pub(super) fn hand_out(&mut self) -> SharedPocket<I, T, E> {
        let pocket = self.unused.pop().unwrap_or_else(|| Arc::new(Pocket::new()));
        self.filled.push(Filled {
            pocket: Arc::clone(&pocket),
            at: Nanos::MAX,
        });
        pocket
    }

    /// Takes a pocket back, with what is in it.
    pub(super) fn take_back(&mut self, pocket: &SharedPocket<I, T, E>) {
        self.empty(pocket);
        let place = self.place_of(pocket);
        if let Some(place) = place {
            self.unused.push(self.filled.swap_remove(place).pocket);
        }
    }

    fn place_of(&self, pocket: &SharedPocket<I, T, E>) -> Option<usize> {
        let mut all = self.filled.iter();
        all.position(|filled| Arc::ptr_eq(&filled.pocket, pocket))
    }

    /// Moves a share of the queue into an empty pocket: less, the less there is, so that all workers that are at it have something to do to
    /// the end; and the less, the longer `each` job takes. One that comes later, and finds the queue empty, recalls all pockets.
    #[inline]
    pub(super) fn fill(
        &mut self,
        pocket: &SharedPocket<I, T, E>,
        threads: usize,
        each: Nanos,
        now: Nanos,
    ) {
        // Who waits for other jobs has a pocket, too.
        let workers = self.filled.len().min(threads);
        let in_time = usize::try_from(STALE / each.max(1)).unwrap_or(ROOM);
        let share = (self.queued.len() / (2 * workers)).min(in_time).min(ROOM);
        if share < 2 {
            return;
        }
        let mut contents = pocket.0.lock();
        // Each success goes in where a job comes out, so nothing is allocated on the way.
        contents.settled.reserve(share);
        contents.queued.extend(self.queued.drain(..share));
        drop(contents);
        self.running += share;
        self.pocketed += share;
        if let Some(place) = self.place_of(pocket) {
            self.filled[place].at = now;
        }
    }

    /// Takes out of all pockets what their workers have put in.
    pub(super) fn gather(&mut self) {
        for place in 0..self.filled.len() {
            if self.pocketed > 0 {
                let pocket = Arc::clone(&self.filled[place].pocket);
                self.gather_from(&mut pocket.0.lock());
            }
        }
    }

    /// The same, if nothing else has settled.
    pub(super) fn gather_unless_ready(&mut self) {
        if self.settled.is_empty() {
            self.gather();
        }
    }

    /// Takes out of one pocket what its worker has put in.
    #[inline]
    pub(super) fn gather_one(&mut self, pocket: &Pocket<I, T, E>) {
        if self.pocketed > 0 {
            self.gather_from(&mut pocket.0.lock());
        }
    }

    #[inline]
    fn gather_from(&mut self, contents: &mut MutexGuard<'_, Contents<I, T, E>>) {
        let (settled, failed) = (contents.settled.len(), contents.failed.len());
        self.running -= settled + failed;
        self.pocketed -= settled + failed;
        self.succeeded += settled as u64;
        self.settled.append(&mut contents.settled);
        self.queued.extend(contents.failed.drain(..));
        self.retries += std::mem::take(&mut contents.retries);
        contents.timed = 0;
    }

    /// Takes everything out of all pockets: the jobs go back to the front of the queue.
    pub(super) fn recall(&mut self) {
        self.recall_if(|_| true);
    }

    /// Recalls the pockets that were filled long ago.
    #[inline]
    pub(super) fn recall_stale(&mut self, now: Nanos) {
        self.recall_if(|at| at.saturating_add(STALE) <= now);
    }

    #[inline]
    fn recall_if(&mut self, wanted: impl Fn(Nanos) -> bool) {
        for place in 0..self.filled.len() {
            if self.pocketed > 0 && wanted(self.filled[place].at) {
                let pocket = Arc::clone(&self.filled[place].pocket);
                self.empty(&pocket);
            }
        }
    }

    #[inline]
    pub(super) fn empty(&mut self, pocket: &Pocket<I, T, E>) {
        if self.pocketed > 0 {
            self.empty_for_sure(pocket);
        }
    }

    fn empty_for_sure(&mut self, pocket: &Pocket<I, T, E>) {
        let mut contents = pocket.0.lock();
        self.gather_from(&mut contents);
        let queued = contents.queued.len();
        self.running -= queued;
        self.pocketed -= queued;
        while let Some(job) = contents.queued.pop_back() {
            self.queued.push_front(job);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AttemptError;
    use crate::lane::TINY;
    use crate::lane::tests::{Numbers, setup};

    /// A batch with so many jobs in its queue, of which the odd ones have failed before.
    fn batch(jobs: u32) -> Numbers {
        let core = Numbers::new(setup());
        let mut state = core.state.lock();
        for n in 0..jobs {
            let mut job = core.setup.fresh(n, n as usize, 0);
            job.record = (n % 2 == 1).then(|| {
                let mut record = Record::new();
                record.note(1, AttemptError::Failed(()), 0, 1);
                record
            });
            state.queued.push_back(job);
        }
        drop(state);
        core
    }

    fn queue(state: &State<u32, u32, ()>) -> Vec<u32> {
        state.queued.iter().map(|job| *job.input.get()).collect()
    }

    fn counts(state: &State<u32, u32, ()>) -> (usize, usize, usize) {
        (state.queued.len(), state.running, state.pocketed)
    }

    #[test]
    fn a_pocket_takes_a_share_of_the_queue_that_leaves_as_much_to_every_other_worker() {
        // Of so many workers, out of so many jobs that take so long: what one takes.
        for (workers, jobs, each, share) in [
            (1, 64, 0, 32),
            (2, 64, 0, 16),
            (3, 64, 0, 16),
            (1, 1_000, 0, ROOM),
            (1, 1_000, 1, ROOM),
            (1, 1_000, 1_000, 50),
            (1, 1_000, TINY - 1, 25),
            (2, 8, 0, 2),
            (2, 7, 0, 0),
            (1, 4, 0, 2),
            (1, 3, 0, 0),
        ] {
            let core = batch(jobs);
            let mut state = core.state.lock();
            let pockets: Vec<_> = (0..workers).map(|_| state.hand_out()).collect();
            state.fill(&pockets[0], 2, each, 0);
            let left = jobs as usize - share;
            assert_eq!(counts(&state), (left, share, share), "{workers} of {jobs}");
            pockets.iter().for_each(|pocket| state.take_back(pocket));
            assert_eq!(counts(&state), (jobs as usize, 0, 0));
            assert_eq!((state.filled.len(), state.unused.len()), (0, workers));
        }
    }

    #[test]
    fn a_pocket_that_was_filled_long_ago_is_recalled_to_the_front_of_the_queue() {
        let core = batch(8);
        let mut state = core.state.lock();
        let pocket = state.hand_out();
        state.fill(&pocket, 2, 0, 1_000);
        state.recall_stale(1_000 + STALE - 1);
        assert_eq!(queue(&state), [4, 5, 6, 7]);
        state.recall_stale(1_000 + STALE);
        assert_eq!(queue(&state), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(counts(&state), (8, 0, 0));
    }

    /// A success and a failure of a worker with a pocket, which then runs the third job.
    fn run_two(core: &Numbers) -> SharedPocket<u32, u32, ()> {
        let mut state = core.state.lock();
        let pocket = state.hand_out();
        state.fill(&pocket, 2, 0, 0);
        let mut job = pocket.next().unwrap();
        state.pocketed -= 1;
        drop(state);
        for outcome in [Outcome::Succeeded(7), Outcome::Retry(None, 0)] {
            assert!(pocket.exchange(&mut job, outcome, Some(5)).is_ok());
        }
        assert_eq!(*job.input.get(), 2);
        core.state.lock().queued.push_front(job);
        pocket
    }

    #[test]
    fn what_a_worker_has_put_into_its_pocket_is_counted_once_it_is_gathered() {
        type Gather = fn(&mut State<u32, u32, ()>, &SharedPocket<u32, u32, ()>);
        let ways: [Gather; 4] = [
            |state, _| state.gather(),
            |state, _| state.gather_unless_ready(),
            |state, pocket| state.gather_one(pocket),
            |state, _| state.recall(),
        ];
        for gather in ways {
            let core = batch(16);
            let pocket = run_two(&core);
            let mut state = core.state.lock();
            assert_eq!((state.settled.len(), state.pocketed), (0, 7));
            gather(&mut state, &pocket);
            assert_eq!((state.settled.len(), state.succeeded), (1, 1));
            // The second job was a retry, and joined the queue again.
            assert_eq!((state.retries, queue(&state).last()), (1, Some(&1)));
            let all = state.queued.len() + state.settled.len() + state.pocketed;
            assert_eq!((all, state.running), (16, state.pocketed + 1));
            state.running -= 1;
        }
    }

    #[test]
    fn what_is_ready_spares_a_look_into_the_pockets() {
        let core = batch(16);
        let _pocket = run_two(&core);
        let mut state = core.state.lock();
        let ready = core.setup.fresh::<()>(99, 99, 0).succeed(0);
        state.settled.push_back(ready);
        state.gather_unless_ready();
        assert_eq!(state.settled.len(), 1);
        state.running -= 1;
    }
}
