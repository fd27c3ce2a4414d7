//! Races of the pool, under the schedules that a model checker comes up with.
//!
//! `scripts/model` runs each scenario thousands of times, each time with another order in which the threads go on, and finds
//! deadlocks (a wake-up that is lost, say) by itself. Each scenario asserts its outcome, and that over all schedules every side of its
//! race was seen. In a normal build the same scenarios run a few times on real threads, as a check of themselves.

mod explore;
mod pools;

mod batches;
mod capacity;
mod ending;
mod nested;
mod single;
mod supervised;
mod timeouts;
mod tiny;
mod waiting;
