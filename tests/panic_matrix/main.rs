//! Whatever of a job's own code panics, in whichever attempt, whatever becomes of its handle: the job settles for the right reason,
//! its workers serve on, and nothing leaks. One test for each place of the panic, one case for each combination of the rest.

#[path = "../common/mod.rs"]
mod common;

mod case;
mod run;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Once, mpsc};
use std::thread;
use std::time::Duration;

use case::{Bomb, Cargo, Case, Moment, Source};
use run::run;

/// Keeps the scripted panics out of the output.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Cargo>() && !info.payload().is::<Bomb>() {
                default(info);
            }
        }));
    });
}

fn cases(source: Source) -> Vec<Case> {
    let mut cases = Vec::new();
    for moment in [Moment::First, Moment::Retry, Moment::Last] {
        for choice in 0..8 {
            let [dropped, batch, limited] = [1, 2, 4].map(|bit| choice & bit != 0);
            cases.push(Case {
                source,
                moment,
                dropped,
                batch,
                limited,
            });
        }
    }
    cases.retain(|case| case.is_legal());
    cases
}

/// Runs each case on a thread of its own; one that does not end is a failure.
fn run_all(source: Source) {
    silence();
    for case in cases(source) {
        let (done, ends) = mpsc::channel();
        let thread = thread::spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| run(case)));
            let _ = done.send(result.is_ok());
        });
        match ends.recv_timeout(Duration::from_secs(30)) {
            Ok(passed) => assert!(passed, "{case:?}"),
            Err(_) => panic!("{case:?} did not end"),
        }
        thread.join().unwrap();
    }
}

macro_rules! sources {
    ($($test:ident is $source:ident),* $(,)?) => {
        const SOURCES: &[Source] = &[$(Source::$source),*];

        $(#[test]
        fn $test() {
            run_all(Source::$source);
        })*
    };
}

sources!(
    a_job_that_panics is Job,
    a_job_that_is_retried_after_a_panic is JobRetried,
    a_payload_that_panics_when_dropped is PayloadDrop,
    a_payload_of_a_retried_panic_that_panics_when_dropped is PayloadRetriedDrop,
    an_output_that_panics_when_dropped is OutputDrop,
    a_rejected_output_that_panics_when_dropped is RejectedDrop,
    an_error_that_panics_when_dropped is ErrorDrop,
    an_input_that_panics_when_dropped is InputDrop,
    a_function_that_panics_when_dropped is FunctionDrop,
    a_hook_that_panics_when_dropped is HookDrop,
    a_predicate_that_panics_when_dropped is PredicateDrop,
    an_iterator_of_delays_that_panics_when_dropped is DelaysDrop,
    a_hook_on_retries_that_panics is OnRetry,
    a_hook_on_giving_up_that_panics is OnGiveUp,
    an_observer_that_panics is Observer,
    hooks_of_threads_that_panic is ThreadHooks,
    a_predicate_of_errors_that_panics is RetryIf,
    a_classifier_that_panics is Classify,
    a_predicate_of_values_that_panics is RetryUnless,
    a_function_of_names_that_panics is Name,
    an_error_that_panics_when_shown is Display,
    a_waker_that_panics_when_woken is WakerWake,
    a_waker_that_panics_when_dropped is WakerDrop,
    an_iterator_of_delays_that_panics is Delays,
    a_maker_of_delays_that_panics is DelaysFactory,
);

#[test]
fn there_are_five_hundred_cases() {
    let cases = SOURCES.iter().map(|source| cases(*source).len());
    assert_eq!(cases.sum::<usize>(), 536);
}
