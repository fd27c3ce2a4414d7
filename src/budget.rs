//! A limit on retries that many jobs share.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::time::Duration;

use crate::clock::{Clock, Nanos, nanos};
use crate::error::PolicyError;
use crate::sync::{Arc, Mutex};

/// Limits the retries of all jobs that share it to a share of their successes, plus a number per second that needs no success. In an
/// outage, when everything fails, retries then cost a few percent of the load instead of multiplying it.
///
/// Clones share one balance, across jobs, batches and pools. A success deposits `ratio`; a retry withdraws 1 when it is
/// **decided**, and if that is not there the job gives up at once as [`BudgetExhausted`](crate::GiveUpReason::BudgetExhausted).
/// What a retry withdrew comes back if its job is cancelled before it runs. Deposits and withdrawals are forgotten after
/// `window`, in tenths of it: the first of them up to a tenth earlier. The idea and the figures are those of `RetryBudget` in
/// Twitter's Finagle, which deposits for every request; here only a success pays. A burst that has spent the deposits and the
/// reserve leaves nothing until it is forgotten.
///
/// | setting | default |
/// |---|---|
/// | [`ratio`](Self::ratio) | 0.2: a retry for every five successes |
/// | [`min_per_second`](Self::min_per_second) | 10 |
/// | [`window`](Self::window) | 10 s |
///
/// ```
/// use retry_pool::{GiveUpReason, RetryBudget, RetryPolicy, RetryPool};
///
/// let pool = RetryPool::with_threads(2);
/// let budget = RetryBudget::default().min_per_second(1); // 10 retries in 10 s
/// let policy = RetryPolicy::immediate().max_attempts(3).budget(budget);
/// let report = pool.batch(0..100, |_| Err::<(), _>("down")).retry(policy).run();
/// assert_eq!(report.attempts(), 110);
/// let given_up = report.gave_up().iter().filter_map(|done| done.result().err());
/// assert!(given_up.filter(|give_up| give_up.reason() == GiveUpReason::BudgetExhausted).count() >= 90);
/// ```
#[derive(Clone)]
pub struct RetryBudget {
    shared: Arc<Shared>,
}

struct Shared {
    settings: Settings,
    clock: Clock,
    ledger: Mutex<Ledger>,
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    ratio: f64,
    min_per_second: u32,
    window: Duration,
}

/// A thousandth of a retry: deposits are added up in whole numbers.
type Milli = i64;
const RETRY: Milli = 1_000;

/// How many parts of the window are forgotten one by one.
const SLOTS: usize = 10;

/// What came in and went out, by parts of the window.
#[derive(Debug, Default)]
struct Ledger {
    slots: [Milli; SLOTS],
    /// The number of the part that the last entry fell into, counted from the beginning.
    part: u64,
}

impl Settings {
    fn deposit(self) -> Milli {
        // The cast saturates, and `validate` refuses what is not a number.
        (self.ratio * RETRY as f64).round() as Milli
    }

    /// What is always there.
    fn reserve(self) -> Milli {
        let retries = f64::from(self.min_per_second) * self.window.as_secs_f64();
        // A short window holds one retry at least, if any are promised.
        let least = if self.min_per_second > 0 { RETRY } else { 0 };
        ((retries * RETRY as f64) as Milli).max(least)
    }

    fn part_at(self, now: Nanos) -> u64 {
        now / (nanos(self.window) / SLOTS as u64).max(1)
    }
}

impl Ledger {
    /// Forgets what is older than the window.
    fn advance(&mut self, part: u64) {
        let passed = part.saturating_sub(self.part).min(SLOTS as u64);
        for back in 0..passed {
            self.slots[((part - back) % SLOTS as u64) as usize] = 0;
        }
        self.part = self.part.max(part);
    }

    fn enter(&mut self, amount: Milli) {
        let slot = &mut self.slots[(self.part % SLOTS as u64) as usize];
        *slot = slot.saturating_add(amount);
    }

    fn balance(&self) -> Milli {
        self.slots
            .iter()
            .fold(0, |sum: Milli, slot| sum.saturating_add(*slot))
    }
}

