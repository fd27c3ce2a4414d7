//! What the threads of one pool share, and how the pool ends.
//!
//! # Phases
//!
//! | phase | entered by | what is accepted |
//! |---|---|---|
//! | `RUNNING` | creation | everything |
//! | `DRAINING` | [`Crew::close`] | what jobs of this pool submit |
//! | `STOPPED` | whoever settles the last job of a draining pool ([`Crew::settled`]); [`Crew::stop_now`] | nothing |
//!
//! # Why no accepted job is lost
//!
//! *Accept against close.* A caller counts its job as accepted, then looks at the phase; a closer sets the phase, then (fence) adds
//! up the counts. All four are sequentially consistent, so one side is first: either the caller sees the pool closed and takes
//! its job back, or the closer sees the job and waits for it. Batches admit under their own lock, and are closed one by one
//! before the phase changes.
//!
//! *Settle against close.* Likewise: who settles a job counts it, then (fence, or the count is a sequentially consistent addition) looks at
//! the phase; so either it sees
//! `DRAINING` and checks whether that was the last, or the closer's own check sees the job settled.
//!
//! *Push against stop.* Who pushes work looks (fence) whether the pool has stopped meanwhile and, if so, sweeps the queue;
//! who stops the pool sets the phase, then (fence) sweeps. The timer and the batches decide the same under their locks.
//!
//! *Begin against cancel.* [`Crew::cancel_all`] and [`Crew::stop_now`] move the time before which jobs are cancelled, then (fence)
//! tell what runs; a worker begins a job, then (fence) looks at that time. So no job slips through between queue and worker. Nor between
//! worker, timer and queue: who puts a job down looks (fence) at that time after it.

mod admission;
mod ending;
mod errand;
mod heels;
mod rest;
mod threads;
mod work;

use std::fmt;

use crate::clock::{Clock, Nanos};
use crate::observe::Watcher;
use crate::permits::Permits;
use crate::policy::{Requeue, RetryPolicy};
use crate::queue::Queue;
use crate::reason::GiveUpReason;
use crate::registry::Registry;
use crate::roster::{Roster, is_on};
use crate::stats::{Counts, Stats};
use crate::sync::{Arc, AtomicU8, AtomicU64, Mutex, MutexGuard, Ordering, Padded, Weak, fence};
use crate::timer::{Key, Timer};
use crate::unwind::{self, Contained};

pub(crate) use admission::{Patience, Refusal};
pub(crate) use work::{
    Due, Lane, Next, Piece, SharedLane, SharedWork, WHOLE, Watch, WeakLane, WeakWork, Work,
};

use errand::{Errand, Slip};

type Batches<'p> = Registry<dyn Lane<'p> + 'p>;

