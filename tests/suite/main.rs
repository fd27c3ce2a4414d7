//! What runs beside each other.

#[path = "../common/mod.rs"]
mod common;

mod awaiting;
mod batch;
mod channel;
mod checklist;
mod checklist_end;
mod checklist_outcome;
mod compile_fail;
mod conservation;
mod contention;
mod endings;
mod faults;
mod faults_of_load;
mod finished;
mod handles;
mod hooks_that_wait;
mod layering;
mod matrix;
mod nested;
mod observer;
mod panics;
mod policy_properties;
mod promises;
mod refusals;
mod scoped;
mod shutdown;
mod supervisor;
mod supervisor_commands;
mod supervisor_end;
mod supervisor_faults;
mod supervisor_group;
mod supervisor_observer;
mod tiny_jobs;
mod urgent;
