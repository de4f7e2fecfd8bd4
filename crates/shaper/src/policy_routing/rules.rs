//! The two routing rules, identified by the shaper's own table and mark.

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::RouteHeader;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};

/// Number of the shaper's routing table: "SH" in ASCII.
pub(crate) const TABLE: u32 = 0x5348;

/// Firewall mark on packets that have been shaped: "SHAP" in ASCII.
pub(crate) const MARK: u32 = 0x5348_4150;

/// Tables of the rules that every host has: local, main, default (`enum rt_class_t`, rtnetlink(7)).
const LOCAL_TABLE: u32 = 255;
const STANDARD_TABLES: [u32; 3] = [LOCAL_TABLE, 254, 253];

/// Priorities before those of the main table (32766) and of other programs.
const MARK_PRIORITY: u32 = 100;
const TUN_PRIORITY: u32 = 101;

/// Returns both rules, in the order in which they must be added.
pub(super) fn required() -> [RuleMessage; 2] {
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    [
        rule(MARK_PRIORITY, main, RuleAttribute::FwMark(MARK)),
        rule(TUN_PRIORITY, TABLE, RuleAttribute::Iifname("lo".to_owned())),
    ]
}

/// Returns whether the rule has the shaper's mark or table.
pub(super) fn is_own(rule: &RuleMessage) -> bool {
    table_of(rule) == TABLE || has(rule, &RuleAttribute::FwMark(MARK))
}

/// Describes the rules in `present` that are neither the shaper's nor among those that every host has.
pub(super) fn foreign(present: &[RuleMessage]) -> Vec<String> {
    let foreign = present.iter().filter(|rule| !is_standard(rule) && !is_own(rule));
    foreign.map(|rule| format!("table {}", table_of(rule))).collect()
}

/// Describes the rules that `present` lacks.
pub(super) fn missing(present: &[RuleMessage]) -> Vec<String> {
    let names = ["rule for the shaper's own packets", "rule for this node's packets"];
    let priorities = [MARK_PRIORITY, TUN_PRIORITY];
    let absent = |required: &RuleMessage| !present.iter().any(|rule| are_same(rule, required));
    let rows = required().into_iter().zip(names).zip(priorities);
    rows.filter(|((required, _), _)| absent(required))
        .map(|((_, name), priority)| format!("{name} (priority {priority})"))
        .collect()
}

/// Describes the rules in `present` by which packets may bypass the shaper: rules that not every host has, rules before
/// the shaper's, and additional rules with its table or mark.
pub(super) fn surplus(present: &[RuleMessage]) -> Vec<String> {
    let is_required = |rule: &RuleMessage| required().iter().any(|required| are_same(rule, required));
    let is_harmless = |rule: &RuleMessage| {
        // Routes of the local table bypass the shaper in any case, by the rule with priority 0.
        let is_local = table_of(rule) == LOCAL_TABLE;
        is_standard(rule) && !is_own(rule) && (is_local || priority_of(rule) > TUN_PRIORITY)
    };
    present.iter().filter(|rule| !is_required(rule) && !is_harmless(rule)).map(describe).collect()
}

fn describe(rule: &RuleMessage) -> String {
    let priority = priority_of(rule);
    match rule.header.action {
        RuleAction::ToTable => format!("rule to table {} (priority {priority})", table_of(rule)),
        action => format!("rule with action {action:?} (priority {priority})"),
    }
}

/// Returns whether the rule selects a table that every host has.
fn is_standard(rule: &RuleMessage) -> bool {
    rule.header.action == RuleAction::ToTable && STANDARD_TABLES.contains(&table_of(rule))
}

fn rule(priority: u32, table: u32, selector: RuleAttribute) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = AddressFamily::Inet;
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![RuleAttribute::Priority(priority), RuleAttribute::Table(table), selector];
    rule
}

/// Returns whether `present` matches exactly the packets that `required` matches. The kernel adds attributes without
/// effect; any other attribute restricts the rule.
fn are_same(present: &RuleMessage, required: &RuleMessage) -> bool {
    let has_no_effect = |attribute: &RuleAttribute| match attribute {
        RuleAttribute::Protocol(_) | RuleAttribute::Table(_) => true,
        RuleAttribute::FwMask(value) | RuleAttribute::SuppressPrefixLen(value) => *value == u32::MAX,
        _ => false,
    };
    let [present_header, required_header] = [present, required].map(|rule| {
        let header = &rule.header;
        let is_inverted = header.flags.contains(RuleFlags::Invert);
        (header.action, header.dst_len, header.src_len, header.tos, is_inverted, table_of(rule))
    });
    present_header == required_header
        && required.attributes.iter().all(|attribute| has_no_effect(attribute) || has(present, attribute))
        && present.attributes.iter().all(|attribute| has_no_effect(attribute) || has(required, attribute))
}

