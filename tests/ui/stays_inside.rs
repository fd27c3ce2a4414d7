//! What the others do in a wrong way: this compiles.

fn main() {
    let word = String::from("borrowed");
    let length = retry_pool::scope(|pool| pool.submit(|| Ok::<_, ()>(word.len())).wait());
    assert_eq!(length.unwrap(), 8);
}
