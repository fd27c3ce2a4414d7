//! Tokens that tell running code to stop.

use std::fmt;
use std::time::Instant;

use crate::park::Parker;
use crate::reason::GiveUpReason;
use crate::sync::{Arc, AtomicBool, AtomicU8, Mutex, Ordering, Weak, fence};

/// A flag that is set once, and told to whoever holds a clone or a child of it: the way to stop a batch from outside, and for a job to
/// see that it should stop.
///
/// Clones share the flag. A [`child`](Self::child) is cancelled with its parent, but not the other way round. Cancelling is
/// cooperative: nothing is interrupted by force.
///
/// ```
/// use retry_pool::{CancelToken, GiveUpReason, RetryPool};
///
/// let pool = RetryPool::with_threads(2);
/// let token = CancelToken::new();
/// let mut batch = pool.batch(0.., |n: &u32| Ok::<_, String>(*n)).cancel_token(token.clone()).as_completed();
/// assert!(batch.next().is_some());
/// token.cancel();
/// let last = batch.last();
/// assert!(last.is_none_or(|done| done.result().is_ok() || done.into_result().unwrap_err().reason() == GiveUpReason::Cancelled));
/// ```
#[derive(Clone)]
pub struct CancelToken {
    inner: Arc<Inner>,
}

struct Inner {
    /// 0, or one more than the reason's number.
    cancelled: AtomicU8,
    /// Has anybody ever been linked?
    linked: AtomicBool,
    links: Mutex<Links>,
}

/// Who is told. Nothing is added once the token is cancelled.
#[derive(Default)]
struct Links {
    children: Vec<Weak<Inner>>,
    listeners: Vec<Weak<dyn Listener>>,
    sleepers: Vec<Arc<Parker>>,
    /// At this many children and listeners the dead are swept out.
    sweep_at: usize,
}

/// What is to be called when a token is cancelled, on the thread that cancels.
pub(crate) trait Listener: Send + Sync {
    fn cancelled(self: Arc<Self>, reason: GiveUpReason);
}

/// The dead are not swept out before there are this many links.
const SWEEP: usize = 16;

impl CancelToken {
    /// A token that nobody has cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                cancelled: AtomicU8::new(0),
                linked: AtomicBool::new(false),
                links: Mutex::default(),
            }),
        }
    }

    /// A token that is cancelled with this one, or by itself.
    ///
    /// ```
    /// # use retry_pool::CancelToken;
    /// let parent = CancelToken::new();
    /// let (child, sibling) = (parent.child(), parent.child());
    /// child.cancel();
    /// assert!(!parent.is_cancelled() && !sibling.is_cancelled());
    /// parent.cancel();
    /// assert!(sibling.is_cancelled());
    /// ```
    #[must_use]
    pub fn child(&self) -> Self {
        let child = Self::new();
        let mut links = self.inner.links.lock();
        match self.reason() {
            Some(reason) => child.inner.mark(reason),
            None => {
                self.inner.link(&mut links);
                links.children.push(Arc::downgrade(&child.inner));
            }
        }
        drop(links);
        child
    }

    /// Cancels the token and its children, and wakes who waits for them. May be repeated.
    pub fn cancel(&self) {
        self.cancel_for(GiveUpReason::Cancelled);
    }

    /// Has the token been cancelled? Once true, it stays true.
    #[must_use]
    #[inline]
    pub fn is_cancelled(&self) -> bool {
        // ORDERING: Acquire, with the Release in `mark`.
        self.inner.cancelled.load(Ordering::Acquire) != 0
    }

    /// Why the token was cancelled.
    #[inline]
    pub(crate) fn reason(&self) -> Option<GiveUpReason> {
        // ORDERING: Acquire, with the Release in `mark`.
        let code = self.inner.cancelled.load(Ordering::Acquire);
        GiveUpReason::ALL
            .get(usize::from(code).wrapping_sub(1))
            .copied()
    }

    /// Cancels the token unless it is cancelled already; the first reason stays.
    pub(crate) fn cancel_for(&self, reason: GiveUpReason) {
        let listeners = self.cancel_quietly(reason);
        listeners
            .into_iter()
            .for_each(|listener| listener.cancelled(reason));
    }

    /// As `cancel_for`, but leaves it to the caller to call the listeners.
    pub(crate) fn cancel_quietly(&self, reason: GiveUpReason) -> Vec<Arc<dyn Listener>> {
        let mut listeners = Vec::new();
        let mut tokens = vec![Arc::clone(&self.inner)];
        // A loop, since a family may be deeper than a stack.
        while let Some(inner) = tokens.pop() {
            let mut links = inner.links.lock();
            // ORDERING: the lock orders it.
            if inner.cancelled.load(Ordering::Relaxed) != 0 {
                continue;
            }
            inner.mark(reason);
            let links = {
                let taken = std::mem::take(&mut *links);
                drop(links);
                taken
            };
            links.sleepers.iter().for_each(|sleeper| sleeper.unpark());
            tokens.extend(links.children.iter().filter_map(Weak::upgrade));
            listeners.extend(links.listeners.iter().filter_map(Weak::upgrade));
        }
        listeners
    }

    /// Waits until the token is cancelled, at the longest until `deadline`. False if that came first.
    pub(crate) fn wait_until(&self, deadline: Option<Instant>) -> bool {
        let parker = Arc::new(Parker::default());
        {
            let mut links = self.inner.links.lock();
            if self.is_cancelled() {
                return true;
            }
            links.sleepers.push(Arc::clone(&parker));
        }
        let cancelled = parker.park(deadline) || self.is_cancelled();
        if !cancelled {
            let mut links = self.inner.links.lock();
            links
                .sleepers
                .retain(|sleeper| !Arc::ptr_eq(sleeper, &parker));
        }
        cancelled
    }

    /// Has `listener` called when the token is cancelled; at once if it is already.
    pub(crate) fn listen(&self, listener: Arc<dyn Listener>) {
        let reason = {
            let mut links = self.inner.links.lock();
            let reason = self.reason();
            if reason.is_none() {
                self.inner.link(&mut links);
                links.listeners.push(Arc::downgrade(&listener));
            }
            reason
        };
        match reason {
            Some(reason) => listener.cancelled(reason),
            // The last reference may be this one, and what it frees is not to be freed under the lock.
            None => drop(listener),
        }
    }

    /// Is this a clone of the other?
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Is this the only reference to an uncancelled token that never had children or listeners? Then it can serve the next job.
    pub(crate) fn is_unused(&self) -> bool {
        if Arc::strong_count(&self.inner) != 1 {
            return false;
        }
        // ORDERING: Acquire, with the Release of those who dropped their references: what they linked before is seen. A canceller that
        // is about to act holds a reference, taken under a lock that the asker has taken since.
        fence(Ordering::Acquire);
        !self.inner.linked.load(Ordering::Relaxed) && !self.is_cancelled()
    }
}

