//! One value, set once; until then the slot keeps what will produce it.
//!
//! | state | entered by | allows |
//! |---|---|---|
//! | `Pending(Q)` | creation; the worker that puts the job back to be retried; [`Slot::expire`] | `begin`, `take_pending` |
//! | `Busy(worker)` | `begin`: the caller owns `Q` now and must `put_back`, `lend` or `set` | these |
//! | `Lent(Q, …)` | `lend`: an attempt runs that may be abandoned | `reclaim`, `expire` |
//! | `Set(V)` | `set`; [`Slot::settled`] | taking the value |
//! | `Taken` | the waiter that took the value | nothing |
//!
//! Whoever waits leaves a [`Waker`], and a blocked thread is one more kind of waker ([`Parker`]). Setting looks for the waker
//! under the same lock under which a waiter looks for the value before it leaves one, so no wake-up is lost. Wakers are
//! user code: they are cloned, woken and dropped outside the lock.

use std::task::Waker;
use std::time::Instant;

use crate::park::Parker;
use crate::roster::blocking;
use crate::sync::{Arc, Mutex, look_before_sleep};
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
    /// With the number of the worker, or [`NOBODY`].
    Busy(u32),
    Lent(Box<Loan<Q>>),
    Set(V),
    Taken,
}

/// What an attempt leaves behind that may be abandoned.
struct Loan<Q> {
    source: Q,
    worker: u32,
    attempt: u32,
}

/// Stands for a thread that is no worker, where it settles a job.
pub(crate) const NOBODY: u32 = u32::MAX;

/// What a look at a slot finds.
#[derive(Debug, PartialEq)]
pub(crate) enum Look<V> {
    NotYet,
    Value(V),
    /// The value was taken before.
    Gone,
}

/// A slot whose source nobody works on.
#[derive(Debug, PartialEq)]
pub(crate) enum Standing<Q> {
    /// The source is the caller's now.
    Pending(Q),
    Settled,
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

    /// Takes the source out for this worker to work on. `None` if it is being worked on already, or the value is set.
    pub(crate) fn begin(&self, worker: u32) -> Option<Q> {
        self.state.lock().begin(worker)
    }

    /// Takes the source out to settle it, or says why that cannot be. If it is being worked on, both functions are called under the
    /// lock, so that the worker is still at it: `lent` with the source if that is here, and `running` with the worker.
    pub(crate) fn interrupt<R>(
        &self,
        lent: impl FnOnce(&mut Q),
        running: impl FnOnce(u32) -> R,
    ) -> Result<Standing<Q>, R> {
        let mut state = self.state.lock();
        match &mut state.phase {
            Phase::Busy(worker) => Err(running(*worker)),
            Phase::Lent(loan) => {
                lent(&mut loan.source);
                Err(running(loan.worker))
            }
            Phase::Set(_) | Phase::Taken => Ok(Standing::Settled),
            Phase::Pending(_) => match state.begin(NOBODY) {
                Some(source) => Ok(Standing::Pending(source)),
                None => unreachable!("looked at under the same lock"),
            },
        }
    }

    /// Puts the source back, to be begun again later.
    pub(crate) fn put_back(&self, source: Q) {
        let mut state = self.state.lock();
        debug_assert!(
            matches!(state.phase, Phase::Busy(_)),
            "only who began may put back"
        );
        state.phase = Phase::Pending(source);
    }

    /// Leaves the source here while an attempt runs that may be abandoned.
    pub(crate) fn lend(&self, source: Q, attempt: u32) {
        let mut state = self.state.lock();
        let Phase::Busy(worker) = state.phase else {
            unreachable!("only who began may lend");
        };
        state.phase = Phase::Lent(Box::new(Loan {
            source,
            worker,
            attempt,
        }));
    }

    /// Takes the source back after the attempt; `None` if it was abandoned.
    pub(crate) fn reclaim(&self, worker: u32, attempt: u32) -> Option<Q> {
        let mut state = self.state.lock();
        match &state.phase {
            Phase::Lent(loan) if (loan.worker, loan.attempt) == (worker, attempt) => {}
            _ => return None,
        }
        match std::mem::replace(&mut state.phase, Phase::Busy(worker)) {
            Phase::Lent(loan) => Some(loan.source),
            _ => unreachable!("looked at under the same lock"),
        }
    }

