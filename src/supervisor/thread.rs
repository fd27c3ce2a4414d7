//! What the threads of a supervisor share; its own thread, which does what a turn says, and those of the children's runs.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use super::child::{Brief, Ward};
use super::rules::{Ending, Span};
use super::slot::{After, Slot};
use super::state::{Event, EventKind, Start, State, Turn};
use super::status::text_of;
use crate::attempt::{Attempt, Lifeline, Texts};
use crate::cancel::{CancelToken, Listener};
use crate::clock::{Clock, Nanos, nanos};
use crate::observe::{ChildEvent, Observer};
use crate::park::Parker;
use crate::reason::GiveUpReason;
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, thread, thread_local, wait_until};
use crate::unwind::{self, Contained};

/// After the system has refused a thread, the next one is asked for after this.
const REFUSED_DELAY: Duration = Duration::from_secs(1);

pub(super) struct Shared {
    pub(super) name: Arc<str>,
    state: Mutex<State>,
    /// Something was settled, or told.
    changed: Condvar,
    /// What the supervisor's thread sleeps on.
    parker: Parker,
    pub(super) clock: Clock,
    observer: Option<Contained<Box<dyn Observer>>>,
    seed: u64,
    pub(super) grace: Duration,
    family: Arc<Family>,
}

/// A supervisor, and the one within a child of which it was started.
struct Family {
    parent: Option<Arc<Family>>,
}

thread_local! {
    /// The supervisor that the current thread belongs to. It is not reset, since what is torn down with the thread may call the
    /// supervisor, too.
    static FAMILY: RefCell<Option<Arc<Family>>> = const { RefCell::new(None) };
}

