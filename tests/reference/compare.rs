//! Looks at the pool whenever nothing moves, and compares it with the model.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use retry_pool::JobState;

use crate::driver::Driver;
use crate::jobs::{self, Begun, Report};
use crate::model::{Gate, Place};
use crate::ops::{Op, Time};
use crate::stats;

pub(crate) type Checked = Result<(), String>;

pub(crate) fn ensure(is_so: bool, text: impl FnOnce() -> String) -> Checked {
    if is_so { Ok(()) } else { Err(text()) }
}

/// Once a sequence has failed, shorter ones are looked for, and those that hang shall not take long.
static HAS_FAILED: AtomicBool = AtomicBool::new(false);

pub(crate) fn note_failure(text: &str) {
    if !HAS_FAILED.swap(true, Ordering::Relaxed) {
        println!("{text}\n(looking for a shorter sequence that fails)");
    }
}

fn patience() -> Duration {
    match HAS_FAILED.load(Ordering::Relaxed) {
        false => Duration::from_secs(20),
        true => Duration::from_millis(300),
    }
}

/// Looks until there is something: the pool has only microseconds' work to do.
fn comes_about<V>(mut look: impl FnMut() -> Option<V>) -> Option<V> {
    let begun = Instant::now();
    let mut looks = 0;
    loop {
        let found = look();
        if found.is_some() || begun.elapsed() > patience() {
            return found;
        }
        looks += 1;
        if looks < 10_000 {
            thread::yield_now();
        } else {
            // It has failed, or the machine is busy.
            thread::sleep(Duration::from_micros(100));
        }
    }
}

fn becomes_so(mut is_so: impl FnMut() -> bool) -> bool {
    comes_about(|| is_so().then_some(())).is_some()
}

impl Driver {
    /// Asks a batch for its next job. True if the iteration has ended.
    pub(crate) fn next(&mut self, number: usize) -> Result<bool, String> {
        let ready = self.model.undelivered(number);
        // What has settled is there; where nothing has, the batch may let some in, and refuses the rest if it has ended.
        let time = if ready > 0 {
            patience()
        } else {
            Duration::ZERO
        };
        let Some(batch) = &mut self.batches[number] else {
            return Ok(true);
        };
        let next = batch.next_timeout(time);
        let progress = batch.progress();
        self.model.note_accepted(number, progress.accepted())?;
        let model = &mut self.model;
        let left = progress.accepted() - model.batches[number].delivered;
        let is_end = match next {
            Ok(Some(done)) => {
                let id = done.input().id;
                let end = jobs::end(id, done.attempts(), done.result())?;
                model.deliver(number, id, end)?;
                self.kept.push(done);
                return Ok(false);
            }
            Ok(None) => true,
            Err(timed_out) => {
                let unfinished = timed_out.unfinished as u64;
                ensure(unfinished == left, || {
                    format!("{timed_out:?}, left: {left}")
                })?;
                false
            }
        };
        let inputs = model.ids(|job| job.batch == Some(number) && job.place == Place::Input);
        let more = left > 0 || (!inputs.is_empty() && model.batches[number].gate == Gate::Open);
        ensure(ready == 0 && is_end != more, || {
            format!("batch {number}: {ready} ready, end {is_end}, left {left}, inputs {inputs:?}")
        })?;
        Ok(is_end)
    }

    /// Waits until the pool has done what it can without being told, and compares.
    pub(crate) fn come_to_rest(&mut self) -> Checked {
        for (number, batch) in self.batches.iter().enumerate() {
            if let Some(batch) = batch {
                self.model
                    .note_accepted(number, batch.progress().accepted())?;
            }
        }
        self.await_reports()?;
        self.compare_results()?;
        self.compare_states()?;
        self.compare_figures()?;
        // Those that were abandoned may go now.
        self.abandoned.clear();
        Ok(())
    }

    /// Hears of what begins and of what is decided, until there is nothing that could be.
    fn await_reports(&mut self) -> Checked {
        loop {
            while let Ok(report) = self.inbox.try_recv() {
                self.note(report)?;
            }
            if !self.model.can_go_on() && !self.awaits_reports() {
                return Ok(());
            }
            let moved = comes_about(|| match self.inbox.try_recv() {
                Ok(report) => Some(self.note(report)),
                Err(_) => self.note_given_up(),
            });
            moved.unwrap_or_else(|| Err("nothing begins where something should".into()))?;
        }
    }

    fn compare_results(&mut self) -> Checked {
        for id in self.model.ids(|job| matches!(job.place, Place::Settled(_))) {
            let Some(handle) = self.handles.remove(&id) else {
                continue;
            };
            becomes_so(|| handle.is_settled());
            let expected = self.model.jobs[id].place;
            let attempts = self.model.jobs[id].attempts;
            let real = match handle.wait_timeout(patience()) {
                Ok(result) => jobs::end(id, attempts, result.as_ref())?,
                Err(handle) => {
                    let state = handle.state();
                    return Err(format!("job {id} is {state:?}, not {expected:?}"));
                }
            };
            ensure(expected == Place::Settled(real), || {
                format!("job {id} has ended as {real:?}, not {expected:?}")
            })?;
        }
        Ok(())
    }

