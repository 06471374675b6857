//! The `--config` file: settings named after the flags, and `[[listener]]` tables.

use std::fs;
use std::ops::Range;
use std::path::Path;

use clap::{Arg, ArgAction, Command};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::listener::Listener;

/// Flags that are not keys of the file.
const COMMAND_LINE_ONLY: [&str; 4] = ["config", "check-config", "manual", "completions"];

/// The parsed file.
#[derive(Debug, Default)]
pub(crate) struct File {
    pub(crate) settings: Vec<Setting>,
    pub(crate) listeners: Vec<Listener>,
}

/// A setting of the file, as a command-line argument.
#[derive(Debug)]
pub(crate) struct Setting {
    /// The id of the clap argument.
    pub(crate) id: String,
    /// The flag with its value; `None` for a switch that is false.
    pub(crate) argument: Option<String>,
}

impl File {
    /// Reads a file and checks each setting against the command. An error names the file and the line.
    pub(crate) fn read(path: &Path, command: &Command) -> Result<File, String> {
        let name = path.display();
        let text = fs::read_to_string(path).map_err(|error| format!("{name}: {error}"))?;
        File::parse(&text, command).map_err(|(span, message)| {
            let before = text.bytes().take(span.start);
            let line = before.filter(|byte| *byte == b'\n').count() + 1;
            format!("{name}:{line}: {message}")
        })
    }

    fn parse(text: &str, command: &Command) -> Result<File, SpannedError> {
        let document = DeTable::parse(text).map_err(error_at(0..0))?;
        let mut file = File::default();
        for (key, value) in document.into_inner() {
            if *key.get_ref() == "listener" {
                file.listeners = listeners(value)?;
            } else {
                let setting = setting(key.get_ref(), value.get_ref(), command);
                let at_key = |message| (key.span(), message);
                file.settings.push(setting.map_err(at_key)?);
            }
        }
        Ok(file)
    }
}

/// Returns every argument that is a key of the file, with its name.
pub(crate) fn settings_of(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?, arg)))
        .filter(|(name, _)| !COMMAND_LINE_ONLY.contains(name))
}

/// The span of an error in the file, and its message.
type SpannedError = (Range<usize>, String);

fn setting(key: &str, value: &DeValue<'_>, command: &Command) -> Result<Setting, String> {
    let Some((name, arg)) = settings_of(command).find(|(name, _)| *name == key) else {
        return Err(format!("unknown setting '{key}'"));
    };
    let argument = match (arg.get_action(), value) {
        (ArgAction::SetTrue, DeValue::Boolean(true)) => Some(format!("--{name}")),
        (ArgAction::SetTrue, DeValue::Boolean(false)) => None,
        (ArgAction::SetTrue, _) => return Err(format!("'{key}' must be true or false")),
        (ArgAction::Append, DeValue::Array(values)) if values.is_empty() => {
            return Err(format!("'{key}' must have a value, or be left out"));
        }
        (ArgAction::Append, DeValue::Array(values)) => {
            let texts = values.iter().map(|value| text_of(key, value.get_ref()));
            let texts: Vec<_> = texts.collect::<Result<_, _>>()?;
            Some(format!("--{name}={}", texts.join(",")))
        }
        (_, value) => Some(format!("--{name}={}", text_of(key, value)?)),
    };
    if let Some(argument) = &argument {
        check(argument, command)?;
    }
    Ok(Setting {
        id: arg.get_id().to_string(),
        argument,
    })
}

fn text_of(key: &str, value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        _ => Err(format!("'{key}' can't be of type {}", value.type_str())),
    }
}

/// Parses an argument by itself, so that an error can be reported with its line.
fn check(argument: &str, command: &Command) -> Result<(), String> {
    let arguments = [command.get_name(), argument];
    let Err(error) = command.clone().try_get_matches_from(arguments) else {
        return Ok(());
    };
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = text.lines().take_while(|line| !line.is_empty());
    let lines: Vec<_> = lines.map(str::trim).collect();
    Err(lines.join(" "))
}

fn listeners(value: Spanned<DeValue<'_>>) -> Result<Vec<Listener>, SpannedError> {
    let span = value.span();
    let DeValue::Array(tables) = value.into_inner() else {
        return Err((span, "listeners are [[listener]] tables".to_string()));
    };
    let listener = |table: Spanned<DeValue<'_>>| {
        let span = table.span();
        let listener = Listener::deserialize(ValueDeserializer::from(table));
        let listener = listener.map_err(error_at(span.clone()))?;
        let checked = listener
            .check()
            .map_err(|message| (span, message.to_string()));
        checked.map(|()| listener)
    };
    tables.into_iter().map(listener).collect()
}

/// Converts an error, with its own span or else this one.
fn error_at(span: Range<usize>) -> impl Fn(toml::de::Error) -> SpannedError {
    move |error| {
        let span = error.span().unwrap_or_else(|| span.clone());
        (span, error.message().replace('\n', ", "))
    }
}
