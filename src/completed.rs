//! The iteration over a batch: refilling on one side, delivering on the other.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::channel::BatchSender;
use crate::clock::{Nanos, deadline_after};
use crate::completion::Completion;
use crate::crew::{Crew, SharedLane};
use crate::error::TimedOut;
use crate::lane::{RefillFor, Settled, Visit, Woken};
use crate::reason::GiveUpReason;
use crate::report::Progress;
use crate::sync::{Arc, now};
use crate::token::BatchLane;
use crate::unwind;

/// The most inputs that are pulled before they are handed over.
const BITE: usize = 32;

/// While a bite takes less than this, the next one is greater; after one that takes [`PATIENCE`] it is a single input.
const QUICK: Nanos = 10_000;

/// How long ready completions wait for a refill to end.
const PATIENCE: Nanos = 50_000;

/// The most deliveries between two visits to the lane.
const PERIOD: usize = 64;

/// Iterates over the jobs of a batch in the order in which they settle, first tries and retried ones alike; made by
/// [`Batch::as_completed`](crate::Batch::as_completed) or by a `for` loop over a [`Batch`](crate::Batch).
///
/// It ends with `None` when every admitted job was delivered and the input is exhausted; more inputs
/// ([`add`](Self::add)) or a resubmitted completion make it go on. Dropping it early drops what has not begun, lets what runs
/// finish, and drops the results.
///
/// If the input panics, the panic reaches the caller of `next()`; the jobs that run still settle, and iterating may go on.
#[must_use = "a batch is lazy: nothing runs before the first next()"]
pub struct AsCompleted<'p, It: Iterator, F, T, E> {
    crew: Arc<Crew<'p>>,
    lane: Arc<BatchLane<'p, It::Item, T, E, F>>,
    /// `None` once exhausted or cut off.
    input: Option<It>,
    input_cut: bool,
    /// Pulled and not handed over yet.
    pulled: Vec<It::Item>,
    /// Added by the caller, waiting for room.
    added: VecDeque<It::Item>,
    /// Collected and not delivered yet.
    ready: VecDeque<Settled<It::Item, T, E>>,
    /// Delivered here, but withheld by `InOrder`.
    pub(crate) withheld: usize,
    delivered: u64,
    /// Deliveries since the last visit to the lane, and what counted against the window then.
    since_visit: usize,
    held: usize,
    /// There is something to admit, and the pool is full.
    starved: bool,
    /// The last refill has neither filled the window nor had to: it goes on when there is nothing to deliver.
    refilling: bool,
    bite: usize,
}

