//! `lbctl capture`.

use std::{
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use super::{Failure, output::note, trace::FrameArguments, unusable};
use crate::{capture::pcapng::Blocks, client::Client, show::text};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct CaptureArguments {
    /// The file, in pcapng; "-": standard output, as for `lbctl capture - | wireshark -k -i -`
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    frames: FrameArguments,

    /// Most bytes of each frame; by default all
    #[arg(long, value_name = "BYTES")]
    snap: Option<u32>,

    /// Overwrite the file if it is there
    #[arg(long)]
    force: bool,
}

pub(super) fn run(client: &Client, arguments: &CaptureArguments) -> Result<(), Failure> {
    let query = arguments.frames.query(arguments.snap)?;
    refuse_to_overwrite(arguments)?;
    let chunks = client.capture(&query)?;
    let mut sink = open(arguments)?;
    let mut blocks = Blocks::default();
    for chunk in chunks {
        let no_capture =
            || Failure::Unusable("what lbd sends is no capture; is it of another version?".into());
        let whole = blocks.take(&chunk?).ok_or_else(no_capture)?;
        // Whole blocks at once: whoever ends this, the file is well-formed.
        match sink.write_all(&whole).and_then(|()| sink.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Failure::Unread),
            written => written.map_err(|error| unusable(&error))?,
        }
    }
    let missed = match blocks.missed {
        0 => String::new(),
        missed => format!(", {} missed: they came too fast", text::count(missed)),
    };
    note(&format!("{} frames{missed}", text::count(blocks.frames)));
    Ok(())
}

/// Before lbd is asked, and noted who asks.
fn refuse_to_overwrite(arguments: &CaptureArguments) -> Result<(), Failure> {
    match arguments.file.exists() && !arguments.force && arguments.file != Path::new("-") {
        true => Err(Failure::Unusable(format!(
            "{} is there already: name another file, or give --force",
            arguments.file.display()
        ))),
        false => Ok(()),
    }
}

fn open(arguments: &CaptureArguments) -> Result<Box<dyn Write>, Failure> {
    if arguments.file == Path::new("-") {
        return Ok(Box::new(io::stdout().lock()));
    }
    let file: io::Result<File> = match arguments.force {
        true => File::create(&arguments.file),
        false => OpenOptions::new().write(true).create_new(true).open(&arguments.file),
    };
    let cannot = |error| Failure::Unusable(format!("cannot create {}: {error}", arguments.file.display()));
    Ok(Box::new(file.map_err(cannot)?))
}
