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
//! Invariant: while a job is queued, a token is out (in the work channel or with a worker), or the iterator is about to
//! announce one. At most `threads` are out. Whoever queues a job announces tokens, up to one for each queued job; a worker
//! gives its token up in the same visit in which it finds the queue empty, so emptying and refilling cannot pass each other. A
//! resubmitted job is the exception: [`Completion`](crate::Completion) does not know the job function, so it leaves the
//! announcing to the iterator, which it wakes.
//!
//! # User code
//!
//! Inputs, results and errors are moved under the lock, never dropped, called or printed there.

use std::cmp::Ordering as Order;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use crate::clock::Nanos;
use crate::crew::{Crew, Due};
use crate::error::{GiveUp, GiveUpReason, Record};
use crate::job::attempts;
use crate::stats::Counts;
use crate::sync::{
    Arc, AtomicBool, Condvar, Mutex, MutexGuard, Ordering, look_before_sleep, wait_until,
};
use crate::unwind;

/// How many due jobs change their place in one visit.
const BITE: usize = 256;

/// The part of a batch that knows inputs and results, but not the job function: shared with every completion.
pub(crate) struct Core<I, T, E> {
    state: Mutex<State<I, T, E>>,
    /// For the iterator: something has settled, or was resubmitted, or the end may have come.
    progress: Condvar,
    /// For senders: the window has room, or the batch is over.
    room: Condvar,
    /// Set when a worker found the queue empty; a hint to the iterator that it is time to refill.
    hungry: AtomicBool,
    pub(crate) counts: Arc<Counts>,
    pub(crate) window: usize,
    threads: usize,
}

struct State<I, T, E> {
    gate: Gate,
    queued: VecDeque<Queued<I, E>>,
    parked: BinaryHeap<ParkedJob<I, E>>,
    running: usize,
    settled: VecDeque<Settled<I, T, E>>,
    /// Settled jobs whose time is known; those behind them get it at the next look at the clock.
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

/// A job that waits for a worker.
pub(crate) struct Queued<I, E> {
    pub(crate) input: I,
    pub(crate) index: usize,
    accepted: Nanos,
    /// `Some` once it has failed.
    pub(crate) record: Option<Box<Record<E>>>,
}

struct ParkedJob<I, E> {
    due: Nanos,
    job: Queued<I, E>,
}

/// A job that has settled.
pub(crate) struct Settled<I, T, E> {
    pub(crate) input: I,
    pub(crate) index: usize,
    pub(crate) attempts: u32,
    pub(crate) result: Result<T, GiveUp<E>>,
    accepted: Nanos,
    ended: Nanos,
}

impl<I, T, E> Settled<I, T, E> {
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.ended.saturating_sub(self.accepted))
    }
}

impl<I, E> Queued<I, E> {
    pub(crate) fn give_up<T>(self, reason: GiveUpReason, now: Nanos) -> Settled<I, T, E> {
        let Self {
            input,
            index,
            accepted,
            record,
        } = self;
        let record = record.unwrap_or_else(Record::new);
        let elapsed = Duration::from_nanos(now.saturating_sub(accepted));
        let attempts = record.attempts;
        Settled {
            input,
            index,
            attempts,
            result: Err(record.give_up(reason, elapsed)),
            accepted,
            ended: now,
        }
    }

    /// Its time is told later. The record of earlier failures is left over.
    pub(crate) fn succeed<T>(self, value: T) -> (Settled<I, T, E>, Option<Box<Record<E>>>) {
        let Self {
            input,
            index,
            accepted,
            record,
        } = self;
        let attempts = attempts(record.as_deref()).saturating_add(1);
        (
            Settled {
                input,
                index,
                attempts,
                result: Ok(value),
                accepted,
                ended: 0,
            },
            record,
        )
    }
}

/// What became of a job that a worker has run.
pub(crate) enum Ran<I, T, E> {
    Settled(Settled<I, T, E>),
    Retry(Queued<I, E>),
    Park(Nanos, Queued<I, E>),
}

