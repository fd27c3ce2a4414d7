//! The lives of a pool's threads: the workers and the timer's.

use std::cell::Cell;
use std::time::Instant;

use super::errand::{Errand, Slip};
use super::heels::Heels;
use super::{Crew, Due, Next, Parked, Piece, STOPPED, SharedWork, ThreadHook};
use crate::cancel::CancelToken;
use crate::observe::WorkerEvent;
use crate::policy::Requeue;
use crate::reason::GiveUpReason;
use crate::roster::{Note, Post, Rest, Roster, Stuck};
use crate::sync::{Arc, gather, search, wait_until};
use crate::unwind;

impl<'p> Crew<'p> {
    /// The life of a worker.
    pub(crate) fn work(&self, post: &Arc<Post>) {
        post.take();
        self.roster.has_started();
        let presence = Presence {
            crew: self,
            post,
            leaves: Cell::new(false),
        };
        let event = |replaced| WorkerEvent {
            number: post.number,
            spare: post.is_spare(),
            replaced,
        };
        let observer = &self.settings.observer;
        call(&self.settings.on_thread_start);
        observer.tell(|observer| observer.worker_started(&event(false)));
        let mut heels = Heels::new();
        while let Some(work) = self.next_work(post, &mut heels) {
            post.note_work();
            let next = if self.phase() == STOPPED && !work.outlasts_stop() {
                work.give_up(self, GiveUpReason::Shutdown);
                Next::Done
            } else {
                work.run(self, post)
            };
            match next {
                Next::Done => unwind::discard(work),
                Next::Requeue(place) => {
                    let job = work.clone();
                    self.push_at(place, work);
                    self.end_if_over(job);
                }
                Next::ParkUntil(due, place) => self.park(due, Parked::Job(work, place)),
                Next::Abandoned => {
                    unwind::discard(work);
                    if !self.roster.comes_back(post) {
                        break;
                    }
                }
            }
        }
        presence.leaves.set(true);
        Post::leave();
        observer.tell(|observer| observer.worker_stopped(&event(false)));
        call(&self.settings.on_thread_stop);
    }

