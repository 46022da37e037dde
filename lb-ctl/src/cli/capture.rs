//! `lbctl capture`.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::{self, ErrorKind, Stdout, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use clap::builder::RangedU64ValueParser;

use super::{Failure, interrupt, output::note, trace::FrameArguments};
use crate::{
    api::SNAP_BYTES,
    capture::pcapng::Blocks,
    client::{Chunks, Client},
    show::text,
};

#[derive(Clone, Debug, clap::Args)]
pub(super) struct CaptureArguments {
    /// The file, in pcapng; "-": standard output, as for `lbctl capture - | wireshark -k -i -`
    #[arg(value_name = "FILE")]
    file: PathBuf,

    #[command(flatten)]
    frames: FrameArguments,

    /// Most bytes of each frame; by default all
    #[arg(long, value_name = "BYTES", value_parser = RangedU64ValueParser::<u32>::new().range(SNAP_BYTES))]
    snap: Option<u32>,

    /// Overwrite the file if it is there
    #[arg(long)]
    force: bool,
}

pub(super) fn run(client: &Client, arguments: &CaptureArguments) -> Result<(), Failure> {
    let query = arguments.frames.query(arguments.snap)?;
    refuse_to_overwrite(arguments)?;
    let chunks = client.capture(&query)?;
    let mut sink = Sink::open(arguments)?;
    interrupt::ends(chunks.stopper())?;
    let mut blocks = Blocks::default();
    let outcome = write(chunks, &mut blocks, &mut sink);
    if !matches!(outcome, Err(Failure::Unread)) {
        note(&sum(sink.frames, blocks.missed));
    }
    outcome
}

fn write(chunks: Chunks, blocks: &mut Blocks, sink: &mut Sink) -> Result<(), Failure> {
    for chunk in chunks {
        let no_capture =
            || Failure::Unusable("what lbd sends is no capture; is it of another version?".into());
        let whole = blocks.take(&chunk?).ok_or_else(no_capture)?;
        // Whole blocks at once: whoever ends this, the file is well-formed.
        match sink.append(&whole) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Failure::Unread),
            Err(error) => return Err(Failure::Unusable(format!("cannot write to {sink}: {error}"))),
            Ok(()) => {}
        }
    }
    Ok(())
}

fn sum(frames: u64, missed: u64) -> String {
    let missed = match missed {
        0 => String::new(),
        missed => format!(", {} missed: they came too fast", text::count(missed)),
    };
    format!("{}{missed}", text::counted(frames, "frame"))
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

/// Where a capture goes.
struct Sink {
    out: Out,
    /// Bytes of whole blocks.
    length: u64,
    /// Frames in them.
    frames: u64,
}

enum Out {
    File(File, PathBuf),
    Pipe(Stdout),
}

impl Sink {
    fn open(arguments: &CaptureArguments) -> Result<Sink, Failure> {
        let path = &arguments.file;
        if path == Path::new("-") {
            return Ok(Sink { out: Out::Pipe(io::stdout()), length: 0, frames: 0 });
        }
        let cannot = |error| Failure::Unusable(format!("cannot create {}: {error}", path.display()));
        let file = create(path, arguments.force).map_err(cannot)?;
        Ok(Sink { out: Out::File(file, path.clone()), length: 0, frames: 0 })
    }

    /// Appends blocks. A file that has no room for all has as many as it has room for, whole.
    fn append(&mut self, whole: &[u8]) -> io::Result<()> {
        let (written, outcome) = match &mut self.out {
            Out::File(file, _) => write_all(file, whole),
            Out::Pipe(pipe) => {
                let (written, outcome) = write_all(pipe, whole);
                (written, outcome.and_then(|()| pipe.flush()))
            }
        };
        self.keep_whole(&whole[..written]).and(outcome)
    }

    /// Counts what was written, and cuts off what is no whole block.
    fn keep_whole(&mut self, written: &[u8]) -> io::Result<()> {
        let mut blocks = Blocks::default();
        let kept = blocks.take(written).unwrap_or_default();
        self.length += kept.len() as u64;
        self.frames += blocks.frames;
        match &self.out {
            Out::File(file, _) if kept.len() < written.len() => file.set_len(self.length),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.out {
            Out::File(_, path) => path.display().fmt(f),
            Out::Pipe(_) => f.write_str("standard output"),
        }
    }
}

/// Makes a file, which others may not read. One that is overwritten keeps the mode that its owner has given it.
fn create(path: &Path, is_overwriting: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).mode(MODE);
    match is_overwriting {
        true => options.create(true).truncate(true).open(path),
        false => options.create_new(true).open(path),
    }
}

/// As [`Write::write_all`], but tells how much was written.
fn write_all(out: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match out.write(&bytes[written..]) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

/// What people send is not everybody's business.
const MODE: u32 = 0o640;

#[cfg(test)]
mod tests {
    use std::{fs, iter, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::capture::{
        Capture,
        pcapng::{CapturedPacket, Direction, interface, packet, section},
    };

    #[test]
    fn a_file_without_room_for_all_holds_whole_frames() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("full.pcapng");
        let mut sink =
            Sink { out: Out::File(File::create(&path).unwrap(), path.clone()), length: 0, frames: 0 };
        let frame = packet(&CapturedPacket {
            interface: 0,
            time_ns: 1,
            direction: Direction::Inbound,
            bytes: &[7; 60],
            length: 60,
            comment: "drop no_listener",
            missed: 0,
        });
        sink.append(&[section("lbd"), interface("eth0", 0), frame.clone()].concat()).unwrap();
        let rest = [frame.clone(), frame.clone()].concat();
        let fits = &rest[..rest.len() - 3];
        OpenOptions::new().append(true).open(&path).unwrap().write_all(fits).unwrap();
        sink.keep_whole(fits).unwrap();
        assert_eq!((sink.frames, sink.length), (2, fs::metadata(&path).unwrap().len()));
        let mut capture = Capture::open(File::open(&path).unwrap()).unwrap();
        let frames = iter::from_fn(|| capture.next_frame().unwrap()).count();
        assert_eq!(
            (frames, sum(sink.frames, 1_234)),
            (2, "2 frames, 1,234 missed: they came too fast".into())
        );
    }

    #[test]
    fn a_new_file_is_not_for_others_and_an_old_one_keeps_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new.pcapng");
        let mode_of = |file: File| file.metadata().unwrap().permissions().mode() & 0o777;
        // The umask of who runs this may take away more.
        assert_eq!(mode_of(create(&path, false).unwrap()) & !MODE, 0);
        assert_eq!(create(&path, false).unwrap_err().kind(), ErrorKind::AlreadyExists);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o604)).unwrap();
        assert_eq!(mode_of(create(&path, true).unwrap()), 0o604);
    }

    #[test]
    fn what_cannot_be_written_is_said_with_its_file() {
        let full = Path::new("/dev/full");
        let file = OpenOptions::new().write(true).open(full).unwrap();
        let mut sink = Sink { out: Out::File(file, full.into()), length: 0, frames: 0 };
        let error = sink.append(&section("lbd")).unwrap_err();
        assert_eq!(
            (error.kind(), sink.to_string().as_str(), sink.frames),
            (ErrorKind::StorageFull, "/dev/full", 0)
        );
        assert_eq!(sink.length, 0);
    }
}