/// What a worker does after a visit.
pub(crate) enum After<I, E> {
    Job(Queued<I, E>),
    /// The queue is empty: the token is given up.
    Empty,
    /// The token goes to the back of the work channel.
    TurnOver,
}

/// What a visit leaves to be done after the lock.
pub(crate) struct Leftover<I, T, E> {
    /// A settled job that nobody will collect.
    pub(crate) unread: Option<Settled<I, T, E>>,
    /// When to have the timer look at the parked jobs.
    pub(crate) arm: Option<Nanos>,
}

/// What the iterator learns in one visit.
pub(crate) struct Visit {
    pub(crate) room: usize,
    /// Something has settled that the iterator has not collected.
    pub(crate) ready: bool,
    /// Tokens to announce.
    pub(crate) tokens: usize,
    pub(crate) open: bool,
}

/// Why the iterator's wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Visit again.
    Progress,
    /// Nothing is unsettled and nothing can come.
    End,
    TimedOut,
}

impl<I, T, E> Core<I, T, E> {
    pub(crate) fn new(window: usize, threads: usize) -> Self {
        let state = State {
            gate: Gate::Open,
            queued: VecDeque::new(),
            parked: BinaryHeap::new(),
            running: 0,
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
            state: Mutex::new(state),
            progress: Condvar::new(),
            room: Condvar::new(),
            hungry: AtomicBool::new(true),
            counts: Arc::default(),
            window,
            threads,
        }
    }

    // For the iterator.

    /// Has a worker run out of jobs since the last refill?
    pub(crate) fn is_hungry(&self) -> bool {
        // ORDERING: a hint; the visit that follows takes the lock.
        self.hungry.load(Ordering::Relaxed)
    }

    /// Collects what has settled into `ready` (if that is empty), says how much has been delivered, and looks around.
    pub(crate) fn collect(
        &self,
        ready: &mut VecDeque<Settled<I, T, E>>,
        withheld: usize,
        crew: &Crew<'_>,
    ) -> Visit {
        let mut state = self.state.lock();
        let mut timed = usize::MAX;
        if ready.is_empty() {
            std::mem::swap(ready, &mut state.settled);
            timed = std::mem::take(&mut state.timed);
        }
        state.taken = ready.len() + withheld;
        let visit = self.visit(&mut state);
        drop(state);
        // One sender for each free place, for as long as any sleeps.
        (0..visit.room)
            .take_while(|_| self.room.notify_one())
            .for_each(drop);
        if timed < ready.len() {
            let now = crew.clock.now();
            ready
                .range_mut(timed..)
                .for_each(|settled| settled.ended = now);
        }
        visit
    }

    /// Admits inputs, each as a job of its own; all of them or, if the batch is not open, none.
    pub(crate) fn admit(&self, inputs: &mut Vec<I>, now: Nanos) -> Visit {
        let mut state = self.state.lock();
        if state.gate == Gate::Open {
            // ORDERING: a hint; cleared under the lock under which it is set.
            self.hungry.store(false, Ordering::Relaxed);
            self.counts.accepted.bump(inputs.len() as u64);
            for input in inputs.drain(..) {
                state.queue(input, now);
            }
        }
        self.visit(&mut state)
    }

    /// Lets inputs that the batch no longer takes settle at once, so that they come out of the iteration.
    pub(crate) fn refuse(&self, inputs: impl Iterator<Item = I>, now: Nanos) {
        let mut state = self.state.lock();
        let reason = match state.gate {
            Gate::Ended(reason) => reason,
            _ => GiveUpReason::Shutdown,
        };
        for input in inputs {
            let index = state.take_index();
            self.counts.accepted.bump(1);
            self.counts.gave_up(reason).bump(1);
            let job = Queued {
                input,
                index,
                accepted: now,
                record: None,
            };
            let settled = job.give_up(reason, now);
            state.settled.push_back(settled);
        }
    }

    fn visit(&self, state: &mut State<I, T, E>) -> Visit {
        Visit {
            room: self.window.saturating_sub(state.held()),
            ready: !state.settled.is_empty(),
            tokens: state.announce(self.threads),
            open: state.gate == Gate::Open,
        }
    }

