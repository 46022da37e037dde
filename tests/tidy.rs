//! The house rules that a program can check.

use std::{fs, path::Path};

/// Every file below `directory` with this ending, with its text.
fn files(directory: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(directory)];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with("target") => {}
                true => open.push(path),
                false if path.to_string_lossy().ends_with(ending) => {
                    found.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
                }
                false => {}
            }
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn lb_core_makes_no_system_call_and_reads_no_clock() {
    for (path, text) in files("lb-core/src", ".rs") {
        let text = text.split("#[cfg(test)]").next().unwrap();
        for forbidden in
            ["std::fs", "std::io", "std::thread", "std::time", "std::process", "std::env", "libc", "Mutex"]
        {
            assert!(!text.contains(forbidden), "{path} uses {forbidden}");
        }
    }
}

#[test]
fn unsafe_stands_in_lb_io_alone_but_for_the_processors_own_instructions() {
    for directory in ["lb-core/src", "lb-ctl/src"] {
        for (path, text) in files(directory, ".rs") {
            let count = text.matches("unsafe {").count();
            let allowed = if path.ends_with("flow_table/cpu.rs") { 2 } else { 0 };
            assert_eq!(count, allowed, "{path}");
        }
    }
}

#[test]
fn every_dependency_says_why_it_is_there() {
    for manifest in ["Cargo.toml", "lb-core/Cargo.toml", "lb-io/Cargo.toml", "lb-ctl/Cargo.toml"] {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(manifest)).unwrap();
        let mut in_dependencies = false;
        for line in text.lines() {
            if line.starts_with('[') {
                in_dependencies = line.contains("dependencies");
            } else if in_dependencies && line.contains('=') && !line.contains("path = ") {
                assert!(line.contains(" # "), "{manifest}: {line}");
            }
        }
    }
}

#[test]
fn every_source_file_begins_with_what_it_is_for() {
    for directory in ["src", "lb-core/src", "lb-io/src", "lb-ctl/src", "tests", "benches"] {
        for (path, text) in files(directory, ".rs") {
            assert!(text.starts_with("//!"), "{path}");
        }
    }
}
