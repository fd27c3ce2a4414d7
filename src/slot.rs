//! One value, set once; until then the slot keeps what will produce it.
//!
//! | state | entered by | allows |
//! |---|---|---|
//! | `Vacant` | creation | `fill` |
//! | `Pending(Q, …)` | creation; `fill`; the worker that puts the job back to be retried; [`Slot::expire`] | `begin`, `interrupt` |
//! | `Busy(worker, …)` | `begin`: the caller owns `Q` now and must `put_back`, `lend` or `set` | these, `interrupt` |
//! | `Lent(Q, …)` | `lend`: an attempt runs that may be abandoned | `reclaim`, `expire`, `interrupt` |
//! | `Set(V)` | `set`; [`Slot::settled`] | taking the value |
//! | `Taken` | the waiter that took the value; `leave`, or else `set` after it | nothing |
//!
//! Whoever asked for the value may `leave`, last of all, in any state but the first; `tell` is `interrupt` that leaves the source where it is.
//!
//! With the source goes a number, as a slot has room for that anyway.
//!
//! Whoever waits leaves a [`Waker`], and a blocked thread is one more kind of waker ([`Parker`]). Setting looks for the waker
//! under the same lock under which a waiter looks for the value before it leaves one, so no wake-up is lost. Wakers are
//! user code: they are cloned, woken and dropped outside the lock.

use std::task::Waker;
use std::time::Instant;

use crate::park::Parker;
use crate::reason::GiveUpReason;
use crate::roster::blocking;
use crate::sync::{Arc, Mutex, const_fn, look_before_sleep};
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

/// The flag in some says that nobody asks for the value any more. In here it takes no room, and no more does the source's number.
enum Phase<Q, V> {
    Vacant,
    Pending(Q, u32, bool),
    /// With the number of the worker, or [`NOBODY`], and why it is to stop.
    Busy(u32, Option<GiveUpReason>, bool),
    Lent(Box<Loan<Q>>),
    Set(V),
    Taken,
}

/// What an attempt leaves behind that may be abandoned.
struct Loan<Q> {
    source: Q,
    number: u32,
    worker: u32,
    told: Option<GiveUpReason>,
    attempt: u32,
    left: bool,
}

/// Stands for a thread that is no worker, where it settles a job.
pub(crate) const NOBODY: u32 = u32::MAX;

