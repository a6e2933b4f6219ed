//! florin
fn main() {}
