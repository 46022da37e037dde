//! Proxies: they end the client's connection and open one to a target.

use std::{fs, path::Path};

use lbd::testbed::{network::VIP, process::Process};

use super::{Running, SERVICES};
use crate::{
    measure::Room,
    topology::{BALANCER_CPU, Failure, Topology, shell, target_addresses},
};

/// HAProxy in TCP mode, a thread for each CPU that it has.
pub fn start_haproxy(topology: &Topology, room: Room) -> Result<Running, Failure> {
    let tcp = SERVICES.iter().filter(|(protocol, _)| *protocol == "tcp");
    let sections: String = tcp.map(|(_, port)| haproxy_section(*port)).collect();
    let text = format!(
        "global\n  nbthread {}\n  maxconn {CONNECTIONS}\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1m\n  timeout server 1m\n{sections}",
        threads(room)
    );
    start(topology, room, ("haproxy", &["-db", "-f"]), &text)
}

fn haproxy_section(port: u16) -> String {
    let servers: String = target_addresses()
        .iter()
        .enumerate()
        .map(|(index, target)| format!("  server target{index} {target}:{port}\n"))
        .collect();
    format!("listen port{port}\n  bind {VIP}:{port}\n  balance roundrobin\n{servers}")
}

/// nginx with its stream module, a worker for each CPU that it has.
pub fn start_nginx(topology: &Topology, room: Room) -> Result<Running, Failure> {
    let directory = topology.directory.path().display();
    let servers: String = SERVICES.iter().map(|&(protocol, port)| nginx_server(protocol, port)).collect();
    let text = format!(
        "load_module {NGINX_STREAM};\ndaemon off;\npid {directory}/nginx.pid;\nerror_log stderr crit;\n\
         worker_processes {};\nworker_rlimit_nofile {};\nevents {{ worker_connections {CONNECTIONS}; }}\n\
         stream {{\n{servers}}}\n",
        threads(room),
        2 * CONNECTIONS
    );
    start(topology, room, ("nginx", &["-e", "stderr", "-c"]), &text)
}

fn nginx_server(protocol: &str, port: u16) -> String {
    let targets: String =
        target_addresses().iter().map(|target| format!(" server {target}:{port};")).collect();
    let (kind, answers) = match protocol {
        "udp" => (" udp", " proxy_responses 0;"),
        _ => ("", ""),
    };
    format!(
        "  upstream {protocol}{port} {{{targets} }}\n\
         \x20 server {{ listen {VIP}:{port}{kind} reuseport; proxy_pass {protocol}{port};{answers} }}\n"
    )
}

/// Starts a proxy whose last argument is its configuration file, on the VIP as an address of the host.
fn start(
    topology: &Topology,
    room: Room,
    (program, arguments): (&str, &[&str]),
    configuration: &str,
) -> Result<Running, Failure> {
    let lb = &topology.network.lb;
    let file = topology.directory.path().join(format!("{program}.conf"));
    fs::write(&file, configuration)?;
    shell(lb, &format!("ip address replace {VIP}/32 dev lo"))?;
    let program = super::find(program).ok_or("it is not installed")?;
    let log = topology.directory.path().join("proxy.log");
    let mut command = match room {
        Room::AllCpus => lb.command(&program),
        Room::OneCpu => {
            let mut command = lb.command(Path::new("taskset"));
            command.args(["--cpu-list", &BALANCER_CPU.to_string()]).arg(&program);
            command
        }
    };
    let process = Process::start(command.args(arguments).arg(&file), &log)?;
    Ok(Running::process(topology.by_vip()?, process))
}

fn threads(room: Room) -> usize {
    match room {
        Room::OneCpu => 1,
        Room::AllCpus => 2,
    }
}

/// nginx's stream module, where Debian has it.
pub const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
/// Connections at a time.
const CONNECTIONS: u32 = 8000;
