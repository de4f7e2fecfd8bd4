//! The `shaper` program. The code is in the library.

fn main() -> std::process::ExitCode {
    shaper::cli::main_from(std::env::args_os())
}
