//! The scenarios: what each tries, shows and claims. What they mean is told by their texts.

use super::{super::DemoError, stage::Stage, walk::Walk};
use crate::testbed::program::Program;
use ingress::NGINX;

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
    /// What it needs beyond the cluster's programs.
    program: Option<Program>,
}

/// All scenarios, in the order in which one builds upon the other.
pub(super) const ALL: [Scenario; 14] = [
    Scenario::new("pod-wiring", include_str!("texts/pod-wiring.md"), inside::pod_wiring),
    Scenario::new("same-node", include_str!("texts/same-node.md"), inside::same_node),
    Scenario::new("across-nodes", include_str!("texts/across-nodes.md"), inside::across_nodes),
    Scenario::new("policy-routing", include_str!("texts/policy-routing.md"), inside::policy_routing),
    Scenario::new("cluster-ip", include_str!("texts/cluster-ip.md"), inside::cluster_ip),
    Scenario::new("node-port", include_str!("texts/node-port.md"), inside::node_port),
    Scenario::new("instance", include_str!("texts/instance.md"), balanced::instance),
    Scenario::new("local-policy", include_str!("texts/local-policy.md"), balanced::local_policy),
    Scenario::new("ip", include_str!("texts/ip.md"), balanced::ip),
    Scenario::new("ip-preserved", include_str!("texts/ip-preserved.md"), balanced::ip_preserved),
    Scenario::new("udp", include_str!("texts/udp.md"), balanced::udp),
    Scenario::new("hairpin", include_str!("texts/hairpin.md"), balanced::hairpin),
    Scenario::new("ingress", include_str!("texts/ingress.md"), ingress::ingress).with(NGINX),
    Scenario::new("replies", include_str!("texts/replies.md"), returning::replies),
];

impl Scenario {
    const fn new(
        name: &'static str,
        text: &'static str,
        play: fn(&mut Stage, &mut Findings) -> Result<(), DemoError>,
    ) -> Scenario {
        Scenario { name, text, play, program: None }
    }

    /// The same, which cannot be played without a program.
    const fn with(self, program: Program) -> Scenario {
        Scenario { program: Some(program), ..self }
    }

    /// The program without which it cannot be played, if that is not here.
    pub(super) fn missing(&self) -> Option<Program> {
        self.program.filter(|program| !program.is_installed())
    }
}

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
        self.claim(walk.places() == links, &format!("the way \"{place}\" leads by {}", owners.join(", ")));
        self.shown.push((place, Shown::Walk(walk)));
    }

    fn said(&mut self, place: &'static str, command: &str, said: String) {
        self.shown.push((place, Shown::Said { command: command.to_owned(), said }));
    }

    fn claim(&mut self, holds: bool, what: &str) {
        self.claims.push((holds, what.to_owned()));
    }
}
