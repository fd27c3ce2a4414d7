//! One worker of a pool, as other threads see it, and as it finds itself.

use std::cell::{Cell, RefCell};

use super::{Note, Role, Roster};
use crate::cancel::CancelToken;
use crate::park::Parker;
use crate::stats::Counts;
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, Padded, thread_local};

/// A worker's place in its pool.
pub(crate) struct Post {
    roster: Arc<Roster>,
    pub(crate) number: usize,
    pub(crate) role: Role,
    pub(crate) parker: Parker,
    thread: Mutex<Option<ThreadId>>,
    /// Written by this worker alone.
    pub(crate) counts: Padded<Counts>,
    /// What tells the running attempt to stop.
    token: Mutex<CancelToken>,
    /// It was started on an errand, and that is over.
    errand_over: AtomicBool,
    has_worked: AtomicBool,
    /// Does the job that it runs hold a permit? Written by this worker alone.
    holds_permit: AtomicBool,
    /// Has anybody seen the token? Spares a look at it before each job.
    token_seen: AtomicBool,
    /// The batch whose token this worker has; 0 for none. Whoever sets it to 0 answers for the token.
    lane: AtomicU64,
    /// Has lent its job's permit. Changed under the roster's lock.
    lends: AtomicBool,
    /// Waits for other jobs. Changed under the roster's lock.
    away: AtomicBool,
    /// Runs an attempt that was abandoned. Changed under the roster's lock.
    stuck: AtomicBool,
}

thread_local! {
    /// The pool that the current thread works for. It is not reset when the thread ends, since what is torn down then (other
    /// thread-locals) may call the pool, too.
    static POOL: Cell<u64> = const { Cell::new(0) };
    static POST: RefCell<Option<Arc<Post>>> = const { RefCell::new(None) };
}

/// Does the current thread belong to the pool of this number?
pub(crate) fn is_on(pool: u64) -> bool {
    POOL.get() == pool
}

/// The current thread's post, if it is a worker of any pool.
pub(crate) fn current_post() -> Option<Arc<Post>> {
    // It is gone while the thread's locals are torn down; no job runs then.
    POST.try_with(|post| post.borrow().clone()).ok().flatten()
}

/// Calls `wait`, which waits for other jobs. If the current thread is a worker, a spare works in its place meanwhile.
///
/// # Panics
/// If the spare cannot be started: that panic ends the attempt that wanted to wait.
pub(crate) fn blocking<R>(wait: impl FnOnce() -> R) -> R {
    let post = current_post();
    let _away = post.as_ref().map(|post| post.step_away(true));
    wait()
}

/// As [`blocking`], for ends that must not fail, since they come in destructors, too: where no spare is to be had, none works.
pub(crate) fn blocking_for_the_end<R>(wait: impl FnOnce() -> R) -> R {
    let post = current_post();
    let _away = post.as_ref().map(|post| post.step_away(false));
    wait()
}

impl Post {
    pub(super) fn new(roster: &Arc<Roster>, number: usize, role: Role) -> Self {
        Self {
            roster: Arc::clone(roster),
            number,
            role,
            parker: Parker::default(),
            thread: Mutex::default(),
            counts: Padded::default(),
            token: Mutex::default(),
            errand_over: AtomicBool::new(false),
            has_worked: AtomicBool::new(false),
            holds_permit: AtomicBool::new(false),
            token_seen: AtomicBool::new(false),
            lane: AtomicU64::new(0),
            lends: AtomicBool::new(false),
            away: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
        }
    }

    /// Was it started in the place of another, and not for good?
    pub(crate) fn is_spare(&self) -> bool {
        self.role != Role::Regular
    }

    /// It has work.
    pub(crate) fn note_work(&self) {
        // ORDERING: read and written by this worker alone.
        self.has_worked.store(true, Ordering::Relaxed);
    }

    /// Has it come so far that there was work?
    pub(super) fn has_worked(&self) -> bool {
        self.has_worked.load(Ordering::Relaxed)
    }

    /// Notes that its errand is over; was it before?
    pub(super) fn errand_is_over(&self) -> bool {
        self.errand_over.swap(true, Ordering::Relaxed)
    }

