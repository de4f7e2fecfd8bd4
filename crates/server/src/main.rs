//! The `shop-server` program; everything it does is in [`server::cli`].

fn main() -> std::process::ExitCode {
    server::cli::main_from(std::env::args_os())
}
