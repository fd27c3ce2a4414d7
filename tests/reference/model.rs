//! The pool as it is promised, one thing after the other: no thread, no queue, no clock.

use std::collections::{HashMap, VecDeque};

use retry_pool::GiveUpReason;

use crate::ops::{Outcome, Rules, Script, Time};

pub(crate) type Id = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// In this attempt.
    Failed(u32),
    Panicked,
    TimedOut,
    Rejected,
}

/// What came of a job: with success if there is no reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) reason: Option<GiveUpReason>,
    pub(crate) attempts: u32,
    pub(crate) last_fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Among the inputs of a batch. It may have been let in: of that the batch knows the number alone.
    Input,
    Queued,
    Parked,
    Running,
    Settled(End),
}

#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) batch: Option<usize>,
    pub(crate) place: Place,
    pub(crate) attempts: u32,
    pub(crate) is_delivered: bool,
    script: Script,
    rules: Rules,
    pub(crate) time: Time,
    last_fault: Option<Fault>,
    /// Its attempt is being abandoned, to be judged by a worker.
    pub(crate) is_expired: bool,
    /// Its next attempt is paid for.
    has_paid: bool,
    /// It is to stop, and why.
    pub(crate) told: Option<GiveUpReason>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// Its pool is closed.
    Closed,
    Ended(GiveUpReason),
    Dropped,
}

#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) gate: Gate,
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) rules: Rules,
    pub(crate) fail_fast: Option<u64>,
    pub(crate) failures: u64,
    /// How many inputs were let in and have not begun.
    pub(crate) fresh: usize,
    /// How many inputs have ended for which reason before they began, and were not delivered.
    pub(crate) refused: HashMap<GiveUpReason, usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) accepted: u64,
    pub(crate) succeeded: u64,
    pub(crate) retries: u64,
    pub(crate) gave_up: [u64; 9],
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) threads: usize,
    pub(crate) capacity: usize,
    pub(crate) jobs: Vec<Job>,
    pub(crate) batches: Vec<Batch>,
    pub(crate) counts: Counts,
    pub(crate) is_closed: bool,
    pub(crate) is_stopped: bool,
    /// The single jobs that are queued, those at the front first.
    front: VecDeque<Id>,
    back: VecDeque<Id>,
    pub(crate) has_hanging: bool,
    /// How many retries are paid for: each success pays for one.
    pub(crate) budget: u64,
}

impl Model {
    pub(crate) fn new(threads: usize, capacity: Option<usize>) -> Self {
        Self {
            threads,
            capacity: capacity.unwrap_or(usize::MAX),
            jobs: Vec::new(),
            batches: Vec::new(),
            counts: Counts::default(),
            is_closed: false,
            is_stopped: false,
            front: VecDeque::new(),
            back: VecDeque::new(),
            has_hanging: false,
            budget: 0,
        }
    }

    pub(crate) fn ids(&self, is_wanted: impl Fn(&Job) -> bool) -> Vec<Id> {
        let jobs = self.jobs.iter().enumerate();
        jobs.filter_map(|(id, job)| is_wanted(job).then_some(id))
            .collect()
    }

    pub(crate) fn in_place(&self, place: Place) -> usize {
        self.jobs.iter().filter(|job| job.place == place).count()
    }

    fn fresh(&self) -> usize {
        self.batches.iter().map(|batch| batch.fresh).sum()
    }

    /// Is there a worker for something that waits for one? For what is to be judged there always is.
    pub(crate) fn can_go_on(&self) -> bool {
        let waiting = self.in_place(Place::Queued) + self.fresh();
        let is_worker_free = self.in_place(Place::Running) < self.threads;
        waiting > 0 && is_worker_free || self.jobs.iter().any(|job| job.is_expired)
    }

    /// Jobs that were let in and have not settled.
    pub(crate) fn unsettled(&self) -> usize {
        let places = [Place::Queued, Place::Parked, Place::Running];
        places
            .map(|place| self.in_place(place))
            .iter()
            .sum::<usize>()
            + self.fresh()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.unsettled() >= self.capacity
    }

