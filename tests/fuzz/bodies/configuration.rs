//! Any text as a configuration file: it is read, or each thing that is wrong has its place and its words.

use lb_ctl::config;

/// Reads the text. Bytes that are not text never get this far.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let lines = text.lines().count();
    match config::parse(text, "fuzzed.toml") {
        Ok(config) => {
            assert!(!config.interfaces.is_empty() && !config.load_balancers.is_empty());
            assert_eq!(config::parse(text, "fuzzed.toml").as_ref(), Ok(&config), "the same again");
        }
        Err(errors) => {
            assert!(!errors.errors.is_empty());
            for error in &errors.errors {
                assert!(!error.found.is_empty() && !error.expected.is_empty(), "{error:?}");
                assert!(error.line.is_none_or(|line| (1..=lines + 1).contains(&line)), "{error:?}");
            }
            assert!(errors.to_string().starts_with("fuzzed.toml"));
        }
    }
}
