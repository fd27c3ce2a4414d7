//! How many jobs a pool lets in: permits, counted apart from any queue, so that no push ever blocks.
//!
//! A permit belongs to a job from its admission until it settles, retries included. A job that waits for others lends its permit
//! and takes it back as a debt: for a moment more permits may be out than there are. Waking is one sleeper for each permit that
//! comes free; a sleeper that was woken and leaves without a permit hands the wake-up on ([`Permits::leave`]).

use std::collections::VecDeque;

use crate::park::Parker;
use crate::sync::{Arc, Mutex};

#[derive(Debug)]
pub(crate) struct Permits {
    /// `None`: without a limit, and nothing is counted.
    capacity: Option<usize>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Below 0 while a job lends a permit that it has not taken back.
    held: isize,
    sleepers: VecDeque<Arc<Parker>>,
}

impl State {
    fn free(&self, capacity: usize) -> usize {
        let held = self.held.max(0).unsigned_abs();
        capacity.saturating_sub(held)
    }
}

impl Permits {
    pub(crate) fn new(capacity: Option<usize>) -> Self {
        Self {
            capacity,
            state: Mutex::default(),
        }
    }

    /// Is there a limit?
    #[inline]
    pub(crate) fn are_bounded(&self) -> bool {
        self.capacity.is_some()
    }

    /// Takes up to `wanted` permits; says how many.
    pub(crate) fn try_acquire(&self, wanted: usize) -> usize {
        let Some(capacity) = self.capacity else {
            return wanted;
        };
        let mut state = self.state.lock();
        let granted = wanted.min(state.free(capacity));
        state.held += granted.cast_signed();
        granted
    }

    /// Takes permits whether there are any or not.
    pub(crate) fn force(&self, permits: usize) {
        if self.are_bounded() {
            self.state.lock().held += permits.cast_signed();
        }
    }

    /// Gives permits back.
    #[inline]
    pub(crate) fn release(&self, permits: usize) {
        if self.are_bounded() && permits > 0 {
            self.release_counted(permits);
        }
    }

    fn release_counted(&self, permits: usize) {
        let mut state = self.state.lock();
        state.held -= permits.cast_signed();
        let woken = permits.min(state.sleepers.len());
        let woken: Vec<_> = state.sleepers.drain(..woken).collect();
        drop(state);
        woken.iter().for_each(|sleeper| sleeper.unpark());
    }

    /// Has `sleeper` woken when a permit comes free. False if one is free now: then nobody was put down.
    pub(crate) fn enlist(&self, sleeper: &Arc<Parker>) -> bool {
        let Some(capacity) = self.capacity else {
            return false;
        };
        let mut state = self.state.lock();
        if state.free(capacity) > 0 {
            return false;
        }
        state.sleepers.push_back(Arc::clone(sleeper));
        true
    }

    /// Takes `sleeper` off the list. If it was woken, and there still is a permit, the next one is woken.
    pub(crate) fn leave(&self, sleeper: &Arc<Parker>) {
        let Some(capacity) = self.capacity else {
            return;
        };
        let mut state = self.state.lock();
        let before = state.sleepers.len();
        state.sleepers.retain(|other| !Arc::ptr_eq(other, sleeper));
        if state.sleepers.len() == before && state.free(capacity) > 0 {
            let next = state.sleepers.pop_front();
            drop(state);
            if let Some(next) = next {
                next.unpark();
            }
        }
    }

    /// Wakes everybody: the pool is closed.
    pub(crate) fn wake_all(&self) {
        let sleepers = std::mem::take(&mut self.state.lock().sleepers);
        sleepers.iter().for_each(|sleeper| sleeper.unpark());
    }

