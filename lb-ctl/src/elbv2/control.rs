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
        match refusal.code {
            None => Fault::configuration(refusal.error),
            Some(RefusalCode::StoreUnwritable) => Fault::new("ServiceUnavailable", refusal.error),
            Some(code) => Fault::new(code.name(), refusal.error),
        }
    }
}

/// Time that the control thread has to answer.
const PATIENCE: Duration = Duration::from_secs(10);
