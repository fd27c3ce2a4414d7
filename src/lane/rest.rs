//! How the iterator waits while nothing is ready, in four steps.
//!
//! 1. It *spins* for one or two microseconds: most of what is tiny comes within that.
//! 2. It *naps*: sleeps for the shortest time that there is, and is woken for a worker that runs out of jobs, but for no completion. Only where the
//!    last one came soon, and the workers have enough to do meanwhile, so that nothing is lost but what a completion may be held
//!    back ([`HELD_BACK`]), and many are collected at once. Network cards call this interrupt moderation.
//! 3. It *gives way*: offers its CPU to others, and looks after each time.
//! 4. It *sleeps* until it is woken.
//!
//! Without naps an iterator of short jobs looks all the time, or is woken for each job. With two processors Linux often leaves it one of them, and the
//! workers share the other. By measurement, on two workers, in multiples of what the jobs take: jobs of 1 µs 1.29 instead of 1.65, 2 µs
//! 1.17 instead of 1.5, 4 µs 1.09 instead of 1.2–2.4, 10 µs 1.04 instead of 1.03–1.9.

use std::time::{Duration, Instant};

use super::{Core, Gate, State};
use crate::clock::Nanos;
use crate::roster::blocking;
use crate::sync::{MutexGuard, give_way, now, spin};

/// The longest that a completion is held back so that it is one of a group.
const HELD_BACK: Nanos = 50_000;

/// The shortest sleep. Linux makes some 55 µs of it: it may be late by 50 by default (`PR_SET_TIMERSLACK`), and is.
const NAP: Duration = Duration::from_micros(1);

/// Elsewhere timers may be as coarse as 16 ms.
const HAS_FINE_TIMERS: bool = cfg!(unix);

/// Three offers of the CPU that take less than this were in vain: nobody else wanted it.
const IN_VAIN: Nanos = 10_000;

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

impl<I, T, E> State<I, T, E> {
    /// Have the workers enough to do for as long as a completion is held back, and in jobs that are shorter than that?
    fn keeps_workers_busy(&self, threads: usize) -> bool {
        let jobs = self.queued.len() as u64;
        HAS_FINE_TIMERS
            && self.each < HELD_BACK
            && jobs * self.each / threads as u64 >= 2 * HELD_BACK
    }
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
        let mut state = self.state.lock();
        if !state.keeps_workers_busy(self.setup.threads) {
            drop(state);
            return give_way(|| look(&mut self.state.lock()));
        }
        // Between two naps it gives way, to learn if it still has a processor to itself.
        if std::mem::take(&mut state.brisk) {
            let end = now() + NAP;
            let end = deadline.map_or(end, |deadline| end.min(deadline));
            state = self.nap(state, end);
            if let Some(found) = look(&mut state) {
                return Some(found);
            }
        }
        drop(state);
        let clock = &self.setup.clock;
        let begun = clock.now();
        give_way(|| {
            let mut state = self.state.lock();
            let found = look(&mut state)?;
            state.brisk = clock.now().saturating_sub(begun) < IN_VAIN;
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
        state.brisk = in_time && clock.now().saturating_sub(begun) < HELD_BACK;
        match outlook(&mut state) {
            Some(woken) => woken,
            None if in_time => Woken::Progress,
            None => Woken::TimedOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Numbers, setup};
    use super::super::{Ran, Setup, Turn};
    use super::*;

    /// A batch whose jobs take 10 µs, with so many of them, and an iterator for which the last one came soon.
    fn batch(jobs: u32) -> Numbers {
        let core = Numbers::new(setup());
        core.admit(&mut (0..jobs).collect(), 0);
        let mut state = core.state.lock();
        (state.each, state.brisk) = (10_000, true);
        drop(state);
        core
    }

    fn wait(core: &Numbers) -> Woken {
        core.wait(Some(now()), RefillFor::Nothing)
    }

    /// Has somebody woken the iterator since it last slept?
    fn is_woken(core: &Numbers) -> bool {
        core.parker.park(Some(now()))
    }

    #[test]
    fn workers_are_busy_if_they_have_enough_to_do_in_short_jobs() {
        for (threads, jobs, each, busy) in [
            (1, 9, 10_000, false),
            (1, 10, 10_000, true),
            (2, 19, 10_000, false),
            (2, 20, 10_000, true),
            (1, 1_000, 0, false),
            (1, 3, HELD_BACK - 1, true),
            (1, 1_000, HELD_BACK, false),
        ] {
            let core = Numbers::new(Setup {
                window: jobs,
                ..setup()
            });
            core.admit(&mut (0..jobs as u32).collect(), 0);
            let mut state = core.state.lock();
            state.each = each;
            let case = format!("{jobs} jobs of {each} ns, {threads} threads");
            assert_eq!(state.keeps_workers_busy(threads), busy, "{case}");
        }
    }

    #[test]
    fn every_other_wait_begins_with_a_nap_where_the_last_job_came_soon() {
        let core = batch(100);
        // It would end a nap, and is kept for the sleep if there is none.
        core.parker.unpark();
        assert_eq!(wait(&core), Woken::TimedOut);
        assert!(!core.state.lock().brisk && !core.state.lock().napping);
        core.parker.unpark();
        assert_eq!(wait(&core), Woken::Progress);
        assert!(core.state.lock().brisk, "it was woken at once");
    }

    #[test]
    fn without_enough_to_do_there_is_no_nap() {
        let core = batch(9);
        core.parker.unpark();
        assert_eq!(wait(&core), Woken::Progress);
    }

    #[test]
    fn an_iterator_that_naps_is_woken_for_a_hungry_worker_and_for_no_completion() {
        let core = batch(2);
        let (mut job, _) = core.begin(0).unwrap();
        core.state.lock().napping = true;
        let turn = Turn {
            pocket: None,
            each: 10_000,
            over: false,
            time: 0,
        };
        for woken in [false, true] {
            let ran = Ran::Settled(job.succeed(0));
            let (after, _) = core.exchange(ran, None, &turn);
            assert_eq!(is_woken(&core), woken);
            match after {
                super::super::After::Job(next) => job = next,
                _ => break,
            }
        }
        assert_eq!(core.state.lock().settled.len(), 2);
    }

    #[test]
    fn the_length_of_a_job_is_learnt_slowly_and_unlearnt_at_once() {
        let core = batch(4);
        let (mut job, _) = core.begin(0).unwrap();
        core.state.lock().each = 0;
        for (each, known) in [(500, 100), (500, 300), (4_000_000, 700), (50, 50)] {
            let turn = Turn {
                pocket: None,
                each,
                over: false,
                time: 0,
            };
            let (after, _) = core.exchange(Ran::Settled(job.succeed(0)), None, &turn);
            assert_eq!(core.state.lock().each, known);
            match after {
                super::super::After::Job(next) => job = next,
                _ => break,
            }
        }
    }
}
