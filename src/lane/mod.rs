//! The jobs of one batch: a queue of their own, helped by tokens that lie in the pool's work channel.
//!
//! Everything that changes is in one [`State`] under one lock, and that is the whole protocol: a worker puts the job that it
//! has run away and takes the next one in the same visit, the iterator takes what has settled and adds fresh jobs in the
//! same visit. Jobs lie in the queue by value, so a job costs no allocation and no counter of its own. While jobs are tiny, a
//! worker takes several in one visit (`pocket.rs`).
//!
//! # Where a job is
//!
//! ```text
//! input ──admit──▶ queued ──take──▶ running ──▶ settled ──collect──▶ taken ──▶ delivered to the caller
//!                    ▲   ◀──retry now──┤ ▲
//!                    └──due── parked ◀─┘ └── being cancelled (as if running, on the canceller's thread)
//! running ──limit passed──▶ expired ──judge──▶ as if running
//! ```
//!
//! What lies in a worker's pocket counts as running. A job is in exactly one of these places, so what counts against the window is their
//! sum ([`State::held`]), but for running jobs that wait for others: they lend their places to senders ([`State::room`]).
//!
//! # Tokens
//!
//! Invariant: while a job is queued, or lies in a pocket to be run, `tokens >= min(threads, queued + running)`. A token is in the work
//! channel, or with a worker that takes or runs a job; at most `threads` are out, and one for each abandoned attempt that is judged. A
//! worker that waits for other jobs, in its job or in a hook, has none, and puts its job away as one that is [`State::away`]. Whoever queues
//! a job counts what is missing as out, under the lock, and puts it into the work channel after. A job that comes back to be retried leaves
//! the sum as it was, and a worker gives its token up in the same visit in which it finds the queue and all pockets empty, so emptying and
//! refilling cannot pass each other. In a batch that has ended nothing is queued again, so nobody counts the tokens that are thrown away.
//!
//! # User code
//!
//! Inputs, results and errors are moved under the lock, never dropped, called or printed there.

mod caller;
mod entry;
mod fail_fast;
mod naps;
mod pocket;
mod rest;
mod sender;
mod setup;
mod watch;
mod worker;

pub(crate) use caller::{Tally, Visit};
pub(crate) use entry::{Input, Queued, Settled, SharedInput};
pub use fail_fast::FailFast;
pub(crate) use fail_fast::is_failure;
pub(crate) use pocket::SharedPocket;
pub(crate) use rest::{RefillFor, Woken};
pub(crate) use setup::Setup;
pub(crate) use worker::{After, Leftover, Ran, TINY, Turn};

use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};

use crate::clock::Nanos;
use crate::crew::Crew;
use crate::park::Parker;
use crate::policy::Requeue;
use crate::reason::GiveUpReason;
use crate::stats::Counts;
use crate::sync::{Arc, AtomicBool, BriefMutex, MutexGuard, Ordering, Padded};

use entry::ParkedJob;
use fail_fast::Failures;
use naps::Naps;
use pocket::Filled;
use watch::Watched;

/// A queue with room for more jobs than this gives its memory back when it is empty.
const LONG: usize = 4096;

/// The part of a batch that knows inputs and results, but not the job function: shared with every completion.
pub(crate) struct Core<I, T, E> {
    // Apart from the count of references before it, which every completion changes.
    state: Padded<BriefMutex<State<I, T, E>>>,
    /// What the iterator sleeps on: something has settled, or was resubmitted, or a worker has run out, or the end may have come.
    pub(crate) parker: Arc<Parker>,
    hints: Padded<Hints>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) setup: Setup<I>,
}

/// What can be asked without the lock. Changed under it.
struct Hints {
    /// To the iterator, which saves it visits: a worker found the queue empty.
    hungry: AtomicBool,
    /// To workers: the iterator sleeps.
    awaited: AtomicBool,
}

