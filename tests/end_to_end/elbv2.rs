//! The stock `aws` command line and boto3 against a running daemon: what they do and how they judge it stands in tests/elbv2.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use lbd::testbed::network::{Layout, Offload, Plan};
use libtest_mimic::Failed;

use crate::{
    Test,
    harness::{LBD, Rig, SOCKET},
    web::{WebServers, output_of},
};

/// The tests of this file. They need the tools.
pub const TESTS: &[Test] = &[("elbv2::the_stock_command_line_and_boto3_run_a_whole_life", whole_life)];

/// Says which tests do not run, where the tools are missing. Whether they are there.
pub fn report_missing_tools() -> bool {
    let has_tools = python().exists();
    if !has_tools {
        let python = python();
        eprintln!("\nNOT RUN, because there is no {} (./ci.sh test makes it, from PyPI):", python.display());
        TESTS.iter().for_each(|(name, _)| eprintln!("    {name}"));
    }
    has_tools
}

fn whole_life() -> Result<(), Failed> {
    let plan = Plan { layout: Layout::Direct, targets: 2, queues: 1, offload: Offload::Off };
    let mut rig = Rig::build(plan)?;
    let _servers = WebServers::start(&rig)?;
    let config = config(&rig);
    let file = rig.write_text(&config)?;
    rig.launch_daemon_by(&file)?;
    println!("{}", output_of(&mut tools(&rig))?);

    // Keys change at a reload; the region, which names objects, does not.
    rig.write_text(&config.replace("secret-of-the-reader", "another-secret-of-it"))?;
    rig.control.reload()?;
    rig.write_text(&config.replace("[elbv2]", "[elbv2]\nregion = \"eu-west-1\""))?;
    let refused = rig.control.reload().err().ok_or("another region was taken")?.to_string();
    assert!(refused.contains("elbv2 changed, which takes a restart"), "{refused}");
    rig.finish().map(drop)
}

/// The script, in the namespace of the load balancer's host.
fn tools(rig: &Rig) -> Command {
    let mut command = rig.network.lb.command(&python());
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/elbv2/life.py"))
        .env("AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2", format!("http://{LISTEN}"))
        .env("AWS_DEFAULT_REGION", "us-east-1")
        .env("AWS_ACCESS_KEY_ID", "AKIDWRITER")
        .env("AWS_SECRET_ACCESS_KEY", "secret-of-the-writer")
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("CLIENT", rig.network.client.name());
    command
}

/// No load balancer and no target group: those are made by calls.
fn config(rig: &Rig) -> String {
    let directory = rig.directory.path().display();
    format!(
        r#"
interfaces = {:?}
state_directory = "{directory}/state"
control_socket = "{directory}/{SOCKET}"
workers = {{ count = 1 }}
flow_table = {{ capacity = 65536 }}

[elbv2]
listen = "{LISTEN}"
keys = [
    {{ id = "AKIDWRITER", secret = "secret-of-the-writer" }},
    {{ id = "AKIDREADER", secret = "secret-of-the-reader", read_only = true }},
]

[[address_pools]]
name = "subnet-a"
zone = "a"
addresses = ["198.18.100.16-198.18.100.31", "2001:db8:100::10-2001:db8:100::1f"]

[[address_pools]]
name = "subnet-b"
zone = "b"
addresses = ["198.18.100.40-198.18.100.41"]
"#,
        rig.network.interfaces
    )
}

/// The Python that has the tools: beside the programs that Cargo builds.
fn python() -> PathBuf {
    let target = Path::new(LBD).ancestors().nth(2).unwrap_or(Path::new("target"));
    target.join("python/bin/python")
}

const LISTEN: &str = "127.0.0.1:9180";
