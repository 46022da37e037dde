//! The verbs of `lbctl` against the control API, with the real rules of objects behind it and no packets.

mod daemon;
mod events;
mod files;
mod health;
mod objects;
mod output;
mod shells;

use std::process::{Command, Output, Stdio};

/// What a run of `lbctl` came to.
#[derive(Debug)]
struct Run {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Run {
    fn of(output: Output) -> Run {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Run { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// It is done; what it said.
    #[track_caller]
    fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out
    }

    /// It failed with this code; why.
    #[track_caller]
    fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        self.err
    }

    /// Its answer, which is JSON.
    #[track_caller]
    fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.done()).unwrap()
    }
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lbctl"));
    command.env_remove("LBCTL_SOCKET").env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

/// Runs `lbctl` with words that hold no spaces.
fn lbctl(line: &str) -> Run {
    Run::of(command().args(line.split_whitespace()).output().unwrap())
}
