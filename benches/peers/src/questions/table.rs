//! The questions, as a table.

use super::{Case, Column, Question, latency, memory, mixed, parked, quiet, throughput};
use crate::contestants::Contestant;
use crate::work::Work;

const fn case(label: &'static str, threads: usize, work: Work, jobs: u64) -> Case {
    Case {
        label,
        threads,
        work,
        jobs,
        times: 1,
    }
}

const fn column(metric: &'static str, heading: &'static str, digits: usize) -> Column {
    Column {
        metric,
        heading,
        digits,
    }
}

/// Where the time of an attempt is the answer.
const PER_ATTEMPT: &[Column] = &[
    column("ns", "ns per attempt", 0),
    column("cpu_ns", "CPU ns per attempt", 0),
    column("switches", "context switches per job", 3),
];

/// Where the distance from what the jobs themselves take is the answer.
const OVER_IDEAL: &[Column] = &[
    column("over_ideal", "time / ideal", 3),
    column("seconds", "seconds", 3),
    column("cpu_ns", "CPU ns per attempt", 0),
    column("switches", "context switches per job", 3),
];

fn runs_batches(contestant: &Contestant) -> bool {
    contestant.open.is_some()
}

/// In either way.
fn runs_jobs(contestant: &Contestant) -> bool {
    runs_batches(contestant) || has_handles(contestant)
}

fn has_handles(contestant: &Contestant) -> bool {
    contestant.open_with_handles.is_some()
}

const BASE: Question = Question {
    name: "",
    title: "",
    about: "",
    cases: &[],
    rounds: 7,
    together: false,
    can: runs_batches,
    ask: throughput::ask,
    columns: PER_ATTEMPT,
    recipes: false,
};