    pub(crate) fn new_job(
        &mut self,
        batch: Option<usize>,
        script: Script,
        rules: Rules,
        time: Time,
    ) -> Id {
        self.jobs.push(Job {
            batch,
            place: Place::Input,
            attempts: 0,
            is_delivered: false,
            script,
            rules,
            time,
            last_fault: None,
            is_expired: false,
            has_paid: false,
            told: None,
        });
        self.jobs.len() - 1
    }

    pub(crate) fn queue(&mut self, id: Id) {
        let job = &mut self.jobs[id];
        job.place = Place::Queued;
        match job.batch {
            Some(_) => {}
            // The first attempt waits at the back in any case.
            None if job.rules.goes_to_front && job.attempts > 0 => self.front.push_back(id),
            None => self.back.push_back(id),
        }
    }

    /// An attempt has begun: says what is wrong with that.
    pub(crate) fn begin(&mut self, id: Id, attempt: u32, is_last: bool) -> Result<(), String> {
        let job = &mut self.jobs[id];
        match (job.place, job.batch) {
            (Place::Queued, _) => {}
            (Place::Input, Some(batch)) if self.batches[batch].fresh > 0 => {
                self.batches[batch].fresh -= 1;
            }
            (place, _) => return Err(format!("job {id} has begun: {place:?}")),
        }
        if attempt != job.attempts + 1 || is_last != (attempt >= job.rules.max_attempts) {
            let before = job.attempts;
            return Err(format!(
                "job {id} has begun attempt {attempt} after {before}, last: {is_last}"
            ));
        }
        job.attempts = attempt;
        job.has_paid = false;
        job.told = None;
        job.place = Place::Running;
        self.counts.retries += u64::from(attempt > 1);
        let hangs = job.time == Time::Hangs;
        if job.batch.is_none() {
            let first = self.front.front().or(self.back.front()).copied();
            if first != Some(id) && !self.has_hanging {
                return Err(format!("job {id} has begun before {first:?}"));
            }
            self.unqueue(id);
        }
        if hangs {
            let job = &mut self.jobs[id];
            job.last_fault = Some(Fault::TimedOut);
            job.is_expired = true;
            self.queue(id);
        }
        Ok(())
    }

    /// An attempt that was abandoned has been judged: says what is wrong with that.
    pub(crate) fn judge_expired(&mut self, id: Id, is_settled: bool) -> Result<(), String> {
        self.jobs[id].is_expired = false;
        let reason = self.judge(id, Outcome::Fail);
        if is_settled != reason.is_some() {
            return Err(format!("job {id}: settled: {is_settled}, not {reason:?}"));
        }
        if is_settled {
            self.settle(id, reason);
        }
        Ok(())
    }

    fn unqueue(&mut self, id: Id) {
        self.front.retain(|other| *other != id);
        self.back.retain(|other| *other != id);
    }

    /// How the attempt that runs is to end.
    pub(crate) fn scripted(&self, id: Id) -> Outcome {
        let job = &self.jobs[id];
        let last = job.script.len() - 1;
        job.script[last.min(job.attempts as usize - 1)]
    }

    /// The attempt ends that way.
    pub(crate) fn finish(&mut self, id: Id, outcome: Outcome) {
        let attempt = self.jobs[id].attempts;
        match outcome {
            Outcome::Succeed => {
                if self.jobs[id].rules.has_budget {
                    self.budget += 1;
                }
                self.jobs[id].last_fault = None;
                self.settle(id, None);
            }
            Outcome::Reject => self.fail(id, Fault::Rejected, outcome),
            Outcome::Panic => self.fail(id, Fault::Panicked, outcome),
            _ => self.fail(id, Fault::Failed(attempt), outcome),
        }
    }

    fn fail(&mut self, id: Id, fault: Fault, outcome: Outcome) {
        self.jobs[id].last_fault = Some(fault);
        match self.judge(id, outcome) {
            Some(reason) => self.settle(id, Some(reason)),
            None if outcome == Outcome::Park => self.jobs[id].place = Place::Parked,
            None => self.queue(id),
        }
    }

