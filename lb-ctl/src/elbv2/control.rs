//! Asks the control thread, which alone knows and changes the objects.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::timeout;

use super::fault::Fault;
use crate::{
    api::{Refusal, RefusalCode, TargetRow},
    change::Change,
    server::{Call, Caller, ChangeCall, Changed, Reply, Snapshot},
};

/// The way to the control thread.
pub(super) struct Control {
    deliver: Arc<dyn Fn(Call) + Send + Sync>,
}

impl Control {
    pub(super) fn new(deliver: impl Fn(Call) + Send + Sync + 'static) -> Control {
        Control { deliver: Arc::new(deliver) }
    }

    pub(super) async fn snapshot(&self) -> Result<Snapshot, Fault> {
        self.ask(Call::Snapshot).await
    }

    pub(super) async fn targets_of(&self, target_group: &str) -> Result<Vec<TargetRow>, Fault> {
        let target_group = target_group.to_owned();
        self.ask(|reply| Call::TargetsOf { target_group, reply }).await
    }

    /// Returns once the change is in force and kept.
    pub(super) async fn change(&self, change: Change, by: Caller) -> Result<Changed, Fault> {
        self.ask(|reply| Call::Change(ChangeCall { change, expected_generation: None, by, reply })).await
    }

    async fn ask<T>(&self, call: impl FnOnce(Reply<T>) -> Call) -> Result<T, Fault> {
        let (reply, answer) = Reply::channel();
        (self.deliver)(call(reply));
        match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer.map_err(Fault::from),
            Ok(Err(_)) => Err(Fault::new("ServiceUnavailable", "the daemon is stopping")),
            Err(_) => {
                Err(Fault::new("ServiceUnavailable", "the daemon's control thread did not answer in time"))
            }
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Fault {
        let message = match refusal.path {
            Some(_) => without_paths(&refusal.error),
            None => refusal.error,
        };
        match refusal.code {
            None => Fault::configuration(message),
            Some(RefusalCode::StoreUnwritable) => Fault::new("ServiceUnavailable", message),
            Some(code) => Fault::new(code.name(), message),
        }
    }
}

/// A text about keys of a file, each by its last part: callers have made objects, and know nothing of a file.
fn without_paths(text: &str) -> String {
    text.split_inclusive(char::is_whitespace).map(last_part).collect()
}

/// `name: ` of `load_balancers[2].name: `, `"a.b"` of `target_groups[0].attributes."a.b"`; any other word as it is.
fn last_part(word: &str) -> &str {
    let Some((before, rest)) = word.rsplit_once("].") else { return word };
    let is_path = before.starts_with(|first: char| first.is_ascii_lowercase()) && before.contains('[');
    if !is_path {
        return word;
    }
    match rest.find('"') {
        Some(quote) => &rest[quote..],
        None => {
            let end = rest.trim_end_matches(|sign: char| sign == '.' || sign.is_whitespace()).len();
            &rest[rest[..end].rfind('.').map_or(0, |dot| dot + 1)..]
        }
    }
}

/// Time that the control thread has to answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_a_file_are_named_by_their_last_part() {
        let error = "load_balancers[2].name: found \"-a\", expected letters. Or so\n\
                     target_groups[0].attributes.\"a.b\": found \"x[0].y\", expected 1; see load_balancers[0].addresses.";
        let refusal = Refusal::of(RefusalCode::ValidationError, error).at("load_balancers[2].name");
        assert_eq!(
            Fault::from(refusal).message,
            "name: found \"-a\", expected letters. Or so\n\
             \"a.b\": found \"x[0].y\", expected 1; see addresses."
        );
        let plain = Refusal::of(RefusalCode::InvalidTarget, "a[0].b is as it is");
        assert_eq!(Fault::from(plain).message, "a[0].b is as it is");
    }
}
