//! Names of the variants of enums, for messages.

/// Returns the names of all variants: `table, markdown, csv or json`.
#[must_use]
pub fn name_list<T: Copy + Into<&'static str>>(variants: &[T]) -> String {
    let names: Vec<&str> = variants.iter().map(|variant| (*variant).into()).collect();
    match names.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => names.concat(),
    }
}
