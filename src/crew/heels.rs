//! When a worker that runs out of work does better to let some gather before it looks again.
//!
//! Who submits tiny jobs one after the other has a worker on their heels: it takes each job as it comes, then searches, and the two fight
//! for the memory of the channel at every job, which makes both slow. A worker that keeps away for a moment finds many at once.
//!
//! It does so after each run of tiny jobs that had gathered, and now and then elsewhere, to find out. Where few jobs
//! gather, such as those of a caller who waits for each, or for a few together, it tries ever less often; so it does where the jobs turn
//! out to be longer, since then they are worth another worker. How long it keeps away is up to [`gather`](crate::sync::gather), which looks
//! whether more comes all the time. A pool with a capacity is left alone: there, who submits would run into the limit meanwhile.

use crate::clock::Nanos;

/// What one worker knows of that.
pub(super) struct Heels {
    /// What it has found since it last searched.
    run: u64,
    /// When many had gathered, if nothing was searched for since.
    since: Option<Nanos>,
    /// How often it has searched since it last let work gather, and how often it is to.
    searches: u32,
    wait: u32,
}

/// So much is many: more than what is often submitted together and waited for together.
const MANY: usize = 64;
/// In a row of searches that find little each takes about 1 µs. So does most often a try in vain; it may be 25.
const MAX_WAIT: u32 = 64;
/// What takes longer is not tiny.
const TINY: Nanos = 1_000;

impl Heels {
    pub(super) fn new() -> Self {
        Self {
            run: 0,
            since: None,
            searches: 0,
            wait: 1,
        }
    }

    /// The worker has found work without a search.
    pub(super) fn note_found(&mut self) {
        self.run = self.run.saturating_add(1);
    }

    /// The worker has run out of work: is it to let some gather?
    pub(super) fn keeps_away(&mut self, now: impl FnOnce() -> Nanos) -> bool {
        let run = std::mem::take(&mut self.run).saturating_add(1);
        if let Some(since) = self.since.take() {
            if now().saturating_sub(since) / run > TINY {
                self.note_in_vain();
                return false;
            }
            self.wait = 1;
        }
        self.searches += 1;
        self.searches >= self.wait
    }

    /// So much has gathered by now.
    pub(super) fn note_gathered(&mut self, gathered: usize, now: impl FnOnce() -> Nanos) {
        if gathered >= MANY {
            self.searches = 0;
            self.since = Some(now());
        } else {
            self.note_in_vain();
        }
    }

    fn note_in_vain(&mut self) {
        (self.searches, self.wait) = (0, (2 * self.wait).min(MAX_WAIT));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many searches let work gather, of which there is so much, and of which each takes so long.
    fn tries(heels: &mut Heels, searches: usize, gathered: usize, each: Nanos) -> usize {
        let tried = |_: &usize| {
            let keeps_away = heels.keeps_away(|| gathered as Nanos * each);
            if keeps_away {
                heels.note_gathered(gathered, || 0);
                (1..gathered).for_each(|_| heels.note_found());
            }
            keeps_away
        };
        (0..searches).filter(tried).count()
    }

    #[test]
    fn where_much_gathers_each_search_waits_for_it() {
        assert_eq!(tries(&mut Heels::new(), 1_000, MANY, TINY), 1_000);
    }

    #[test]
    fn where_little_gathers_it_is_tried_ever_less_often() {
        let mut heels = Heels::new();
        // After 1 + 2 + 4 + ... + 32 searches, then each 64th.
        assert_eq!(tries(&mut heels, 63, MANY - 1, 0), 6);
        assert_eq!(tries(&mut heels, 640, 0, 0), 10);
        // One try that pays brings it back.
        assert_eq!(tries(&mut heels, 64, MANY, 0), 1);
        assert_eq!(tries(&mut heels, 100, MANY, 0), 100);
    }

    #[test]
    fn where_jobs_are_not_tiny_it_is_tried_ever_less_often() {
        let mut heels = Heels::new();
        // After each try, one search that finds the jobs long, and 2, 4, ... 64 more.
        assert_eq!(tries(&mut heels, 68, MANY, 2 * TINY), 6);
        assert_eq!(tries(&mut heels, 650, MANY, 2 * TINY), 10);
        // The last of them was a try, and finds the jobs tiny.
        assert_eq!(tries(&mut heels, 100, MANY, TINY), 100);
    }
}
