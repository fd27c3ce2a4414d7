//! What workers, who hold a token, and the timer do at a lane.

use super::entry::{Ended, ParkedJob};
use super::fail_fast::done;
use super::{Core, FailFast, Gate, Queued, Settled, SharedPocket, State};
use crate::clock::Nanos;
use crate::policy::Requeue;
use crate::reason::GiveUpReason;
use crate::sync::{MutexGuard, Ordering};

/// Jobs that take less than this are tiny.
pub(crate) const TINY: Nanos = 2_000;

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

/// How a worker stands when it visits the lane.
pub(crate) struct Turn<'a, I, T, E> {
    /// `None` in a batch whose workers take one job at a time.
    pub(crate) pocket: Option<&'a SharedPocket<I, T, E>>,
    /// How long each of the last jobs took: several may be taken at once if they are tiny.
    pub(crate) each: Nanos,
    /// The token is to go back, if something is left to do.
    pub(crate) over: bool,
    /// The last time that is known.
    pub(crate) time: Nanos,
}

impl<'a, I, T, E> Turn<'a, I, T, E> {
    /// The pocket, if jobs are to be taken out of it.
    #[inline(always)]
    pub(crate) fn usable(&self) -> Option<&'a SharedPocket<I, T, E>> {
        self.pocket.filter(|_| self.each < TINY && !self.over)
    }
}

/// What a visit leaves to be done after the lock.
pub(crate) struct Leftover<I, T, E> {
    /// A settled job that nobody will collect. Boxed, because it is rare, and this goes by value after every job.
    pub(crate) unread: Option<Box<Settled<I, T, E>>>,
    /// When to have the timer look at the parked jobs.
    pub(crate) arm: Option<Nanos>,
    /// The batch has failed fast with this job, and is to be ended.
    pub(crate) tripped: bool,
    /// A job that would have been retried, but ended here.
    pub(crate) ended: Option<Ended>,
}

impl<I, T, E> Core<I, T, E> {
    /// Takes the first job of a turn, with a pocket for more. `None`: the token is given up.
    pub(crate) fn begin(
        &self,
        now: Nanos,
    ) -> Option<(Queued<I, E>, Option<SharedPocket<I, T, E>>)> {
        let mut state = self.state.lock();
        state.recall_stale(now);
        let job = self.take(&mut state)?;
        Some((job, self.has_pockets().then(|| state.hand_out())))
    }

    /// May workers take several jobs at once? Not where the order of the queue or the number of jobs that have ended matters, and not where
    /// each job's end is told.
    fn has_pockets(&self) -> bool {
        let setup = &self.setup;
        setup.place == Requeue::Back
            && setup.fail_fast == FailFast::Never
            && setup.share.is_none()
            && !setup.observer.is_there()
    }

    /// Puts away what was run, and takes the next job unless the turn is over.
    pub(crate) fn exchange(
        &self,
        ran: Ran<I, T, E>,
        now: Option<Nanos>,
        turn: &Turn<'_, I, T, E>,
    ) -> (After<I, E>, Leftover<I, T, E>) {
        let mut state = self.state.lock();
        if let Some(pocket) = turn.pocket {
            state.gather_one(pocket);
        }
        state.recall_stale(turn.time);
        state.naps.note_jobs(turn.each);
        let leftover = self.put(&mut state, ran, now);
        let after = self.go_on(&mut state, turn);
        if let (Some(pocket), After::Empty | After::TurnOver) = (turn.pocket, &after) {
            state.take_back(pocket);
        }
        let outgrown = matches!(after, After::Empty).then(|| state.take_outgrown());
        drop(state);
        drop(outgrown);
        (after, leftover)
    }

    #[inline(always)]
    fn go_on(&self, state: &mut State<I, T, E>, turn: &Turn<'_, I, T, E>) -> After<I, E> {
        let pocket = turn.usable();
        if let Some(job) = pocket.and_then(|pocket| pocket.next()) {
            state.pocketed -= 1;
            return After::Job(job);
        }
        if let Some(unused) = turn.pocket.filter(|_| pocket.is_none()) {
            state.empty(unused);
        }
        if turn.over && !state.queued.is_empty() {
            return After::TurnOver;
        }
        let Some(job) = self.take(state) else {
            return After::Empty;
        };
        if let Some(pocket) = pocket {
            state.fill(pocket, self.setup.threads, turn.each, turn.time);
        }
        After::Job(job)
    }

    /// The iterator sleeps: brings it what lies in a worker's pocket.
    #[cold]
    pub(crate) fn deliver(&self, pocket: &SharedPocket<I, T, E>) {
        let mut state = self.state.lock();
        state.gather_one(pocket);
        self.wake_iterator();
    }

    /// Gives the settled jobs that lack it their time.
    pub(crate) fn tell_time(&self, now: Nanos) {
        self.state.lock().tell_time(now);
    }

    /// Puts away what was run by a worker that has waited for other jobs, and whose token is void. Says how many tokens are missing, too: a
    /// job that is to be retried may be alone in the queue.
    pub(crate) fn put_away(
        &self,
        ran: Ran<I, T, E>,
        now: Option<Nanos>,
        pocket: Option<&SharedPocket<I, T, E>>,
    ) -> (Leftover<I, T, E>, usize) {
        let mut state = self.state.lock();
        state.away -= 1;
        if let Some(pocket) = pocket {
            state.take_back(pocket);
        }
        self.put_without_token(state, ran, now)
    }

