//! The bypass detector. Where targets see clients' addresses, their replies come back through the load balancer only if a route leads
//! them here; without it they go past, and clients wait for ever, or talk to targets whose flows end here half-open. Two signs show
//! it: clients acknowledge answers that have not come by, or repeat their SYNs while the target passes its checks and none
//! of its replies to anybody comes by. Called by the control thread once a second, and by its reports.
//!
//! Nobody is blamed for less: a slow target's kernel answers in time, one that refuses, answers, too, one that is dead fails its checks,
//! and of answers to a flood, or over a bad link, some come by.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    time::{Duration, SystemTime},
};

use lb_core::{counters::WorkerCounters, datapath::FlowView, tables::TargetId};
use lb_ctl::{
    api::{Bypass, BypassSign, Happening},
    compile::{Registration, TargetEntry},
    health::{LastCheck, TargetKey},
};
use lb_io::nexthop;

use crate::{control::Control, log::say};

/// The targets whose clients' addresses are kept.
#[derive(Debug, Default)]
pub struct BypassDetector {
    watches: HashMap<TargetKey, Watch>,
}

/// One of them.
#[derive(Debug, Default)]
struct Watch {
    /// What was counted until the last look.
    counted: Signs,
    /// When that was.
    looked: Option<SystemTime>,
    suspicion: Option<Suspicion>,
    verdict: Option<Bypass>,
    /// When a verdict was last told.
    told: Option<SystemTime>,
    /// Whether this one was.
    is_told: bool,
}

/// What flows tell of a target, counted since the start or between two looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Signs {
    /// SYNs that clients had to repeat.
    repeated_syns: u64,
    /// Flows whose client acknowledged an answer that has not come by here.
    bypassed_flows: u64,
    /// Packets to clients.
    replies: u64,
}

/// Signs without a reply among them.
#[derive(Clone, Copy, Debug)]
struct Suspicion {
    since: SystemTime,
    latest: SystemTime,
    bypassed_flows: u64,
    /// Whether the last check that began among them passed.
    is_alive: bool,
}

/// What a look at a target has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Nothing,
    /// Its replies go past, and that is to be told.
    Due,
    /// What was told is over.
    Over,
}

impl Control {
    /// Looks at the counters of targets, and has told whose replies go past.
    pub(crate) fn watch_for_bypasses(&mut self, targets: &[TargetEntry]) {
        let now = SystemTime::now();
        let counters = self.engine.counters();
        let row = |entry: &TargetEntry| {
            let check = self.health.report(&entry.key).and_then(|report| report.last_check);
            (entry.key.clone(), count(&counters, entry.id), check)
        };
        let rows = targets.iter().filter(|entry| self.can_be_bypassed(entry)).map(row).collect();
        let (due, over) = self.bypass.look(rows, now);
        over.iter().for_each(|key| self.tell(key, None));
        // Whoever is left over is due again at the next look.
        for key in due.into_iter().take(TOLD_AT_ONCE).take_while(|_| !self.questions.are_too_many()) {
            self.bypass.note_told(&key, now);
            self.find_waiting_client(key);
        }
    }

    /// Tells of a target whose replies go past, and of one of its clients by that one's flow.
    pub(crate) fn tell_of_bypass(&mut self, key: &TargetKey, flow: Option<&FlowView>) {
        let watch = self.bypass.watches.get_mut(key);
        let Some(verdict) = watch.and_then(|watch| watch.verdict.as_mut()) else { return };
        *verdict = match flow {
            Some(flow) => shown_by(flow, verdict.sign),
            None => Bypass { gateway: own_address_towards(key.address), ..verdict.clone() },
        };
        let bypass = verdict.clone();
        self.tell(key, Some(bypass));
    }

    fn tell(&self, key: &TargetKey, bypass: Option<Bypass>) {
        match &bypass {
            Some(bypass) => say!("WARNING: target {key}: {bypass}"),
            None => say!("target {key}: nothing shows any more that replies go past the load balancer"),
        }
        let target = SocketAddr::from((key.address, key.port)).to_string();
        self.server.events().publish(Happening::Bypass {
            target_group: key.group.to_string(),
            target,
            bypass,
        });
    }

    fn can_be_bypassed(&self, entry: &TargetEntry) -> bool {
        let group = || self.tables.group(self.tables.target(entry.id)?.group);
        entry.registration == Registration::Registered { unused: None }
            && group().is_some_and(|group| group.preserves_client_ip)
    }
}

impl BypassDetector {
    /// Looks at these targets, no others from now on: of whom a bypass is to be told, and of whom its end.
    fn look(
        &mut self,
        rows: Vec<(TargetKey, Signs, Option<LastCheck>)>,
        now: SystemTime,
    ) -> (Vec<TargetKey>, Vec<TargetKey>) {
        let mut before = std::mem::take(&mut self.watches);
        let (mut due, mut over) = (Vec::new(), Vec::new());
        for (key, counted, check) in rows {
            let mut watch = before.remove(&key).unwrap_or_default();
            match watch.look(counted, check, now) {
                News::Nothing => {}
                News::Due => due.push(key.clone()),
                News::Over => over.push(key.clone()),
            }
            self.watches.insert(key, watch);
        }
        over.extend(before.into_iter().filter(|(_, watch)| watch.is_told).map(|(key, _)| key));
        (due, over)
    }

