//! Every input that a fuzzer once found worth keeping, through the bodies of the fuzz targets `parse` and `datapath`.

mod generate;

#[path = "../../tests/fuzz/bodies/datapath.rs"]
mod datapath;
#[path = "../../tests/fuzz/bodies/parse.rs"]
mod parse;

use std::{fs, path::Path};

#[test]
fn frames_of_the_corpus_are_parsed() {
    replay("parse", parse::run);
}

#[test]
fn scripts_of_the_corpus_are_played() {
    replay("datapath", datapath::run);
}

fn replay(target: &str, run: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus").join(target);
    let mut inputs: Vec<_> =
        fs::read_dir(corpus).expect("a corpus").map(|entry| entry.unwrap().path()).collect();
    inputs.sort();
    assert!(!inputs.is_empty());
    for input in inputs {
        println!("{}", input.display());
        run(&fs::read(input).unwrap());
    }
}
