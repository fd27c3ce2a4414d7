//! The timer: one thread and a heap of `(due, key)`. It carries keys only and runs no user code.
//!
//! Inserting takes the lock and wakes the thread only when the new entry is the earliest, so a burst of parked retries with
//! rising due times costs one wake-up. Entries whose key is dead are swept out when the heap has doubled since the last sweep, and
//! when so many were reported dead that they may outnumber the live by more than a few.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::clock::{Clock, Nanos};
use crate::sync::{Condvar, Mutex, wait_until};

/// How many due entries are fired before the lock is offered to those who park.
const BITE: usize = 64;

/// The heap is not swept before it has this many entries more.
const SWEEP: usize = 64;

/// What the timer carries.
pub(crate) trait Key {
    /// Is anybody still interested?
    fn is_live(&self) -> bool;

    /// Does nobody need it any more once the timer is stopped?
    fn ends_with_pool(&self) -> bool;
}

/// A heap of keys ordered by their due time.
pub(crate) struct Timer<K> {
    state: Mutex<State<K>>,
    changed: Condvar,
    clock: Clock,
}

struct State<K> {
    heap: BinaryHeap<Entry<K>>,
    /// At this many entries the dead are swept out.
    sweep_at: usize,
    /// How many entries were reported dead since the last sweep; some may have been taken out by then.
    dead: usize,
    stopped: bool,
}

struct Entry<K> {
    due: Nanos,
    key: K,
}

impl<K: Key> Timer<K> {
    pub(crate) fn new(clock: Clock) -> Self {
        let state = State {
            heap: BinaryHeap::new(),
            sweep_at: SWEEP,
            dead: 0,
            stopped: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Condvar::new(),
            clock,
        }
    }

    /// Has `key` fired at `due`, never earlier; gives it back if the timer has been stopped and it ends with that. Dead entries that were
    /// swept out are returned, too, to be dropped where user code may run.
    pub(crate) fn insert(&self, due: Nanos, key: K) -> Result<Vec<K>, K> {
        let mut state = self.state.lock();
        if state.stopped && key.ends_with_pool() {
            return Err(key);
        }
        let dead = state.sweep_if_grown();
        let earliest = state.heap.peek().is_none_or(|first| due < first.due);
        state.heap.push(Entry { due, key });
        if earliest {
            self.changed.notify_one();
        }
        Ok(dead)
    }

    /// An entry has died, if it had not been taken out before. Gives those that are to be dropped: without the lock, since they may run user code.
    pub(crate) fn report_dead(&self) -> Vec<K> {
        let mut state = self.state.lock();
        state.dead += 1;
        // Each sweep looks at fewer than twice as many entries as were reported, so a report costs the same however many there are.
        match 2 * state.dead > state.heap.len() + SWEEP {
            true => state.sweep(),
            false => Vec::new(),
        }
    }

    /// Fires what comes due until the timer is stopped and it is `over`, which is asked under the lock. The one thread of the timer calls
    /// this. What is left then is dropped.
    pub(crate) fn run(&self, over: impl Fn() -> bool, mut fire: impl FnMut(K, Nanos)) {
        let mut due = Vec::with_capacity(BITE);
        while self.wait_for_due(&over, &mut due) {
            let now = self.clock.now();
            due.drain(..).for_each(|key| fire(key, now));
        }
        drop(self.take(|_| true));
    }

    /// Takes up to a bite of due entries out; blocks while there is none. False in the end.
    fn wait_for_due(&self, over: impl Fn() -> bool, taken: &mut Vec<K>) -> bool {
        let mut state = self.state.lock();
        while !(state.stopped && over()) {
            let now = self.clock.now();
            while taken.len() < BITE && state.heap.peek().is_some_and(|first| first.due <= now) {
                taken.extend(state.heap.pop().map(|entry| entry.key));
            }
            if !taken.is_empty() {
                return true;
            }
            let next = state
                .heap
                .peek()
                .and_then(|first| self.clock.instant(first.due));
            wait_until(&self.changed, &mut state, next);
        }
        false
    }

    /// Takes those entries out that `wanted` names, which is asked under the lock.
    pub(crate) fn take(&self, wanted: impl FnMut(&K) -> bool) -> Vec<K> {
        self.state.lock().take(wanted)
    }

