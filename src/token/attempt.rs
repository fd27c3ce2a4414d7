//! One attempt of a job of a batch.

use super::BatchLane;
use crate::clock::{Nanos, nanos};
use crate::crew::{Crew, Parked};
use crate::give_up::Record;
use crate::judge::{
    Outcome, Returned, Rules, Subject, attempt, conclude, conclude_timed_out, prepare,
};
use crate::lane::{Queued, Ran, Settled};
use crate::observe::JobEvent;
use crate::reason::GiveUpReason;
use crate::roster::Post;
use crate::sync::Arc;
use crate::unwind;

impl<'p, I, T, E, F> BatchLane<'p, I, T, E, F>
where
    I: Send + 'p,
    T: Send + 'p,
    E: Send + 'p,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'p,
{
    /// One attempt of one job whose attempts have no limit.
    pub(super) fn run_one(&self, rules: &Rules<'_, I, T, E>, job: &mut Queued<I, E>) -> Outcome<T> {
        let (subject, record) = self.look_at(job);
        let input = subject.input;
        let told = || self.core.setup.token.reason();
        attempt(rules, &subject, record, told, || (self.job)(input))
    }

    /// One attempt of a job whose attempts have a limit; nothing comes back if it was abandoned.
    pub(super) fn run_limited(
        &self,
        crew: &Crew<'p>,
        rules: &Rules<'_, I, T, E>,
        post: &Arc<Post>,
        job: Queued<I, E>,
    ) -> Option<(Queued<I, E>, Outcome<T>)> {
        let (mut job, returned) = self.run_shared(crew, rules, post, job)?;
        let (subject, record) = self.look_at(&mut job);
        let told = || self.core.setup.token.reason();
        let outcome = conclude(rules, &subject, record, returned, told);
        Some((job, outcome))
    }

    /// Judges an attempt that was abandoned.
    pub(super) fn judge_one(
        &self,
        rules: &Rules<'_, I, T, E>,
        mut job: Queued<I, E>,
    ) -> (Queued<I, E>, Outcome<T>) {
        let limit = job.record.as_mut().and_then(|record| record.take_expired());
        let limit = limit.unwrap_or_else(|| unreachable!("the timer has noted the limit"));
        let (subject, record) = self.look_at(&mut job);
        let told = self.core.setup.token.reason().or_else(|| {
            let deadline = rules.deadline?;
            (rules.clock.now() >= deadline).then_some(GiveUpReason::DeadlineExceeded)
        });
        let outcome = conclude_timed_out(rules, &subject, record, limit, told);
        (job, outcome)
    }

    #[inline(always)]
    fn look_at<'a>(
        &self,
        job: &'a mut Queued<I, E>,
    ) -> (Subject<'a, I>, &'a mut Option<Box<Record<E>>>) {
        let name = self.options.name.as_ref();
        let input = job.input.get();
        let subject = Subject {
            input,
            name: name.and_then(|name| name_of(&***name, input)),
            number: job.index as u64,
            accepted: job.accepted,
        };
        (subject, &mut job.record)
    }

    /// An attempt that may be abandoned: the lane keeps the job meanwhile.
    fn run_shared(
        &self,
        crew: &Crew<'p>,
        rules: &Rules<'_, I, T, E>,
        post: &Arc<Post>,
        mut job: Queued<I, E>,
    ) -> Option<(Queued<I, E>, Returned<T, E>)> {
        let input = job.input.clone_shared()?;
        let (subject, record) = self.look_at(&mut job);
        let coming = prepare(rules, &subject, record);
        let limit = self.options.attempt_timeout.map_or(Nanos::MAX, nanos);
        let begun = rules.clock.now();
        let expires = begun.saturating_add(limit);
        let expires = expires.min(rules.deadline.unwrap_or(Nanos::MAX));
        let coming = coming.until(rules.clock.instant(expires));
        let token = self.core.setup.token.child();
        let (ticket, arm) = self
            .core
            .lend(job, begun, expires, Arc::clone(post), token.clone());
        if let Some(due) = arm {
            crew.park(due, Parked::Lane(self.this.clone()));
        }
        let before = post.swap_token(token);
        let returned = coming.run(|| (self.job)(input.get()));
        drop(post.swap_token(before));
        unwind::discard(input);
        let Some(job) = self.core.reclaim(ticket) else {
            post.set_holding(false);
            returned.discard();
            return None;
        };
        Some((job, returned))
    }

    /// Does what follows from an attempt, but for the lane.
    #[inline(always)]
    pub(super) fn follow(&self, job: Queued<I, E>, outcome: Outcome<T>) -> Ran<I, T, E> {
        match outcome {
            Outcome::Succeeded(value) => {
                let settled = job.succeed(value);
                if self.core.setup.observer.is_there() {
                    self.tell_settled(&settled, Ok(()));
                }
                Ran::Settled(settled)
            }
            Outcome::Retry(None, _) => Ran::Retry(job),
            Outcome::Retry(Some(due), _) => Ran::Park(due, job),
            Outcome::GaveUp(reason, now) => {
                let settled = job.give_up(reason, now);
                if let (Some(hook), Err(give_up)) = (&self.options.on_give_up, &settled.result) {
                    unwind::contain(|| hook(settled.input.get(), give_up));
                }
                if self.core.setup.observer.is_there() {
                    self.tell_settled(&settled, Err(reason));
                }
                Ran::Settled(settled)
            }
        }
    }

    #[cold]
    fn tell_settled(&self, settled: &Settled<I, T, E>, result: Result<(), GiveUpReason>) {
        let name = self.options.name.as_ref();
        let name = name.and_then(|name| name_of(&***name, settled.input.get()));
        let setup = &self.core.setup;
        let event = JobEvent {
            name: name.as_deref(),
            ..setup.event(settled.index, settled.attempts)
        };
        setup
            .observer
            .tell(|observer| observer.job_settled(&event, result));
    }
}

/// A name function that panics leaves its job without a name.
fn name_of<I>(name: &dyn Fn(&I) -> String, input: &I) -> Option<Arc<str>> {
    match unwind::catch(|| name(input)) {
        Ok(name) => Some(Arc::from(name)),
        Err(payload) => {
            unwind::discard(payload);
            None
        }
    }
}
