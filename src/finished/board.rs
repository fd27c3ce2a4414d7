//! Where wakers say which handles are to be looked at.

use std::task::{Wake, Waker};
use std::time::Instant;

use crate::park::Parker;
use crate::roster::blocking;
use crate::sync::{Arc, Mutex, look_before_sleep};

/// Where wakers leave the indices of handles that may have settled, in that order.
#[derive(Default)]
pub(super) struct Board {
    woken: Mutex<Vec<usize>>,
    parker: Arc<Parker>,
}

impl Board {
    /// Swaps the list with an empty one.
    pub(super) fn take(&self, empty: &mut Vec<usize>) {
        std::mem::swap(&mut *self.woken.lock(), empty);
    }

    /// Blocks until something may be on the list; false if the deadline came first. It may be woken for what was taken before.
    pub(super) fn wait(&self, deadline: Option<Instant>) -> bool {
        let any = || (!self.woken.lock().is_empty()).then_some(());
        look_before_sleep(any).is_some() || blocking(|| self.parker.park(deadline))
    }
}

/// The waker of one handle.
struct Bell {
    index: usize,
    board: Arc<Board>,
}

/// A waker that puts `index` on the board.
pub(super) fn bell(board: &Arc<Board>, index: usize) -> Waker {
    let board = Arc::clone(board);
    Waker::from(Arc::new(Bell { index, board }))
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        let mut woken = self.board.woken.lock();
        woken.push(self.index);
        let first = woken.len() == 1;
        drop(woken);
        // Behind the first one the iterator is awake, or about to be: it sleeps only after it has found the list empty.
        if first {
            self.board.parker.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RetryPool;
    use crate::finished::{Waited, as_completed};
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::mpsc;
    use std::task::Context;
    use std::time::Duration;

    #[test]
    fn a_board_lives_no_longer_than_its_iterator_and_the_handles_given_back() {
        let pool = RetryPool::with_threads(1);
        let (sender, gate) = mpsc::channel::<()>();
        let gated = pool.submit(move || gate.recv());
        let after = pool.submit(|| Ok(()));
        let finished = as_completed([gated, after]);
        let board = Arc::clone(&finished.board);
        let Waited { done, pending } = finished.into_waited();
        assert_eq!((done.len(), pending.len()), (0, 2));
        assert_eq!(Arc::strong_count(&board), 3);
        let finished = as_completed(pending);
        assert_eq!(Arc::strong_count(&board), 1);
        let board = Arc::clone(&finished.board);
        assert_eq!(Arc::strong_count(&board), 4);
        drop(finished);
        assert_eq!(Arc::strong_count(&board), 1);
        sender.send(()).unwrap();
        drop(pool);
        assert!(board.woken.lock().is_empty());
    }

    #[test]
    fn a_waker_that_wakes_too_early_or_twice_changes_nothing() {
        let pool = RetryPool::with_threads(1);
        let (sender, gate) = mpsc::channel::<()>();
        let mut finished = as_completed([pool.submit(move || gate.recv())]);
        for _ in 0..2 {
            bell(&finished.board, 0).wake();
            bell(&finished.board, 0).wake();
            let timed_out = finished.next_timeout(Duration::ZERO).unwrap_err();
            assert_eq!(timed_out.unfinished, 1);
        }
        sender.send(()).unwrap();
        assert!(finished.next().is_some());
        bell(&finished.board, 0).wake();
        assert!(finished.next().is_none());
    }

    #[test]
    fn a_job_that_has_settled_and_not_woken_yet_counts_as_done() {
        let pool = RetryPool::with_threads(1);
        let (sender, gate) = mpsc::channel::<()>();
        let mut finished = as_completed([pool.submit(move || gate.recv())]);
        let handle = finished.waiting.get_mut(&0).unwrap();
        let mut silent = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut *handle).poll(&mut silent).is_pending());
        sender.send(()).unwrap();
        while !handle.is_settled() {
            std::thread::yield_now();
        }
        assert!(finished.next_timeout(Duration::ZERO).is_err());
        let waker = bell(&finished.board, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Time for what does not wait for the waker to be caught; what waits is right at any length.
                std::thread::sleep(Duration::from_millis(5));
                waker.wake();
            });
            let waited = finished.into_waited();
            assert_eq!((waited.done.len(), waited.pending.len()), (1, 0));
        });
    }
}
