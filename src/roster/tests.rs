use super::*;
use crate::unwind;

/// A pool whose threads are only noted, or refused.
fn roster(
    threads: usize,
    max_stuck: usize,
    grants: bool,
) -> (Arc<Roster>, Arc<Mutex<Vec<Arc<Post>>>>) {
    let roster = Arc::new(Roster::new(threads, max_stuck, Permits::new(None)));
    let begun = Arc::<Mutex<Vec<Arc<Post>>>>::default();
    let noted = Arc::clone(&begun);
    roster.set_recruiter(Arc::new(move |post| {
        if !grants {
            return Err(io::Error::other("no more"));
        }
        noted.lock().push(post);
        Ok(())
    }));
    (roster, begun)
}

fn add_sleepers(roster: &Arc<Roster>, sleepers: u64) {
    for number in 0..sleepers {
        let post = Post::new(roster, number as usize, Role::Regular);
        roster.lock().sleepers.push(Arc::new(post));
    }
    roster.hints.fetch_add(sleepers, Ordering::SeqCst);
}

fn sleepers(roster: &Roster) -> usize {
    roster.lock().sleepers.len()
}

#[test]
fn a_push_wakes_a_sleeper_only_if_nobody_searches() {
    let (roster, _) = roster(3, 0, true);
    add_sleepers(&roster, 2);
    roster.begin_search();
    roster.wake_for_work();
    assert_eq!(sleepers(&roster), 2);
    roster.end_search(|| false);
    roster.wake_for_work();
    assert_eq!(sleepers(&roster), 1);
}

#[test]
fn the_last_searcher_wakes_another_if_there_is_more_work() {
    let (roster, _) = roster(4, 0, true);
    add_sleepers(&roster, 2);
    roster.begin_search();
    assert_eq!(roster.begin_search(), 1);
    roster.end_search(|| true);
    assert_eq!(sleepers(&roster), 2, "the other one still searches");
    roster.end_search(|| false);
    assert_eq!(sleepers(&roster), 2, "there is no more work");
    roster.begin_search();
    roster.end_search(|| true);
    assert_eq!(sleepers(&roster), 1);
}

#[test]
fn a_thread_that_was_refused_leaves_no_trace() {
    let (roster, _) = roster(1, 0, false);
    assert!(roster.recruit(Role::Regular).is_err());
    assert!(!roster.recruit_errand());
    let state = roster.lock();
    assert_eq!((state.available, state.alive, state.starting), (0, 0, 0));
    assert!(!state.errand && state.posts.iter().all(Option::is_none));
}

#[test]
fn a_spare_that_is_one_too_many_leaves_unless_there_is_work() {
    let (roster, _) = roster(1, 0, true);
    roster.lock().available = 2;
    let spare = Arc::new(Post::new(&roster, 1, Role::Spare));
    roster.begin_search();
    assert_eq!(roster.rest(&spare, || true), Rest::Woken);
    assert_eq!(roster.lock().available, 2);
    assert_eq!(roster.rest(&spare, || false), Rest::Leave);
    assert_eq!(roster.lock().available, 1);
    assert_eq!(roster.hints.load(Ordering::SeqCst), 0);
}

#[test]
fn a_stuck_worker_that_nobody_replaced_works_on_when_it_comes_back() {
    // Refused by `max_stuck`, or by the system.
    for max_stuck in [0, 1] {
        let (roster, _) = roster(1, max_stuck, false);
        roster.lock().available = 1;
        let post = Arc::new(Post::new(&roster, 0, Role::Regular));
        let stuck = roster.mark_stuck(Arc::clone(&post), CancelToken::new());
        assert_eq!(
            (stuck.wanted, roster.replace(&stuck)),
            (max_stuck == 1, false)
        );
        assert!(post.is_stuck() && roster.comes_back(&post) && !post.is_stuck());
        let state = roster.lock();
        assert_eq!((state.available, state.stuck, state.vacant), (1, 0, 0));
    }
}

#[test]
fn a_stuck_worker_is_replaced_only_where_one_is_missing() {
    for (available, stopped, wanted) in [(1, false, true), (2, false, false), (1, true, false)] {
        let (roster, begun) = roster(1, 1, true);
        roster.lock().available = available;
        roster.lock().stopped = stopped;
        let post = Arc::new(Post::new(&roster, 0, Role::Regular));
        let stuck = roster.mark_stuck(Arc::clone(&post), CancelToken::new());
        assert_eq!(roster.replace(&stuck), wanted);
        assert_eq!(begun.lock().len(), usize::from(wanted));
        assert!(
            !roster.comes_back(&post),
            "it is one too many, or not needed"
        );
        assert_eq!(roster.lock().stuck, 0);
    }
}

#[test]
fn only_threads_that_have_begun_keep_the_timer() {
    let (roster, _) = roster(2, 0, true);
    roster.count_timer(true);
    for _ in 0..2 {
        roster.recruit(Role::Regular).unwrap();
    }
    assert!(roster.is_deserted());
    roster.has_started();
    assert!(!roster.is_deserted());
}

#[test]
fn there_is_one_errand_at_a_time_until_its_worker_ends_it() {
    let (roster, begun) = roster(1, 0, true);
    let regular = Post::new(&roster, 9, Role::Regular);
    assert!(roster.recruit_errand() && roster.recruit_errand());
    assert_eq!(begun.lock().len(), 1);
    roster.end_errand(&regular);
    assert!(
        roster.lock().errand,
        "it is not the errand of a regular worker"
    );

    let first = begun.lock()[0].clone();
    roster.end_errand(&first);
    assert!(!roster.lock().errand);
    assert!(roster.recruit_errand());
    roster.end_errand(&first);
    assert!(roster.lock().errand, "this is the errand of the second");
    roster.dismiss(&first, true);
    assert!(roster.lock().errand);

    let second = begun.lock()[1].clone();
    roster.dismiss(&second, true);
    assert!(!roster.lock().errand, "who ends has ended its errand");
}

#[test]
fn who_waits_for_other_jobs_panics_where_no_spare_is_to_be_had() {
    let (roster, _) = roster(1, 0, false);
    roster.lock().available = 1;
    Arc::new(Post::new(&roster, 0, Role::Regular)).take();
    let waited = unwind::catch(|| blocking(|| ()));
    assert!(waited.is_err());
    assert_eq!(roster.lock().available, 1);
    // Who waits for an end waits all the same.
    blocking_for_the_end(|| assert_eq!(roster.lock().available, 0));
    assert_eq!(roster.lock().available, 1);
    // A pool that has stopped needs none.
    roster.stop();
    blocking(|| assert_eq!(roster.lock().available, 0));
    assert_eq!(roster.lock().available, 1);
    Post::leave();
}

#[test]
fn a_worker_that_died_is_replaced_unless_the_pool_has_stopped() {
    for stopped in [false, true] {
        let (roster, begun) = roster(1, 0, true);
        roster.recruit(Role::Regular).unwrap();
        roster.lock().stopped = stopped;
        let died = begun.lock()[0].clone();
        roster.dismiss(&died, false);
        let workers = if stopped { 0 } else { 1 };
        assert_eq!(begun.lock().len(), 1 + workers);
        assert_eq!(roster.lock().available, workers);
    }
}
