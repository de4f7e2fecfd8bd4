//! Tests of the link with simulated time.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn condition(json: &str) -> Condition {
    serde_json::from_str(json).unwrap()
}

fn link(json: &str) -> Link {
    Link::new(condition(json), 7)
}

/// Sends one packet every `gap` and removes due packets, as the forwarder does; then empties the link.
fn feed(link: &mut Link, packets: usize, length: usize, gap: Duration) -> Vec<Verdict> {
    let mut now = Duration::ZERO;
    let verdicts = (0..packets)
        .map(|_| {
            while link.pop_due(now).is_some() {}
            let verdict = link.on_packet(now, length);
            now += gap;
            verdict
        })
        .collect();
    while link.pop_due(Duration::MAX).is_some() {}
    verdicts
}

fn departures(verdicts: &[Verdict]) -> Vec<Duration> {
    verdicts
        .iter()
        .filter_map(|verdict| match verdict {
            Verdict::SendAt(at) => Some(*at),
            Verdict::Drop(_) => None,
        })
        .collect()
}

fn assert_adds_up(link: &Link) {
    let Counters { packets, sent, send_errors, dropped_loss, dropped_queue, dropped_memory, queued, .. } =
        link.counters();
    assert_eq!(packets, sent + send_errors + dropped_loss + dropped_queue + dropped_memory + queued);
}

#[test]
fn the_baseline_sends_a_packet_immediately() {
    let mut link = link("{}");
    assert_eq!(link.on_packet(5 * MS, 1500), Verdict::SendAt(5 * MS));
    assert_eq!(link.pop_due(5 * MS), Some(5 * MS));
    assert_eq!(link.next_deadline(), None);
}

