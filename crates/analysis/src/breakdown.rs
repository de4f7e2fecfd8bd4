//! Where the time of one operation went: its latency, split into parts that add up to it.
//!
//! What was measured directly is taken as it is: waiting, the server's time, the handshake. The network's time is told
//! apart by what both kernels counted and by what a link of that round trip and rate needs. What cannot be told is
//! `other`, never guessed. docs/measuring.md has the rules for people.

use crate::sample::Sample;

/// A part of a latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// Behind earlier work: the client's (open loop) or in the server's queue.
    Queueing,
    /// The TCP handshake, without SYNs that were sent again.
    Handshake,
    /// The request's round trip, and further ones while the window is small.
    RoundTrips,
    /// Passing a link of a set rate, and queueing before it.
    Transmission,
    /// Queueing for what was lost to be sent again.
    Retransmission,
    /// The server's work, without queue and disk.
    Server,
    /// The server's database.
    Database,
    /// The client's own work, the hosts' scheduling, and what cannot be told.
    Other,
}

impl Component {
    /// All part, in the order in which they are stacked and written.
    pub const ALL: [Component; 8] = [
        Component::Queueing,
        Component::Handshake,
        Component::RoundTrips,
        Component::Transmission,
        Component::Retransmission,
        Component::Server,
        Component::Database,
        Component::Other,
    ];
}

/// What is known of a cell's link beyond a single sample.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LinkParameters {
    /// The rate it was set to, kbit/s.
    pub rate_kbit: Option<f64>,
    /// Its own round trip, milliseconds, where single connections may all have met a queue; else each tells for itself.
    pub base_rtt_ms: Option<f64>,
}

impl LinkParameters {
    /// The link of the cell that `samples` are of. Before a set rate there are queues, and a connection of one request
    /// may know no round trip without: the shortest of all connections counts.
    pub(crate) fn of(samples: &[&Sample], rate_kbit: Option<f64>) -> Self {
        let known = samples.iter().filter_map(|sample| sample.tcp_min_rtt_ms).filter(is_positive);
        LinkParameters { rate_kbit, base_rtt_ms: rate_kbit.and_then(|_| known.min_by(f64::total_cmp)) }
    }
}

/// A latency in its parts, milliseconds: none is negative, and they add up to it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Components([f64; Component::ALL.len()]);

/// The retransmission timeout before the first round trip was measured, milliseconds: RFC 6298, section 2.1.
const INITIAL_RTO_MS: f64 = 1000.0;
/// Kernels' timers fire a little early or late against the clock that `connect` is measured with.
const TIMER_SLACK: f64 = 0.9;
/// The least retransmission timeout of Linux, milliseconds (`TCP_RTO_MIN` in include/net/tcp.h).
const MIN_RTO_MS: f64 = 200.0;
/// Bytes of data in a segment of a 1500-byte packet with TCP timestamps.
const SEGMENT_BYTES: f64 = 1448.0;
/// IP and TCP headers with timestamps, bytes.
const HEADER_BYTES: f64 = 52.0;
/// Segments that may be sent before the first acknowledgement: RFC 6928.
const INITIAL_WINDOW: f64 = 10.0;

impl Components {
    /// Splits the latency of `sample`, which went over `link`.
    #[must_use]
    pub fn of(sample: &Sample, link: LinkParameters) -> Self {
        let mut split = Split::new(sample, link);
        split.take(Component::Queueing, sample.wait_ms);
        split.handshake();
        split.server();
        match sample.rtt_ms {
            Some(rtt_ms) => split.network(rtt_ms - sample.server_ms.unwrap_or_default()),
            // No answer came. Where segments were sent again, those were waited for; otherwise the cause is unknown.
            None if split.resent(0) => {
                split.take(Component::Retransmission, split.left);
            }
            None => (),
        }
        split.take(Component::Other, split.left);
        split.components
    }

    /// One part, milliseconds.
    #[must_use]
    pub fn get(&self, part: Component) -> f64 {
        self.0[part as usize]
    }

    /// All parts together, milliseconds.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.0.iter().sum()
    }

    /// The parts, each added to those of `other` times `weight`.
    pub(crate) fn plus(self, other: &Components, weight: f64) -> Components {
        Components(std::array::from_fn(|index| self.0[index] + weight * other.0[index]))
    }
}

/// A latency of which some is still to be told.
struct Split<'a> {
    sample: &'a Sample,
    /// Set rate, bits per millisecond.
    rate: Option<f64>,
    /// The link's own round trip, milliseconds.
    base_ms: Option<f64>,
    left: f64,
    components: Components,
    /// Retransmission timeouts in the handshake: the client's for its SYN or the server's for its SYN-ACK.
    handshake_timeouts: u32,
}

impl<'a> Split<'a> {
    fn new(sample: &'a Sample, link: LinkParameters) -> Self {
        let base_ms = link.base_rtt_ms.or(sample.tcp_min_rtt_ms).or(sample.tcp_rtt_ms);
        Split {
            sample,
            rate: link.rate_kbit.filter(is_positive),
            base_ms: base_ms.filter(is_positive),
            left: Some(sample.latency_ms).filter(is_positive).unwrap_or_default(),
            components: Components::default(),
            handshake_timeouts: 0,
        }
    }

    /// Moves at most `amount` of what is left to `part`; how much was moved.
    fn take(&mut self, part: Component, amount: f64) -> f64 {
        // NaN.max(0.0) is 0.
        let taken = amount.max(0.0).min(self.left);
        self.left -= taken;
        self.components.0[part as usize] += taken;
        taken
    }