    /// Makes this the current thread's post.
    pub(crate) fn take(self: &Arc<Self>) {
        Self::join(self.roster.id);
        *self.thread.lock() = Some(thread::current().id());
        POST.set(Some(Arc::clone(self)));
    }

    /// The current thread, which is still one of the pool's, has no post any more.
    pub(crate) fn leave() {
        drop(POST.take());
    }

    /// Marks the current thread as one of the pool's.
    pub(crate) fn join(pool: u64) {
        POOL.set(pool);
    }

    /// The thread that took this post.
    pub(super) fn thread(&self) -> Option<ThreadId> {
        *self.thread.lock()
    }

    // The attempt that runs.

    /// The token of the running attempt.
    pub(crate) fn token(&self) -> CancelToken {
        let token = self.token.lock();
        // ORDERING: Relaxed: who tells a job to stop holds that job's lock, which the worker takes before the next one; and a job that is
        // submitted after `cancel_all` is handed to the worker by a channel.
        self.token_seen.store(true, Ordering::Relaxed);
        token.clone()
    }

    /// Is this the token of the running attempt?
    pub(crate) fn is_told_by(&self, token: &CancelToken) -> bool {
        self.token.lock().is_same(token)
    }

    /// Makes `token` that of the coming attempts; gives the one before.
    pub(crate) fn swap_token(&self, token: CancelToken) -> CancelToken {
        std::mem::replace(&mut *self.token.lock(), token)
    }

    /// Why the running attempt was told to stop, if it was.
    pub(crate) fn told_to_stop(&self) -> Option<crate::reason::GiveUpReason> {
        self.token.lock().reason()
    }

    /// Before a single job: a token that somebody else has, or that was cancelled, does not serve it.
    pub(crate) fn renew_token(&self) {
        if !self.token_seen.load(Ordering::Relaxed) {
            return;
        }
        let mut token = self.token.lock();
        self.token_seen.store(false, Ordering::Relaxed);
        if !token.is_unused() {
            let old = std::mem::take(&mut *token);
            drop(token);
            drop(old);
        }
    }

    /// A job begins, which holds a permit, or has given it back.
    #[inline]
    pub(crate) fn set_holding(&self, holds: bool) {
        // ORDERING: read and written by this worker alone.
        self.holds_permit.store(holds, Ordering::Relaxed);
    }

    // The token of a batch.

    /// Notes the batch whose token this worker has.
    pub(crate) fn hold_token_of(&self, lane: u64) {
        // ORDERING: read and written by this worker alone, here and below.
        self.lane.store(lane, Ordering::Relaxed);
    }

    /// Does this worker still have the token that it noted?
    #[inline]
    pub(crate) fn has_token(&self) -> bool {
        self.lane.load(Ordering::Relaxed) != 0
    }

    /// Takes the token from this worker, which is stuck; true if it had one.
    pub(crate) fn void_token(&self) -> bool {
        self.lane.swap(0, Ordering::Relaxed) != 0
    }

    // Waiting for other jobs.

    pub(super) fn is_away(&self) -> bool {
        // ORDERING: under the roster's lock.
        self.away.load(Ordering::Relaxed)
    }

    /// Is the attempt that this worker runs abandoned?
    pub(crate) fn is_stuck(&self) -> bool {
        // ORDERING: Acquire, with `set_stuck`.
        self.stuck.load(Ordering::Acquire)
    }

    /// A lent permit is taken back: the job goes on, here or elsewhere. Under the roster's lock.
    pub(super) fn take_permit_back(&self) {
        if self.lends.swap(false, Ordering::Relaxed) {
            self.roster.permits.force(1);
        }
    }

    pub(super) fn set_stuck(&self, stuck: bool) {
        self.stuck.store(stuck, Ordering::Release);
    }

