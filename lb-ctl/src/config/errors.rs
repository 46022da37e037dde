//! What is wrong with a configuration, said so that a person can mend it.

use std::fmt;

use super::{document::Fault, walk::line};

/// Everything that is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// Name of the file.
    pub file: String,
    /// The errors, in the order of their lines; at least one.
    pub errors: Vec<ConfigError>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Line, from 1; `None` when the file as a whole is wrong, or there is none.
    pub line: Option<usize>,
    /// Path of the key, such as `load_balancers[0].listeners[1].port`; empty when no key is to blame.
    pub path: String,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub expected: String,
    /// What to do, where that is not plain.
    pub advice: Option<String>,
}

/// Why a value breaks a rule, without the place where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) found: String,
    pub(super) expected: String,
    pub(super) advice: Option<String>,
}

impl Refusal {
    pub(super) fn new(found: impl Into<String>, expected: impl Into<String>) -> Refusal {
        Refusal { found: found.into(), expected: expected.into(), advice: None }
    }

    pub(super) fn advise(self, advice: impl Into<String>) -> Refusal {
        Refusal { advice: Some(advice.into()), ..self }
    }

    /// The same of a key outside of any file.
    pub(super) fn of_key(self, key: &str) -> ConfigError {
        let Refusal { found, expected, advice } = self;
        ConfigError { line: None, path: key.into(), found, expected, advice }
    }
}

impl ConfigErrors {
    pub(super) fn unreadable(file: &str, error: &std::io::Error) -> ConfigErrors {
        ConfigErrors::whole_file(file, format!("a file that cannot be read ({error})"))
    }

    pub(super) fn not_text(file: &str, error: &std::string::FromUtf8Error) -> ConfigErrors {
        ConfigErrors::whole_file(file, format!("bytes that are not text ({})", error.utf8_error()))
    }

    pub(super) fn not_toml(file: &str, text: &str, fault: &Fault) -> ConfigErrors {
        let found = format!("text that is not TOML ({})", fault.message);
        let line = Some(line(text, fault.span.start));
        let error =
            ConfigError { line, path: String::new(), found, expected: "TOML 1.1".into(), advice: None };
        ConfigErrors { file: file.into(), errors: vec![error] }
    }

    pub(crate) fn not_understood(file: &str, error: &serde_json::Error) -> ConfigErrors {
        ConfigErrors::whole_file(file, format!("a document of another shape ({error})"))
    }

    fn whole_file(file: &str, found: String) -> ConfigErrors {
        let expected = "a configuration file in TOML".into();
        let error = ConfigError { line: None, path: String::new(), found, expected, advice: None };
        ConfigErrors { file: file.into(), errors: vec![error] }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            f.write_str(&self.file)?;
            if let Some(line) = error.line {
                write!(f, ":{line}")?;
            }
            write!(f, ": {error}")?;
        }
        Ok(())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "found {}, expected {}", self.found, self.expected)?;
        match &self.advice {
            Some(advice) => write!(f, "; {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ConfigErrors {}

impl std::error::Error for ConfigError {}
