//! The work channel: one crossbeam channel that all workers of a pool take from, and two more that are looked at first: one for what
//! is urgent, and one for work that goes to the front.
//!
//! All are unbounded, so a push never blocks; how much is let in is decided elsewhere, and so is who sleeps while there is
//! nothing to take. Until something is pushed to one of the two for the first time, looking there is one read of a flag.

use crate::sync::{AtomicBool, Ordering, Receiver, Sender, unbounded};

/// A queue of `W` for many threads.
#[derive(Debug)]
pub(crate) struct Queue<W> {
    back: Channel<W>,
    front: Channel<W>,
    urgent: Channel<W>,
    /// Has anything been pushed to one of the latter two?
    early_used: AtomicBool,
}

type Channel<W> = (Sender<W>, Receiver<W>);

impl<W> Queue<W> {
    pub(crate) fn new() -> Self {
        Self {
            back: unbounded(),
            front: unbounded(),
            urgent: unbounded(),
            early_used: AtomicBool::new(false),
        }
    }

    /// Adds work at the back. Never blocks.
    pub(crate) fn push(&self, work: W) {
        if self.back.0.send(work).is_err() {
            unreachable!("the queue owns a receiver");
        }
    }

    /// Adds work at the front, behind what else was added there. Never blocks.
    pub(crate) fn push_front(&self, work: W) {
        self.push_early(&self.front, work);
    }

    /// Adds work before all other, behind what else is urgent. Never blocks.
    pub(crate) fn push_urgent(&self, work: W) {
        self.push_early(&self.urgent, work);
    }

    fn push_early(&self, channel: &Channel<W>, work: W) {
        if channel.0.send(work).is_err() {
            unreachable!("the queue owns a receiver");
        }
        // ORDERING: Relaxed: who goes to sleep looks again after a fence, and so does who pushes before it looks for sleepers.
        self.early_used.store(true, Ordering::Relaxed);
    }

    /// Takes the first work, if there is any.
    pub(crate) fn pop(&self) -> Option<W> {
        self.pop_urgent().or_else(|| self.pop_other())
    }

    /// Takes the first work that is not urgent, if there is any.
    pub(crate) fn pop_other(&self) -> Option<W> {
        let early = if self.uses_early() {
            self.front.1.try_recv().ok()
        } else {
            None
        };
        early.or_else(|| self.back.1.try_recv().ok())
    }

    /// Takes the first work that is urgent, if there is any.
    pub(crate) fn pop_urgent(&self) -> Option<W> {
        if self.uses_early() {
            self.urgent.1.try_recv().ok()
        } else {
            None
        }
    }

    pub(crate) fn has_urgent(&self) -> bool {
        self.uses_early() && !self.urgent.1.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.back.1.len() + self.front.1.len() + self.urgent.1.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        let is_early_empty = || self.front.1.is_empty() && self.urgent.1.is_empty();
        self.back.1.is_empty() && (!self.uses_early() || is_early_empty())
    }

    fn uses_early(&self) -> bool {
        // ORDERING: see `push_early`.
        self.early_used.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_comes_first_in_its_own_order() {
        let queue = Queue::new();
        assert!(queue.is_empty());
        (1..=2).for_each(|n| queue.push(n));
        (3..=4).for_each(|n| queue.push_front(n));
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [3, 4, 1, 2]);
        queue.push_front(5);
        assert_eq!(
            (queue.is_empty(), queue.pop(), queue.is_empty()),
            (false, Some(5), true)
        );
    }

    #[test]
    fn what_is_urgent_comes_before_the_front() {
        let queue = Queue::new();
        queue.push(1);
        queue.push_front(2);
        queue.push_urgent(3);
        assert_eq!(
            (queue.len(), queue.pop_urgent(), queue.pop_urgent()),
            (3, Some(3), None)
        );
        assert_eq!(
            (queue.pop(), queue.pop(), queue.is_empty()),
            (Some(2), Some(1), true)
        );
    }

    #[test]
    fn only_what_is_urgent_is_told_as_urgent() {
        let queue = Queue::new();
        queue.push_front(1);
        assert!(!queue.has_urgent());
        queue.push_urgent(2);
        assert_eq!((queue.has_urgent(), queue.pop()), (true, Some(2)));
        assert!(!queue.has_urgent());
        assert_eq!((queue.pop(), queue.is_empty()), (Some(1), true));
        queue.push_urgent(3);
        assert!(!queue.is_empty());
    }
}

#[cfg(all(test, rp_loom))]
mod models {
    use super::*;
    use crate::sync::loom::{check, spawn};
    use crate::sync::{Arc, fence};

    #[test]
    fn who_announces_sleep_or_who_pushes_to_the_front_sees_the_other() {
        check(&["pusher", "sleeper", "both"], |sides| {
            let queue = Arc::new(Queue::new());
            let asleep = Arc::new(AtomicBool::new(false));
            let pusher = spawn({
                let (queue, asleep) = (Arc::clone(&queue), Arc::clone(&asleep));
                move || {
                    queue.push_front(7);
                    fence(Ordering::SeqCst);
                    asleep.load(Ordering::Relaxed)
                }
            });
            asleep.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            let sleeper = !queue.is_empty();
            if sleeper {
                assert_eq!(queue.pop(), Some(7));
            }
            let side = match (pusher.join().unwrap(), sleeper) {
                (true, true) => "both",
                (true, false) => "pusher",
                (false, true) => "sleeper",
                (false, false) => panic!("neither saw the other"),
            };
            sides.saw(side);
        });
    }
}
