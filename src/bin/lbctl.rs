//! `lbctl`, the command: see `lb_ctl::cli`.

use clap::Parser;

fn main() -> std::process::ExitCode {
    lb_ctl::cli::run(lb_ctl::cli::Arguments::parse())
}
