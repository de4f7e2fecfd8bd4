//! The `shop-server` program; everything it does is in [`shop_server::cli`].

fn main() -> std::process::ExitCode {
    shop_server::cli::main_from(std::env::args_os())
}
