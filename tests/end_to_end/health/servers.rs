//! Servers that are checked: nginx as it should be and as it should not, one that is silent, one that cannot be reached.

use std::{
    collections::BTreeSet,
    fs, io,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
};

use lbd::testbed::{namespace::Namespace, process::Process};
use libtest_mimic::Failed;

use crate::web::{output_of, wait_for};

/// Where each kind of server is in a target's namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Port {
    /// HTTP that answers 200.
    Http = 8_101,
    /// The same over TLS, with a certificate that nobody has signed.
    Https = 8_102,
    /// The same once more.
    HttpsAgain = 8_110,
    /// Datagrams are sent back.
    Echo = 8_111,
    /// HTTP that answers 503.
    Unavailable = 8_103,
    /// HTTP that answers after [`SLOWNESS`].
    Slow = 8_104,
    /// HTTP that answers 200 with more header than anybody reads.
    HeaderBomb = 8_105,
    /// Accepts connections and says nothing.
    Silent = 8_106,
    /// The same once more.
    SilentByTcp = 8_107,
    /// SYNs are not answered.
    HalfOpen = 8_108,
    /// Nobody listens.
    Refused = 8_109,
    /// The same for datagrams.
    UdpRefused = 8_112,
}

/// A web server of one process.
pub struct Nginx {
    /// The process.
    pub process: Process,
    log: PathBuf,
}

impl Nginx {
    /// Starts it in a target's namespace and waits until it answers.
    pub fn start(namespace: &Namespace, directory: &Path) -> Result<Nginx, Failed> {
        fs::create_dir(directory)?;
        sign(directory)?;
        let config = directory.join("nginx.conf");
        fs::write(&config, nginx_config(directory))?;
        let mut nginx = namespace.command(Path::new("nginx"));
        nginx.arg("-p").arg(directory).arg("-c").arg(&config);
        let process = Process::start(&mut nginx, &directory.join("output"))?;
        wait_for(namespace, ([127, 0, 0, 1], Port::Http as u16).into())?;
        Ok(Nginx { process, log: directory.join("access.log") })
    }

    /// The ports that requests come to: whoever does not trust the certificate makes none.
    pub const HEARS: [Port; 5] = [Port::Http, Port::Https, Port::Unavailable, Port::Slow, Port::HeaderBomb];

    /// Every different request, as the server's port and the Host header, whose line is written wholly.
    pub fn requests(&self) -> io::Result<BTreeSet<String>> {
        let text = fs::read_to_string(&self.log)?;
        let (whole, _) = text.rsplit_once('\n').unwrap_or_default();
        Ok(whole.lines().map(str::to_owned).collect())
    }
}

/// A server that the kernel accepts connections for, and that never takes them.
pub struct Silent {
    _listeners: [TcpListener; 2],
}

impl Silent {
    /// Starts it in a target's namespace.
    pub fn start(namespace: &Namespace) -> io::Result<Silent> {
        let listen = |port| TcpListener::bind(("0.0.0.0", port as u16));
        namespace.within(|| {
            let listeners = [listen(Port::Silent)?, listen(Port::SilentByTcp)?];
            Ok(Silent { _listeners: listeners })
        })
    }
}

/// Has a namespace leave SYNs to a port unanswered.
pub fn drop_syns(namespace: &Namespace, port: Port) -> Result<(), Failed> {
    let rules = format!(
        "table inet half_open {{\n\
             chain input {{\n\
                 type filter hook input priority filter\n\
                 tcp dport {} drop\n\
             }}\n\
         }}",
        port as u16
    );
    output_of(namespace.command(Path::new("nft")).arg(rules)).map(drop)
}

/// Makes a key and a certificate for it.
fn sign(directory: &Path) -> Result<(), Failed> {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-subj", "/CN=target.test", "-days", "1", "-keyout"]).arg(directory.join(KEY));
    openssl.arg("-out").arg(directory.join(CERTIFICATE));
    output_of(&mut openssl).map(drop)
}

/// Without a master process, what stops the process stops the server.
fn nginx_config(directory: &Path) -> String {
    let directory = directory.display();
    let filler = format!("add_header X-Filler {};\n", "x".repeat(4_000)).repeat(10);
    let [http, https, https_again] = [Port::Http, Port::Https, Port::HttpsAgain].map(|port| port as u16);
    let [unavailable, slow, bomb, silent] =
        [Port::Unavailable, Port::Slow, Port::HeaderBomb, Port::Silent].map(|port| port as u16);
    format!(
        "daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n\
             log_format host '$server_port $http_host';\n\
             access_log {directory}/access.log host;\n\
             client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};\n\
             uwsgi_temp_path {directory}; scgi_temp_path {directory};\n\
             ssl_certificate {directory}/{CERTIFICATE}; ssl_certificate_key {directory}/{KEY};\n\
             server {{ listen {http}; return 200; }}\n\
             server {{ listen {https} ssl; listen {https_again} ssl; return 200; }}\n\
             server {{ listen {unavailable}; return 503; }}\n\
             server {{\n\
                 listen {slow};\n\
                 location / {{ proxy_pass http://127.0.0.1:{silent}; proxy_read_timeout {SLOWNESS}; }}\n\
             }}\n\
             server {{ listen {bomb}; {filler} return 200; }}\n\
         }}\n"
    )
}

/// How long the slow server takes, as nginx writes it.
const SLOWNESS: &str = "5s";
const KEY: &str = "key.pem";
const CERTIFICATE: &str = "certificate.pem";
