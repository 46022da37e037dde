//! Every sample configuration is one that the daemon takes.

use std::path::Path;

#[test]
fn every_sample_is_valid() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let samples: Vec<_> = std::fs::read_dir(&directory)
        .expect("the directory of samples")
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    assert!(samples.len() >= 10, "only {samples:?} in {}", directory.display());
    for sample in samples {
        if let Err(errors) = lb_ctl::config::load(&sample) {
            panic!("{errors}");
        }
    }
}
