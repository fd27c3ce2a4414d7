//! One child's place in the state machine: its phase, and the marks that others leave there.

use std::time::Duration;

use super::child::{Planned, Ward};
use super::options::Settings;
use super::rules::{Ending, Record};
use super::status::{ChildState, ChildStatus, History};
use crate::attempt::Lifeline;
use crate::clock::{Clock, Nanos};
use crate::sync::{Arc, now};

/// A due time that lies further away is shown as this: a hundred years.
const FAR: Nanos = 100 * 365 * 24 * 3_600 * 1_000_000_000;

/// A child in its supervisor.
pub(super) struct Slot {
    /// From 0, in start order; never used again.
    pub(super) id: u64,
    pub(super) name: Arc<str>,
    pub(super) settings: Settings,
    pub(super) phase: Phase,
    /// The child's code, while no run has it. `None` for good once the child is removed or the supervisor shut down.
    pub(super) ward: Option<Ward>,
    /// Mark of a command.
    pub(super) wish: Option<Wish>,
    /// Mark of a command, for good: the slot goes when no run is left.
    pub(super) removed: bool,
    pub(super) starts: u64,
    /// Tells the runs apart; counts those that were skipped, too.
    pub(super) generation: u64,
    pub(super) record: Record,
    pub(super) history: History,
}

/// See the table in `state.rs`.
pub(super) enum Phase {
    Waiting(Waiting),
    Active(Run),
    Rest(Rest),
}

/// No run; to be started.
#[derive(Clone, Copy)]
pub(super) struct Waiting {
    pub(super) due: Nanos,
    /// Not a first start, nor one by hand.
    pub(super) backoff: bool,
    /// Starts only when all that are stopped in order have ended, or had their grace.
    pub(super) with_group: bool,
}

/// A thread that was started for the child and has not been seen to end.
pub(super) struct Run {
    pub(super) lifeline: Lifeline,
    /// Mark of the child's thread: it calls the child.
    pub(super) begun: Option<Nanos>,
    /// Mark of the child's thread: it is done.
    pub(super) ended: Option<Ending>,
    /// Mark of the child's thread: a command had been given before.
    pub(super) commanded: bool,
    /// The run is to end, and this follows.
    pub(super) after: Option<After>,
    /// It is told in its turn, and holds up those before it.
    pub(super) in_order: bool,
    /// The child was told to stop; until then it holds up those before it.
    pub(super) told: Option<Nanos>,
}

#[derive(Clone, Copy)]
pub(super) enum After {
    Stop,
    Restart(Waiting),
    /// Its heart stopped at this time: it is judged as failed.
    Judge(Nanos),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    Stopped,
    Completed,
    GaveUp,
}

/// What a caller wants of a child; the last word counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Stop,
    Restart,
}

impl Run {
    /// When the child last showed that it lives; `None` if it was not called yet.
    pub(super) fn last_sign(&self) -> Option<Nanos> {
        let beat = self.lifeline.heart.last_beat();
        self.begun.map(|begun| begun.max(beat))
    }

    /// What follows from its end, if the child was told to stop.
    pub(super) fn told_for(&self) -> Option<After> {
        self.told.and(self.after)
    }

    /// How long the child has run, or had when its heart stopped.
    pub(super) fn uptime(&self, now: Nanos) -> Nanos {
        let until = match self.after {
            Some(After::Judge(stopped)) => stopped,
            _ => now,
        };
        self.begun.map_or(0, |begun| until.saturating_sub(begun))
    }
}

impl Waiting {
    /// Started as soon as can be.
    pub(super) fn now() -> Self {
        Self {
            due: 0,
            backoff: false,
            with_group: false,
        }
    }

    /// The later of two, with the group if either is.
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            due: self.due.max(other.due),
            backoff: self.backoff || other.backoff,
            with_group: self.with_group || other.with_group,
        }
    }
}

impl Slot {
    pub(super) fn new(id: u64, planned: Planned) -> Self {
        Self {
            id,
            name: planned.name,
            settings: planned.settings,
            phase: Phase::Waiting(Waiting::now()),
            ward: Some(planned.ward),
            wish: None,
            removed: false,
            starts: 0,
            generation: 0,
            record: Record::default(),
            history: History::default(),
        }
    }

    /// Is there a run that has not ended?
    pub(super) fn is_running(&self) -> bool {
        matches!(&self.phase, Phase::Active(run) if run.ended.is_none())
    }

    /// Is it removed, and its name free?
    pub(super) fn is_gone(&self) -> bool {
        self.removed && !self.is_running()
    }

    /// Does nothing follow by itself?
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Rest(_)) && self.wish.is_none()
    }

    /// The run of this generation.
    pub(super) fn run(&mut self, generation: u64) -> Option<&mut Run> {
        match &mut self.phase {
            Phase::Active(run) if self.generation == generation => Some(run),
            _ => None,
        }
    }

    /// Marks the run of this generation as ended.
    pub(super) fn end(&mut self, generation: u64, ending: Ending) {
        let commanded = self.wish.is_some();
        if let Some(run) = self.run(generation) {
            (run.commanded, run.ended) = (commanded, Some(ending));
        }
    }

    fn shown(&self, clock: &Clock, ends: bool) -> ChildState {
        let wish = if ends { Some(Wish::Stop) } else { self.wish };
        match (&self.phase, wish) {
            (Phase::Active(run), None) if run.after.is_none() => match run.begun {
                Some(_) => ChildState::Running,
                None => ChildState::Starting,
            },
            (Phase::Active(_), _) => ChildState::Stopping,
            (_, Some(Wish::Restart)) => ChildState::Starting,
            (Phase::Waiting(_), Some(Wish::Stop)) => ChildState::Stopped,
            (Phase::Waiting(waiting), None) if waiting.backoff => {
                let due = clock.instant(waiting.due.min(FAR));
                let due = due.unwrap_or_else(now);
                ChildState::Backoff { due }
            }
            (Phase::Waiting(_), None) => ChildState::Starting,
            (Phase::Rest(Rest::Stopped), _) => ChildState::Stopped,
            (Phase::Rest(Rest::Completed), _) => ChildState::Completed,
            (Phase::Rest(Rest::GaveUp), _) => ChildState::GaveUp,
        }
    }

    /// What is shown of it; `ends`: the supervisor is to end.
    pub(super) fn status(&self, clock: &Clock, ends: bool) -> ChildStatus {
        let uptime = match &self.phase {
            Phase::Active(run) => run.uptime(clock.now()),
            _ => 0,
        };
        ChildStatus {
            name: Arc::clone(&self.name),
            state: self.shown(clock, ends),
            starts: self.starts,
            uptime: Duration::from_nanos(uptime),
            errors: self.history.to_vec(),
        }
    }
}
