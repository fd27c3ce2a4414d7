//! A token at work: how a worker helps a batch.
//!
//! A worker with a token takes one job after the other until the lane is empty or its turn is over. The clock is read rarely,
//! because a reading (20–25 ns) costs as much as the rest of an empty job's way: at the start of a turn, after a failure, and else
//! after every job, or every eighth while jobs are tiny ([`Pace`]). A turn can end whenever the clock is read.

use crate::clock::Nanos;
use crate::crew::{Crew, Due, Lane, Next, Parked, SharedLane, Work};
use crate::give_up::{AttemptError, GiveUp, GiveUpReason};
use crate::judge::{NextAttempt, Outcome, Rules, Subject, attempt};
use crate::lane::{After, Announcer, Core, Leftover, Queued, Ran};
use crate::policy::{Requeue, RetryPolicy, Verdict};
use crate::stats::Counts;
use crate::sync::{Arc, Weak};
use crate::unwind::{self, Contained, Hook};

/// How long a token helps its lane while something else waits in the work channel.
const TURN: Nanos = 50_000;

/// While jobs take less than this, the clock is read after every [`UNREAD`]th only. Untimed successes get the time of the next
/// reading, which is also made when the lane is empty and when the iterator collects. So a time is late by less than `UNREAD`
/// tiny jobs, or, where long jobs follow on tiny ones without a gap, by the first few of those.
const TINY: Nanos = 2_000;
const UNREAD: u32 = 8;

/// What a caller has set for the jobs of a batch.
pub(crate) struct BatchOptions<'p, I, T, E> {
    pub(crate) policy: RetryPolicy,
    pub(crate) classify: Hook<dyn Fn(&E) -> Verdict + Send + Sync + 'p>,
    pub(crate) accept: Hook<dyn Fn(&T) -> bool + Send + Sync + 'p>,
    pub(crate) on_retry: Hook<dyn Fn(&I, &AttemptError<E>, NextAttempt) + Send + Sync + 'p>,
    pub(crate) on_give_up: Hook<dyn Fn(&I, &GiveUp<E>) + Send + Sync + 'p>,
    pub(crate) name: Hook<dyn Fn(&I) -> String + Send + Sync + 'p>,
    pub(crate) display: Option<fn(&E) -> String>,
    pub(crate) errors_kept: usize,
    /// The pool's seed and the batch's number, mixed.
    pub(crate) seed: u64,
}

/// Makes the [`Announcer`] of a batch.
pub(crate) type MakeAnnouncer<'p, I, T, E, F> =
    fn(&Arc<Crew<'p>>, &Weak<BatchLane<'p, I, T, E, F>>) -> Announcer;

/// How completions, which know neither the job function nor the pool, announce tokens: by a closure over both that keeps neither
/// alive. It names no type of the batch, so it asks for a batch that borrows nothing.
pub(crate) fn announcer<I, T, E, F>(
    crew: &Arc<Crew<'static>>,
    lane: &Weak<BatchLane<'static, I, T, E, F>>,
) -> Announcer
where
    I: Send + 'static,
    T: Send + 'static,
    E: Send + 'static,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'static,
{
    let (crew, lane) = (Arc::downgrade(crew), lane.clone());
    Box::new(move |tokens| {
        if let (Some(crew), Some(lane)) = (crew.upgrade(), lane.upgrade()) {
            let lane: SharedLane<'static> = lane;
            crew.push_tokens(&lane, tokens);
            unwind::discard(lane);
        }
    })
}

/// A batch with its job function: what a token helps.
pub(crate) struct BatchLane<'p, I, T, E, F> {
    pub(crate) core: Arc<Core<I, T, E>>,
    pub(crate) job: Contained<F>,
    pub(crate) options: BatchOptions<'p, I, T, E>,
    pub(crate) this: Weak<Self>,
}

