//! The page `benchmarks.md`.

use std::fmt::Write;

use super::plots::Plot;
use crate::contestants::{self, Contestant, Kind};
use crate::questions::{self, Case, Column, Question};
use crate::recipes::RECIPES;
use crate::results::Results;

const OURS: &str = "retry-pool";

const HEAD: &str = "\
# Measured costs

What a job costs in retry-pool, beside the pools that one might take in its place, and beside the floor: bare channels and threads.
`scripts/bench-peers` asks all questions anew and writes this page, the plots and `benchmarks.json` with the figures of each round.

Each measurement has a process of its own. In each round everybody takes a turn, and each round begins with somebody else; a figure is
the median of the rounds, with the least and the greatest in brackets. *To the floor* is the median of the ratios within a round,
which a busy machine disturbs less than the times. Less is better everywhere. CPU time and context switches are the whole process's,
the caller's included.
";

/// The whole page.
pub fn page(results: &Results, plots: &[Plot]) -> String {
    let mut page = HEAD.to_owned();
    machine(&mut page, results);
    summary(&mut page, results);
    slower(&mut page, results);
    for question in asked(results) {
        write!(page, "\n## {}\n\n{}\n\n", question.title, question.about).expect("a string grows");
        match question.cases {
            [case] => one_case(&mut page, results, question, case),
            cases => many_cases(&mut page, results, question, cases),
        }
        for plot in plots.iter().filter(|plot| plot.question == question.name) {
            writeln!(page, "\n![{}]({})", plot.title, plot.file).expect("a string grows");
        }
    }
    page
}

fn machine(page: &mut String, results: &Results) {
    page.push_str("\n| measured on | |\n|---|---|\n");
    for (name, fact) in &results.machine {
        writeln!(page, "| {name} | {fact} |").expect("a string grows");
    }
    let versions = results
        .versions
        .iter()
        .map(|(package, version)| format!("{package} {version}"));
    let versions: Vec<_> = versions.collect();
    writeln!(page, "| packages | {} |", versions.join(", ")).expect("a string grows");
    if results.quick {
        page.push_str(
            "\n**A quick run, with a tenth of the jobs: only to see whether everything works.**\n",
        );
    }
}

/// The questions that have answers.
fn asked(results: &Results) -> impl Iterator<Item = &'static Question> {
    questions::ALL
        .iter()
        .filter(|question| results.answers.contains_key(question.name))
}

/// retry-pool, the floor and the best peer, by question.
fn summary(page: &mut String, results: &Results) {
    page.push_str("\n## In short\n\n| question | | retry-pool | floor | to the floor | best peer |\n|---|---|---:|---:|---:|---:|\n");
    for (question, case) in
        asked(results).flat_map(|question| question.cases.iter().map(move |case| (question, case)))
    {
        let column = &question.columns[0];
        let Some(ours) = median(results, question, case, OURS) else {
            continue;
        };
        let floor = floor(question).and_then(|floor| median(results, question, case, floor.name));
        let peer = best_peer(results, question, case);
        let peer = peer.map_or("–".to_owned(), |(name, figure)| {
            format!("{} ({name})", digits(column, figure))
        });
        let title = if question.cases.len() > 1 {
            format!("{}: {}", question.title, case.label)
        } else {
            question.title.to_owned()
        };
        writeln!(
            page,
            "| {title} | {} | {} | {} | {} | {peer} |",
            column.heading,
            digits(column, ours),
            floor.map_or("–".to_owned(), |figure| digits(column, figure)),
            ratio(results, question, case, OURS),
        )
        .expect("a string grows");
    }
}

/// Where somebody else does better.
fn slower(page: &mut String, results: &Results) {
    page.push_str("\n## What is not fast\n\nWhere a peer, or the floor, does better than retry-pool by more than 5 %:\n\n");
    let mut any = false;
    for question in asked(results) {
        for case in question.cases {
            let Some(ours) = median(results, question, case, OURS) else {
                continue;
            };
            let mut better: Vec<_> = names(question)
                .filter_map(|name| Some((name, median(results, question, case, name)?)))
                .filter(|(_, figure)| figure * 1.05 < ours)
                .collect();
            better.sort_by(|(_, one), (_, other)| one.total_cmp(other));
            if better.is_empty() {
                continue;
            }
            any = true;
            let column = &question.columns[0];
            let better: Vec<_> = better
                .iter()
                .map(|(name, figure)| format!("{name} {}", digits(column, *figure)))
                .collect();
            let title = format!("{} ({})", question.title, case.label);
            writeln!(
                page,
                "- {title}, {}: retry-pool {}; {}.",
                column.heading,
                digits(column, ours),
                better.join(", ")
            )
            .expect("a string grows");
        }
    }
    if !any {
        page.push_str("- nowhere in this run.\n");
    }
}

