//! The batches of a pool: those that live, and the counts of those that are gone.

use crate::stats::{Counts, Stats};
use crate::sync::{Arc, Ordering, Weak, fence};

/// Holds the lanes weakly, so that neither a pool nor a batch keeps the other alive, and their counts strongly, so that none is
/// lost when a batch goes.
pub(crate) struct Registry<L: ?Sized> {
    closed: bool,
    begun: u64,
    live: Vec<Member<L>>,
    past: Stats,
}

struct Member<L: ?Sized> {
    number: u64,
    lane: Weak<L>,
    counts: Arc<Counts>,
}

impl<L: ?Sized> Default for Registry<L> {
    fn default() -> Self {
        Self {
            closed: false,
            begun: 0,
            live: Vec::new(),
            past: Stats::default(),
        }
    }
}

impl<L: ?Sized> Registry<L> {
    /// The number of a new batch, from 1.
    pub(crate) fn next_number(&mut self) -> u64 {
        self.begun += 1;
        self.begun
    }

    /// From now on batches are closed when they are added.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn add(&mut self, number: u64, lane: &Arc<L>, counts: Arc<Counts>) {
        self.retire();
        let lane = Arc::downgrade(lane);
        self.live.push(Member {
            number,
            lane,
            counts,
        });
    }

    /// The one of this number, if it lives. To be dropped without a lock, as `lanes`.
    pub(crate) fn find(&self, number: u64) -> Option<Arc<L>> {
        let member = self.live.iter().find(|member| member.number == number)?;
        member.lane.upgrade()
    }

    /// Moves the counts of batches that are gone into the sum. They have two owners, the batch and this; who may still count something
    /// after the lane is gone, since it resubmits a completion, is a third.
    fn retire(&mut self) {
        self.live.retain(|member| {
            let live = member.lane.strong_count() > 0 || Arc::strong_count(&member.counts) > 2;
            if !live {
                // ORDERING: with the Release of whoever dropped those references, whose last counts are wanted.
                fence(Ordering::Acquire);
                self.past.add_outcomes(&member.counts);
                self.past.add_accepted(&member.counts);
            }
            live
        });
    }

    /// Those that live. To be dropped without a lock: the last reference drops the batch's job function.
    pub(crate) fn lanes(&self) -> Vec<Arc<L>> {
        let lanes = self.live.iter().map(|member| member.lane.upgrade());
        lanes.flatten().collect()
    }

    /// The counts of those that are gone.
    pub(crate) fn past(&self) -> Stats {
        self.past
    }

    /// The counts of all others.
    pub(crate) fn counts(&self) -> impl Iterator<Item = &Counts> {
        self.live.iter().map(|member| &*member.counts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counts_of_a_batch_outlive_it() {
        let mut registry = Registry::default();
        let (lane, counts) = (Arc::new(()), Arc::<Counts>::default());
        counts.accepted.bump(3);
        registry.add(1, &lane, Arc::clone(&counts));
        assert!(registry.find(1).is_some() && registry.find(2).is_none());
        assert_eq!(registry.lanes().len(), 1);
        drop(lane);
        assert_eq!((registry.lanes().len(), registry.counts().count()), (0, 1));
        registry.add(2, &Arc::new(()), Arc::default());
        assert_eq!(
            (registry.past().accepted(), registry.counts().count()),
            (3, 1)
        );
    }

    #[test]
    fn a_batch_without_its_lane_still_counts() {
        let mut registry = Registry::default();
        let counts = Arc::<Counts>::default();
        registry.add(1, &Arc::new(()), Arc::clone(&counts));
        let resubmits = Arc::clone(&counts);
        registry.add(2, &Arc::new(()), Arc::default());
        resubmits.accepted.bump(3);
        let accepted = registry.counts().map(|counts| counts.accepted.get());
        assert_eq!((accepted.sum(), registry.past().accepted()), (3, 0));
        drop(resubmits);
        registry.add(3, &Arc::new(()), Arc::default());
        assert_eq!(registry.past().accepted(), 3);
    }
}
