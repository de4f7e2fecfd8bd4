//! `shop-client menu`: its options and their conversion to settings.

mod csv_file;

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use anyhow::Context;
use model::settings::ConnectionMode;
use model::units::PositiveDuration;
use program_main::note;

use crate::menu;
use crate::menu::MenuSettings;
use crate::transport::{ShopAddress, Timeouts};
use csv_file::CsvFile;

/// Options of `menu`.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    shop: ShopAddress,
    /// Open a connection per request, or keep one per port
    #[arg(long, value_enum, default_value = "per-request")]
    connection: ConnectionMode,
    /// Timeout of a request: from its first byte sent to the complete response
    #[arg(long, value_name = "TIME", default_value = "10s")]
    request_timeout: PositiveDuration,
    /// Timeout of the handshakes of a connection, TCP and TLS together
    #[arg(long, value_name = "TIME", default_value = "10s")]
    connect_timeout: PositiveDuration,
    /// Append the session's rows to FILE. If FILE has other columns or an incomplete last row, a number is added to its
    /// name
    #[arg(long, value_name = "FILE", default_value = "shop-session.csv")]
    csv: PathBuf,
}

pub(super) fn run(args: Args) -> anyhow::Result<()> {
    anyhow::ensure!(
        io::stdin().is_terminal(),
        "stdin is not a terminal, which the menu needs; in scripts use 'shop-client workload'"
    );
    let CsvFile { file, path, has_header } = CsvFile::open(&args.csv)?;
    if path != args.csv {
        note(format_args!("cannot append rows to '{}': writing them to '{}'", args.csv.display(), path.display()));
    }
    let settings = MenuSettings {
        endpoints: args.shop.resolve()?,
        connection: args.connection,
        timeouts: Timeouts { connect: args.connect_timeout.as_duration(), request: args.request_timeout.as_duration() },
        csv_has_header: has_header,
    };
    let path = path.display();
    let rows = menu::run(&settings, Box::new(file)).with_context(|| format!("session with CSV '{path}'"))?;
    note(format_args!("{rows} operations added to {path}"));
    Ok(())
}