    /// Whether either side retransmitted more segments than `handshake_timeouts` account for.
    ///
    /// The client's SYN timer and the server's SYN-ACK timer both start at 1 s (RFC 6298), so after a lost SYN-ACK
    /// either may expire first. The server retransmits the SYN-ACK when its own timer expires and for every SYN that it
    /// receives again. So `n` timeouts account for at most `n` SYNs, and for at most `n` SYN-ACKs plus one per
    /// retransmitted SYN.
    fn resent(&self, handshake_timeouts: u32) -> bool {
        let (client, server) = (self.sample.tcp_retransmits, self.sample.server_tcp_retransmits);
        client.is_some_and(|count| count > handshake_timeouts)
            || server.is_some_and(|count| count > handshake_timeouts + client.unwrap_or(handshake_timeouts))
    }

    /// Whether both sides counted, and neither sent anything again.
    fn none_resent(&self) -> bool {
        self.sample.tcp_retransmits == Some(0) && self.sample.server_tcp_retransmits == Some(0)
    }

    fn handshake(&mut self) {
        let Some(connect_ms) = self.sample.connect_ms.filter(is_positive) else { return };
        let base_ms = self.base_ms.unwrap_or(connect_ms).min(connect_ms);
        let beyond = connect_ms - base_ms;
        self.handshake_timeouts = if self.none_resent() { 0 } else { handshake_timeouts(beyond, self.resent(0)) };
        // With a rate, what is beyond the timeouts' known lengths was spent in the queue.
        let (handshake, stalled) = match (self.handshake_timeouts, self.rate) {
            (0, None) => (connect_ms, 0.0),
            (0, Some(_)) => (base_ms, 0.0),
            (_, None) => (base_ms, beyond),
            (timeouts, Some(_)) => (base_ms, waited_for_timeouts(timeouts).min(beyond)),
        };
        self.take(Component::Handshake, handshake);
        self.take(Component::Retransmission, stalled);
        self.take(Component::Transmission, connect_ms - handshake - stalled);
    }

    fn server(&mut self) {
        let Some(server_ms) = self.sample.server_ms else { return };
        // Not more than the request took: both come from different clocks.
        let mut room = self.sample.rtt_ms.map_or(server_ms, |rtt_ms| server_ms.min(rtt_ms)).max(0.0);
        for (part, amount) in [
            (Component::Queueing, self.sample.server_queue_ms),
            (Component::Database, self.sample.server_database_ms),
            (Component::Server, Some(room)),
        ] {
            room -= self.take(part, amount.unwrap_or_default().min(room));
        }
    }

    /// The request's time on the network, `network_ms`.
    fn network(&mut self, network_ms: f64) {
        let Some(base_ms) = self.base_ms else { return };
        let mut room = network_ms.max(0.0).min(self.left);
        room -= self.take(Component::RoundTrips, base_ms.min(room));
        let bytes = self.sample.response_bytes.unwrap_or_default() as f64;
        if let Some(rate) = self.rate {
            let link_ms = serialisation_ms(bytes, rate) + self.queue_ms(base_ms);
            room -= self.take(Component::Transmission, link_ms.min(room));
        }
        room -= self.take(Component::RoundTrips, further_flights_ms(bytes, base_ms, self.rate).min(room));
        let by_count = self.resent(self.handshake_timeouts);
        let by_length = self.resent(0) && room >= MIN_RTO_MS;
        if by_count || by_length {
            self.take(Component::Retransmission, room);
        } else if self.rate.is_some() {
            self.take(Component::Transmission, room);
        }
    }

    /// How long packets queued before the link as either kernel saw it: its smoothed round trip beyond the shortest.
    /// After a timeout in the handshake the client's is ignored: its kernel takes the time since the first SYN for a
    /// round trip.
    fn queue_ms(&self, base_ms: f64) -> f64 {
        let client = self.sample.tcp_rtt_ms.filter(|_| self.handshake_timeouts == 0);
        let seen = [client, self.sample.server_tcp_rtt_ms];
        seen.into_iter().flatten().fold(0.0, |longest, rtt_ms| f64::max(longest, rtt_ms - base_ms))
    }
}

fn is_positive(value: &f64) -> bool {
    value.is_finite() && *value > 0.0
}

/// How many retransmission timeouts a handshake held that took `beyond_ms` more than a round trip. The timeout doubles
/// each time: RFC 6298, section 5.5.
fn handshake_timeouts(beyond_ms: f64, resent: bool) -> u32 {
    let slack = if resent { TIMER_SLACK } else { 1.0 };
    (1..=10).take_while(|count| beyond_ms >= slack * waited_for_timeouts(*count)).last().unwrap_or(0)
}

/// What `count` timeouts of a handshake take together, milliseconds: 1, 3, 7 … s.
fn waited_for_timeouts(count: u32) -> f64 {
    INITIAL_RTO_MS * (2_f64.powi(count as i32) - 1.0)
}

fn serialisation_ms(bytes: f64, rate: f64) -> f64 {
    let segments = (bytes / SEGMENT_BYTES).ceil();
    (bytes + segments * HEADER_BYTES) * 8.0 / rate
}

/// How long the sender of `bytes` idles in slow start: each full window, doubled every time, waits a round trip for its
/// first acknowledgement, less what it takes to send.
fn further_flights_ms(bytes: f64, base_ms: f64, rate: Option<f64>) -> f64 {
    let (mut window, mut unsent, mut idle) = (INITIAL_WINDOW * SEGMENT_BYTES, bytes, 0.0);
    while unsent > window {
        idle += (base_ms - rate.map_or(0.0, |rate| serialisation_ms(window, rate))).max(0.0);
        unsent -= window;
        window *= 2.0;
    }
    idle
}

#[cfg(test)]
mod tests;
