//! The recipes for Python's `concurrent.futures`, which `recipes.py` runs.

/// By the names that the script knows.
pub const RECIPES: &[&str] = &[
    "Python, rounds",
    "Python, FIRST_COMPLETED",
    "Python, tweaked as_completed",
];
