//! Every input that a fuzzer once found worth keeping, through the body of the fuzz target `configuration`.

#[path = "../../tests/fuzz/bodies/configuration.rs"]
mod configuration;

use std::{fs, path::Path};

#[test]
fn texts_of_the_corpus_are_read_or_refused() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus/configuration");
    let mut inputs: Vec<_> =
        fs::read_dir(corpus).expect("a corpus").map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty());
    for input in inputs {
        println!("{}", input.display());
        configuration::run(&fs::read(input).unwrap());
    }
}
