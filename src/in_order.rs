//! The iteration over a batch in the order of its input.

use std::collections::BTreeMap;
use std::fmt;

use crate::completed::AsCompleted;
use crate::completion::Completion;
use crate::report::Progress;

/// Iterates over the jobs of a batch in the order of their acceptance; made by [`Batch::in_order`](crate::Batch::in_order).
///
/// A job that has settled waits here for those before it, inside the batch's window. A resubmitted job whose turn has passed is
/// yielded as soon as it settles.
#[must_use = "a batch is lazy: nothing runs before the first next()"]
pub struct InOrder<'p, It: Iterator, F, T, E> {
    completed: AsCompleted<'p, It, F, T, E>,
    waiting: BTreeMap<usize, Completion<It::Item, T, E>>,
    /// Every job with a lower index has been yielded.
    next: usize,
}

impl<'p, It, F, T, E> InOrder<'p, It, F, T, E>
where
    It: Iterator,
    It::Item: Send + 'p,
    F: Fn(&It::Item) -> Result<T, E> + Send + Sync + 'p,
    T: Send + 'p,
    E: Send + 'p,
{
    pub(crate) fn new(completed: AsCompleted<'p, It, F, T, E>) -> Self {
        Self {
            completed,
            waiting: BTreeMap::new(),
            next: 0,
        }
    }

    /// Adds an input, as [`AsCompleted::add`] does: its turn is after those that were pulled so far.
    pub fn add(&mut self, input: It::Item) {
        self.completed.add(input);
    }

    /// Cancels the batch, as [`AsCompleted::cancel`] does; cancelled jobs come out in their turn.
    pub fn cancel(&mut self) {
        self.completed.cancel();
    }

    /// How far the batch has come; jobs that wait for their turn are not delivered.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.completed.progress()
    }
}

impl<'p, It, F, T, E> Iterator for InOrder<'p, It, F, T, E>
where
    It: Iterator,
    It::Item: Send + 'p,
    F: Fn(&It::Item) -> Result<T, E> + Send + Sync + 'p,
    T: Send + 'p,
    E: Send + 'p,
{
    type Item = Completion<It::Item, T, E>;

    /// The next job in order; blocks until it has settled.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(done) = self.waiting.remove(&self.next) {
                self.completed.withheld -= 1;
                self.next += 1;
                return Some(done);
            }
            let done = self.completed.next()?;
            if done.index() < self.next {
                return Some(done);
            }
            self.waiting.insert(done.index(), done);
            self.completed.withheld += 1;
        }
    }
}

impl<It: Iterator, F, T, E> Drop for InOrder<'_, It, F, T, E> {
    fn drop(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.into_values().for_each(Completion::discard);
    }
}

impl<It: Iterator, F, T, E> fmt::Debug for InOrder<'_, It, F, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InOrder")
            .field("next", &self.next)
            .field("completed", &self.completed)
            .finish_non_exhaustive()
    }
}
