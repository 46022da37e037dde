//! `lbctl trace`, and what it has in common with `lbctl capture`: which frames are meant.

use super::{
    Failure,
    output::{Format, note, say},
    unusable,
    values::ListenerName,
};
use crate::{
    api::{AddressFilter, ProtocolName, ReasonName, TraceLine, TraceQuery},
    client::Client,
    show,
};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct TraceArguments {
    #[command(flatten)]
    frames: FrameArguments,
}

/// Which frames, and how many.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct FrameArguments {
    /// Only packets of these clients, and those to them
    #[arg(long, value_name = "ADDRESS[:PORT|/LENGTH]")]
    client: Option<AddressFilter>,

    /// Only packets to these listeners, and from them
    #[arg(long, value_name = "ADDRESS[:PORT|/LENGTH]")]
    vip: Option<AddressFilter>,

    /// Only packets to these targets, and from them
    #[arg(long, value_name = "ADDRESS[:PORT|/LENGTH]")]
    target: Option<AddressFilter>,

    /// Only packets of this protocol: tcp or udp
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<ProtocolName>,

    /// Only packets of this listener, such as edge/TCP:80
    #[arg(long, value_name = "NAME")]
    listener: Option<ListenerName>,

    /// Only frames that are counted under this reason, such as new_flow or no_listener: see `lbctl stats`
    #[arg(long, value_name = "REASON")]
    reason: Option<ReasonName>,

    /// Only one in so many of these frames
    #[arg(long, value_name = "N")]
    sample: Option<u32>,

    /// End after so many frames, up to 1,000,000 [default: 1000, of a capture 100000]
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// End after so many seconds, up to 3,600 [default: 60]
    #[arg(long, value_name = "S")]
    seconds: Option<u32>,
}

impl FrameArguments {
    /// As lbd is asked.
    pub(super) fn query(&self, snap: Option<u32>) -> Result<TraceQuery, Failure> {
        let query = TraceQuery {
            protocol: self.protocol,
            client: self.client,
            vip: self.vip,
            target: self.target,
            listener: self.listener.as_ref().map(ToString::to_string),
            reason: self.reason,
            sample: self.sample,
            count: self.count,
            seconds: self.seconds,
            snap,
        };
        query.check().map_err(|refusal| Failure::Unusable(format!("--{}", refusal.error)))?;
        Ok(query)
    }
}

pub(super) fn run(client: &Client, output: Format, arguments: &TraceArguments) -> Result<(), Failure> {
    let query = arguments.frames.query(None)?;
    for line in client.trace(&query)? {
        let line = line?;
        let told: TraceLine = serde_json::from_str(&line).map_err(|error| unusable(&error))?;
        let is_end = matches!(told, TraceLine::End { .. });
        tell(output, &line, &told)?;
        if is_end {
            return Ok(());
        }
    }
    Err(Failure::Unusable("lbd has stopped, and so has its trace".into()))
}

fn tell(output: Format, line: &str, told: &TraceLine) -> Result<(), Failure> {
    match (output, told) {
        (_, TraceLine::Heartbeat) => Ok(()),
        (Format::Json, _) => say(line),
        (Format::Yaml, _) => {
            let text = serde_saphyr::to_string(told).map_err(|error| unusable(&error))?;
            say(&format!("---\n{text}"))
        }
        (Format::Table | Format::Wide, TraceLine::Frame(_)) => say(&show::trace(told)),
        (Format::Table | Format::Wide, _) => {
            note(&show::trace(told));
            Ok(())
        }
    }
}
