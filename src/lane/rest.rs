//! How the iterator waits while nothing is ready, in four steps.
//!
//! 1. It *spins* for one or two microseconds: most of what is tiny comes within that.
//! 2. It *naps*: sleeps for the shortest time that there is, and is woken for a worker that runs out of jobs, but for no completion. Only where the
//!    last one came soon, and the workers have enough to do meanwhile (`naps.rs`), so that nothing is lost but some 50 µs of a completion's time,
//!    and many are collected at once (also where one settles just as it begins). Network cards call this interrupt moderation. In a job it has no spare, since it ends by itself.
//! 3. It *gives way*: offers its CPU to others, and looks after each time.
//! 4. It *sleeps* until it is woken.
//!
//! Without naps an iterator of short jobs looks all the time, or is woken for each job. With two processors Linux often leaves it one of them, and the
//! workers share the other. By measurement, on two workers, in multiples of what the jobs take: jobs of 1 µs 1.29 instead of 1.65, 2 µs
//! 1.17 instead of 1.5, 4 µs 1.09 instead of 1.2–2.4, 10 µs 1.03–1.07 instead of 1.03–1.9.

use std::time::{Duration, Instant};

use super::{Core, Gate, State};
use crate::roster::blocking;
use crate::sync::{MutexGuard, give_way, now, spin};

/// The shortest sleep. Linux makes some 55 µs of it: it may be late by 50 by default (`PR_SET_TIMERSLACK`), and is.
const NAP: Duration = Duration::from_micros(1);

/// How late timers are elsewhere was not seen.
const HAS_FINE_TIMERS: bool = cfg!(target_os = "linux");

/// A caller who has less time than this does without naps.
const HASTE: Duration = Duration::from_micros(100);

/// Why the iterator's wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Visit again.
    Progress,
    /// Nothing is unsettled and nothing can come.
    End,
    TimedOut,
}

/// What an iterator that sleeps refills for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefillFor {
    /// It has no inputs, no room for them, or no time left.
    Nothing,
    /// It has both, and is not at it: what the workers have got is enough until one runs out.
    HungryWorker,
    /// It is starved. While it has inputs there is no end.
    Permit,
}

impl<I, T, E> Core<I, T, E> {
    /// Waits until there is something to collect, to announce or to `refill` for, or the end has come.
    pub(crate) fn wait(&self, deadline: Option<Instant>, refill: RefillFor) -> Woken {
        let outlook = |state: &State<I, T, E>| match (state.outlook(), refill) {
            (Some(Woken::End), RefillFor::Permit) if state.gate == Gate::Open => None,
            (None, RefillFor::HungryWorker) => state
                .has_idle_workers(self.setup.threads)
                .then_some(Woken::Progress),
            (outlook, _) => outlook,
        };
        let gather_and_look = |state: &mut State<I, T, E>| {
            state.gather_unless_ready();
            outlook(state)
        };
        let looked = spin(|| outlook(&self.state.lock()))
            .or_else(|| self.nap_or_give_way(deadline, gather_and_look));
        if let Some(woken) = looked {
            return woken;
        }
        // In a job, its own permit is lent for as long as this lasts, so a permit that comes free has to be taken here.
        blocking(|| {
            if refill != RefillFor::Permit {
                let wants_more = refill == RefillFor::HungryWorker;
                return self.sleep(deadline, wants_more, gather_and_look);
            }
            let permits = &self.setup.roster.permits;
            while !self.reserve_permit() {
                if permits.enlist(&self.parker) {
                    let woken = self.sleep(deadline, false, gather_and_look);
                    permits.leave(&self.parker);
                    if woken == Woken::Progress {
                        self.reserve_permit();
                    }
                    return woken;
                }
            }
            Woken::Progress
        })
    }

    /// Takes a permit, if one is free, for the next input that is admitted.
    fn reserve_permit(&self) -> bool {
        let mut state = self.state.lock();
        let reserved = state.gate == Gate::Open && self.setup.roster.permits.try_acquire(1) == 1;
        state.reserved += usize::from(reserved);
        reserved || state.gate != Gate::Open
    }

    /// What comes between the spin and the sleep.
    fn nap_or_give_way(
        &self,
        deadline: Option<Instant>,
        look: impl Fn(&mut State<I, T, E>) -> Option<Woken>,
    ) -> Option<Woken> {
        // Jobs for which naps are good are taken to compute: they are short.
        let at_once = self.setup.threads.min(self.setup.processors);
        let haste = || deadline.is_some_and(|deadline| deadline < now() + HASTE);
        let mut state = self.state.lock();
        if !HAS_FINE_TIMERS || !state.naps.have_enough(state.queued.len(), at_once) || haste() {
            drop(state);
            return give_way(|| look(&mut self.state.lock()));
        }
        let clock = &self.setup.clock;
        if state.naps.begins() {
            let begun = clock.now();
            state = self.nap(state, now() + NAP);
            let found = look(&mut state);
            let took = clock.now().saturating_sub(begun);
            let settled = state.settled.len();
            state.naps.note_nap(took, settled, at_once);
            if found.is_some() {
                return found;
            }
        }
        drop(state);
        let begun = clock.now();
        give_way(|| {
            let mut state = self.state.lock();
            let found = look(&mut state)?;
            let took = clock.now().saturating_sub(begun);
            state.naps.note_offers(took);
            Some(found)
        })
    }