impl RetryBudget {
    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = self.shared.settings;
        change(&mut settings);
        Self::of(settings)
    }

    fn of(settings: Settings) -> Self {
        let shared = Shared {
            settings,
            clock: Clock::new(),
            ledger: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// How many retries a success pays for, in whole thousandths; finite and not negative. Default: 0.2. The budget that is returned has a balance of its
    /// own, so set first, then clone.
    #[must_use]
    pub fn ratio(self, retries_per_success: f64) -> Self {
        self.with(|settings| settings.ratio = retries_per_success)
    }

    /// How many retries per second there are without any success, `window` seconds' worth at once. Default: 10. The budget that is
    /// returned has a balance of its own.
    #[must_use]
    pub fn min_per_second(self, retries: u32) -> Self {
        self.with(|settings| settings.min_per_second = retries)
    }

    /// How long deposits and withdrawals count; not 0. Default: 10 s. The budget that is returned has a balance of its own.
    #[must_use]
    pub fn window(self, window: Duration) -> Self {
        self.with(|settings| settings.window = window)
    }

    /// How many retries could be decided now.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.available_at(self.shared.clock.now())
    }

    fn available_at(&self, now: Nanos) -> u64 {
        let Shared {
            settings, ledger, ..
        } = &*self.shared;
        let mut ledger = ledger.lock();
        ledger.advance(settings.part_at(now));
        let balance = ledger.balance().saturating_add(settings.reserve());
        u64::try_from(balance / RETRY).unwrap_or(0)
    }

    pub(crate) fn validate(&self) -> Result<(), PolicyError> {
        let Settings { ratio, window, .. } = self.shared.settings;
        if !(ratio >= 0.0 && ratio.is_finite()) {
            return Err(PolicyError::BudgetRatio(ratio));
        }
        if window.is_zero() {
            return Err(PolicyError::ZeroBudgetWindow);
        }
        Ok(())
    }

    /// A job of this budget succeeded.
    pub(crate) fn deposit(&self) {
        self.deposit_at(self.shared.clock.now());
    }

    fn deposit_at(&self, now: Nanos) {
        let Shared {
            settings, ledger, ..
        } = &*self.shared;
        let mut ledger = ledger.lock();
        ledger.advance(settings.part_at(now));
        ledger.enter(settings.deposit());
    }

    /// Pays for one retry, if there is enough.
    pub(crate) fn charge(&self) -> Option<Charge> {
        self.charge_at(self.shared.clock.now())
    }

    fn charge_at(&self, now: Nanos) -> Option<Charge> {
        let Shared {
            settings, ledger, ..
        } = &*self.shared;
        let mut ledger = ledger.lock();
        ledger.advance(settings.part_at(now));
        if ledger.balance().saturating_add(settings.reserve()) < RETRY {
            return None;
        }
        ledger.enter(-RETRY);
        let part = ledger.part;
        drop(ledger);
        let budget = self.clone();
        Some(Charge { budget, part })
    }
}

// What a panic leaves behind is sound: no user code runs while the ledger changes.
impl UnwindSafe for RetryBudget {}
impl RefUnwindSafe for RetryBudget {}

impl RetryBudget {
    /// Takes a charge back where it was entered, unless it has been forgotten there.
    fn refund_at(&self, part: u64, now: Nanos) {
        let mut ledger = self.shared.ledger.lock();
        ledger.advance(self.shared.settings.part_at(now));
        if ledger.part - part < SLOTS as u64 {
            let slot = &mut ledger.slots[(part % SLOTS as u64) as usize];
            *slot = slot.saturating_add(RETRY);
        }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::of(Settings {
            ratio: 0.2,
            min_per_second: 10,
            window: Duration::from_secs(10),
        })
    }
}

impl fmt::Debug for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings {
            ratio,
            min_per_second,
            window,
        } = self.shared.settings;
        f.debug_struct("RetryBudget")
            .field("ratio", &ratio)
            .field("min_per_second", &min_per_second)
            .field("window", &window)
            .field("available", &self.available())
            .finish()
    }
}

impl fmt::Display for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings {
            ratio,
            min_per_second,
            ..
        } = self.shared.settings;
        write!(f, "{ratio} of the successes + {min_per_second}/s")
    }
}

/// One retry that was paid for. Dropped before the retry runs, it pays back.
pub(crate) struct Charge {
    budget: RetryBudget,
    /// The part of the window that it was charged to, or [`SPENT`]. Not an option of the budget: so an optional charge has no tag of its own,
    /// and a million may be parked.
    part: u64,
}

/// No part: it would begin centuries from now.
const SPENT: u64 = u64::MAX;

