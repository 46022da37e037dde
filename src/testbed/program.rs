//! Programs of others that are needed: whether they are here, and what to install if not.

use std::{env, fmt, fs, os::unix::fs::PermissionsExt, path::Path};

/// A program and the package of Debian and Ubuntu that brings it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    /// What it is called by, without a directory.
    pub name: &'static str,
    /// What to install.
    pub package: &'static str,
}

impl Program {
    /// Whether it can be started by its name: whether a directory of PATH has it.
    pub fn is_installed(&self) -> bool {
        env::var_os("PATH").is_some_and(|path| {
            env::split_paths(&path).any(|directory| is_executable(&directory.join(self.name)))
        })
    }
}

/// That it is missing, and what to do.
impl fmt::Display for Program {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "there is no program {} in PATH; install the package {}", self.name, self.package)
    }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.is_file() && data.permissions().mode() & ANYBODY_MAY_RUN != 0)
}

const ANYBODY_MAY_RUN: u32 = 0o111;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_its_package() {
        assert!(Program { name: "sh", package: "dash" }.is_installed());
        let absent = Program { name: "no-such-program", package: "no-such-package" };
        assert!(!absent.is_installed());
        assert!(absent.to_string().ends_with("no-such-program in PATH; install the package no-such-package"));
    }
}
