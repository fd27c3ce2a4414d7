//! What follows from the end of a run: pure decisions, with the time as an argument.

use std::collections::VecDeque;

use super::options::{ChildExit, Restart, Settings};
use crate::clock::Nanos;
use crate::sync::Arc;

/// How a run has ended, with what only its own thread could tell.
#[derive(Debug)]
pub(super) enum Ending {
    /// The child was told to stop before its function was called.
    Skipped,
    Returned {
        exit: ChildExit,
        run: Span,
    },
    Failed {
        error: Arc<str>,
        run: Span,
    },
}

impl Ending {
    /// `None` if the child was not called.
    pub(super) fn run(&self) -> Option<Span> {
        match self {
            Self::Skipped => None,
            Self::Returned { run, .. } | Self::Failed { run, .. } => Some(*run),
        }
    }
}

/// How long a run took, and the delay that the policy has after it; `None` to give up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) uptime: Nanos,
    pub(super) delay: Option<Nanos>,
}

/// What becomes of a child after a run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Complete,
    CompleteGroup,
    GiveUp,
    /// Restart it after this delay.
    Restart(Nanos),
}

/// What is remembered of earlier ends, to count.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Restarts without a stable run between.
    consecutive: u32,
    /// How long the child has run, all told: the clock of `recent`.
    ran: Nanos,
    /// When it was restarted. Invariant: no more than `max_restarts`.
    recent: VecDeque<Nanos>,
}

/// The number in a row, from 1, of an end after `uptime`, when there were `before`.
pub(super) fn in_a_row(before: u32, uptime: Nanos, stable_after: Nanos) -> u32 {
    if uptime >= stable_after {
        1
    } else {
        before.saturating_add(1)
    }
}

impl Record {
    pub(super) fn consecutive(&self) -> u32 {
        self.consecutive
    }

    /// Notes a run that was told to stop: its end is not judged, but it has lasted.
    pub(super) fn note(&mut self, settings: &Settings, ending: &Ending) {
        let uptime = ending.run().map_or(0, |run| run.uptime);
        self.ran = self.ran.saturating_add(uptime);
        if uptime >= settings.stable_after {
            self.consecutive = 0;
        }
    }

    /// Judges the end of a run that was not told to stop.
    pub(super) fn judge(&mut self, settings: &Settings, ending: &Ending) -> Fate {
        let run = match ending {
            Ending::Skipped => return Fate::Restart(0),
            Ending::Returned { exit, run } => match (exit, settings.restart) {
                (ChildExit::StopGroup, _) => return Fate::CompleteGroup,
                (ChildExit::Normal, Restart::Permanent) => run,
                _ => return Fate::Complete,
            },
            Ending::Failed { run, .. } if settings.restart != Restart::Temporary => run,
            Ending::Failed { .. } => return Fate::GiveUp,
        };
        let within_limits = self.count(settings, run.uptime);
        match run.delay.filter(|_| within_limits) {
            Some(delay) => Fate::Restart(delay),
            None => Fate::GiveUp,
        }
    }