    /// Why the job is given up, or nothing if it is retried.
    fn judge(&mut self, id: Id, outcome: Outcome) -> Option<GiveUpReason> {
        let job = &mut self.jobs[id];
        let fails_fast = job.told == Some(GiveUpReason::FailFast);
        let parks = outcome == Outcome::Park;
        if outcome == Outcome::Panic && !job.rules.retries_panics {
            return Some(GiveUpReason::Panicked);
        }
        if job.told.is_some() && !fails_fast {
            return job.told;
        }
        if outcome == Outcome::FailForGood {
            return Some(GiveUpReason::Permanent);
        }
        if job.attempts >= job.rules.max_attempts {
            return Some(GiveUpReason::AttemptsExhausted);
        }
        if parks && job.rules.is_short {
            return Some(GiveUpReason::ElapsedExhausted);
        }
        if job.rules.has_budget && self.budget == 0 {
            return Some(GiveUpReason::BudgetExhausted);
        }
        if fails_fast {
            return Some(GiveUpReason::FailFast);
        }
        if parks && job.time == Time::HalfAnHour {
            return Some(GiveUpReason::DeadlineExceeded);
        }
        if job.rules.has_budget {
            self.budget -= 1;
            job.has_paid = true;
        }
        None
    }

    pub(crate) fn settle(&mut self, id: Id, reason: Option<GiveUpReason>) {
        self.unqueue(id);
        let job = &mut self.jobs[id];
        if std::mem::take(&mut job.has_paid) {
            self.budget += 1;
        }
        job.is_expired = false;
        let batch = job.batch;
        job.place = Place::Settled(End {
            reason,
            attempts: job.attempts,
            last_fault: job.last_fault,
        });
        match reason {
            None => self.counts.succeeded += 1,
            Some(reason) => self.counts.gave_up[reason as usize] += 1,
        }
        if let (Some(batch), Some(reason)) = (batch, reason) {
            self.count_failure(batch, reason);
        }
    }

    fn count_failure(&mut self, number: usize, reason: GiveUpReason) {
        use GiveUpReason::{Cancelled, DeadlineExceeded, FailFast, Shutdown};
        let batch = &mut self.batches[number];
        if matches!(reason, Cancelled | DeadlineExceeded | FailFast | Shutdown) {
            return;
        }
        batch.failures += 1;
        let is_enough = batch.fail_fast.is_some_and(|most| batch.failures >= most);
        if is_enough && matches!(batch.gate, Gate::Open | Gate::Closed) {
            self.end_batch(number, Gate::Ended(FailFast));
        }
    }

    /// What waits settles, what runs is told to stop.
    pub(crate) fn end_batch(&mut self, number: usize, gate: Gate) {
        let batch = &mut self.batches[number];
        let reason = match (batch.gate, gate) {
            (Gate::Dropped, _) => return,
            (Gate::Ended(reason), Gate::Ended(_)) => reason,
            (_, Gate::Ended(reason)) => reason,
            _ => GiveUpReason::Cancelled,
        };
        batch.gate = match gate {
            Gate::Dropped => Gate::Dropped,
            _ => Gate::Ended(reason),
        };
        let fresh = std::mem::take(&mut batch.fresh);
        *batch.refused.entry(reason).or_default() += fresh;
        self.counts.gave_up[reason as usize] += fresh as u64;
        self.end_jobs(reason, |job| job.batch == Some(number));
    }

    pub(crate) fn end_jobs(&mut self, reason: GiveUpReason, is_meant: impl Fn(&Job) -> bool) {
        for id in self.ids(is_meant) {
            let job = &mut self.jobs[id];
            match job.place {
                Place::Queued | Place::Parked => self.settle(id, Some(reason)),
                Place::Running => {
                    job.told.get_or_insert(reason);
                }
                Place::Input | Place::Settled(_) => {}
            }
        }
    }
}
