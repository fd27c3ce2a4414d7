//! What holds of a pool that nobody uses any more, checked in debug builds: every job is accounted for, and everything was given back.

#[cfg(debug_assertions)]
impl Drop for super::Crew<'_> {
    fn drop(&mut self) {
        // A second panic would abort the process.
        if crate::sync::thread::panicking() {
            return;
        }
        let stats = self.stats();
        assert_eq!(stats.unsettled(), 0, "jobs were lost: {stats:?}");
        assert!(self.queue.is_empty(), "work was left in the queue");
        self.roster.assert_at_rest();
    }
}