fn has(rule: &RuleMessage, attribute: &RuleAttribute) -> bool {
    rule.attributes.contains(attribute)
}

/// Returns the priority; the kernel omits 0.
fn priority_of(rule: &RuleMessage) -> u32 {
    let numbered = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Priority(priority) => Some(*priority),
        _ => None,
    });
    numbered.unwrap_or(0)
}

fn table_of(rule: &RuleMessage) -> u32 {
    let named = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Table(table) => Some(*table),
        _ => None,
    });
    named.unwrap_or(u32::from(rule.header.table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_rule_is_reported() {
        let [mark, divert] = required();
        assert_eq!(missing(&required()), Vec::<String>::new());
        assert_eq!(missing(&[mark]), ["rule for this node's packets (priority 101)"]);
        assert_eq!(missing(&[divert]), ["rule for the shaper's own packets (priority 100)"]);
    }

    #[test]
    fn only_rules_that_not_every_host_has_are_foreign() {
        let standard = [255, 254, 253].map(|table| rule(0, table, RuleAttribute::FwMark(0)));
        assert_eq!(foreign(&[&standard[..], &required()].concat()), Vec::<String>::new());
        let vpn = rule(32_764, 51_820, RuleAttribute::FwMark(0xca6c));
        assert_eq!(foreign(&[vpn]), ["table 51820"]);
    }

    #[test]
    fn rules_that_let_packets_bypass_or_divert_them_are_surplus() {
        let standard = [(0, 255), (32_766, 254), (32_767, 253)]
            .map(|(priority, table)| rule(priority, table, RuleAttribute::FwMark(0)));
        let [mark, divert] = required();
        let all = |extra: &[RuleMessage]| surplus(&[&standard[..], &[mark.clone(), divert.clone()], extra].concat());
        assert_eq!(all(&[]), Vec::<String>::new());
        let to = || RuleAttribute::Destination([10, 0, 0, 1].into());
        let harmless = [rule(102, 254, to()), rule(50, 255, to())];
        assert_eq!(all(&harmless), Vec::<String>::new());
        for (extra, expected) in [
            (rule(50, 254, to()), "rule to table 254 (priority 50)"),
            (rule(101, 254, to()), "rule to table 254 (priority 101)"),
            (rule(200, 51_820, to()), "rule to table 51820 (priority 200)"),
            (rule(200, TABLE, to()), "rule to table 21320 (priority 200)"),
            (rule(200, 254, RuleAttribute::FwMark(MARK)), "rule to table 254 (priority 200)"),
        ] {
            assert_eq!(all(&[extra]), [expected]);
        }
        let mut blackhole = rule(99, 0, to());
        blackhole.header.action = RuleAction::Blackhole;
        assert_eq!(all(&[blackhole]), ["rule with action Blackhole (priority 99)"]);
    }

    #[test]
    fn a_rule_that_matches_fewer_packets_is_not_the_required_one() {
        let [mark, divert] = required();
        let mut reply = divert.clone();
        reply.attributes.extend([RuleAttribute::SuppressPrefixLen(u32::MAX), RuleAttribute::FwMask(u32::MAX)]);
        assert_eq!(missing(&[mark.clone(), reply]), Vec::<String>::new());

        let mut restricted = divert.clone();
        restricted.attributes.push(RuleAttribute::IpProtocol(rtnetlink::packet_route::IpProtocol::Udp));
        let mut inverted = divert.clone();
        inverted.header.flags = RuleFlags::Invert;
        let mut masked = divert;
        masked.attributes.push(RuleAttribute::FwMask(1));
        for other in [restricted, inverted, masked] {
            let present = [mark.clone(), other];
            assert_eq!(missing(&present), ["rule for this node's packets (priority 101)"]);
            assert_eq!(surplus(&present), ["rule to table 21320 (priority 101)"]);
        }
    }

    #[test]
    fn a_foreign_rule_with_the_same_priority_is_not_the_shapers_own() {
        let foreign = rule(MARK_PRIORITY, 254, RuleAttribute::FwMark(1));
        assert!(!is_own(&foreign));
        assert!(required().iter().all(is_own));
    }
}