    /// Puts away what was judged, and the token that came with it, unless its worker has waited.
    pub(crate) fn put_judged(
        &self,
        ran: Ran<I, T, E>,
        now: Option<Nanos>,
        has_token: bool,
    ) -> (Leftover<I, T, E>, usize) {
        let mut state = self.state.lock();
        state.judging -= 1;
        match has_token {
            true => state.tokens -= 1,
            false => state.away -= 1,
        }
        self.put_without_token(state, ran, now)
    }

    fn put_without_token(
        &self,
        mut state: MutexGuard<'_, State<I, T, E>>,
        ran: Ran<I, T, E>,
        now: Option<Nanos>,
    ) -> (Leftover<I, T, E>, usize) {
        let leftover = self.put(&mut state, ran, now);
        self.note_idle_workers(&mut state);
        (leftover, state.announce(self.setup.threads))
    }

    /// How many tokens are missing; they count as out from now on. `gone`: a worker with a token has begun to wait for other jobs.
    pub(crate) fn missing_tokens(&self, gone: bool) -> usize {
        let mut state = self.state.lock();
        if gone {
            state.tokens -= 1;
            state.away += 1;
            state.recall();
            self.note_idle_workers(&mut state);
            self.wake_iterator();
        }
        let (missing, room) = (
            state.announce(self.setup.threads),
            state.room(self.setup.window),
        );
        drop(state);
        self.wake_senders(room);
        missing
    }

    /// Takes the next job, or gives the token up.
    #[inline(always)]
    fn take(&self, state: &mut State<I, T, E>) -> Option<Queued<I, E>> {
        if state.queued.is_empty() {
            state.recall();
        }
        // Between the failure that stops a batch and its end nothing begins.
        let held_back = matches!(state.gate, Gate::Ended(_));
        let Some(job) = (!held_back).then(|| state.queued.pop_front()).flatten() else {
            state.tokens -= 1;
            self.note_hunger(state);
            return None;
        };
        state.running += 1;
        state.retries += u64::from(job.is_retry());
        Some(job)
    }

    /// There are fewer jobs than before. Where a token is given up, its worker tells.
    fn note_idle_workers(&self, state: &mut State<I, T, E>) {
        if state.has_idle_workers(self.setup.threads) {
            self.note_hunger(state);
        }
    }

    /// A worker has run out of jobs.
    fn note_hunger(&self, state: &mut State<I, T, E>) {
        // ORDERING: a hint, set and cleared under the lock.
        self.hints.hungry.store(true, Ordering::Relaxed);
        if state.wants_more {
            self.wake_iterator();
        }
        if std::mem::take(&mut state.napping) {
            self.parker.unpark();
        }
    }

    /// Puts a job away that has been run. `now` is there if the clock was read after it.
    #[inline(always)]
    pub(super) fn put(
        &self,
        state: &mut State<I, T, E>,
        ran: Ran<I, T, E>,
        now: Option<Nanos>,
    ) -> Leftover<I, T, E> {
        state.running -= 1;
        let mut leftover = Leftover {
            unread: None,
            arm: None,
            tripped: false,
            ended: None,
        };
        let settled = match (ran, state.gate) {
            (Ran::Settled(settled), _) => settled,
            (Ran::Retry(job), Gate::Open | Gate::Closed) => {
                state.requeue(self.setup.place, job);
                return leftover;
            }
            (Ran::Park(due, job), Gate::Open | Gate::Closed) => {
                state.parked.push(ParkedJob { due, job });
                leftover.arm = state.arm(due);
                return leftover;
            }
            // Not retried any more: what it would have been retried for stays its last error.
            (Ran::Retry(job) | Ran::Park(_, job), gate) => {
                let reason = match gate {
                    Gate::Ended(reason) => reason,
                    _ => GiveUpReason::Cancelled,
                };
                leftover.ended = Some(job.ended_as(reason));
                job.give_up(reason, now.unwrap_or_default())
            }
        };
        match &settled.result {
            // Its worker has given its permit back.
            Ok(_) => state.succeeded += 1,
            Err(give_up) => {
                self.setup.roster.permits.release(1);
                self.count_failure(state, settled.index, give_up.reason());
            }
        }
        let fail_fast = self.setup.fail_fast;
        if matches!(state.gate, Gate::Open | Gate::Closed)
            && fail_fast.trips(&state.failures, || done(&self.counts, state.succeeded))
        {
            // From here on nothing begins; what waits is settled after the lock.
            state.gate = Gate::Ended(GiveUpReason::FailFast);
            leftover.tripped = true;
        }
        if state.gate == Gate::Abandoned {
            leftover.unread = Some(Box::new(settled));
            return leftover;
        }
        state.settled.push_back(settled);
        if let Some(now) = now {
            state.tell_time(now);
        }
        self.wake_iterator();
        leftover
    }

    pub(super) fn count_failure(
        &self,
        state: &mut State<I, T, E>,
        index: usize,
        reason: GiveUpReason,
    ) {
        self.counts.gave_up(reason).bump(1);
        state.failures.note(index, reason);
    }
}
