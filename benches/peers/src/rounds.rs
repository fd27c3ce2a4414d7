//! Everybody takes a turn in each round, and each round begins with somebody else: what disturbs one disturbs its neighbours, too.

use std::collections::BTreeMap;
use std::io::{Write, stderr};
use std::process::Command;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::child;
use crate::contestants::Contestant;
use crate::questions::{Case, Metrics, Question};
use crate::recipes::RECIPES;

/// Who takes turns.
enum Entrant {
    Contestant(&'static Contestant),
    Recipe(&'static str),
}

impl Entrant {
    fn name(&self) -> &'static str {
        match self {
            Self::Contestant(contestant) => contestant.name,
            Self::Recipe(recipe) => recipe,
        }
    }

    fn command(&self, question: &Question, case: &Case, scale: u64) -> Command {
        match self {
            Self::Contestant(contestant) => child::of_contestant(question, case, contestant, scale),
            Self::Recipe(recipe) => child::of_recipe(recipe, case, scale),
        }
    }
}

type Rounds = BTreeMap<String, Vec<Option<Metrics>>>;

/// Asks one question in all its cases.
pub fn ask(question: &Question, arguments: &Arguments) -> BTreeMap<String, Rounds> {
    let contestants = arguments.contestants(question).into_iter();
    let mut entrants: Vec<_> = contestants.map(Entrant::Contestant).collect();
    if question.recipes {
        entrants.extend(RECIPES.iter().copied().map(Entrant::Recipe));
    }
    let (scale, rounds) = match arguments.quick {
        true if question.together => (5, 1),
        true => (10, question.rounds.min(3)),
        false => (1, question.rounds),
    };
    let begun = Instant::now();
    let mut by_case = BTreeMap::new();
    for case in question.cases {
        eprint!("{}, {}: ", question.name, case.label);
        let mut answers = Rounds::new();
        for round in 0..rounds {
            eprint!("{} ", round + 1);
            // A progress that is not seen does no harm.
            let _ = stderr().flush();
            for (name, answer) in one_round(question, case, &entrants, round, scale) {
                answers.entry(name.to_owned()).or_default().push(answer);
            }
        }
        eprintln!("({:.0} s)", begun.elapsed().as_secs_f64());
        by_case.insert(case.label.to_owned(), answers);
    }
    by_case
}

fn one_round(
    question: &Question,
    case: &Case,
    entrants: &[Entrant],
    round: usize,
    scale: u64,
) -> Vec<(&'static str, Option<Metrics>)> {
    let (late, early) = entrants.split_at(round % entrants.len());
    let turns: Vec<_> = early.iter().chain(late).collect();
    let names = turns.iter().map(|entrant| entrant.name());
    let mut commands = turns
        .iter()
        .map(|entrant| entrant.command(question, case, scale));
    let answers = if question.together {
        child::run(commands.collect())
    } else {
        let mut answers = Vec::new();
        for command in &mut commands {
            answers.extend(child::run(vec![command]));
        }
        answers
    };
    names.zip(answers).collect()
}