struct State<I, T, E> {
    gate: Gate,
    queued: VecDeque<Queued<I, E>>,
    /// Their attempts were abandoned, and that is still to be judged.
    expired: VecDeque<Queued<I, E>>,
    parked: BinaryHeap<ParkedJob<I, E>>,
    running: usize,
    /// Running attempts that have a limit, by ticket: those that begun first expire first.
    watched: BTreeMap<u64, Watched<I, E>>,
    tickets: u64,
    failures: Failures,
    /// Successes, and attempts after the first, so far. The pool's figures have them from the workers.
    succeeded: u64,
    retries: u64,
    /// Pockets that workers have, and those that can be handed out.
    filled: Vec<Filled<I, T, E>>,
    unused: Vec<SharedPocket<I, T, E>>,
    /// How many jobs and successes lie in pockets, of those that count as running.
    pocketed: usize,
    settled: VecDeque<Settled<I, T, E>>,
    /// Settled jobs whose time is known; those behind them get it at the next look at the clock.
    /// Invariant: not more than there are.
    timed: usize,
    /// Collected by the iterator, not delivered yet.
    taken: usize,
    tokens: usize,
    /// Abandoned attempts that are judged now, each with a token of its own.
    judging: usize,
    /// Running jobs that wait for other jobs and lend their places in the window. Below 0 when one comes back before it was noted that it
    /// went, which nobody does any more once the batch is gone.
    away: isize,
    /// When the timer looks at what is parked and watched.
    armed: BTreeSet<Nanos>,
    next_index: usize,
    /// The iterator sleeps, and is to be woken for a hungry worker: it has inputs, and room for them.
    wants_more: bool,
    /// The iterator naps, and is to be woken for a hungry worker, once.
    napping: bool,
    naps: Naps,
    senders: usize,
    /// Senders that wait for room.
    blocked: VecDeque<Arc<Parker>>,
    /// Permits that were taken for inputs to come; none once the batch is not open.
    reserved: usize,
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
    pub(crate) fn new(setup: Setup<I>) -> Self {
        let state = State {
            gate: Gate::Open,
            queued: VecDeque::new(),
            expired: VecDeque::new(),
            parked: BinaryHeap::new(),
            running: 0,
            watched: BTreeMap::new(),
            tickets: 0,
            failures: Failures::default(),
            succeeded: 0,
            retries: 0,
            filled: Vec::new(),
            unused: Vec::new(),
            pocketed: 0,
            settled: VecDeque::new(),
            timed: 0,
            taken: 0,
            tokens: 0,
            judging: 0,
            away: 0,
            armed: BTreeSet::new(),
            next_index: 0,
            wants_more: false,
            napping: false,
            naps: Naps::new(),
            senders: 0,
            blocked: VecDeque::new(),
            reserved: 0,
        };
        Self {
            state: Padded::new(BriefMutex::new(state)),
            parker: Arc::default(),
            hints: Padded::new(Hints {
                hungry: AtomicBool::new(true),
                awaited: AtomicBool::new(false),
            }),
            counts: Arc::default(),
            setup,
        }
    }

    pub(crate) fn close(&self) {
        self.narrow(self.state.lock(), Gate::Closed);
    }

    /// Settles what has not begun for `reason`; what runs goes on, and is not retried.
    pub(crate) fn end(&self, crew: &Crew<'_>, reason: GiveUpReason) {
        let mut state = self.state.lock();
        let waiting = state.take_waiting();
        // One that has failed fast, or had no time left, ends for that reason.
        let reason = match state.gate {
            Gate::Ended(reason) => reason,
            _ => reason,
        };
        // They give their places in the pool back first, since user code that runs below may submit the next.
        self.setup.roster.permits.release(waiting.len());
        self.counts.gave_up(reason).bump(waiting.len() as u64);
        self.narrow(state, Gate::Ended(reason));
        let now = crew.clock.now();
        let mut settled: VecDeque<_> = waiting
            .into_iter()
            .map(|mut job| {
                self.setup.note_expired(&mut job, now);
                job.give_up(reason, now)
            })
            .inspect(|settled| self.setup.tell_ended(settled.ended_as(reason)))
            .collect();
        let mut state = self.state.lock();
        state.running -= settled.len();
        if state.gate != Gate::Abandoned {
            state.settled.append(&mut settled);
        }
        self.wake_iterator();
        drop(state);
        settled.into_iter().for_each(Settled::discard);
        self.setup.token.cancel_for(reason);
        crew.settled();
    }

    /// The iterator goes away: what has not begun is dropped, what runs goes on, and its result is dropped.
    pub(crate) fn abandon(&self, crew: &Crew<'_>) {
        let reason = GiveUpReason::Cancelled;
        let mut state = self.state.lock();
        let waiting = state.take_waiting();
        state.running -= waiting.len();
        self.setup.roster.permits.release(waiting.len());
        self.counts.gave_up(reason).bump(waiting.len() as u64);
        state.taken = 0;
        let unread = std::mem::take(&mut state.settled);
        state.timed = 0;
        self.narrow(state, Gate::Abandoned);
        for job in waiting {
            self.setup.tell_ended(job.ended_as(reason));
            job.discard();
        }
        unread.into_iter().for_each(Settled::discard);
        self.setup.token.cancel_for(reason);
        crew.settled();
    }

    fn narrow(&self, mut state: MutexGuard<'_, State<I, T, E>>, gate: Gate) {
        state.gate = match (state.gate, gate) {
            (Gate::Open, _) | (_, Gate::Abandoned) | (Gate::Closed, Gate::Ended(_)) => gate,
            (further, _) => further,
        };
        self.wake_iterator();
        let blocked = std::mem::take(&mut state.blocked);
        let reserved = std::mem::take(&mut state.reserved);
        drop(state);
        self.setup.roster.permits.release(reserved);
        blocked.iter().for_each(|sender| sender.unpark());
    }

    /// To be called under the lock, after something has settled or changed: wakes the iterator if it sleeps.
    #[inline]
    fn wake_iterator(&self) {
        if self.is_awaited() {
            self.set_awaited(false);
            self.parker.unpark();
        }
    }

    /// Does the iterator sleep?
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        // ORDERING: Relaxed: the asker holds the lane's lock, or has held the lock of its pocket: see `pocket.rs`.
        self.hints.awaited.load(Ordering::Relaxed)
    }

    fn set_awaited(&self, awaited: bool) {
        // ORDERING: see `is_awaited`; under the lock.
        self.hints.awaited.store(awaited, Ordering::Relaxed);
    }
}

