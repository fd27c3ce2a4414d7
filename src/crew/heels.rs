//! When a worker that runs out of work does better to let some gather before it looks again.
//!
//! Who submits tiny jobs one after the other has a worker on their heels: it takes each job as it comes, then searches, and the two fight
//! for the memory of the channel at every job, which makes both slow. A worker that keeps away for a moment finds many at once.
//!
//! It does so where it has run many jobs in a row and then finds none, and now and then elsewhere, to find out. Where few jobs
//! gather, such as those of a caller who waits for each, or for a few together, it tries ever less often. How long it keeps away is up to
//! [`gather`](crate::sync::gather), which looks whether more comes all the time. Long jobs are not concerned: where they come so fast
//! that they gather, no worker runs out of work.

/// What one worker knows of that.
pub(super) struct Heels {
    /// What it has found since it last searched.
    run: usize,
    /// How often it has searched since it last let work gather, and how often it is to.
    searches: u32,
    wait: u32,
}

/// So much is many: more than what is often submitted together and waited for together.
const MANY: usize = 64;
/// In a row of searches that find little, each takes about 1 µs, and a try in vain no more.
const MAX_WAIT: u32 = 256;

impl Heels {
    pub(super) fn new() -> Self {
        Self {
            run: 0,
            searches: 0,
            wait: 1,
        }
    }

    /// The worker has found work without a search.
    pub(super) fn note_found(&mut self) {
        self.run += 1;
    }

    /// The worker has run out of work: is it to let some gather?
    pub(super) fn keeps_away(&mut self) -> bool {
        self.searches += 1;
        std::mem::take(&mut self.run) >= MANY || self.searches >= self.wait
    }

    /// So much has gathered.
    pub(super) fn note_gathered(&mut self, gathered: usize) {
        self.searches = 0;
        self.wait = if gathered >= MANY {
            1
        } else {
            (2 * self.wait).min(MAX_WAIT)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of so many searches let work gather, of which there is so much.
    fn tries(heels: &mut Heels, searches: usize, run: usize, gathered: usize) -> usize {
        let tried = |_: &usize| {
            (0..run).for_each(|_| heels.note_found());
            let keeps_away = heels.keeps_away();
            if keeps_away {
                heels.note_gathered(gathered);
            }
            keeps_away
        };
        (0..searches).filter(tried).count()
    }

    #[test]
    fn where_much_gathers_each_search_waits_for_it() {
        let mut heels = Heels::new();
        assert_eq!(tries(&mut heels, 1_000, 4, MANY), 1_000);
    }

    #[test]
    fn where_little_gathers_it_is_tried_ever_less_often() {
        let mut heels = Heels::new();
        // After 1 + 2 + 4 + ... + 128 searches, then each 256th.
        assert_eq!(tries(&mut heels, 255, 4, MANY - 1), 8);
        assert_eq!(tries(&mut heels, 2_560, 4, 0), 10);
        // One try that pays brings it back.
        assert_eq!(tries(&mut heels, 256, 4, MANY), 1);
        assert_eq!(tries(&mut heels, 100, 4, MANY), 100);
    }

    #[test]
    fn after_a_long_run_it_is_tried_at_once() {
        let mut heels = Heels::new();
        tries(&mut heels, 1_000, 0, 0);
        assert_eq!(tries(&mut heels, 10, MANY - 1, 0), 0);
        assert_eq!(tries(&mut heels, 10, MANY, 0), 10);
    }
}
