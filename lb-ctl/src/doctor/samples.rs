//! Facts for the tests of rules: a host without a flaw, and ones with many.

use super::facts::*;
use crate::config;

/// A device with four queues that nobody uses yet.
pub(super) fn link() -> LinkFacts {
    LinkFacts {
        is_up: true,
        has_carrier: true,
        mac: Some("02:00:00:00:00:01".into()),
        mtu: 1_500,
        kind: String::new(),
        master: None,
        vlans: Vec::new(),
        driver: DriverFacts {
            name: "ice".into(),
            receive_queues: 4,
            transmit_queues: 4,
            most_queues: Some(8),
            receive_ring: Some((1_024, 4_096)),
            tells_receive_hash: true,
            offloads: vec![Offload { name: "rx-gro".into(), is_fixed: false }],
        },
        program: ProgramFacts::None,
        holder: None,
        claims: Some(XdpClaims { native: true, zero_copy: true }),
        trial: Trial::Done(Tried { native: Ok(()), zero_copy: Ok(()), copy: Ok(()) }),
        rp_filter: Some(2),
        interrupts: (0..4).map(|cpu| Interrupt { number: 40 + cpu, cpus: cpu.to_string() }).collect(),
    }
}

/// A host with four CPUs, such an interface, and a configuration for it, on which no rule has anything to say.
pub(super) fn fit() -> Facts {
    let config = config::parse(CONFIG, "lbd.toml").unwrap();
    Facts {
        host: HostFacts {
            kernel: "6.18.5".into(),
            is_root: true,
            capabilities: u64::MAX,
            xdp_socket: Attempt::Works,
            program: Attempt::Works,
            bpf_jit: Some(1),
            locked_memory_limit: None,
            memory_available: Some(8 << 30),
            huge_pages: Some("madvise".into()),
            cpus: vec![0, 1, 2, 3],
            forwards_ipv4: true,
            forwards_ipv6: true,
            has_irqbalance: false,
            vendor: Some("QEMU".into()),
            longest_frame: 3_840,
        },
        interfaces: vec![InterfaceFacts { name: "eth0".into(), link: Some(link()) }],
        config: Some(ConfigFacts {
            config,
            layout: Ok(LayoutFacts { workers: 4, fill_ring: 4_096, frame_bytes: 64 << 20 }),
            host_addresses: vec![("198.18.0.1".parse().unwrap(), "eth0".into())],
            assigned: Default::default(),
            ephemeral_ports: 32_768..=60_999,
            reserved_ports: Default::default(),
            sockets_at_risk: Vec::new(),
        }),
    }
}

/// Hosts on which all that can be wrong at a time is wrong.
pub(super) fn unfit() -> Vec<Facts> {
    let mut refused = fit();
    refused.host = HostFacts {
        kernel: "4.19".into(),
        capabilities: 0,
        xdp_socket: Attempt::Absent,
        program: Attempt::Fails("invalid argument".into()),
        bpf_jit: Some(0),
        locked_memory_limit: Some(0),
        memory_available: Some(1 << 20),
        huge_pages: Some("never".into()),
        ..refused.host
    };
    let link = refused.interfaces[0].link.as_mut().unwrap();
    link.has_carrier = false;
    link.kind = "bond".into();
    link.program = ProgramFacts::Stranger("xdp_pass".into());
    link.trial = Trial::Done(Tried {
        native: Err("not supported".into()),
        zero_copy: Err("not supported".into()),
        copy: Err("not supported".into()),
    });
    link.mtu = 9_001;
    link.rp_filter = Some(1);
    link.vlans = vec!["eth0.5".into()];
    let all = ["rx-lro", "rx-gro", "rx-gro-hw", "rx-vlan-hw-parse"];
    link.driver.offloads = all.map(|name| Offload { name: name.into(), is_fixed: true }).into();
    link.driver.name = "ena".into();
    (link.driver.receive_queues, link.driver.most_queues) = (65, Some(65));
    link.interrupts.iter_mut().for_each(|interrupt| interrupt.cpus = "0".into());
    let config = refused.config.as_mut().unwrap();
    config.layout = Err("too many queues".into());
    config.sockets_at_risk = vec!["TCP socket 198.18.0.2:5000".into()];

    let mut slow = fit();
    let link = slow.interfaces[0].link.as_mut().unwrap();
    link.program = ProgramFacts::Ours;
    link.trial = Trial::Left(Untried::Failed("out of memory".into()));
    link.master = Some("br0".into());
    let config = slow.config.as_mut().unwrap();
    config.config.load_balancers[0].assignment = config::Assignment::Elsewhere;
    slow.host.memory_available = Some(1 << 20);

    let mut down = fit();
    down.interfaces[0].link.as_mut().unwrap().is_up = false;
    down.interfaces.push(InterfaceFacts { name: "eth9".into(), link: None });
    vec![refused, slow, down]
}

const CONFIG: &str = r#"
interfaces = ["eth0"]
[[load_balancers]]
name = "edge"
addresses = ["198.18.100.1"]
[[load_balancers.listeners]]
protocol = "TCP"
port = 80
target_group = "web"
[[target_groups]]
name = "web"
protocol = "TCP"
port = 8080
targets = [{ address = "198.19.1.2" }]
attributes = { "preserve_client_ip.enabled" = true }
"#;
