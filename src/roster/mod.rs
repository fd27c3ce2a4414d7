//! Which threads of a pool work, sleep, wait for other jobs, or are stuck; what needs no knowledge of jobs.
//!
//! # Sleeping
//!
//! A worker that finds nothing to do *searches* for a moment, then sleeps; where there is a searcher for each processor, it has its last
//! look on its way to sleep. Who pushes work wakes a sleeper only if nobody
//! searches, since a searcher will find it; a searcher that finds work and was the last wakes another if more work waits. So a
//! burst wakes the workers one after the other, and a trickle wakes one.
//!
//! No wake-up is lost: the pusher adds work, then (fence) looks for searchers and sleepers; the worker counts itself as asleep,
//! then (fence) looks for work. One of the two sees the other. The fences do it alone: the hints, and the work channel's look at whether
//! it is empty, could be relaxed (`models.rs` shows both).
//!
//! # Replacing
//!
//! Invariant: as long as the pool is not stopped and the system grants threads, `available >= threads`: that many workers neither
//! wait for other jobs nor are stuck in an attempt that was abandoned. Who steps away starts a *spare*; spares leave,
//! between two jobs, while more than `threads` are available. For abandoned attempts no more than `max_stuck` are started.

mod post;

use std::io;

pub(crate) use post::{Post, blocking, blocking_for_the_end, current_post, is_on};

use crate::cancel::CancelToken;
use crate::permits::Permits;
use crate::stats::Stats;
use crate::sync::{
    Arc, AtomicBool, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, Padded, fence,
    thread::ThreadId, unique_number,
};

/// The threads of one pool.
pub(crate) struct Roster {
    /// Unlike any other pool's of this process, and not 0.
    pub(crate) id: u64,
    threads: usize,
    max_stuck: usize,
    pub(crate) permits: Permits,
    /// How many sleep, and [`SEARCHER`] times how many search.
    hints: Padded<AtomicU64>,
    state: Mutex<State>,
    /// Signalled when a thread ends or the pool stops.
    pub(crate) changed: Condvar,
    notes: Mutex<Vec<Note>>,
    noted: AtomicBool,
    recruiter: Mutex<Option<Recruiter>>,
}

/// Starts a thread for a post.
pub(crate) type Recruiter = Arc<dyn Fn(Arc<Post>) -> io::Result<()> + Send + Sync>;

/// What a thread that does not know the type of a batch asks of the pool's workers.
#[derive(Debug)]
pub(crate) enum Note {
    /// The batch of this number may lack tokens.
    Announce(u64),
    /// A worker of this batch waits for other jobs, and its token is void.
    TokenGone(u64),
    /// Jobs have ended where the pool is not known.
    Ended,
}

pub(crate) struct State {
    /// By number; a spare takes the first place that is free.
    posts: Vec<Option<Arc<Post>>>,
    sleepers: Vec<Arc<Post>>,
    /// Workers that neither wait for other jobs nor are stuck.
    available: usize,
    /// Threads that have not ended, the timer's included.
    alive: usize,
    /// Of these, workers whose threads have not begun.
    starting: usize,
    stuck: usize,
    /// Places of stuck workers that stay empty, since too many are stuck, until one comes back.
    vacant: usize,
    /// A worker runs that was started for what is urgent.
    errand: bool,
    pub(crate) stopped: bool,
    /// The counts of workers that are gone.
    past: Stats,
}

/// A worker whose attempt was abandoned.
pub(crate) struct Stuck {
    pub(crate) post: Arc<Post>,
    /// That of the attempt.
    pub(crate) token: CancelToken,
    /// A spare works in its place already.
    has_one: bool,
    wanted: bool,
}

/// What a worker was started for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Regular,
    /// In the place of one that waits for other jobs or is stuck.
    Spare,
    /// To settle what has come due while all others are busy: it takes what is urgent, and leaves.
    Errand,
}

/// What a worker that has found nothing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Look again.
    Woken,
    /// End.
    Leave,
}

const SEARCHER: u64 = 1 << 32;

