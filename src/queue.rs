//! The work channel: one crossbeam channel that all workers of a pool take from, and a second one, looked at first, for work that
//! goes to the front.
//!
//! Both are unbounded, so a push never blocks; how much is let in is decided elsewhere, and so is who sleeps while there is
//! nothing to take. Until something is pushed to the front for the first time, looking there is one read of a flag.

use crate::sync::{AtomicBool, Ordering, Receiver, Sender, unbounded};

/// A queue of `W` for many threads.
#[derive(Debug)]
pub(crate) struct Queue<W> {
    back: (Sender<W>, Receiver<W>),
    front: (Sender<W>, Receiver<W>),
    front_used: AtomicBool,
}

impl<W> Queue<W> {
    pub(crate) fn new() -> Self {
        Self {
            back: unbounded(),
            front: unbounded(),
            front_used: AtomicBool::new(false),
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
        if self.front.0.send(work).is_err() {
            unreachable!("the queue owns a receiver");
        }
        // ORDERING: Relaxed: who goes to sleep looks again after a fence, and so does who pushes before it looks for sleepers.
        self.front_used.store(true, Ordering::Relaxed);
    }

    /// Takes the first work, if there is any.
    pub(crate) fn pop(&self) -> Option<W> {
        match self.pop_front() {
            Some(work) => Some(work),
            None => self.back.1.try_recv().ok(),
        }
    }

    /// Takes the first work that was pushed to the front, if there is any.
    pub(crate) fn pop_front(&self) -> Option<W> {
        if self.uses_front() {
            self.front.1.try_recv().ok()
        } else {
            None
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.back.1.len() + self.front.1.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.back.1.is_empty() && (!self.uses_front() || self.front.1.is_empty())
    }

    fn uses_front(&self) -> bool {
        // ORDERING: see `push_front`.
        self.front_used.load(Ordering::Relaxed)
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
}
