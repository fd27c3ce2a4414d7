//! What can be seen of a child, and of the end of a supervisor.

use std::collections::VecDeque;
use std::fmt::{self, Write};
use std::time::{Duration, Instant, SystemTime};

use crate::sync::Arc;

/// The longest text of an error that is kept.
const TEXT_BYTES: usize = 1_024;

/// What a child does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChildState {
    /// It is about to run: its thread is being started.
    Starting,
    /// It runs.
    Running,
    /// It has ended and will be started again.
    Backoff {
        /// When.
        due: Instant,
    },
    /// It was told to stop and has not ended. As long as that takes, no other run of it begins.
    Stopping,
    /// It was told to stop, and does not run.
    Stopped,
    /// It has ended in good order, and is not restarted.
    Completed,
    /// It has failed, and is not restarted any more.
    GaveUp,
}

impl ChildState {
    /// Does nothing follow by itself? True for `Stopped`, `Completed` and `GaveUp`.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Stopped | Self::Completed | Self::GaveUp)
    }
}

impl fmt::Display for ChildState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Backoff { .. } => "backoff",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Completed => "completed",
            Self::GaveUp => "gave up",
        })
    }
}

/// What a supervisor knows of a child: a snapshot.
#[derive(Debug, Clone)]
pub struct ChildStatus {
    pub(super) name: Arc<str>,
    pub(super) state: ChildState,
    pub(super) starts: u64,
    pub(super) uptime: Duration,
    pub(super) errors: Vec<ChildError>,
}

impl ChildStatus {
    /// The name of the child.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it does.
    #[must_use]
    pub fn state(&self) -> ChildState {
        self.state
    }

    /// How often it has been started.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.starts
    }

    /// The starts after the first one, whatever they were for.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.starts.saturating_sub(1)
    }

    /// How long the current run has lasted; zero if the child does not run.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.uptime
    }

    /// The text of the last error, cut to 1 KiB. A panic is one, too.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.errors.last().map(ChildError::text)
    }

    /// The last errors, oldest first: at most as many as [`errors_kept`](crate::ChildOptions::errors_kept) says. What a child returns
    /// after it was told to stop is not kept.
    #[must_use]
    pub fn errors(&self) -> &[ChildError] {
        &self.errors
    }
}

/// One error of a child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildError {
    text: Arc<str>,
    at: SystemTime,
    start: u64,
}

impl ChildError {
    /// The text, cut to 1 KiB.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// When it was noted.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// Which run it ended: the first one is 1.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.start
    }
}

/// The last errors of a child.
#[derive(Debug, Default)]
pub(super) struct History {
    errors: VecDeque<ChildError>,
}

impl History {
    /// Keeps an error, and the last `kept` of all.
    pub(super) fn note(&mut self, text: Arc<str>, start: u64, kept: usize) {
        while self.errors.len() >= kept {
            self.errors.pop_front();
        }
        let at = SystemTime::now();
        self.errors.push_back(ChildError { text, at, start });
    }

    pub(super) fn last(&self) -> Option<Arc<str>> {
        self.errors.back().map(|error| Arc::clone(&error.text))
    }

    pub(super) fn to_vec(&self) -> Vec<ChildError> {
        self.errors.iter().cloned().collect()
    }
}

/// The text of an error, cut. Calls the user's code.
pub(super) fn text_of(error: &dyn fmt::Display) -> Arc<str> {
    let mut text = Cut(String::new());
    // It fails where the text is cut, and where the error itself does; what was written is what there is.
    let _ = write!(text, "{error}");
    text.0.into()
}

/// Takes a text up to its greatest length.
struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = TEXT_BYTES - self.0.len();
        let part = text.floor_char_boundary(room);
        self.0.push_str(&text[..part]);
        if part < text.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

/// What a shutdown has come to.
#[derive(Debug, Clone)]
pub struct SupervisorReport {
    pub(super) still_running: Vec<String>,
    pub(super) children: Vec<ChildStatus>,
    pub(super) escalated_by: Option<String>,
    pub(super) elapsed: Duration,
}

impl SupervisorReport {
    /// The names of the children that still run: they ignore that they were told to stop, and are left to themselves. Each is started
    /// no more.
    #[must_use]
    pub fn still_running(&self) -> &[String] {
        &self.still_running
    }

    /// Every child, in start order.
    #[must_use]
    pub fn children(&self) -> &[ChildStatus] {
        &self.children
    }

    /// The child whose giving up has made the supervisor fail, by [`OnGiveUp::Escalate`](crate::OnGiveUp::Escalate).
    #[must_use]
    pub fn escalated_by(&self) -> Option<&str> {
        self.escalated_by.as_deref()
    }

    /// How long the shutdown took.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Endless;
    impl fmt::Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            loop {
                f.write_str("äöü")?;
            }
        }
    }

    #[test]
    fn the_text_of_an_error_is_bounded() {
        let text = text_of(&Endless);
        assert!((TEXT_BYTES - 1..=TEXT_BYTES).contains(&text.len()));
        assert_eq!(&*text_of(&"short"), "short");
    }

    #[test]
    fn a_state_has_a_name_and_an_end() {
        let due = Instant::now();
        let states = [
            (ChildState::Starting, "starting", false),
            (ChildState::Running, "running", false),
            (ChildState::Backoff { due }, "backoff", false),
            (ChildState::Stopping, "stopping", false),
            (ChildState::Stopped, "stopped", true),
            (ChildState::Completed, "completed", true),
            (ChildState::GaveUp, "gave up", true),
        ];
        for (state, name, terminal) in states {
            assert_eq!((&*state.to_string(), state.is_terminal()), (name, terminal));
        }
        assert_eq!(format!("{:>8}", ChildState::Running), " running");
    }

    #[test]
    fn no_more_errors_are_kept_than_asked_for() {
        let mut history = History::default();
        for start in 1..=100 {
            history.note("x".into(), start, 3);
        }
        let kept: Vec<u64> = history.to_vec().iter().map(ChildError::start).collect();
        assert_eq!(kept, [98, 99, 100]);
    }
}
