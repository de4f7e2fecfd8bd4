//! The tables of settings in docs/scenarios.md, generated from the declarations of the settings.

use clap::Arg;
use model::settings::{Flags, Server, Shop, Workload};
use serde_json::Value;

use crate::scenario::tests::default_with;
use crate::scenario::{Scenario, Sweep};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/scenarios.md");
const START: &str = "<!-- generated from the declarations of the settings -->\n";
const END: &str = "<!-- end of the generated tables -->\n";

#[test]
fn the_page_has_the_tables_of_all_settings() {
    let page = std::fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page.split_once(START).expect("the page has the start mark");
    let (_, after) = rest.split_once(END).expect("the page has the end mark");
    test_support::assert_golden(PAGE, &format!("{before}{START}{}{END}{after}", tables()));
}

fn tables() -> String {
    let scenario = serde_json::to_value(default_with(&[])).unwrap();
    let groups = [
        ("sweep", Flags::<Sweep>::declared()),
        ("workload", Flags::<Workload>::declared()),
        ("shop", Flags::<Shop>::declared()),
        ("server", Flags::<Server>::declared()),
    ];
    let in_groups: Vec<&Arg> = groups.iter().flat_map(|(_, flags)| flags).collect();
    let mut at_top = Flags::<Scenario>::declared();
    at_top.retain(|flag| !in_groups.contains(&flag));
    let mut text = table("Top of the file", &at_top, &scenario);
    for (group, flags) in &groups {
        text += &table(&format!("`[{group}]`"), flags, &scenario[group]);
    }
    text
}

fn table(title: &str, flags: &[Arg], defaults: &Value) -> String {
    let rows = flags.iter().map(|flag| row(flag, &defaults[flag.get_id().as_str()]));
    format!(
        "\n### {title}\n\n| key | flag | values | scenario `default` | meaning |\n|---|---|---|---|---|\n{}",
        rows.collect::<String>()
    )
}

fn row(flag: &Arg, default: &Value) -> String {
    let possible = flag.get_possible_values();
    let values: Vec<String> = match possible.is_empty() {
        true => flag.get_value_names().unwrap_or_default().iter().map(|name| format!("`{name}`")).collect(),
        false => possible.iter().map(|value| format!("`{}`", value.get_name())).collect(),
    };
    let default = if default.is_null() { String::new() } else { format!("`{default}`") };
    let name = flag.get_long().unwrap_or_default();
    let mut meaning = flag.get_help().map(ToString::to_string).unwrap_or_default();
    for value in &possible {
        let help = value.get_help().map(ToString::to_string).unwrap_or_default();
        meaning += &format!("; `{}`: {help}", value.get_name());
    }
    format!("| `{}` | `--{name}` | {} | {default} | {meaning} |\n", flag.get_id(), values.join(", "))
}
