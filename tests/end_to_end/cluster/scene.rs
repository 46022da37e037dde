//! A cluster with its links tapped, and, where a test is about it, an `lbd` before it.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lb_ctl::{api::TargetRow, client::Client};
use lbd::testbed::{
    cleanup::OwnDirectory,
    client::{Answer, Conversation, Crowd, Flows, Seen},
    cluster::{
        Cluster, configuration,
        places::{Node, Pod},
    },
    daemon::{Books, are_tables_applied, is_serving},
    namespace::Namespace,
    process::Process,
    tap::{Hop, Taps},
};
use libtest_mimic::Failed;

use super::walk::Walk;
use crate::harness::{LBD, PATIENCE, SOCKET, wait_until};

/// A cluster whose links are tapped.
pub struct Scene {
    daemon: Option<Process>,
    /// The daemon's control socket.
    pub control: Client,
    taps: Taps,
    /// The cluster.
    pub cluster: Cluster,
    directory: OwnDirectory,
}

/// Who begins a conversation.
#[derive(Clone, Copy, Debug)]
pub enum Caller {
    /// The client outside.
    Client,
    /// A pod.
    Pod(Pod),
    /// A node itself.
    Node(Node),
}

impl Scene {
    /// The cluster alone.
    pub fn without_lbd() -> Result<Scene, Failed> {
        let cluster = Cluster::build()?;
        let taps = Taps::on(&cluster.links())?;
        let directory = OwnDirectory::create()?;
        let control = Client::new(&directory.path().join(SOCKET));
        Ok(Scene { daemon: None, control, taps, cluster, directory })
    }

    /// The cluster with the daemon before it, once all targets are healthy.
    pub fn serve() -> Result<Scene, Failed> {
        let mut scene = Scene::without_lbd()?;
        let config = scene.write(&configuration(scene.directory.path()))?;
        let mut command = scene.cluster.lb.command(Path::new(LBD));
        command.arg("run").arg("--config").arg(config);
        scene.daemon = Some(Process::start(&mut command, &scene.directory.path().join("lbd.log"))?);
        scene.wait_for("all targets healthy", |targets| {
            !targets.is_empty() && targets.iter().all(is_serving)
        })?;
        Ok(scene)
    }

    /// Gives the daemon the usual configuration with one line of a target group replaced, and waits until workers go by it.
    pub fn reconfigure(&self, group: &str, line: &str, instead: &str) -> Result<(), Failed> {
        let text = configuration(self.directory.path());
        let of_group = text.find(&format!("name = \"{group}\"")).ok_or("no such group")?;
        let (before, after) = text.split_at(of_group);
        assert!(after.contains(line), "{group} has no line {line}");
        self.write(&format!("{before}{}", after.replacen(line, instead, 1)))?;
        self.control.reload()?;
        self.wait_until_applied()
    }

    fn wait_until_applied(&self) -> Result<(), Failed> {
        wait_until("workers go by the tables", || Ok(are_tables_applied(&self.control)?))
    }

    /// Waits until the daemon's view of its targets is as wanted, and then until workers go by it.
    pub fn wait_for(&mut self, what: &str, wanted: impl Fn(&[TargetRow]) -> bool) -> Result<(), Failed> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let targets = self.control.targets();
            if targets.as_deref().is_ok_and(&wanted) {
                return self.wait_until_applied();
            }
            let daemon = self.daemon.as_mut().ok_or("no daemon was started")?;
            if daemon.ended()?.is_some() || Instant::now() > deadline {
                return Err(format!("not {what}: {targets:?}\n{}", daemon.printed()).into());
            }
            std::thread::sleep(LOOKING_INTERVAL);
        }
    }

    /// Connects again and again until the answer is as wanted, and says which way the handshake of that connection went.
    pub fn walk(
        &mut self,
        caller: Caller,
        to: SocketAddr,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Result<Walk, Failed> {
        let mut answers = Vec::new();
        for _ in 0..ATTEMPTS {
            self.taps.take()?;
            let open = || {
                let mut conversation = Conversation::open(to)?;
                let answer = conversation.ask("hello")?;
                Ok::<_, io::Error>((conversation, answer))
            };
            let (conversation, answer) = self.namespace(caller).within(open)?;
            if wanted(&answer) {
                let hops = self.taps.take()?;
                return Walk::of_handshake(&self.cluster, &hops, conversation.local);
            }
            answers.push(answer);
        }
        Err(format!("none of these is wanted: {answers:?}").into())
    }

    /// The same with a datagram and its answer, on one flow of the client's.
    pub fn walk_datagram(
        &mut self,
        open: impl Fn(&Namespace) -> io::Result<Flows>,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Result<Walk, Failed> {
        let mut answers = Vec::new();
        for _ in 0..ATTEMPTS {
            self.taps.take()?;
            let answer = open(&self.cluster.client)?.ask_all("hello")?.remove(0);
            if wanted(&answer) {
                let hops = self.taps.take()?;
                return Walk::of_datagrams(&self.cluster, &hops, &answer.target);
            }
            answers.push(answer);
        }
        Err(format!("none of these is wanted: {answers:?}").into())
    }

    /// Many connections of the client's at once, whose targets must see what is given.
    pub fn crowd(&self, to: SocketAddr, count: usize, seen: Seen) -> Result<Crowd, Failed> {
        Ok(Crowd::open_seen(&self.cluster.client, to, count, seen)?)
    }

    /// All hops since they were taken last.
    pub fn hops(&mut self) -> Result<Vec<Hop>, Failed> {
        Ok(self.taps.take()?)
    }

    /// All hops since they were taken last, once there is one as wanted.
    pub fn hops_until(&mut self, wanted: impl Fn(&Hop) -> bool) -> Result<Vec<Hop>, Failed> {
        Ok(self.taps.take_until(PATIENCE, |hops| hops.iter().any(&wanted))?)
    }

    /// The namespace that somebody calls from.
    pub fn namespace(&self, caller: Caller) -> &Namespace {
        match caller {
            Caller::Client => &self.cluster.client,
            Caller::Pod(pod) => self.cluster.pod(pod),
            Caller::Node(node) => self.cluster.node(node),
        }
    }

    /// Ends the test: the books balance, the daemon stops by itself. Returns the books.
    pub fn finish(mut self) -> Result<Books, Failed> {
        let books = Books::settled(&self.control, PATIENCE)?;
        assert!(books.balance(), "the books do not balance:\n{books}");
        let status = self.daemon.take().ok_or("no daemon was started")?.stop(PATIENCE)?;
        assert!(status.success(), "lbd ended with {status}");
        Ok(books)
    }

    fn write(&self, text: &str) -> io::Result<PathBuf> {
        let path = self.directory.path().join("lbd.toml");
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// So many choices of one target among few, and it is met.
const ATTEMPTS: usize = 200;
const LOOKING_INTERVAL: Duration = Duration::from_millis(20);
