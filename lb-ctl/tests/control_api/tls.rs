//! The listener for clients with certificates, as curl meets it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

use lb_ctl::server::{Server, Settings, Tcp};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::control::Control;

#[test]
fn a_certificate_has_the_role_of_its_name() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path();
    let authority = Authority::new("authority");
    authority.issue(path, "localhost", &["localhost"]);
    authority.issue(path, "writer", &["writer.example"]);
    authority.issue(path, "reader", &[]);
    authority.issue(path, "nobody", &["nobody.example"]);
    Authority::new("other authority").issue(path, "stranger", &["writer.example"]);
    fs::write(path.join("ca.pem"), authority.pem()).unwrap();
    let listen = free_address();
    let tcp = Tcp {
        listen,
        certificate: path.join("localhost.pem"),
        key: path.join("localhost.key"),
        client_ca: path.join("ca.pem"),
        read_write: vec!["writer.example".into()],
        read_only: vec!["reader".into()],
    };
    let control = Control::new();
    let settings = Settings { tcp: Some(tcp), ..Settings::of(&path.join("lbd.sock")) };
    let server = Server::with(settings, move |call| control.answer(call)).unwrap();
    for (client, method, call, expected) in [
        (Some("writer"), "POST", "reload", "200"),
        (Some("reader"), "GET", "status", "200"),
        (Some("reader"), "POST", "reload", "403"),
        (Some("reader"), "POST", "diff", "200"),
        (Some("nobody"), "GET", "status", "403"),
        (Some("stranger"), "GET", "status", "000"),
        (None, "GET", "status", "000"),
    ] {
        let mut curl = Command::new("curl");
        curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", method, "--cacert"])
            .arg(path.join("ca.pem"));
        if let Some(name) = client {
            curl.arg("--cert").arg(path.join(format!("{name}.pem")));
            curl.arg("--key").arg(path.join(format!("{name}.key")));
        }
        curl.arg("--resolve").arg(format!("localhost:{}:{}", listen.port(), listen.ip()));
        curl.arg(format!("https://localhost:{}/v1/{call}", listen.port()));
        let told = String::from_utf8(curl.output().unwrap().stdout).unwrap();
        assert_eq!(told, expected, "{client:?} {method} {call}");
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut counts = server.traffic();
    while (counts.accepted, counts.refused_access) != (4, 3) {
        assert!(Instant::now() < deadline, "{} accepted, {} refused", counts.accepted, counts.refused_access);
        thread::sleep(Duration::from_millis(20));
        counts = server.traffic();
    }
}

struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority { params, key: KeyPair::generate().unwrap() }
    }

    fn pem(&self) -> String {
        self.params.clone().self_signed(&self.key).unwrap().pem()
    }

    fn issue(&self, directory: &Path, name: &str, alternative: &[&str]) {
        let key = KeyPair::generate().unwrap();
        let alternative: Vec<String> = alternative.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(alternative).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        fs::write(directory.join(format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

/// A port that nobody had a moment ago, on an address of loopback's that nobody else has.
fn free_address() -> SocketAddr {
    let [.., high, low] = process::id().to_be_bytes();
    TcpListener::bind((Ipv4Addr::new(127, high, low, 2), 0)).unwrap().local_addr().unwrap()
}
