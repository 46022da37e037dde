//! `lbctl top`.

use std::time::Duration;

use super::{Failure, output::say};
use crate::{client::Client, top};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TopArguments {
    /// Seconds between two looks
    #[arg(long, value_name = "S", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    interval: u64,

    /// Print one frame of 80 columns and 24 lines, after one interval, and end
    #[arg(long)]
    once: bool,
}

pub(super) fn run(client: Client, arguments: &TopArguments) -> Result<(), Failure> {
    let interval = Duration::from_secs(arguments.interval);
    if arguments.once {
        return say(&top::once(&client, interval)?);
    }
    Ok(top::run(client, interval)?)
}
