//! What the pool counts and reports, in the words of the model.

use retry_pool::{GiveUpReason, RetryPool};

use crate::compare::{Checked, ensure};
use crate::driver::Driver;
use crate::model::{Counts, Place};

const REASONS: [GiveUpReason; 9] = [
    GiveUpReason::Permanent,
    GiveUpReason::AttemptsExhausted,
    GiveUpReason::ElapsedExhausted,
    GiveUpReason::BudgetExhausted,
    GiveUpReason::Panicked,
    GiveUpReason::DeadlineExceeded,
    GiveUpReason::Cancelled,
    GiveUpReason::FailFast,
    GiveUpReason::Shutdown,
];

pub(crate) fn counts(pool: &RetryPool) -> Counts {
    let stats = pool.stats();
    Counts {
        accepted: stats.accepted(),
        succeeded: stats.succeeded(),
        retries: stats.retries(),
        gave_up: REASONS.map(|reason| stats.gave_up_as(reason)),
    }
}

/// Ends the pool if nothing is left to wait for, and closes it if something is.
pub(crate) fn shutdown(driver: &mut Driver) -> Checked {
    driver.model.close();
    if driver.model.unsettled() > 0 {
        driver.pool.close();
        return Ok(());
    }
    driver.model.is_stopped = true;
    let report = driver.pool.shutdown();
    let figures = (report.drained(), report.gave_up(), report.still_running());
    ensure(figures == (0, 0, 0), || format!("{report:?}"))
}

pub(crate) fn shutdown_now(driver: &mut Driver) -> Checked {
    let model = &mut driver.model;
    let running = model.in_place(Place::Running);
    let waiting = model.unsettled() - running;
    model.close();
    model.is_stopped = true;
    model.end_all(GiveUpReason::Shutdown);
    let report = driver.pool.shutdown_now();
    let figures = (report.drained(), report.gave_up(), report.still_running());
    ensure(figures == (0, waiting, running), || {
        format!("{report:?} of {waiting} that wait and {running} that run")
    })
}
