//! `shop-client menu`.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anyhow::Context;

use super::shop::ShopArgs;
use crate::menu::{self, MenuSettings};
use crate::output;
use crate::wire::ConnectionMode;

/// Options of `menu`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    shop: ShopArgs,
    /// When connections are made.
    #[arg(long, value_enum, default_value = "per-request")]
    connection: ConnectionMode,
    /// Where the session's rows go. A file that is there is replaced.
    #[arg(long, value_name = "FILE", default_value = "shop-session.csv")]
    csv: PathBuf,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    anyhow::ensure!(
        io::stdin().is_terminal(),
        "the menu asks questions and stdin is no terminal; in scripts use 'shop-client workload'"
    );
    let settings =
        MenuSettings { endpoints: args.shop.endpoints()?, connection: args.connection, timeouts: args.shop.timeouts() };
    let path = args.csv.display();
    let csv = File::create(&args.csv).with_context(|| format!("cannot create the CSV '{path}'"))?;
    let rows = menu::run(&settings, Box::new(csv)).with_context(|| format!("session with CSV '{path}'"))?;
    output::note(&format!("{rows} operations in {path}"));
    Ok(())
}
