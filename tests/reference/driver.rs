//! Does each step with the real pool and with the model, and compares them whenever nothing moves.
//!
//! Each attempt waits to be told how to end, and no limit lies between zero and half an hour. So after each step the pool comes to
//! rest in a state that the model knows, up to what is not promised: which of several inputs a batch lets in, and when.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;
use std::vec;

use retry_pool::{
    AsCompleted, Completion, FailFast, GiveUpReason, JobHandle, PanicPolicy, Requeue, RetryBudget,
    RetryPolicy, RetryPool, TrySubmitError,
};

use crate::common::Live;
use crate::compare::{Checked, ensure};
use crate::jobs::{Failure, HOUR, Input, Report, Reports, Value};
use crate::model::{Gate, Id, Model, Place};
use crate::ops::{Index, Many, Op, Outcome, Rules, Sequence, Single, Time};
use crate::stats;

type Function = Box<dyn Fn(&Input) -> Result<Value, Failure> + Send + Sync>;
type Batch = AsCompleted<'static, vec::IntoIter<Input>, Function, Value, Failure>;

pub(crate) struct Driver {
    // First: what runs ends when the driver goes away.
    pub(crate) running: BTreeMap<Id, Sender<Outcome>>,
    pub(crate) abandoned: Vec<Sender<Outcome>>,
    pub(crate) inbox: Receiver<Report>,
    /// Came before reports on what was before.
    pub(crate) early: Vec<Report>,
    /// Is to be retried, and has not said so.
    pub(crate) undecided: Option<Id>,
    pub(crate) handles: BTreeMap<Id, JobHandle<Value, Failure>>,
    pub(crate) batches: Vec<Option<Batch>>,
    pub(crate) kept: Vec<Completion<Input, Value, Failure>>,
    pub(crate) model: Model,
    pub(crate) reports: Reports,
    pub(crate) budget: RetryBudget,
    pub(crate) pool: RetryPool,
}

impl Driver {
    pub(crate) fn new(sequence: &Sequence) -> Self {
        // More workers may be stuck than a sequence has attempts.
        let builder = RetryPool::builder()
            .threads(sequence.threads)
            .max_stuck(10_000);
        let builder = match sequence.capacity {
            Some(capacity) => builder.capacity(capacity),
            None => builder,
        };
        let (sender, inbox) = mpsc::channel();
        let live = Live::new();
        Self {
            running: BTreeMap::new(),
            abandoned: Vec::new(),
            inbox,
            early: Vec::new(),
            undecided: None,
            handles: BTreeMap::new(),
            batches: Vec::new(),
            kept: Vec::new(),
            model: Model::new(sequence.threads, sequence.capacity),
            reports: Reports { sender, live },
            budget: RetryBudget::default()
                .ratio(1.0)
                .min_per_second(0)
                .window(HOUR),
            pool: builder.build().unwrap(),
        }
    }

    pub(crate) fn run(&mut self, op: &Op) -> Checked {
        match op {
            Op::Submit(single) => self.submit(single),
            Op::Step(index) => self.step(*index),
            Op::Cancel(index) => self.cancel(*index),
            Op::CancelAll => {
                self.pool.cancel_all();
                self.model.end_all(GiveUpReason::Cancelled);
                Ok(())
            }
            Op::Batch(many) => {
                self.start_batch(many);
                Ok(())
            }
            Op::Add(index, script) => {
                if let Some(number) = self.pick_batch(*index) {
                    let id = self.model.add(number, script.clone());
                    let input = self.reports.input(id);
                    if let Some(batch) = &mut self.batches[number] {
                        batch.add(input);
                    }
                }
                Ok(())
            }
            Op::Next(index) => {
                let picked = self.pick_batch(*index);
                picked.map_or(Ok(()), |number| self.next(number).map(drop))
            }
            Op::Resubmit(index) => self.resubmit(*index),
            Op::CancelBatch(index) => {
                if let Some(number) = self.pick_batch(*index) {
                    self.batches[number].iter_mut().for_each(Batch::cancel);
                    let reason = GiveUpReason::Cancelled;
                    self.model.end_batch(number, Gate::Ended(reason));
                }
                Ok(())
            }
            Op::DropBatch(index) => {
                let picked = self.pick_batch(*index);
                if let Some(number) = picked.filter(|number| self.is_told(*number)) {
                    self.batches[number] = None;
                    self.model.end_batch(number, Gate::Dropped);
                }
                Ok(())
            }
            Op::Close => {
                self.pool.close();
                self.model.close();
                Ok(())
            }
            Op::Shutdown => stats::shutdown(self),
            Op::ShutdownNow => stats::shutdown_now(self),
        }?;
        self.come_to_rest()
    }

