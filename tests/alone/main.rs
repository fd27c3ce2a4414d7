//! What needs a process of its own for each test: it measures time or memory, or counts threads. Under cargo-nextest nothing runs beside
//! most of them; `.config/nextest.toml` names those that look at their process alone.

#[path = "../common/mod.rs"]
mod common;

mod cancel;
mod capacity;
mod checklist_time;
mod fail_fast;
mod faults_of_cancels;
mod faults_of_endings;
mod faults_of_payloads;
mod faults_of_pools;
mod faults_of_threads;
mod memory;
mod parked_memory;
mod periodic;
mod realtime;
mod regressions;
mod retrying;
mod supervisor_leaks;
mod supervisor_refusal;
mod supervisor_time;
mod threads;
mod timeouts;
mod timer_memory;