    fn compare_states(&self) -> Checked {
        for (id, handle) in &self.handles {
            let job = &self.model.jobs[*id];
            let state = match job.place {
                Place::Parked => JobState::Parked,
                Place::Running => JobState::Running,
                _ => JobState::Queued,
            };
            let expected = (state, job.attempts);
            let real = || (handle.state(), handle.attempts());
            ensure(becomes_so(|| real() == expected), || {
                format!("job {id} is {:?}, not {expected:?}", real())
            })?;
        }
        Ok(())
    }

    fn compare_figures(&self) -> Checked {
        // While others run, a batch's successes may be counted only when it is looked at.
        let counts = || {
            for batch in self.batches.iter().flatten() {
                let _ = batch.progress();
            }
            stats::counts(&self.pool)
        };
        let expected = self.model.counts;
        ensure(becomes_so(|| counts() == expected), || {
            let begun = self.inbox.try_iter().filter_map(|report| match report {
                Report::Begun(begun) => Some((begun.id, begun.attempt)),
                Report::Retried(_) => None,
            });
            let (real, begun) = (counts(), begun.collect::<Vec<_>>());
            format!("the pool has counted {real:?}, not {expected:?}; begun: {begun:?}")
        })?;
        let expected = self.model.budget;
        ensure(becomes_so(|| self.budget.available() == expected), || {
            let real = self.budget.available();
            format!("{real} retries are paid for, not {expected}")
        })
    }

    fn note(&mut self, report: Report) -> Checked {
        // An attempt may be abandoned before it reports, so that the decision or the next one reports first.
        let mut early = vec![report];
        early.append(&mut self.early);
        while let Some(at) = early.iter().position(|report| !self.is_early(report)) {
            match early.swap_remove(at) {
                Report::Begun(begun) => self.begin(begun)?,
                Report::Retried(id) if self.undecided == Some(id) => self.undecided = None,
                Report::Retried(id) => self.model.judge_expired(id, false)?,
            }
        }
        self.early = early;
        Ok(())
    }

    fn is_early(&self, report: &Report) -> bool {
        match report {
            Report::Retried(id) => self.undecided != Some(*id) && !self.model.jobs[*id].is_expired,
            Report::Begun(begun) => {
                let job = &self.model.jobs[begun.id];
                job.time == Time::Hangs && (begun.attempt > job.attempts + 1 || job.is_expired)
            }
        }
    }

    fn begin(&mut self, begun: Begun) -> Checked {
        let Begun {
            id,
            attempt,
            is_last,
            gate,
        } = begun;
        self.model.begin(id, attempt, is_last)?;
        match self.model.jobs[id].place {
            Place::Running => drop(self.running.insert(id, gate)),
            _ => self.abandoned.push(gate),
        }
        Ok(())
    }

    /// Is something being decided? Or has an attempt begun, and was abandoned, before it could report?
    fn awaits_reports(&self) -> bool {
        if self.undecided.is_some() {
            return true;
        }
        let mut handles = self.handles.iter();
        handles.any(|(id, handle)| handle.attempts() > self.model.jobs[*id].attempts)
    }

    /// Looks for a job that was given up because its last attempt was abandoned.
    fn note_given_up(&mut self) -> Option<Checked> {
        let expired = self.model.ids(|job| job.is_expired);
        // The reports of its attempts may be on their way.
        let is_settled = |id: &usize| {
            let (handle, job) = (&self.handles[id], &self.model.jobs[*id]);
            handle.is_settled() && handle.attempts() == job.attempts
        };
        let id = expired.into_iter().find(is_settled)?;
        Some(self.model.judge_expired(id, true))
    }

    /// Lets everything end, and sees that nothing is left over.
    pub(crate) fn finish(mut self) -> Checked {
        self.run(&Op::CancelAll)?;
        while let Some(id) = self.running.keys().next().copied() {
            self.release(id)?;
            self.come_to_rest()?;
        }
        for number in 0..self.batches.len() {
            while self.batches[number].is_some() && !self.next(number)? {}
        }
        self.run(&Op::Shutdown)?;
        let Self {
            model,
            reports,
            pool,
            kept,
            batches,
            ..
        } = self;
        let unsettled = model.unsettled();
        ensure(unsettled == 0 && model.is_stopped, || {
            format!("{unsettled} are left")
        })?;
        drop((pool, kept, batches));
        let live = reports.live;
        ensure(becomes_so(|| live.others() == 0), || {
            format!("{} values are alive", live.others())
        })
    }
}