    /// Takes out what ends with the pool, and refuses more of it. The rest goes on until it is over.
    pub(crate) fn stop(&self) -> Vec<K> {
        let mut state = self.state.lock();
        state.stopped = true;
        let ended = state.take(Key::ends_with_pool);
        drop(state);
        self.changed.notify_one();
        ended
    }

    /// It may be over now.
    pub(crate) fn look_again(&self) {
        drop(self.state.lock());
        self.changed.notify_one();
    }
}

impl<K: Key> State<K> {
    /// Takes the dead entries out if the heap has grown enough for that.
    fn sweep_if_grown(&mut self) -> Vec<K> {
        match self.heap.len() < self.sweep_at {
            true => Vec::new(),
            false => self.sweep(),
        }
    }

    /// Takes the dead entries out. They are to be dropped after the lock.
    fn sweep(&mut self) -> Vec<K> {
        self.dead = 0;
        let dead = self.take(|key| !key.is_live());
        self.sweep_at = 2 * self.heap.len() + SWEEP;
        dead
    }

    fn take(&mut self, mut wanted: impl FnMut(&K) -> bool) -> Vec<K> {
        let entries = std::mem::take(&mut self.heap).into_vec();
        let (taken, kept): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| wanted(&entry.key));
        self.heap = BinaryHeap::from(kept);
        taken.into_iter().map(|entry| entry.key).collect()
    }
}

impl<K> std::fmt::Debug for Timer<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timer")
            .field("parked", &self.state.lock().heap.len())
            .finish()
    }
}

/// The heap gives out its greatest entry first: the earliest.
impl<K> Ord for Entry<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.due.cmp(&self.due)
    }
}
impl<K> PartialOrd for Entry<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> PartialEq for Entry<K> {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}
impl<K> Eq for Entry<K> {}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    impl Key for Nanos {
        fn is_live(&self) -> bool {
            !self.is_multiple_of(2)
        }

        fn ends_with_pool(&self) -> bool {
            true
        }
    }

    #[test]
    fn dead_entries_do_not_pile_up() {
        let timer = Timer::new(Clock::new());
        for n in 0..10_000 {
            timer
                .insert(Nanos::MAX, if n % 100 == 0 { 1 } else { 2 })
                .unwrap();
        }
        let left = timer.stop();
        let live = left.iter().filter(|key| key.is_live()).count();
        assert_eq!(live, 100);
        assert!(left.len() <= 2 * live + SWEEP, "{} left", left.len());
    }

    #[test]
    fn dead_entries_that_were_reported_do_not_outnumber_the_live_by_more_than_a_few() {
        let timer = Timer::new(Clock::new());
        for _ in 0..20 {
            timer.insert(Nanos::MAX, 1).unwrap();
            timer.insert(Nanos::MAX, 2).unwrap();
        }
        let reports = (40 + SWEEP) / 2;
        assert!((0..reports).all(|_| timer.report_dead().is_empty()));
        assert_eq!(timer.report_dead(), [2; 20]);
        assert_eq!(timer.stop().len(), 20);
        // The count begins anew with each sweep.
        assert!((0..SWEEP / 2).all(|_| timer.report_dead().is_empty()));
    }

    #[test]
    fn dead_entries_are_swept_out_by_the_first_that_comes_after_so_many() {
        let timer = Timer::new(Clock::new());
        let insert = || timer.insert(Nanos::MAX, 2).unwrap().len();
        assert!((0..SWEEP).all(|_| insert() == 0));
        assert_eq!(insert(), SWEEP);
    }

    /// A live key that counts how often it is looked at.
    impl Key for &Cell<usize> {
        fn is_live(&self) -> bool {
            self.set(self.get() + 1);
            true
        }

        fn ends_with_pool(&self) -> bool {
            true
        }
    }

    #[test]
    fn live_entries_are_looked_at_only_when_they_have_doubled() {
        let timer = Timer::new(Clock::new());
        let looks = Cell::new(0);
        for _ in 0..10_000 {
            assert!(timer.insert(Nanos::MAX, &looks).unwrap().is_empty());
        }
        assert!(looks.get() < 2 * 10_000, "{} looks", looks.get());
    }

    #[test]
    fn entries_are_equal_if_they_are_due_at_once() {
        let entry = |due| Entry { due, key: 1 };
        let (one, same, other) = (entry(1), entry(1), entry(2));
        assert!(one == same && one != other);
    }

    #[test]
    fn fires_in_the_order_of_the_due_times_and_never_early() {
        let clock = Clock::new();
        let timer = Timer::new(clock);
        let (sender, fired) = std::sync::mpsc::channel();
        let order = std::thread::scope(|scope| {
            scope.spawn(|| timer.run(|| true, |due, now| sender.send((due, now)).unwrap()));
            let order = loop {
                let start = clock.now();
                for due in [3_000_000, 1_000_000, 2_000_000].map(|after| start + after) {
                    timer.insert(due, due).unwrap();
                }
                let in_time = clock.now() < start + 1_000_000;
                let order: Vec<(Nanos, Nanos)> = fired.iter().take(3).collect();
                // On a busy machine one may come due before all are there.
                if in_time {
                    break order;
                }
            };
            timer.insert(Nanos::MAX, Nanos::MAX).unwrap();
            assert_eq!(timer.stop(), [Nanos::MAX]);
            order
        });
        assert!(order.is_sorted_by_key(|(due, _)| *due));
        assert!(order.iter().all(|(due, now)| due <= now));
        assert_eq!(timer.insert(0, 7), Err(7));
    }
}

