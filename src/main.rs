//! The `icecore` program.

fn main() -> std::process::ExitCode {
    icecore::cli::run(std::env::args_os())
}
