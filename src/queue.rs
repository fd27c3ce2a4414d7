//! The work channel: one crossbeam channel that all workers of a pool take from, and the pill that ends them.
//!
//! The channel is unbounded, so a push never blocks; how much is let in is decided elsewhere. One pill ends any number of
//! workers: whoever takes it hands it on. Work that was pushed behind the pill still comes out first.

use crate::sync::{AtomicBool, Ordering, Receiver, Sender, unbounded};

/// A queue of `W` for many threads.
#[derive(Debug)]
pub(crate) struct Queue<W> {
    /// `None` is the pill.
    sender: Sender<Option<W>>,
    receiver: Receiver<Option<W>>,
    /// Invariant: one pill at the most. Two would keep their takers handing them on for ever, each seeing the other's.
    stopped: AtomicBool,
}

impl<W> Queue<W> {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = unbounded();
        Self {
            sender,
            receiver,
            stopped: AtomicBool::new(false),
        }
    }

    /// Adds work at the back. Never blocks.
    pub(crate) fn push(&self, work: W) {
        self.put(Some(work));
    }

    /// Takes the work at the front; blocks while there is none. `None` once the queue is stopped and empty.
    pub(crate) fn pop(&self) -> Option<W> {
        loop {
            match self.receiver.recv() {
                Ok(Some(work)) => return Some(work),
                Ok(None) => {
                    let empty = self.receiver.is_empty();
                    self.put(None);
                    if empty {
                        return None;
                    }
                }
                Err(_) => unreachable!("the queue owns a sender"),
            }
        }
    }

    /// Takes the work at the front if there is any.
    pub(crate) fn try_pop(&self) -> Option<W> {
        let mut pill = false;
        let work = loop {
            match self.receiver.try_recv() {
                Ok(Some(work)) => break Some(work),
                Ok(None) => pill = true,
                Err(_) => break None,
            }
        };
        if pill {
            self.put(None);
        }
        work
    }

    /// Is something waiting?
    pub(crate) fn has_waiting(&self) -> bool {
        !self.receiver.is_empty()
    }

    /// Lets every worker that finds nothing else to do end. May be repeated.
    pub(crate) fn stop(&self) {
        // ORDERING: decides who puts the pill; the channel orders everything else.
        if !self.stopped.swap(true, Ordering::Relaxed) {
            self.put(None);
        }
    }

    fn put(&self, item: Option<W>) {
        if self.sender.send(item).is_err() {
            unreachable!("the queue owns a receiver");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pill_ends_every_worker_after_the_work() {
        let queue = Queue::new();
        queue.push(1);
        queue.stop();
        queue.stop();
        queue.push(2);
        assert!(queue.has_waiting());
        let taken: Vec<i32> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3)
                .map(|_| scope.spawn(|| std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>()))
                .collect();
            workers
                .into_iter()
                .flat_map(|worker| worker.join().unwrap())
                .collect()
        });
        assert_eq!(taken.iter().sum::<i32>(), 3);
        assert_eq!(queue.pop(), None);
    }

    #[test]
    fn the_pill_stays_when_the_rest_is_taken_out() {
        let queue = Queue::new();
        queue.stop();
        queue.push(1);
        assert_eq!(queue.try_pop(), Some(1));
        assert_eq!(queue.try_pop(), None);
        assert_eq!(queue.pop(), None);
    }
}
