//! The pool itself outlives its scope.

fn main() {
    let pool = retry_pool::scope(|pool| pool);
    pool.cancel_all();
}
