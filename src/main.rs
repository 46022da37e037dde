//! lbd.
fn main() {}