impl<'p, It, F, T, E> AsCompleted<'p, It, F, T, E>
where
    It: Iterator,
    It::Item: Send + 'p,
    F: Fn(&It::Item) -> Result<T, E> + Send + Sync + 'p,
    T: Send + 'p,
    E: Send + 'p,
{
    pub(crate) fn new(
        crew: Arc<Crew<'p>>,
        lane: Arc<BatchLane<'p, It::Item, T, E, F>>,
        input: It,
    ) -> Self {
        Self {
            crew,
            lane,
            input: Some(input),
            input_cut: false,
            pulled: Vec::with_capacity(BITE),
            added: VecDeque::new(),
            ready: VecDeque::new(),
            withheld: 0,
            delivered: 0,
            since_visit: 0,
            held: 0,
            starved: false,
            refilling: false,
            bite: 1,
        }
    }

    /// Adds an input to the running batch: admitted at once if the window has room, else as soon as it has. Added inputs go
    /// before those that are still to be pulled. In a batch that was cancelled, or whose pool was closed, the input comes out as
    /// [`Cancelled`](GiveUpReason::Cancelled) or [`Shutdown`](GiveUpReason::Shutdown).
    ///
    /// ```
    /// # use retry_pool::RetryPool;
    /// # let pool = RetryPool::with_threads(2);
    /// let mut pages = pool.batch(["/"], |page: &&str| Ok::<_, String>(page.len())).as_completed();
    /// let mut seen = Vec::new();
    /// while let Some(done) = pages.next() {
    ///     seen.push(*done.input());
    ///     if *done.input() == "/" {
    ///         pages.extend(["/a", "/b"]);
    ///     }
    /// }
    /// seen.sort();
    /// assert_eq!(seen, ["/", "/a", "/b"]);
    /// ```
    pub fn add(&mut self, input: It::Item) {
        self.extend([input]);
    }

    /// The next job to settle, but not waiting longer than `timeout`; `Ok(None)` at the end of the batch. Time spent in the
    /// input's own `next()` cannot be cut short: a call without time left may pull one input all the same, or up to 32 if the last ones came
    /// quickly. In a job, a spare worker takes the place of the one that waits.
    ///
    /// # Errors
    /// [`TimedOut`] with the number of jobs that are unfinished. The batch goes on; the next call may find them.
    pub fn next_timeout(
        &mut self,
        timeout: Duration,
    ) -> Result<Option<Completion<It::Item, T, E>>, TimedOut> {
        self.advance(deadline_after(timeout))?;
        Ok(self.deliver())
    }

    /// Cancels the batch: jobs that have not begun settle at once as [`Cancelled`](GiveUpReason::Cancelled) and come out of the
    /// iteration; those that run may finish, but are not retried; nothing more is pulled or resubmitted.
    pub fn cancel(&mut self) {
        self.lane.core.end(&self.crew, GiveUpReason::Cancelled);
        self.visit(None, false);
    }

    /// The index of the job that failed first, if any has: with [`fail_fast`](crate::Batch::fail_fast), why the batch stopped.
    #[must_use]
    pub fn first_failure(&self) -> Option<usize> {
        self.lane.core.first_failure()
    }

    /// How far the batch has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress::new(
            self.lane.core.tally(),
            self.delivered - self.withheld as u64,
            self.input_left(),
        )
    }

    pub(crate) fn input_left(&self) -> bool {
        self.input.is_some() || self.input_cut
    }

    /// Delivers what was collected first.
    #[inline]
    fn deliver(&mut self) -> Option<Completion<It::Item, T, E>> {
        let settled = self.ready.pop_front()?;
        self.since_visit += 1;
        self.delivered += 1;
        Some(Completion::new(settled, Arc::clone(&self.lane.core)))
    }

    /// Waits until there is something to deliver, or the end has come.
    #[inline(never)]
    fn advance(&mut self, deadline: Option<Instant>) -> Result<(), TimedOut> {
        // Without any time left it pulls once, so that every call gets on.
        let mut in_time = true;
        loop {
            if self.wants_visit() {
                self.visit(deadline, in_time);
            }
            if !self.ready.is_empty() {
                return Ok(());
            }
            let refill_for = match in_time {
                true => self.refills_for(),
                false => RefillFor::Nothing,
            };
            match self.lane.core.wait(deadline, refill_for) {
                Woken::End if !self.has_more() => return Ok(()),
                Woken::Progress => {}
                Woken::End if in_time => {}
                Woken::End | Woken::TimedOut => {
                    let unfinished = self.progress().undelivered();
                    return Err(TimedOut {
                        unfinished: usize::try_from(unfinished).unwrap_or(usize::MAX),
                    });
                }
            }
            in_time = deadline.is_none_or(|deadline| now() < deadline);
        }
    }

    /// What wakes this call to refill.
    fn refills_for(&self) -> RefillFor {
        let room = self.held < self.lane.core.setup.window;
        if self.starved {
            RefillFor::Permit
        } else if self.has_more() && room && !self.refilling {
            RefillFor::HungryWorker
        } else {
            // A refill that this call's deadline has ended goes on at the next call.
            RefillFor::Nothing
        }
    }

    /// Is there anything to admit, or to refuse?
    fn has_more(&self) -> bool {
        self.input.is_some() || !self.added.is_empty() || !self.pulled.is_empty()
    }

    #[inline]
    fn wants_visit(&self) -> bool {
        let starving = || {
            self.lane.core.is_hungry()
                && self.is_low(self.held - self.since_visit)
                && self.has_more()
        };
        self.ready.is_empty() || self.since_visit >= self.period() || starving()
    }

    /// How many deliveries pass between two visits; a full window of blocked senders waits for no more than a quarter.
    fn period(&self) -> usize {
        (self.lane.core.setup.window / 4).clamp(1, PERIOD)
    }

    /// The low-water mark: refill at three quarters of the window, but never with fewer jobs than there are workers.
    fn is_low(&self, held: usize) -> bool {
        let window = self.lane.core.setup.window;
        let threads = self.crew.settings.threads;
        held <= (window - window / 4).max(threads.min(window - 1))
    }

    /// Goes to the lane: collects, reports what was delivered, and, if it `may_pull`, refills: from the low-water mark on, or as soon as
    /// there is nothing to deliver, if there is nothing to work on or the last refill is unfinished.
    fn visit(&mut self, deadline: Option<Instant>, may_pull: bool) {
        if let Some(reason) = self.lane.core.setup.token.reason() {
            self.lane.core.end(&self.crew, reason);
        }
        let mut seen = self.collect();
        if !seen.open {
            self.cut_off();
            return;
        }
        if self.starved {
            // A permit that was waited for is kept from all others until it is used.
            seen = self.hand_over(self.crew.clock.now());
        }
        let low = self.is_low(self.held);
        let idle = self.ready.is_empty() && (self.refilling || seen.hungry);
        if !may_pull || seen.room == 0 || !self.has_more() || !(low || idle) {
            return;
        }
        // What lies in a pocket, or settled during the refill, is delivered before more is pulled.
        let ready = (!low && self.lane.core.gather()) || self.refill(seen, deadline).ready;
        if ready && self.ready.is_empty() {
            self.collect();
        }
    }

    fn collect(&mut self) -> Visit {
        self.since_visit = 0;
        let seen = self
            .lane
            .core
            .collect(&mut self.ready, self.withheld, &self.crew);
        self.note(&seen);
        seen
    }

    fn note(&mut self, seen: &Visit) {
        self.held = self.lane.core.setup.window - seen.room;
        if seen.tokens > 0 {
            let lane: SharedLane<'p> = Arc::clone(&self.lane) as _;
            self.crew.push_tokens(&lane, seen.tokens);
        }
    }

    /// Pulls inputs and hands them over, in bites: until the window is full or the input exhausted, but no longer than
    /// `PATIENCE` while there is something to deliver, and not past the caller's deadline.
    fn refill(&mut self, mut seen: Visit, deadline: Option<Instant>) -> Visit {
        let begun = self.crew.clock.now();
        let deadline = deadline.map_or(Nanos::MAX, |deadline| self.crew.clock.at(deadline));
        let mut before = begun;
        self.refilling = true;
        while seen.room > 0 && seen.open && !seen.starved && self.has_more() {
            self.pull(self.bite.min(seen.room));
            let now = self.crew.clock.now();
            self.bite = match now - before {
                ..QUICK => BITE.min(self.bite * 2),
                PATIENCE.. => 1,
                _ => self.bite,
            };
            before = now;
            seen = self.hand_over(now);
            let late = now - begun >= PATIENCE;
            if late && self.ready.is_empty() && !seen.ready {
                seen.ready = self.lane.core.gather();
            }
            if now >= deadline || (late && (seen.ready || !self.ready.is_empty())) {
                break;
            }
        }
        seen
    }

    /// Pulls until `wanted` inputs are at hand: added ones first. If the input panics, what was pulled before is kept.
    fn pull(&mut self, wanted: usize) {
        while self.pulled.len() < wanted {
            if let Some(input) = self.added.pop_front() {
                self.pulled.push(input);
                continue;
            }
            match self.input.as_mut().map(Iterator::next) {
                Some(Some(input)) => self.pulled.push(input),
                Some(None) => self.input = None,
                None => return,
            }
        }
    }

    fn hand_over(&mut self, now: Nanos) -> Visit {
        let seen = self.lane.core.admit(&mut self.pulled, now);
        self.starved = seen.starved;
        self.refilling &= seen.room > 0;
        self.note(&seen);
        if !seen.open {
            self.cut_off();
        }
        seen
    }

    /// The batch takes no more: the rest of the input is left, what was taken from it or added comes out as given up.
    fn cut_off(&mut self) {
        self.starved = false;
        let input = self.input.take();
        self.input_cut |= input.is_some();
        let refused = self.pulled.drain(..).chain(self.added.drain(..));
        self.lane.core.refuse(refused, self.crew.clock.now());
        self.crew.settled();
        drop(input);
    }
}

