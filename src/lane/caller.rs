//! What callers do at a lane: the iterator, the completions that it gave out, the senders.

use std::collections::VecDeque;

use super::{Core, Gate, Input, Queued, Ran, Settled, State};
use crate::clock::Nanos;
use crate::crew::Crew;
use crate::give_up::Record;
use crate::judge::attempts;
use crate::reason::GiveUpReason;
use crate::roster::Note;
use crate::sync::{Arc, MutexGuard, Ordering};
use crate::unwind;

/// What the iterator learns in one visit.
pub(crate) struct Visit {
    /// What is lent by jobs that wait is for senders: else a batch whose jobs wait would have a thread for each of its inputs.
    pub(crate) room: usize,
    /// There is room in the window, but not in the pool.
    pub(crate) starved: bool,
    /// A worker has nothing to do for this batch.
    pub(crate) hungry: bool,
    /// Something has settled that the iterator has not collected.
    pub(crate) ready: bool,
    /// Tokens to announce.
    pub(crate) tokens: usize,
    pub(crate) open: bool,
}

/// What a batch has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) accepted: u64,
    pub(crate) succeeded: u64,
    pub(crate) gave_up: u64,
    pub(crate) retries: u64,
}

impl<I, T, E> Core<I, T, E> {
    // For the iterator.

    /// Has a worker run out of jobs since some were last admitted?
    pub(crate) fn is_hungry(&self) -> bool {
        // ORDERING: a hint; the visit that follows takes the lock.
        self.hints.hungry.load(Ordering::Relaxed)
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
        let room = state.room(self.setup.window);
        let blocked = !state.blocked.is_empty();
        drop(state);
        if blocked {
            self.wake_senders(room);
        }
        if timed < ready.len() {
            let now = crew.clock.now();
            ready
                .range_mut(timed..)
                .for_each(|settled| settled.tell_time(now));
        }
        visit
    }

    /// Looks into the workers' pockets, too, for something to collect; is there anything?
    pub(crate) fn gather(&self) -> bool {
        let mut state = self.state.lock();
        state.gather_unless_ready();
        !state.settled.is_empty()
    }

    /// Admits inputs, each as a job of its own, as far as there is room; none if the batch is not open. The others stay.
    pub(crate) fn admit(&self, inputs: &mut Vec<I>, now: Nanos) -> Visit {
        let mut state = self.state.lock();
        let mut starved = false;
        if state.gate == Gate::Open {
            // ORDERING: a hint; cleared under the lock under which it is set.
            if self.is_hungry() {
                self.hints.hungry.store(false, Ordering::Relaxed);
            }
            // Senders may have taken the room that the iterator saw.
            let wanted = inputs.len().min(state.own_room(self.setup.window));
            let admitted = self.acquire_permits(&mut state, wanted);
            starved = admitted < wanted;
            self.counts.accepted.bump(admitted as u64);
            let first = state.take_indices(admitted);
            let jobs = inputs.drain(..admitted).zip(first..);
            let jobs = jobs.map(|(input, index)| self.setup.fresh(input, index, now));
            if self.setup.observer.is_there() {
                state = self.queue_told(state, jobs.collect());
            } else {
                state.queued.extend(jobs);
            }
        }
        Visit {
            starved,
            ..self.visit(&mut state)
        }
    }

    /// Lets inputs that the batch no longer takes settle at once, so that they come out of the iteration.
    pub(crate) fn refuse(&self, inputs: impl Iterator<Item = I>, now: Nanos) {
        let mut told = Vec::new();
        let mut state = self.state.lock();
        let reason = match state.gate {
            Gate::Ended(reason) => reason,
            _ => GiveUpReason::Shutdown,
        };
        for input in inputs {
            let index = state.take_indices(1);
            self.counts.accepted.bump(1);
            self.counts.gave_up(reason).bump(1);
            let job = Queued {
                input: Input::Own(input),
                index,
                accepted: now,
                record: None,
            };
            if self.setup.observer.is_there() {
                told.push(job.ended_as(reason));
            }
            let settled = job.give_up(reason, now);
            state.settled.push_back(settled);
        }
        drop(state);
        for ended in told {
            let observer = &self.setup.observer;
            observer.tell(|observer| observer.job_accepted(&self.setup.event(ended.index, 0)));
            self.setup.tell_ended(ended);
        }
    }

