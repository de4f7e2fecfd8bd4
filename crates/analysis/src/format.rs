//! The output formats of a table.

use model::name_list;
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// Output format of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Display, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "lowercase", parse_err_ty = String, parse_err_fn = invalid_format)]
pub enum Format {
    /// Aligned columns for a terminal.
    #[default]
    Table,
    /// A Markdown table.
    Markdown,
    /// Comma-separated values, one header line, full precision.
    Csv,
    /// A JSON array of objects, full precision.
    Json,
}

impl Format {
    /// All formats.
    pub const ALL: &[Format] = Self::VARIANTS;
}

fn invalid_format(text: &str) -> String {
    format!("invalid format '{text}': expected {}", name_list(Format::ALL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for &format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert!("yaml".parse::<Format>().unwrap_err().contains("'yaml'"));
    }
}