impl<It, F, T, E> AsCompleted<'static, It, F, T, E>
where
    It: Iterator,
    It::Item: Send + 'static,
    F: Fn(&It::Item) -> Result<T, E> + Send + Sync + 'static,
    T: Send + 'static,
    E: Send + 'static,
{
    pub(crate) fn sender(&self) -> BatchSender<It::Item> {
        let weak = Arc::downgrade(&self.lane);
        BatchSender::new(Arc::clone(&self.crew), weak)
    }
}

impl<'p, It, F, T, E> Iterator for AsCompleted<'p, It, F, T, E>
where
    It: Iterator,
    It::Item: Send + 'p,
    F: Fn(&It::Item) -> Result<T, E> + Send + Sync + 'p,
    T: Send + 'p,
    E: Send + 'p,
{
    type Item = Completion<It::Item, T, E>;

    /// The next job to settle; blocks until there is one. `None` when every admitted job was delivered and the input is
    /// exhausted.
    // What is at hand is delivered where it is wanted: to pass it through a call of its own took a few ns.
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.wants_visit() && self.advance(None).is_err() {
            unreachable!("a wait without a limit does not time out");
        }
        self.deliver()
    }
}

impl<'p, It, F, T, E> Extend<It::Item> for AsCompleted<'p, It, F, T, E>
where
    It: Iterator,
    It::Item: Send + 'p,
    F: Fn(&It::Item) -> Result<T, E> + Send + Sync + 'p,
    T: Send + 'p,
    E: Send + 'p,
{
    /// Adds inputs as [`add`](AsCompleted::add) does.
    fn extend<A: IntoIterator<Item = It::Item>>(&mut self, inputs: A) {
        self.added.extend(inputs);
        let mut room = self.collect().room;
        while room > 0 && !self.added.is_empty() {
            let bite = self.added.len().min(room);
            self.pulled.extend(self.added.drain(..bite));
            let seen = self.hand_over(self.crew.clock.now());
            room = if seen.starved { 0 } else { seen.room };
        }
    }
}

impl<It: Iterator, F, T, E> Drop for AsCompleted<'_, It, F, T, E> {
    fn drop(&mut self) {
        self.lane.core.abandon(&self.crew);
        self.ready.drain(..).for_each(Settled::discard);
        unwind::discard_all(self.pulled.drain(..));
        unwind::discard_all(self.added.drain(..));
        unwind::discard(self.input.take());
    }
}

impl<It: Iterator, F, T, E> fmt::Debug for AsCompleted<'_, It, F, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delivered = self.delivered - self.withheld as u64;
        let unfinished = self.lane.core.counts.accepted.get() - delivered;
        f.debug_struct("AsCompleted")
            .field("delivered", &delivered)
            .field("unfinished", &unfinished)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
