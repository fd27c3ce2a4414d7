//! The lives of a pool's threads: the workers and the timer's.

use super::{CREW, Crew, Due, Next, Parked, STOPPED, SharedLane, Work};
use crate::stats::Counts;
use crate::sync::Arc;
use crate::unwind;

impl<'p> Crew<'p> {
    /// The life of a worker, which has the counts of this index to itself.
    pub(crate) fn work(&self, index: usize) {
        let _presence = self.enter();
        let counts = &self.workers[index];
        while let Some(work) = self.queue.pop() {
            let next = if self.phase() == STOPPED {
                work.give_up(self);
                Next::Done
            } else {
                work.run(self, counts)
            };
            match next {
                Next::Done => unwind::discard(work),
                Next::Requeue(place) => self.push_at(place, work),
                Next::ParkUntil(due, place) => self.park(due, Parked::Job(work, place)),
            }
        }
    }

    /// The life of the timer's thread.
    pub(crate) fn keep_time(&self) {
        let _presence = self.enter();
        self.timer.run(|parked, now| match parked {
            Parked::Job(work, place) => self.push_at(place, work),
            Parked::Lane(weak) => {
                let Some(lane) = weak.upgrade() else { return };
                let Due { tokens, again } = lane.due(now);
                self.push_tokens(&lane, tokens);
                if let Some(due) = again {
                    self.park(due, Parked::Lane(weak));
                }
                // The iterator may have gone meanwhile; then the batch's job function is dropped with this reference.
                self.push(Arc::new(Farewell { _lane: lane }));
            }
        });
    }

    fn enter(&self) -> Presence<'_, 'p> {
        CREW.set(self.id);
        Presence { crew: self }
    }
}

/// A reference that is to be dropped by a worker, since the timer's thread runs no user code.
struct Farewell<'p> {
    _lane: SharedLane<'p>,
}

impl<'p> Work<'p> for Farewell<'p> {
    fn run(&self, _crew: &Crew<'p>, _counts: &Counts) -> Next {
        Next::Done
    }

    fn give_up(&self, _crew: &Crew<'p>) {}
}

/// A thread of the pool, for as long as it lives.
struct Presence<'a, 'p> {
    crew: &'a Crew<'p>,
}

impl Drop for Presence<'_, '_> {
    fn drop(&mut self) {
        *self.crew.alive.lock() -= 1;
        self.crew.ended.notify_all();
    }
}
