//! Text output of the menu.

use std::time::Duration;

use protocol::response::{Order, Product};

use crate::output;
use crate::transport::ExchangeTiming;

/// Prints a line. Errors are ignored: without a terminal the next prompt fails and ends the session.
pub(super) fn line(text: &str) {
    let _ = output::line(text);
}

/// Formats the times of an operation as one line.
pub(super) fn timing(operation: &str, measured: &ExchangeTiming) -> String {
    let times = [
        ("latency", Some(measured.latency)),
        ("RTT", measured.rtt),
        ("connect", measured.connect),
        ("server", measured.server),
        ("TCP RTT", measured.tcp_rtt),
    ];
    let shown: Vec<String> =
        times.into_iter().filter_map(|(name, time)| Some(format!("{name} {}", milliseconds(time?)))).collect();
    format!("  {operation}: {}", shown.join(" · "))
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// Formats a product as one line.
pub(super) fn product(product: &Product) -> String {
    let rating = match product.rating_average {
        Some(average) => format!("{average:.1} ★ ({})", product.rating_count),
        None => "not rated".to_owned(),
    };
    format!("{:<30} {:>10}  {:>6} left  {rating}", product.name, money(product.price_cents), product.stock)
}

/// Formats an order as one line, followed by one for each item.
pub(super) fn order(order: &Order) -> String {
    let items = order.items.iter().map(|item| {
        let stars = item.stars.map(|stars| format!("  {}", "★".repeat(stars.into()))).unwrap_or_default();
        format!("\n    {} × {} at {}{stars}", item.quantity, item.name, money(item.price_cents))
    });
    format!("  order {}: {}{}", order.order_id, money(order.total_cents), items.collect::<String>())
}

/// Formats cents as an amount with two decimals.
pub(super) fn money(cents: i64) -> String {
    format!("{}.{:02}", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use protocol::response::OrderedItem;

    use super::*;

    #[test]
    fn money_has_two_decimals() {
        for (cents, text) in [(0, "0.00"), (5, "0.05"), (123_456, "1234.56")] {
            assert_eq!(money(cents), text);
        }
    }

    #[test]
    fn times_that_were_not_measured_are_omitted() {
        let measured = ExchangeTiming {
            latency: Duration::from_micros(1500),
            rtt: Some(Duration::from_micros(900)),
            ..ExchangeTiming::default()
        };
        assert_eq!(timing("login", &measured), "  login: latency 1.50 ms · RTT 0.90 ms");
    }

    #[test]
    fn an_order_lists_its_items_with_their_stars() {
        let item = |name: &str, stars| OrderedItem {
            product_id: 1,
            name: name.to_owned(),
            quantity: 2,
            price_cents: 250,
            stars,
        };
        let items = vec![item("Tea", Some(3)), item("Cup", None)];
        let shown = order(&Order { order_id: 7, placed_at_ms: 0, total_cents: 1000, items });
        assert_eq!(shown, "  order 7: 10.00\n    2 × Tea at 2.50  ★★★\n    2 × Cup at 2.50");
    }
}
