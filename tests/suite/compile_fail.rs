//! What must not compile: a borrow that escapes its scope. The compiler is asked directly, and only for what kind of error it finds,
//! since its texts change from one release to the next.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The library as it was built for this test: the newest, since older ones may lie beside it.
fn library(dependencies: &Path) -> PathBuf {
    let files = fs::read_dir(dependencies).unwrap();
    let libraries = files.filter_map(|file| {
        let path = file.ok()?.path();
        let name = path.file_name()?.to_str()?;
        let is_ours = name.starts_with("libretry_pool-") && name.ends_with(".rlib");
        is_ours.then_some((path.metadata().ok()?.modified().ok()?, path))
    });
    libraries.max().expect("the library was built").1
}

/// The errors of a program, by their first lines; the one that sums up is left out.
fn errors(program: &str) -> Vec<String> {
    let own = env::current_exe().unwrap();
    let dependencies = own.parent().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let checked = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition", "2024", "--emit", "metadata", "--out-dir"])
        .arg(env!("CARGO_TARGET_TMPDIR"))
        .arg("-L")
        .arg(format!("dependency={}", dependencies.display()))
        .arg("--extern")
        .arg(format!("retry_pool={}", library(dependencies).display()))
        .arg(source.join(program))
        .output()
        .unwrap();
    let text = String::from_utf8(checked.stderr).unwrap();
    let first_lines = text.lines().filter(|line| line.starts_with("error"));
    let errors: Vec<_> = first_lines
        .filter(|line| !line.contains("aborting due to"))
        .map(String::from)
        .collect();
    assert_eq!(checked.status.success(), errors.is_empty(), "{text}");
    errors
}

/// The one error is that something does not live long enough.
fn assert_does_not_live(program: &str) {
    let errors = errors(program);
    let [error] = &errors[..] else {
        panic!("{program}: {errors:?}")
    };
    let known = [
        "lifetime may not live long enough",
        "E0373",
        "E0521",
        "E0597",
    ];
    assert!(
        known.iter().any(|known| error.contains(known)),
        "{program}: {error}"
    );
}

#[test]
fn a_borrow_that_stays_inside_its_scope_compiles() {
    assert!(errors("stays_inside.rs").is_empty());
}

#[test]
fn a_handle_does_not_escape_its_scope() {
    assert_does_not_live("handle_escapes.rs");
}

#[test]
fn a_job_does_not_borrow_what_ends_with_the_closure() {
    assert_does_not_live("job_borrows_local.rs");
}

#[test]
fn the_pool_does_not_escape_its_scope() {
    assert_does_not_live("pool_escapes.rs");
}
