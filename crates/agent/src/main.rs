//! The binary. Everything is in the library, because the driver can run this program, too.

fn main() -> std::process::ExitCode {
    agent::cli::main_from(std::env::args_os())
}