/// What the timer carries. A lane keeps its own parked jobs, and dies with its iterator; a single job has only this.
pub(crate) enum Parked<'p> {
    Job(SharedWork<'p>, Requeue),
    /// The limit of one attempt, which lives as long as that runs.
    Attempt(Weak<Watch<'p>>),
    /// The limit of a whole job.
    Deadline(WeakWork<'p>),
    Lane(WeakLane<'p>),
}

impl Key for Parked<'_> {
    fn is_live(&self) -> bool {
        match self {
            Self::Job(work, _) => work.is_live(),
            Self::Attempt(watch) => watch.strong_count() > 0,
            Self::Deadline(work) => !work.is_gone(),
            Self::Lane(lane) => lane.strong_count() > 0,
        }
    }

    fn ends_with_pool(&self) -> bool {
        matches!(self, Self::Job(..))
    }
}

const RUNNING: u8 = 0;
const DRAINING: u8 = 1;
const STOPPED: u8 = 2;

/// What a pool is built with.
pub(crate) struct Settings {
    pub(crate) threads: usize,
    /// A worker that runs out of work sleeps at once where so many search: more would only take turns at it.
    pub(crate) processors: usize,
    pub(crate) policy: RetryPolicy,
    pub(crate) seed: u64,
    pub(crate) capacity: Option<usize>,
    pub(crate) max_stuck: usize,
    pub(crate) on_thread_start: ThreadHook,
    pub(crate) on_thread_stop: ThreadHook,
    pub(crate) observer: Watcher,
}

/// What a user has called on each worker's thread.
pub(crate) type ThreadHook = Option<Arc<Contained<Box<dyn Fn() + Send + Sync>>>>;

/// The shared part of one pool.
pub(crate) struct Crew<'p> {
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    queue: Queue<SharedWork<'p>>,
    timer: Timer<Parked<'p>>,
    phase: AtomicU8,
    /// Single jobs that were accepted before this are cancelled.
    cancelled_before: AtomicU64,
    /// The counts of all threads that are no workers.
    callers: Padded<Counts>,
    batches: Mutex<Batches<'p>>,
    pub(crate) roster: Arc<Roster>,
}

impl<'p> Crew<'p> {
    pub(crate) fn new(settings: Settings) -> Self {
        let clock = Clock::new();
        let permits = Permits::new(settings.capacity);
        Self {
            clock,
            queue: Queue::new(),
            timer: Timer::new(clock),
            phase: AtomicU8::new(RUNNING),
            cancelled_before: AtomicU64::new(0),
            callers: Padded::default(),
            batches: Mutex::default(),
            roster: Arc::new(Roster::new(settings.threads, settings.max_stuck, permits)),
            settings,
        }
    }

    /// Is the calling thread one of this pool's?
    pub(crate) fn is_inside(&self) -> bool {
        is_on(self.roster.id)
    }

    fn phase(&self) -> u8 {
        // ORDERING: SeqCst, for `admit`; elsewhere with the Release in `set_phase`, after fences that are explained at the top.
        self.phase.load(Ordering::SeqCst)
    }

    /// Is the pool not closed?
    pub(crate) fn is_running(&self) -> bool {
        self.phase() == RUNNING
    }

    fn set_phase(&self, phase: u8) {
        // ORDERING: SeqCst, with the load in `phase`.
        self.phase.store(phase, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    /// The counts for threads that are not workers; each write is an addition.
    pub(crate) fn callers(&self) -> &Counts {
        &self.callers
    }

    /// To be called after jobs were counted as settled, without a lock held: ends a draining pool after its last job.
    pub(crate) fn settled(&self) {
        fence(Ordering::SeqCst);
        if self.phase() == DRAINING {
            self.stop_if_drained();
        }
    }

    /// As `settled`, for one single job: it was counted by an addition, which takes the place of the fence.
    pub(crate) fn settled_one(&self) {
        if self.phase() == DRAINING {
            self.stop_if_drained();
        }
    }

    fn stop_if_drained(&self) {
        fence(Ordering::SeqCst);
        // Dropped after the lock: a lane whose iterator is gone meanwhile drops its job function here.
        let mut lanes = Vec::new();
        let stopped = {
            let batches = self.batches.lock();
            let drained = || self.phase() == DRAINING && self.snapshot(&batches).unsettled() == 0;
            // A batch that a job began while the pool drained is still open: closed now, it cannot admit after the last look.
            if drained() {
                lanes = batches.lanes();
                lanes.iter().for_each(|lane| lane.close());
            }
            let stopped = drained();
            if stopped {
                self.set_phase(STOPPED);
            }
            stopped
        };
        if stopped {
            self.roster.stop();
            self.stop_timer();
            self.sweep(GiveUpReason::Shutdown);
        }
        unwind::discard_all(lanes);
    }

    // Work in and out.

    /// Adds work at the back of the work channel; never blocks.
    #[inline]
    pub(crate) fn push(&self, work: SharedWork<'p>) {
        self.push_at(Requeue::Back, work);
    }

    fn enqueue(&self, place: Requeue, work: SharedWork<'p>) {
        match place {
            Requeue::Back => self.queue.push(work),
            Requeue::Front => self.queue.push_front(work),
        }
    }

    fn push_at(&self, place: Requeue, work: SharedWork<'p>) {
        self.enqueue(place, work);
        fence(Ordering::SeqCst);
        if self.phase() == STOPPED {
            self.sweep(GiveUpReason::Shutdown);
        } else {
            self.roster.wake_for_work();
        }
    }

    /// Adds work that is to be done before all other, also where every worker is busy.
    fn push_urgent(&self, work: SharedWork<'p>) {
        self.queue.push_urgent(work);
        fence(Ordering::SeqCst);
        self.roster.wake_for_work();
        if !self.roster.recruit_errand() && self.phase() == STOPPED {
            // Nobody else is left to do it.
            self.sweep(GiveUpReason::Shutdown);
        }
    }

    /// As `push_at`, for the timer's thread, which must not sweep.
    fn push_when_due(&self, place: Requeue, work: SharedWork<'p>) {
        self.enqueue(place, work);
        fence(Ordering::SeqCst);
        if self.phase() == STOPPED {
            self.run_errand(Errand::Sweep);
        } else {
            self.roster.wake_for_work();
        }
    }

    fn run_errand(&self, errand: Errand<'p>) {
        self.push_urgent(Slip::with(errand));
    }

    /// Adds tokens of a lane.
    pub(crate) fn push_tokens(&self, lane: &SharedLane<'p>, tokens: usize) {
        (0..tokens).for_each(|_| self.push(Piece::whole(Arc::clone(lane) as _)));
    }

    /// Does something wait in the work channel?
    pub(crate) fn has_waiting(&self) -> bool {
        !self.queue.is_empty() || self.roster.has_notes()
    }

    /// Parks work until `due`.
    pub(crate) fn park(&self, due: Nanos, parked: Parked<'p>) {
        let job = match &parked {
            Parked::Job(work, _) => Some(work.clone()),
            _ => None,
        };
        match self.timer.insert(due, parked) {
            // Jobs that have settled, with the user's values.
            Ok(dead) => unwind::discard_all(dead),
            Err(parked) => self.drop_parked(parked),
        }
        if let Some(job) = job {
            self.end_if_over(job);
        }
    }

    /// Ends a job that was cancelled between its worker and the timer, or the queue, where nobody has found it.
    fn end_if_over(&self, job: SharedWork<'p>) {
        fence(Ordering::SeqCst);
        if let Some(reason) = job.is_over(self) {
            job.give_up(self, reason);
        }
        unwind::discard(job);
    }

    /// A job that was parked has settled before its time: what the timer still has of it is dead.
    pub(crate) fn forget_parked(&self) {
        unwind::discard_all(self.timer.report_dead());
    }

    /// Parks a lane that the timer's thread has looked at.
    fn park_again(&self, due: Nanos, lane: &SharedLane<'p>) {
        match self.timer.insert(due, Parked::Lane(Arc::downgrade(lane))) {
            Ok(dead) if dead.is_empty() => {}
            Ok(dead) => self.run_errand(Errand::Drop(dead)),
            Err(_) => unreachable!("a lane does not end with the pool"),
        }
    }

    /// The pool has stopped: a job that was parked ends.
    fn drop_parked(&self, parked: Parked<'p>) {
        if let Parked::Job(work, _) = &parked {
            // It may have been cancelled in the same moment.
            let reason = work.is_over(self).unwrap_or(GiveUpReason::Shutdown);
            work.give_up(self, reason);
        }
        unwind::discard(parked);
    }

    fn sweep(&self, reason: GiveUpReason) {
        while let Some(work) = self.queue.pop() {
            work.give_up(self, reason);
            unwind::discard(work);
        }
    }

    // Batches.

    /// The number of a new batch.
    pub(crate) fn next_batch(&self) -> u64 {
        self.batches.lock().next_number()
    }

    /// Makes a batch known to the pool; it is told to close if the pool is closed to the caller.
    pub(crate) fn register(&self, number: u64, lane: &SharedLane<'p>, counts: Arc<Counts>) {
        let mut batches = self.batches.lock();
        if batches.is_closed() && (!self.is_inside() || self.phase() == STOPPED) {
            lane.close();
        }
        batches.add(number, lane, counts);
    }

    pub(crate) fn stats(&self) -> Stats {
        self.snapshot(&self.batches.lock())
    }

    /// Adds all counts up: what has settled first, what was accepted after.
    fn snapshot(&self, batches: &MutexGuard<'_, Batches<'p>>) -> Stats {
        let mut stats = batches.past();
        self.roster.add_to(&mut stats);
        let sets = || [&*self.callers].into_iter().chain(batches.counts());
        sets().for_each(|counts| stats.add_outcomes(counts));
        sets().for_each(|counts| stats.add_accepted(counts));
        stats
    }
}

impl fmt::Debug for Crew<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let phase = match self.phase() {
            RUNNING => "running",
            DRAINING => "draining",
            _ => "stopped",
        };
        f.debug_struct("Crew")
            .field("phase", &phase)
            .field("stats", &self.stats())
            .finish()
    }
}

#[cfg(test)]
impl Settings {
    /// One worker, and nothing that could be left out.
    pub(crate) fn plain() -> Self {
        Self {
            threads: 1,
            processors: 1,
            policy: RetryPolicy::default(),
            seed: 0,
            capacity: None,
            max_stuck: 0,
            on_thread_start: None,
            on_thread_stop: None,
            observer: Watcher::default(),
        }
    }
}

#[cfg(all(test, rp_loom))]
mod models;

#[cfg(test)]
mod tests;
