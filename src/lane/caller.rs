//! What callers do at a lane: the iterator, the completions that it gave out, the senders.

use std::collections::VecDeque;
use std::time::Instant;

use super::{Core, Gate, Queued, Settled, State};
use crate::clock::Nanos;
use crate::crew::Crew;
use crate::give_up::{GiveUpReason, Record};
use crate::stats::Counts;
use crate::sync::{Ordering, look_before_sleep, wait_until};
use crate::unwind;

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
                .for_each(|settled| settled.tell_time(now));
        }
        visit
    }

    /// Admits inputs, each as a job of its own, as far as there is room; none if the batch is not open. The others stay.
    pub(crate) fn admit(&self, inputs: &mut Vec<I>, now: Nanos) -> Visit {
        let mut state = self.state.lock();
        if state.gate == Gate::Open {
            // ORDERING: a hint; cleared under the lock under which it is set.
            self.hungry.store(false, Ordering::Relaxed);
            // Senders may have taken the room that the iterator saw.
            let admitted = inputs.len().min(self.window.saturating_sub(state.held()));
            self.counts.accepted.bump(admitted as u64);
            for input in inputs.drain(..admitted) {
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
        self.publish(state);
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

    /// What the batch has counted so far.
    pub(crate) fn counts(&self) -> &Counts {
        self.publish(&mut self.state.lock());
        &self.counts
    }

    /// Jobs that were accepted and not delivered.
    pub(crate) fn held(&self) -> usize {
        self.state.lock().held()
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
        self.counts.accepted.bump(1);
        state.queued.push_back(Queued {
            input,
            index,
            accepted,
            record: Some(record),
        });
        let tokens = state.announce(self.threads);
        drop(state);
        (self.announcer)(tokens);
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
