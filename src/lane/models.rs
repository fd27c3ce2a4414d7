//! The lane under every schedule: no token is missing, or jobs would lie in the queue for ever, which the model finds; and no success is held
//! back in a pocket, or a job that is as slow as the success is in coming out would never end.

use super::tests::{Numbers, crew, setup};
use super::*;
use crate::give_up::Record;
use crate::judge::Outcome;
use crate::permits::Permits;
use crate::roster::Roster;
use crate::sync::loom::{FAR, JoinHandle, Sides, check, check_bounded, spawn};
use crate::sync::{Mutex, Receiver, now, unbounded};

/// A batch, its pool, and tokens on their way to workers.
struct Bench {
    core: Arc<Numbers>,
    crew: Crew<'static>,
    tokens: Receiver<()>,
    /// A job behind a success in a pocket takes until that success is delivered.
    slow: bool,
    delivered: Mutex<Vec<u32>>,
    heard: Parker,
    sides: Arc<Sides>,
}

fn core(threads: usize, window: usize) -> Numbers {
    Core::new(Setup {
        roster: Arc::new(Roster::new(threads, 0, Permits::new(None))),
        window,
        threads,
        ..setup()
    })
}

impl Numbers {
    fn assert_invariants(&self, state: &State<u32, u32, ()>) {
        let threads = self.setup.threads;
        assert!(state.tokens <= threads, "{} tokens are out", state.tokens);
        let jobs = state.queued.len() + state.running;
        assert!(
            state.queued.is_empty() || state.tokens >= jobs.min(threads),
            "a token is missing"
        );
        assert!(state.held() <= self.setup.window);
        assert!(state.timed <= state.settled.len());
    }
}

impl Bench {
    /// A worker that helps for each token that it finds. An odd input fails at its first attempt.
    fn worker(self: &Arc<Self>) -> JoinHandle<()> {
        let bench = Arc::clone(self);
        spawn(move || {
            while bench.tokens.recv().is_ok() {
                let Some((mut job, pocket)) = bench.core.begin(0) else {
                    continue;
                };
                let turn = Turn {
                    pocket: pocket.as_ref(),
                    each: 0,
                    over: false,
                    time: 0,
                };
                while let After::Job(next) = bench.step(job, &turn) {
                    job = next;
                    bench.core.assert_invariants(&bench.core.state.lock());
                }
            }
        })
    }
}

impl Bench {
    /// Runs a job and takes the next one, by the pocket where that will do.
    fn step(&self, mut job: Queued<u32, ()>, turn: &Turn<'_, u32, u32, ()>) -> After<u32, ()> {
        let input = *job.input.get();
        let mut outcome = try_once(&mut job);
        let succeeds = matches!(outcome, Outcome::Succeeded(_));
        if let Some(pocket) = turn.pocket {
            outcome = match pocket.exchange(&mut job, outcome, None) {
                Err(outcome) => outcome,
                Ok(_) => {
                    if self.core.is_awaited() {
                        self.core.deliver(pocket);
                    }
                    if self.slow && succeeds {
                        self.sides.saw("by a pocket");
                        while !self.delivered.lock().contains(&input) {
                            self.heard.park(None);
                        }
                    }
                    return After::Job(job);
                }
            };
        }
        let ran = match outcome {
            Outcome::Succeeded(value) => Ran::Settled(job.succeed(value)),
            _ => Ran::Retry(job),
        };
        self.core.exchange(ran, None, turn).0
    }
}

/// An odd input fails at first.
fn try_once(job: &mut Queued<u32, ()>) -> Outcome<u32> {
    let input = *job.input.get();
    if job.record.is_none() && !input.is_multiple_of(2) {
        job.record = Some(Record::new());
        return Outcome::Retry(None, 0);
    }
    Outcome::Succeeded(input)
}

/// Runs inputs 1, 2, … in a window, by as many workers as that.
fn run_batch(workers: usize, window: usize, inputs: u32, slow: bool, sides: &Arc<Sides>) {
    let (token, tokens) = unbounded();
    let bench = Arc::new(Bench {
        core: Arc::new(core(workers, window)),
        crew: crew(),
        tokens,
        slow,
        delivered: Mutex::default(),
        heard: Parker::default(),
        sides: Arc::clone(sides),
    });
    let workers: Vec<_> = (0..workers).map(|_| bench.worker()).collect();
    let (core, mut pulled, mut ready) = (&bench.core, Vec::new(), VecDeque::new());
    let (mut next, mut delivered) = (1, 0);
    while delivered < inputs as usize {
        let mut visit = core.collect(&mut ready, 0, &bench.crew);
        while visit.room > 0 && next <= inputs {
            (0..visit.tokens).for_each(|_| token.send(()).unwrap());
            pulled.push(next);
            next += 1;
            visit = core.admit(&mut pulled, 0);
            core.assert_invariants(&core.state.lock());
        }
        (0..visit.tokens).for_each(|_| token.send(()).unwrap());
        if ready.is_empty() {
            let settled = !core.state.lock().settled.is_empty();
            sides.saw(if settled {
                "settled"
            } else {
                "slept or about to"
            });
            assert_eq!(core.wait(None, RefillFor::Nothing), Woken::Progress);
        }
        delivered += ready.len();
        let now = ready.drain(..).map(|settled| *settled.input.get());
        bench.delivered.lock().extend(now);
        bench.heard.unpark();
    }
    drop(token);
    workers
        .into_iter()
        .for_each(|worker| worker.join().unwrap());
    let mut delivered = std::mem::take(&mut *bench.delivered.lock());
    delivered.sort_unstable();
    assert!(delivered.into_iter().eq(1..=inputs));
    let state = core.state.lock();
    assert_eq!((state.tokens, state.running, state.queued.len()), (0, 0, 0));
}

/// What the iterator finds before it sleeps.
const SIDES: [&str; 2] = ["settled", "slept or about to"];

#[test]
fn one_worker_finds_a_token_for_every_job() {
    check_bounded(&SIDES, |sides| run_batch(1, 1, 2, false, sides));
}

#[test]
fn two_workers_find_a_token_for_every_job() {
    check_bounded(&SIDES, |sides| run_batch(2, 2, 2, false, sides));
}

#[test]
fn a_success_in_a_pocket_is_delivered_while_the_next_job_runs() {
    let sides = [SIDES[0], SIDES[1], "by a pocket"];
    check_bounded(&sides, |sides| run_batch(1, 5, 5, true, sides));
}

#[test]
fn an_iterator_that_naps_is_woken_when_a_worker_runs_out_of_jobs() {
    check(&["napped", "no job was left"], |sides| {
        let (token, tokens) = unbounded();
        let bench = Arc::new(Bench {
            core: Arc::new(core(1, 2)),
            crew: crew(),
            tokens,
            slow: false,
            delivered: Mutex::default(),
            heard: Parker::default(),
            sides: Arc::clone(sides),
        });
        let worker = bench.worker();
        let visit = bench.core.admit(&mut vec![2, 4], 0);
        (0..visit.tokens).for_each(|_| token.send(()).unwrap());
        let state = bench.core.state.lock();
        let naps = !state.queued.is_empty();
        if naps {
            let state = bench.core.nap(state, now() + FAR);
            assert!(state.queued.is_empty());
        } else {
            drop(state);
        }
        sides.saw(if naps { "napped" } else { "no job was left" });
        drop(token);
        worker.join().unwrap();
    });
}
