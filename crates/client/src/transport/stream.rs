//! Bytes of a connection to the shop, in clear text or by TLS.

use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use protocol::FrameDecoder;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::transport::rx_timestamp;

/// Maximum bytes per read from the socket.
const READ_BYTES: usize = 16 * 1024;

/// A connected socket, with a TLS session if the shop's connections are encrypted.
#[derive(Debug)]
pub(super) struct Stream {
    tcp: TcpStream,
    /// Boxed, because ten thousand connections in clear text need none.
    session: Option<Box<ClientConnection>>,
}

impl Stream {
    /// Creates a stream in clear text.
    pub(super) fn new(tcp: TcpStream) -> Self {
        rx_timestamp::enable(&tcp);
        Self { tcp, session: None }
    }

    /// Returns the socket.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Performs the TLS handshake, and returns its number of round trips: how often the client waited for the server.
    pub(super) async fn encrypt(&mut self, server: IpAddr, config: &Arc<ClientConfig>) -> io::Result<u32> {
        let session = ClientConnection::new(Arc::clone(config), ServerName::from(server)).map_err(io::Error::other)?;
        self.session = Some(Box::new(session));
        let mut round_trips = 0;
        loop {
            let has_sent = self.send_records().await?;
            if !self.session.as_ref().is_some_and(|session| session.is_handshaking()) {
                return Ok(round_trips);
            }
            round_trips += u32::from(has_sent);
            // Nothing but the handshake arrives before the first request.
            let received = self.receive(&mut FrameDecoder::default()).await;
            if let Err(error) = received {
                // Tells the server the reason. The handshake's error matters more than one of sending.
                let _ = self.send_records().await;
                return Err(error);
            }
        }
    }

    /// Sends bytes.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(session) = &mut self.session else { return self.tcp.write_all(bytes).await };
        session.set_buffer_limit(None);
        session.writer().write_all(bytes)?;
        self.send_records().await.map(drop)
    }

    /// Sends the session's records, and returns whether there were any. Records that are not sent when the future is
    /// dropped remain in the session.
    async fn send_records(&mut self) -> io::Result<bool> {
        let Some(session) = &mut self.session else { return Ok(false) };
        let mut has_sent = false;
        while session.wants_write() {
            match session.write_tls(&mut Socket(&self.tcp)) {
                Ok(_) => has_sent = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.tcp.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(has_sent)
    }

    /// Waits for bytes, passes them to `decoder`, and returns the arrival time of the last one.
    ///
    /// # Errors
    /// `UnexpectedEof` if the server has closed the connection; otherwise the error of the socket or of the session.
    pub(super) async fn receive(&mut self, decoder: &mut FrameDecoder) -> io::Result<Instant> {
        loop {
            self.tcp.readable().await?;
            match self.read_available(decoder) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                other => return other,
            }
        }
    }

    /// Reads available bytes. Not async: its buffer is on the thread's stack instead of in each of ten thousand tasks.
    fn read_available(&mut self, decoder: &mut FrameDecoder) -> io::Result<Instant> {
        let mut buffer = [0; READ_BYTES];
        let (count, at) = rx_timestamp::read(&self.tcp, &mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match &mut self.session {
            None => decoder.feed(&buffer[..count]),
            Some(session) => decrypt(session, &buffer[..count], decoder)?,
        }
        Ok(at)
    }
}

/// Passes the content of received records to `decoder`.
fn decrypt(session: &mut ClientConnection, mut records: &[u8], decoder: &mut FrameDecoder) -> io::Result<()> {
    let mut content = [0; READ_BYTES];
    while !records.is_empty() {
        if session.read_tls(&mut records)? == 0 {
            // The server has ended the session. The end of the connection follows.
            return Ok(());
        }
        session.process_new_packets().map_err(io::Error::other)?;
        loop {
            match session.reader().read(&mut content) {
                Ok(0) => return Ok(()),
                Ok(count) => decoder.feed(&content[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Ends the TLS session, so that the server knows that the connection was not cut.
impl Drop for Stream {
    fn drop(&mut self) {
        let Some(session) = &mut self.session else { return };
        session.send_close_notify();
        // The connection ends anyway: what the socket does not accept at once is not sent.
        let _ = session.write_tls(&mut Socket(&self.tcp));
    }
}

/// Writes to a socket without waiting.
struct Socket<'a>(&'a TcpStream);

impl Write for Socket<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
