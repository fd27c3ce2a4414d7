//! The state machine of a supervisor: who runs, waits or rests, and what follows. Pure: no thread, no sleep, the time an argument.
//!
//! | phase of a child | shown as | entered | allows |
//! |---|---|---|---|
//! | `Waiting { due }` | `Starting`, `Backoff` | when added; after a run that is to be followed by another; by hand from anywhere | a start when due → `Active`; a stop → `Rest` |
//! | `Active`, not begun | `Starting` | from `Waiting`, when due | the child's thread to begin |
//! | `Active`, begun | `Running` | by the mark of the child's thread | an end by itself, which is judged |
//! | `Active` with `after` | `Stopping` | when it is to be stopped, or its heart has | its thread to end → what `after` says |
//! | `Rest` | `Stopped`, `Completed`, `GaveUp` | from `Waiting` or `Active` | a restart by hand → `Waiting` |
//!
//! Callers and children's threads only leave *marks* under the lock (`Slot::wish`, `Slot::removed`, `Run::begun`, `Run::ended`, `Run::commanded`,
//! `State::shutdown`, a new slot) and wake the supervisor's thread, which alone changes phases, in [`State::turn`]. A turn says what is to
//! be done then, without the lock: tokens to cancel, threads to start, events to tell.
//!
//! Invariants:
//! - A start happens in `start_due` alone, from `Waiting`; a phase leaves `Active` only by `Run::ended`. So at most one run of a child exists
//!   at any time, and one that does not heed its token holds up its own next start.
//! - A due restart is a field of its phase, not an entry elsewhere: whatever ends the phase ends the restart with it. A thread says of which
//!   generation it is, so a late one cannot be taken for another.
//! - Whether an end counts as stopped says `Run::told`, never the token, which the child could cancel itself.
//! - What is stopped in order is told from the last to the first, each when all after it have ended or had their grace; whatever starts
//!   `with_group` waits for that, too.
//! - Once `shutdown` is set nothing starts.

use std::time::Duration;

use super::options::{OnGiveUp, Strategy};
use super::rules::{Ending, Fate, Span};
use super::slot::{After, Phase, Rest, Run, Slot, Waiting, Wish};
use super::status::ChildStatus;
use crate::attempt::Lifeline;
use crate::cancel::CancelToken;
use crate::clock::{Clock, Nanos};
use crate::sync::Arc;

pub(super) struct State {
    /// In start order, so by rising id.
    pub(super) slots: Vec<Slot>,
    pub(super) next_id: u64,
    pub(super) strategy: Strategy,
    /// Mark: when the time for a shutdown is over; the supervisor is to end.
    pub(super) shutdown: Option<Nanos>,
    /// Events are being told, of what can be seen already.
    pub(super) telling: bool,
    /// The supervisor's thread has ended.
    pub(super) over: bool,
    /// Who made the supervisor fail, and of what.
    pub(super) escalated: Option<(Arc<str>, Arc<str>)>,
    /// Does anybody want events?
    observed: bool,
    pub(super) clock: Clock,
}

/// What is to be done after a turn, without the lock.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) tell: Vec<CancelToken>,
    pub(super) start: Vec<Start>,
    pub(super) events: Vec<Event>,
    /// When there is something to do next; `None` if that is unknown.
    pub(super) next: Option<Nanos>,
    pub(super) over: bool,
}

/// A thread to be started.
pub(super) struct Start {
    pub(super) id: u64,
    pub(super) generation: u64,
    pub(super) name: Arc<str>,
}

pub(super) struct Event {
    pub(super) kind: EventKind,
    pub(super) name: Arc<str>,
    pub(super) start: u64,
}

pub(super) enum EventKind {
    Started,
    Failed(Arc<str>),
    Restarting(Duration),
    GaveUp(Option<Arc<str>>),
    Completed,
    Stopped,
}

impl State {
    pub(super) fn new(strategy: Strategy, observed: bool, clock: Clock) -> Self {
        Self {
            slots: Vec::new(),
            next_id: 0,
            strategy,
            shutdown: None,
            telling: false,
            over: false,
            escalated: None,
            observed,
            clock,
        }
    }

    /// The child of this name that has not been removed.
    pub(super) fn find(&mut self, name: &str) -> Option<&mut Slot> {
        let mut slots = self.slots.iter_mut();
        slots.find(|slot| &*slot.name == name && !slot.removed)
    }

    pub(super) fn slot(&mut self, id: u64) -> Option<&mut Slot> {
        let place = self.slots.binary_search_by_key(&id, |slot| slot.id).ok()?;
        self.slots.get_mut(place)
    }

    /// What is shown of a child.
    pub(super) fn status(&self, slot: &Slot) -> ChildStatus {
        slot.status(&self.clock, self.shutdown.is_some())
    }

