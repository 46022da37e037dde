//! An ingress proxy behind the load balancer: nginx in a pod, told of clients by PROXY headers, in front of two other pods.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    super::{
        super::DemoError,
        stage::{APPLICATION_PORT, INGRESS_GROUP, INGRESS_PORT, Stage},
        walk::Way,
    },
    Findings,
    balanced::HEALTH_PATIENCE,
};
use crate::testbed::{
    Doing,
    cluster::places::{LB, Pod, VIP_A},
    daemon::is_serving,
    process::Process,
    program::Program,
    tap::{crossings, follow},
};

pub(super) fn ingress(stage: &mut Stage, findings: &mut Findings) -> Result<(), DemoError> {
    let servers =
        [(Pod::P51, proxy_server()), (Pod::P52, application(Pod::P52)), (Pod::P71, application(Pod::P71))];
    let _running =
        servers.iter().map(|(pod, server)| start(stage, *pod, server)).collect::<Result<Vec<_>, _>>()?;
    let is_up = stage.wait_until(HEALTH_PATIENCE, |rows| {
        rows.iter().filter(|row| row.target_group == INGRESS_GROUP).all(is_serving)
    });
    for pod in [Pod::P52, Pod::P71] {
        wait_for(stage, pod)?;
    }
    findings.claim(is_up, "nginx passes its checks, which begin with a PROXY header, too (command LOCAL)");

    let ingress = (Pod::P51.address(), INGRESS_PORT).into();
    let (talk, body) = stage.fetch((VIP_A, INGRESS_LISTENER).into(), ingress, REQUEST)?;
    let links = [
        "client/eth0 > router/client",
        "router/vpc > lb/eth0",
        "lb/eth0 > node1/eth0",
        "node1/pod51 > pod51/eth0",
    ];
    findings.walk("request", stage.tell(&talk, &talk.asking(), Way::There), &links);
    let application = SocketAddr::from((Pod::P52.address(), APPLICATION_PORT));
    let onward = follow(&talk.hops, |hop| hop.is_syn() && hop.destination == application);
    let links = ["pod51/eth0 > node1/pod51", "node1/pod52 > pod52/eth0"];
    findings.walk("onward", stage.tell(&talk, &crossings(&onward), Way::There), &links);
    let log = logged(&stage.directory.path().join("pod51/access.log"))?;
    findings.claim(log.contains(&talk.from.to_string()), "nginx logs the client's own address and port");
    findings
        .claim(log.contains(&format!("by {LB}")), "although the load balancer is who it is connected with");
    let client = talk.from.ip();
    findings.claim(body.contains(&format!("for {client}")), "the application hears of the client, too");
    findings.said("log", "pod51# cat access.log", log);
    findings.said("body", "client# curl -H 'Host: shop.example' http://198.18.100.1:85/shop/", body);
    Ok(())
}

/// Starts nginx with one server in a pod.
fn start(stage: &Stage, pod: Pod, server: &str) -> Result<Process, DemoError> {
    let directory = stage.directory.path().join(pod.name());
    let configuration = directory.join("nginx.conf");
    let write = || {
        fs::create_dir_all(&directory)?;
        fs::write(&configuration, nginx(&directory, server))
    };
    write().doing(|| format!("write {}", configuration.display()))?;
    let mut command = stage.cluster.pod(pod).command(Path::new(NGINX.name));
    command.arg("-p").arg(&directory).arg("-c").arg(&configuration);
    Ok(Process::start(&mut command, &directory.join("output.log"))?)
}

fn nginx(directory: &Path, server: &str) -> String {
    let directory = directory.display();
    format!(
        "daemon off; master_process off; pid {directory}/pid; error_log {directory}/error.log;\n\
         events {{ worker_connections 64; }}\n\
         http {{\n\
             log_format visit '$proxy_protocol_addr:$proxy_protocol_port asks for $host$uri, brought by $remote_addr';\n\
             client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};\n\
             uwsgi_temp_path {directory}; scgi_temp_path {directory};\n\
             {server}\n\
         }}\n"
    )
}

/// Routes by path to the applications, and tells them of the client.
fn proxy_server() -> String {
    let onward = |pod: Pod| {
        format!("{{ proxy_pass http://{}; }}", SocketAddr::from((pod.address(), APPLICATION_PORT)))
    };
    format!(
        "server {{\n\
             listen {} proxy_protocol; access_log access.log visit;\n\
             proxy_set_header X-Forwarded-For $proxy_protocol_addr;\n\
             location /shop/ {}\n\
             location / {}\n\
         }}",
        listen(Pod::P51.address(), INGRESS_PORT),
        onward(Pod::P52),
        onward(Pod::P71)
    )
}

fn application(pod: Pod) -> String {
    format!(
        "server {{ listen {}; access_log off; return 200 \"{} answers for $http_x_forwarded_for\\n\"; }}",
        listen(pod.address(), APPLICATION_PORT),
        pod.name()
    )
}

fn listen(address: Ipv4Addr, port: u16) -> SocketAddr {
    (address, port).into()
}

/// Waits until a pod's application listens; the load balancer checks the ingress alone.
fn wait_for(stage: &Stage, pod: Pod) -> Result<(), DemoError> {
    let connect = || TcpStream::connect(SocketAddr::from((pod.address(), APPLICATION_PORT)));
    let deadline = Instant::now() + HEALTH_PATIENCE;
    while let Err(error) = stage.cluster.pod(pod).within(connect) {
        if Instant::now() > deadline {
            return Err(DemoError::Traffic(error));
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The access log, once something is in it.
fn logged(path: &Path) -> Result<String, DemoError> {
    let deadline = Instant::now() + LOGGING;
    loop {
        let text = fs::read_to_string(path).doing(|| format!("read {}", path.display()))?;
        if !text.is_empty() || Instant::now() > deadline {
            return Ok(text);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// What plays the ingress and the applications.
pub(super) const NGINX: Program = Program { name: "nginx", package: "nginx-light" };
/// The listener in configuration.toml.
const INGRESS_LISTENER: u16 = 85;
const REQUEST: &str = "GET /shop/ HTTP/1.0\r\nHost: shop.example\r\n\r\n";
/// nginx writes its log when a request is over.
const LOGGING: Duration = Duration::from_secs(20);