pub const ALL: &[Question] = &[
    Question {
        name: "empty",
        title: "1 M empty jobs, as a batch",
        about: "2 workers. The floor is a bare pipeline: a producer, the workers, boxed closures over an unbounded channel, and one \
                consumer. A pool without an interface for many jobs gets a producer thread, and a channel for what came of them.",
        cases: &[case("1 M", 2, Work::Empty, 1_000_000)],
        ..BASE
    },
    Question {
        name: "handles",
        title: "1 M empty jobs, a handle for each",
        about: "2 workers; all are submitted, then waited for in their order. The floor has a oneshot channel for each job.",
        cases: &[case("1 M", 2, Work::Empty, 1_000_000)],
        can: has_handles,
        ask: throughput::ask_with_handles,
        ..BASE
    },
    Question {
        name: "retry",
        title: "1 M empty jobs, of whose attempts 10 % fail at once",
        about: "2 workers. The consumer sends a failed job back by hand, except in retry-pool, whose worker does by policy.",
        cases: &[case("1 M", 2, Work::FailsOnce, 1_000_000)],
        ..BASE
    },
    Question {
        name: "latency",
        title: "One empty job to an idle pool",
        about: "2 workers; the time from submitting to having the answer, 0.1 ms after the job before, and right after it.",
        cases: &[case("2 workers", 2, Work::Empty, 2_000)],
        can: runs_jobs,
        ask: latency::ask,
        columns: &[
            column("p50_us", "µs, p50", 1),
            column("p99_us", "µs, p99", 1),
            column("back_to_back_us", "µs back to back, p50", 1),
        ],
        ..BASE
    },
    Question {
        name: "busy",
        title: "100 000 jobs that compute for 10 µs",
        about: "2 workers. The ideal is what the jobs alone take on that many cores.",
        cases: &[case("100 k", 2, Work::Busy, 100_000)],
        columns: OVER_IDEAL,
        ..BASE
    },
    Question {
        name: "sleep",
        title: "10 000 jobs that sleep for 1 ms",
        about: "64 workers. The ideal is what the naps alone take.",
        cases: &[case("10 k", 64, Work::Sleeps, 10_000)],
        columns: OVER_IDEAL,
        ..BASE
    },
    Question {
        name: "memory",
        title: "Memory of a queued job",
        about: "1 M jobs that hold a number wait behind busy workers; resident memory at its peak, less what was resident before.",
        cases: &[case("1 M", 2, Work::Empty, 1_000_000)],
        rounds: 3,
        can: |contestant| runs_batches(contestant) && contestant.unbounded,
        ask: memory::ask,
        columns: &[
            column("bytes", "bytes per job", 0),
            column("ns", "ns per job to queue", 0),
        ],
        ..BASE
    },
    Question {
        name: "memory-handles",
        title: "Memory of a queued job with its handle",
        about: "The same with the handles kept in a vector, whose memory counts.",
        cases: &[case("1 M", 2, Work::Empty, 1_000_000)],
        rounds: 3,
        can: has_handles,
        ask: memory::ask_with_handles,
        columns: &[
            column("bytes", "bytes per job", 0),
            column("ns", "ns per job to queue", 0),
        ],
        ..BASE
    },
    Question {
        name: "parked",
        title: "1 M parked retries",
        about: "1 M jobs fail at once and are due again after 5 s. Figures are of the whole job: submitting, the first attempt and \
                parking; then firing and the second attempt. What took long to park is due over as long a time.",
        cases: &[case("1 M", 2, Work::Empty, 1_000_000)],
        rounds: 3,
        can: |contestant| contestant.park.is_some(),
        ask: parked::ask,
        columns: &[
            column("cpu_ns", "CPU ns to park + fire", 0),
            column("park_ns", "ns to park", 0),
            column("fire_ns", "ns to fire", 0),
            column("bytes", "bytes per parked job", 0),
            column("idle_cpu_percent", "CPU while parked, %", 1),
        ],
        ..BASE
    },
    Question {
        name: "sizes",
        title: "The cost of an attempt, by the number of jobs",
        about: "2 workers, 10 % of the attempts fail at once. Small batches are repeated.",
        cases: &[
            Case {
                times: 200,
                ..case("1000", 2, Work::FailsOnce, 1_000)
            },
            Case {
                times: 20,
                ..case("10000", 2, Work::FailsOnce, 10_000)
            },
            Case {
                times: 2,
                ..case("100000", 2, Work::FailsOnce, 100_000)
            },
            case("1000000", 2, Work::FailsOnce, 1_000_000),
        ],
        // A cost that grows shows as well with a few.
        can: |contestant| {
            [
                "floor",
                "retry-pool",
                "threadpool",
                "rayon spawn + channel",
                "tokio spawn_blocking",
            ]
            .contains(&contestant.name)
        },
        ..BASE
    },
    Question {
        name: "threads",
        title: "Empty jobs, by the number of threads",
        about: "50 000 empty jobs as a batch, whatever the number of cores.",
        cases: &[
            case("1", 1, Work::Empty, 50_000),
            case("2", 2, Work::Empty, 50_000),
            case("4", 4, Work::Empty, 50_000),
            case("16", 16, Work::Empty, 50_000),
            case("64", 64, Work::Empty, 50_000),
            case("256", 256, Work::Empty, 50_000),
        ],
        ..BASE
    },
    Question {
        name: "mixed",
        title: "Two batches and single jobs at once",
        about: "2 workers; two batches of 20 000 jobs that compute for 10 µs, and one empty job after the other, 0.5 ms apart. The \
                last column is the time of both batches, by that of the same two alone, one after the other.",
        cases: &[case("2 x 20 k", 2, Work::Busy, 20_000)],
        can: |contestant| runs_batches(contestant) && contestant.shares,
        ask: mixed::ask,
        columns: &[
            column("p50_us", "µs for a single job, p50", 0),
            column("p99_us", "µs, p99", 0),
            column("max_us", "µs, max", 0),
            column("slowdown", "batches mixed / alone", 2),
        ],
        ..BASE
    },
    Question {
        name: "trickle",
        title: "One empty job each millisecond",
        about: "8 workers, for 0.3 s; each job is waited for. The caller's own sleep is part of the figures.",
        cases: &[case("8 workers", 8, Work::Empty, 300)],
        can: runs_jobs,
        ask: quiet::trickle,
        columns: &[
            column("cpu_us", "CPU µs per job", 1),
            column("switches", "context switches per job", 2),
        ],
        ..BASE
    },
    Question {
        name: "idle",
        title: "An idle pool",
        about: "8 workers after 100 jobs; context switches of all threads but the caller's in 10 s.",
        cases: &[case("10 s", 8, Work::Empty, 10)],
        rounds: 1,
        together: true,
        ask: quiet::idle,
        columns: &[
            column("wakeups", "wake-ups per second", 1),
            column("cpu_ms", "CPU ms per second", 2),
        ],
        ..BASE
    },
    Question {
        name: "recipes",
        title: "Beside the recipes for Python's `concurrent.futures`",
        about: "16 workers, jobs that sleep for 1 ms; 10 % of the attempts fail and are sent back. The ideal is what the naps alone take.",
        cases: &[
            case("250", 16, Work::SleepsAndFails, 250),
            case("500", 16, Work::SleepsAndFails, 500),
            case("1000", 16, Work::SleepsAndFails, 1_000),
            case("2000", 16, Work::SleepsAndFails, 2_000),
            case("4000", 16, Work::SleepsAndFails, 4_000),
        ],
        rounds: 3,
        can: |contestant| ["floor", "retry-pool"].contains(&contestant.name),
        columns: OVER_IDEAL,
        recipes: true,
        ..BASE
    },
];
