//! The `shop-server` program, implemented in [`server::cli`].

fn main() -> std::process::ExitCode {
    server::cli::main_from(std::env::args_os())
}
