//! Prompts. Escape returns `None`, which leads back to the menu. Ctrl-C is an error, which ends the session.

use std::fmt::Display;
use std::ops::RangeInclusive;

use inquire::validator::Validation;
use inquire::{Confirm, CustomType, InquireError, Password, PasswordDisplayMode, Select, Text};
use protocol::limits;

/// Result of a prompt.
pub(super) type Prompted<T> = Result<Option<T>, InquireError>;

/// Asks for one of the options.
pub(super) fn select<T: Display>(title: &str, options: Vec<T>) -> Prompted<T> {
    Select::new(title, options).with_page_size(12).prompt_skippable()
}

/// Asks for a text of `chars` characters.
pub(super) fn text(title: &str, chars: RangeInclusive<usize>) -> Prompted<String> {
    let expected = format!("{} to {} characters", chars.start(), chars.end());
    let validator = move |input: &str| {
        let is_valid = chars.contains(&input.chars().count());
        Ok(if is_valid { Validation::Valid } else { Validation::Invalid(expected.clone().into()) })
    };
    Text::new(title).with_validator(validator).prompt_skippable()
}

/// Asks for an existing password.
pub(super) fn password(title: &str) -> Prompted<String> {
    Password::new(title).with_display_mode(PasswordDisplayMode::Masked).without_confirmation().prompt_skippable()
}

/// Asks twice for a new password.
pub(super) fn new_password(title: &str) -> Prompted<String> {
    let bytes = limits::PASSWORD_BYTES;
    let expected = format!("{} to {} bytes", bytes.start(), bytes.end());
    let validator = move |input: &str| {
        let is_valid = bytes.contains(&input.len());
        Ok(if is_valid { Validation::Valid } else { Validation::Invalid(expected.clone().into()) })
    };
    Password::new(title)
        .with_display_mode(PasswordDisplayMode::Masked)
        .with_custom_confirmation_message("Repeat the password:")
        .with_custom_confirmation_error_message("The passwords differ.")
        .with_validator(validator)
        .prompt_skippable()
}

/// Asks for an integer within `range`.
pub(super) fn number(title: &str, range: RangeInclusive<i64>) -> Prompted<i64> {
    let expected = format!("a whole number from {} to {}", range.start(), range.end());
    let error = expected.clone();
    let validator = move |input: &i64| {
        Ok(if range.contains(input) { Validation::Valid } else { Validation::Invalid(error.clone().into()) })
    };
    CustomType::<i64>::new(title).with_error_message(&expected).with_validator(validator).prompt_skippable()
}

/// Asks for yes or no.
pub(super) fn confirm(title: &str) -> Result<bool, InquireError> {
    Ok(Confirm::new(title).with_default(true).prompt_skippable()?.unwrap_or(false))
}
