//! The two rules, by numbers that are the shaper's own.

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::RouteHeader;
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};

/// The shaper's routing table: "SH" in ASCII.
pub(crate) const TABLE: u32 = 0x5348;

/// The firewall mark on packets that have been shaped: "SHAP" in ASCII.
pub(crate) const MARK: u32 = 0x5348_4150;

/// The tables of the rules that every host has: local, main, default (`enum rt_class_t`, rtnetlink(7)).
const USUAL_TABLES: [u32; 3] = [255, 254, 253];

/// Ahead of the main table (32766) and of what people usually add.
const MARK_PRIORITY: u32 = 100;
const DIVERT_PRIORITY: u32 = 101;

/// Both rules, in the order in which they must appear.
pub(super) fn wanted() -> [RuleMessage; 2] {
    let main = u32::from(RouteHeader::RT_TABLE_MAIN);
    [
        rule(MARK_PRIORITY, main, RuleAttribute::FwMark(MARK)),
        rule(DIVERT_PRIORITY, TABLE, RuleAttribute::Iifname("lo".to_owned())),
    ]
}

/// Whether the rule is one of ours, or leads to our table.
pub(super) fn is_ours(rule: &RuleMessage) -> bool {
    table_of(rule) == TABLE || has(rule, &RuleAttribute::FwMark(MARK))
}

/// The rules in `present` that are neither ours nor among those every host has, in words.
pub(super) fn foreign(present: &[RuleMessage]) -> Vec<String> {
    let leads_to_usual = |rule: &RuleMessage| USUAL_TABLES.contains(&table_of(rule));
    let is_usual = |rule: &RuleMessage| rule.header.action == RuleAction::ToTable && leads_to_usual(rule);
    let foreign = present.iter().filter(|rule| !is_usual(rule) && !is_ours(rule));
    foreign.map(|rule| format!("table {}", table_of(rule))).collect()
}

/// What `present` lacks of the rules, in words.
pub(super) fn missing(present: &[RuleMessage]) -> Vec<String> {
    let names = ["rule for the shaper's own packets", "rule for this node's packets"];
    let priorities = [MARK_PRIORITY, DIVERT_PRIORITY];
    let absent = |wanted: &RuleMessage| !present.iter().any(|rule| are_same(rule, wanted));
    let rows = wanted().into_iter().zip(names).zip(priorities);
    rows.filter(|((wanted, _), _)| absent(wanted))
        .map(|((_, name), priority)| format!("{name} (priority {priority})"))
        .collect()
}

fn rule(priority: u32, table: u32, selector: RuleAttribute) -> RuleMessage {
    let mut rule = RuleMessage::default();
    rule.header.family = AddressFamily::Inet;
    rule.header.action = RuleAction::ToTable;
    rule.attributes = vec![RuleAttribute::Priority(priority), RuleAttribute::Table(table), selector];
    rule
}

/// The kernel's answer has more attributes than what was asked for.
fn are_same(present: &RuleMessage, wanted: &RuleMessage) -> bool {
    present.header.action == wanted.header.action
        && table_of(present) == table_of(wanted)
        && wanted.attributes.iter().all(|attribute| has(present, attribute))
}

fn has(rule: &RuleMessage, attribute: &RuleAttribute) -> bool {
    rule.attributes.contains(attribute)
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
    fn both_rules_are_told_apart_when_missing() {
        let [mark, divert] = wanted();
        assert_eq!(missing(&wanted()), Vec::<String>::new());
        assert_eq!(missing(&[mark]), ["rule for this node's packets (priority 101)"]);
        assert_eq!(missing(&[divert]), ["rule for the shaper's own packets (priority 100)"]);
    }

    #[test]
    fn only_rules_that_not_every_host_has_are_foreign() {
        let usual = [255, 254, 253].map(|table| rule(0, table, RuleAttribute::FwMark(0)));
        assert_eq!(foreign(&[&usual[..], &wanted()].concat()), Vec::<String>::new());
        let vpn = rule(32_764, 51_820, RuleAttribute::FwMark(0xca6c));
        assert_eq!(foreign(&[vpn]), ["table 51820"]);
    }

    #[test]
    fn a_rule_of_somebody_else_is_not_ours() {
        let theirs = rule(MARK_PRIORITY, 254, RuleAttribute::FwMark(1));
        assert!(!is_ours(&theirs));
        assert!(wanted().iter().all(is_ours));
    }
}
