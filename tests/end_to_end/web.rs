//! Real web servers and real HTTP clients for tests: an nginx in each target's namespace; ab and curl.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufWriter, Write},
    net::{IpAddr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use lbd::testbed::{namespace::Namespace, network::Family, process::Process};
use libtest_mimic::Failed;

use crate::harness::{PATIENCE, PORTS, Rig};

/// An nginx in each target's namespace, at its addresses of both families. All serve, and take, the same files.
pub struct WebServers {
    root: PathBuf,
    logs: Vec<PathBuf>,
    _processes: Vec<Process>,
}

impl WebServers {
    /// Starts them and waits until they answer.
    pub fn start(rig: &Rig) -> Result<WebServers, Failed> {
        let root = rig.directory.path().join("www");
        fs::create_dir(&root)?;
        fs::write(root.join("index.html"), "hello\n")?;
        let mut servers = WebServers { root, logs: Vec::new(), _processes: Vec::new() };
        for (number, namespace) in (1..).zip(&rig.network.targets) {
            servers.start_one(rig, number, namespace)?;
            for family in Family::BOTH {
                wait_for(namespace, (family.target(number), PORTS.tcp).into())?;
            }
        }
        Ok(servers)
    }

    /// None of our own: the files in `root` are served, and taken, by others.
    pub fn of_others(root: PathBuf) -> WebServers {
        WebServers { root, logs: Vec::new(), _processes: Vec::new() }
    }

    fn start_one(&mut self, rig: &Rig, number: u8, namespace: &Namespace) -> Result<(), Failed> {
        let directory = rig.directory.path().join(format!("nginx{number}"));
        fs::create_dir(&directory)?;
        let (config, log) = (directory.join("nginx.conf"), directory.join("access.log"));
        fs::write(&config, nginx_config(&directory, &self.root, number))?;
        let mut nginx = namespace.command(Path::new("nginx"));
        nginx.arg("-p").arg(&directory).arg("-c").arg(&config);
        self._processes.push(Process::start(&mut nginx, &directory.join("output"))?);
        self.logs.push(log);
        Ok(())
    }

    /// Makes the file that transfers carry. It does not repeat itself (xorshift64), so that no part of it can be taken for another.
    pub fn make_noise(&self, bytes: u64) -> io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(self.root.join(NOISE))?);
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..bytes / 8 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            file.write_all(&state.to_le_bytes())?;
        }
        file.flush()
    }

    /// Downloads the noise and compares hashes.
    pub fn download(&self, client: &Namespace, from: SocketAddr) -> Result<(), Failed> {
        let mut shell = client.command(Path::new("sh"));
        shell.args(["-c", &format!("{CURL} http://{from}/{NOISE} | sha256sum")]);
        assert_eq!(output_of(&mut shell)?, hash_of(&self.root.join(NOISE))?, "downloaded from {from}");
        Ok(())
    }

    /// Uploads the noise and compares hashes.
    pub fn upload(&self, client: &Namespace, to: SocketAddr) -> Result<(), Failed> {
        let (noise, uploaded) = (self.root.join(NOISE), self.root.join(UPLOADED));
        let mut shell = client.command(Path::new("sh"));
        shell.args(["-c", &format!("{CURL} -T {} http://{to}/{UPLOADED}", noise.display())]);
        output_of(&mut shell)?;
        assert_eq!(hash_of(&uploaded)?, hash_of(&noise)?, "uploaded to {to}");
        Ok(fs::remove_file(uploaded)?)
    }

    /// Requests for each server, by the address that they came from; forgotten once asked for.
    pub fn take_visitors(&self) -> Result<Vec<BTreeMap<IpAddr, usize>>, Failed> {
        let visitors = |log: &PathBuf| {
            let text = fs::read_to_string(log)?;
            // nginx appends, so it goes on at the beginning.
            File::options().write(true).open(log)?.set_len(0)?;
            let mut visitors = BTreeMap::new();
            for line in text.lines() {
                *visitors.entry(line.parse()?).or_default() += 1;
            }
            Ok(visitors)
        };
        self.logs.iter().map(visitors).collect()
    }
}

/// Makes requests with ab, `AT_ONCE` at a time. Every one must be answered.
pub fn ab(client: &Namespace, to: SocketAddr, requests: usize) -> Result<(), Failed> {
    let mut ab = client.command(Path::new("ab"));
    ab.args(["-q", "-n", &requests.to_string(), "-c", AT_ONCE, "-s", ANSWER_S, &format!("http://{to}/")]);
    let said = output_of(&mut ab)?;
    assert!(said.contains(&format!("Complete requests:      {requests}")), "{said}");
    assert!(said.contains("Failed requests:        0"), "{said}");
    assert!(!said.contains("Non-2xx responses"), "{said}");
    Ok(())
}

/// What a command prints. A failure tells what it said.
pub fn output_of(command: &mut Command) -> Result<String, Failed> {
    let name = command.get_program().display().to_string();
    let output = command.stderr(Stdio::piped()).output().map_err(|error| format!("{name}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(format!("{name} failed ({}): {said}{}", output.status, String::from_utf8_lossy(&output.stderr))
            .into())
    }
}

fn hash_of(file: &Path) -> Result<String, Failed> {
    output_of(Command::new("sha256sum").stdin(File::open(file)?))
}

/// Waits until somebody listens.
pub fn wait_for(namespace: &Namespace, address: SocketAddr) -> Result<(), Failed> {
    let deadline = Instant::now() + PATIENCE;
    while namespace.within(|| TcpStream::connect(address)).is_err() {
        if Instant::now() > deadline {
            return Err(format!("nothing listens at {address}").into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The access log has a line for each request: the client's address. Each answer names its server.
fn nginx_config(directory: &Path, root: &Path, number: u8) -> String {
    let (directory, root) = (directory.display(), root.display());
    let [v4, v6] = Family::BOTH.map(|family| SocketAddr::from((family.target(number), PORTS.tcp)));
    format!(
        "daemon off; user root; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;\n\
         events {{ worker_connections 2048; }}\n\
         http {{\n\
             log_format client '$remote_addr';\n\
             access_log {directory}/access.log client;\n\
             sendfile on; root {root};\n\
             dav_methods PUT; client_max_body_size 0;\n\
             client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};\n\
             uwsgi_temp_path {directory}; scgi_temp_path {directory};\n\
             add_header server-number {number};\n\
             server {{ listen {v4}; listen {v6}; }}\n\
         }}\n"
    )
}

/// Without -g, curl takes the brackets of an IPv6 address for a pattern.
const CURL: &str = "curl -g -sSf --max-time 600";
const AT_ONCE: &str = "50";
/// Seconds that ab waits for an answer.
const ANSWER_S: &str = "60";
const NOISE: &str = "noise";
const UPLOADED: &str = "uploaded";
