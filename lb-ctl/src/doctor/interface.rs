//! Rules of an interface as the kernel has it: whether it can carry frames, what else is on it, its MTU.

use super::{
    facts::{LinkFacts, ProgramFacts},
    finding::Finding,
};

pub(super) fn missing(name: &str) -> Finding {
    let why = "lbd does not start without it";
    Finding::fault("link", format!("there is no interface {name} in this network namespace"), why)
        .cure("ip link")
}

pub(super) fn judge(name: &str, link: &LinkFacts) -> Vec<Finding> {
    let mut findings = vec![state(name, link)];
    findings.extend(kind(link));
    findings.push(program(name, link));
    findings.extend(rp_filter(name, link.rp_filter));
    findings
}

fn state(name: &str, link: &LinkFacts) -> Finding {
    let what = match link.kind.as_str() {
        "" => "a device",
        kind => kind,
    };
    if link.mac.is_none() {
        let why = "lbd reads and writes Ethernet frames";
        return Finding::fault("link", format!("{what}, but not of Ethernet"), why).cure("ip link");
    }
    if !link.is_up {
        let why = "lbd does not start with it";
        return Finding::fault("link", "it is down", why).cure(format!("ip link set {name} up"));
    }
    if !link.has_carrier {
        let why = "no frame comes or goes";
        let finding = Finding::warning("link", "there is nobody at the other end", why);
        return finding.cure(format!("ethtool {name}; then look after cable, switch port or peer"));
    }
    match link.driver.name.as_str() {
        "" | "veth" => Finding::ok("link", format!("up, {what}")),
        driver => Finding::ok("link", format!("up, {what}, driver {driver}")),
    }
}

/// Interfaces over other interfaces have no driver to run a program in, but a bond, which hands it to its ports.
fn kind(link: &LinkFacts) -> Option<Finding> {
    if let Some(master) = &link.master {
        let found = format!("it is a port of {master}");
        let why = format!("lbd takes its frames before {master} sees them, and sends by this port alone");
        return Some(Finding::warning("kind", found, why).cure("ip link set dev PORT nomaster"));
    }
    if OVER_OTHERS.contains(&link.kind.as_str()) {
        let found = format!("it is a {} over other interfaces", link.kind);
        let why = "programs run in the stack there, and every frame is copied";
        return Some(
            Finding::warning("kind", found, why).cure("ip -d link; then name the interfaces below it"),
        );
    }
    None
}

fn program(name: &str, link: &LinkFacts) -> Finding {
    let detach = format!("ip link set dev {name} xdp off");
    match (&link.program, link.holder) {
        (ProgramFacts::None, None) => Finding::ok("program", "there is no XDP program on it"),
        (ProgramFacts::None, Some(process)) => {
            Finding::ok("program", format!("an lbd (process {process}) starts on it"))
        }
        (ProgramFacts::Ours | ProgramFacts::Unknown, Some(process)) => {
            Finding::ok("program", format!("an lbd (process {process}) serves it"))
        }
        (ProgramFacts::Ours, None) => {
            let why = "it drops what is for load balancers until the next start, so that nobody is reset";
            Finding::warning("program", "an lbd that did not stop cleanly has left its XDP program", why)
                .cure("systemctl start lbd")
                .cure(format!("{detach}   # if there is to be none"))
        }
        (ProgramFacts::Stranger(stranger), _) => {
            let found = format!("another's XDP program is on it: {stranger:?}");
            let why = "there can be one, and lbd takes nobody's place";
            Finding::fault("program", found, why)
                .cure(detach)
                .cure("bpftool net; then end who holds it, where that is refused")
        }
        (ProgramFacts::Several, _) => {
            let why = "lbd takes nobody's place";
            Finding::fault("program", "several XDP programs are on it", why).cure(detach)
        }
        (ProgramFacts::Unknown, None) => {
            let why = "lbd starts only if it is its own";
            Finding::note("program", "there is an XDP program on it, whose this user may not know", why)
                .cure(format!("sudo lbctl doctor {name}"))
        }
    }
}

/// Strict filtering (RFC 3704 section 2.2) drops what comes in by another interface than answers would leave by.
fn rp_filter(name: &str, setting: Option<u8>) -> Option<Finding> {
    match setting? {
        STRICT => {
            let why = "the answers to health checks are lost where they come in by another way than the checks went out";
            let finding =
                Finding::warning("rp_filter", "the kernel filters strictly by the return path", why);
            // In a key, a dot of the name is written as a slash.
            Some(finding.cure(format!("sysctl -w net.ipv4.conf.{}.rp_filter=2", name.replace('.', "/"))))
        }
        _ => Some(Finding::ok("rp_filter", "the kernel does not filter strictly by the return path")),
    }
}

const OVER_OTHERS: [&str; 7] = ["bond", "bridge", "ipvlan", "macvlan", "team", "vlan", "vxlan"];
const STRICT: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{
        finding::Severity::{self, Fault, Note, Ok, Warning},
        samples,
    };

    fn severity_of(topic: &str, change: impl FnOnce(&mut LinkFacts)) -> Option<Severity> {
        let mut link = samples::link();
        change(&mut link);
        judge("eth0", &link)
            .into_iter()
            .find(|finding| finding.topic == topic)
            .map(|finding| finding.severity)
    }

    #[test]
    fn links() {
        assert_eq!(severity_of("link", |_| ()), Some(Ok));
        assert_eq!(severity_of("link", |link| link.mac = None), Some(Fault));
        assert_eq!(severity_of("link", |link| link.is_up = false), Some(Fault));
        assert_eq!(severity_of("link", |link| link.has_carrier = false), Some(Warning));
        assert_eq!(severity_of("kind", |_| ()), None);
        assert_eq!(severity_of("kind", |link| link.kind = "bond".into()), Some(Warning));
        assert_eq!(severity_of("kind", |link| link.kind = "veth".into()), None);
        assert_eq!(severity_of("kind", |link| link.master = Some("br0".into())), Some(Warning));
    }

    #[test]
    fn programs() {
        let severity = |program, holder| {
            severity_of("program", |link| (link.program, link.holder) = (program, holder)).unwrap()
        };
        let stranger = || ProgramFacts::Stranger("xdp_pass".into());
        for (program, holder, expected) in [
            (ProgramFacts::None, None, Ok),
            (ProgramFacts::None, Some(7), Ok),
            (ProgramFacts::Ours, Some(7), Ok),
            (ProgramFacts::Unknown, Some(7), Ok),
            (ProgramFacts::Ours, None, Warning),
            (ProgramFacts::Unknown, None, Note),
            (stranger(), None, Fault),
            (stranger(), Some(7), Fault),
            (ProgramFacts::Several, None, Fault),
        ] {
            assert_eq!(severity(program.clone(), holder), expected, "{program:?} {holder:?}");
        }
    }

    #[test]
    fn only_strict_filtering_hurts() {
        for (setting, expected) in
            [(None, None), (Some(0), Some(Ok)), (Some(1), Some(Warning)), (Some(2), Some(Ok))]
        {
            assert_eq!(severity_of("rp_filter", |link| link.rp_filter = setting), expected);
        }
        let cure = rp_filter("eth0.5", Some(1)).unwrap().cure;
        assert_eq!(cure, ["sysctl -w net.ipv4.conf.eth0/5.rp_filter=2"]);
    }
}
