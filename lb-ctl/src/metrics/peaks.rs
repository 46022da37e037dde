//! Peak rates as NLB has them: the highest mean over 10 s in a minute (`PeakPacketsPerSecond`, `PeakBytesPerSecond`). Pure: whoever
//! observes says when.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use crate::api::{ListenerRow, LoadBalancerRow, Traffic};

/// The rates of load balancers in the windows that count.
#[derive(Debug, Default)]
pub struct Peaks {
    observed: Option<Duration>,
    /// Of each listener, by name, at the end of the last window.
    listeners: HashMap<String, Traffic>,
    /// By load balancer; oldest first.
    windows: HashMap<String, VecDeque<Peak>>,
}

/// A rate of packets and bytes, both directions together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Peak {
    /// Packets a second.
    pub packets_per_second: f64,
    /// Bytes a second, from the IP header on.
    pub bytes_per_second: f64,
}

impl Peaks {
    /// Whether a window is over, at a time since some beginning.
    pub fn is_due(&self, now: Duration) -> bool {
        self.observed.is_none_or(|observed| now.saturating_sub(observed) >= WINDOW)
    }

    /// Ends a window: takes in what all load balancers have counted until `now`.
    pub fn observe(&mut self, now: Duration, load_balancers: &[LoadBalancerRow]) {
        let took = self.observed.replace(now).map(|observed| now.saturating_sub(observed).as_secs_f64());
        let before = std::mem::take(&mut self.listeners);
        let mut earlier = std::mem::take(&mut self.windows);
        for lb in load_balancers {
            let growth = |row: &ListenerRow| growth(before.get(&row.name), row.traffic);
            let sum = lb.listeners.iter().map(growth).fold(Traffic::default(), Traffic::and);
            let mut windows = earlier.remove(&lb.name).unwrap_or_default();
            if let Some(seconds) = took.filter(|seconds| *seconds > 0.0) {
                windows.push_back(Peak::of(&sum, seconds));
                windows.drain(..windows.len().saturating_sub(WINDOWS));
            }
            self.windows.insert(lb.name.clone(), windows);
            self.listeners.extend(lb.listeners.iter().map(|row| (row.name.clone(), row.traffic)));
        }
    }

    /// The highest rates of each load balancer over the windows that count, in the order of names.
    pub fn highest(&self) -> Vec<(String, Peak)> {
        let mut peaks: Vec<_> = self
            .windows
            .iter()
            .filter_map(|(name, windows)| Some((name.clone(), windows.iter().copied().reduce(Peak::max)?)))
            .collect();
        peaks.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        peaks
    }
}

impl Peak {
    fn of(traffic: &Traffic, seconds: f64) -> Peak {
        Peak {
            packets_per_second: (traffic.packets_in + traffic.packets_out) as f64 / seconds,
            bytes_per_second: (traffic.bytes_in + traffic.bytes_out) as f64 / seconds,
        }
    }

    fn max(self, other: Peak) -> Peak {
        Peak {
            packets_per_second: self.packets_per_second.max(other.packets_per_second),
            bytes_per_second: self.bytes_per_second.max(other.bytes_per_second),
        }
    }
}

/// What has come since. A listener that was gone meanwhile counts from 0 again.
fn growth(before: Option<&Traffic>, now: Traffic) -> Traffic {
    let has_grown =
        |before: &&Traffic| now.packets_in >= before.packets_in && now.packets_out >= before.packets_out;
    now.since(before.filter(has_grown).copied().unwrap_or_default())
}

/// What rates are means over.
const WINDOW: Duration = Duration::from_secs(10);

/// So many windows count: NLB reports once a minute.
const WINDOWS: usize = 6;