    /// Panics if a permit is out, or somebody waits for one.
    #[cfg(debug_assertions)]
    pub(crate) fn assert_all_back(&self) {
        let state = self.state.lock();
        assert_eq!(
            (state.held, state.sleepers.len()),
            (0, 0),
            "permits, sleepers"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_debt_is_paid_before_anything_is_granted() {
        let permits = Permits::new(Some(2));
        assert_eq!((permits.try_acquire(5), permits.try_acquire(1)), (2, 0));
        permits.release(1);
        assert_eq!(permits.try_acquire(5), 1);
        permits.force(1);
        permits.release(1);
        assert_eq!(permits.try_acquire(1), 0);
        permits.release(2);
        assert_eq!(permits.try_acquire(usize::MAX), 2);
    }

    #[test]
    fn a_wake_up_that_is_not_used_is_handed_on() {
        let permits = Permits::new(Some(1));
        let sleepers: Vec<Arc<Parker>> = (0..2).map(|_| Arc::default()).collect();
        assert!(!permits.enlist(&sleepers[0]));
        assert_eq!(permits.try_acquire(1), 1);
        assert!(sleepers.iter().all(|sleeper| permits.enlist(sleeper)));
        permits.release(1);
        let woken = |n: usize| sleepers[n].park(Some(Instant::now()));
        assert_eq!((woken(0), woken(1)), (true, false));
        permits.leave(&sleepers[0]);
        assert!(woken(1));
        assert_eq!(Permits::new(None).try_acquire(usize::MAX), usize::MAX);
    }

    #[test]
    fn without_a_limit_nothing_is_counted() {
        let permits = Permits::new(None);
        assert_eq!(permits.try_acquire(3), 3);
        permits.force(1);
        permits.release(3);
        assert_eq!(permits.state.lock().held, 0);
    }
}

#[cfg(all(test, rp_loom))]
mod models {
    use super::*;
    use crate::sync::loom::{check, check_bounded, spawn};
    use crate::sync::now;

    /// As `Crew::admit` does it, but for the end of the pool.
    fn acquire(permits: &Permits, patient: bool) -> bool {
        let parker = Arc::new(Parker::default());
        loop {
            if permits.try_acquire(1) == 1 {
                return true;
            }
            if !permits.enlist(&parker) {
                continue;
            }
            let in_time = parker.park((!patient).then(now));
            permits.leave(&parker);
            if !in_time {
                return false;
            }
        }
    }

    fn assert_all_back(permits: &Permits) {
        let state = permits.state.lock();
        assert_eq!((state.held, state.sleepers.len()), (0, 0));
    }

    #[test]
    fn whoever_waits_gets_a_permit_that_comes_free() {
        check(&["at once", "after a wait"], |sides| {
            let permits = Arc::new(Permits::new(Some(1)));
            assert_eq!(permits.try_acquire(1), 1);
            let waiter = spawn({
                let (permits, sides) = (Arc::clone(&permits), Arc::clone(sides));
                move || {
                    let at_once = permits.state.lock().held == 0;
                    assert!(acquire(&permits, true));
                    assert_eq!(permits.state.lock().held, 1);
                    sides.saw(if at_once { "at once" } else { "after a wait" });
                    permits.release(1);
                }
            });
            permits.release(1);
            waiter.join().unwrap();
            assert_all_back(&permits);
        });
    }

    #[test]
    fn two_that_wait_for_one_permit_both_get_it() {
        check_bounded(&["the one first", "the other first"], |sides| {
            let permits = Arc::new(Permits::new(Some(1)));
            assert_eq!(permits.try_acquire(1), 1);
            let served = Arc::new(Mutex::new(false));
            let waiters = ["the one first", "the other first"].map(|side| {
                let (permits, sides) = (Arc::clone(&permits), Arc::clone(sides));
                let served = Arc::clone(&served);
                spawn(move || {
                    assert!(acquire(&permits, true));
                    assert_eq!(permits.state.lock().held, 1);
                    if !std::mem::replace(&mut *served.lock(), true) {
                        sides.saw(side);
                    }
                    permits.release(1);
                })
            });
            permits.release(1);
            waiters
                .into_iter()
                .for_each(|waiter| waiter.join().unwrap());
            assert_all_back(&permits);
        });
    }

    #[test]
    fn who_runs_out_of_patience_hands_the_wake_up_on() {
        check_bounded(&["served", "left"], |sides| {
            let permits = Arc::new(Permits::new(Some(1)));
            assert_eq!(permits.try_acquire(1), 1);
            let [patient, impatient] = [true, false].map(|patient| {
                let permits = Arc::clone(&permits);
                spawn(move || {
                    let served = acquire(&permits, patient);
                    permits.release(usize::from(served));
                    served
                })
            });
            permits.release(1);
            assert!(patient.join().unwrap());
            let served = impatient.join().unwrap();
            sides.saw(if served { "served" } else { "left" });
            assert_all_back(&permits);
        });
    }

    #[test]
    fn a_lent_permit_is_paid_back_before_it_is_granted_again() {
        check(&["lent", "paid back"], |sides| {
            let permits = Arc::new(Permits::new(Some(1)));
            assert_eq!(permits.try_acquire(1), 1);
            let borrower = spawn({
                let permits = Arc::clone(&permits);
                move || permits.try_acquire(1)
            });
            // A job that holds the permit waits, goes on, and settles.
            permits.release(1);
            permits.force(1);
            permits.release(1);
            let granted = borrower.join().unwrap();
            sides.saw(if granted == 1 { "lent" } else { "paid back" });
            permits.release(granted);
            assert_all_back(&permits);
        });
    }
}