const VACANT: &str = "nobody knows of a vacant slot";

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
    const_fn! {
        pub(crate) fn vacant() -> Self {
            Self::in_phase(Phase::Vacant)
        }
    }

    pub(crate) fn pending((source, number): (Q, u32)) -> Self {
        Self::in_phase(Phase::Pending(source, number, false))
    }

    pub(crate) fn settled(value: V) -> Self {
        Self::in_phase(Phase::Set(value))
    }

    const_fn! {
        fn in_phase(phase: Phase<Q, V>) -> Self {
            let waiter = None;
            Self { state: Mutex::new(State { phase, waiter }) }
        }
    }

    /// Gives a vacant slot its source.
    pub(crate) fn fill(&self, (source, number): (Q, u32)) {
        let mut state = self.state.lock();
        debug_assert!(
            matches!(state.phase, Phase::Vacant),
            "a slot is filled once"
        );
        state.phase = Phase::Pending(source, number, false);
    }

    /// Takes the source out for this worker to work on. `None` if it is being worked on already, or the value is set.
    pub(crate) fn begin(&self, worker: u32) -> Option<(Q, u32)> {
        self.state.lock().begin(worker)
    }

    /// Takes the source out to settle it for `reason`. If it is being worked on, that is noted, and `running` is called with the worker,
    /// under the lock, so that the worker is still at it.
    pub(crate) fn interrupt<R>(
        &self,
        reason: GiveUpReason,
        running: impl FnOnce(u32) -> R,
    ) -> Result<Standing<(Q, u32)>, R> {
        let mut state = self.state.lock();
        match state.tell(reason) {
            Ok(Standing::Pending(())) => match state.begin(NOBODY) {
                Some(source) => Ok(Standing::Pending(source)),
                None => unreachable!("looked at under the same lock"),
            },
            Ok(Standing::Settled) => Ok(Standing::Settled),
            Err(worker) => Err(running(worker)),
        }
    }

    /// As `interrupt`, but leaves the source where it is.
    pub(crate) fn tell<R>(
        &self,
        reason: GiveUpReason,
        running: impl FnOnce(u32) -> R,
    ) -> Result<Standing<()>, R> {
        self.state.lock().tell(reason).map_err(running)
    }

    /// Was it told to stop?
    pub(crate) fn told(&self) -> Option<GiveUpReason> {
        match &self.state.lock().phase {
            Phase::Busy(_, told, _) => *told,
            Phase::Lent(loan) => loan.told,
            _ => None,
        }
    }

    /// Puts the source back, to be begun again later, unless it was told to stop meanwhile.
    pub(crate) fn put_back(
        &self,
        (source, number): (Q, u32),
    ) -> Result<(), ((Q, u32), GiveUpReason)> {
        let mut state = self.state.lock();
        match state.phase {
            Phase::Busy(_, Some(reason), _) => Err(((source, number), reason)),
            Phase::Busy(_, None, left) => {
                state.phase = Phase::Pending(source, number, left);
                Ok(())
            }
            _ => unreachable!("only who began may put back"),
        }
    }

    /// Leaves the source here while an attempt runs that may be abandoned.
    pub(crate) fn lend(&self, (source, number): (Q, u32), attempt: u32) {
        let mut state = self.state.lock();
        let Phase::Busy(worker, told, left) = state.phase else {
            unreachable!("only who began may lend");
        };
        state.phase = Phase::Lent(Box::new(Loan {
            source,
            number,
            worker,
            told,
            attempt,
            left,
        }));
    }

    /// Takes the source back after the attempt; `None` if it was abandoned.
    pub(crate) fn reclaim(&self, worker: u32, attempt: u32) -> Option<(Q, u32)> {
        let mut state = self.state.lock();
        let (told, left) = match &state.phase {
            Phase::Lent(loan) if (loan.worker, loan.attempt) == (worker, attempt) => {
                (loan.told, loan.left)
            }
            _ => return None,
        };
        match std::mem::replace(&mut state.phase, Phase::Busy(worker, told, left)) {
            Phase::Lent(loan) => Some((loan.source, loan.number)),
            _ => unreachable!("looked at under the same lock"),
        }
    }

    /// Abandons this attempt if it still runs: the source is pending again, changed by `change`, which is told what the attempt was told.
    /// `left` is called under the lock with the worker that is left with it, so that this one has not noticed yet.
    pub(crate) fn expire<R>(
        &self,
        attempt: u32,
        change: impl FnOnce(&mut Q, Option<GiveUpReason>),
        left: impl FnOnce(u32) -> R,
    ) -> Option<R> {
        let mut state = self.state.lock();
        match &state.phase {
            Phase::Lent(loan) if loan.attempt == attempt => {}
            _ => return None,
        }
        let Phase::Lent(mut loan) = std::mem::replace(&mut state.phase, Phase::Taken) else {
            unreachable!("looked at under the same lock");
        };
        change(&mut loan.source, loan.told);
        state.phase = Phase::Pending(loan.source, loan.number, loan.left);
        Some(left(loan.worker))
    }

    /// Looks at the source while nobody works on it; `Err`: is it being worked on?
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&Q) -> R) -> Result<R, bool> {
        match &self.state.lock().phase {
            Phase::Pending(source, ..) => Ok(look(source)),
            Phase::Busy(..) | Phase::Lent(_) => Err(true),
            Phase::Set(_) | Phase::Taken => Err(false),
            Phase::Vacant => unreachable!("{VACANT}"),
        }
    }

    /// Sets the value and wakes who waits for it; gives the value back if nobody asks for it any more. The caller has begun and not put
    /// back, so this happens once.
    #[must_use = "what nobody asks for is to be discarded"]
    pub(crate) fn set(&self, value: V) -> Option<V> {
        let mut state = self.state.lock();
        debug_assert!(
            matches!(state.phase, Phase::Busy(..)),
            "only who began may set"
        );
        if let Phase::Busy(_, _, true) = state.phase {
            state.phase = Phase::Taken;
            return Some(value);
        }
        state.phase = Phase::Set(value);
        let waiter = state.waiter.take();
        drop(state);
        if let Some(waker) = waiter {
            unwind::contain(|| waker.wake());
        }
        None
    }

    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Set(_) | Phase::Taken)
    }

    /// Nobody asks for the value any more: drops it, and the waker of who waited. To be called last.
    pub(crate) fn leave(&self) {
        let mut state = self.state.lock();
        match &mut state.phase {
            Phase::Pending(.., left) | Phase::Busy(.., left) => *left = true,
            Phase::Lent(loan) => loan.left = true,
            Phase::Set(_) | Phase::Taken => {}
            Phase::Vacant => unreachable!("{VACANT}"),
        }
        let waiter = state.waiter.take();
        let value = state.take_value();
        drop(state);
        unwind::discard(waiter);
        unwind::discard(value);
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
    fn begin(&mut self, worker: u32) -> Option<(Q, u32)> {
        let Phase::Pending(.., left) = self.phase else {
            return None;
        };
        match std::mem::replace(&mut self.phase, Phase::Busy(worker, None, left)) {
            Phase::Pending(source, number, _) => Some((source, number)),
            _ => unreachable!("just looked at"),
        }
    }

    /// Notes that who works on it is to stop.
    fn tell(&mut self, reason: GiveUpReason) -> Result<Standing<()>, u32> {
        let (worker, told) = match &mut self.phase {
            Phase::Busy(worker, told, _) => (*worker, told),
            Phase::Lent(loan) => (loan.worker, &mut loan.told),
            Phase::Set(_) | Phase::Taken => return Ok(Standing::Settled),
            Phase::Pending(..) => return Ok(Standing::Pending(())),
            Phase::Vacant => unreachable!("{VACANT}"),
        };
        told.get_or_insert(reason);
        Err(worker)
    }

    fn take_value(&mut self) -> Look<V> {
        match self.phase {
            Phase::Pending(..) | Phase::Busy(..) | Phase::Lent(_) => return Look::NotYet,
            Phase::Taken => return Look::Gone,
            Phase::Set(_) => {}
            Phase::Vacant => unreachable!("{VACANT}"),
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

#[cfg(all(test, rp_loom))]
mod models;

#[cfg(test)]
mod tests;