    /// Sleeps until there is something to collect or to announce, or the end has come.
    pub(crate) fn wait(&self, deadline: Option<Instant>) -> Woken {
        let looked = look_before_sleep(|| self.state.lock().outlook());
        if let Some(woken) = looked {
            return woken;
        }
        let mut state = self.state.lock();
        loop {
            if let Some(woken) = state.outlook() {
                return woken;
            }
            state.waiting = true;
            let in_time = wait_until(&self.progress, &mut state, deadline);
            state.waiting = false;
            if !in_time {
                return state.outlook().unwrap_or(Woken::TimedOut);
            }
        }
    }

    /// Jobs that were accepted and not delivered.
    pub(crate) fn held(&self) -> usize {
        self.state.lock().held()
    }

    // For whoever ends the batch.

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
        unwind::discard_all(settled);
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
        self.narrow(state, Gate::Abandoned);
        unwind::discard_all(waiting);
        unwind::discard_all(unread);
        crew.settled();
    }

    fn narrow(&self, mut state: MutexGuard<'_, State<I, T, E>>, gate: Gate) {
        state.gate = match (state.gate, gate) {
            (Gate::Open, _) | (_, Gate::Abandoned) | (Gate::Closed, Gate::Ended(_)) => gate,
            (further, _) => further,
        };
        self.wake_iterator(&mut state);
        drop(state);
        self.room.notify_all();
    }

    fn wake_iterator(&self, state: &mut State<I, T, E>) {
        if std::mem::take(&mut state.waiting) {
            self.progress.notify_one();
        }
    }

    // For completions.

    /// Takes a settled job back as a new admission; gives it back if the batch is not open.
    pub(crate) fn resubmit(&self, settled: Settled<I, T, E>) -> Result<(), Settled<I, T, E>> {
        let mut state = self.state.lock();
        if state.gate != Gate::Open {
            return Err(settled);
        }
        let Settled {
            input,
            index,
            attempts,
            result,
            accepted,
            ..
        } = settled;
        let (value, record) = match result {
            Ok(value) => (Some(value), None),
            Err(give_up) => (None, Some(give_up.into_record())),
        };
        let mut record = record.unwrap_or_else(Record::new);
        record.attempts = attempts;
        self.counts.accepted.bump(1);
        state.queued.push_back(Queued {
            input,
            index,
            accepted,
            record: Some(record),
        });
        self.wake_iterator(&mut state);
        drop(state);
        unwind::discard(value);
        Ok(())
    }

    // For senders.

    pub(crate) fn add_sender(&self) {
        self.state.lock().senders += 1;
    }

    pub(crate) fn remove_sender(&self) {
        let mut state = self.state.lock();
        state.senders -= 1;
        self.wake_iterator(&mut state);
    }

    /// Admits one input as soon as the window has room, and says how many tokens to announce; gives it back once the batch is
    /// not open.
    pub(crate) fn send(&self, input: I, crew: &Crew<'_>) -> Result<usize, I> {
        let mut state = self.state.lock();
        while state.gate == Gate::Open && state.held() >= self.window {
            self.room.wait(&mut state);
        }
        if state.gate != Gate::Open {
            return Err(input);
        }
        self.counts.accepted.bump(1);
        state.queue(input, crew.clock.now());
        Ok(state.announce(self.threads))
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

    /// Counts the tokens that the queue calls for as out, and returns how many of them are new.
    fn announce(&mut self, threads: usize) -> usize {
        let new = self.queued.len().min(threads).saturating_sub(self.tokens);
        self.tokens += new;
        new
    }

    /// What the sleeping iterator would wake for.
    fn outlook(&self) -> Option<Woken> {
        let unannounced = !self.queued.is_empty() && self.tokens == 0;
        if !self.settled.is_empty() || unannounced {
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
            .for_each(|settled| settled.ended = now);
        self.timed = self.settled.len();
    }
}

impl<I, T, E> Core<I, T, E> {
    // For workers, who hold a token.

    /// Takes the first job of a turn. `None`: the token is given up.
    pub(crate) fn begin(&self) -> Option<Queued<I, E>> {
        self.take(&mut self.state.lock())
    }

    /// Puts away what was run, and takes the next job unless the turn is over.
    pub(crate) fn exchange(
        &self,
        ran: Ran<I, T, E>,
        now: Option<Nanos>,
        turn_over: bool,
    ) -> (After<I, E>, Leftover<I, T, E>) {
        let mut state = self.state.lock();
        let leftover = self.put(&mut state, ran, now);
        let after = if turn_over && !state.queued.is_empty() {
            After::TurnOver
        } else {
            self.take(&mut state).map_or(After::Empty, After::Job)
        };
        (after, leftover)
    }

    /// Queues the parked jobs that have come due.
    pub(crate) fn due(&self, now: Nanos) -> Due {
        let mut state = self.state.lock();
        if state.armed <= now {
            state.armed = Nanos::MAX;
        }
        for _ in 0..BITE {
            if state.parked.peek().is_none_or(|first| first.due > now) {
                break;
            }
            let job = state.parked.pop().map(|parked| parked.job);
            state.queued.extend(job);
        }
        let again = state
            .parked
            .peek()
            .map(|first| first.due)
            .and_then(|due| state.arm(due));
        Due {
            tokens: state.announce(self.threads),
            again,
        }
    }

    /// Takes the next job, or gives the token up.
    fn take(&self, state: &mut State<I, T, E>) -> Option<Queued<I, E>> {
        let Some(job) = state.queued.pop_front() else {
            state.tokens -= 1;
            // ORDERING: a hint, set and cleared under the lock.
            self.hungry.store(true, Ordering::Relaxed);
            return None;
        };
        state.running += 1;
        if job.record.is_some() {
            self.counts.retries.bump(1);
        }
        Some(job)
    }

    /// Puts a job away that has been run. `now` is there if the clock was read after it.
    fn put(
        &self,
        state: &mut State<I, T, E>,
        ran: Ran<I, T, E>,
        now: Option<Nanos>,
    ) -> Leftover<I, T, E> {
        state.running -= 1;
        let mut leftover = Leftover {
            unread: None,
            arm: None,
        };
        let settled = match (ran, state.gate) {
            (Ran::Settled(settled), _) => settled,
            (Ran::Retry(job), Gate::Open | Gate::Closed) => {
                state.queued.push_back(job);
                return leftover;
            }
            (Ran::Park(due, job), Gate::Open | Gate::Closed) => {
                state.parked.push(ParkedJob { due, job });
                leftover.arm = state.arm(due);
                return leftover;
            }
            // Not retried any more: what it would have been retried for stays its last error.
            (Ran::Retry(job) | Ran::Park(_, job), Gate::Ended(reason)) => {
                job.give_up(reason, now.unwrap_or_default())
            }
            (Ran::Retry(job) | Ran::Park(_, job), Gate::Abandoned) => {
                job.give_up(GiveUpReason::Cancelled, now.unwrap_or_default())
            }
        };
        match &settled.result {
            Ok(_) => self.counts.succeeded.bump(1),
            Err(give_up) => self.counts.gave_up(give_up.reason()).bump(1),
        }
        if state.gate == Gate::Abandoned {
            leftover.unread = Some(settled);
            return leftover;
        }
        state.settled.push_back(settled);
        if let Some(now) = now {
            state.tell_time(now);
        }
        self.wake_iterator(state);
        leftover
    }
}

impl<I, T, E> State<I, T, E> {
    /// Has the timer look at `due`, unless it looks earlier anyway.
    fn arm(&mut self, due: Nanos) -> Option<Nanos> {
        (due < self.armed).then(|| {
            self.armed = due;
            due
        })
    }
}

/// The heap gives out its greatest entry first: the earliest, and of two at once the one with the lower index.
impl<I, E> Ord for ParkedJob<I, E> {
    fn cmp(&self, other: &Self) -> Order {
        (other.due, other.job.index).cmp(&(self.due, self.job.index))
    }
}
impl<I, E> PartialOrd for ParkedJob<I, E> {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}
impl<I, E> PartialEq for ParkedJob<I, E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Order::Equal
    }
}
impl<I, E> Eq for ParkedJob<I, E> {}