    /// Counts a restart after a run of this length. False if it is one too many.
    fn count(&mut self, settings: &Settings, uptime: Nanos) -> bool {
        self.ran = self.ran.saturating_add(uptime);
        self.consecutive = in_a_row(self.consecutive, uptime, settings.stable_after);
        if settings
            .max_consecutive
            .is_some_and(|max| self.consecutive > max)
        {
            return false;
        }
        let Some((max, within)) = settings.max_restarts else {
            return true;
        };
        while self.recent.front().is_some_and(|at| self.ran - at > within) {
            self.recent.pop_front();
        }
        let allowed = self.recent.len() < usize::try_from(max).unwrap_or(usize::MAX);
        if allowed {
            self.recent.push_back(self.ran);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::options::ChildOptions;
    use super::*;

    const SEC: Nanos = 1_000_000_000;

    fn settings(options: &ChildOptions) -> Settings {
        options.check("x").unwrap().0
    }

    fn failed(uptime: Nanos) -> Ending {
        let run = Span {
            uptime,
            delay: Some(7),
        };
        Ending::Failed {
            error: "x".into(),
            run,
        }
    }

    fn returned(exit: ChildExit) -> Ending {
        let run = Span {
            uptime: 0,
            delay: Some(7),
        };
        Ending::Returned { exit, run }
    }

    /// How many failures, `uptime` apart, are followed by a restart, up to 1 000.
    fn restarts(options: &ChildOptions, uptime: Nanos) -> usize {
        let (settings, mut record) = (settings(options), Record::default());
        let fates = (0..1_000).map(|_| record.judge(&settings, &failed(uptime)));
        fates.take_while(|fate| *fate == Fate::Restart(7)).count()
    }

    #[test]
    fn the_kind_of_end_and_the_kind_of_child_decide() {
        use Restart::{Permanent, Temporary, Transient};
        let fate = |restart, ending: &Ending| {
            Record::default().judge(&settings(&ChildOptions::new().restart(restart)), ending)
        };
        for restart in [Permanent, Transient, Temporary] {
            let normal = match restart {
                Permanent => Fate::Restart(7),
                _ => Fate::Complete,
            };
            let failure = match restart {
                Temporary => Fate::GiveUp,
                _ => Fate::Restart(7),
            };
            assert_eq!(fate(restart, &returned(ChildExit::Normal)), normal);
            assert_eq!(fate(restart, &failed(0)), failure);
            let done = fate(restart, &returned(ChildExit::DoNotRestart));
            assert_eq!(done, Fate::Complete);
            let group = fate(restart, &returned(ChildExit::StopGroup));
            assert_eq!(group, Fate::CompleteGroup);
        }
    }

    #[test]
    fn a_failure_that_has_no_delay_is_the_last() {
        let run = Span {
            uptime: 0,
            delay: None,
        };
        let permanent = Ending::Failed {
            error: "x".into(),
            run,
        };
        let settings = settings(&ChildOptions::new().restart(Restart::Permanent));
        assert_eq!(Record::default().judge(&settings, &permanent), Fate::GiveUp);
    }

    #[test]
    fn n_restarts_are_allowed_and_the_next_failure_gives_up() {
        let within = Duration::from_secs(10);
        for n in [0, 1, 5, 100] {
            let limit = n as usize;
            assert_eq!(restarts(&ChildOptions::new().max_consecutive(n), 0), limit);
            assert_eq!(
                restarts(&ChildOptions::new().max_restarts(n, within), 0),
                limit
            );
        }
        assert_eq!(restarts(&ChildOptions::new(), 0), 1_000);
    }

    #[test]
    fn a_stable_run_ends_the_row() {
        let options = ChildOptions::new().max_consecutive(3);
        assert_eq!(restarts(&options, 30 * SEC - 1), 3);
        assert_eq!(restarts(&options, 30 * SEC), 1_000);
        assert_eq!([in_a_row(4, 9, 10), in_a_row(4, 10, 10)], [5, 1]);
        assert_eq!(in_a_row(u32::MAX, 0, 10), u32::MAX);
        // Also one that is not judged, since it was told to stop.
        let (settings, mut record) = (settings(&options), Record::default());
        record.judge(&settings, &failed(0));
        record.note(&settings, &failed(30 * SEC - 1));
        assert_eq!(record.consecutive(), 1);
        record.note(&settings, &failed(30 * SEC));
        assert_eq!(record.consecutive(), 0);
    }

    #[test]
    fn the_window_slides_by_the_time_that_the_child_runs() {
        let options = ChildOptions::new().max_restarts(5, Duration::from_secs(10));
        // Five intervals of 2 s are within 10 s; of more, not.
        assert_eq!(restarts(&options, 2 * SEC), 5);
        assert_eq!(restarts(&options, 2 * SEC + 1), 1_000);
    }

    #[test]
    fn the_window_keeps_no_more_than_its_limit() {
        let settings = settings(&ChildOptions::new().max_restarts(4, Duration::MAX));
        let mut record = Record::default();
        for _ in 0..100 {
            record.judge(&settings, &failed(Nanos::MAX));
        }
        assert_eq!(record.recent.len(), 4);
    }
}
