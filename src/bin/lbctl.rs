//! `lbctl`, the command: see `lb_ctl::cli`. Stands here because `lbctl doctor` looks at network interfaces.

use clap::Parser;

fn main() -> std::process::ExitCode {
    lb_ctl::cli::run(lb_ctl::cli::Arguments::parse(), lbd::doctor::examine)
}
