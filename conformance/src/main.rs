//! Certifies a store.
fn main() {}
