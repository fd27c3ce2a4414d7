//! The work channel: one crossbeam channel that all workers of a pool take from, and the pill that ends them.
//!
//! The channel is unbounded, so a push never blocks; how much is let in is decided elsewhere. One pill ends any number of
//! workers: whoever takes it hands it on. Work that was pushed behind the pill still comes out first.
//!
//! Work at the front lies in a second channel, which is looked at first. A token in the first channel wakes a worker that sleeps
//! there. `spare` is the number of tokens in the channel less that of works at the front: who pushes puts a token only if none is
//! spare, so tokens do not pile up. No wake-up is lost: the pusher adds the work, then takes from `spare`; who receives a
//! token takes from `spare`, then looks for work. So either the pusher sees the token gone and puts another, or the receiver sees
//! the work. Until something is pushed to the front for the first time, looking there is one read of a flag.

use crate::sync::{AtomicBool, AtomicI64, Ordering, Receiver, Sender, unbounded};

/// A queue of `W` for many threads.
#[derive(Debug)]
pub(crate) struct Queue<W> {
    sender: Sender<Item<W>>,
    receiver: Receiver<Item<W>>,
    front_sender: Sender<W>,
    front: Receiver<W>,
    front_used: AtomicBool,
    spare: AtomicI64,
    /// Invariant: one pill at the most. Two would keep their takers handing them on for ever, each seeing the other's.
    stopped: AtomicBool,
}

#[derive(Debug)]
enum Item<W> {
    Work(W),
    /// Look at the front.
    Token,
    Pill,
}

impl<W> Queue<W> {
    pub(crate) fn new() -> Self {
        let (sender, receiver) = unbounded();
        let (front_sender, front) = unbounded();
        Self {
            sender,
            receiver,
            front_sender,
            front,
            front_used: AtomicBool::new(false),
            spare: AtomicI64::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// Adds work at the back. Never blocks.
    pub(crate) fn push(&self, work: W) {
        self.put(Item::Work(work));
    }

    /// Adds work at the front, behind what else was added there. Never blocks.
    pub(crate) fn push_front(&self, work: W) {
        if self.front_sender.send(work).is_err() {
            unreachable!("the queue owns a receiver");
        }
        // ORDERING: a hint; whoever takes the token looks without it.
        self.front_used.store(true, Ordering::Relaxed);
        // ORDERING: AcqRel, with the other accesses of `spare`: the proof at the top needs all of them in one order.
        if self.spare.fetch_sub(1, Ordering::AcqRel) <= 0 {
            self.spare.fetch_add(1, Ordering::AcqRel);
            self.put(Item::Token);
        }
    }

    fn pop_front(&self) -> Option<W> {
        // ORDERING: see `push_front`.
        if self.front_used.load(Ordering::Relaxed) {
            self.take_front()
        } else {
            None
        }
    }

    fn take_front(&self) -> Option<W> {
        let work = self.front.try_recv().ok()?;
        // ORDERING: see `push_front`.
        self.spare.fetch_add(1, Ordering::AcqRel);
        Some(work)
    }

    /// A token was received: the work that it stands for, if nobody has taken that before.
    fn redeem(&self) -> Option<W> {
        // ORDERING: see `push_front`; before the look.
        self.spare.fetch_sub(1, Ordering::AcqRel);
        self.take_front()
    }

    /// Takes the work at the front; blocks while there is none. `None` once the queue is stopped and empty.
    pub(crate) fn pop(&self) -> Option<W> {
        loop {
            if let Some(work) = self.pop_front() {
                return Some(work);
            }
            match self.receiver.recv() {
                Ok(Item::Work(work)) => return Some(work),
                Ok(Item::Token) => {
                    if let Some(work) = self.redeem() {
                        return Some(work);
                    }
                }
                Ok(Item::Pill) => {
                    let empty = self.receiver.is_empty();
                    self.put(Item::Pill);
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
            if let Some(work) = self.pop_front() {
                break Some(work);
            }
            match self.receiver.try_recv() {
                Ok(Item::Work(work)) => break Some(work),
                Ok(Item::Token) => {
                    if let Some(work) = self.redeem() {
                        break Some(work);
                    }
                }
                Ok(Item::Pill) => pill = true,
                Err(_) => break None,
            }
        };
        if pill {
            self.put(Item::Pill);
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
            self.put(Item::Pill);
        }
    }

    fn put(&self, item: Item<W>) {
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
    fn the_front_comes_first_in_its_own_order() {
        let queue = Queue::new();
        (1..=2).for_each(|n| queue.push(n));
        (3..=4).for_each(|n| queue.push_front(n));
        let order: Vec<_> = (0..4).map(|_| queue.pop().unwrap()).collect();
        assert_eq!(order, [3, 4, 1, 2]);
        queue.push_front(5);
        queue.stop();
        assert_eq!((queue.pop(), queue.pop()), (Some(5), None));
    }

    #[test]
    fn tokens_of_the_front_do_not_pile_up() {
        let queue = Queue::new();
        for n in 0..1_000 {
            queue.push_front(n);
            assert_eq!(queue.pop(), Some(n));
        }
        assert!(queue.receiver.len() <= 1);
        // A sleeper is woken each time.
        std::thread::scope(|scope| {
            let (sender, taken) = std::sync::mpsc::channel();
            scope
                .spawn(|| std::iter::from_fn(|| queue.pop()).try_for_each(move |n| sender.send(n)));
            for n in 0..1_000 {
                queue.push_front(n);
                assert_eq!(taken.recv(), Ok(n));
            }
            queue.stop();
        });
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