impl Charge {
    /// The retry runs.
    pub(crate) fn spend(mut self) {
        self.part = SPENT;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if self.part != SPENT {
            self.budget
                .refund_at(self.part, self.budget.shared.clock.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    fn spend(budget: &RetryBudget, wanted: usize, now: Nanos) -> usize {
        let charges = std::iter::from_fn(|| budget.charge_at(now));
        charges.take(wanted).map(Charge::spend).count()
    }

    #[test]
    fn the_reserve_is_there_once_in_each_window() {
        let budget = RetryBudget::default().min_per_second(1);
        assert_eq!(spend(&budget, 100, 0), 10);
        assert_eq!(spend(&budget, 100, 9 * SECOND), 0);
        assert_eq!(spend(&budget, 100, 10 * SECOND), 10);
        // Each is forgotten after its own ten seconds.
        let budget = RetryBudget::default().min_per_second(1);
        assert_eq!(
            (spend(&budget, 4, 0), spend(&budget, 100, 5 * SECOND)),
            (4, 6)
        );
        assert_eq!(
            (
                spend(&budget, 100, 10 * SECOND),
                spend(&budget, 100, 15 * SECOND)
            ),
            (4, 6)
        );
    }

    #[test]
    fn successes_pay_for_a_share_of_retries_and_are_forgotten() {
        let budget = RetryBudget::default().min_per_second(0);
        assert_eq!(spend(&budget, 1, 0), 0);
        (0..12).for_each(|_| budget.deposit_at(0));
        assert_eq!(budget.available_at(0), 2);
        assert_eq!(spend(&budget, 100, SECOND), 2);
        (0..10).for_each(|_| budget.deposit_at(2 * SECOND));
        assert_eq!(budget.available_at(11 * SECOND), 2);
        assert_eq!(budget.available_at(12 * SECOND), 0);
        assert_eq!(budget.available_at(Nanos::MAX), 0);
    }

    #[test]
    fn a_charge_that_is_not_spent_is_paid_back() {
        let budget = RetryBudget::default().min_per_second(1);
        let charges: Vec<_> = std::iter::from_fn(|| budget.charge()).collect();
        assert_eq!((charges.len(), budget.available()), (10, 0));
        drop(charges);
        assert_eq!(budget.available(), 10);
    }

    #[test]
    fn a_charge_that_is_forgotten_is_not_paid_back() {
        let budget = RetryBudget::default().min_per_second(1);
        let charges: Vec<_> = std::iter::from_fn(|| budget.charge_at(0)).collect();
        let refund = |charge: Charge, now| {
            budget.refund_at(charge.part, now);
            charge.spend();
        };
        let mut charges = charges.into_iter();
        charges
            .by_ref()
            .take(4)
            .for_each(|charge| refund(charge, 9 * SECOND));
        assert_eq!(budget.available_at(9 * SECOND), 4);
        charges.for_each(|charge| refund(charge, 10 * SECOND));
        assert_eq!(budget.available_at(10 * SECOND), 10);
        assert_eq!(spend(&budget, 100, 10 * SECOND), 10);
    }

    #[test]
    fn clones_share_one_balance_and_huge_values_saturate() {
        let budget = RetryBudget::default()
            .min_per_second(u32::MAX)
            .window(Duration::MAX)
            .ratio(f64::MAX);
        let clone = budget.clone();
        let charge = budget.charge_at(Nanos::MAX).unwrap();
        (0..3).for_each(|_| clone.deposit_at(Nanos::MAX));
        budget.refund_at(charge.part, Nanos::MAX);
        charge.spend();
        assert!(budget.charge_at(Nanos::MAX).is_some());
        assert!(budget.available_at(0) > 0);
        assert_eq!(
            RetryBudget::default().ratio(-1.0).validate(),
            Err(PolicyError::BudgetRatio(-1.0))
        );
        assert_eq!(
            RetryBudget::default().window(Duration::ZERO).validate(),
            Err(PolicyError::ZeroBudgetWindow)
        );
    }

    #[test]
    fn a_charge_is_paid_back_to_the_part_that_it_was_charged_to() {
        let budget = RetryBudget::default().min_per_second(1);
        let charge = budget.charge_at(5 * SECOND).unwrap();
        assert_eq!(budget.available_at(9 * SECOND), 9);
        budget.refund_at(charge.part, 9 * SECOND);
        charge.spend();
        let later = [9, 14, 15].map(|second| budget.available_at(second * SECOND));
        assert_eq!(later, [10; 3]);
    }

    #[test]
    fn a_short_window_holds_one_retry_if_any_are_promised() {
        let reserve = |retries| {
            let budget = RetryBudget::default().min_per_second(retries);
            budget.window(Duration::from_millis(1)).available_at(0)
        };
        assert_eq!([0, 1, 1_000, 5_000].map(reserve), [0, 1, 1, 5]);
    }
}
