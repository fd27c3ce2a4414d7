//! Several children at once: who is restarted with whom, and who is told to stop when.

use super::options::{Restart, Strategy};
use super::slot::{After, Phase, Rest, Slot, Waiting};
use super::state::{State, Turn};
use crate::clock::Nanos;

impl State {
    /// The siblings that the strategy restarts with a child are stopped in order, and start with it.
    pub(super) fn restart_group(&mut self, place: usize, with: Waiting) {
        let first = match self.strategy {
            Strategy::OneForOne => return,
            Strategy::OneForAll => 0,
            Strategy::RestForOne => place + 1,
        };
        for (other, slot) in self.slots.iter_mut().enumerate().skip(first) {
            let after = match slot.settings.restart {
                Restart::Temporary => After::Stop,
                Restart::Permanent | Restart::Transient => After::Restart(with),
            };
            match &mut slot.phase {
                _ if other == place => {}
                Phase::Waiting(waiting) => *waiting = waiting.max(with),
                Phase::Active(run) => {
                    run.in_order = true;
                    run.after = Some(match run.after {
                        None => after,
                        Some(After::Restart(waiting)) => After::Restart(waiting.max(with)),
                        Some(other) => other,
                    });
                }
                Phase::Rest(_) => {}
            }
        }
    }

    /// All children are to stop, in order.
    pub(super) fn stop_all(&mut self, turn: &mut Turn) {
        for place in 0..self.slots.len() {
            match &mut self.slots[place].phase {
                Phase::Waiting(_) => self.rest(place, Rest::Stopped, turn),
                Phase::Active(run) => {
                    run.after = Some(After::Stop);
                    run.in_order = true;
                }
                Phase::Rest(_) => {}
            }
        }
    }

    /// Tells those to stop whose turn it is. True if somebody holds others up.
    pub(super) fn tell_in_order(&mut self, now: Nanos, turn: &mut Turn) -> bool {
        let mut held_up = false;
        let waits = |slot: &&mut Slot| matches!(&slot.phase, Phase::Active(run) if run.in_order);
        let mut left = self.slots.iter_mut().filter(|slot| waits(slot)).count() as u64;
        for slot in self.slots.iter_mut().rev() {
            let Phase::Active(run) = &mut slot.phase else {
                continue;
            };
            if !run.in_order {
                continue;
            }
            // In a shutdown nobody holds the others up for more than its share of the time.
            let share = self
                .shutdown
                .map(|end| now.saturating_add(end.saturating_sub(now) / left));
            left -= 1;
            let until = match run.told {
                Some(until) => until,
                None if held_up => continue,
                None => {
                    turn.tell.push(run.lifeline.token.clone());
                    now.saturating_add(slot.settings.grace)
                }
            };
            // The share of one that was told before only shrinks.
            let until = until.min(share.unwrap_or(Nanos::MAX));
            run.told = Some(until);
            held_up |= until > now;
        }
        held_up
    }
}
