//! Settings from command lines: flags that change settings read elsewhere, and a program's complete configuration.

use std::marker::PhantomData;

use clap::builder::{OsStr, Resettable};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};
use serde::de::DeserializeOwned;

/// Flags that change settings of type `T` read elsewhere. Settings whose flags are omitted stay unchanged.
#[derive(Debug, Clone)]
pub struct Flags<T> {
    given: ArgMatches,
    settings: PhantomData<T>,
}

impl<T: Args> Flags<T> {
    /// Replaces the settings whose flags are given.
    ///
    /// # Errors
    /// clap cannot convert a value. Its parsers have already checked all values.
    pub fn apply(&self, settings: &mut T) -> Result<(), Error> {
        settings.update_from_arg_matches(&self.given)
    }

    /// Returns whether the flag, or a flag of the group, with this id is given.
    #[must_use]
    pub fn has(&self, id: &str) -> bool {
        self.given.try_contains_id(id).unwrap_or(false)
    }

    /// Returns the flags, each with its help text and the default of the program outside a run.
    pub fn declared() -> Vec<Arg> {
        T::augment_args_for_update(Command::new("")).get_arguments().cloned().collect()
    }
}

impl<T: Args> FromArgMatches for Flags<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        Ok(Self { given: matches.clone(), settings: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<T: Args> Args for Flags<T> {
    fn augment_args(command: Command) -> Command {
        let declared = T::augment_args_for_update(Command::new(""));
        let optional = declared.get_arguments().map(|arg| arg.clone().required(false).default_value(NONE).env(NONE));
        // clap leaves the group of a struct with flattened structs empty; here it has all flags, also those of the latter.
        let groups = declared.get_groups().map(|group| match T::group_id() {
            Some(id) if id == *group.get_id() => group.clone().args(declared.get_arguments().map(Arg::get_id)),
            _ => group.clone(),
        });
        command.args(optional).groups(groups.map(|group| group.required(false).multiple(true)))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Returns the settings that a command line without flags gives.
///
/// # Errors
/// A setting has no default.
pub fn defaults<T: Args>() -> Result<T, Error> {
    let command = T::augment_args(Command::new("defaults").no_binary_name(true));
    T::from_arg_matches(&command.try_get_matches_from([""; 0])?)
}

/// A program's configuration: from `--config JSON` if given, otherwise from environment variables and defaults; flags
/// override both.
#[derive(Debug, Clone)]
pub struct Configured<T> {
    /// The settings.
    pub settings: T,
    /// The flags that override them.
    pub flags: Flags<T>,
}

const CONFIG: &str = "config";
const NONE: Resettable<OsStr> = Resettable::Reset;

impl<T: Args + DeserializeOwned> FromArgMatches for Configured<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut given = matches.clone();
        for id in matches.ids().filter(|id| matches.value_source(id.as_str()) != Some(ValueSource::CommandLine)) {
            // Cannot fail: the id comes from the same matches.
            let _ = given.try_clear_id(id.as_str());
        }
        let flags = Flags { given, settings: PhantomData };
        let Some(json) = matches.get_one::<String>(CONFIG) else {
            return Ok(Self { settings: T::from_arg_matches(matches)?, flags });
        };
        let mut settings: T = serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json))
            .map_err(|error| Error::raw(ErrorKind::ValueValidation, format!("invalid --config: {error}\n")))?;
        flags.apply(&mut settings)?;
        Ok(Self { settings, flags })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<T: Args + DeserializeOwned> Args for Configured<T> {
    fn augment_args(command: Command) -> Command {
        T::augment_args(command).arg(config_arg()).mut_args(|arg| {
            // The configuration contains all required settings.
            if arg.is_required_set() { arg.required(false).required_unless_present(CONFIG) } else { arg }
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn config_arg() -> Arg {
    Arg::new(CONFIG)
        .long(CONFIG)
        .value_name("JSON")
        .help("Configuration as JSON, as the driver passes it; flags override it, environment variables do not")
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde::{Deserialize, Serialize};

    use super::*;

    /// Settings.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Args)]
    #[group(id = "example")]
    #[serde(deny_unknown_fields)]
    struct Example {
        /// A number
        #[arg(long, default_value = "3")]
        number: u32,
        /// A list
        #[arg(long, value_delimiter = ',')]
        list: Vec<u32>,
        /// A name
        #[arg(long)]
        name: String,
        /// A directory; Cargo sets this variable for tests
        #[arg(long, env = "CARGO_MANIFEST_DIR", default_value = "default")]
        directory: String,
    }

    #[derive(Parser)]
    struct Driver {
        #[command(flatten)]
        flags: Flags<Example>,
        #[arg(long, conflicts_with = "example")]
        resume: bool,
    }

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        config: Configured<Example>,
    }

    fn example(number: u32, list: &[u32], name: &str) -> Example {
        Example { number, list: list.to_vec(), name: name.to_owned(), directory: env!("CARGO_MANIFEST_DIR").to_owned() }
    }

    #[test]
    fn only_given_flags_change_the_settings() {
        for (arguments, expected) in [
            (&["driver"][..], example(7, &[1], "a")),
            (&["driver", "--list", "4,5"], example(7, &[4, 5], "a")),
            (&["driver", "--number", "3", "--name", "b"], example(3, &[1], "b")),
        ] {
            let driver = Driver::try_parse_from(arguments).unwrap();
            let mut settings = example(7, &[1], "a");
            driver.flags.apply(&mut settings).unwrap();
            assert_eq!(settings, expected);
            assert_eq!(driver.flags.has("example"), arguments.len() > 1);
            assert!(!driver.resume);
        }
        assert!(Driver::try_parse_from(["driver", "--resume"]).is_ok());
        assert!(Driver::try_parse_from(["driver", "--resume", "--number", "1"]).is_err());
    }

    #[test]
    fn a_configuration_comes_from_json_or_environment_variables_and_flags_override_both() {
        let parse = |arguments: &[&str]| {
            Program::try_parse_from([&["program"], arguments].concat()).map(|program| program.config.settings)
        };
        assert_eq!(parse(&["--name", "a"]).unwrap(), example(3, &[], "a"));
        assert!(parse(&[]).unwrap_err().to_string().contains("--name"));
        let json = serde_json::to_string(&example(7, &[1], "a")).unwrap();
        assert_eq!(parse(&["--config", &json]).unwrap(), example(7, &[1], "a"));
        assert_eq!(parse(&["--config", &json, "--number", "3"]).unwrap(), example(3, &[1], "a"));
        let other_directory = Example { directory: "other".to_owned(), ..example(7, &[1], "a") };
        let json = serde_json::to_string(&other_directory).unwrap();
        assert_eq!(parse(&["--config", &json]).unwrap(), other_directory);
        let error = parse(&["--config", r#"{"number":"x","list":[],"name":"a"}"#]).unwrap_err().to_string();
        assert!(error.contains("--config") && error.contains("number"), "{error}");
    }
}
