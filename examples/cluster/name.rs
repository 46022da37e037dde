//! What a cluster is called. Its files, its namespaces and its lock carry the name, and are removed by it, by root.

use std::{fmt, str::FromStr};

use lbd::testbed::cluster::roles;

/// A name that can neither lead out of a directory nor be that of other things of the testbed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name(String);

impl Name {
    /// What its namespaces are called.
    pub fn namespaces(&self) -> impl Iterator<Item = String> {
        roles().map(|role| self.namespace(role))
    }

    /// What the namespace of a role is called.
    pub fn namespace(&self, role: &str) -> String {
        format!("{self}-{role}")
    }

    /// The name alone.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Name, String> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let is_made_of_these = text.bytes().all(is_allowed) && !text.starts_with('-');
        if text.is_empty() || text.len() > LENGTH_MAX || !is_made_of_these {
            let wanted = "letters, digits and -, the first no -";
            return Err(format!("it has to have 1 to {LENGTH_MAX} characters: {wanted}"));
        }
        if text == TAKEN {
            return Err(format!("namespaces called {TAKEN}-... are those of tests and of the demo"));
        }
        Ok(Name(text.to_owned()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// As many as leave the columns of the map straight, and the path of a socket short enough.
pub const LENGTH_MAX: usize = 16;
/// What names of the testbed's own begin with.
const TAKEN: &str = "lbd";
