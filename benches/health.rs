//! What checking thousands of targets costs.

fn main() {}
