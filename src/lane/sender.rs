//! What senders do at a lane.

use super::{Core, Gate};
use crate::crew::Crew;
use crate::park::Parker;
use crate::roster::blocking;
use crate::sync::Arc;

/// What became of an input that was to be sent.
enum Sent<I> {
    /// Tokens to announce.
    Admitted(usize),
    Over(I),
    NoRoom(I),
}

impl<I, T, E> Core<I, T, E> {
    pub(crate) fn add_sender(&self) {
        self.state.lock().senders += 1;
    }

    pub(crate) fn remove_sender(&self) {
        let mut state = self.state.lock();
        state.senders -= 1;
        self.wake_iterator();
    }

    /// Admits one input as soon as the window and the pool have room, and says how many tokens to announce; gives it back once the batch
    /// is not open.
    pub(crate) fn send(&self, input: I, crew: &Crew<'_>) -> Result<usize, I> {
        match self.try_send(input, crew, None) {
            Sent::Admitted(tokens) => Ok(tokens),
            Sent::Over(input) => Err(input),
            Sent::NoRoom(input) => blocking(|| self.send_slowly(input, crew)),
        }
    }

    fn send_slowly(&self, mut input: I, crew: &Crew<'_>) -> Result<usize, I> {
        let parker = Arc::new(Parker::default());
        let permits = &self.setup.roster.permits;
        loop {
            match self.try_send(input, crew, Some(&parker)) {
                Sent::Admitted(tokens) => return Ok(tokens),
                Sent::Over(input) => return Err(input),
                Sent::NoRoom(back) => input = back,
            }
            parker.park(None);
            // Woken for one of the two, and off neither list but that.
            permits.leave(&parker);
            let mut state = self.state.lock();
            state.blocked.retain(|other| !Arc::ptr_eq(other, &parker));
        }
    }

    /// Without room, `sleeper` is put on the lists of those that are woken when there may be some.
    fn try_send(&self, input: I, crew: &Crew<'_>, sleeper: Option<&Arc<Parker>>) -> Sent<I> {
        let permits = &self.setup.roster.permits;
        let mut state = self.state.lock();
        if state.gate != Gate::Open {
            return Sent::Over(input);
        }
        let has_room = state.room(self.setup.window) > 0;
        if !has_room || self.acquire_permits(&mut state, 1) == 0 {
            if let Some(sleeper) = sleeper {
                if has_room && !permits.enlist(sleeper) {
                    sleeper.unpark();
                }
                state.blocked.push_back(Arc::clone(sleeper));
            }
            return Sent::NoRoom(input);
        }
        self.counts.accepted.bump(1);
        let now = crew.clock.now();
        let index = state.take_indices(1);
        let job = self.setup.fresh(input, index, now);
        if self.setup.observer.is_there() {
            state = self.queue_told(state, vec![job]);
        } else {
            state.queued.push_back(job);
        }
        Sent::Admitted(state.announce(self.setup.threads))
    }

    /// Wakes one blocked sender for each free place.
    pub(super) fn wake_senders(&self, room: usize) {
        let woken: Vec<_> = {
            let mut state = self.state.lock();
            let woken = room.min(state.blocked.len());
            state.blocked.drain(..woken).collect()
        };
        woken.iter().for_each(|sender| sender.unpark());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lane::Setup;
    use crate::lane::tests::{Numbers, crew, setup};
    use crate::permits::Permits;
    use crate::roster::Roster;
    use crate::sync::now;

    /// Tries to send where there is no room; whoever is woken by `free` was asleep until then.
    fn assert_woken_by(core: &Numbers, free: impl FnOnce()) {
        let sleeper = Arc::new(Parker::default());
        let woken = || sleeper.park(Some(now()));
        let sent = core.try_send(7, &crew(), Some(&sleeper));
        assert!(matches!(sent, Sent::NoRoom(7)));
        assert!(!woken());
        free();
        assert!(woken());
    }

    #[test]
    fn a_sender_sleeps_until_there_is_room_in_the_window() {
        let core = Numbers::new(setup());
        core.admit(&mut (0..100).collect(), 0);
        assert_woken_by(&core, || core.wake_senders(1));
    }

    #[test]
    fn a_sender_sleeps_until_there_is_room_in_the_pool() {
        let core = Numbers::new(Setup {
            roster: Arc::new(Roster::new(1, 0, Permits::new(Some(1)))),
            ..setup()
        });
        let permits = &core.setup.roster.permits;
        assert_eq!(permits.try_acquire(1), 1);
        assert_woken_by(&core, || permits.release(1));
    }
}
