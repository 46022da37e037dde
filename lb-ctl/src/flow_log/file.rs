//! The file of the flow log and the older ones beside it: `flows.json`, `flows.json.1` and on. No file is longer than it may be, and each
//! holds whole lines.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::config;

/// A file that lines are appended to.
#[derive(Debug)]
pub struct LogFile {
    /// Where the file itself is, and older ones beside it: no part of it is a symbolic link.
    path: PathBuf,
    rotate_bytes: u64,
    keep: u32,
    file: File,
    bytes: u64,
}

/// Lines could be written in part only.
#[derive(Debug)]
pub(super) struct Unwritten {
    /// Bytes of whole lines that are in the file.
    pub(super) written: usize,
    pub(super) error: io::Error,
}

impl LogFile {
    /// Opens the file, or makes it, readable by its owner and group. Symbolic links are followed now, and not again. What a process that
    /// was killed has left of a line is cut off.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(settings: &config::FlowLog) -> io::Result<LogFile> {
        let mut file = open(&settings.file)?;
        let path = settings.file.canonicalize()?;
        let bytes = end_of_lines(&mut file)?;
        if bytes < file.metadata()?.len() {
            file.set_len(bytes)?;
        }
        Ok(LogFile { path, rotate_bytes: settings.rotate_bytes, keep: settings.keep, file, bytes })
    }

    /// Whether the file is still found at its path.
    pub(super) fn is_in_place(&self) -> bool {
        let identity = |file: fs::Metadata| (file.dev(), file.ino());
        let here = self.file.metadata().map(identity);
        here.is_ok_and(|here| fs::metadata(&self.path).map(identity).is_ok_and(|there| there == here))
    }

    /// Appends lines, each of which ends with a newline. A file that would become too long is put aside first.
    pub(super) fn append(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        let mut written = 0;
        while written < lines.len() {
            let rest = &lines[written..];
            let room = usize::try_from(self.rotate_bytes.saturating_sub(self.bytes)).unwrap_or(usize::MAX);
            let fitting = if rest.len() <= room { rest.len() } else { whole_lines(&rest[..room]) };
            if fitting == 0 && self.bytes > 0 {
                self.rotate().map_err(|error| Unwritten { written, error })?;
                continue;
            }
            // One line that is longer than a file may be gets a file of its own.
            let fitting = if fitting > 0 { fitting } else { first_line(rest) };
            let part = self.write(&rest[..fitting]);
            written += part.as_ref().map_or_else(|unwritten| unwritten.written, |()| fitting);
            part.map_err(|Unwritten { error, .. }| Unwritten { written, error })?;
        }
        Ok(())
    }

    /// Writes lines. Of one that is written in part, nothing stays.
    fn write(&mut self, lines: &[u8]) -> Result<(), Unwritten> {
        let mut written = 0;
        while written < lines.len() {
            match self.file.write(&lines[written..]) {
                Ok(count) if count > 0 => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => {
                    let whole = whole_lines(&lines[..written]);
                    self.bytes += whole as u64;
                    let cut = self.file.set_len(self.bytes);
                    let error = result.and(cut).err().unwrap_or_else(|| io::ErrorKind::WriteZero.into());
                    return Err(Unwritten { written: whole, error });
                }
            }
        }
        self.bytes += written as u64;
        Ok(())
    }

    /// Puts the file aside as the newest of the older ones, of which the oldest goes.
    fn rotate(&mut self) -> io::Result<()> {
        if self.keep == 0 {
            self.file.set_len(0)?;
        } else {
            for number in (1..self.keep).rev() {
                rename_if_there(&self.older(number), &self.older(number + 1))?;
            }
            rename_if_there(&self.path, &self.older(1))?;
            self.file = open(&self.path)?;
        }
        self.bytes = 0;
        Ok(())
    }

    fn older(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }
}

/// Opens the file, or makes it. What is there and is not a flow log stays untouched.
fn open(path: &Path) -> io::Result<File> {
    match fs::metadata(path) {
        Ok(there) if !there.is_file() => return Err(io::Error::other("what is there is not a regular file")),
        Ok(_) => refuse_foreign(path)?,
        Err(_) => {}
    }
    OpenOptions::new().read(true).append(true).create(true).mode(MODE).open(path)
}

/// Refuses a file that begins otherwise than with a record, or a part of one.
fn refuse_foreign(path: &Path) -> io::Result<()> {
    let mut start = Vec::new();
    File::open(path)?.take(RECORD_START.len() as u64).read_to_end(&mut start)?;
    match RECORD_START.starts_with(&start) {
        true => Ok(()),
        false => Err(io::Error::other("there is a file that holds something else than flow records")),
    }
}

/// The length of a file up to the end of its last whole line.
fn end_of_lines(file: &mut File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let tail = length.min(TAIL_BYTES);
    file.seek(SeekFrom::Start(length - tail))?;
    let mut bytes = Vec::new();
    file.take(tail).read_to_end(&mut bytes)?;
    let rest = &bytes[whole_lines(&bytes)..];
    Ok(if is_torn(rest) { length - rest.len() as u64 } else { length })
}

/// Whether bytes are the beginning of a record. Whatever else somebody has in this file is not ours to mend.
fn is_torn(rest: &[u8]) -> bool {
    let common = rest.len().min(RECORD_START.len());
    !rest.is_empty() && rest[..common] == RECORD_START[..common]
}

fn rename_if_there(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

/// Length of the whole lines at the beginning of some bytes.
fn whole_lines(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1)
}

fn first_line(bytes: &[u8]) -> usize {
    bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1)
}

/// Addresses of clients are not everybody's business.
const MODE: u32 = 0o640;
/// What every record begins with.
pub(super) const RECORD_START: &[u8] = br#"{"type":"flow","version":"#;
/// More than any line has.
const TAIL_BYTES: u64 = 16_384;
