//! The scenarios: what each tries, shows and claims. What they mean is told by their texts.

use super::{super::DemoError, stage::Stage, walk::Walk};

mod balanced;
mod ingress;
mod inside;
mod returning;

/// One story about packets.
pub(super) struct Scenario {
    /// What it is asked for by.
    pub(super) name: &'static str,
    /// What is told, with places for what is found.
    pub(super) text: &'static str,
    /// Plays it.
    pub(super) play: fn(&mut Stage, &mut Findings) -> Result<(), DemoError>,
}

/// All scenarios, in the order in which one builds upon the other.
pub(super) const ALL: [Scenario; 14] = [
    Scenario { name: "pod-wiring", text: include_str!("texts/pod-wiring.md"), play: inside::pod_wiring },
    Scenario { name: "same-node", text: include_str!("texts/same-node.md"), play: inside::same_node },
    Scenario {
        name: "across-nodes",
        text: include_str!("texts/across-nodes.md"),
        play: inside::across_nodes,
    },
    Scenario {
        name: "policy-routing",
        text: include_str!("texts/policy-routing.md"),
        play: inside::policy_routing,
    },
    Scenario { name: "cluster-ip", text: include_str!("texts/cluster-ip.md"), play: inside::cluster_ip },
    Scenario { name: "node-port", text: include_str!("texts/node-port.md"), play: inside::node_port },
    Scenario { name: "instance", text: include_str!("texts/instance.md"), play: balanced::instance },
    Scenario {
        name: "local-policy",
        text: include_str!("texts/local-policy.md"),
        play: balanced::local_policy,
    },
    Scenario { name: "ip", text: include_str!("texts/ip.md"), play: balanced::ip },
    Scenario {
        name: "ip-preserved",
        text: include_str!("texts/ip-preserved.md"),
        play: balanced::ip_preserved,
    },
    Scenario { name: "udp", text: include_str!("texts/udp.md"), play: balanced::udp },
    Scenario { name: "hairpin", text: include_str!("texts/hairpin.md"), play: balanced::hairpin },
    Scenario { name: "ingress", text: include_str!("texts/ingress.md"), play: ingress::ingress },
    Scenario { name: "replies", text: include_str!("texts/replies.md"), play: returning::replies },
];

/// What playing a scenario has brought.
#[derive(Debug, Default)]
pub(super) struct Findings {
    shown: Vec<(&'static str, Shown)>,
    claims: Vec<(bool, String)>,
}

/// Something to be shown in a text.
#[derive(Debug)]
pub(super) enum Shown {
    /// A packet's way.
    Walk(Walk),
    /// A command and what it said.
    Said {
        /// As one would type it.
        command: String,
        /// Its lines.
        said: String,
    },
}

impl Findings {
    /// What was found for a place of the text.
    ///
    /// # Errors
    /// When nothing was: text and play do not fit.
    pub(super) fn shown(&self, place: &str) -> Result<&Shown, DemoError> {
        let found = self.shown.iter().find(|(name, _)| *name == place);
        found.map(|(_, shown)| shown).ok_or(DemoError::Broken)
    }

    /// Claims, each with whether it holds.
    pub(super) fn claims(&self) -> impl Iterator<Item = (bool, &str)> {
        self.claims.iter().map(|(holds, what)| (*holds, what.as_str()))
    }

    /// Shows a way, and claims that it led over these links.
    fn walk(&mut self, place: &'static str, walk: Walk, links: &[&str]) {
        let owners = links.iter().flat_map(|link| link.split(" > ")).filter_map(|end| end.split('/').next());
        let mut owners: Vec<&str> = owners.collect();
        owners.dedup();
        self.claim(walk.places() == links, &format!("{place}: {}", owners.join(", ")));
        self.shown.push((place, Shown::Walk(walk)));
    }

    fn said(&mut self, place: &'static str, command: &str, said: String) {
        self.shown.push((place, Shown::Said { command: command.to_owned(), said }));
    }

    fn claim(&mut self, holds: bool, what: &str) {
        self.claims.push((holds, what.to_owned()));
    }
}
