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
//! *Settle against close.* Likewise: who settles a job counts it, then (fence) looks at the phase; so either it sees
//! `DRAINING` and checks whether that was the last, or the closer's own check sees the job settled.
//!
//! *Push against stop.* Who pushes work looks (fence) whether the pool has stopped meanwhile and, if so, sweeps the queue;
//! who stops the pool sets the phase, then (fence) sweeps. The timer and the batches decide the same under their locks.

mod threads;

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::clock::{Clock, Nanos, deadline_after};
use crate::policy::{Requeue, RetryPolicy};
use crate::queue::Queue;
use crate::registry::Registry;
use crate::stats::{Counts, Stats};
use crate::sync::{
    Arc, AtomicU8, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, Padded, Weak, fence, wait_until,
};
use crate::timer::{Key, Timer};
use crate::unwind;

/// What the work channel carries: a single job, or a token that says "help this batch".
pub(crate) trait Work<'p>: Send + Sync {
    /// Runs on a worker, whose own counts are passed. User code that panics is contained inside.
    fn run(&self, crew: &Crew<'p>, counts: &Counts) -> Next;

    /// The pool has stopped: settles whatever has not begun.
    fn give_up(&self, crew: &Crew<'p>);
}

/// The jobs of a batch, as the pool sees them. Its entries in the work channel are tokens.
pub(crate) trait Lane<'p>: Work<'p> {
    /// The timer's call when a parked job has come due: how many tokens go into the work channel now, and when to call again.
    /// Runs no user code.
    fn due(&self, now: Nanos) -> Due;

    /// Accepts nothing more from outside.
    fn close(&self);
}

/// What a worker does with work that it has run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Done,
    Requeue(Requeue),
    ParkUntil(Nanos, Requeue),
}

/// What the timer does for a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due {
    pub(crate) tokens: usize,
    pub(crate) again: Option<Nanos>,
}

pub(crate) type SharedWork<'p> = Arc<dyn Work<'p> + 'p>;
pub(crate) type SharedLane<'p> = Arc<dyn Lane<'p> + 'p>;
pub(crate) type WeakLane<'p> = Weak<dyn Lane<'p> + 'p>;
type Batches<'p> = Registry<dyn Lane<'p> + 'p>;

/// What the timer carries. A lane keeps its own parked jobs, and dies with its iterator; a single job has only this.
pub(crate) enum Parked<'p> {
    Job(SharedWork<'p>, Requeue),
    Lane(WeakLane<'p>),
}

/// How long a pool that is stopped waits for its idle threads to leave; they need microseconds.
const LEAVING: Duration = Duration::from_millis(50);

impl Key for Parked<'_> {
    fn is_live(&self) -> bool {
        match self {
            Self::Job(..) => true,
            Self::Lane(lane) => lane.strong_count() > 0,
        }
    }
}

const RUNNING: u8 = 0;
const DRAINING: u8 = 1;
const STOPPED: u8 = 2;

/// What a pool is built with.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) threads: usize,
    pub(crate) policy: RetryPolicy,
    pub(crate) seed: u64,
}

/// The shared part of one pool.
pub(crate) struct Crew<'p> {
    /// Unlike any other crew's of this process.
    id: u64,
    pub(crate) settings: Settings,
    pub(crate) clock: Clock,
    queue: Queue<SharedWork<'p>>,
    timer: Timer<Parked<'p>>,
    phase: AtomicU8,
    /// One for each worker.
    workers: Box<[Padded<Counts>]>,
    /// For all other threads.
    callers: Padded<Counts>,
    batches: Mutex<Batches<'p>>,
    /// Threads of the pool that have not ended.
    alive: Mutex<usize>,
    /// Signalled when a thread ends or the phase becomes `STOPPED`.
    ended: Condvar,
}

thread_local! {
    /// The crew that the current thread works for. It is not reset when the thread ends, since what is torn down then
    /// (other thread-locals) may call the pool, too.
    static CREW: Cell<u64> = const { Cell::new(0) };
}

/// How many crews there have been; 0 stands for none.
static CREWS: AtomicU64 = AtomicU64::new(0);

impl<'p> Crew<'p> {
    pub(crate) fn new(settings: Settings) -> Self {
        let clock = Clock::new();
        Self {
            // ORDERING: only the number itself matters.
            id: CREWS.fetch_add(1, Ordering::Relaxed) + 1,
            clock,
            queue: Queue::new(),
            timer: Timer::new(clock),
            phase: AtomicU8::new(RUNNING),
            workers: (0..settings.threads).map(|_| Padded::default()).collect(),
            callers: Padded::default(),
            batches: Mutex::default(),
            // The workers and the timer's thread.
            alive: Mutex::new(settings.threads + 1),
            ended: Condvar::new(),
            settings,
        }
    }

    /// Is the calling thread one of this pool's?
    pub(crate) fn is_inside(&self) -> bool {
        CREW.get() == self.id
    }

    fn phase(&self) -> u8 {
        // ORDERING: SeqCst, for `admit`; elsewhere with the Release in `set_phase`, after fences that are explained at the top.
        self.phase.load(Ordering::SeqCst)
    }

