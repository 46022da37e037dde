//! `lbctl`, the command: see `lb_ctl::cli`. Stands here because `lbctl doctor` looks at network interfaces.

fn main() -> std::process::ExitCode {
    lb_ctl::cli::run(lb_ctl::cli::Arguments::read(std::env::args_os()), lbd::doctor::examine)
}
