//! The command line.

use std::env;
use std::path::PathBuf;

use crate::contestants::{self, Contestant};
use crate::questions::{self, Question};

pub const USAGE: &str = "\
Puts the same questions to retry-pool, to its peers, and to the floors, and writes what came of it.

  --quick                a tenth of the jobs, three rounds; into target/ unless --out says otherwise
  --question NAME        this question alone; may be given several times
  --contestant TEXT      those whose name contains the text, and the floor; may be given several times
  --out DIRECTORY        where benchmarks.md and the plots go, and benchmarks.json, whose other questions are kept
  --report               only makes the table and the plots anew from that file
  --list                 the names";

#[derive(Default)]
pub struct Arguments {
    pub quick: bool,
    pub report_only: bool,
    pub out: Option<PathBuf>,
    pub list: bool,
    questions: Vec<String>,
    contestants: Vec<String>,
}

impl Arguments {
    /// # Errors
    /// What is wrong with them, or the usage.
    pub fn parse() -> Result<Self, String> {
        let mut arguments = Self::default();
        let mut given = env::args().skip(1);
        while let Some(flag) = given.next() {
            let mut value = || given.next().ok_or(format!("{flag} needs a value"));
            match flag.as_str() {
                "--quick" => arguments.quick = true,
                "--report" => arguments.report_only = true,
                "--list" => arguments.list = true,
                "--question" => arguments.questions.push(value()?),
                "--contestant" => arguments.contestants.push(value()?),
                "--out" => arguments.out = Some(value()?.into()),
                "--help" | "-h" => return Err(USAGE.to_owned()),
                _ => return Err(format!("{flag} is unknown\n\n{USAGE}")),
            }
        }
        arguments.check()?;
        Ok(arguments)
    }

    fn check(&self) -> Result<(), String> {
        let unknown =
            |name: &&String| !questions::ALL.iter().any(|question| question.name == *name);
        if let Some(name) = self.questions.iter().find(unknown) {
            return Err(format!("there is no question {name}; --list has them"));
        }
        let nobody = |text: &&String| !contestants::ALL.iter().any(|one| one.name.contains(*text));
        match self.contestants.iter().find(nobody) {
            Some(text) => Err(format!("nobody's name contains {text}; --list has them")),
            None => Ok(()),
        }
    }

    pub fn questions(&self) -> impl Iterator<Item = &'static Question> {
        let asked = |question: &&Question| {
            self.questions.is_empty() || self.questions.iter().any(|name| name == question.name)
        };
        questions::ALL.iter().filter(asked)
    }

    /// Who answers a question; the first is what the others are compared with.
    pub fn contestants(&self, question: &Question) -> Vec<&'static Contestant> {
        let able = contestants::ALL.iter().filter(|one| (question.can)(one));
        let asked = |(place, one): &(usize, &Contestant)| {
            let named = |text: &String| one.name.contains(text.as_str());
            *place == 0 || self.contestants.is_empty() || self.contestants.iter().any(named)
        };
        able.enumerate().filter(asked).map(|(_, one)| one).collect()
    }
}