    /// Blocks until there is work. `None`: the thread is not needed any more, and not counted as available.
    fn next_work(&self, post: &Arc<Post>, heels: &mut Heels) -> Option<SharedWork<'p>> {
        if post.is_spare() {
            while self.roster.is_surplus(post) {
                // What has come due is settled also where all others are busy.
                if let Some(work) = self.look_for_urgent(post) {
                    return Some(work);
                }
                // Once more, since whoever comes now starts another errand.
                self.roster.end_errand(post);
                if let Some(work) = self.look_for_urgent(post) {
                    self.pass_urgent_on();
                    return Some(work);
                }
                if self.roster.retires(post) {
                    return None;
                }
            }
            self.roster.end_errand(post);
        }
        if let Some(work) = self.look(post) {
            if post.is_spare() {
                self.pass_urgent_on();
            }
            heels.note_found();
            return Some(work);
        }
        let mut patient = self.roster.begin_search() < self.settings.processors as u64;
        let now = || self.clock.now();
        if patient && !self.roster.permits.are_bounded() && heels.keeps_away(now) {
            heels.note_gathered(gather(|| self.queue.len()), now);
        }
        loop {
            // One of too many searchers has its last look while it goes to sleep.
            let found = patient.then(|| search(|| self.look(post))).flatten();
            if let Some(work) = found {
                self.roster.end_search(|| self.has_waiting());
                self.pass_urgent_on();
                return Some(work);
            }
            match self.roster.rest(post, || self.has_waiting()) {
                Rest::Woken => patient = true,
                Rest::Leave => return None,
            }
        }
    }

    /// To be called by who has found work: what is urgent may have relied on this worker, who is busy now.
    fn pass_urgent_on(&self) {
        if self.queue.has_urgent() {
            self.roster.recruit_errand();
        }
    }

    /// Takes work that is urgent, if there is any. Nothing else is for a worker that is one too many: a job would be run by more workers
    /// than the pool is to have, and hold back what comes due meanwhile.
    fn look_for_urgent(&self, post: &Post) -> Option<SharedWork<'p>> {
        self.heed_notes(post).or_else(|| self.queue.pop_urgent())
    }

    /// Takes work if there is any.
    fn look(&self, post: &Post) -> Option<SharedWork<'p>> {
        self.heed_notes(post).or_else(|| self.queue.pop())
    }

    /// Does what the notes ask for, but for what may run user code: that is work, since who searches is relied on by all who push to find
    /// it soon. (A push into a pool that was just stopped ends what waits there.)
    fn heed_notes(&self, post: &Post) -> Option<SharedWork<'p>> {
        if !self.roster.has_notes() {
            return None;
        }
        post.note_work();
        let (mut lanes, mut ended) = (Vec::new(), false);
        for note in self.roster.take_notes() {
            let (number, gone) = match note {
                Note::Announce(number) => (number, false),
                Note::TokenGone(number) => (number, true),
                Note::Ended => {
                    ended = true;
                    continue;
                }
            };
            let Some(lane) = self.batches.lock().find(number) else {
                continue;
            };
            // The reference, which may be the last one, goes with the last token.
            match lane.missing_tokens(gone) {
                0 => lanes.push(lane),
                missing => {
                    self.push_tokens(&lane, missing - 1);
                    self.push(Piece::whole(lane as _));
                }
            }
        }
        let is_work = ended || !lanes.is_empty();
        is_work.then(|| Slip::with(Errand::Part(lanes)))
    }

    /// The life of the timer's thread. It outlasts the workers, but for the stuck ones, so any attempt can be abandoned.
    pub(crate) fn keep_time(&self) {
        Post::join(self.roster.id);
        let _presence = TimerPresence {
            roster: &self.roster,
        };
        let over = || self.roster.is_deserted();
        self.timer.run(over, |parked, now| match parked {
            Parked::Job(work, place) => self.push_job_when_due(place, work),
            Parked::Attempt(watch) => {
                let watch = watch.upgrade();
                let work = watch.as_ref().and_then(|watch| watch.work.upgrade());
                let (Some(watch), Some(work)) = (watch, work) else {
                    return;
                };
                match work.expire(self, watch.attempt) {
                    Some(stuck) => {
                        self.abandon(&stuck);
                        self.push_urgent(work);
                    }
                    None => self.bury(work),
                }
            }
            Parked::Deadline(weak) => {
                let Some(work) = weak.upgrade() else { return };
                let (settle, token) = work.pass_deadline(self);
                if let Some(token) = token {
                    self.tell_later(&token, GiveUpReason::DeadlineExceeded);
                }
                if settle {
                    self.push_urgent(work);
                } else {
                    self.bury(work);
                }
            }
            Parked::Lane(weak) => {
                let Some(lane) = weak.upgrade() else { return };
                let Due {
                    tokens,
                    again,
                    stuck,
                    over,
                } = lane.due(now);
                for stuck in &stuck {
                    self.abandon(stuck);
                    self.run_errand(Errand::Judge(Arc::clone(&lane)));
                }
                (0..tokens).for_each(|_| {
                    self.push_when_due(Requeue::Back, Piece::whole(Arc::clone(&lane) as _));
                });
                if let Some(due) = again {
                    self.park_again(due, &lane);
                }
                if over {
                    self.run_errand(Errand::End(lane, GiveUpReason::DeadlineExceeded));
                } else {
                    self.bury(Piece::whole(lane as _));
                }
            }
        });
    }

    /// Pushes a job that has come due; one that was cancelled between the timer and the queue is ended by a worker at once.
    fn push_job_when_due(&self, place: Requeue, job: SharedWork<'p>) {
        let cancelled_before = self.cancelled_before();
        if job.is_over(self).is_some() {
            return self.push_urgent(job);
        }
        // No reference is kept that may turn out to be the last one.
        let weak = job.downgrade();
        self.push_when_due(place, job);
        if self.cancelled_before() == cancelled_before {
            return;
        }
        match weak.upgrade() {
            Some(job) if job.is_live() && job.is_over(self).is_some() => self.push_urgent(job),
            Some(job) => self.bury(job),
            None => {}
        }
    }

    /// The attempt that this worker runs has taken too long.
    fn abandon(&self, stuck: &Stuck) {
        self.tell_later(&stuck.token, GiveUpReason::DeadlineExceeded);
        let replaced = self.roster.replace(stuck);
        if self.settings.observer.is_there() {
            self.run_errand(Errand::Report(WorkerEvent {
                number: stuck.post.number,
                spare: stuck.post.is_spare(),
                replaced,
            }));
        }
    }

    /// Cancels a token; who listens to it is called by a worker.
    fn tell_later(&self, token: &CancelToken, reason: GiveUpReason) {
        let listeners = token.cancel_quietly(reason);
        if !listeners.is_empty() {
            self.run_errand(Errand::Tell(listeners, reason));
        }
    }

    /// Has a worker drop a reference that may be the last one, since the timer's thread runs no user code.
    fn bury(&self, work: SharedWork<'p>) {
        self.push_when_due(Requeue::Back, Slip::with(Errand::Bury(work)));
    }

    pub(super) fn wait(&self, deadline: Option<Instant>, done: impl Fn(usize) -> bool) -> bool {
        let mut state = self.roster.lock();
        while !done(Roster::alive(&state)) {
            if !wait_until(&self.roster.changed, &mut state, deadline) {
                return done(Roster::alive(&state));
            }
        }
        true
    }
}

