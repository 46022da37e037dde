//! Answers that come line by line and may have no end.

use super::{Chunks, Client, ClientError, Stopper};

/// The lines of an answer, as they come.
#[derive(Debug)]
pub struct Lines {
    chunks: Chunks,
    /// What has come and is not yet a line.
    rest: Vec<u8>,
}

impl Client {
    /// Asks for an answer that comes line by line.
    pub fn lines(&self, path: &str) -> Result<Lines, ClientError> {
        Ok(Lines { chunks: self.chunks(path)?, rest: Vec::new() })
    }
}

impl Lines {
    /// What ends them before lbd does.
    pub fn stopper(&self) -> Stopper {
        self.chunks.stopper()
    }
}

impl Iterator for Lines {
    type Item = Result<String, ClientError>;

    fn next(&mut self) -> Option<Result<String, ClientError>> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=end).collect();
                return Some(Ok(String::from_utf8_lossy(&line[..end]).into_owned()));
            }
            match self.chunks.next()? {
                Ok(bytes) => self.rest.extend(bytes),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