impl Roster {
    pub(crate) fn new(threads: usize, max_stuck: usize, permits: Permits) -> Self {
        let state = State {
            posts: Vec::new(),
            sleepers: Vec::new(),
            available: 0,
            alive: 0,
            starting: 0,
            stuck: 0,
            vacant: 0,
            errand: false,
            stopped: false,
            past: Stats::default(),
        };
        Self {
            id: unique_number(),
            threads,
            max_stuck,
            permits,
            hints: Padded::default(),
            state: Mutex::new(state),
            changed: Condvar::new(),
            notes: Mutex::default(),
            noted: AtomicBool::new(false),
            recruiter: Mutex::new(None),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    // Coming and going.

    /// From now on spares can be started.
    pub(crate) fn set_recruiter(&self, recruiter: Recruiter) {
        *self.recruiter.lock() = Some(recruiter);
    }

    /// From now on none can. What starts them is dropped.
    pub(crate) fn dismiss_recruiter(&self) {
        let recruiter = self.recruiter.lock().take();
        drop(recruiter);
    }

    /// Starts a worker, which is available from now on. Nothing has changed if the system refuses.
    pub(crate) fn recruit(self: &Arc<Self>, role: Role) -> io::Result<()> {
        let post = {
            let mut state = self.lock();
            state.available += 1;
            state.alive += 1;
            state.starting += 1;
            let free = state.posts.iter().position(Option::is_none);
            let number = free.unwrap_or_else(|| {
                state.posts.push(None);
                state.posts.len() - 1
            });
            let post = Arc::new(Post::new(self, number, role));
            state.posts[number] = Some(Arc::clone(&post));
            post
        };
        let recruiter = self.recruiter.lock().clone();
        let started = match recruiter {
            Some(recruiter) => recruiter(Arc::clone(&post)),
            None => Err(io::Error::other("the pool has ended")),
        };
        if started.is_err() {
            let mut state = self.lock();
            state.available -= 1;
            state.starting -= 1;
            state.remove(&post);
            drop(state);
            self.changed.notify_all();
        }
        started
    }

    /// The thread of a worker has begun.
    pub(crate) fn has_started(&self) {
        self.lock().starting -= 1;
    }

    /// Is the timer's thread the last one that has begun, but for those that are stuck? Who begins in a stopped pool runs no attempt.
    pub(crate) fn is_deserted(&self) -> bool {
        let state = self.lock();
        Self::alive(&state) - state.starting == 1
    }

    /// Starts a worker for what is urgent, unless somebody is free to take it or was started before. False if there is nobody.
    pub(crate) fn recruit_errand(self: &Arc<Self>) -> bool {
        // ORDERING: SeqCst: whoever is free takes what the caller pushed before.
        if self.hints.load(Ordering::SeqCst) != 0 {
            return true;
        }
        if std::mem::replace(&mut self.lock().errand, true) {
            return true;
        }
        let started = self.recruit(Role::Errand).is_ok();
        if !started {
            self.lock().errand = false;
        }
        started
    }

    /// This worker does not look after what is urgent in particular any more.
    pub(crate) fn end_errand(&self, post: &Post) {
        if post.role == Role::Errand && !post.errand_is_over() {
            self.lock().errand = false;
        }
    }

    /// This worker is about to wait for other jobs. Another one looks for what is urgent meanwhile: in the place of one that was started for
    /// that, and in a stopped pool, which has no spares. Not for one that has done nothing yet, as what it waits in goes for the next, too.
    fn hand_errand_over(self: &Arc<Self>, post: &Post) {
        if !post.has_worked() {
            return;
        }
        let own = post.role == Role::Errand && !post.errand_is_over();
        let stands_in =
            |state: &mut State| state.stopped && !std::mem::replace(&mut state.errand, true);
        if (own || stands_in(&mut self.lock())) && self.recruit(Role::Errand).is_err() {
            self.lock().errand = false;
        }
    }

    /// A worker has ended. One that was still counted as available died of a fault of ours, and is replaced.
    pub(crate) fn dismiss(self: &Arc<Self>, post: &Arc<Post>, in_order: bool) {
        let replace = {
            let mut state = self.lock();
            state.available -= usize::from(!in_order);
            state.remove(post);
            !in_order && !state.stopped
        };
        if replace {
            // If the system refuses, the pool goes on with one worker less.
            let _ = self.recruit(Role::Regular);
        }
        self.changed.notify_all();
    }

    /// The timer's thread begins (or ends).
    pub(crate) fn count_timer(&self, begins: bool) {
        let mut state = self.lock();
        if begins {
            state.alive += 1;
        } else {
            state.alive -= 1;
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Lets every worker end that finds nothing to do.
    pub(crate) fn stop(&self) {
        let sleepers = {
            let mut state = self.lock();
            state.stopped = true;
            let sleepers = std::mem::take(&mut state.sleepers);
            self.count_woken(sleepers.len());
            sleepers
        };
        self.changed.notify_all();
        sleepers.iter().for_each(|post| post.parker.unpark());
    }

    /// Has the pool ended? Then nobody needs to be replaced: whatever it had has settled.
    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    // Sleeping and waking.

    /// To be called after work was added: wakes a worker if nobody searches.
    pub(crate) fn wake_for_work(&self) {
        // ORDERING: the caller's fence stands between its push and this; see the module's text.
        let hints = self.hints.load(Ordering::Relaxed);
        if hints != 0 && hints < SEARCHER {
            self.wake(1);
        }
    }

    /// Wakes up to `workers` that sleep.
    pub(crate) fn wake(&self, workers: usize) {
        let mut state = self.lock();
        let left = state.sleepers.len().saturating_sub(workers);
        let woken = state.sleepers.split_off(left);
        self.count_woken(woken.len());
        drop(state);
        woken.iter().for_each(|post| post.parker.unpark());
    }

    /// Who was woken searches.
    fn count_woken(&self, workers: usize) {
        let change = (workers as u64).wrapping_mul(SEARCHER - 1);
        // ORDERING: SeqCst, as all changes of the hints: see the module's text.
        self.hints.fetch_add(change, Ordering::SeqCst);
    }

    /// Says how many searched before.
    pub(crate) fn begin_search(&self) -> u64 {
        self.hints.fetch_add(SEARCHER, Ordering::SeqCst) / SEARCHER
    }

    /// A searcher has found work. If it was the last, and `more` waits, another takes its place. Ends with a fence.
    pub(crate) fn end_search(&self, more: impl FnOnce() -> bool) {
        let before = self.hints.fetch_sub(SEARCHER, Ordering::SeqCst);
        let others = before - SEARCHER;
        fence(Ordering::SeqCst);
        if others != 0 && others < SEARCHER && more() {
            self.wake(1);
        }
    }

    /// A searcher has found nothing: it sleeps until it is woken, unless there is `work` after all.
    pub(crate) fn rest(&self, post: &Arc<Post>, work: impl FnOnce() -> bool) -> Rest {
        {
            let mut state = self.lock();
            if state.stopped || state.has_surplus(self.threads, post) {
                state.available -= 1;
                drop(state);
                self.hints.fetch_sub(SEARCHER, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                if !work() {
                    return Rest::Leave;
                }
                // Its pusher may have relied on this searcher.
                self.lock().available += 1;
                self.begin_search();
                return Rest::Woken;
            }
            state.sleepers.push(Arc::clone(post));
            self.hints.fetch_sub(SEARCHER - 1, Ordering::SeqCst);
        }
        fence(Ordering::SeqCst);
        if work() {
            let mut state = self.lock();
            let place = state
                .sleepers
                .iter()
                .position(|other| Arc::ptr_eq(other, post));
            if let Some(place) = place {
                state.sleepers.remove(place);
                self.count_woken(1);
                return Rest::Woken;
            }
        }
        post.parker.park(None);
        Rest::Woken
    }

    /// Is this spare one too many?
    pub(crate) fn is_surplus(&self, post: &Post) -> bool {
        self.lock().has_surplus(self.threads, post)
    }

    /// Is this spare one too many? Then it is to end.
    pub(crate) fn retires(&self, post: &Post) -> bool {
        let mut state = self.lock();
        let surplus = state.has_surplus(self.threads, post);
        state.available -= usize::from(surplus);
        surplus
    }

    // Notes.

    /// Asks the workers for something.
    pub(crate) fn note(&self, note: Note) {
        self.notes.lock().push(note);
        self.noted.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.wake_for_work();
    }

    pub(crate) fn has_notes(&self) -> bool {
        // ORDERING: see the module's text; a note is work.
        self.noted.load(Ordering::Relaxed)
    }

    pub(crate) fn take_notes(&self) -> Vec<Note> {
        let mut notes = self.notes.lock();
        self.noted.store(false, Ordering::SeqCst);
        std::mem::take(&mut *notes)
    }

    // Stuck attempts.

    /// The attempt that a worker runs is abandoned. To be called under the lock that keeps this from the worker, and followed by
    /// [`replace`](Self::replace).
    pub(crate) fn mark_stuck(&self, post: Arc<Post>, token: CancelToken) -> Stuck {
        let mut state = self.lock();
        post.set_stuck(true);
        post.take_permit_back();
        state.stuck += 1;
        let has_one = post.is_away();
        if !has_one {
            state.available -= 1;
        }
        let lacks = state.lacks(self.threads) && !state.stopped;
        let wanted = lacks && state.stuck <= self.max_stuck;
        state.vacant += usize::from(lacks && !wanted);
        drop(state);
        self.changed.notify_all();
        Stuck {
            post,
            token,
            has_one,
            wanted,
        }
    }

    /// Starts a worker in the place of a stuck one, if there may be one more. False if it has none.
    pub(crate) fn replace(self: &Arc<Self>, stuck: &Stuck) -> bool {
        // If the system refuses, the pool is one worker short until the stuck one comes back; `stats()` shows it.
        stuck.has_one || (stuck.wanted && self.recruit(Role::Spare).is_ok())
    }

    /// A stuck worker has come back. False if its place was taken: it is to end.
    pub(crate) fn comes_back(&self, post: &Post) -> bool {
        let mut state = self.lock();
        post.set_stuck(false);
        state.stuck -= 1;
        let vacant = state.vacant > 0;
        state.vacant -= usize::from(vacant);
        let wanted = (vacant || state.lacks(self.threads)) && !state.stopped;
        state.available += usize::from(wanted);
        wanted
    }

    // Figures.

    pub(crate) fn post(&self, number: u32) -> Option<Arc<Post>> {
        self.lock().posts.get(number as usize)?.clone()
    }

    /// Adds up what the workers have counted, and how many there are.
    pub(crate) fn add_to(&self, stats: &mut Stats) {
        let state = self.lock();
        stats.add(&state.past);
        for post in state.posts.iter().flatten() {
            stats.add_outcomes(&post.counts);
        }
        let workers = state.posts.iter().flatten().count();
        stats.set_threads(
            self.threads,
            workers.saturating_sub(self.threads),
            state.stuck,
        );
    }

    /// How many threads have neither ended nor are stuck.
    pub(crate) fn alive(state: &State) -> usize {
        state.alive.saturating_sub(state.stuck)
    }

    /// The threads whose attempts were abandoned.
    pub(crate) fn stuck_threads(&self) -> Vec<ThreadId> {
        let state = self.lock();
        let stuck = state.posts.iter().flatten().filter(|post| post.is_stuck());
        stuck.filter_map(|post| post.thread()).collect()
    }

    /// Those who run something now, or may be about to.
    pub(crate) fn posts(&self) -> Vec<Arc<Post>> {
        self.lock().posts.iter().flatten().cloned().collect()
    }

    /// Panics unless all threads have ended and everything was given back.
    #[cfg(debug_assertions)]
    pub(crate) fn assert_at_rest(&self) {
        let state = self.lock();
        let counts = [state.available, state.alive, state.starting, state.stuck];
        assert_eq!(counts, [0; 4], "available, alive, starting, stuck");
        assert!(!state.errand && state.sleepers.is_empty());
        assert_eq!(self.hints.load(Ordering::SeqCst), 0, "searchers, sleepers");
        self.permits.assert_all_back();
    }
}

impl State {
    fn remove(&mut self, post: &Arc<Post>) {
        self.alive -= 1;
        if post.role == Role::Errand && !post.errand_is_over() {
            self.errand = false;
        }
        self.past.add_outcomes(&post.counts);
        self.posts[post.number] = None;
    }

    /// Are there fewer workers than there may be?
    fn lacks(&self, threads: usize) -> bool {
        self.available + self.vacant < threads
    }

    /// Are there more?
    fn has_too_many(&self, threads: usize) -> bool {
        self.available + self.vacant > threads
    }

    fn has_surplus(&self, threads: usize, post: &Post) -> bool {
        post.role != Role::Regular && self.has_too_many(threads)
    }
}

#[cfg(all(test, rp_loom))]
mod models;

#[cfg(test)]
mod tests;
