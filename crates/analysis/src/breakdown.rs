//! Latency breakdown of one operation: its latency, split into components that add up to it.
//!
//! Times that were measured directly are used as they are: queue wait, server time, handshakes. The time on the network
//! is split by the counters of both kernels and by the time that a link with this round trip and rate needs. Time that
//! cannot be attributed is `other`, never guessed. docs/measuring.md describes the rules.

use crate::timings::Timings;

/// A component of a latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Component {
    /// Queue wait, in the client (open loop) and in the server.
    Queueing,
    /// The TCP handshake, without retransmitted SYNs.
    Handshake,
    /// The TLS handshake: its round trips, and the computations of both ends.
    Tls,
    /// Round trip of the request, and further ones in slow start.
    RoundTrips,
    /// Transmission over a rate-limited link, and queueing in front of it.
    Transmission,
    /// Waiting for lost segments to be retransmitted.
    Retransmission,
    /// Processing in the server, without queue and database.
    Server,
    /// Database time in the server.
    Database,
    /// Processing in the client, scheduling on the hosts, and time that cannot be attributed.
    Other,
}

impl Component {
    /// All components, in the order of bars and columns.
    pub(crate) const ALL: [Component; 9] = [
        Component::Queueing,
        Component::Handshake,
        Component::Tls,
        Component::RoundTrips,
        Component::Transmission,
        Component::Retransmission,
        Component::Server,
        Component::Database,
        Component::Other,
    ];
}

/// Properties of a cell's link that a single sample does not show.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct LinkParameters {
    /// Rate limit, kbit/s.
    pub(crate) rate_kbit: Option<f64>,
    /// RTT without queueing, milliseconds, if every packet of a connection may have queued; otherwise each connection's
    /// own minimum is used.
    pub(crate) base_rtt_ms: Option<f64>,
}

impl LinkParameters {
    /// Returns the parameters of a link on which `min_rtt_ms` is the shortest round trip of all connections. In front of
    /// a rate limit packets queue, and a connection with one request may have no round trip without queueing: the
    /// minimum over all connections is used.
    pub(crate) fn new(rate_kbit: Option<f64>, min_rtt_ms: Option<f64>) -> Self {
        LinkParameters { rate_kbit, base_rtt_ms: rate_kbit.and(min_rtt_ms) }
    }
}

/// The components of a latency, milliseconds: none is negative, and they add up to it.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Components([f64; Component::ALL.len()]);

/// Retransmission timeout before the first round trip is measured, milliseconds: RFC 6298, section 2.1.
const INITIAL_RTO_MS: f64 = 1000.0;
/// Kernel timers fire slightly early or late relative to the clock that measures `connect_ms`.
const TIMER_SLACK: f64 = 0.9;
/// Minimum retransmission timeout of Linux, milliseconds (`TCP_RTO_MIN` in include/net/tcp.h).
const MIN_RTO_MS: f64 = 200.0;
/// Payload of a 1500-byte packet with TCP timestamps, bytes.
const SEGMENT_BYTES: f64 = 1448.0;
/// IP and TCP headers with timestamps, bytes.
const HEADER_BYTES: f64 = 52.0;
/// Segments that may be sent before the first acknowledgement: RFC 6928.
const INITIAL_WINDOW: f64 = 10.0;

impl Components {
    /// Splits the latency of an operation over `link`.
    #[must_use]
    pub(crate) fn of(timings: &Timings, link: LinkParameters) -> Self {
        let mut split = Split::new(timings, link);
        split.take(Component::Queueing, timings.wait_ms);
        split.handshake();
        split.tls();
        split.server();
        match timings.rtt_ms {
            Some(rtt_ms) => split.network(rtt_ms - timings.server_ms.unwrap_or_default()),
            // No response arrived. Retransmitted segments explain the wait; without them the cause is unknown.
            None if split.retransmitted_more_than(0) => {
                split.take(Component::Retransmission, split.remaining);
            }
            None => (),
        }
        split.take(Component::Other, split.remaining);
        split.components
    }

    /// Returns one component, milliseconds.
    #[must_use]
    pub(crate) fn get(&self, component: Component) -> f64 {
        self.0[component as usize]
    }

    #[cfg(test)]
    pub(crate) fn total(&self) -> f64 {
        self.0.iter().sum()
    }

