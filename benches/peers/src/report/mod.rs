//! What the figures say: a page of tables, and plots.

mod bars;
mod lines;
mod plots;
mod table;

use std::fs;
use std::path::Path;

use crate::results::Results;

/// Writes `benchmarks.md` and the plots.
///
/// # Errors
/// If a file cannot be written.
pub fn write(results: &Results, out: &Path) -> Result<(), String> {
    let plots = plots::draw(results, out)?;
    let page = table::page(results, &plots);
    let path = out.join("benchmarks.md");
    fs::write(&path, page).map_err(|error| format!("{}: {error}", path.display()))
}