    /// What is shown of all, in start order.
    pub(super) fn statuses(&self) -> Vec<ChildStatus> {
        let slots = self.slots.iter().filter(|slot| !slot.is_gone());
        slots.map(|slot| self.status(slot)).collect()
    }

    /// Does nothing follow by itself, for all children?
    pub(super) fn is_settled(&self) -> bool {
        !self.telling && self.slots.iter().all(Slot::is_settled)
    }

    /// Heeds all marks and times, once.
    pub(super) fn turn(&mut self, now: Nanos) -> Turn {
        let mut turn = Turn::default();
        for place in 0..self.slots.len() {
            // What was wanted before a run ended tells how its end is taken.
            if matches!(&self.slots[place].phase, Phase::Active(run) if run.commanded) {
                self.grant(place, now, &mut turn);
            }
            self.settle(place, now, &mut turn);
            self.grant(place, now, &mut turn);
            self.feel_pulse(place, now, &mut turn);
        }
        if self.shutdown.is_some() {
            self.stop_all(&mut turn);
        }
        let held_up = self.tell_in_order(now, &mut turn);
        if self.shutdown.is_none() {
            self.start_due(now, held_up, &mut turn);
        }
        // Its code has been taken out by whoever removed it, or by its last run.
        self.slots.retain(|slot| {
            !(slot.removed && slot.ward.is_none() && matches!(slot.phase, Phase::Rest(_)))
        });
        let runs = |slot: &Slot| matches!(slot.phase, Phase::Active(_));
        turn.over = self.shutdown.is_some() && !self.slots.iter().any(runs);
        turn.next = self.next_time(now, held_up);
        self.telling = !turn.events.is_empty();
        turn
    }

    /// A run that has ended is followed by what it deserves.
    fn settle(&mut self, place: usize, now: Nanos, turn: &mut Turn) {
        let slot = &mut self.slots[place];
        let Phase::Active(run) = &mut slot.phase else {
            return;
        };
        let Some(ending) = run.ended.take() else {
            return;
        };
        let (after, told) = (run.after, run.told.is_some());
        if let Ending::Skipped = ending {
            slot.starts -= 1;
            match after {
                Some(After::Stop) => self.rest(place, Rest::Stopped, turn),
                Some(After::Restart(waiting)) => self.wait(place, waiting, now, turn),
                // What it was skipped for is seen in this turn.
                Some(After::Judge(_)) | None => slot.phase = Phase::Waiting(Waiting::now()),
            }
            return;
        }
        match after {
            Some(After::Stop) if told => self.rest(place, Rest::Stopped, turn),
            Some(After::Restart(waiting)) if told => {
                slot.record.note(&slot.settings, &ending);
                self.wait(place, waiting, now, turn);
            }
            Some(After::Judge(_)) => self.judge(place, &failed(&ending), None, now, turn),
            after => {
                if let Ending::Failed { error, .. } = &ending {
                    self.note_failure(place, error, turn);
                }
                self.judge(place, &ending, after, now, turn);
            }
        }
    }

    /// Judges the end of a run that was not told to stop, or whose heart had stopped.
    fn judge(
        &mut self,
        place: usize,
        ending: &Ending,
        after: Option<After>,
        now: Nanos,
        turn: &mut Turn,
    ) {
        let slot = &mut self.slots[place];
        match slot.record.judge(&slot.settings, ending) {
            Fate::Complete => self.rest(place, Rest::Completed, turn),
            Fate::CompleteGroup => {
                self.rest(place, Rest::Completed, turn);
                self.stop_all(turn);
            }
            Fate::GiveUp => self.give_up(place, turn),
            Fate::Restart(_) if matches!(after, Some(After::Stop)) => {
                self.rest(place, Rest::Stopped, turn);
            }
            Fate::Restart(delay) => {
                let own = Waiting {
                    due: now.saturating_add(delay),
                    backoff: true,
                    with_group: self.strategy != Strategy::OneForOne,
                };
                let waiting = match after {
                    Some(After::Restart(other)) => own.max(other),
                    _ => own,
                };
                self.wait(place, waiting, now, turn);
                self.restart_group(place, own);
            }
        }
    }

    fn give_up(&mut self, place: usize, turn: &mut Turn) {
        self.rest(place, Rest::GaveUp, turn);
        let slot = &self.slots[place];
        match slot.settings.on_give_up {
            OnGiveUp::Ignore => {}
            OnGiveUp::StopGroup => self.stop_all(turn),
            OnGiveUp::Escalate => {
                let error = slot.history.last().unwrap_or_default();
                let name = Arc::clone(&slot.name);
                self.escalated.get_or_insert((name, error));
                self.stop_all(turn);
            }
        }
    }

