//! A job borrows what ends with the closure, while the job may still run after it.

fn main() {
    retry_pool::scope(|pool| {
        let local = String::from("gone at the end of the closure");
        drop(pool.submit(|| Ok::<_, ()>(local.len())));
    });
}
