//! A row for each way that a device can be.

use super::*;
use crate::doctor::{
    facts::Tried,
    finding::Severity::{self, Fault, Note, Ok as Fine, Warning},
    samples,
};

fn finding(topic: &str, change: impl FnOnce(&mut Facts, &mut LinkFacts)) -> Option<Finding> {
    let (mut facts, mut link) = (samples::fit(), samples::link());
    change(&mut facts, &mut link);
    judge(&facts, "eth0", &link).into_iter().find(|finding| finding.topic == topic)
}

fn severity(topic: &str, change: impl FnOnce(&mut LinkFacts)) -> Option<Severity> {
    finding(topic, |_, link| change(link)).map(|finding| finding.severity)
}

fn refused(words: &str) -> Trial {
    Trial::Done(Tried { native: Err(words.into()), zero_copy: Err(words.into()), copy: Ok(()) })
}

#[test]
fn what_was_tried_is_told_with_the_kernels_words() {
    let copying =
        || Trial::Done(Tried { native: Ok(()), zero_copy: Err("not supported".into()), copy: Ok(()) });
    assert_eq!(severity("native_xdp", |_| ()), Some(Fine));
    assert_eq!(severity("zero_copy", |_| ()), Some(Fine));
    assert_eq!(severity("zero_copy", |link| link.trial = copying()), Some(Warning), "it says that it can");
    let honest = |link: &mut LinkFacts| (link.trial, link.claims) = (copying(), None);
    assert_eq!(severity("zero_copy", honest), Some(Note));
    let none = Trial::Done(Tried { native: Ok(()), zero_copy: Err("no".into()), copy: Err("memory".into()) });
    assert_eq!(severity("zero_copy", |link| link.trial = none), Some(Fault));
    let generic = finding("native_xdp", |_, link| link.trial = refused("Operation not supported")).unwrap();
    assert_eq!(generic.severity, Warning);
    assert!(generic.found.contains("ice does not run the XDP program: Operation not supported"));
}

#[test]
fn an_mtu_is_lowered_to_what_fits_a_buffer() {
    let mtu = |driver: &str, trial: Trial| {
        let change = |_: &mut Facts, link: &mut LinkFacts| {
            (link.mtu, link.driver.name, link.trial) = (9_001, driver.into(), trial);
        };
        finding("mtu", change).unwrap()
    };
    let untried = || Trial::Left(Untried::Traffic);
    let ice = mtu("ice", untried());
    assert_eq!(ice.cure[0], "ip link set dev eth0 mtu 3826");
    assert!(ice.why.contains("most drivers do not run XDP programs"), "{}", ice.why);
    assert_eq!(mtu("ena", untried()).cure[0], "ip link set dev eth0 mtu 3498");
    assert_eq!(mtu("ice", samples::link().trial).why, "longer ones are lost", "it was seen to run");
}

#[test]
fn the_cure_follows_the_refusal() {
    let cure = |words: &str, change: fn(&mut LinkFacts)| {
        let finding = finding("native_xdp", |_, link| {
            link.trial = refused(words);
            change(link);
        });
        finding.unwrap().cure.concat()
    };
    assert_eq!(cure("MTU too large", |_| ()), "ip link set dev eth0 mtu 3498");
    assert_eq!(cure("Invalid argument", |link| link.mtu = 9_000), "ip link set dev eth0 mtu 3498");
    let on_veth = cure("Peer MTU is too large to set XDP", |link| link.kind = "veth".into());
    assert!(on_veth.starts_with("ip link set dev PEER mtu 3498"), "{on_veth}");
    assert_eq!(cure("Can't set XDP while LRO is on", |_| ()), "ethtool -K eth0 lro off rx-gro-hw off");
    assert!(
        cure("Operation not supported", |link| link.driver.name = "virtio_net".into())
            .contains("guest_tso4=off")
    );
}

#[test]
fn what_was_not_tried_is_said_with_the_reason() {
    for (untried, expected) in [
        (Untried::Holder, Fine),
        (Untried::Program, Note),
        (Untried::Traffic, Note),
        (Untried::DefaultRoute, Note),
        (Untried::Unusable, Note),
        (Untried::NotPermitted, Note),
        (Untried::Unwanted, Note),
        (Untried::Failed("no memory".into()), Warning),
    ] {
        let left = |link: &mut LinkFacts| link.trial = Trial::Left(untried.clone());
        assert_eq!(severity("native_xdp", left), Some(expected), "{untried:?}");
    }
    let busy = finding("native_xdp", |_, link| link.trial = Trial::Left(Untried::Traffic)).unwrap();
    assert!(busy.found.ends_with("it can run the XDP program, and can do without copying"), "{}", busy.found);
    assert!(busy.cure[0].starts_with("lbctl doctor --probe always eth0"));
}

