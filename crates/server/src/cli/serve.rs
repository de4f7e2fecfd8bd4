//! `shop-server serve`: creates configuration and sockets from options, and handles signals.

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail, ensure};
use model::messages::server::ServerEvent;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::TcpCongestion;
use program_main::{json_line, warning};
use tls::Identity;
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::accept;
use crate::accept::Listeners;
use crate::cli::logging;
use crate::cli::options::{ADMIN_PASSWORD_VARIABLE, CatalogueName, ServeOptions};
use crate::config::{Admin, Catalogue, Config, Connections, HashCost, Passwords, Storage, Tls};
use crate::secret::Secret;
use crate::shop::Shop;
use crate::{NAME, echo};

/// Connections that the kernel may queue before they are accepted.
const BACKLOG: u32 = 4096;
/// File descriptors in addition to those of connections: database, runtime, rejections.
const OTHER_DESCRIPTORS: u64 = 512;

/// Serves the shop until SIGTERM or SIGINT.
pub(super) fn serve(options: &ServeOptions) -> anyhow::Result<ExitCode> {
    logging::start(options)?;
    let config = config(options)?;
    raise_descriptor_limit(config.connections.max_connections.get() as u64);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the async runtime")?;
    runtime.block_on(serve_until_signal(options, &config))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve_until_signal(options: &ServeOptions, config: &Config) -> anyhow::Result<()> {
    // Signals are handled before anything is created, so that none ends the process without a shutdown.
    let shutdown = shutdown_on_signals()?;
    let congestion_control = options.congestion_control.as_deref();
    let listeners = Listeners {
        accounts: listen(options.accounts_listen, congestion_control)?,
        shop: listen(options.shop_listen, congestion_control)?,
        metrics: options.metrics_listen.map(|address| listen(address, None)).transpose()?,
    };
    let metrics = listeners.metrics.as_ref().map(TcpListener::local_addr).transpose()?;
    let (accounts_address, shop_address) = (listeners.accounts.local_addr()?, listeners.shop.local_addr()?);
    let echo = options.echo_listen.map(start_echo).transpose()?;
    let shop = Shop::open(config)?;
    if let Some(password) = shop.generated_password() {
        let username = &config.admin.username;
        warning(NAME, format_args!("created the administrator '{username}' with the password {}", password.reveal()));
        warning(NAME, "it is shown this once and kept nowhere: note it, or change it with change_password");
    }
    tracing::info!(accounts = %accounts_address, shop = %shop_address, database = %config.database.display(), "ready");
    let protocol = protocol::PROTOCOL_VERSION;
    let tls_fingerprint = config.tls.as_ref().map(|tls| tls.identity.fingerprint());
    if let Some(fingerprint) = tls_fingerprint {
        tracing::info!(%fingerprint, "TLS certificate; clients need it: --tls-fingerprint");
    }
    json_line(&ServerEvent::Ready {
        protocol,
        accounts: accounts_address,
        shop: shop_address,
        echo,
        metrics,
        tls_fingerprint,
    })
    .context("stdout cannot be written to")?;
    accept::serve(shop, listeners, shutdown).await;
    Ok(())
}

/// Starts the UDP echo on a dedicated thread, so that requests do not delay it. Returns its address.
fn start_echo(address: SocketAddr) -> anyhow::Result<SocketAddr> {
    let socket = UdpSocket::bind(address).map_err(|error| cannot_listen(&format_args!("UDP {address}"), &error))?;
    let bound = socket.local_addr()?;
    std::thread::Builder::new()
        .name("echo".to_owned())
        .spawn(move || echo::serve(&socket))
        .context("cannot start the echo thread")?;
    Ok(bound)
}

fn shutdown_on_signals() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let shutdown = CancellationToken::new();
    let cancelled_by_signal = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        cancelled_by_signal.cancel();
    });
    Ok(shutdown)
}

/// Returns a listening socket. Accepted connections inherit its congestion control.
fn listen(address: SocketAddr, congestion_control: Option<&str>) -> anyhow::Result<TcpListener> {
    let socket =
        if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.context("cannot create a socket")?;
    if let Some(name) = congestion_control {
        setsockopt(&socket, TcpCongestion, &OsString::from(name)).with_context(|| {
            format!(
                "congestion control '{name}' is not available: choose one of \
                 /proc/sys/net/ipv4/tcp_available_congestion_control (only root may use those that are not in \
                 tcp_allowed_congestion_control)"
            )
        })?;
    }
    let bind = || {
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|error| cannot_listen(&address, &error))
}