    fn set_phase(&self, phase: u8) {
        // ORDERING: SeqCst, with the load in `phase`.
        self.phase.store(phase, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    // Accepting and settling.

    /// Counts a single job as accepted and returns its number, unless the pool is closed to the caller.
    pub(crate) fn admit(&self) -> Option<u64> {
        let number = self.callers.accepted.add(1);
        match self.phase() {
            RUNNING => Some(number),
            DRAINING if self.is_inside() => Some(number),
            _ => {
                self.callers.accepted.take_back(1);
                self.settled();
                None
            }
        }
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
            self.end_threads();
            unwind::discard_all(self.timer.stop());
        }
        unwind::discard_all(lanes);
    }

    // Work in and out.

    /// Adds work at the back of the work channel; never blocks.
    pub(crate) fn push(&self, work: SharedWork<'p>) {
        self.push_at(Requeue::Back, work);
    }

    fn push_at(&self, place: Requeue, work: SharedWork<'p>) {
        match place {
            Requeue::Back => self.queue.push(work),
            Requeue::Front => self.queue.push_front(work),
        }
        fence(Ordering::SeqCst);
        if self.phase() == STOPPED {
            self.sweep();
        }
    }

    /// Adds tokens of a lane.
    pub(crate) fn push_tokens(&self, lane: &SharedLane<'p>, tokens: usize) {
        (0..tokens).for_each(|_| self.push(Arc::clone(lane) as SharedWork<'p>));
    }

    /// Does something wait in the work channel?
    pub(crate) fn has_waiting(&self) -> bool {
        self.queue.has_waiting()
    }

    /// Parks work until `due`.
    pub(crate) fn park(&self, due: Nanos, parked: Parked<'p>) {
        if let Err(Parked::Job(work, _)) = self.timer.insert(due, parked) {
            work.give_up(self);
            unwind::discard(work);
        }
    }

    fn sweep(&self) {
        while let Some(work) = self.queue.try_pop() {
            work.give_up(self);
            unwind::discard(work);
        }
    }

    fn end_threads(&self) {
        self.queue.stop();
        drop(self.alive.lock());
        self.ended.notify_all();
    }

    // Batches.

    /// The number of a new batch.
    pub(crate) fn next_batch(&self) -> u64 {
        self.batches.lock().next_number()
    }

    /// Makes a batch known to the pool; it is told to close if the pool is closed to the caller.
    pub(crate) fn register(&self, lane: &SharedLane<'p>, counts: Arc<Counts>) {
        let mut batches = self.batches.lock();
        if batches.is_closed() && (!self.is_inside() || self.phase() == STOPPED) {
            lane.close();
        }
        batches.add(lane, counts);
    }

    pub(crate) fn stats(&self) -> Stats {
        self.snapshot(&self.batches.lock())
    }

    /// Adds all counts up: what has settled first, what was accepted after.
    fn snapshot(&self, batches: &MutexGuard<'_, Batches<'p>>) -> Stats {
        let mut stats = batches.past();
        stats.set_threads(self.settings.threads);
        let sets = || {
            let threads = self.workers.iter().chain([&self.callers]);
            threads.map(|counts| &**counts).chain(batches.counts())
        };
        sets().for_each(|counts| stats.add_outcomes(counts));
        sets().for_each(|counts| stats.add_accepted(counts));
        stats
    }

    // The end.

    /// Accepts nothing more from outside. What was accepted still runs, and the threads end after it.
    pub(crate) fn close(&self) {
        let mut batches = self.batches.lock();
        batches.close();
        let lanes = batches.lanes();
        lanes.iter().for_each(|lane| lane.close());
        if self.phase() == RUNNING {
            self.set_phase(DRAINING);
        }
        drop(batches);
        unwind::discard_all(lanes);
        self.settled();
    }

    /// Settles whatever has not begun as given up, and lets the threads end after what runs.
    pub(crate) fn stop_now(&self) {
        self.close();
        let batches = self.batches.lock();
        let lanes = batches.lanes();
        self.set_phase(STOPPED);
        drop(batches);
        // First, because user code that runs below may wait for the threads.
        self.end_threads();
        for parked in self.timer.stop() {
            if let Parked::Job(work, _) = parked {
                work.give_up(self);
                unwind::discard(work);
            }
        }
        lanes.iter().for_each(|lane| lane.give_up(self));
        unwind::discard_all(lanes);
        self.sweep();
    }

    /// Waits until every accepted job has settled in a closed pool. False if the deadline came first.
    pub(crate) fn wait_until_stopped(&self, deadline: Option<Instant>) -> bool {
        self.wait(deadline, |_| self.phase() == STOPPED)
    }

    /// Waits until the threads of a stopped pool have ended. True if all have; past the deadline those that still run a job are
    /// not waited for.
    pub(crate) fn wait_for_threads(&self, deadline: Option<Instant>) -> bool {
        let ended = self.wait(deadline, |alive| alive == 0);
        if !ended {
            let idle_ended = |alive| alive as u64 <= self.stats().unsettled();
            self.wait(deadline_after(LEAVING), idle_ended);
        }
        ended
    }

    fn wait(&self, deadline: Option<Instant>, done: impl Fn(usize) -> bool) -> bool {
        let mut alive = self.alive.lock();
        while !done(*alive) {
            if !wait_until(&self.ended, &mut alive, deadline) {
                return done(*alive);
            }
        }
        true
    }
}

impl std::fmt::Debug for Crew<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