    fn note_told(&mut self, key: &TargetKey, now: SystemTime) {
        if let Some(watch) = self.watches.get_mut(key) {
            (watch.told, watch.is_told) = (Some(now), true);
        }
    }

    /// How a target's replies go past, if something shows that they do.
    pub fn of(&self, key: &TargetKey) -> Option<Bypass> {
        let verdict = self.watches.get(key)?.verdict.clone()?;
        let gateway = verdict.gateway.or_else(|| own_address_towards(key.address));
        Some(Bypass { gateway, ..verdict })
    }
}

impl Watch {
    /// Takes in what a target has counted by now, and its last check.
    fn look(&mut self, counted: Signs, check: Option<LastCheck>, now: SystemTime) -> News {
        let before = self.looked.replace(now);
        let growth = counted.since(std::mem::replace(&mut self.counted, counted));
        let Some(before) = before else { return News::Nothing };
        if growth.replies > growth.bypassed_flows {
            return self.clear();
        }
        if growth.bypassed_flows > 0 || growth.repeated_syns > 0 {
            let first = Suspicion { since: before, latest: now, bypassed_flows: 0, is_alive: false };
            let suspicion = self.suspicion.get_or_insert(first);
            suspicion.latest = now;
            suspicion.bypassed_flows += growth.bypassed_flows;
        }
        let Some(suspicion) = &mut self.suspicion else { return News::Nothing };
        if is_older(suspicion.latest, now, FORGOTTEN) {
            return self.clear();
        }
        let sign = match () {
            () if suspicion.bypassed_flows >= BYPASSED_FLOWS => Some(BypassSign::AnsweredElsewhere),
            // The check was not the end of them.
            () if growth.repeated_syns > 0 && suspicion.is_alive => Some(BypassSign::Silence),
            () => None,
        };
        suspicion.consider(check);
        if let Some(sign) = sign {
            let unknown = Bypass { sign, client: None, gateway: None, is_client_at_target: false };
            let known = self.verdict.get_or_insert(unknown);
            known.sign = sign;
        }
        let pause = if self.is_told { TOLD_AGAIN } else { BEGUN_AGAIN };
        match self.verdict.is_some() && self.told.is_none_or(|told| is_older(told, now, pause)) {
            true => News::Due,
            false => News::Nothing,
        }
    }

    /// Replies come by, or nobody has shown otherwise for long.
    fn clear(&mut self) -> News {
        (self.suspicion, self.verdict) = (None, None);
        match std::mem::take(&mut self.is_told) {
            true => News::Over,
            false => News::Nothing,
        }
    }
}

impl Suspicion {
    /// Takes in the last check, which may be from before.
    fn consider(&mut self, check: Option<LastCheck>) {
        match check {
            Some(LastCheck { outcome: Err(_), .. }) => self.is_alive = false,
            Some(check) if check.ended.checked_sub(check.took) >= Some(self.since) => self.is_alive = true,
            _ => {}
        }
    }
}

impl Signs {
    fn since(self, earlier: Signs) -> Signs {
        Signs {
            repeated_syns: self.repeated_syns.saturating_sub(earlier.repeated_syns),
            bypassed_flows: self.bypassed_flows.saturating_sub(earlier.bypassed_flows),
            replies: self.replies.saturating_sub(earlier.replies),
        }
    }
}

/// A bypass, as one of the flows shows it.
pub(crate) fn shown_by(flow: &FlowView, sign: BypassSign) -> Bypass {
    let (client, target) = (flow.client.0, flow.target.0);
    Bypass {
        sign,
        client: Some(client),
        gateway: own_address_towards(target),
        is_client_at_target: flow.shares_hop && [client, target].into_iter().any(is_neighbour),
    }
}

/// Whether no router is before an address. What the kernel does not tell counts as a router, who may be advised.
fn is_neighbour(address: IpAddr) -> bool {
    nexthop::is_on_link(address).unwrap_or(false)
}

/// The host's own address that it sends from towards an address. Nothing is sent.
pub(crate) fn own_address_towards(address: IpAddr) -> Option<IpAddr> {
    let any = match address {
        IpAddr::V4(_) => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect((address, DISCARD)).ok()?;
    socket.local_addr().ok().map(|own| own.ip())
}

fn count(counters: &[impl AsRef<WorkerCounters>], id: TargetId) -> Signs {
    let mut signs = Signs::default();
    for target in counters.iter().filter_map(|worker| worker.as_ref().targets.get(id.0 as usize)) {
        signs.repeated_syns += target.repeated_syns.value();
        signs.bypassed_flows += target.bypassed_flows.value();
        signs.replies += target.packets_out.value();
    }
    signs
}

/// A clock that was set back makes nothing older.
fn is_older(then: SystemTime, now: SystemTime, age: Duration) -> bool {
    now.duration_since(then).is_ok_and(|past| past >= age)
}

/// One flow alone may be somebody's joke.
const BYPASSED_FLOWS: u64 = 2;
/// Signs are forgotten when no other has come for this long: longer than clients wait between their SYNs.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// A target is told of again after this long, while it lasts.
const TOLD_AGAIN: Duration = Duration::from_secs(300);
/// The same when it was over and has begun again: who comes and goes makes no flood.
const BEGUN_AGAIN: Duration = Duration::from_secs(30);
/// Most targets told of in one look.
const TOLD_AT_ONCE: usize = 8;
/// A port that is as good as any other (RFC 863).
const DISCARD: u16 = 9;

#[cfg(test)]
mod tests;
