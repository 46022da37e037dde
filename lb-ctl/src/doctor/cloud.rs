//! Rules of EC2 and its network interfaces (ENA). Sources: the driver's own checks (amzn/amzn-drivers, issues 164 and 240), EC2 User
//! Guide, "Elastic network interfaces".

use super::{
    driver::{NATIVE_MTU, runs_native},
    facts::{Facts, LinkFacts},
    finding::Finding,
};

pub(super) fn judge(facts: &Facts, name: &str, link: &LinkFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    if link.driver.name == ENA {
        findings.extend(ena(name, link));
    }
    if is_ec2(facts) && link.kind.is_empty() {
        findings.extend(source_check(facts, link));
    }
    findings
}

/// Whether the machine is one of EC2, by what its firmware says.
pub(super) fn is_ec2(facts: &Facts) -> bool {
    facts.host.vendor.as_deref().is_some_and(|vendor| vendor.to_ascii_lowercase().contains("amazon"))
}

/// Lines that find the network interface's id by its link-layer address.
pub(super) fn find_network_interface(mac: &str) -> String {
    format!(
        "ENI=$(aws ec2 describe-network-interfaces --filters Name=mac-address,Values={mac} --query \
         'NetworkInterfaces[0].NetworkInterfaceId' --output text)"
    )
}

/// ENA has a transmit queue for programs beside each ordinary one, and puts a frame into one page.
fn ena(name: &str, link: &LinkFacts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let runs = runs_native(link);
    if link.mtu > NATIVE_MTU && !runs {
        let found = format!("an MTU of {} (EC2's default is 9001)", link.mtu);
        let why = format!("ENA runs XDP programs up to {NATIVE_MTU}");
        findings.push(
            Finding::warning("ena_mtu", found, why).cure(format!("ip link set dev {name} mtu {NATIVE_MTU}")),
        );
    }
    let queues = link.driver.receive_queues;
    let half = link.driver.most_queues.map(|most| (most / 2).max(1));
    if let Some(half) = half.filter(|half| queues > *half && !runs) {
        let found = format!("{queues} queues of {} are in use", link.driver.most_queues.unwrap_or(queues));
        let why =
            "ENA runs XDP programs with at most half of its queues: the others become their transmit queues";
        findings.push(
            Finding::warning("ena_queues", found, why).cure(format!("ethtool -L {name} combined {half}")),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::ok("ena", "MTU and queues are such that ENA runs XDP programs"));
    }
    findings
}

/// What has a client's source address does not leave an instance, unless the check is off.
fn source_check(facts: &Facts, link: &LinkFacts) -> Option<Finding> {
    let groups = facts.config.as_ref().map(|config| &config.config.target_groups);
    let hides_all = groups.is_some_and(|groups| groups.iter().all(|group| !group.preserves_client_ip));
    let mac = link.mac.as_ref().filter(|_| !hides_all)?;
    let found = "on EC2; whether the source/destination check is off cannot be seen from here";
    let why = "while it is on, EC2 drops packets that carry a client's address to targets";
    let disable =
        "aws ec2 modify-network-interface-attribute --network-interface-id $ENI --no-source-dest-check";
    Some(Finding::note("source_dest_check", found, why).cure(find_network_interface(mac)).cure(disable))
}

/// Name of the driver.
pub(super) const ENA: &str = "ena";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{
        facts::Trial,
        finding::Severity::{Note, Ok, Warning},
        samples,
    };

    fn topics(
        change: impl FnOnce(&mut Facts, &mut LinkFacts),
    ) -> Vec<(&'static str, super::super::Severity)> {
        let (mut facts, mut link) = (samples::fit(), samples::link());
        link.driver.name = ENA.into();
        change(&mut facts, &mut link);
        judge(&facts, "ens5", &link).into_iter().map(|finding| (finding.topic, finding.severity)).collect()
    }

    #[test]
    fn ena_wants_a_small_mtu_and_half_of_its_queues() {
        let untried = |link: &mut LinkFacts, mtu, queues, most| {
            link.trial = Trial::Left(super::super::Untried::Traffic);
            link.mtu = mtu;
            (link.driver.receive_queues, link.driver.most_queues) = (queues, Some(most));
        };
        assert_eq!(topics(|_, link| untried(link, 3_498, 4, 8)), [("ena", Ok)]);
        assert_eq!(topics(|_, link| untried(link, 9_001, 4, 8)), [("ena_mtu", Warning)]);
        assert_eq!(topics(|_, link| link.mtu = 9_001), [("ena", Ok)], "it was seen to run");
        assert_eq!(topics(|_, link| untried(link, 1_500, 8, 8)), [("ena_queues", Warning)]);
        assert_eq!(topics(|_, link| untried(link, 1_500, 1, 1)), [("ena", Ok)], "one queue cannot be halved");
    }

    #[test]
    fn another_driver_is_not_asked_for_that() {
        assert_eq!(topics(|_, link| (link.driver.name, link.mtu) = ("ice".into(), 9_001)), []);
    }

    #[test]
    fn the_source_check_matters_where_clients_are_kept() {
        let on_ec2 = |facts: &mut Facts| facts.host.vendor = Some("Amazon EC2".into());
        assert_eq!(topics(|facts, _| on_ec2(facts)).last(), Some(&("source_dest_check", Note)));
        let full_nat = topics(|facts, _| {
            on_ec2(facts);
            let config = &mut facts.config.as_mut().unwrap().config;
            config.target_groups.iter_mut().for_each(|group| group.preserves_client_ip = false);
        });
        assert!(full_nat.iter().all(|(topic, _)| *topic != "source_dest_check"), "{full_nat:?}");
    }
}
