//! Answers the probe's UDP echo, where the shop is reached through a published port. See [`protocol::echo`].

use std::net::UdpSocket;
use std::time::Duration;

use protocol::echo;

/// The largest datagram that UDP over IPv4 carries, bytes.
const MAX_BYTES: usize = 65_507;
/// How long to leave a socket alone that fails for another reason than one peer's.
const PAUSE: Duration = Duration::from_millis(10);

/// Answers every echo request that comes, as long as the process lives.
pub fn serve(socket: &UdpSocket) {
    let mut datagram = vec![0; MAX_BYTES];
    loop {
        match socket.recv_from(&mut datagram) {
            Ok((bytes, from)) => {
                if echo::answer(&mut datagram[..bytes]) {
                    // What can't be sent is lost like what the link loses: the asker counts it.
                    let _ = socket.send_to(&datagram[..bytes], from);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "echo");
                std::thread::sleep(PAUSE);
            }
        }
    }
}
