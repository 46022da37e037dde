//! `lbctl doctor`.

use std::path::PathBuf;

use super::{Failure, Format, print};
use crate::{
    config,
    doctor::{self, Facts, Inquiry, ProbeWhen, Severity},
    show,
};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct DoctorArguments {
    /// Interfaces to look at; by default those of the configuration, else every physical one and every veth
    #[arg(value_name = "INTERFACE")]
    interfaces: Vec<String>,

    /// Configuration that shall run here
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Which interfaces to try the XDP program and a socket on; none that has a program or an lbd
    #[arg(long, value_name = "WHEN", default_value = "idle")]
    probe: ProbeWhen,
}

pub(super) fn run(
    output: Format,
    arguments: DoctorArguments,
    examine: fn(Inquiry) -> Result<Facts, String>,
) -> Result<(), Failure> {
    let config = arguments.config.as_deref().map(config::load).transpose()?;
    let facts = examine(Inquiry { interfaces: arguments.interfaces, config, probe: arguments.probe })
        .map_err(Failure::Unusable)?;
    let report = doctor::judge(&facts);
    print(output, &report, show::doctor)?;
    match report.worst {
        Severity::Ok | Severity::Note => Ok(()),
        Severity::Warning => Err(Failure::Refused("lbd runs here, but not as well as it could".into())),
        Severity::Fault => Err(Failure::Refused("lbd does not start here, or takes no traffic".into())),
    }
}