impl<I, T, E> State<I, T, E> {
    /// What was accepted and not delivered.
    fn held(&self) -> usize {
        self.unsettled() + self.settled.len() + self.taken
    }

    /// How many jobs the window has room for, the places included that waiting jobs lend.
    fn room(&self, window: usize) -> usize {
        let lent = self.away.max(0).unsigned_abs();
        window.saturating_sub(self.held().saturating_sub(lent))
    }

    /// The same without those.
    fn own_room(&self, window: usize) -> usize {
        window.saturating_sub(self.held())
    }

    fn unsettled(&self) -> usize {
        self.expired.len() + self.queued.len() + self.parked.len() + self.running
    }

    /// Has the batch fewer jobs for its workers than they could run at once? Those that wait for others have a spare.
    fn has_idle_workers(&self, threads: usize) -> bool {
        let away = self.away.max(0).unsigned_abs();
        self.queued.len() + self.running - away.min(self.running) < threads
    }

    /// Gives out the indices of so many jobs; returns the first.
    fn take_indices(&mut self, jobs: usize) -> usize {
        let first = self.next_index;
        self.next_index += jobs;
        first
    }

    /// When the timer is to look next.
    fn next_due(&self) -> Option<Nanos> {
        let parked = self.parked.peek().map(|first| first.due);
        let watched = self.watched.first_key_value();
        let expires = watched.map(|(_, watched)| watched.expires);
        [parked, expires].into_iter().flatten().min()
    }

    /// Counts the tokens that are missing as out and returns how many they are, so that every queued job finds a worker as long as
    /// one is free: a token whose worker is running a job helps no other.
    fn announce(&mut self, threads: usize) -> usize {
        let missing = self.lacking(threads);
        self.tokens += missing;
        missing
    }

    /// How many tokens are missing.
    fn lacking(&self, threads: usize) -> usize {
        if self.queued.is_empty() {
            return 0;
        }
        let wanted = (self.queued.len() + self.running).min(threads + self.judging);
        wanted.saturating_sub(self.tokens)
    }

    /// Queues a job that is to be retried at once.
    fn requeue(&mut self, place: Requeue, mut job: Queued<I, E>) {
        match place {
            Requeue::Back => self.queued.push_back(job),
            Requeue::Front => {
                if let Some(record) = &mut job.record {
                    record.set_due(0);
                }
                self.queued.push_front(job);
            }
        }
    }

    /// Queues a job that has come due. At the front, what was due first comes first.
    fn requeue_due(&mut self, place: Requeue, due: Nanos, mut job: Queued<I, E>) {
        if let Some(record) = &mut job.record {
            record.set_due(due);
        }
        match place {
            Requeue::Back => self.queued.push_back(job),
            Requeue::Front => {
                let behind = self.queued.partition_point(|other| other.due() <= due);
                self.queued.insert(behind, job);
            }
        }
    }

    /// The memory of an empty queue that was long once; to be freed without the lock. What was in it may be parked for an hour.
    fn take_outgrown(&mut self) -> VecDeque<Queued<I, E>> {
        if self.queued.is_empty() && self.queued.capacity() > LONG {
            std::mem::take(&mut self.queued)
        } else {
            VecDeque::new()
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
        self.recall();
        let parked = std::mem::take(&mut self.parked)
            .into_iter()
            .map(|parked| parked.job);
        let waiting: Vec<_> = std::mem::take(&mut self.expired)
            .into_iter()
            .chain(std::mem::take(&mut self.queued))
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

    /// Does nothing run but what is `counted` as if it did? Holds when nobody uses the batch any more.
    #[cfg(debug_assertions)]
    fn is_at_rest(&self, counted: usize) -> bool {
        let in_use = [self.pocketed, self.judging, self.reserved];
        self.running == counted && self.away <= 0 && in_use == [0; 3] && self.watched.is_empty()
    }

    /// Has the timer look at `due`, unless it looks earlier anyway. So the set of times at which it will look stays small: each is earlier
    /// than those before.
    fn arm(&mut self, due: Nanos) -> Option<Nanos> {
        if self.armed.first().is_some_and(|first| *first <= due) {
            return None;
        }
        self.armed.insert(due);
        Some(due)
    }
}

/// What nobody has collected is dropped value by value, since each may panic in its destructor.
impl<I, T, E> Drop for Core<I, T, E> {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        let waiting = state.take_waiting();
        let settled = std::mem::take(&mut state.settled);
        #[cfg(debug_assertions)]
        let at_rest = state.is_at_rest(waiting.len());
        drop(state);
        settled.into_iter().for_each(Settled::discard);
        waiting.into_iter().for_each(Queued::discard);
        #[cfg(debug_assertions)]
        assert!(
            at_rest || crate::sync::thread::panicking(),
            "a worker is still noted, or a permit"
        );
    }
}

#[cfg(all(test, rp_loom))]
mod models;

#[cfg(test)]
mod tests;