impl Inner {
    fn link(&self, links: &mut Links) {
        // ORDERING: see `is_unused`.
        self.linked.store(true, Ordering::Relaxed);
        links.sweep();
    }

    fn mark(&self, reason: GiveUpReason) {
        // ORDERING: Release: who sees the flag sees what was written before the cancel.
        self.cancelled.store(reason as u8 + 1, Ordering::Release);
    }
}

impl Links {
    /// Forgets children and listeners that are gone, if they may be many.
    fn sweep(&mut self) {
        if self.children.len() + self.listeners.len() < self.sweep_at.max(SWEEP) {
            return;
        }
        self.children.retain(|child| child.strong_count() > 0);
        self.listeners
            .retain(|listener| listener.strong_count() > 0);
        self.sweep_at = 2 * (self.children.len() + self.listeners.len());
    }
}

/// The same as [`CancelToken::new`].
impl Default for CancelToken {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken")
            .field("cancelled", &self.is_cancelled())
            .finish()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    #[test]
    fn children_that_are_gone_do_not_pile_up() {
        let token = CancelToken::new();
        let kept: Vec<_> = (0..10).map(|_| token.child()).collect();
        (0..10_000).for_each(|_| drop(token.child()));
        assert!(token.inner.links.lock().children.len() <= 2 * kept.len() + SWEEP);
        token.cancel();
        assert!(kept.iter().all(CancelToken::is_cancelled));
        assert!(token.child().is_cancelled());
    }

    #[test]
    fn a_deep_family_is_cancelled_without_a_deep_stack() {
        let root = CancelToken::new();
        let family: Vec<_> = std::iter::successors(Some(root.clone()), |token| Some(token.child()))
            .take(100_000)
            .collect();
        root.cancel();
        assert!(family.last().is_some_and(CancelToken::is_cancelled));
    }

    #[test]
    fn a_waiter_is_woken_by_the_cancel_and_forgotten_after_its_deadline() {
        let token = CancelToken::new();
        assert!(!token.wait_until(Some(Instant::now())));
        assert!(token.inner.links.lock().sleepers.is_empty());
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| token.child().wait_until(None));
            token.cancel();
            assert!(waiter.join().unwrap());
        });
    }

    /// Notes why the token that it listens to was cancelled.
    pub(crate) struct Ear(pub(crate) Mutex<Option<GiveUpReason>>);

    impl Listener for Ear {
        fn cancelled(self: Arc<Self>, reason: GiveUpReason) {
            *self.0.lock() = Some(reason);
        }
    }

    pub(crate) fn listen(token: &CancelToken) -> Arc<Ear> {
        let ear = Arc::new(Ear(Mutex::new(None)));
        token.listen(Arc::clone(&ear) as _);
        ear
    }

    #[test]
    fn listeners_that_are_gone_do_not_pile_up_and_the_others_are_told() {
        let token = CancelToken::new();
        let kept: Vec<_> = (0..10).map(|_| listen(&token)).collect();
        (0..1_000).for_each(|_| drop(listen(&token)));
        assert!(token.inner.links.lock().listeners.len() <= 2 * kept.len() + SWEEP);
        token.cancel();
        let told = kept.iter().map(|ear| *ear.0.lock());
        assert!(told.eq([Some(GiveUpReason::Cancelled); 10]));
    }

    #[test]
    fn the_dead_are_swept_out_when_the_links_have_doubled() {
        let token = CancelToken::new();
        let most = || {
            let links = (0..200).map(|_| {
                drop(token.child());
                let links = token.inner.links.lock();
                links.children.len() + links.listeners.len()
            });
            links.max()
        };
        assert_eq!(most(), Some(SWEEP));
        let _children: Vec<_> = (0..12).map(|_| token.child()).collect();
        let _ears: Vec<_> = (0..8).map(|_| listen(&token)).collect();
        // The first sweep from here on sees how many live.
        let _ = most();
        assert_eq!(most(), Some(2 * 20));
    }

    #[test]
    fn a_token_serves_again_while_nobody_else_has_had_anything_of_it() {
        let token = CancelToken::new();
        assert!(token.is_unused());
        let clone = token.clone();
        assert!(!token.is_unused() && token.is_same(&clone));
        drop(clone);
        assert!(token.is_unused());
        let child = token.child();
        assert!(!token.is_same(&child));
        drop(child);
        assert!(!token.is_unused());
        let cancelled = CancelToken::new();
        cancelled.cancel();
        assert!(!cancelled.is_unused());
    }
}

#[cfg(all(test, rp_loom))]
mod models;
