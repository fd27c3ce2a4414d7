//! What the timer's thread, or a worker that searches, leaves to a worker, because user code may run in it.

use super::{Crew, Next, Parked, Piece, SharedLane, SharedWork, WHOLE, Work};
use crate::cancel::Listener;
use crate::observe::WorkerEvent;
use crate::reason::GiveUpReason;
use crate::roster::Post;
use crate::sync::{Arc, Mutex};
use crate::unwind;

/// Something to do, once.
pub(super) enum Errand<'p> {
    /// To drop a reference that may be the last one.
    Bury(SharedWork<'p>),
    /// To drop entries of the timer.
    Drop(Vec<Parked<'p>>),
    /// To judge an attempt of a batch that was abandoned.
    Judge(SharedLane<'p>),
    /// To end what was pushed while the pool stopped.
    Sweep,
    /// To end a batch whose time is over.
    End(SharedLane<'p>, GiveUpReason),
    /// To call those who listen to a token that was cancelled.
    Tell(Vec<Arc<dyn Listener>>, GiveUpReason),
    /// To tell the observer of a worker that is stuck.
    Report(WorkerEvent),
    /// To drop references to batches whose notes were heeded, each of which may be the last one; and to end the pool, if the last job
    /// has ended where the pool is not known.
    Part(Vec<SharedLane<'p>>),
}

/// An errand in the work channel.
pub(super) struct Slip<'p>(Mutex<Option<Errand<'p>>>);

impl<'p> Slip<'p> {
    pub(super) fn with(errand: Errand<'p>) -> SharedWork<'p> {
        Piece::whole(Arc::new(Self(Mutex::new(Some(errand)))))
    }

    fn carry_out(&self, crew: &Crew<'p>, post: Option<&Post>) {
        let errand = self.0.lock().take();
        match errand {
            Some(Errand::Bury(work)) => unwind::discard(work),
            Some(Errand::Drop(entries)) => unwind::discard_all(entries),
            Some(Errand::Judge(lane)) => {
                lane.judge(crew, post);
                unwind::discard(lane);
            }
            // Without a worker, it is swept away itself.
            Some(Errand::Sweep) if post.is_none() => {}
            Some(Errand::Sweep) => crew.sweep(GiveUpReason::Shutdown),
            Some(Errand::End(lane, reason)) => {
                lane.give_up(WHOLE, crew, reason);
                unwind::discard(lane);
            }
            Some(Errand::Tell(listeners, reason)) => listeners
                .into_iter()
                .for_each(|listener| listener.cancelled(reason)),
            Some(Errand::Report(event)) => {
                let observer = &crew.settings.observer;
                observer.tell(|observer| observer.worker_stuck(&event));
            }
            Some(Errand::Part(lanes)) => unwind::discard_all(lanes),
            None => {}
        }
        // The timer may have ended the last jobs.
        crew.settled();
    }
}

impl<'p> Work<'p> for Slip<'p> {
    fn outlasts_stop(&self) -> bool {
        true
    }

    fn run(&self, _at: u32, crew: &Crew<'p>, post: &Arc<Post>) -> Next {
        self.carry_out(crew, Some(post));
        Next::Done
    }

    fn give_up(&self, _at: u32, crew: &Crew<'p>, _reason: GiveUpReason) {
        self.carry_out(crew, None);
    }
}
