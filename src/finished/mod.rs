//! Many handles at once: which of them settles next.
//!
//! Each handle is polled with a waker of its own, which puts the handle's index on a board and wakes who waits. So the cost of a
//! settlement does not depend on the number of handles, and only those that were woken are looked at. Wakers know the board
//! and no handle: nothing here is kept alive in a circle.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::clock::deadline_after;
use crate::error::TimedOut;
use crate::handle::JobHandle;
use crate::sync::Arc;
use crate::unwind;

mod board;
mod waited;

pub use waited::{Finished, Until, Waited, wait_for};

use board::{Board, bell};

/// Iterates over jobs by their handles, in the order in which they settle. Those that have settled before come out at once, in the
/// order given. The handles may be of several pools.
///
/// # Panics
/// If the result of a handle has been taken already, by [`JobHandle::try_result`] or by polling.
///
/// ```
/// use retry_pool::{RetryPool, as_completed};
///
/// let pool = RetryPool::with_threads(2);
/// let (sender, gate) = std::sync::mpsc::channel();
/// let slow = pool.submit(move || gate.recv());
/// let quick = pool.submit(|| Ok(2));
/// let mut finished = as_completed([slow, quick]);
///
/// let first = finished.next().unwrap();
/// assert_eq!((first.index(), *first.result().unwrap()), (1, 2));
/// sender.send(1).unwrap();
/// assert_eq!(finished.next().unwrap().into_result().unwrap(), 1);
/// assert!(finished.next().is_none());
/// ```
pub fn as_completed<T, E>(
    handles: impl IntoIterator<Item = JobHandle<T, E>>,
) -> HandlesCompleted<T, E> {
    let mut all = HandlesCompleted {
        board: Arc::default(),
        woken: Vec::new(),
        waiting: BTreeMap::new(),
        ready: VecDeque::new(),
        added: 0,
    };
    all.extend(handles);
    all
}

/// Iterates over jobs by their handles, in the order in which they settle; made by [`as_completed`].
///
/// It ends with `None` when every job was yielded; more handles ([`add`](Self::add), [`extend`](Extend::extend)) make it go on.
/// Dropping it detaches the jobs that have not settled, and drops the results of those that have.
#[must_use = "dropping the iterator detaches the jobs: their results will not be seen"]
pub struct HandlesCompleted<T, E> {
    board: Arc<Board>,
    /// The board's list, while it is worked off; empty at other times.
    woken: Vec<usize>,
    /// Not known to have settled, by index. Their wakers are set, or their index is on the board.
    waiting: BTreeMap<usize, JobHandle<T, E>>,
    /// Settled and not yielded yet.
    ready: VecDeque<Finished<T, E>>,
    added: usize,
}

impl<T, E> HandlesCompleted<T, E> {
    /// Adds a handle, also when the iterator has ended. If its job has settled, it comes out after those seen to settle before.
    ///
    /// # Panics
    /// If the result of the handle has been taken already. The iterator goes on without it.
    ///
    /// ```
    /// # use retry_pool::{RetryPool, as_completed};
    /// # let pool = RetryPool::with_threads(2);
    /// let half = |n: u32| pool.submit(move || Ok::<_, String>(n / 2));
    /// let mut finished = as_completed([half(8)]);
    /// let mut seen = Vec::new();
    /// while let Some(done) = finished.next() {
    ///     let n = done.into_result().unwrap();
    ///     seen.push(n);
    ///     if n > 0 {
    ///         finished.add(half(n));
    ///     }
    /// }
    /// assert_eq!(seen, [4, 2, 1, 0]);
    /// ```
    pub fn add(&mut self, handle: JobHandle<T, E>) {
        let index = self.added;
        self.added += 1;
        match self.look(index, handle) {
            Ok(finished) => {
                // What settled earlier is on the board by now.
                self.gather();
                self.ready.push_back(finished);
            }
            Err(handle) => drop(self.waiting.insert(index, handle)),
        }
    }

    /// The next job to settle, but not waiting longer than `timeout`; `Ok(None)` when every job was yielded.
    ///
    /// # Errors
    /// [`TimedOut`] with the number of jobs that were not yielded. The iterator goes on; the next call may find them.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use retry_pool::{RetryPool, as_completed};
    /// # let pool = RetryPool::with_threads(1);
    /// let (sender, gate) = std::sync::mpsc::channel::<()>();
    /// let mut finished = as_completed([pool.submit(move || gate.recv())]);
    /// assert_eq!(finished.next_timeout(Duration::from_millis(1)).unwrap_err().unfinished, 1);
    /// sender.send(()).unwrap();
    /// assert!(finished.next_timeout(Duration::MAX).unwrap().is_some());
    /// assert!(finished.next_timeout(Duration::ZERO).unwrap().is_none());
    /// ```
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Finished<T, E>>, TimedOut> {
        self.next_until(deadline_after(timeout))
    }