#[test]
fn a_delay_is_exact_and_packets_do_not_wait_for_each_other() {
    let mut link = link(r#"{"delay":"50ms"}"#);
    let verdicts = [0, 1, 1, 7].map(|at| link.on_packet(at * MS, 1500));
    assert_eq!(verdicts, [50, 51, 51, 57].map(|at| Verdict::SendAt(at * MS)));
    assert_eq!(link.next_deadline(), Some(50 * MS));
    assert_eq!(link.pop_due(50 * MS - Duration::from_nanos(1)), None);
    assert_eq!([link.pop_due(51 * MS), link.pop_due(51 * MS)], [Some(50 * MS), Some(51 * MS)]);
    assert_eq!(link.counters(), Counters { packets: 4, bytes: 6000, sent: 2, queued: 2, ..Counters::default() });
}

#[test]
fn a_rate_spaces_packets_by_their_length_and_the_delay_is_added() {
    let mut link = link(r#"{"rate":"1Mbit","delay":"20ms"}"#);
    // 1250 bytes are 10 ms at 1 Mbit/s, 125 bytes are 1 ms.
    let burst = [(0, 1250), (0, 1250), (0, 125), (100, 125)].map(|(at, length)| link.on_packet(at * MS, length));
    assert_eq!(burst, [30, 40, 41, 121].map(|at| Verdict::SendAt(at * MS)));
}

#[test]
fn an_odd_rate_loses_no_time_over_many_packets() {
    let mut link = link(r#"{"rate":"7Mbit","queue_limit":"100000"}"#);
    let last = *departures(&feed(&mut link, 10_000, 1500, Duration::ZERO)).last().unwrap();
    let expected = 10_000.0 * 1500.0 * 8.0 / 7e6;
    assert!((last.as_secs_f64() / expected - 1.0).abs() < 1e-6, "{last:?}, expected {expected} s");
}

#[test]
fn a_lost_packet_takes_no_link_time() {
    let mut link = link(r#"{"rate":"1Mbit","loss":"50%","queue_limit":"1000"}"#);
    let at = departures(&feed(&mut link, 100, 1250, Duration::ZERO));
    let expected: Vec<_> = (1..).map(|nth| nth * 10 * MS).take(at.len()).collect();
    assert_eq!(at, expected);
    assert!(link.counters().dropped_loss > 0);
}

#[test]
fn losses_follow_the_binomial_distribution() {
    let rows: [(_, f64); 3] = [(r#"{"loss":"1%"}"#, 0.01), (r#"{"loss":"0.1%"}"#, 0.001), (r#"{"loss":"30%"}"#, 0.3)];
    for (json, probability) in rows {
        let mut link = link(json);
        feed(&mut link, 100_000, 100, MS);
        let lost = link.counters().dropped_loss as f64;
        // Four standard deviations of Binomial(n, p), sqrt(np(1-p)): the seed is fixed, so the result never changes.
        let (mean, spread) = (1e5 * probability, 4.0 * (1e5 * probability * (1.0 - probability)).sqrt());
        assert!((lost - mean).abs() < spread, "{json}: {lost} lost, expected {mean} ± {spread}");
        assert_adds_up(&link);
    }
}

#[test]
fn losses_of_different_seeds_vary_as_the_binomial_distribution_does() {
    let outside = (0..100)
        .filter(|seed| {
            let mut link = Link::new(condition(r#"{"loss":"1%"}"#), *seed);
            feed(&mut link, 100_000, 100, MS);
            !(920..=1_082).contains(&link.counters().dropped_loss)
        })
        .count();
    // The interval contains 99 % of Binomial(100 000, 1 %): of 100 seeds one is expected outside, and 6 or more in one
    // of 2000 sets of seeds. The seeds are fixed.
    assert!(outside <= 5, "{outside} of 100");
}

#[test]
fn full_loss_drops_all_packets_and_no_loss_drops_none() {
    for (json, sent) in [(r#"{"loss":"100%"}"#, 0), (r#"{"delay":"1ms"}"#, 1000)] {
        let mut link = link(json);
        feed(&mut link, 1000, 100, MS);
        assert_eq!(link.counters().sent, sent, "{json}");
    }
}

#[test]
fn a_full_queue_drops_arrivals_until_the_next_departure() {
    let mut link = link(r#"{"delay":"10ms","queue_limit":"2"}"#);
    let full = Verdict::Drop(DropReason::QueueFull);
    assert_eq!([0, 1, 2].map(|at| link.on_packet(at * MS, 100))[2], full);
    assert_eq!(link.pop_due(10 * MS), Some(10 * MS));
    assert_eq!(link.on_packet(10 * MS, 100), Verdict::SendAt(20 * MS));
    assert_eq!(link.counters().dropped_queue, 1);
    assert_adds_up(&link);
}

#[test]
fn a_queue_limit_bounds_the_wait() {
    let mut link = link(r#"{"rate":"1Mbit","queue_limit":"10"}"#);
    let at = departures(&feed(&mut link, 1000, 1250, MS));
    let longest_gap = at.iter().zip(at.iter().skip(1)).map(|(a, b)| *b - *a).max();
    assert_eq!(longest_gap, Some(10 * MS), "the rate is fully used");
    assert!(link.counters().dropped_queue > 800, "{:?}", link.counters());
}

#[test]
fn jitter_spreads_evenly_around_the_delay_and_never_reorders() {
    let mut link = link(r#"{"delay":"50ms","jitter":"10ms"}"#);
    // Far enough apart that no packet waits for its predecessor.
    let gap = 100 * MS;
    let delays_ms: Vec<f64> = departures(&feed(&mut link, 10_000, 100, gap))
        .into_iter()
        .zip(0u32..)
        .map(|(at, nth)| (at - nth * gap).as_secs_f64() * 1e3)
        .collect();
    let mean = delays_ms.iter().sum::<f64>() / delays_ms.len() as f64;
    let variance = delays_ms.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / delays_ms.len() as f64;
    assert!(delays_ms.iter().all(|delay| (40.0..=60.0).contains(delay)));
    assert!((mean - 50.0).abs() < 0.25, "mean {mean} ms");
    // A uniform distribution of width w has the variance w²/12.
    assert!((variance.sqrt() - 20.0 / 12f64.sqrt()).abs() < 0.2, "deviation {} ms", variance.sqrt());
}

#[test]
fn jitter_keeps_the_order_of_a_burst() {
    let mut link = link(r#"{"delay":"50ms","jitter":"50ms"}"#);
    let at = departures(&feed(&mut link, 1000, 100, MS));
    assert!(at.is_sorted());
}

#[test]
fn the_same_seed_gives_the_same_verdicts_and_another_seed_others() {
    let verdicts = |seed| {
        let lossy = condition(r#"{"delay":"5ms","jitter":"5ms","loss":"10%","rate":"1Mbit"}"#);
        feed(&mut Link::new(lossy, seed), 1000, 100, MS)
    };
    assert_eq!(verdicts(1), verdicts(1));
    assert_ne!(verdicts(1), verdicts(2));
}

#[test]
fn which_packets_are_lost_depends_only_on_the_seed_and_the_loss() {
    let lost = |json| -> Vec<bool> {
        let verdicts = feed(&mut link(json), 1000, 100, MS);
        verdicts.into_iter().map(|verdict| verdict == Verdict::Drop(DropReason::Loss)).collect()
    };
    let alone = lost(r#"{"loss":"10%"}"#);
    assert_eq!(alone, lost(r#"{"loss":"10%","delay":"5ms","jitter":"5ms"}"#));
    assert_eq!(alone, lost(r#"{"loss":"10%","rate":"100kbit","queue_limit":"1"}"#));
}

#[test]
fn a_packet_with_a_send_error_is_not_counted_as_sent() {
    let mut link = link("{}");
    link.on_packet(MS, 100);
    link.pop_due(MS);
    link.count_send_errors(1);
    assert_eq!((link.counters().sent, link.counters().send_errors), (0, 1));
    assert_adds_up(&link);
}

proptest::proptest! {
    #[test]
    fn counters_add_up_and_order_is_kept_for_all_arrivals(
        seed: u64,
        arrivals in proptest::collection::vec((0u64..20_000, 20usize..1500), 1..300),
    ) {
        let odd = condition(r#"{"delay":"3ms","jitter":"3ms","loss":"20%","rate":"2Mbit","queue_limit":"5"}"#);
        let mut link = Link::new(odd, seed);
        let (mut now, mut last) = (Duration::ZERO, Duration::ZERO);
        for (gap, length) in arrivals {
            now += Duration::from_micros(gap);
            while let Some(due) = link.pop_due(now) {
                proptest::prop_assert!(due >= last && due <= now);
                last = due;
            }
            link.on_packet(now, length);
            assert_adds_up(&link);
            proptest::prop_assert!(link.counters().queued <= 5);
        }
    }
}

#[test]
fn a_gso_packet_leaves_as_one_and_counts_as_its_wire_packets() {
    let mut link = link(r#"{"delay":"10ms","queue_limit":"50"}"#);
    link.condition.queue_limit = None;
    assert_eq!(link.on_gso_packet(MS, 44, 66_000), Verdict::SendAt(11 * MS));
    assert_eq!(link.on_gso_packet(2 * MS, 7, 10_500), Verdict::Drop(DropReason::QueueFull), "there is room for 6");
    assert_eq!(link.on_packet(2 * MS, 1500), Verdict::SendAt(12 * MS));
    assert_eq!((link.pop_due(11 * MS), link.pop_due(11 * MS)), (Some(11 * MS), None));
    // The last count exceeds the rest of the departure.
    for (unsent, sent) in [(1, 43), (42, 1), (2, 0)] {
        link.count_send_errors(unsent);
        let send_errors = 44 - sent;
        let expected = Counters {
            packets: 52,
            bytes: 78_000,
            sent,
            send_errors,
            dropped_queue: 7,
            queued: 1,
            ..Counters::default()
        };
        assert_eq!(link.counters(), expected);
        assert_adds_up(&link);
    }
}

#[test]
fn full_memory_drops_packets_that_the_condition_does_not_and_changes_no_draw() {
    let mut full = link(r#"{"loss":"50%"}"#);
    let mut free = link(r#"{"loss":"50%"}"#);
    let loss = Verdict::Drop(DropReason::Loss);
    for nth in 0..100 {
        let expected = free.on_packet(nth * MS, 100);
        // Every third packet finds the memory full.
        let memory = if nth % 3 == 0 { Memory::Full } else { Memory::Available };
        let verdict = full.on_arrival(nth * MS, 1, 100, memory);
        let without_room = if expected == loss { loss } else { Verdict::Drop(DropReason::MemoryFull) };
        assert_eq!(verdict, if memory == Memory::Full { without_room } else { expected });
    }
    assert_eq!(full.counters().dropped_loss, free.counters().dropped_loss);
    assert!(full.counters().dropped_memory > 0);
    assert_adds_up(&full);
}

#[test]
fn drops_and_departures_match_the_recording() {
    let mut text = String::new();
    for json in [
        r#"{"loss":"1%"}"#,
        r#"{"delay":"50ms","jitter":"10ms"}"#,
        r#"{"loss":"30%","delay":"20ms","jitter":"5ms","rate":"1Mbit","queue_limit":"20"}"#,
    ] {
        let mut link = Link::new(condition(json), 2026);
        for (number, verdict) in feed(&mut link, 300, 1_000, 5 * MS).into_iter().enumerate() {
            let decision = match verdict {
                Verdict::SendAt(at) => format!("sent at {} ns", at.as_nanos()),
                Verdict::Drop(reason) => format!("dropped, {reason:?}"),
            };
            text += &format!("{json} packet {number}: {decision}\n");
        }
    }
    test_support::assert_golden(concat!(env!("CARGO_MANIFEST_DIR"), "/src/link/golden.txt"), &text);
}
