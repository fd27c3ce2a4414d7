//! The jobs of one batch: a queue of their own, helped by tokens that lie in the pool's work channel.
//!
//! Everything that changes is in one [`State`] under one lock, and that is the whole protocol: a worker puts the job that it
//! has run away and takes the next one in the same visit, the iterator takes what has settled and adds fresh jobs in the
//! same visit. Jobs lie in the queue by value, so a job costs no allocation and no counter of its own.
//!
//! # Where a job is
//!
//! ```text
//! input ──admit──▶ queued ──take──▶ running ──▶ settled ──collect──▶ taken ──▶ delivered to the caller
//!                    ▲   ◀──retry now──┤ ▲
//!                    └──due── parked ◀─┘ └── being cancelled (as if running, on the canceller's thread)
//! ```
//!
//! A job is in exactly one of these places, so what counts against the window is their sum ([`State::held`]).
//!
//! # Tokens
//!
//! Invariant: while a job is queued, `tokens >= min(threads, queued + running)`. A token is in the work channel, or with a worker
//! that takes or runs a job; at most `threads` are out. Whoever queues a job counts what is missing as out, under the lock, and puts
//! it into the work channel after. A job that comes back to be retried leaves the sum as it was, and a worker gives its token up in
//! the same visit in which it finds the queue empty, so emptying and refilling cannot pass each other.
//!
//! # User code
//!
//! Inputs, results and errors are moved under the lock, never dropped, called or printed there.

mod caller;
mod entry;
mod worker;

pub(crate) use caller::{Visit, Woken};
pub(crate) use entry::{Queued, Settled};
pub(crate) use worker::{After, Leftover, Ran};

use std::collections::{BinaryHeap, VecDeque};

use crate::clock::Nanos;
use crate::crew::Crew;
use crate::give_up::GiveUpReason;
use crate::policy::Requeue;
use crate::stats::Counts;
use crate::sync::{Arc, AtomicBool, Condvar, Mutex, MutexGuard, Padded};

use entry::ParkedJob;

/// Puts this many tokens into the work channel.
pub(crate) type Announcer = Box<dyn Fn(usize) + Send + Sync>;

/// The part of a batch that knows inputs and results, but not the job function: shared with every completion.
pub(crate) struct Core<I, T, E> {
    // Apart from the count of references before it, which every completion changes.
    state: Padded<Mutex<State<I, T, E>>>,
    /// For the iterator: something has settled, or was resubmitted, or the end may have come.
    progress: Condvar,
    /// For senders: the window has room, or the batch is over.
    room: Condvar,
    /// A hint to the iterator, which saves it visits: set when a worker found the queue empty.
    hungry: AtomicBool,
    announcer: Announcer,
    /// Where a retried job joins the queue.
    place: Requeue,
    pub(crate) counts: Arc<Counts>,
    pub(crate) window: usize,
    threads: usize,
}

struct State<I, T, E> {
    gate: Gate,
    queued: VecDeque<Queued<I, E>>,
    parked: BinaryHeap<ParkedJob<I, E>>,
    running: usize,
    /// Successes that `counts` lacks. They lie here first, on cache lines that a visit needs anyway, and are published by whoever
    /// does more than exchange one job for the next: so always when a token is given up.
    unpublished: u64,
    settled: VecDeque<Settled<I, T, E>>,
    /// Settled jobs whose time is known; those behind them get it at the next look at the clock.
    /// Invariant: not more than there are.
    timed: usize,
    /// Collected by the iterator, not delivered yet.
    taken: usize,
    tokens: usize,
    /// When the timer looks at the parked jobs next.
    armed: Nanos,
    next_index: usize,
    senders: usize,
    /// The iterator sleeps.
    waiting: bool,
}

/// What the batch still does. It only ever moves down this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    /// Admits nothing; what was admitted goes on.
    Closed,
    /// Nothing begins any more; what has not begun settled for this reason.
    Ended(GiveUpReason),
    /// The iterator is gone: what settles now is dropped.
    Abandoned,
}

impl<I, T, E> Core<I, T, E> {
    pub(crate) fn new(window: usize, threads: usize, place: Requeue, announcer: Announcer) -> Self {
        let state = State {
            gate: Gate::Open,
            queued: VecDeque::new(),
            parked: BinaryHeap::new(),
            running: 0,
            unpublished: 0,
            settled: VecDeque::new(),
            timed: 0,
            taken: 0,
            tokens: 0,
            armed: Nanos::MAX,
            next_index: 0,
            senders: 0,
            waiting: false,
        };
        Self {
            state: Padded::new(Mutex::new(state)),
            progress: Condvar::new(),
            room: Condvar::new(),
            hungry: AtomicBool::new(true),
            announcer,
            place,
            counts: Arc::default(),
            window,
            threads,
        }
    }

    pub(crate) fn close(&self) {
        self.narrow(self.state.lock(), Gate::Closed);
    }

