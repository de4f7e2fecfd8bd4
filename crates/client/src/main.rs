//! The binary; everything is in the library, so that the driver can be this program too.

fn main() -> std::process::ExitCode {
    client::cli::main_from(std::env::args_os())
}