    /// Adds each component of `other`, multiplied by `weight`.
    pub(crate) fn add(&mut self, other: &Components, weight: f64) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, one)| *sum += weight * one);
    }
}

/// A latency of which `remaining` is not yet attributed.
struct Split<'a> {
    timings: &'a Timings,
    /// Rate limit, bits per millisecond.
    rate: Option<f64>,
    /// RTT of the link without queueing, milliseconds.
    base_ms: Option<f64>,
    remaining: f64,
    components: Components,
    /// Number of retransmission timeouts in the handshake: the client's for its SYN or the server's for its SYN-ACK.
    handshake_timeouts: u32,
    /// Number of stalls in the TLS handshake that were attributed to retransmission: 0 or 1.
    tls_stalls: u32,
}

impl<'a> Split<'a> {
    fn new(timings: &'a Timings, link: LinkParameters) -> Self {
        let base_ms = link.base_rtt_ms.or(timings.tcp_min_rtt_ms).or(timings.tcp_rtt_ms);
        Split {
            timings,
            rate: link.rate_kbit.filter(is_positive),
            base_ms: base_ms.filter(is_positive),
            remaining: Some(timings.latency_ms).filter(is_positive).unwrap_or_default(),
            components: Components::default(),
            handshake_timeouts: 0,
            tls_stalls: 0,
        }
    }

    /// Attributes at most `amount` of the remaining time to `component` and returns the attributed time.
    fn take(&mut self, component: Component, amount: f64) -> f64 {
        // NaN.max(0.0) is 0.
        let taken = amount.max(0.0).min(self.remaining);
        self.remaining -= taken;
        self.components.0[component as usize] += taken;
        taken
    }

    /// Returns whether either side retransmitted more segments than `handshake_timeouts` account for.
    ///
    /// The client's SYN timer and the server's SYN-ACK timer both start at 1 s (RFC 6298), so after a lost SYN-ACK
    /// either may expire first. The server retransmits the SYN-ACK when its own timer expires and for every
    /// retransmitted SYN that it receives. So `n` timeouts account for at most `n` SYNs, and for at most `n` SYN-ACKs
    /// plus one per retransmitted SYN.
    fn retransmitted_more_than(&self, handshake_timeouts: u32) -> bool {
        let (client, server) = (self.timings.tcp_retransmits, self.timings.server_tcp_retransmits);
        client.is_some_and(|count| count > handshake_timeouts)
            || server.is_some_and(|count| count > handshake_timeouts + client.unwrap_or(handshake_timeouts))
    }

    /// Returns whether the counts of both sides are known and zero.
    fn nothing_retransmitted(&self) -> bool {
        self.timings.tcp_retransmits == Some(0) && self.timings.server_tcp_retransmits == Some(0)
    }

    fn handshake(&mut self) {
        let Some(connect_ms) = self.timings.connect_ms.filter(is_positive) else { return };
        let base_ms = self.base_ms.unwrap_or(connect_ms).min(connect_ms);
        let beyond = connect_ms - base_ms;
        // Behind a rate limit the SYN-ACK may have been queued for as long as a timeout. Otherwise only a timeout explains a
        // second: the server's count does not contain every SYN-ACK (docs/measuring.md, "Lost SYN-ACKs").
        self.handshake_timeouts = if self.rate.is_some() && self.nothing_retransmitted() {
            0
        } else {
            handshake_timeouts(beyond, self.retransmitted_more_than(0))
        };
        // With a rate limit, time beyond the known lengths of the timeouts was spent in the queue.
        let (handshake, stalled) = match (self.handshake_timeouts, self.rate) {
            (0, None) => (connect_ms, 0.0),
            (0, Some(_)) => (base_ms, 0.0),
            (_, None) => (base_ms, beyond),
            (timeouts, Some(_)) => (base_ms, total_of_timeouts(timeouts).min(beyond)),
        };
        self.take(Component::Handshake, handshake);
        self.take(Component::Retransmission, stalled);
        self.take(Component::Transmission, connect_ms - handshake - stalled);
    }