    /// Ends the iteration without waiting: what has settled and was not yielded, and the handles of the others.
    ///
    /// ```
    /// # use retry_pool::{RetryPool, as_completed};
    /// # let pool = RetryPool::with_threads(1);
    /// let (sender, gate) = std::sync::mpsc::channel();
    /// let waited = as_completed([pool.submit(move || gate.recv())]).into_waited();
    /// assert!(waited.done.is_empty());
    /// sender.send(7).unwrap();
    /// for handle in waited.pending {
    ///     assert_eq!(handle.wait().unwrap(), 7);
    /// }
    /// ```
    pub fn into_waited(mut self) -> Waited<T, E> {
        self.gather();
        let settled = self.waiting.iter().filter(|(_, job)| job.is_settled());
        for index in settled.map(|(index, _)| *index).collect::<Vec<_>>() {
            // It wakes in a moment, which tells its place among the others.
            while self.waiting.contains_key(&index) {
                self.board.wait(None);
                self.gather();
            }
        }
        Waited {
            done: std::mem::take(&mut self.ready).into(),
            pending: std::mem::take(&mut self.waiting).into_values().collect(),
        }
    }

    fn next_until(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<Finished<T, E>>, TimedOut> {
        let mut in_time = true;
        loop {
            if self.ready.is_empty() {
                self.gather();
            }
            if let Some(finished) = self.ready.pop_front() {
                return Ok(Some(finished));
            }
            match self.waiting.len() {
                0 => return Ok(None),
                unfinished if !in_time => return Err(TimedOut { unfinished }),
                _ => in_time = self.board.wait(deadline),
            }
        }
    }

    /// Looks at the handles that were woken.
    fn gather(&mut self) {
        let mut woken = std::mem::take(&mut self.woken);
        self.board.take(&mut woken);
        for index in woken.drain(..) {
            // Whoever wakes twice finds nothing the second time.
            let Some(handle) = self.waiting.remove(&index) else {
                continue;
            };
            match self.look(index, handle) {
                Ok(finished) => self.ready.push_back(finished),
                Err(handle) => drop(self.waiting.insert(index, handle)),
            }
        }
        self.woken = woken;
    }

    /// Takes what came of the job; gives the handle back, with a waker set, if it has not settled.
    fn look(
        &self,
        index: usize,
        mut handle: JobHandle<T, E>,
    ) -> Result<Finished<T, E>, JobHandle<T, E>> {
        if let Some(result) = handle.try_result() {
            return Ok(Finished::new(index, &handle, result));
        }
        let waker = bell(&self.board, index);
        match Pin::new(&mut handle).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => Ok(Finished::new(index, &handle, result)),
            Poll::Pending => Err(handle),
        }
    }
}

impl<T, E> Iterator for HandlesCompleted<T, E> {
    type Item = Finished<T, E>;

    /// The next job to settle; blocks until there is one. `None` when every job was yielded.
    fn next(&mut self) -> Option<Self::Item> {
        self.next_until(None)
            .unwrap_or_else(|_| unreachable!("a wait without a limit does not time out"))
    }

    /// Exactly the number of jobs that were not yielded.
    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.waiting.len() + self.ready.len();
        (left, Some(left))
    }
}

impl<T, E> ExactSizeIterator for HandlesCompleted<T, E> {}

impl<T, E> Extend<JobHandle<T, E>> for HandlesCompleted<T, E> {
    /// Adds handles as [`add`](HandlesCompleted::add) does.
    fn extend<A: IntoIterator<Item = JobHandle<T, E>>>(&mut self, handles: A) {
        handles.into_iter().for_each(|handle| self.add(handle));
    }
}

impl<T, E> Drop for HandlesCompleted<T, E> {
    fn drop(&mut self) {
        unwind::discard_all(self.ready.drain(..));
    }
}

impl<T, E> fmt::Debug for HandlesCompleted<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlesCompleted")
            .field("added", &self.added)
            .field("unfinished", &self.len())
            .finish_non_exhaustive()
    }
}
