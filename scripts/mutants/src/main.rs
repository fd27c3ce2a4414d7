//! Measures the mutation score of the crate: of the small changes that could be mistakes, how many make a test fail?
//!
//! All of them are compiled in at once, each behind a question that an environment variable answers (`plant.rs`), so the tests are
//! built once instead of once for each. What does not compile is left out and counted as unviable. Then each test runs once to see
//! which mutants it reaches, and each mutant is run against the tests that reach it, the fastest first, until one fails or hangs. A
//! failure counts if the same test passes without the mutant and fails with it again. The scenarios and models of the two model checkers
//! are among the tests.
//!
//! `scripts/mutants/run` does it all in a copy of the sources; it can be stopped and goes on where it was. Documentation tests are not
//! run.

mod drive;
mod plant;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use plant::{Mutant, Planter};
use syn::visit_mut::VisitMut;

/// Answers the questions, and notes which were asked if it is told to.
const ASKED: &str = r#"
//! Which mutant is on.
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const UNKNOWN: usize = usize::MAX;
const NOTE: usize = usize::MAX - 1;
const NONE: usize = usize::MAX - 2;
static ON: AtomicUsize = AtomicUsize::new(UNKNOWN);
static ASKED: [AtomicBool; MUTANTS] = [const { AtomicBool::new(false) }; MUTANTS];
static FILE: OnceLock<File> = OnceLock::new();

#[inline(always)]
pub fn on(id: usize) -> bool {
    let on = ON.load(Ordering::Relaxed);
    on == id || (on >= NOTE && look(id))
}

#[cold]
fn look(id: usize) -> bool {
    if ON.load(Ordering::Relaxed) == UNKNOWN {
        let on = std::env::var("RP_MUTANT").ok().and_then(|text| text.parse().ok());
        let noted = std::env::var_os("RP_MUTANTS_ASKED");
        ON.store(on.unwrap_or(if noted.is_some() { NOTE } else { NONE }), Ordering::Relaxed);
        if on.is_some() {
            return on == Some(id);
        }
    }
    if ON.load(Ordering::Relaxed) == NOTE && !ASKED[id].swap(true, Ordering::Relaxed) {
        let open = || OpenOptions::new().create(true).append(true).open(std::env::var_os("RP_MUTANTS_ASKED").unwrap()).unwrap();
        let mut file = FILE.get_or_init(open);
        let _ = file.write_all(format!("{id}\n").as_bytes());
    }
    false
}
"#;

/// Sources that are not for testing: the shim of the standard library, and what only model checkers compile.
fn is_source(path: &Path) -> bool {
    let text = path.to_string_lossy();
    text.ends_with(".rs")
        && !text.contains("/sync/")
        && !text.ends_with("/models.rs")
        && !text.ends_with("/tests.rs")
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if is_source(&path) {
            found.push(path);
        }
    }
    found.sort();
}

/// Writes the sources of `from` with all mutants that are not banned into `to`.
fn plant(from: &Path, to: &Path, banned: &BTreeSet<usize>) -> Vec<Mutant> {
    let mut files = Vec::new();
    sources(&from.join("src"), &mut files);
    let mut mutants = Vec::new();
    for path in files {
        let relative = path.strip_prefix(from).unwrap();
        let mut file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
        let mut planter = Planter {
            file: relative.display().to_string(),
            mutants: &mut mutants,
            is_banned: &|id| banned.contains(&id),
            function: String::new(),
        };
        planter.visit_file_mut(&mut file);
        let mut text = prettyplease::unparse(&file);
        if relative == Path::new("src/lib.rs") {
            text.push_str("\n#[doc(hidden)]\npub mod mutant;\n");
        }
        write_if_changed(&to.join(relative), &text);
    }
    let asked = ASKED
        .replace("MUTANTS]", &format!("{}]", mutants.len()))
        .replace("; MUTANTS", &format!("; {}", mutants.len()));
    write_if_changed(&to.join("src/mutant.rs"), &asked);
    mutants
}

/// So that cargo compiles no more than it has to.
fn write_if_changed(path: &Path, text: &str) {
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::write(path, text).unwrap();
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, from, to, options @ ..] = &arguments[..] else {
        eprintln!("usage: retry-pool-mutants CRATE COPY [--again]");
        std::process::exit(2);
    };
    let (from, to) = (PathBuf::from(from), PathBuf::from(to));
    let mut banned = drive::read_banned(&to);
    let mutants = loop {
        let mutants = plant(&from, &to, &banned);
        let bad = drive::uncompilable(&to);
        if bad.is_empty() {
            break mutants;
        }
        println!(
            "{} of {} do not compile, and there may be more",
            banned.len() + bad.len(),
            mutants.len()
        );
        banned.extend(bad);
        drive::write_banned(&to, &banned);
    };
    let none = mutants.iter().filter(|mutant| mutant.is_none).count();
    println!(
        "{} mutants, {} of them do not compile, {none} are no change",
        mutants.len(),
        banned.len()
    );
    drive::same_as_before(&to, &mutants);
    if options.iter().any(|option| option == "--again") {
        drive::forget_survivors(&to);
    }
    if std::env::var_os("RP_MUTANTS_PLANT").is_some() {
        return;
    }
    let tests = drive::tests(&to);
    drive::run(&to, &mutants, &banned, &tests);
}
