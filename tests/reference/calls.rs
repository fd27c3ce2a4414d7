//! The model, continued: what callers do.

use std::collections::HashMap;

use retry_pool::GiveUpReason;

use crate::model::{Batch, End, Gate, Id, Job, Model, Place};
use crate::ops::{Many, Script, Single, Time};

impl Model {
    pub(crate) fn submit(&mut self, single: &Single) -> Id {
        let Single {
            script,
            rules,
            time,
        } = single.clone();
        let id = self.new_job(None, script, rules, time);
        self.counts.accepted += 1;
        // An attempt may be abandoned before it reports, and its job comes back when the timer gets to it.
        self.has_hanging |= time == Time::Hangs;
        match time {
            Time::Delayed => self.jobs[id].place = Place::Parked,
            Time::Over => self.settle(id, Some(GiveUpReason::DeadlineExceeded)),
            _ => self.queue(id),
        }
        id
    }

    /// True unless the job had settled.
    pub(crate) fn cancel(&mut self, id: Id) -> bool {
        match self.jobs[id].place {
            Place::Settled(_) => return false,
            Place::Running => self.jobs[id].told = Some(GiveUpReason::Cancelled),
            _ => self.settle(id, Some(GiveUpReason::Cancelled)),
        }
        true
    }

    /// Everything that was accepted is to end.
    pub(crate) fn end_all(&mut self, reason: GiveUpReason) {
        for number in 0..self.batches.len() {
            self.end_batch(number, Gate::Ended(reason));
        }
        self.end_jobs(reason, |job| job.batch.is_none());
    }

    pub(crate) fn close(&mut self) {
        self.is_closed = true;
        for batch in &mut self.batches {
            if batch.gate == Gate::Open {
                batch.gate = Gate::Closed;
            }
        }
    }

    pub(crate) fn start_batch(&mut self, many: &Many) -> Vec<Id> {
        let number = self.batches.len();
        self.batches.push(Batch {
            gate: if self.is_closed {
                Gate::Closed
            } else {
                Gate::Open
            },
            accepted: 0,
            delivered: 0,
            rules: many.rules.clone(),
            fail_fast: many.fail_fast,
            failures: 0,
            fresh: 0,
            refused: HashMap::new(),
        });
        let inputs = many.inputs.iter().cloned();
        inputs.map(|script| self.add(number, script)).collect()
    }

    pub(crate) fn add(&mut self, number: usize, script: Script) -> Id {
        let rules = self.batches[number].rules.clone();
        self.new_job(Some(number), script, rules, Time::Unlimited)
    }

    /// So many inputs were accepted since the last look: let in, or refused where the batch takes no more.
    pub(crate) fn note_accepted(&mut self, number: usize, accepted: u64) -> Result<(), String> {
        let inputs = self.ids(|job| job.batch == Some(number) && job.place == Place::Input);
        let batch = &mut self.batches[number];
        let more = accepted.checked_sub(batch.accepted);
        let more = more.ok_or("jobs are accepted no more")? as usize;
        batch.accepted = accepted;
        self.counts.accepted += more as u64;
        let reason = match batch.gate {
            Gate::Open => {
                batch.fresh += more;
                if batch.fresh > inputs.len() {
                    return Err(format!("batch {number} has let {} in", batch.fresh));
                }
                return Ok(());
            }
            Gate::Ended(reason) => reason,
            _ => GiveUpReason::Shutdown,
        };
        *batch.refused.entry(reason).or_default() += more;
        self.counts.gave_up[reason as usize] += more as u64;
        Ok(())
    }

    /// The batch has given out this job: says what is wrong with that.
    pub(crate) fn deliver(&mut self, number: usize, id: Id, end: End) -> Result<(), String> {
        let (batch, job) = (&mut self.batches[number], &mut self.jobs[id]);
        batch.delivered += 1;
        if job.place == Place::Input && end.attempts == 0 && end.last_fault.is_none() {
            let refused = end.reason.and_then(|reason| batch.refused.get_mut(&reason));
            let refused = refused.filter(|left| **left > 0);
            *refused.ok_or(format!("job {id} came out as {end:?}"))? -= 1;
            job.place = Place::Settled(end);
        }
        if job.place != Place::Settled(end) || job.is_delivered {
            return Err(format!("job {id} came out as {end:?}, not as {job:?}"));
        }
        job.is_delivered = true;
        Ok(())
    }

    /// A job that has settled goes back to work, unless its batch takes no more.
    pub(crate) fn resubmit(&mut self, id: Id) -> bool {
        let batch = self.jobs[id].batch.map(|number| &mut self.batches[number]);
        let Some(batch) = batch.filter(|batch| batch.gate == Gate::Open) else {
            return false;
        };
        batch.accepted += 1;
        self.counts.accepted += 1;
        self.jobs[id].is_delivered = false;
        self.queue(id);
        true
    }

    /// What a batch has settled and not given out.
    pub(crate) fn undelivered(&self, number: usize) -> usize {
        let is_ready = |job: &&Job| {
            job.batch == Some(number) && !job.is_delivered && matches!(job.place, Place::Settled(_))
        };
        self.jobs.iter().filter(is_ready).count()
            + self.batches[number].refused.values().sum::<usize>()
    }
}