#[test]
fn packets_fit_a_buffer_or_are_lost() {
    for (mtu, expected) in [(1_500, Fine), (3_826, Fine), (3_827, Warning), (9_001, Warning)] {
        assert_eq!(severity("mtu", |link| link.mtu = mtu), Some(expected), "{mtu}");
    }
}

#[test]
fn queues_go_with_cpus() {
    // Receive and transmit queues, most of both; four CPUs.
    for (receive, transmit, most, expected) in [
        (4, 4, Some(8), Fine),
        (4, 8, None, Fine),
        (2, 2, Some(8), Note),
        (2, 2, Some(2), Fine),
        (8, 8, Some(8), Note),
        (4, 2, None, Note),
        (65, 65, None, Fault),
    ] {
        let set = |link: &mut LinkFacts| {
            let driver = &mut link.driver;
            (driver.receive_queues, driver.transmit_queues, driver.most_queues) = (receive, transmit, most);
        };
        assert_eq!(severity("queues", set), Some(expected), "{receive} {transmit} {most:?}");
    }
}

#[test]
fn the_receive_hash_matters_with_several_queues() {
    assert_eq!(severity("receive_hash", |_| ()), Some(Fine));
    assert_eq!(severity("receive_hash", |link| link.driver.tells_receive_hash = false), Some(Note));
    assert_eq!(severity("receive_hash", |link| link.driver.receive_queues = 1), None);
}

#[test]
fn offloads_hurt_where_they_change_what_the_program_sees() {
    let on = |name: &str, is_fixed| vec![Offload { name: name.into(), is_fixed }];
    let generic = || refused("not supported");
    // Offload; whether the program runs in the driver; a VLAN on the interface.
    for (name, is_native, has_vlan, expected) in [
        ("rx-lro", true, false, Fine),
        ("rx-lro", false, false, Warning),
        ("rx-gro-hw", false, false, Warning),
        ("rx-gro", true, false, Fine),
        ("rx-gro", false, false, Warning),
        ("rx-vlan-hw-parse", true, false, Fine),
        ("rx-vlan-hw-parse", true, true, Warning),
        ("tx-tcp-segmentation", false, true, Fine),
    ] {
        let set = |link: &mut LinkFacts| {
            link.driver.offloads = on(name, false);
            link.vlans = if has_vlan { vec!["eth0.5".into()] } else { Vec::new() };
            if !is_native {
                link.trial = generic();
            }
        };
        assert_eq!(severity("offloads", set), Some(expected), "{name} {is_native} {has_vlan}");
    }
    let cure = |driver: &str, is_fixed| {
        let finding = finding("offloads", |_, link| {
            link.trial = generic();
            link.driver.name = driver.into();
            link.driver.offloads = on("rx-gro-hw", is_fixed);
        });
        finding.unwrap().cure
    };
    assert_eq!(cure("ice", false), ["ethtool -K eth0 rx-gro-hw off"]);
    assert!(cure("ice", true)[0].starts_with("ethtool -k eth0"));
    assert_eq!(cure("virtio_net", true), [VIRTIO_CURE]);
}

#[test]
fn a_device_can_fill_its_ring() {
    assert_eq!(severity("rings", |_| ()), Some(Fine));
    let long = finding("rings", |_, link| link.driver.receive_ring = Some((8_192, 8_192))).unwrap();
    assert_eq!(long.severity, Warning);
    assert_eq!(long.cure, ["ethtool -G eth0 rx 4096", "or in the configuration: [workers] frames = 16384"]);
    let copying = |link: &mut LinkFacts| {
        link.driver.receive_ring = Some((8_192, 8_192));
        link.trial = refused("not supported");
    };
    assert_eq!(severity("rings", copying), Some(Fine), "the kernel's own buffers fill it then");
    assert_eq!(severity("rings", |link| link.driver.receive_ring = Some((256, 4_096))), Some(Note));
    assert_eq!(severity("rings", |link| link.driver.receive_ring = Some((256, 256))), Some(Fine));
    assert_eq!(severity("rings", |link| link.driver.receive_ring = None), None);
}

#[test]
fn one_cpu_is_not_to_take_all_interrupts() {
    let with = |cpus: [&str; 4]| {
        severity("interrupts", |link| {
            link.interrupts.iter_mut().zip(cpus).for_each(|(interrupt, cpus)| interrupt.cpus = cpus.into());
        })
    };
    assert_eq!(with(["0", "1", "2", "3"]), Some(Fine));
    assert_eq!(with(["1", "1", "1", "1"]), Some(Warning));
    assert_eq!(with(["0-3", "0-3", "0-3", "0-3"]), Some(Fine), "anywhere");
    assert_eq!(severity("interrupts", |link| link.interrupts.truncate(1)), Some(Fine));
    assert_eq!(severity("interrupts", |link| link.interrupts.clear()), None);
}