    fn policy(&self, rules: &Rules) -> RetryPolicy {
        let mut policy = RetryPolicy::immediate().max_attempts(rules.max_attempts);
        if rules.has_budget {
            policy = policy.budget(self.budget.clone());
        }
        if rules.retries_panics {
            policy = policy.on_panic(PanicPolicy::Retry);
        }
        if rules.goes_to_front {
            policy = policy.requeue(Requeue::Front);
        }
        if rules.is_short {
            policy = policy.max_elapsed(HOUR / 2);
        }
        policy
    }

    fn submit(&mut self, single: &Single) -> Checked {
        let (id, reports) = (self.model.jobs.len(), self.reports.clone());
        let decisions = reports.clone();
        let input = reports.input(id);
        let job = self.pool.job(move || reports.attempt(input.id));
        let job = job
            .retry(self.policy(&single.rules))
            .retry_unless(|value| value.is_accepted)
            .on_retry(move |_, _| decisions.retried(id));
        let job = match single.time {
            Time::Unlimited => job,
            Time::Delayed => job.delay(HOUR),
            Time::Over => job.timeout(Duration::ZERO),
            Time::HalfAnHour => job.timeout(HOUR / 2),
            Time::Hangs => job.attempt_timeout(Duration::ZERO),
        };
        let submitted = job.try_submit();
        let (is_closed, is_full) = (self.model.is_closed, self.model.is_full());
        match submitted {
            Ok(handle) if !is_closed && !is_full => {
                self.model.submit(single);
                self.handles.insert(id, handle);
                Ok(())
            }
            Err(TrySubmitError::Closed(_)) if is_closed => Ok(()),
            Err(TrySubmitError::Full(_)) if is_full && !is_closed => Ok(()),
            other => Err(format!("closed: {is_closed}, full: {is_full}: {other:?}")),
        }
    }

    fn start_batch(&mut self, many: &Many) {
        let ids = self.model.start_batch(many);
        let inputs: Vec<_> = ids.into_iter().map(|id| self.reports.input(id)).collect();
        let (reports, decisions) = (self.reports.clone(), self.reports.clone());
        let function: Function = Box::new(move |input| reports.attempt(input.id));
        let batch = self
            .pool
            .batch(inputs, function)
            .retry(self.policy(&many.rules))
            .retry_unless(|value: &Value| value.is_accepted)
            .on_retry(move |input, _, _| decisions.retried(input.id))
            .window(many.window);
        let rule = many.fail_fast.map(FailFast::AfterFailures);
        let batch = batch.fail_fast(rule.unwrap_or_default());
        self.batches.push(Some(batch.as_completed()));
    }

    fn pick_batch(&self, index: Index) -> Option<usize> {
        let there = |number: &usize| self.batches[*number].is_some();
        let numbers: Vec<_> = (0..self.batches.len()).filter(there).collect();
        (!numbers.is_empty()).then(|| numbers[index % numbers.len()])
    }

    /// Has what runs been told to stop, if it is to be? A batch that fails fast tells it a moment later, with that as the reason, unless
    /// it is dropped first.
    fn is_told(&self, number: usize) -> bool {
        let is_running = |id: &Id| self.model.jobs[*id].batch == Some(number);
        let fails_fast = self.model.batches[number].gate == Gate::Ended(GiveUpReason::FailFast);
        !(fails_fast && self.running.keys().any(is_running))
    }

    fn step(&mut self, index: Index) -> Checked {
        let running: Vec<_> = self.running.keys().copied().collect();
        if running.is_empty() {
            return Ok(());
        }
        self.release(running[index % running.len()])
    }

    pub(crate) fn release(&mut self, id: Id) -> Checked {
        let gate = self.running.remove(&id).ok_or("it does not run")?;
        let outcome = self.model.scripted(id);
        gate.send(outcome)
            .map_err(|_| format!("job {id} is gone"))?;
        self.model.finish(id, outcome);
        let is_retried = matches!(self.model.jobs[id].place, Place::Queued | Place::Parked);
        self.undecided = is_retried.then_some(id);
        Ok(())
    }

    fn cancel(&mut self, index: Index) -> Checked {
        let ids: Vec<_> = self.handles.keys().copied().collect();
        if ids.is_empty() {
            return Ok(());
        }
        let id = ids[index % ids.len()];
        let (real, expected) = (self.handles[&id].cancel(), self.model.cancel(id));
        ensure(real == expected, || format!("job {id}: cancel says {real}"))
    }

    fn resubmit(&mut self, index: Index) -> Checked {
        if self.kept.is_empty() {
            return Ok(());
        }
        let at = index % self.kept.len();
        let done = self.kept.swap_remove(at);
        let id = done.input().id;
        let resubmitted = done.try_resubmit();
        let expected = self.model.resubmit(id);
        let real = resubmitted.is_ok();
        self.kept.extend(resubmitted.err());
        ensure(real == expected, || {
            format!("job {id}: resubmitted: {real}")
        })
    }
}
