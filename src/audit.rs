//! One line of the log for every change that somebody asked for, carried out or refused: who, what, and what became of it. Captures
//! of packets are noted as well.

use std::fmt::Display;

use lb_ctl::server::Caller;

use crate::log::{complain, say};

/// Tells that a change is in force, as this generation.
pub fn accepted(by: &Caller, change: impl Display, generation: impl Display) {
    say!("audit: {by}: {}: generation {generation}", one_line(change));
}

/// Tells that a change was asked for that is in force already.
pub fn idle(by: &Caller, change: impl Display, generation: impl Display) {
    say!("audit: {by}: {}: nothing to change, generation {generation}", one_line(change));
}

/// Tells that somebody looks at what others send.
pub fn watched(by: &Caller, what: impl Display) {
    say!("audit: {by}: {}", one_line(what));
}

/// Tells that a change was refused.
pub fn refused(by: &Caller, change: impl Display, error: impl Display) {
    complain!("audit: {by}: {}: refused: {}", one_line(change), one_line(error));
}

/// Names in it come from outside: they begin no lines of their own.
fn one_line(text: impl Display) -> String {
    text.to_string().replace('\n', "; ").replace(char::is_control, "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_one() {
        assert_eq!(one_line("a\nlbd: audit: uid 0\r\x1b[2J"), "a; lbd: audit: uid 0??[2J");
    }
}
