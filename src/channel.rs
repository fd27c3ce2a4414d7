//! The sending side of a batch that other threads feed.

use std::fmt;

use crate::crew::{Crew, SharedLane};
use crate::error::SendError;
use crate::sync::{Arc, Weak};
use crate::token::BatchLane;
use crate::unwind;

/// Feeds a running batch from any thread; made by [`Batch::channel`](crate::Batch::channel).
///
/// Clone it for more producers. The iteration ends when every sender is dropped and every job has settled. A sender does not
/// keep the batch alive: once its iterator is gone, sending gives the input back.
pub struct BatchSender<I> {
    crew: Arc<Crew<'static>>,
    lane: Weak<dyn Feed<I>>,
}

/// A batch as its senders see it: only the type of its inputs is left.
pub(crate) trait Feed<I>: Send + Sync {
    fn feed(self: Arc<Self>, crew: &Crew<'static>, input: I) -> Result<(), I>;
    fn add_sender(&self);
    fn remove_sender(&self);
}

impl<I> BatchSender<I> {
    pub(crate) fn new(crew: Arc<Crew<'static>>, lane: Weak<dyn Feed<I>>) -> Self {
        if let Some(lane) = lane.upgrade() {
            lane.add_sender();
            unwind::discard(lane);
        }
        Self { crew, lane }
    }

    /// Hands an input to the batch, which works on it at once. Blocks while the window is full: until the iteration is called again, for
    /// one that has taken all there was (see [`Batch::window`](crate::Batch::window)). So whoever iterates must not wait for a sender.
    ///
    /// # Errors
    /// Gives the input back once the batch takes no more: its iterator was dropped or cancelled, or its pool was closed. A
    /// sender that is blocked is released then.
    ///
    /// ```
    /// # use retry_pool::RetryPool;
    /// # let pool = RetryPool::with_threads(1);
    /// let (sender, completed) = pool.batch(std::iter::empty(), |n: &u32| Ok::<_, String>(*n)).channel();
    /// drop(completed);
    /// assert_eq!(sender.send(7).unwrap_err().into_inner(), 7);
    /// ```
    pub fn send(&self, input: I) -> Result<(), SendError<I>> {
        match self.lane.upgrade() {
            Some(lane) => lane.feed(&self.crew, input).map_err(SendError),
            None => Err(SendError(input)),
        }
    }
}

impl<I> Clone for BatchSender<I> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.crew), self.lane.clone())
    }
}

impl<I> Drop for BatchSender<I> {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.upgrade() {
            lane.remove_sender();
            // The iterator may have gone meanwhile; then the batch's job function is dropped here.
            unwind::discard(lane);
        }
    }
}

impl<I> fmt::Debug for BatchSender<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchSender").finish_non_exhaustive()
    }
}

impl<I, T, E, F> Feed<I> for BatchLane<'static, I, T, E, F>
where
    I: Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'static,
{
    fn feed(self: Arc<Self>, crew: &Crew<'static>, input: I) -> Result<(), I> {
        let sent = self.core.send(input, crew);
        let lane: SharedLane<'static> = self;
        let result = sent.map(|tokens| crew.push_tokens(&lane, tokens));
        unwind::discard(lane);
        result
    }

    fn add_sender(&self) {
        self.core.add_sender();
    }

    fn remove_sender(&self) {
        self.core.remove_sender();
    }
}