    /// Abandons this attempt if it still runs: the source is pending again, changed by `change`. Gives the worker that is left with it.
    pub(crate) fn expire(&self, attempt: u32, change: impl FnOnce(&mut Q)) -> Option<u32> {
        let mut state = self.state.lock();
        match &state.phase {
            Phase::Lent(loan) if loan.attempt == attempt => {}
            _ => return None,
        }
        let Phase::Lent(mut loan) = std::mem::replace(&mut state.phase, Phase::Busy(NOBODY)) else {
            unreachable!("looked at under the same lock");
        };
        change(&mut loan.source);
        let worker = loan.worker;
        state.phase = Phase::Pending(loan.source);
        Some(worker)
    }

    /// Looks at the source while nobody works on it; `Err`: is it being worked on?
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&Q) -> R) -> Result<R, bool> {
        match &self.state.lock().phase {
            Phase::Pending(source) => Ok(look(source)),
            Phase::Busy(_) | Phase::Lent(_) => Err(true),
            Phase::Set(_) | Phase::Taken => Err(false),
        }
    }

    /// Sets the value and wakes who waits for it. The caller has begun and not put back, so this happens once.
    pub(crate) fn set(&self, value: V) {
        let mut state = self.state.lock();
        debug_assert!(
            matches!(state.phase, Phase::Busy(_)),
            "only who began may set"
        );
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
    fn begin(&mut self, worker: u32) -> Option<Q> {
        if !matches!(self.phase, Phase::Pending(_)) {
            return None;
        }
        match std::mem::replace(&mut self.phase, Phase::Busy(worker)) {
            Phase::Pending(source) => Some(source),
            _ => unreachable!("just looked at"),
        }
    }

    fn take_value(&mut self) -> Look<V> {
        match self.phase {
            Phase::Pending(_) | Phase::Busy(_) | Phase::Lent(_) => return Look::NotYet,
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
    blocking(|| {
        let parker = Arc::new(Parker::default());
        let waker = Waker::from(Arc::clone(&parker));
        loop {
            match poll(&waker) {
                Look::NotYet if parker.park(deadline) => {}
                Look::NotYet => return look(),
                found => return found,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    type Number = Slot<&'static str, u32>;

    #[test]
    fn a_value_is_set_once_and_taken_once() {
        let slot = Number::pending("job");
        assert_eq!((slot.begin(0), slot.begin(0)), (Some("job"), None));
        slot.put_back("job");
        assert_eq!((slot.is_settled(), slot.try_take()), (false, Look::NotYet));
        assert_eq!(slot.begin(0), Some("job"));
        slot.set(1);
        assert_eq!((slot.is_settled(), slot.begin(0)), (true, None));
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
            slot.begin(0);
            slot.set(2);
            assert_eq!(waiter.join().unwrap(), Look::Value(2));
        });
    }

    #[test]
    fn an_attempt_is_abandoned_or_reclaimed_never_both() {
        let slot = Number::pending("job");
        slot.begin(3);
        slot.lend("job", 1);
        assert_eq!(slot.interrupt(|_| (), |worker| worker), Err(3));
        assert_eq!(
            (slot.expire(2, |_| ()), slot.expire(1, |_| ())),
            (None, Some(3))
        );
        assert_eq!((slot.reclaim(3, 1), slot.expire(1, |_| ())), (None, None));
        assert_eq!(slot.begin(4), Some("job"));
        slot.lend("job", 2);
        assert_eq!(
            (slot.reclaim(3, 1), slot.reclaim(4, 2)),
            (None, Some("job"))
        );
        assert_eq!(slot.expire(2, |_| ()), None);
        slot.set(1);
        assert_eq!(
            slot.interrupt(|_| (), |worker| worker),
            Ok(Standing::Settled)
        );
    }
}
