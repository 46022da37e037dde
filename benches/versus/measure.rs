//! What is measured, and the loads that measure it.

/// A load that a peer is put under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// As many small UDP frames as the sender can make.
    Udp(Flows),
    /// Small UDP frames at a fixed rate, with the balancer's CPU time watched.
    PacketCpu,
    /// Nothing, with the balancer's CPU time watched.
    Idle,
    /// Requests at a fixed rate on open connections, each timed from when it was due.
    Latency,
    /// Connections with one request each, one after the other on each of many places.
    Connections,
    /// Requests on open connections, each as soon as the last is answered.
    Requests,
    /// As many bytes as connections take.
    Bulk,
}

/// Over how many flows packets are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// 1.
    One,
    /// 1,000.
    Thousand,
    /// 100,000.
    HundredThousand,
}

/// Which CPUs a balancer may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// CPU 1. Senders have CPU 0.
    OneCpu,
    /// Both, as senders and targets do. A balancer that polls still has its one thread on CPU 1.
    AllCpus,
}

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Forwarded packets per second, counted where they arrive.
    Packets(Flows),
    /// CPU time of one packet, softirqs included.
    PacketCpu,
    /// Share of CPU 1 that is used without any traffic.
    IdleCpu,
    /// New TCP connections per second.
    Connections,
    /// Requests per second on open connections.
    Requests,
    /// TCP payload per second, counted where it arrives.
    Bulk,
    /// Latency that half of all requests stay below.
    LatencyHalf,
    /// Latency that 99 % of all requests stay below.
    Latency99,
    /// Latency that 99.9 % of all requests stay below.
    Latency999,
}

impl Load {
    /// All, in the order in which a peer gets them: those that leave it one CPU first.
    pub const ALL: [Load; 9] = [
        Load::Idle,
        Load::Udp(Flows::One),
        Load::Udp(Flows::Thousand),
        Load::Udp(Flows::HundredThousand),
        Load::PacketCpu,
        Load::Latency,
        Load::Connections,
        Load::Requests,
        Load::Bulk,
    ];

    /// Which CPUs the balancer has under it.
    pub fn room(self) -> Room {
        match self {
            Load::Udp(_) | Load::PacketCpu | Load::Idle | Load::Latency => Room::OneCpu,
            Load::Connections | Load::Requests | Load::Bulk => Room::AllCpus,
        }
    }

    /// What it tells.
    pub fn measures(self) -> &'static [Measure] {
        match self {
            Load::Udp(Flows::One) => &[Measure::Packets(Flows::One)],
            Load::Udp(Flows::Thousand) => &[Measure::Packets(Flows::Thousand)],
            Load::Udp(Flows::HundredThousand) => &[Measure::Packets(Flows::HundredThousand)],
            Load::PacketCpu => &[Measure::PacketCpu],
            Load::Idle => &[Measure::IdleCpu],
            Load::Latency => &[Measure::LatencyHalf, Measure::Latency99, Measure::Latency999],
            Load::Connections => &[Measure::Connections],
            Load::Requests => &[Measure::Requests],
            Load::Bulk => &[Measure::Bulk],
        }
    }
}

impl Flows {
    /// The number.
    pub fn count(self) -> u32 {
        match self {
            Flows::One => 1,
            Flows::Thousand => 1_000,
            Flows::HundredThousand => 100_000,
        }
    }
}

impl Measure {
    /// All, in the order of the table.
    pub const ALL: [Measure; 11] = [
        Measure::Packets(Flows::One),
        Measure::Packets(Flows::Thousand),
        Measure::Packets(Flows::HundredThousand),
        Measure::PacketCpu,
        Measure::IdleCpu,
        Measure::Connections,
        Measure::Requests,
        Measure::Bulk,
        Measure::LatencyHalf,
        Measure::Latency99,
        Measure::Latency999,
    ];

    /// Two lines above its column.
    pub fn heading(self) -> [&'static str; 2] {
        match self {
            Measure::Packets(Flows::One) => ["kpackets/s", "1 flow"],
            Measure::Packets(Flows::Thousand) => ["kpackets/s", "1 k flows"],
            Measure::Packets(Flows::HundredThousand) => ["kpackets/s", "100 k flows"],
            Measure::PacketCpu => ["ns CPU", "per packet"],
            Measure::IdleCpu => ["% of CPU 1", "when idle"],
            Measure::Connections => ["TCP conn.", "per second"],
            Measure::Requests => ["requests", "per second"],
            Measure::Bulk => ["Gbit/s", "bulk TCP"],
            Measure::LatencyHalf => ["latency us", "p50"],
            Measure::Latency99 => ["latency us", "p99"],
            Measure::Latency999 => ["latency us", "p99.9"],
        }
    }

    /// In one line, with the unit.
    pub fn title(self) -> &'static str {
        match self {
            Measure::Packets(Flows::One) => "UDP, 60-byte frames, 1 flow: thousand packets/s",
            Measure::Packets(Flows::Thousand) => "UDP, 60-byte frames, 1,000 flows: thousand packets/s",
            Measure::Packets(Flows::HundredThousand) => {
                "UDP, 60-byte frames, 100,000 flows: thousand packets/s"
            }
            Measure::PacketCpu => "CPU time at 100,000 packets/s: ns per packet (less is better)",
            Measure::IdleCpu => "CPU 1 without traffic: % used (less is better)",
            Measure::Connections => "new TCP connections/s",
            Measure::Requests => "requests/s on 16 open connections",
            Measure::Bulk => "bulk TCP, 4 connections: Gbit/s",
            Measure::LatencyHalf => "latency at 10,000 requests/s, p50: us (less is better)",
            Measure::Latency99 => "latency at 10,000 requests/s, p99: us (less is better)",
            Measure::Latency999 => "latency at 10,000 requests/s, p99.9: us (less is better)",
        }
    }

    /// A figure as it is shown.
    pub fn show(self, value: f64) -> String {
        match self {
            Measure::Bulk => format!("{value:.2}"),
            Measure::IdleCpu | Measure::LatencyHalf => format!("{value:.1}"),
            Measure::Packets(_) if value < 10.0 => format!("{value:.1}"),
            _ => grouped(value.round() as u64),
        }
    }
}

/// A number with commas between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