fn call(hook: &ThreadHook) {
    if let Some(hook) = hook {
        unwind::contain(|| hook());
    }
}

/// A worker, for as long as it lives.
struct Presence<'a, 'p> {
    crew: &'a Crew<'p>,
    post: &'a Arc<Post>,
    /// It goes in good order, and is not counted as available any more.
    leaves: Cell<bool>,
}

impl Drop for Presence<'_, '_> {
    fn drop(&mut self) {
        self.crew.roster.dismiss(self.post, self.leaves.get());
        if self.crew.phase() == STOPPED {
            self.crew.timer.look_again();
        }
    }
}

/// The timer's thread, for as long as it lives.
struct TimerPresence<'a> {
    roster: &'a Roster,
}

impl Drop for TimerPresence<'_> {
    fn drop(&mut self) {
        self.roster.count_timer(false);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Batch, crew};
    use super::*;
    use crate::cancel::tests::listen;
    use crate::clock::Nanos;
    use crate::crew::SharedLane;

    #[test]
    fn what_the_timer_buries_is_dropped_by_a_worker() {
        let (crew, batch) = (crew(), Arc::new(Batch::default()));
        crew.bury(Piece::whole(Arc::clone(&batch) as _));
        assert_eq!(Arc::strong_count(&batch), 2);
        crew.sweep(GiveUpReason::Shutdown);
        assert_eq!(Arc::strong_count(&batch), 1);
        assert!(batch.noted().is_empty());
    }

    #[test]
    fn who_listens_to_a_token_that_the_timer_cancels_is_called_by_a_worker() {
        let crew = crew();
        let reason = GiveUpReason::DeadlineExceeded;
        let token = CancelToken::new();
        crew.tell_later(&token, reason);
        assert!(token.is_cancelled() && crew.queue.is_empty());
        let token = CancelToken::new();
        let ear = listen(&token);
        crew.tell_later(&token, reason);
        assert!(token.is_cancelled() && ear.0.lock().is_none());
        crew.sweep(GiveUpReason::Shutdown);
        assert_eq!(*ear.0.lock(), Some(reason));
    }

    #[test]
    fn jobs_that_settle_while_they_are_parked_do_not_pile_up_in_the_timer() {
        let crew = crew();
        for _ in 0..10 {
            let lane: SharedLane<'static> = Arc::new(Batch::default());
            crew.park_again(Nanos::MAX, &lane);
        }
        (0..100).for_each(|_| crew.forget_parked());
        assert!(crew.timer.take(|_| true).is_empty());
    }
}