    /// Sleeps until `end`, or until a worker runs out of jobs. For one that has done so before it would not be woken.
    pub(super) fn nap<'a>(
        &'a self,
        mut state: MutexGuard<'a, State<I, T, E>>,
        end: Instant,
    ) -> MutexGuard<'a, State<I, T, E>> {
        state.napping = true;
        drop(state);
        self.parker.park(Some(end));
        let mut state = self.state.lock();
        state.napping = false;
        state
    }

    fn sleep(
        &self,
        deadline: Option<Instant>,
        wants_more: bool,
        outlook: impl Fn(&mut State<I, T, E>) -> Option<Woken>,
    ) -> Woken {
        let mut state = self.state.lock();
        // First, for workers who put a success into a pocket that has been looked into.
        self.set_awaited(true);
        if let Some(woken) = outlook(&mut state) {
            self.set_awaited(false);
            return woken;
        }
        state.wants_more = wants_more;
        drop(state);
        let clock = &self.setup.clock;
        let begun = clock.now();
        let in_time = self.parker.park(deadline);
        let mut state = self.state.lock();
        self.set_awaited(false);
        state.wants_more = false;
        let took = clock.now().saturating_sub(begun);
        state.naps.note_sleep(took, in_time);
        match outlook(&mut state) {
            Some(woken) => woken,
            None if in_time => Woken::Progress,
            None => Woken::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Numbers, next, setup, turn};
    use super::super::{After, Ran, Setup, Turn};
    use super::*;

    /// A batch whose jobs take 10 µs, with so many of them, and an iterator for which the last one came soon.
    fn batch(jobs: u32) -> Numbers {
        let core = Numbers::new(setup());
        core.admit(&mut (0..jobs).collect(), 0);
        let mut state = core.state.lock();
        (0..10).for_each(|_| state.naps.note_jobs(10_000));
        state.naps.note_offers(0);
        drop(state);
        core
    }

    /// Does a wait with so much time begin with a nap?
    fn naps(core: &Numbers, time: Duration) -> bool {
        // It ends a nap, and is kept for the sleep if there is none.
        core.parker.unpark();
        let woken = core.nap_or_give_way(Some(now() + time), |_| None);
        assert_eq!(woken, None);
        assert!(!core.state.lock().napping);
        !core.parker.park(Some(now()))
    }

    #[test]
    fn a_wait_begins_with_a_nap_where_the_last_job_came_soon_and_enough_is_left() {
        let minute = Duration::from_secs(60);
        let core = batch(100);
        assert_eq!(naps(&core, minute), HAS_FINE_TIMERS);
        assert!(!naps(&core, minute));
        assert!(!naps(&batch(9), minute));
        assert!(!naps(&batch(100), Duration::ZERO));
    }

    #[test]
    fn as_many_jobs_as_there_are_processors_are_done_at_once() {
        let core = Numbers::new(Setup {
            threads: 64,
            processors: 1,
            ..setup()
        });
        core.admit(&mut (0..20).collect(), 0);
        let mut state = core.state.lock();
        (0..10).for_each(|_| state.naps.note_jobs(10_000));
        state.naps.note_offers(0);
        drop(state);
        assert_eq!(naps(&core, Duration::from_secs(60)), HAS_FINE_TIMERS);
    }

    #[test]
    fn workers_tell_how_long_jobs_take() {
        let core = Numbers::new(setup());
        core.admit(&mut (0..10).collect(), 0);
        let (mut job, ..) = core.begin(0).unwrap();
        let turn = Turn {
            each: 10_000,
            ..turn(None, false)
        };
        while let (After::Job(next), _) = core.exchange(Ran::Settled(job.succeed(0)), None, &turn) {
            job = next;
        }
        assert!(core.state.lock().naps.have_enough(20, 1));
    }

    #[test]
    fn an_iterator_that_naps_is_woken_for_a_hungry_worker_and_for_no_completion() {
        let core = batch(2);
        let (mut job, _) = core.begin(0).unwrap();
        core.state.lock().napping = true;
        for last in [false, true] {
            let ran = Ran::Settled(job.succeed(0));
            let (after, _) = core.exchange(ran, None, &turn(None, false));
            assert_eq!(core.parker.park(Some(now())), last);
            if last {
                assert!(matches!(after, After::Empty));
                break;
            }
            job = next(after);
        }
        let state = core.state.lock();
        assert_eq!((state.settled.len(), state.napping), (2, false));
    }
}