/// Returns the error of a socket that cannot be bound.
fn cannot_listen(address: &dyn Display, error: &io::Error) -> anyhow::Error {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => ": another program uses the port; stop it, or choose another port",
        io::ErrorKind::AddrNotAvailable => ": no interface of this host has the address; 0.0.0.0 means all",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need root or CAP_NET_BIND_SERVICE",
        _ => "",
    };
    anyhow!("cannot listen on {address}: {error}{advice}")
}

/// Raises the limit of open files as far as permitted; logs a warning if it is still too low.
fn raise_descriptor_limit(connections: u64) {
    let required = connections.saturating_add(OTHER_DESCRIPTORS);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if soft >= required {
        return;
    }
    let granted = required.min(hard);
    let result = setrlimit(Resource::RLIMIT_NOFILE, granted, hard);
    if result.is_err() || granted < required {
        tracing::warn!(
            limit = if result.is_ok() { granted } else { soft },
            required,
            "limit of open files too low for --max-connections: raise it with ulimit -n"
        );
    }
}

fn config(options: &ServeOptions) -> anyhow::Result<Config> {
    let cost = HashCost::new(
        options.shop.password_memory_kib.get(),
        options.shop.password_iterations.get(),
        options.password_parallelism,
    )?;
    Ok(Config {
        database: options.database.clone(),
        admin: Admin { username: options.admin_username.clone(), password: admin_password(options)? },
        catalogue: match options.catalogue {
            CatalogueName::Demo => Catalogue::Demo { stock: options.shop.catalogue_stock.get().into() },
            CatalogueName::None => Catalogue::Empty,
        },
        token_lifetime: options.token_lifetime,
        passwords: Passwords {
            cost,
            workers: options.password_workers,
            queue: options.password_queue,
            max_failed_logins: options.max_failed_logins,
        },
        connections: Connections {
            max_connections: options.max_connections,
            max_connections_per_address: options.max_connections_per_address,
            buffer_budget_mib: options.buffer_budget_mib,
            first_request_timeout: options.first_request_timeout,
            idle_timeout: options.idle_timeout,
            request_timeout: options.request_timeout,
            shutdown_grace: options.shutdown_grace,
            slow_operation: options.slow_operation,
            counts_retransmits: options.metrics_listen.is_some(),
        },
        storage: Storage { durability: options.shop.durability, max_batch: options.max_batch },
        tls: tls(options)?,
        trace: options.trace.clone(),
    })
}

/// Returns the settings of TLS, with the certificate of the files or one made now.
fn tls(options: &ServeOptions) -> anyhow::Result<Option<Tls>> {
    let files = match (&options.tls_certificate, &options.tls_key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => bail!("--tls-certificate and --tls-key need each other"),
    };
    let Some(version) = options.shop.tls.version() else {
        ensure!(files.is_none(), "--tls-certificate needs --tls: add it");
        return Ok(None);
    };
    let identity = match files {
        Some((certificate, key)) => Identity::from_files(certificate, key)?,
        None => Identity::throwaway()?,
    };
    Ok(Some(Tls { version, identity: Arc::new(identity) }))
}

/// Returns the administrator's password from the variable or the file.
fn admin_password(options: &ServeOptions) -> anyhow::Result<Option<Secret>> {
    let variable = std::env::var_os(ADMIN_PASSWORD_VARIABLE).filter(|value| !value.is_empty());
    match (variable, &options.admin_password_file) {
        (Some(_), Some(file)) => bail!(
            "administrator's password set twice: by {ADMIN_PASSWORD_VARIABLE} and by the file '{}'; unset one",
            file.display()
        ),
        (Some(value), None) => match value.into_string() {
            Ok(password) => Ok(Some(Secret::new(password))),
            Err(_) => bail!("{ADMIN_PASSWORD_VARIABLE} is not UTF-8"),
        },
        (None, Some(file)) => read_password(file).map(Some),
        (None, None) => Ok(None),
    }
}

fn read_password(file: &Path) -> anyhow::Result<Secret> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("cannot read the administrator's password from '{}'", file.display()))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Secret::new(line.strip_suffix('\r').unwrap_or(line)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use nix::sys::socket::getsockopt;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn accepted_connections_have_the_requested_congestion_control() {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), Some("reno")).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert_eq!(getsockopt(&accepted, TcpCongestion).unwrap(), "reno");
    }

    #[tokio::test]
    async fn the_error_names_an_unknown_congestion_control() {
        let error = listen((Ipv4Addr::LOCALHOST, 0).into(), Some("none-such")).unwrap_err().to_string();
        assert!(error.contains("'none-such'"), "{error}");
    }
}
