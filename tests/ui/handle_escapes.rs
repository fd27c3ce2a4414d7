//! A handle outlives its scope.

fn main() {
    let word = String::from("borrowed");
    let handle = retry_pool::scope(|pool| pool.submit(|| Ok::<_, ()>(word.len())));
    let _ = handle.wait();
}
