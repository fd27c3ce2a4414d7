//! A token at work: how a worker helps a batch.
//!
//! A worker with a token takes one job after the other until the lane is empty or its turn is over. The clock is read rarely,
//! because a reading (20–25 ns) costs as much as the rest of an empty job's way: at the start of a turn, after a failure, and else
//! after every job, or every eighth while jobs are tiny (`pace.rs`). A turn can end whenever the clock is read.
//!
//! A job stays where it is while its worker has it, and what it passes on its way through its pocket is inlined by force, here and in `judge` and
//! `lane`: a copy costs more than its instructions where it loads at once what was stored piece by piece just before, and has to wait for that. An
//! empty job took some 0.8 of the time when the last of these copies were gone.

use std::time::Duration;

use crate::cancel::Listener;
use crate::clock::Nanos;
use crate::crew::{Crew, Due, Lane, Next, Work};
use crate::give_up::{AttemptError, GiveUp};
use crate::judge::{NextAttempt, Rules};
use crate::lane::Core;
use crate::park::Parker;
use crate::policy::{RetryPolicy, Verdict};
use crate::reason::GiveUpReason;
use crate::roster::Post;
use crate::sync::{Arc, Weak};
use crate::unwind::{self, Contained, Hook};

mod attempt;
mod pace;
mod turn;

/// What a caller has set for the jobs of a batch.
pub(crate) struct BatchOptions<'p, I, T, E> {
    pub(crate) policy: RetryPolicy,
    pub(crate) classify: Hook<dyn Fn(&E) -> Verdict + Send + Sync + 'p>,
    pub(crate) accept: Hook<dyn Fn(&T) -> bool + Send + Sync + 'p>,
    pub(crate) on_retry: Hook<dyn Fn(&I, &AttemptError<E>, NextAttempt) + Send + Sync + 'p>,
    pub(crate) on_give_up: Hook<dyn Fn(&I, &GiveUp<E>) + Send + Sync + 'p>,
    pub(crate) name: Hook<dyn Fn(&I) -> String + Send + Sync + 'p>,
    pub(crate) display: Option<fn(&E) -> String>,
    pub(crate) errors_kept: usize,
    pub(crate) attempt_timeout: Option<Duration>,
    /// The pool's seed and the batch's number, mixed.
    pub(crate) seed: u64,
}

/// Has a batch end when its token is cancelled.
pub(crate) type Listen<'p, I, T, E, F> = fn(&Arc<BatchLane<'p, I, T, E, F>>);

/// Ends the batch on the thread that cancels. For a batch that borrows nothing, since a token can be anywhere.
pub(crate) fn end_on_cancel<I, T, E, F>(lane: &Arc<BatchLane<'static, I, T, E, F>>)
where
    I: Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'static,
{
    let token = lane.core.setup.token.clone();
    token.listen(Arc::clone(lane) as Arc<dyn Listener>);
}

/// Wakes the iterator, which ends the batch; so do workers between two jobs.
pub(crate) fn wake_on_cancel<I, T, E, F>(lane: &Arc<BatchLane<'_, I, T, E, F>>) {
    let token = lane.core.setup.token.clone();
    token.listen(Arc::clone(&lane.core.parker) as Arc<dyn Listener>);
}

impl Listener for Parker {
    fn cancelled(self: Arc<Self>, _reason: GiveUpReason) {
        self.unpark();
    }
}

impl<I, T, E, F> Listener for BatchLane<'static, I, T, E, F>
where
    I: Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'static,
{
    fn cancelled(self: Arc<Self>, reason: GiveUpReason) {
        if let Some(crew) = self.crew.upgrade() {
            self.core.end(&crew, reason);
        }
        unwind::discard(self);
    }
}

/// A batch with its job function: what a token helps.
pub(crate) struct BatchLane<'p, I, T, E, F> {
    pub(crate) core: Arc<Core<I, T, E>>,
    pub(crate) job: Contained<F>,
    pub(crate) options: BatchOptions<'p, I, T, E>,
    pub(crate) crew: Weak<Crew<'p>>,
    pub(crate) this: Weak<Self>,
}

impl<'p, I, T, E, F> BatchLane<'p, I, T, E, F>
where
    I: Send + 'p,
    T: Send + 'p,
    E: Send + 'p,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'p,
{
    fn rules<'a>(&'a self, crew: &'a Crew<'p>) -> Rules<'a, I, T, E> {
        let options = &self.options;
        Rules {
            policy: &options.policy,
            classify: options.classify.as_ref().map(|classify| &***classify as _),
            accept: options.accept.as_ref().map(|accept| &***accept as _),
            on_retry: options.on_retry.as_ref().map(|hook| &***hook as _),
            display: options.display,
            errors_kept: options.errors_kept,
            seed: options.seed,
            deadline: self.core.setup.deadline,
            observer: &self.core.setup.observer,
            batch: Some(self.core.setup.number),
            clock: &crew.clock,
        }
    }
}

impl<'p, I, T, E, F> Work<'p> for BatchLane<'p, I, T, E, F>
where
    I: Send + 'p,
    T: Send + 'p,
    E: Send + 'p,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'p,
{
    fn run(&self, _at: u32, crew: &Crew<'p>, post: &Arc<Post>) -> Next {
        post.hold_token_of(self.core.setup.number);
        let own = post.swap_token(self.core.setup.token.clone());
        post.set_holding(true);
        let next = self.take_turn(crew, post);
        post.set_holding(false);
        drop(post.swap_token(own));
        post.hold_token_of(0);
        crew.settled();
        next
    }

    fn give_up(&self, _at: u32, crew: &Crew<'p>, reason: GiveUpReason) {
        self.core.end(crew, reason);
    }
}

impl<'p, I, T, E, F> Lane<'p> for BatchLane<'p, I, T, E, F>
where
    I: Send + 'p,
    T: Send + 'p,
    E: Send + 'p,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'p,
{
    fn due(&self, now: Nanos) -> Due {
        self.core.due(now)
    }

    fn missing_tokens(&self, gone: bool) -> usize {
        self.core.missing_tokens(gone)
    }

    fn judge(&self, crew: &Crew<'p>, post: Option<&Post>) {
        let swap = |token| post.map(|post| post.swap_token(token));
        let own = swap(self.core.setup.token.clone());
        self.judge_expired(crew, post);
        drop(own.and_then(swap));
    }

    fn close(&self) {
        self.core.close();
    }
}
