//! One value, set once; until then the slot keeps what will produce it.
//!
//! | state | entered by | allows |
//! |---|---|---|
//! | `Pending(Q)` | creation; the worker that puts the job back to be retried | `begin` |
//! | `Busy` | `begin`: the caller owns `Q` now and must `put_back` or `set` | both of these |
//! | `Set(V)` | `set`; [`Slot::settled`] | taking the value |
//! | `Taken` | the waiter that took the value | nothing |
//!
//! Whoever waits leaves a [`Waker`], and a blocked thread is one more kind of waker ([`Parker`]). Setting looks for the waker
//! under the same lock under which a waiter looks for the value before it leaves one, so no wake-up is lost. Wakers are
//! user code: they are cloned, woken and dropped outside the lock.

use std::task::{Wake, Waker};
use std::time::Instant;

use crate::sync::{Arc, Condvar, Mutex, look_before_sleep, wait_until};
use crate::unwind;

/// A slot for a `V` that something in `Q` will produce.
pub(crate) struct Slot<Q, V> {
    state: Mutex<State<Q, V>>,
}

struct State<Q, V> {
    phase: Phase<Q, V>,
    /// Boxed, because most jobs have settled by the time somebody waits, and a million queued ones shall be small.
    waiter: Option<Box<Waker>>,
}

enum Phase<Q, V> {
    Pending(Q),
    Busy,
    Set(V),
    Taken,
}

/// What a look at a slot finds.
#[derive(Debug, PartialEq)]
pub(crate) enum Look<V> {
    NotYet,
    Value(V),
    /// The value was taken before.
    Gone,
}

impl<Q, V> Slot<Q, V> {
    pub(crate) fn pending(source: Q) -> Self {
        Self::in_phase(Phase::Pending(source))
    }

    pub(crate) fn settled(value: V) -> Self {
        Self::in_phase(Phase::Set(value))
    }

    fn in_phase(phase: Phase<Q, V>) -> Self {
        Self {
            state: Mutex::new(State {
                phase,
                waiter: None,
            }),
        }
    }

    /// Takes the source out to work on it. `None` if it is being worked on already, or the value is set.
    pub(crate) fn begin(&self) -> Option<Q> {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Pending(_)) {
            return None;
        }
        match std::mem::replace(&mut state.phase, Phase::Busy) {
            Phase::Pending(source) => Some(source),
            _ => unreachable!("looked at under the same lock"),
        }
    }

    /// Puts the source back, to be begun again later.
    pub(crate) fn put_back(&self, source: Q) {
        let mut state = self.state.lock();
        debug_assert!(
            matches!(state.phase, Phase::Busy),
            "only who began may put back"
        );
        state.phase = Phase::Pending(source);
    }

    /// Sets the value and wakes who waits for it. The caller has begun and not put back, so this happens once.
    pub(crate) fn set(&self, value: V) {
        let mut state = self.state.lock();
        debug_assert!(matches!(state.phase, Phase::Busy), "only who began may set");
        state.phase = Phase::Set(value);
        let waiter = state.waiter.take();
        drop(state);
        if let Some(waker) = waiter {
            unwind::contain(|| waker.wake());
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Set(_) | Phase::Taken)
    }

    /// Drops the waker of who waited.
    pub(crate) fn leave(&self) {
        let waiter = self.state.lock().waiter.take();
        unwind::discard(waiter);
    }

    /// Takes the value if it is there.
    pub(crate) fn try_take(&self) -> Look<V> {
        self.state.lock().take_value()
    }

    /// Takes the value, or leaves a clone of `waker` (in the place of an earlier one) to be woken when it is set.
    pub(crate) fn poll(&self, waker: &Waker) -> Look<V> {
        if let look @ (Look::Value(_) | Look::Gone) = self.try_take() {
            return look;
        }
        let mine = Box::new(waker.clone());
        let mut state = self.state.lock();
        let look = state.take_value();
        let unused = match look {
            Look::NotYet => state.waiter.replace(mine),
            _ => Some(mine),
        };
        drop(state);
        unwind::discard(unused);
        look
    }
}

impl<Q, V> State<Q, V> {
    fn take_value(&mut self) -> Look<V> {
        match self.phase {
            Phase::Pending(_) | Phase::Busy => return Look::NotYet,
            Phase::Taken => return Look::Gone,
            Phase::Set(_) => {}
        }
        match std::mem::replace(&mut self.phase, Phase::Taken) {
            Phase::Set(value) => Look::Value(value),
            _ => unreachable!("looked at under the same lock"),
        }
    }
}

/// Blocks until there is something to be found, at the longest until `deadline` (`None`: without a limit).
pub(crate) fn block_on<V>(
    deadline: Option<Instant>,
    look: impl Fn() -> Look<V>,
    poll: impl Fn(&Waker) -> Look<V>,
) -> Look<V> {
    let found = look_before_sleep(|| match look() {
        Look::NotYet => None,
        found => Some(found),
    });
    if let Some(found) = found {
        return found;
    }
    let parker = Arc::new(Parker::default());
    let waker = Waker::from(Arc::clone(&parker));
    loop {
        match poll(&waker) {
            Look::NotYet if parker.park(deadline) => {}
            Look::NotYet => return look(),
            found => return found,
        }
    }
}

/// A thread that sleeps until it is woken.
#[derive(Default)]
struct Parker {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Parker {
    /// False if the deadline came first.
    fn park(&self, deadline: Option<Instant>) -> bool {
        let mut woken = self.woken.lock();
        while !*woken {
            if !wait_until(&self.changed, &mut woken, deadline) {
                return false;
            }
        }
        *woken = false;
        true
    }
}

impl Wake for Parker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.woken.lock() = true;
        self.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    type Number = Slot<&'static str, u32>;

    #[test]
    fn a_value_is_set_once_and_taken_once() {
        let slot = Number::pending("job");
        assert_eq!((slot.begin(), slot.begin()), (Some("job"), None));
        slot.put_back("job");
        assert_eq!((slot.is_settled(), slot.try_take()), (false, Look::NotYet));
        assert_eq!(slot.begin(), Some("job"));
        slot.set(1);
        assert_eq!((slot.is_settled(), slot.begin()), (true, None));
        assert_eq!(
            (slot.try_take(), slot.try_take()),
            (Look::Value(1), Look::Gone)
        );
        assert!(slot.is_settled());
    }

    #[test]
    fn a_blocked_thread_is_woken_by_the_value_and_by_the_deadline() {
        let slot = Number::pending("job");
        let soon = Some(Instant::now() + Duration::from_millis(5));
        let wait = |deadline| block_on(deadline, || slot.try_take(), |waker| slot.poll(waker));
        assert_eq!(wait(soon), Look::NotYet);
        assert!(Some(Instant::now()) >= soon);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| wait(None));
            slot.begin();
            slot.set(2);
            assert_eq!(waiter.join().unwrap(), Look::Value(2));
        });
    }
}
