//! What is made from the table of verbs: completions for shells, manual pages.

use std::{fs, path::Path};

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Arguments, Failure, output::say};

/// `lbctl completions SHELL`.
pub(super) fn print(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "lbctl", &mut script);
    say(&String::from_utf8_lossy(&script))
}

/// `lbctl man DIRECTORY`.
pub(super) fn write_manual(directory: &Path) -> Result<(), Failure> {
    let refused =
        |error| Failure::Unusable(format!("cannot write manual pages to {}: {error}", directory.display()));
    fs::create_dir_all(directory).map_err(refused)?;
    clap_mangen::generate_to(Arguments::command(), directory).map_err(refused)
}
