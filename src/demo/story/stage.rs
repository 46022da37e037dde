//! Where scenarios are played: the cluster with a real `lbd` in it, every link tapped, and conversations whose packets are kept.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use lb_core::{tables::Protocol::Udp, wire::l4::tcp::RST};
use lb_ctl::{
    api::{ProtocolName, TargetRow, Why, WhyQuery},
    client::Client,
};
use socket2::{Domain, Socket, Type};

use super::{
    super::{DemoError, SERVING_PATIENCE, STOP_PATIENCE},
    Form,
    walk::{Names, Ports, Walk, Way},
};
use crate::testbed::{
    Doing,
    cleanup::OwnDirectory,
    client::{Answer, Conversation, PATIENCE, ask_datagram},
    cluster::{
        self, Cluster,
        places::{CLIENT, LB, Node, Pod, VIP_A, VIP_B},
        services::{self, POD_PORTS},
    },
    daemon::{is_serving, wait_until},
    namespace::Namespace,
    process::Process,
    tap::{Crossing, Hop, Protocol, Taps, crossings, follow},
};

/// Everything that scenarios need, in the order in which it has to go.
pub(super) struct Stage {
    daemon: Process,
    /// The daemon's control socket.
    pub(super) control: Client,
    taps: Taps,
    /// The cluster.
    pub(super) cluster: Cluster,
    /// Configuration, state, socket and logs.
    pub(super) directory: OwnDirectory,
    form: Form,
    next_port: u16,
}

/// Who begins a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// The client outside of the cluster.
    Client,
    /// A pod.
    Pod(Pod),
}

impl Host {
    fn address(self) -> Ipv4Addr {
        match self {
            Host::Client => CLIENT,
            Host::Pod(pod) => pod.address(),
        }
    }
}

/// A conversation, and everything that went over any link meanwhile.
pub(super) struct Talk {
    /// Who began it.
    pub(super) from: SocketAddr,
    /// With whom, as the beginner meant.
    pub(super) to: SocketAddr,
    /// What came back, if anything did.
    pub(super) answer: Option<Answer>,
    /// All that was seen, ARP included.
    pub(super) hops: Vec<Hop>,
    /// What the load balancer says of it, where it had to do with it.
    why: Option<Why>,
    question: String,
}

impl Stage {
    /// Builds the cluster, starts the daemon, waits until it serves, and taps every link.
    pub(super) fn set_up(form: Form) -> Result<Stage, DemoError> {
        let cluster = Cluster::build()?;
        let directory = OwnDirectory::create()?;
        let config = directory.path().join("cluster.toml");
        let text = cluster::configuration(directory.path()) + STORY_CONFIGURATION;
        std::fs::write(&config, text).doing(|| format!("write {}", config.display()))?;
        let program = std::env::current_exe().doing(|| "find this program's own file".into())?;
        let mut command = cluster.lb.command(&program);
        command.arg("run").arg("--config").arg(&config);
        let mut daemon = Process::start(&mut command, &directory.path().join("lbd.log"))?;
        let control = Client::new(&directory.path().join("control/lbd.sock"));
        // The ingress is started by the scenario that needs it.
        let is_awaited = |row: &&TargetRow| row.target_group != INGRESS_GROUP;
        let serving = |rows: &[TargetRow]| rows.iter().filter(is_awaited).all(is_serving);
        if !wait_until((&control, &mut daemon), SERVING_PATIENCE, serving) {
            eprint!("{}", daemon.printed());
            return Err(DemoError::Broken);
        }
        let taps = Taps::on(&cluster.links())?;
        Ok(Stage { daemon, control, taps, cluster, directory, form, next_port: FIRST_PORT })
    }

    /// Stops the daemon, as an operator would.
    pub(super) fn stop(self) -> Result<(), DemoError> {
        self.daemon.stop(STOP_PATIENCE)?;
        Ok(())
    }

    /// Waits until the daemon's view of its targets is as wanted. Returns whether it came to be.
    pub(super) fn wait_until(&mut self, patience: Duration, wanted: impl Fn(&[TargetRow]) -> bool) -> bool {
        wait_until((&self.control, &mut self.daemon), patience, wanted)
    }

    /// A TCP conversation of one line and its answer.
    pub(super) fn converse(&mut self, host: Host, to: SocketAddr) -> Result<Talk, DemoError> {
        let from = self.from(host);
        self.converse_from(host, from, to)
    }

    /// The same by a port from which the load balancer chooses `target`.
    pub(super) fn converse_with(
        &mut self,
        host: Host,
        to: SocketAddr,
        target: SocketAddr,
    ) -> Result<Talk, DemoError> {
        let from = self.from_towards(host, to, target)?;
        self.converse_from(host, from, to)
    }

    /// A datagram and its answer, by a port from which the load balancer chooses `target`.
    pub(super) fn ask_datagram(
        &mut self,
        host: Host,
        to: SocketAddr,
        target: SocketAddr,
    ) -> Result<Talk, DemoError> {
        let from = self.from_towards(host, to, target)?;
        self.taps.take()?;
        let question = question(from);
        let answer = self.namespace(host).within(|| ask_datagram(from, to, &question))?;
        self.talk((from, to), Some(answer), question)
    }

