//! `lbctl simulate`.

use std::{
    fs::File,
    io::{self, BufWriter, Read, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{Failure, unusable};
use crate::{
    config::{self, Config},
    hex,
    simulate::{self, AssumedState, Assumptions, MTU_DEFAULT, Neighbor, SimulateError},
};

/// Frames are judged as if each had just come in, by one worker, with the frames' capture times as the clock.
///
/// Source ports (full NAT, translation between families) are chosen anew, always the same for one --hash-key, and other than those that a live
/// lbd has chosen: replies in a capture of its traffic belong to no flow here. Simulate what came from clients alone first, with
/// --out; put the ports that its frames have into the replies, and simulate both.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct SimulateArguments {
    /// Configuration file
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,

    /// Capture of Ethernet frames, pcap or pcapng; "-": standard input, each frame answered before the next is read
    #[arg(long, value_name = "FILE")]
    r#in: PathBuf,

    /// Write the frames that leave into this capture
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// State of a target: healthy, unhealthy, unhealthy.draining, initial, draining or unused; may be given several times
    #[arg(long, value_name = "GROUP/IP:PORT=STATE")]
    state: Vec<AssumedState>,

    /// A target that is unhealthy in every group; may be given several times
    #[arg(long, value_name = "IP:PORT")]
    unhealthy: Vec<SocketAddr>,

    /// Secret of target selection, as 32 hex digits; by default the configuration's, else zeros
    #[arg(long, value_name = "HEX")]
    hash_key: Option<String>,

    /// Next hop of an address; may be given several times. Others get a made-up one on the first interface
    #[arg(long, value_name = "IP=MAC@INTERFACE")]
    neighbor: Vec<Neighbor>,

    /// Interface of frames whose capture names none; by default the first configured one
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,

    /// MTU of every interface, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = MTU_DEFAULT, value_parser = clap::value_parser!(u32).range(68..=65_535))]
    mtu: u32,
}

pub(super) fn run(arguments: SimulateArguments) -> Result<(), Failure> {
    let config = config::load(&arguments.config)?;
    let assumptions = assumptions(&arguments, &config)?;
    let (name, input): (String, Box<dyn Read>) = match arguments.r#in.to_str() {
        Some("-") => ("standard input".into(), Box::new(io::stdin().lock())),
        _ => (arguments.r#in.display().to_string(), Box::new(open(&arguments.r#in)?)),
    };
    let mut outgoing = arguments.out.as_deref().map(create).transpose()?;
    let outgoing = outgoing.as_mut().map(|sink| sink as &mut dyn Write);
    let outcome = simulate::run(&config, &assumptions, input, io::stdout().lock(), outgoing);
    outcome.map_err(|error| match error {
        SimulateError::Capture(error) => Failure::Unusable(format!("{name} {error}")),
        error => unusable(&error),
    })
}

fn assumptions(arguments: &SimulateArguments, config: &Config) -> Result<Assumptions, Failure> {
    let secret = match arguments.hash_key.as_deref().map(hex::bytes) {
        Some(None) => return Err(Failure::Unusable("--hash-key: expected 32 hex digits".into())),
        Some(secret) => secret,
        None => config.selection.secret,
    };
    Ok(Assumptions {
        states: arguments.state.clone(),
        unhealthy: arguments.unhealthy.clone(),
        selection_secret: secret.unwrap_or_default(),
        neighbors: arguments.neighbor.clone(),
        interface: arguments.interface.clone().unwrap_or_else(|| config.interfaces[0].clone()),
        mtu: arguments.mtu,
    })
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| Failure::Unusable(format!("cannot open {}: {error}", path.display())))
}

fn create(path: &Path) -> Result<BufWriter<File>, Failure> {
    match File::create(path) {
        Ok(file) => Ok(BufWriter::new(file)),
        Err(error) => Err(Failure::Unusable(format!("cannot create {}: {error}", path.display()))),
    }
}