    /// Does what a caller wants of a child.
    fn grant(&mut self, place: usize, now: Nanos, turn: &mut Turn) {
        let slot = &mut self.slots[place];
        let Some(wish) = slot.wish.take() else {
            return;
        };
        if wish == Wish::Restart {
            slot.record = super::rules::Record::default();
        }
        match (&mut slot.phase, wish) {
            (Phase::Active(run), _) => {
                run.after = Some(match wish {
                    Wish::Stop => After::Stop,
                    Wish::Restart => After::Restart(Waiting::now()),
                });
                if run.told.is_none() {
                    run.told = Some(now.saturating_add(slot.settings.grace));
                    turn.tell.push(run.lifeline.token.clone());
                }
            }
            (_, Wish::Restart) => self.wait(place, Waiting::now(), now, turn),
            (Phase::Waiting(_), Wish::Stop) => self.rest(place, Rest::Stopped, turn),
            (Phase::Rest(_), Wish::Stop) => {}
        }
    }

    /// A child whose heart has stopped has failed, and is told to stop.
    fn feel_pulse(&mut self, place: usize, now: Nanos, turn: &mut Turn) {
        let slot = &mut self.slots[place];
        let Some(within) = slot.settings.heartbeat else {
            return;
        };
        let Phase::Active(run) = &mut slot.phase else {
            return;
        };
        let Some(sign) = run.last_sign() else {
            return;
        };
        if run.after.is_some() || run.ended.is_some() || now.saturating_sub(sign) < within {
            return;
        }
        run.after = Some(After::Judge(now));
        run.told = Some(now.saturating_add(slot.settings.grace));
        turn.tell.push(run.lifeline.token.clone());
        let error = format!("no heartbeat for {:?}", Duration::from_nanos(within));
        self.note_failure(place, &error.into(), turn);
    }

    fn start_due(&mut self, now: Nanos, held_up: bool, turn: &mut Turn) {
        for slot in &mut self.slots {
            let Phase::Waiting(waiting) = slot.phase else {
                continue;
            };
            if waiting.due > now || (waiting.with_group && held_up) {
                continue;
            }
            slot.generation += 1;
            slot.starts += 1;
            slot.phase = Phase::Active(Run {
                lifeline: Lifeline::new(self.clock, now),
                begun: None,
                ended: None,
                after: None,
                in_order: false,
                told: None,
                commanded: false,
            });
            turn.start.push(Start {
                id: slot.id,
                generation: slot.generation,
                name: Arc::clone(&slot.name),
            });
            if self.observed {
                turn.events.push(slot.event(EventKind::Started));
            }
        }
    }

    /// When time alone makes something happen.
    fn next_time(&self, now: Nanos, held_up: bool) -> Option<Nanos> {
        let times = self.slots.iter().filter_map(|slot| match &slot.phase {
            Phase::Waiting(waiting) if waiting.with_group && held_up => None,
            Phase::Waiting(waiting) => Some(waiting.due),
            Phase::Active(run) if run.after.is_none() => {
                // Nobody says when a run begins: it is looked at once more.
                let sign = run.last_sign().unwrap_or(now);
                Some(sign.saturating_add(slot.settings.heartbeat?))
            }
            Phase::Active(run) if run.in_order => run.told.filter(|until| *until > now),
            Phase::Active(_) | Phase::Rest(_) => None,
        });
        times.min()
    }

    // The ways into a phase.

    fn wait(&mut self, place: usize, waiting: Waiting, now: Nanos, turn: &mut Turn) {
        let slot = &mut self.slots[place];
        slot.phase = Phase::Waiting(waiting);
        let delay = Duration::from_nanos(waiting.due.saturating_sub(now));
        if self.observed {
            turn.events.push(slot.event(EventKind::Restarting(delay)));
        }
    }

    pub(super) fn rest(&mut self, place: usize, rest: Rest, turn: &mut Turn) {
        let slot = &mut self.slots[place];
        slot.phase = Phase::Rest(rest);
        if self.observed {
            turn.events.push(slot.event(match rest {
                Rest::Stopped => EventKind::Stopped,
                Rest::Completed => EventKind::Completed,
                Rest::GaveUp => EventKind::GaveUp(slot.history.last()),
            }));
        }
    }

    fn note_failure(&mut self, place: usize, error: &Arc<str>, turn: &mut Turn) {
        let slot = &mut self.slots[place];
        let kept = slot.settings.errors_kept;
        slot.history.note(Arc::clone(error), slot.starts, kept);
        if self.observed {
            turn.events
                .push(slot.event(EventKind::Failed(Arc::clone(error))));
        }
    }
}

impl Slot {
    fn event(&self, kind: EventKind) -> Event {
        Event {
            kind,
            name: Arc::clone(&self.name),
            start: self.starts,
        }
    }
}

/// What a child whose heart had stopped is judged by, whatever it returned when it was told to stop.
fn failed(ending: &Ending) -> Ending {
    let run = ending.run().unwrap_or(Span {
        uptime: 0,
        delay: Some(0),
    });
    Ending::Failed {
        error: Arc::default(),
        run,
    }
}
