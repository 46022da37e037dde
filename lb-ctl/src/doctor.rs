//! `lbctl doctor`: whether a host and its interfaces are fit for a load balancer, before the first packet.
//!
//! Pure: [`judge`] turns [`Facts`] into [`Finding`]s, rule by rule. Who collects the facts is the caller's business, for this
//! crate touches no interface. Rules of the host stand in `host`, of one interface in `interface`, `driver` and `cloud`, of a
//! configuration on this host in `configuration`.

mod cloud;
mod configuration;
mod driver;
mod facts;
mod finding;
mod host;
mod interface;
#[cfg(test)]
mod samples;

use serde::Serialize;

pub use configuration::{assigned, shared_sources};
pub use facts::{
    Attempt, ConfigFacts, DriverFacts, Facts, HostFacts, Inquiry, InterfaceFacts, Interrupt, LayoutFacts,
    LinkFacts, Offload, ProbeWhen, ProgramFacts, Trial, Tried, Untried, XdpClaims,
};
pub use finding::{Finding, Severity};

/// All findings: of the host first, then of each interface, then of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst severity among them.
    pub worst: Severity,
    /// The findings.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings are of a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }
}

/// Judges the facts.
pub fn judge(facts: &Facts) -> Report {
    let mut findings = host::judge(facts);
    if facts.interfaces.is_empty() {
        let why = "a load balancer needs one that frames come in by";
        findings.push(
            Finding::warning("interfaces", "there is no Ethernet interface to look at", why).cure("ip link"),
        );
    }
    for interface in &facts.interfaces {
        let found = match &interface.link {
            None => vec![interface::missing(&interface.name)],
            Some(link) if link.mac.is_none() => vec![interface::state(&interface.name, link)],
            Some(link) => [
                interface::judge(&interface.name, link),
                driver::judge(facts, &interface.name, link),
                cloud::judge(facts, &interface.name, link),
            ]
            .concat(),
        };
        findings.extend(found.into_iter().map(|finding| finding.of(&interface.name)));
    }
    findings.extend(facts.config.iter().flat_map(|config| configuration::judge(facts, config)));
    let worst = findings.iter().map(|finding| finding.severity).max().unwrap_or(Severity::Ok);
    Report { worst, findings }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_host_has_nothing_worse_than_notes() {
        let report = judge(&samples::fit());
        let worse: Vec<&Finding> =
            report.findings.iter().filter(|finding| finding.severity > Severity::Ok).collect();
        assert!(worse.is_empty(), "{worse:#?}");
        assert_eq!(report.worst, Severity::Ok);
        assert!(report.count(Severity::Ok) > 10);
    }

    #[test]
    fn of_an_interface_without_ethernet_nothing_else_is_told() {
        let mut facts = samples::fit();
        let link = facts.interfaces[0].link.as_mut().unwrap();
        (link.mac, link.mtu) = (None, 65_536);
        let told = judge(&facts).findings.into_iter().filter(|finding| finding.interface.is_some());
        let told: Vec<_> = told.map(|finding| (finding.topic, finding.severity)).collect();
        assert_eq!(told, [("link", Severity::Fault)]);
    }

    #[test]
    fn the_worst_finding_is_the_reports() {
        let mut facts = samples::fit();
        facts.interfaces.push(InterfaceFacts { name: "eth9".into(), link: None });
        let report = judge(&facts);
        assert_eq!((report.worst, report.count(Severity::Fault)), (Severity::Fault, 1));
        let missing = report.findings.iter().find(|finding| finding.severity == Severity::Fault).unwrap();
        assert_eq!(missing.interface.as_deref(), Some("eth9"));
        facts.interfaces.clear();
        assert_eq!(judge(&facts).worst, Severity::Warning, "nothing to look at");
    }

    #[test]
    fn what_is_worse_than_a_note_says_why_and_what_to_type() {
        for facts in samples::unfit() {
            for finding in judge(&facts).findings {
                let says = !finding.why.is_empty() && !finding.cure.is_empty();
                assert!(finding.severity < Severity::Warning || says, "{finding:#?}");
            }
        }
    }
}