    /// A TCP connection that is not expected to come about, by a port from which the load balancer chooses `target`.
    pub(super) fn knock(
        &mut self,
        host: Host,
        to: SocketAddr,
        target: SocketAddr,
    ) -> Result<Talk, DemoError> {
        let from = self.from_towards(host, to, target)?;
        self.taps.take()?;
        let connect = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&from.into())?;
            Ok::<_, io::Error>(socket.connect_timeout(&to.into(), KNOCKING))
        };
        // That it fails is what is to be seen; the caller looks at what was captured.
        drop(self.namespace(host).within(connect)?);
        self.talk((from, to), None, question(from))
    }

    /// An HTTP request of the client's and the body of its answer, by a port from which the load balancer chooses `target`.
    pub(super) fn fetch(
        &mut self,
        to: SocketAddr,
        target: SocketAddr,
        request: &str,
    ) -> Result<(Talk, String), DemoError> {
        let from = self.from_towards(Host::Client, to, target)?;
        self.taps.take()?;
        let response = self.cluster.client.within(|| http(from, to, request))?;
        let talk = self.talk((from, to), None, request.to_owned())?;
        let body = response.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        Ok((talk, body.unwrap_or(response)))
    }

    /// The way of a conversation's first packet, or of the one that grants it, told.
    pub(super) fn walk(&self, talk: &Talk, way: Way) -> Walk {
        self.tell(talk, &talk.crossings(way), way)
    }

    /// Any way, told.
    pub(super) fn tell(&self, talk: &Talk, crossings: &[Crossing<'_>], way: Way) -> Walk {
        Walk::tell(crossings, way, &self.names(talk))
    }

    /// The daemon's first line that has these words, once it has printed one; `None` if it does not within `patience`.
    pub(super) fn printed(&self, words: &str, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        loop {
            let printed = self.daemon.printed();
            let line = printed.lines().find(|line| line.contains(words));
            if line.is_some() || Instant::now() > deadline {
                return line.map(str::to_owned);
            }
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// What a program of the kind of `ip` says in a namespace.
    pub(super) fn said(&self, namespace: &Namespace, command: &str) -> Result<String, DemoError> {
        let mut words = command.split_whitespace();
        let program = words.next().unwrap_or_default();
        let output = namespace.command(Path::new(program)).args(words).output();
        let output = output.doing(|| format!("run {command}"))?;
        let lines = String::from_utf8_lossy(&output.stdout);
        Ok(lines.lines().map(|line| format!("{}\n", line.trim_end())).collect())
    }

    fn converse_from(&mut self, host: Host, from: SocketAddr, to: SocketAddr) -> Result<Talk, DemoError> {
        self.taps.take()?;
        let question = question(from);
        let ask = || {
            let mut conversation = Conversation::open_from(from, to)?;
            let answer = conversation.ask(&question)?;
            Ok::<_, io::Error>((conversation, answer))
        };
        let (conversation, answer) = self.namespace(host).within(ask)?;
        let talk = self.talk((from, to), Some(answer), question);
        drop(conversation);
        talk
    }

    fn talk(
        &mut self,
        (from, to): (SocketAddr, SocketAddr),
        answer: Option<Answer>,
        question: String,
    ) -> Result<Talk, DemoError> {
        let hops = self.taps.take_all()?;
        let is_vip = [VIP_A, VIP_B].map(IpAddr::from).contains(&to.ip());
        let is_udp = hops.iter().any(|hop| hop.source == from && hop.protocol == Protocol::Udp);
        let query = WhyQuery { client: from, vip: to, protocol: is_udp.then_some(ProtocolName(Udp)) };
        let why = is_vip.then(|| self.control.why(&query)).transpose()?;
        Ok(Talk { from, to, answer, hops, why, question })
    }

    fn names(&self, talk: &Talk) -> Names {
        let ends = self.cluster.links().into_iter().filter_map(|end| {
            let place = end.place().to_owned();
            Some((self.cluster.mac(&place)?, place))
        });
        let told = match self.form {
            Form::Screen => Ports::All,
            Form::Markdown => Ports::Only([&fixed_ports()[..], &[talk.from.port(), talk.to.port()]].concat()),
        };
        let why = talk.why.as_ref();
        Names {
            ends: ends.collect(),
            addresses: addresses().collect(),
            told,
            choice: why.and_then(choice).unwrap_or_default(),
            cause: why.map(cause).unwrap_or_default().to_owned(),
        }
    }
}

impl Stage {
    fn namespace(&self, host: Host) -> &Namespace {
        match host {
            Host::Client => &self.cluster.client,
            Host::Pod(pod) => self.cluster.pod(pod),
        }
    }

    /// An address and port for a new conversation; no port is used twice.
    fn from(&mut self, host: Host) -> SocketAddr {
        self.next_port += 1;
        (host.address(), self.next_port).into()
    }

    /// The same from which the load balancer chooses `target`.
    fn from_towards(
        &mut self,
        host: Host,
        vip: SocketAddr,
        target: SocketAddr,
    ) -> Result<SocketAddr, DemoError> {
        let is_udp = vip.port() == services::ECHO.port;
        for _ in 0..TRIES {
            let client = self.from(host);
            let query = WhyQuery { client, vip, protocol: is_udp.then_some(ProtocolName(Udp)) };
            if self.control.why(&query)?.target.is_some_and(|row| row.target == target) {
                return Ok(client);
            }
        }
        Err(DemoError::Broken)
    }
}

impl Talk {
    /// The links that the first packet of a way crossed.
    pub(super) fn crossings(&self, way: Way) -> Vec<Crossing<'_>> {
        let request = follow(&self.hops, |hop| self.is_request(hop));
        let path = match (way, request.first()) {
            (Way::There, _) | (_, None) => request,
            (Way::Back, Some(request)) => follow(&self.hops, |hop| self.is_reply(hop, request)),
        };
        crossings(&path)
    }

    /// The links that the reset crossed by which the one who began a conversation refuses what came back.
    pub(super) fn reset(&self) -> Vec<Crossing<'_>> {
        crossings(&follow(&self.hops, |hop| hop.has(RST) && hop.source == self.from))
    }

    /// The links that the question crossed as data, with whatever is ahead of it.
    pub(super) fn asking(&self) -> Vec<Crossing<'_>> {
        let has_question = |hop: &&Hop| hop.payload().ends_with(self.question.as_bytes());
        crossings(&self.hops.iter().filter(has_question).collect::<Vec<_>>())
    }

    /// Whom the one that answered takes for its client.
    pub(super) fn seen_client(&self) -> Option<SocketAddr> {
        self.answer.as_ref().map(|answer| answer.client)
    }

    fn is_request(&self, hop: &Hop) -> bool {
        let is_first = hop.is_syn() || hop.protocol == Protocol::Udp;
        is_first && (hop.source, hop.destination) == (self.from, self.to)
    }

    fn is_reply(&self, hop: &Hop, request: &Hop) -> bool {
        match (hop.segment, request.segment) {
            (Some(reply), Some(request)) => {
                hop.is_syn_ack() && reply.acknowledgement == request.sequence.wrapping_add(1)
            }
            _ => hop.payload() != request.payload() && hop.payload().ends_with(self.question.as_bytes()),
        }
    }
}