impl Shared {
    pub(super) fn new(
        name: Arc<str>,
        state: State,
        clock: Clock,
        observer: Option<Contained<Box<dyn Observer>>>,
        seed: u64,
        grace: Duration,
    ) -> Self {
        let parent = FAMILY
            .try_with(|family| family.borrow().clone())
            .ok()
            .flatten();
        Self {
            name,
            state: Mutex::new(state),
            changed: Condvar::new(),
            parker: Parker::default(),
            clock,
            observer,
            seed,
            grace,
            family: Arc::new(Family { parent }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Has the supervisor's thread look at the marks.
    pub(super) fn wake(&self) {
        self.parker.unpark();
    }

    /// Is the current thread this supervisor's, a child's of it, or one of a supervisor within? Then it must not wait for the end.
    pub(super) fn is_inside(&self) -> bool {
        let inside = FAMILY.try_with(|current| {
            let current = current.borrow();
            let mut family = current.as_ref();
            while let Some(this) = family {
                if Arc::ptr_eq(this, &self.family) {
                    return true;
                }
                family = this.parent.as_ref();
            }
            false
        });
        // While the thread's locals are torn down nobody knows; then it is safe not to wait.
        inside.unwrap_or(true)
    }

    /// Waits until `done`, at the longest until `deadline`.
    pub(super) fn wait(&self, deadline: Option<Instant>, done: impl Fn(&State) -> bool) {
        let mut state = self.lock();
        while !done(&state) && wait_until(&self.changed, &mut state, deadline) {}
    }

    /// Leaves the mark that the supervisor is to end within `grace`. Of several marks the earliest holds.
    pub(super) fn mark_shutdown(&self, grace: Duration) {
        let end = self.clock.now().saturating_add(nanos(grace));
        let mut state = self.lock();
        let earliest = state.shutdown.map_or(end, |before| before.min(end));
        state.shutdown = Some(earliest);
        drop(state);
        self.wake();
    }

    // The supervisor's own thread.

    pub(super) fn start(self: &Arc<Self>) -> Result<(), (String, std::io::Error)> {
        let name = format!("{}-supervisor", self.name);
        let shared = Arc::clone(self);
        let body = move || shared.supervise();
        match thread::Builder::new().name(name.clone()).spawn(body) {
            Ok(_) => Ok(()),
            Err(error) => Err((name, error)),
        }
    }

    fn supervise(self: &Arc<Self>) {
        FAMILY.set(Some(Arc::clone(&self.family)));
        loop {
            let turn = self.lock().turn(self.clock.now());
            let (next, over) = (turn.next, turn.over);
            let refused = self.perform(turn);
            {
                let mut state = self.lock();
                state.telling = false;
                state.over = over;
                self.changed.notify_all();
            }
            if over {
                return;
            }
            if !refused {
                self.parker
                    .park(next.and_then(|next| self.clock.instant(next)));
            }
        }
    }

    /// Does what a turn says: first what others wait for. True if a thread was refused.
    fn perform(self: &Arc<Self>, turn: Turn) -> bool {
        turn.tell.iter().for_each(CancelToken::cancel);
        let starts = turn.start.into_iter();
        let refused: Vec<Arc<str>> = starts.filter_map(|start| self.launch(start)).collect();
        for event in &turn.events {
            let started = matches!(event.kind, EventKind::Started);
            if !(started && refused.contains(&event.name)) {
                self.tell(event);
            }
        }
        !refused.is_empty()
    }

    /// Starts the thread of a run. If the system refuses it, the run has failed: gives the name of its child.
    fn launch(self: &Arc<Self>, start: Start) -> Option<Arc<str>> {
        let shared = Arc::clone(self);
        let body = move || shared.run(start.id, start.generation);
        let thread = thread::Builder::new().name(start.name.to_string());
        let error = thread.spawn(body).err()?;
        let error = text_of(&format_args!("its thread could not be started: {error}"));
        let span = Span {
            uptime: 0,
            delay: Some(nanos(REFUSED_DELAY)),
        };
        let mut state = self.lock();
        if let Some(slot) = state.slot(start.id) {
            slot.end(start.generation, Ending::Failed { error, run: span });
        }
        Some(start.name)
    }

    fn tell(&self, event: &Event) {
        let Some(observer) = &self.observer else {
            return;
        };
        let (error, delay) = match &event.kind {
            EventKind::Failed(error) => (Some(&**error), None),
            EventKind::GaveUp(error) => (error.as_deref(), None),
            EventKind::Restarting(delay) => (None, Some(*delay)),
            EventKind::Started | EventKind::Completed | EventKind::Stopped => (None, None),
        };
        let told = ChildEvent {
            supervisor: &self.name,
            name: &event.name,
            start: event.start,
            error,
            delay,
        };
        unwind::contain(|| match &event.kind {
            EventKind::Started => observer.child_started(&told),
            EventKind::Failed(_) => observer.child_failed(&told),
            EventKind::Restarting(_) => observer.child_restarting(&told),
            EventKind::GaveUp(_) => observer.child_gave_up(&told),
            EventKind::Completed => observer.child_completed(&told),
            EventKind::Stopped => observer.child_stopped(&told),
        });
    }

    // A child's thread.

    fn run(&self, id: u64, generation: u64) {
        FAMILY.set(Some(Arc::clone(&self.family)));
        let Some((mut ward, brief, lifeline)) = self.begin(id, generation) else {
            self.wake();
            return;
        };
        Attempt::supervise(lifeline);
        let ending = ward.run(&brief, || self.ask(id, generation));
        self.end(id, generation, ward, ending);
        self.wake();
    }

    /// Takes the child's code for a run; `None` if it is not to run any more.
    fn begin(&self, id: u64, generation: u64) -> Option<(Ward, Brief, Lifeline)> {
        let now = self.clock.now();
        let mut state = self.lock();
        let ends = state.shutdown.is_some();
        let slot = state.slot(id)?;
        let wanted = !ends && slot.wish.is_none() && slot.ward.is_some();
        let run = slot.run(generation)?;
        if !wanted || run.after.is_some() {
            run.ended = Some(Ending::Skipped);
            return None;
        }
        run.begun = Some(now);
        let lifeline = run.lifeline.clone();
        let ward = slot.ward.take()?;
        Some((ward, self.brief(slot), lifeline))
    }

    /// How long a run has lasted, and what was to follow if its child was told to stop.
    fn ask(&self, id: u64, generation: u64) -> (Nanos, Option<After>) {
        let now = self.clock.now();
        let mut state = self.lock();
        let Some(slot) = state.slot(id) else {
            return (0, None);
        };
        let commanded = slot.wish.map(|_| After::Stop);
        let run = slot.run(generation);
        run.map_or((0, None), |run| {
            (run.uptime(now), commanded.or(run.told_for()))
        })
    }

    fn brief(&self, slot: &Slot) -> Brief {
        Brief {
            texts: Texts {
                job_name: Some(Arc::clone(&slot.name)),
                previous_error: slot.history.last(),
            },
            start: slot.starts,
            in_a_row: slot.record.consecutive(),
            stable_after: slot.settings.stable_after,
            seed: self.seed,
            child: slot.id,
        }
    }

    /// Puts the child's code back and marks the run as ended. Code that nobody needs any more is dropped before that is seen.
    fn end(&self, id: u64, generation: u64, ward: Ward, ending: Ending) {
        let mut ward = Some(ward);
        loop {
            let mut state = self.lock();
            let ends = state.shutdown.is_some();
            let Some(slot) = state.slot(id) else {
                return;
            };
            if (ends || slot.removed) && ward.is_some() {
                drop(state);
                ward = None;
                continue;
            }
            slot.ward = ward;
            slot.end(generation, ending);
            return;
        }
    }
}

/// The supervisor was told to stop by the token of the attempt that runs it. Runs on the thread that cancels, so it drops nothing.
impl Listener for Shared {
    fn cancelled(self: Arc<Self>, _reason: GiveUpReason) {
        self.mark_shutdown(self.grace);
    }
}

/// The time of a caller's wait.
pub(super) fn since(begun: Nanos, clock: &Clock) -> Duration {
    Duration::from_nanos(clock.now().saturating_sub(begun))
}

#[cfg(test)]
mod tests {
    use super::super::Supervisor;
    use super::super::child::Child;
    use super::super::options::{ChildOptions, Strategy};
    use super::super::slot::Wish;
    use super::*;

    #[test]
    fn a_run_that_is_not_wanted_any_more_is_skipped() {
        type Mark = fn(&mut State);
        let marks: [(Mark, bool); 4] = [
            (|_| {}, true),
            (|state| state.shutdown = Some(0), false),
            (|state| state.slots[0].wish = Some(Wish::Stop), false),
            (|state| state.slots[0].ward = None, false),
        ];
        for (mark, begins) in marks {
            let clock = Clock::new();
            let mut state = State::new(Strategy::OneForOne, false, clock);
            let child = Child::new("child", || Ok::<_, String>(()));
            state.slots.push(Slot::new(0, child.plan().unwrap()));
            let start = state.turn(0).start.pop().unwrap();
            mark(&mut state);
            let name = Arc::from("supervisor");
            let shared = Shared::new(name, state, clock, None, 0, Duration::ZERO);
            assert_eq!(shared.begin(start.id, start.generation).is_some(), begins);
            let mut state = shared.lock();
            let run = state.slot(0).unwrap().run(start.generation).unwrap();
            assert_eq!((run.begun.is_some(), run.ended.is_none()), (begins, begins));
        }
    }

    #[test]
    fn a_child_that_is_removed_and_does_not_run_is_gone_at_once() {
        let clock = Clock::new();
        let mut state = State::new(Strategy::OneForOne, false, clock);
        // Its thread, which forgets the child, is never started.
        state.over = true;
        let shared = Shared::new(Arc::from("idle"), state, clock, None, 0, Duration::ZERO);
        let supervisor = Supervisor {
            shared: Arc::new(shared),
        };
        let add = || supervisor.add("child", ChildOptions::new(), || Ok::<_, String>(()));
        add().unwrap();
        assert!(supervisor.child("child").is_some() && add().is_err());
        supervisor.remove("child").unwrap();
        assert!(supervisor.child("child").is_none() && supervisor.children().is_empty());
        add().unwrap();
        assert_eq!(supervisor.children().len(), 1);
        assert_eq!(supervisor.shutdown(Duration::ZERO).children().len(), 1);
    }
}