/// A row for each contestant, with all columns.
fn one_case(page: &mut String, results: &Results, question: &Question, case: &Case) {
    let headings: Vec<_> = question
        .columns
        .iter()
        .map(|column| column.heading)
        .collect();
    writeln!(
        page,
        "| | {} | to the floor | {} |",
        headings[0],
        headings[1..].join(" | ")
    )
    .expect("a string grows");
    writeln!(
        page,
        "|---|---:|---:|{}",
        "---:|".repeat(headings.len() - 1)
    )
    .expect("a string grows");
    for name in names(question) {
        let rounds = results.rounds(question.name, case.label, name);
        let Some([least, middle, most]) =
            results.spread(question.name, case.label, name, question.columns[0].metric)
        else {
            if !rounds.is_empty() {
                writeln!(page, "| {name} | did not finish |").expect("a string grows");
            }
            continue;
        };
        let first = &question.columns[0];
        let [least, middle, most] = [least, middle, most].map(|figure| digits(first, figure));
        let others = question.columns[1..].iter().map(|column| {
            let figure = results.median(question.name, case.label, name, column.metric);
            figure.map_or("–".to_owned(), |figure| digits(column, figure))
        });
        let others: Vec<_> = others.collect();
        let ratio = ratio(results, question, case, name);
        writeln!(
            page,
            "| {} | {middle} ({least}–{most}) | {ratio} | {} |",
            shown(name),
            others.join(" | ")
        )
        .expect("a string grows");
    }
}

/// A row for each contestant, with a column for each case.
fn many_cases(page: &mut String, results: &Results, question: &Question, cases: &[Case]) {
    let column = &question.columns[0];
    let labels: Vec<_> = cases.iter().map(|case| case.label).collect();
    writeln!(
        page,
        "| {}; to the floor | {} |",
        column.heading,
        labels.join(" | ")
    )
    .expect("a string grows");
    writeln!(page, "|---|{}", "---:|".repeat(cases.len())).expect("a string grows");
    for name in names(question) {
        let cells = cases.iter().map(|case| {
            let figure = median(results, question, case, name);
            figure.map_or("–".to_owned(), |figure| {
                format!(
                    "{}; {}",
                    digits(column, figure),
                    ratio(results, question, case, name)
                )
            })
        });
        let cells: Vec<_> = cells.collect();
        if cells.iter().any(|cell| cell != "–") {
            writeln!(page, "| {} | {} |", shown(name), cells.join(" | ")).expect("a string grows");
        }
    }
}

fn able(question: &Question) -> impl Iterator<Item = &'static Contestant> {
    let can = question.can;
    contestants::ALL
        .iter()
        .filter(move |contestant| can(contestant))
}

/// Whom the others are compared with: the first, if it is one.
fn floor(question: &Question) -> Option<&'static Contestant> {
    able(question)
        .next()
        .filter(|first| first.kind == Kind::Floor)
}

fn names(question: &Question) -> impl Iterator<Item = &'static str> {
    let recipes = if question.recipes { RECIPES } else { &[] };
    able(question)
        .map(|contestant| contestant.name)
        .chain(recipes.iter().copied())
}

fn best_peer(results: &Results, question: &Question, case: &Case) -> Option<(&'static str, f64)> {
    let peer = |name: &&str| {
        contestants::ALL
            .iter()
            .all(|one| one.name != *name || one.kind == Kind::Peer)
    };
    let figures = names(question)
        .filter(peer)
        .filter_map(|name| Some((name, median(results, question, case, name)?)));
    figures.min_by(|(_, one), (_, other)| one.total_cmp(other))
}

fn median(results: &Results, question: &Question, case: &Case, name: &str) -> Option<f64> {
    results.median(question.name, case.label, name, question.columns[0].metric)
}

fn ratio(results: &Results, question: &Question, case: &Case, name: &str) -> String {
    let to = floor(question).filter(|floor| floor.name != name);
    let ratio = to.and_then(|floor| {
        results.ratio(
            question.name,
            case.label,
            [name, floor.name],
            question.columns[0].metric,
        )
    });
    ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))
}

fn digits(column: &Column, figure: f64) -> String {
    format!("{figure:.*}", column.digits)
}

/// In bold if it is ours.
fn shown(name: &str) -> String {
    if name.starts_with(OURS) {
        format!("**{name}**")
    } else {
        name.to_owned()
    }
}