    /// Tells the observer that jobs were accepted, then queues them, so that it hears of that first. They count as running meanwhile.
    pub(super) fn queue_told<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<I, T, E>>,
        jobs: Vec<Queued<I, E>>,
    ) -> MutexGuard<'a, State<I, T, E>> {
        state.running += jobs.len();
        // Its batch is not forgotten meanwhile, though the iteration may end.
        let _counted = Arc::clone(&self.counts);
        drop(state);
        for job in &jobs {
            let attempts = attempts(job.record.as_deref());
            let event = self.setup.event(job.index, attempts);
            let observer = &self.setup.observer;
            observer.tell(|observer| observer.job_accepted(&event));
        }
        let mut state = self.state.lock();
        for job in jobs {
            if matches!(state.gate, Gate::Open | Gate::Closed) {
                state.running -= 1;
                state.queued.push_back(job);
                continue;
            }
            // The batch has ended meanwhile, and the job with it.
            let now = self.setup.clock.now();
            let leftover = self.put(&mut state, Ran::Retry(job), Some(now));
            drop(state);
            // Whoever brought the job may not know the pool.
            self.setup.roster.note(Note::Ended);
            if let Some(ended) = leftover.ended {
                self.setup.tell_ended(ended);
            }
            if let Some(unread) = leftover.unread {
                unread.discard();
            }
            state = self.state.lock();
        }
        state
    }

    fn visit(&self, state: &mut State<I, T, E>) -> Visit {
        let room = state.own_room(self.setup.window);
        if room == 0 {
            // Others have taken the room that a permit was kept for.
            let reserved = std::mem::take(&mut state.reserved);
            self.setup.roster.permits.release(reserved);
        }
        Visit {
            room,
            starved: false,
            hungry: state.has_idle_workers(self.setup.threads),
            ready: !state.settled.is_empty(),
            tokens: state.announce(self.setup.threads),
            open: state.gate == Gate::Open,
        }
    }

    /// Takes up to `wanted` permits, the reserved ones first.
    pub(super) fn acquire_permits(&self, state: &mut State<I, T, E>, wanted: usize) -> usize {
        let reserved = state.reserved.min(wanted);
        state.reserved -= reserved;
        reserved + self.setup.roster.permits.try_acquire(wanted - reserved)
    }

    /// What the batch has counted so far.
    pub(crate) fn tally(&self) -> Tally {
        let mut state = self.state.lock();
        state.gather();
        Tally {
            accepted: self.counts.accepted.get(),
            succeeded: state.succeeded,
            gave_up: self.counts.given_up(),
            retries: state.retries,
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
        record.retry.set_attempts(attempts);
        // For the retries that come due: it is none of them.
        record.set_due(Nanos::MAX);
        self.counts.accepted.bump(1);
        self.setup.roster.permits.force(1);
        let job = Queued {
            input,
            index,
            accepted,
            record: Some(record),
        };
        if self.setup.observer.is_there() {
            state = self.queue_told(state, vec![job]);
        } else {
            state.queued.push_back(job);
        }
        let lacking = state.lacking(self.setup.threads) > 0;
        drop(state);
        if lacking {
            // Completions know neither the job function nor its pool, so a worker announces the tokens.
            self.setup.roster.note(Note::Announce(self.setup.number));
        }
        unwind::discard(value);
        Ok(())
    }

    /// The index of the job that failed first.
    pub(crate) fn first_failure(&self) -> Option<usize> {
        self.state.lock().failures.first
    }
}