impl<'p, I, T, E, F> BatchLane<'p, I, T, E, F>
where
    I: Send + 'p,
    T: Send + 'p,
    E: Send + 'p,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'p,
{
    fn rules<'a>(&'a self, crew: &'a Crew<'p>) -> Rules<'a, I, T, E> {
        let options = &self.options;
        Rules {
            policy: &options.policy,
            classify: options.classify.as_ref().map(|classify| &***classify as _),
            accept: options.accept.as_ref().map(|accept| &***accept as _),
            on_retry: options.on_retry.as_ref().map(|hook| &***hook as _),
            display: options.display,
            errors_kept: options.errors_kept,
            seed: options.seed,
            clock: &crew.clock,
        }
    }

    /// One attempt of one job. Gives the time too if the clock was read after it.
    fn run_one(
        &self,
        rules: &Rules<'_, I, T, E>,
        mut job: Queued<I, E>,
    ) -> (Ran<I, T, E>, Option<Nanos>) {
        let options = &self.options;
        let Queued {
            input,
            index,
            accepted,
            record,
        } = &mut job;
        let subject = Subject {
            input,
            name: options
                .name
                .as_ref()
                .and_then(|name| name_of(&***name, input)),
            number: *index as u64,
            accepted: *accepted,
        };
        match attempt(rules, &subject, record, || (self.job)(input)) {
            Outcome::Succeeded(value) => (Ran::Settled(job.succeed(value)), None),
            Outcome::Retry(None, now) => (Ran::Retry(job), Some(now)),
            Outcome::Retry(Some(due), now) => (Ran::Park(due, job), Some(now)),
            Outcome::GaveUp(reason, now) => {
                let settled = job.give_up(reason, now);
                if let (Some(hook), Err(give_up)) = (&options.on_give_up, &settled.result) {
                    unwind::contain(|| hook(&settled.input, give_up));
                }
                (Ran::Settled(settled), Some(now))
            }
        }
    }

    /// Does what a visit to the core left to be done after the lock.
    fn tidy(&self, crew: &Crew<'p>, leftover: Leftover<I, T, E>) {
        let Leftover { unread, arm } = leftover;
        if let Some(due) = arm {
            crew.park(due, Parked::Lane(self.this.clone()));
        }
        if let Some(settled) = unread {
            settled.discard();
        }
    }
}

impl<'p, I, T, E, F> Work<'p> for BatchLane<'p, I, T, E, F>
where
    I: Send + 'p,
    T: Send + 'p,
    E: Send + 'p,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'p,
{
    fn run(&self, crew: &Crew<'p>, _counts: &Counts) -> Next {
        let rules = self.rules(crew);
        let begun = crew.clock.now();
        let mut pace = Pace::new(begun);
        let mut after = self.core.begin().map_or(After::Empty, After::Job);
        let next = loop {
            let job = match after {
                After::Job(job) => job,
                After::Empty => break Next::Done,
                After::TurnOver => break Next::Requeue(Requeue::Back),
            };
            let (ran, read) = self.run_one(&rules, job);
            let now = pace.after_job(read, || crew.clock.now());
            let long = now.is_some_and(|now| now.saturating_sub(begun) >= TURN);
            let turn_over = long && crew.has_waiting();
            let leftover;
            (after, leftover) = self.core.exchange(ran, now, turn_over);
            self.tidy(crew, leftover);
        };
        if pace.unread > 0 {
            self.core.tell_time(crew.clock.now());
        }
        crew.settled();
        next
    }

    fn give_up(&self, crew: &Crew<'p>) {
        self.core.end(crew, GiveUpReason::Shutdown);
    }
}

impl<'p, I, T, E, F> Lane<'p> for BatchLane<'p, I, T, E, F>
where
    I: Send + 'p,
    T: Send + 'p,
    E: Send + 'p,
    F: Fn(&I) -> Result<T, E> + Send + Sync + 'p,
{
    fn due(&self, now: Nanos) -> Due {
        self.core.due(now)
    }

    fn close(&self) {
        self.core.close();
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

/// When to read the clock.
struct Pace {
    last: Nanos,
    unread: u32,
    every: u32,
}

impl Pace {
    fn new(now: Nanos) -> Self {
        Self {
            last: now,
            unread: 0,
            every: 1,
        }
    }

    /// The time after a job: `read` if somebody has looked already, or a new reading if one is due.
    fn after_job(&mut self, read: Option<Nanos>, clock: impl FnOnce() -> Nanos) -> Option<Nanos> {
        self.unread += 1;
        if read.is_none() && self.unread < self.every {
            return None;
        }
        let now = read.unwrap_or_else(clock);
        let tiny = now.saturating_sub(self.last) < TINY * Nanos::from(self.unread);
        *self = Self {
            last: now,
            unread: 0,
            every: if tiny { UNREAD } else { 1 },
        };
        Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_read_after_every_job_unless_jobs_are_tiny() {
        let mut pace = Pace::new(0);
        let mut readings = |jobs: u32, length: Nanos| {
            let mut now = 0;
            let read = |_: &u32| {
                now += length;
                pace.after_job(None, || now).is_some()
            };
            (0..jobs).filter(read).count()
        };
        assert_eq!(readings(64, 100_000), 64);
        assert_eq!(readings(65, 0), 9);
    }
}