    fn step_away(&self, needs_spare: bool) -> Away<'_> {
        let mut away = Away {
            post: self,
            nested: false,
        };
        let replace = {
            let mut state = self.roster.lock();
            // ORDERING: under the roster's lock.
            if self.away.swap(true, Ordering::Relaxed) {
                // A destructor that runs in a shutdown, say, waits in its turn.
                away.nested = true;
                return away;
            }
            if self.is_stuck() {
                return away;
            }
            state.available -= 1;
            // ORDERING: see `set_holding`; under the roster's lock.
            if self.holds_permit.load(Ordering::Relaxed) {
                self.lends.store(true, Ordering::Relaxed);
                self.roster.permits.release(1);
            }
            state.lacks(self.roster.threads) && !state.stopped
        };
        if replace
            && let Err(error) = self.roster.recruit(Role::Spare)
            && needs_spare
            && !self.roster.is_stopped()
        {
            drop(away);
            panic!(
                "a job that waits for others needs a spare thread meanwhile, and the system refused it: {error}"
            );
        }
        self.roster.hand_errand_over(self);
        // Unless the timer was first and took it from a stuck worker.
        let lane = self.lane.swap(0, Ordering::Relaxed);
        if lane != 0 {
            self.roster.note(Note::TokenGone(lane));
        }
        away
    }
}

/// A worker that waits for other jobs.
struct Away<'a> {
    post: &'a Post,
    /// It waits already.
    nested: bool,
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        if self.nested {
            return;
        }
        let roster = &self.post.roster;
        let surplus = {
            let mut state = roster.lock();
            self.post.take_permit_back();
            // ORDERING: under the roster's lock.
            self.post.away.store(false, Ordering::Relaxed);
            if self.post.is_stuck() {
                return;
            }
            state.available += 1;
            if !state.has_too_many(roster.threads) {
                return;
            }
            // A spare that sleeps is to look up and leave.
            let place = state
                .sleepers
                .iter()
                .position(|post| post.role != Role::Regular);
            place.map(|place| {
                let spare = state.sleepers.remove(place);
                roster.count_woken(1);
                spare
            })
        };
        if let Some(spare) = surplus {
            spare.parker.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permits::Permits;
    use crate::reason::GiveUpReason;
    use crate::unwind;

    fn post() -> Post {
        let roster = Arc::new(Roster::new(1, 0, Permits::new(None)));
        Post::new(&roster, 0, Role::Regular)
    }

    #[test]
    fn the_token_of_a_batch_is_answered_for_once() {
        let post = post();
        assert!(!post.has_token() && !post.void_token());
        post.hold_token_of(3);
        assert!(post.has_token() && post.void_token());
        assert!(!post.has_token() && !post.void_token());
    }

    #[test]
    fn an_attempt_is_told_by_its_own_token_and_no_other() {
        let post = post();
        let (own, other) = (CancelToken::new(), CancelToken::new());
        drop(post.swap_token(own.clone()));
        assert!(post.is_told_by(&own) && !post.is_told_by(&other));
        other.cancel();
        assert_eq!(post.told_to_stop(), None);
        own.cancel_for(GiveUpReason::Shutdown);
        assert_eq!(post.told_to_stop(), Some(GiveUpReason::Shutdown));
        // The next job gets a new one.
        assert!(post.token().is_same(&own));
        post.renew_token();
        assert!(!post.is_told_by(&own));
        assert_eq!(post.told_to_stop(), None);
    }

    #[test]
    fn who_has_left_its_post_is_still_one_of_the_pool() {
        let post = Arc::new(post());
        post.take();
        assert!(current_post().is_some() && is_on(post.roster.id));
        Post::leave();
        assert!(current_post().is_none() && is_on(post.roster.id));
    }

    #[test]
    fn a_wait_whose_spare_is_refused_panics_unless_the_pool_ends_meanwhile() {
        for ends in [false, true] {
            let roster = Arc::new(Roster::new(1, 0, Permits::new(None)));
            let weak = Arc::downgrade(&roster);
            roster.set_recruiter(Arc::new(move |post| {
                let refused = Err(std::io::Error::other("refused"));
                if post.is_spare() {
                    if ends {
                        weak.upgrade().unwrap().stop();
                    }
                    return refused;
                }
                // The test's thread takes the part of the worker's.
                post.take();
                let waited = unwind::catch(|| blocking(|| post.is_away()));
                assert_eq!(waited.ok(), ends.then_some(true));
                assert!(!post.is_away());
                Post::leave();
                refused
            }));
            assert!(roster.recruit(Role::Regular).is_err());
        }
    }
}
