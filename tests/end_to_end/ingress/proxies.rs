//! nginx and HAProxy as ingress proxies, each once for clients that it sees and once for clients that it is told of, and the two
//! backends that they send requests on to. All in one namespace.

use std::{
    cell::RefCell,
    collections::HashMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use lbd::testbed::{network::Family, process::Process};
use libtest_mimic::Failed;

use crate::{
    harness::{PATIENCE, Rig},
    web::wait_for,
};

/// The proxies, by their ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Proxy {
    /// nginx.
    Nginx = 8_080,
    /// nginx that expects PROXY headers.
    NginxTold = 8_081,
    /// HAProxy.
    Haproxy = 8_082,
    /// HAProxy that expects PROXY headers.
    HaproxyTold = 8_083,
}

/// All of them, running.
pub struct Proxies {
    directory: PathBuf,
    /// Visitors that were taken, by proxy.
    taken: RefCell<HashMap<Proxy, usize>>,
    _processes: [Process; 2],
}

impl Proxies {
    /// Starts them in the first target's namespace, and waits until they listen.
    pub fn start(rig: &Rig) -> Result<Proxies, Failed> {
        let directory = rig.directory.path().join("ingress");
        for backend in ["blue", "green"] {
            fs::create_dir_all(directory.join(backend))?;
            fs::write(directory.join(backend).join("index.html"), format!("{backend}\n"))?;
        }
        fs::write(directory.join("nginx.conf"), nginx_config(&directory))?;
        fs::write(directory.join("haproxy.cfg"), haproxy_config())?;
        let namespace = &rig.network.targets[0];
        let mut nginx = namespace.command(Path::new("nginx"));
        nginx.arg("-p").arg(&directory).arg("-c").arg(directory.join("nginx.conf"));
        let mut haproxy = namespace.command(Path::new("haproxy"));
        haproxy.arg("-db").arg("-f").arg(directory.join("haproxy.cfg"));
        let processes = [
            Process::start(&mut nginx, &directory.join("nginx.output"))?,
            Process::start(&mut haproxy, &directory.join(HAPROXY_LOG))?,
        ];
        for proxy in [Proxy::Nginx, Proxy::NginxTold, Proxy::Haproxy, Proxy::HaproxyTold] {
            for family in Family::BOTH {
                wait_for(namespace, (family.target(1), proxy as u16).into())?;
            }
        }
        Ok(Proxies { directory, taken: RefCell::default(), _processes: processes })
    }

    /// The directory that requests for nothing particular are about.
    pub fn blue(&self) -> PathBuf {
        self.directory.join("blue")
    }

    /// The clients of a proxy's next requests by its access log, once there are so many. A line that is still being written is none yet.
    pub fn take_visitors(&self, proxy: Proxy, count: usize) -> Result<Vec<IpAddr>, Failed> {
        let deadline = Instant::now() + PATIENCE;
        let log = self.directory.join(proxy.log());
        let mut taken = self.taken.borrow_mut();
        let taken = taken.entry(proxy).or_default();
        loop {
            let text = fs::read_to_string(&log)?;
            let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
            let visitors = whole.lines().filter_map(|line| proxy.visitor(line)).skip(*taken);
            let visitors: Vec<IpAddr> = visitors.map(str::parse).collect::<Result<_, _>>()?;
            if visitors.len() >= count {
                *taken += visitors.len();
                return Ok(visitors);
            }
            if Instant::now() > deadline {
                return Err(format!("{proxy:?} has logged only {visitors:?}: {text}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Proxy {
    fn log(self) -> &'static str {
        match self {
            Proxy::Nginx => "nginx.log",
            Proxy::NginxTold => "nginx-told.log",
            Proxy::Haproxy | Proxy::HaproxyTold => HAPROXY_LOG,
        }
    }

    /// The client of a line that is about one of its requests.
    fn visitor(self, line: &str) -> Option<&str> {
        line.strip_prefix("visit ")?.strip_prefix(&format!("{} ", self as u16))
    }
}

/// The backends are the last two servers.
fn nginx_config(directory: &Path) -> String {
    let [plain, told] = [Proxy::Nginx, Proxy::NginxTold].map(|proxy| {
        let (port, log) = (proxy as u16, proxy.log());
        let parameter = if proxy == Proxy::NginxTold { " proxy_protocol" } else { "" };
        let listen: String = Family::BOTH
            .map(|family| format!("listen {}{parameter};", SocketAddr::from((family.target(1), port))))
            .concat();
        let [blue, green] = [BLUE, GREEN];
        format!(
            "server {{\n\
                 {listen} access_log {log} visit;\n\
                 location = /healthz {{ access_log off; return 200; }}\n\
                 location /green/ {{ proxy_pass http://127.0.0.1:{green}/; }}\n\
                 location / {{ proxy_pass http://127.0.0.1:{blue}; }}\n\
             }}\n\
             server {{\n\
                 {listen} access_log {log} visit; server_name green.test;\n\
                 location / {{ proxy_pass http://127.0.0.1:{green}; }}\n\
             }}\n"
        )
    });
    let directory = directory.display();
    format!(
        "daemon off; user root; worker_processes 1; pid {directory}/pid; error_log {directory}/error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n\
             log_format visit 'visit $server_port $remote_addr';\n\
             access_log off; client_max_body_size 0; dav_methods PUT;\n\
             client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};\n\
             uwsgi_temp_path {directory}; scgi_temp_path {directory};\n\
             set_real_ip_from 0.0.0.0/0; set_real_ip_from ::/0; real_ip_header proxy_protocol;\n\
             {plain}{told}\
             server {{ listen 127.0.0.1:{BLUE}; root {directory}/blue; }}\n\
             server {{ listen 127.0.0.1:{GREEN}; root {directory}/green; }}\n\
         }}\n"
    )
}

fn haproxy_config() -> String {
    let [plain, told] = [Proxy::Haproxy, Proxy::HaproxyTold].map(|proxy| {
        let port = proxy as u16;
        let parameter = if proxy == Proxy::HaproxyTold { " accept-proxy" } else { "" };
        let bind: String = Family::BOTH
            .map(|family| format!("    bind {}{parameter}\n", SocketAddr::from((family.target(1), port))))
            .concat();
        format!(
            "frontend at{port}\n{bind}\
             \x20   log-format \"visit {port} %ci\"\n\
             \x20   http-request set-log-level silent if {{ path /healthz }}\n\
             \x20   http-request return status 200 if {{ path /healthz }}\n\
             \x20   use_backend green if {{ hdr(host) green.test }} or {{ path_beg /green/ }}\n\
             \x20   default_backend blue\n"
        )
    });
    format!(
        "global\n    log stdout format raw local0\n    maxconn 1000\n\
         defaults\n    mode http\n    log global\n    option dontlognull\n    timeout connect 5s\n    timeout client 60s\n    timeout server 60s\n\
         {plain}{told}\
         backend blue\n    server blue 127.0.0.1:{BLUE}\n\
         backend green\n    http-request replace-path /green/(.*) /\\1\n    server green 127.0.0.1:{GREEN}\n"
    )
}

const HAPROXY_LOG: &str = "haproxy.log";
const BLUE: u16 = 9_001;
const GREEN: u16 = 9_002;