/// Sends a request and reads until the other end closes the connection.
fn http(from: SocketAddr, to: SocketAddr, request: &str) -> io::Result<String> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&from.into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    Ok(response)
}

/// What is asked from an address; no two ask the same.
fn question(from: SocketAddr) -> String {
    format!("hello from port {}", from.port())
}

fn choice(why: &Why) -> Option<String> {
    let selection = why.selection.as_ref()?;
    Some(format!("Maglev slot {} of {} (lbctl why)", selection.slot?, selection.slots))
}

fn cause(why: &Why) -> &'static str {
    match why.source.as_ref().and_then(|source| source.cause.as_deref()) {
        Some("hairpin") => "client and target are one",
        Some("not_preserved") => "client addresses are not preserved",
        _ => "for another reason than those told here",
    }
}

fn addresses() -> impl Iterator<Item = (IpAddr, String)> {
    let pods = Pod::ALL.map(|pod| (pod.address(), pod.name().to_owned()));
    let nodes = Node::ALL.map(|node| (node.address(), node.name().to_owned()));
    let services = services::ALL.map(|service| (service.cluster_ip, format!("service {}", service.name)));
    let others = [(CLIENT, "client"), (LB, "lb"), (VIP_A, "the VIP"), (VIP_B, "the VIP")];
    let others = others.map(|(address, name)| (address, name.to_owned()));
    let all = pods.into_iter().chain(nodes).chain(services).chain(others);
    all.map(|(address, name)| (address.into(), name))
}

/// Ports that are the same in every run, but for those of a conversation itself.
fn fixed_ports() -> Vec<u16> {
    let of_services = services::ALL.iter().flat_map(|service| [service.port, service.node_port]);
    of_services.chain([POD_PORTS.tcp, POD_PORTS.udp, INGRESS_PORT, APPLICATION_PORT]).collect()
}

/// The target group of the ingress.
pub(super) const INGRESS_GROUP: &str = "ingress";
/// Where it listens.
pub(super) const INGRESS_PORT: u16 = 8_088;
/// Where the applications behind it listen.
pub(super) const APPLICATION_PORT: u16 = 8_090;
/// What scenarios need beyond the cluster's configuration.
const STORY_CONFIGURATION: &str = include_str!("configuration.toml");
/// Clients' ports begin behind this one.
const FIRST_PORT: u16 = 40_000;
/// Ports that are tried until the load balancer chooses the wanted one of a few targets.
const TRIES: usize = 1_000;
/// How long a connection is tried that is not to come about.
const KNOCKING: Duration = Duration::from_secs(5);
const LOOK_AGAIN: Duration = Duration::from_millis(50);
