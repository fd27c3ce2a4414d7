//! The floor plan of the crate: a module imports only from modules below it in `src/lib.rs`, so there is no circle, and
//! each primitive is named in one file only.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules in reading order, from the public face down to the primitives.
const FLOORS: [&str; 40] = [
    "pool",
    "scope",
    "builder",
    "periodic",
    "supervisor",
    "single",
    "batch",
    "in_order",
    "completed",
    "channel",
    "report",
    "completion",
    "finished",
    "handle",
    "token",
    "lane",
    "job",
    "crew",
    "judge",
    "attempt",
    "registry",
    "policy",
    "give_up",
    "panic",
    "budget",
    "backoff",
    "error",
    "slot",
    "roster",
    "stats",
    "timer",
    "queue",
    "permits",
    "cancel",
    "observe",
    "reason",
    "park",
    "clock",
    "unwind",
    "sync",
];

/// What only one file may name.
const ONLY_IN: [(&str, &str); 9] = [
    ("parking_lot", "sync"),
    ("crossbeam_channel", "sync"),
    ("std::sync::", "sync"),
    ("std::thread", "sync"),
    ("Instant::now", "sync"),
    ("shuttle::", "sync"),
    ("use loom::", "sync"),
    ("catch_unwind", "unwind"),
    ("num_cpus", "sync"),
];

fn floor_of(module: &str) -> usize {
    FLOORS
        .iter()
        .position(|name| *name == module)
        .unwrap_or_else(|| panic!("{module} has no place on the floor plan"))
}

/// Every source file, but for unit tests, with the name of its module: the files of a folder belong to the folder's module.
fn sources() -> Vec<(String, PathBuf)> {
    fn visit(folder: &Path, module: Option<&str>, found: &mut Vec<(String, PathBuf)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                visit(&path, Some(module.unwrap_or(&name)), found);
            } else if name != "tests" {
                found.push((module.unwrap_or(&name).to_owned(), path));
            }
        }
    }
    let mut found = Vec::new();
    visit(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        None,
        &mut found,
    );
    found
}

/// The code of a file without its comments and its unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap();
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn imports_point_down() {
    let mut imports = 0;
    for (module, path) in sources().iter().filter(|(module, _)| module != "lib") {
        for import in code(path).split("crate::").skip(1) {
            let target: String = import
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            if target == *module || target.starts_with(char::is_uppercase) {
                continue;
            }
            imports += 1;
            assert!(
                floor_of(&target) > floor_of(module),
                "{} imports {target}, which is not below {module}",
                path.display()
            );
        }
    }
    assert!(
        imports > 50,
        "only {imports} imports found: is this test still reading the sources?"
    );
}

#[test]
fn the_floor_plan_is_the_order_of_lib_rs() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let modules: Vec<&str> = lib
        .lines()
        .filter_map(|line| line.strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(modules, FLOORS[..modules.len()]);
}

#[test]
fn each_primitive_is_named_in_one_file() {
    for (module, path) in sources() {
        for (name, home) in ONLY_IN {
            assert!(
                module == home || !code(&path).contains(name),
                "{} names {name}, which belongs in {home}.rs",
                path.display()
            );
        }
    }
}

/// One that is not named there is not compiled, and its tests never run.
#[test]
fn each_file_of_tests_is_named_in_its_program() {
    for program in ["suite", "alone"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests")
            .join(program);
        let main = fs::read_to_string(folder.join("main.rs")).unwrap();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            assert!(
                name == "main" || main.contains(&format!("\nmod {name};\n")),
                "{} is not named in main.rs",
                path.display()
            );
        }
    }
}