    /// The TLS handshake is its round trips and the computations of both ends. A stall is known as such if a segment was
    /// retransmitted and at least the minimum timeout remains.
    fn tls(&mut self) {
        let Some(tls_ms) = self.timings.tls_ms.filter(is_positive) else { return };
        let round_trips = self.timings.tls_round_trips.map_or(1.0, f64::from);
        let base_ms = self.base_ms.map_or(tls_ms, |base_ms| tls_ms.min(round_trips * base_ms));
        let queued = self.rate.and(self.base_ms).map_or(0.0, |base_ms| self.queue_ms(base_ms).min(tls_ms - base_ms));
        let beyond = tls_ms - base_ms - queued;
        let is_stalled = beyond >= MIN_RTO_MS && self.retransmitted_more_than(self.handshake_timeouts);
        self.tls_stalls = is_stalled.into();
        self.take(Component::Tls, base_ms);
        self.take(Component::Transmission, queued);
        self.take(
            match self.rate {
                _ if is_stalled => Component::Retransmission,
                Some(_) => Component::Transmission,
                None => Component::Tls,
            },
            beyond,
        );
    }

    fn server(&mut self) {
        let Some(server_ms) = self.timings.server_ms else { return };
        // Limited to the RTT of the request: the two come from different clocks.
        let mut remaining = self.timings.rtt_ms.map_or(server_ms, |rtt_ms| server_ms.min(rtt_ms)).max(0.0);
        for (component, amount) in [
            (Component::Queueing, self.timings.server_queue_ms),
            (Component::Database, self.timings.server_database_ms),
            (Component::Server, Some(remaining)),
        ] {
            remaining -= self.take(component, amount.unwrap_or_default().min(remaining));
        }
    }

    /// Splits `network_ms`, the request's time on the network.
    fn network(&mut self, network_ms: f64) {
        let Some(base_ms) = self.base_ms else { return };
        let mut remaining = network_ms.max(0.0).min(self.remaining);
        remaining -= self.take(Component::RoundTrips, base_ms.min(remaining));
        let bytes = self.timings.response_bytes.unwrap_or_default() as f64;
        if let Some(rate) = self.rate {
            let link_ms = serialisation_ms(bytes, rate) + self.queue_ms(base_ms);
            remaining -= self.take(Component::Transmission, link_ms.min(remaining));
        }
        remaining -= self.take(Component::RoundTrips, further_flights_ms(bytes, base_ms, self.rate).min(remaining));
        let by_count = self.retransmitted_more_than(self.handshake_timeouts + self.tls_stalls);
        let by_length = self.retransmitted_more_than(0) && remaining >= MIN_RTO_MS;
        if by_count || by_length {
            self.take(Component::Retransmission, remaining);
        } else if self.rate.is_some() {
            self.take(Component::Transmission, remaining);
        }
    }

    /// Returns the queueing delay in front of the link: the larger excess of a kernel's smoothed RTT over the minimum.
    /// After a timeout in the handshake the client's RTT is ignored: its kernel counts the time since the first SYN as
    /// a round trip.
    fn queue_ms(&self, base_ms: f64) -> f64 {
        let client = self.timings.tcp_rtt_ms.filter(|_| self.handshake_timeouts == 0);
        let measured = [client, self.timings.server_tcp_rtt_ms];
        measured.into_iter().flatten().fold(0.0, |max, rtt_ms| f64::max(max, rtt_ms - base_ms))
    }
}

fn is_positive(value: &f64) -> bool {
    value.is_finite() && *value > 0.0
}

/// Returns the number of retransmission timeouts in a handshake that took `beyond_ms` longer than a round trip. The
/// timeout doubles each time: RFC 6298, section 5.5.
fn handshake_timeouts(beyond_ms: f64, is_retransmitted: bool) -> u32 {
    let slack = if is_retransmitted { TIMER_SLACK } else { 1.0 };
    (1..=10).take_while(|count| beyond_ms >= slack * total_of_timeouts(*count)).last().unwrap_or(0)
}

/// Returns the total of `count` timeouts of a handshake, milliseconds: 1, 3, 7 … s.
fn total_of_timeouts(count: u32) -> f64 {
    INITIAL_RTO_MS * (2_f64.powi(count as i32) - 1.0)
}

fn serialisation_ms(bytes: f64, rate: f64) -> f64 {
    let segments = (bytes / SEGMENT_BYTES).ceil();
    (bytes + segments * HEADER_BYTES) * 8.0 / rate
}

/// Returns the idle time of the sender of `bytes` in slow start: after each full window, which doubles every time, it
/// waits for the first acknowledgement, a round trip less the transmission time of the window.
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