#[cfg(all(test, rp_loom))]
mod models {
    use super::*;
    use crate::clock::nanos;
    use crate::sync::loom::{FAR, check, spawn};
    use crate::sync::{Arc, AtomicBool, Ordering as atomic, unbounded};

    impl Key for &'static str {
        fn is_live(&self) -> bool {
            true
        }

        fn ends_with_pool(&self) -> bool {
            *self != "watch"
        }
    }

    #[test]
    fn an_earlier_entry_wakes_the_thread_that_sleeps_for_a_later_one() {
        check(&["begun", "not begun"], |sides| {
            let timer = Arc::new(Timer::new(Clock::new()));
            let (sender, fired) = unbounded();
            let far = nanos(FAR);
            timer.insert(far, "far").unwrap();
            let begun = Arc::new(AtomicBool::new(false));
            let thread = spawn({
                let (timer, begun) = (Arc::clone(&timer), Arc::clone(&begun));
                move || {
                    begun.store(true, atomic::Relaxed);
                    timer.run(|| true, |key, now| sender.send((key, now)).unwrap());
                }
            });
            let begun = begun.load(atomic::Relaxed);
            sides.saw(if begun { "begun" } else { "not begun" });
            timer.insert(7, "near").unwrap();
            let (key, now) = fired.recv().unwrap();
            assert!(key == "near" && now >= 7, "{key} at {now}");
            assert_eq!(timer.stop(), ["far"]);
            thread.join().unwrap();
        });
    }

    #[test]
    fn what_is_inserted_while_the_timer_stops_fires_or_is_left_or_is_refused() {
        check(&["fired", "left", "refused"], |sides| {
            let timer = Arc::new(Timer::new(Clock::new()));
            let thread = spawn({
                let timer = Arc::clone(&timer);
                move || {
                    let mut fired = 0;
                    timer.run(|| true, |_, _| fired += 1);
                    fired
                }
            });
            let inserter = spawn({
                let timer = Arc::clone(&timer);
                move || timer.insert(0, "key").is_err()
            });
            let left = timer.stop().len();
            let refused = inserter.join().unwrap();
            sides.saw(match (thread.join().unwrap(), left, refused) {
                (1, 0, false) => "fired",
                (0, 1, false) => "left",
                (0, 0, true) => "refused",
                seen => panic!("(fired, left, refused) = {seen:?}"),
            });
        });
    }

    #[test]
    fn what_outlasts_the_stop_fires_until_it_is_over() {
        check(&["before the stop", "after it"], |sides| {
            let timer = Arc::new(Timer::new(Clock::new()));
            let over = Arc::new(AtomicBool::new(false));
            let (sender, fired) = unbounded();
            let thread = spawn({
                let (timer, over) = (Arc::clone(&timer), Arc::clone(&over));
                let is_over = move || over.load(atomic::SeqCst);
                move || timer.run(is_over, |key, _| sender.send(key).unwrap())
            });
            timer.insert(7, "watch").unwrap();
            assert!(timer.stop().is_empty());
            sides.saw(match fired.is_empty() {
                true => "after it",
                false => "before the stop",
            });
            assert_eq!(fired.recv().unwrap(), "watch");
            over.store(true, atomic::SeqCst);
            timer.look_again();
            thread.join().unwrap();
        });
    }
}