    /// Settles what has not begun for `reason`; what runs goes on, and is not retried.
    pub(crate) fn end(&self, crew: &Crew<'_>, reason: GiveUpReason) {
        let mut state = self.state.lock();
        let waiting = state.take_waiting();
        self.narrow(state, Gate::Ended(reason));
        let now = crew.clock.now();
        let mut settled: VecDeque<_> = waiting
            .into_iter()
            .map(|job| job.give_up(reason, now))
            .collect();
        let mut state = self.state.lock();
        state.running -= settled.len();
        self.counts.gave_up(reason).bump(settled.len() as u64);
        if state.gate != Gate::Abandoned {
            state.settled.append(&mut settled);
        }
        self.wake_iterator(&mut state);
        drop(state);
        settled.into_iter().for_each(Settled::discard);
        crew.settled();
    }

    /// The iterator goes away: what has not begun is dropped, what runs goes on, and its result is dropped.
    pub(crate) fn abandon(&self, crew: &Crew<'_>) {
        let reason = GiveUpReason::Cancelled;
        let mut state = self.state.lock();
        let waiting = state.take_waiting();
        state.running -= waiting.len();
        self.counts.gave_up(reason).bump(waiting.len() as u64);
        state.taken = 0;
        let unread = std::mem::take(&mut state.settled);
        state.timed = 0;
        self.narrow(state, Gate::Abandoned);
        waiting.into_iter().for_each(Queued::discard);
        unread.into_iter().for_each(Settled::discard);
        crew.settled();
    }

    fn narrow(&self, mut state: MutexGuard<'_, State<I, T, E>>, gate: Gate) {
        state.gate = match (state.gate, gate) {
            (Gate::Open, _) | (_, Gate::Abandoned) | (Gate::Closed, Gate::Ended(_)) => gate,
            (further, _) => further,
        };
        self.publish(&mut state);
        self.wake_iterator(&mut state);
        drop(state);
        self.room.notify_all();
    }

    fn publish(&self, state: &mut State<I, T, E>) {
        self.counts
            .succeeded
            .bump(std::mem::take(&mut state.unpublished));
    }

    fn wake_iterator(&self, state: &mut State<I, T, E>) {
        if std::mem::take(&mut state.waiting) {
            self.progress.notify_one();
        }
    }
}

impl<I, T, E> State<I, T, E> {
    /// What counts against the window.
    fn held(&self) -> usize {
        self.unsettled() + self.settled.len() + self.taken
    }

    fn unsettled(&self) -> usize {
        self.queued.len() + self.parked.len() + self.running
    }

    fn take_index(&mut self) -> usize {
        let index = self.next_index;
        self.next_index += 1;
        index
    }

    fn queue(&mut self, input: I, now: Nanos) {
        let index = self.take_index();
        self.queued.push_back(Queued {
            input,
            index,
            accepted: now,
            record: None,
        });
    }

    /// Counts the tokens that are missing as out and returns how many they are, so that every queued job finds a worker as long as
    /// one is free: a token whose worker is running a job helps no other.
    fn announce(&mut self, threads: usize) -> usize {
        if self.queued.is_empty() {
            return 0;
        }
        let wanted = (self.queued.len() + self.running).min(threads);
        let missing = wanted.saturating_sub(self.tokens);
        self.tokens += missing;
        missing
    }

    /// Queues a job that is to be retried.
    fn requeue(&mut self, place: Requeue, job: Queued<I, E>) {
        match place {
            Requeue::Back => self.queued.push_back(job),
            Requeue::Front => self.queued.push_front(job),
        }
    }

    /// What the sleeping iterator would wake for.
    fn outlook(&self) -> Option<Woken> {
        if !self.settled.is_empty() {
            return Some(Woken::Progress);
        }
        let fed = self.senders > 0 && self.gate == Gate::Open;
        (self.unsettled() == 0 && !fed).then_some(Woken::End)
    }

    /// Takes out whatever has not begun, and counts it as running: the caller is about to settle it.
    fn take_waiting(&mut self) -> Vec<Queued<I, E>> {
        let parked = std::mem::take(&mut self.parked)
            .into_iter()
            .map(|parked| parked.job);
        let waiting: Vec<_> = std::mem::take(&mut self.queued)
            .into_iter()
            .chain(parked)
            .collect();
        self.running += waiting.len();
        waiting
    }

    /// Gives the settled jobs that lack it their time.
    fn tell_time(&mut self, now: Nanos) {
        let from = self.timed;
        self.settled
            .range_mut(from..)
            .for_each(|settled| settled.tell_time(now));
        self.timed = self.settled.len();
    }

    /// Has the timer look at `due`, unless it looks earlier anyway.
    fn arm(&mut self, due: Nanos) -> Option<Nanos> {
        (due < self.armed).then(|| {
            self.armed = due;
            due
        })
    }
}
