//! How a pool is closed, cancelled and stopped, and how that is waited for.

use std::time::{Duration, Instant};

use super::{Crew, DRAINING, Parked, RUNNING, STOPPED, WHOLE};
use crate::clock::{Nanos, deadline_after};
use crate::reason::GiveUpReason;
use crate::sync::{Ordering, fence};
use crate::unwind;

/// How long a pool that is stopped waits for its idle threads to leave; they need microseconds.
const LEAVING: Duration = Duration::from_millis(50);

impl<'p> Crew<'p> {
    /// Accepts nothing more from outside. What was accepted still runs, and the threads end after it.
    pub(crate) fn close(&self) {
        let mut batches = self.batches.lock();
        batches.close();
        let lanes = batches.lanes();
        lanes.iter().for_each(|lane| lane.close());
        if self.phase() == RUNNING {
            self.set_phase(DRAINING);
        }
        drop(batches);
        self.roster.permits.wake_all();
        unwind::discard_all(lanes);
        let over = |parked: &Parked<'p>| matches!(parked, Parked::Job(work, _) if work.is_over(self).is_some());
        let ended = self.timer.take(over);
        ended
            .into_iter()
            .for_each(|parked| self.drop_parked(parked));
        self.settled();
    }

    /// Settles whatever has not begun as given up, and lets the threads end after what runs.
    pub(crate) fn stop_now(&self) {
        self.close();
        let batches = self.batches.lock();
        let lanes = batches.lanes();
        self.set_phase(STOPPED);
        drop(batches);
        // A job that waits for a place may go on waiting while its pool only drains.
        self.roster.permits.wake_all();
        self.cancel_before(Nanos::MAX);
        // First, because user code that runs below may wait for the threads.
        self.roster.stop();
        self.stop_timer();
        lanes
            .iter()
            .for_each(|lane| lane.give_up(WHOLE, self, GiveUpReason::Shutdown));
        unwind::discard_all(lanes);
        self.sweep(GiveUpReason::Shutdown);
        self.tell_running(GiveUpReason::Shutdown);
    }

    /// Cancels whatever was accepted before this call.
    pub(crate) fn cancel_all(&self) {
        let reason = GiveUpReason::Cancelled;
        self.cancel_before(self.clock.now());
        let lanes = self.batches.lock().lanes();
        lanes
            .iter()
            .for_each(|lane| lane.give_up(WHOLE, self, reason));
        // What is pushed meanwhile is not cancelled by this call, so it ends. What is urgent is about to end anyway.
        for _ in 0..self.queue.len() {
            let Some(work) = self.queue.pop_other() else {
                break;
            };
            work.give_up(self, reason);
            unwind::discard(work);
        }
        for parked in self.timer.take(|parked| matches!(parked, Parked::Job(..))) {
            if let Parked::Job(work, _) = &parked {
                work.give_up(self, reason);
            }
            unwind::discard(parked);
        }
        unwind::discard_all(lanes);
        self.tell_running(reason);
    }

    /// Ends what is parked. The timer goes on with the limits of attempts as long as a worker is there that may run one.
    pub(super) fn stop_timer(&self) {
        let ended = self.timer.stop();
        ended
            .into_iter()
            .for_each(|parked| self.drop_parked(parked));
    }

    fn cancel_before(&self, time: Nanos) {
        // ORDERING: SeqCst with a fence: see the module's text.
        self.cancelled_before.fetch_max(time, Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }

    pub(super) fn cancelled_before(&self) -> Nanos {
        // ORDERING: SeqCst: see the module's text.
        self.cancelled_before.load(Ordering::SeqCst)
    }

    /// To be asked by who has begun a job that was accepted at this time: is it cancelled?
    pub(crate) fn has_cancelled(&self, accepted: Nanos) -> Option<GiveUpReason> {
        match self.cancelled_before() {
            Nanos::MAX => Some(GiveUpReason::Shutdown),
            before if accepted < before => Some(GiveUpReason::Cancelled),
            _ => None,
        }
    }

    /// Tells every running attempt to stop.
    fn tell_running(&self, reason: GiveUpReason) {
        let posts = self.roster.posts();
        posts
            .iter()
            .for_each(|post| post.token().cancel_for(reason));
    }

    /// Waits until every accepted job has settled in a closed pool. False if the deadline came first.
    pub(crate) fn wait_until_stopped(&self, deadline: Option<Instant>) -> bool {
        self.wait(deadline, |_| self.phase() == STOPPED)
    }

    /// Waits until the threads of a stopped pool have ended, but for the stuck ones. True if they have; past the deadline those that
    /// still run a job are not waited for.
    pub(crate) fn wait_for_threads(&self, deadline: Option<Instant>) -> bool {
        let ended = self.wait(deadline, |alive| alive == 0);
        if !ended {
            let running = self.stats().unsettled();
            // The timer's thread stays with those that run.
            let left = running + u64::from(running > 0);
            self.wait(deadline_after(LEAVING), |alive| alive as u64 <= left);
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::crew;
    use super::*;
    use crate::roster::Roster;
    use crate::sync::Arc;

    #[test]
    fn a_cancel_is_for_what_was_accepted_before() {
        let crew = crew();
        assert_eq!(crew.has_cancelled(0), None);
        crew.cancel_before(5);
        assert_eq!(crew.has_cancelled(4), Some(GiveUpReason::Cancelled));
        assert_eq!(crew.has_cancelled(5), None);
        // An earlier one changes nothing.
        crew.cancel_before(3);
        assert_eq!(crew.has_cancelled(4), Some(GiveUpReason::Cancelled));
        crew.cancel_before(Nanos::MAX);
        assert_eq!(crew.has_cancelled(5), Some(GiveUpReason::Shutdown));
    }

    #[test]
    fn idle_threads_have_a_moment_to_leave_when_the_time_is_over() {
        let waits = || {
            let crew = crew();
            let roster = Arc::clone(&crew.roster);
            roster.count_timer(true);
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(2));
                roster.count_timer(false);
            });
            assert!(!crew.wait_for_threads(Some(Instant::now())));
            let left = Roster::alive(&crew.roster.lock());
            thread.join().unwrap();
            left == 0
        };
        // On a busy machine a moment may be too short.
        assert!((0..10).any(|_| waits()));
    }
}
