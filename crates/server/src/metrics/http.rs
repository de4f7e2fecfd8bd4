//! HTTP for scrapes: one request per connection, one connection at a time.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Maximum length of a request, bytes.
const MAX_REQUEST_BYTES: usize = 8 * 1024;

/// Time within which a request must arrive and its response must be accepted.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Pause after a failed accept.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// Responds to `GET /metrics` with the result of `metrics`, until it is cancelled.
pub(crate) async fn serve(listener: TcpListener, metrics: impl Fn() -> String) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => match timeout(TIMEOUT, respond(stream, &metrics)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%peer, %error, "scrape failed"),
                Err(_) => tracing::debug!(%peer, "scrape timed out"),
            },
            Err(error) => {
                tracing::debug!(%error, "cannot accept a scrape");
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    }
}

async fn respond(mut stream: TcpStream, metrics: &impl Fn() -> String) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if request.len() > MAX_REQUEST_BYTES || stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let (status, body) = match request.split(|byte| *byte == b' ').take(2).collect::<Vec<_>>()[..] {
        [b"GET", path] if path == b"/metrics" || path.starts_with(b"/metrics?") => ("200 OK", metrics()),
        [b"GET", _] => ("404 Not Found", "expected /metrics\n".to_owned()),
        _ => ("405 Method Not Allowed", "expected GET\n".to_owned()),
    };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all((head + &body).as_bytes()).await?;
    stream.shutdown().await
}
