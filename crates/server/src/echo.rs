//! UDP echo for probes through a published port. See [`protocol::echo`].

use std::net::UdpSocket;
use std::time::Duration;

use protocol::echo;

/// Maximum payload of UDP over IPv4, bytes.
const MAX_DATAGRAM_BYTES: usize = 65_507;
/// Pause after a failed receive: the next one may fail as well.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// Replies to echo requests until the process ends.
pub fn serve(socket: &UdpSocket) {
    let mut datagram = vec![0; MAX_DATAGRAM_BYTES];
    loop {
        match socket.recv_from(&mut datagram) {
            Ok((bytes, from)) => {
                if echo::respond(&mut datagram[..bytes]) {
                    // A reply that cannot be sent counts as lost, as on the link.
                    let _ = socket.send_to(&datagram[..bytes], from);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "cannot receive echo requests, retrying");
                std::thread::sleep(RETRY_INTERVAL);
            }
        }
    }
}
