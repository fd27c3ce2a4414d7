//! When the iterator naps: see `rest.rs`.

use crate::clock::Nanos;

/// A nap holds completions back for about so long.
const LENGTH: Nanos = 50_000;

/// Three offers of the processor that take less than this were in vain: nobody else wanted it.
const IN_VAIN: Nanos = 10_000;

/// What is known of jobs and waits. Changed under the lane's lock.
pub(super) struct Naps {
    /// How long a job takes; 0 until that is known.
    each: Nanos,
    /// The last wait of those that were timed ended soon, and not with a nap.
    soon: bool,
    /// How many waits that could begin with a nap are left out yet, and how many were after the last nap.
    left_out: u32,
    pause: u32,
}

impl Naps {
    pub(super) fn new() -> Self {
        Self {
            each: 0,
            soon: false,
            left_out: 0,
            pause: 0,
        }
    }

    /// How long each of a worker's last jobs took. It is believed at once if it is short: one whose worker was put off its processor seems long.
    #[inline]
    pub(super) fn note_jobs(&mut self, each: Nanos) {
        self.each = each.min(2 * self.each + 100);
    }

    /// Have the workers, of which so many run at once, enough to do, and in jobs that are shorter than a nap?
    pub(super) fn have_enough(&self, queued: usize, at_once: usize) -> bool {
        self.each < LENGTH && queued as u64 * self.each / at_once as u64 >= 2 * LENGTH
    }

    /// Does the wait that comes now begin with a nap? After a nap comes a wait without, which shows whether the iterator still has a
    /// processor to itself.
    pub(super) fn begins(&mut self) -> bool {
        if !std::mem::take(&mut self.soon) {
            return false;
        }
        let begins = self.left_out == 0;
        self.left_out = self.left_out.saturating_sub(1);
        begins
    }

    /// A nap has taken so long, and so many jobs have settled meanwhile or just before. After one that is far too long, as where the system's timers are coarse,
    /// or that has brought less than a quarter of what it might, as where jobs wait for the iterator, naps become ever rarer.
    pub(super) fn note_nap(&mut self, took: Nanos, settled: usize, at_once: usize) {
        let due = took / self.each.max(1) * at_once as u64;
        let useful = took < 4 * LENGTH && 4 * settled as u64 >= due;
        self.pause = if useful {
            0
        } else {
            self.pause.saturating_mul(8).saturating_add(8)
        };
        self.left_out = self.pause;
    }

    /// The iterator has found something while it offered its processor to others for so long.
    pub(super) fn note_offers(&mut self, took: Nanos) {
        self.soon = took < IN_VAIN;
    }

    /// It has slept for so long, and was `woken` or not.
    pub(super) fn note_sleep(&mut self, took: Nanos, woken: bool) {
        self.soon = woken && took < LENGTH;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a batch of 10 µs jobs.
    fn naps() -> Naps {
        let mut naps = Naps::new();
        (0..10).for_each(|_| naps.note_jobs(10_000));
        naps
    }

    /// Which of so many waits begin with a nap, where each ends soon.
    fn begun(naps: &mut Naps, waits: usize) -> Vec<usize> {
        let begins = |_: &usize| {
            naps.note_offers(0);
            naps.begins()
        };
        (1..=waits).filter(begins).collect()
    }

    #[test]
    fn workers_have_enough_if_it_keeps_them_busy_in_short_jobs() {
        for (at_once, queued, each, enough) in [
            (1, 9, 10_000, false),
            (1, 10, 10_000, true),
            (2, 19, 10_000, false),
            (2, 20, 10_000, true),
            (1, 1_000, 0, false),
            (1, 3, LENGTH - 1, true),
            (1, 1_000, LENGTH, false),
        ] {
            let naps = Naps {
                each,
                ..Naps::new()
            };
            let case = format!("{queued} jobs of {each} ns");
            assert_eq!(naps.have_enough(queued, at_once), enough, "{case}");
        }
    }

    #[test]
    fn the_length_of_a_job_is_learnt_slowly_and_unlearnt_at_once() {
        let mut naps = Naps::new();
        let known = [500, 500, 4_000_000, 50].map(|each| {
            naps.note_jobs(each);
            naps.each
        });
        assert_eq!(known, [100, 300, 700, 50]);
    }

    #[test]
    fn a_wait_begins_with_a_nap_if_the_one_before_ended_soon_without() {
        let mut naps = naps();
        assert!(!naps.begins());
        for (took, begins) in [(IN_VAIN - 1, true), (IN_VAIN, false)] {
            naps.note_offers(took);
            assert_eq!((naps.begins(), naps.begins()), (begins, false));
        }
        for (took, woken, begins) in [
            (LENGTH - 1, true, true),
            (LENGTH, true, false),
            (0, false, false),
        ] {
            naps.note_sleep(took, woken);
            assert_eq!((naps.begins(), naps.begins()), (begins, false));
        }
    }

    #[test]
    fn naps_that_are_too_long_or_bring_little_become_ever_rarer() {
        // In 55 µs two workers can do ten jobs.
        for (took, settled, useful) in [
            (55_000, 3, true),
            (55_000, 2, false),
            // It was cut short.
            (0, 0, true),
            (4 * LENGTH - 1, 100, true),
            (4 * LENGTH, 100, false),
        ] {
            let mut naps = naps();
            naps.note_nap(took, settled, 2);
            let first = if useful { 1 } else { 9 };
            assert_eq!(
                begun(&mut naps, first),
                [first],
                "{took} ns, {settled} jobs"
            );
        }
        let mut naps = naps();
        for pause in [8, 72, 584] {
            naps.note_nap(10_000_000, 1_000, 2);
            assert_eq!(begun(&mut naps, pause + 1), [pause + 1]);
        }
        naps.note_nap(55_000, 10, 2);
        assert_eq!(begun(&mut naps, 2), [1, 2]);
        naps.pause = u32::MAX;
        naps.note_nap(0, 1, 1);
        assert_eq!(naps.pause, 0);
        naps.pause = u32::MAX;
        naps.note_nap(u64::MAX, 0, 1);
        assert_eq!(naps.left_out, u32::MAX);
    }
}
