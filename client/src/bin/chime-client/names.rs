//! Command names on the command line, at the prompt and in a pipe: letter case is ignored, `now` is an alias
//! of `send time`, and an unknown name gets a suggestion.

mod aliases;

use std::ffi::OsString;

use chime_protocol::{Command, Request};
use clap::builder::ArgAction;
use clap::error::{ContextKind, ContextValue, ErrorKind};

pub(crate) use aliases::ExpandAliases;

use aliases::NOW;

/// The greatest Damerau-Levenshtein distance of a suggestion; half the length of its name if that is less.
const DISTANCE_MAX: usize = 2;

/// Returns the names of the requests that can be typed.
pub(crate) fn requests() -> impl Iterator<Item = &'static str> {
    Command::ALL.into_iter().map(Command::name).chain([NOW])
}

/// Returns the request that `line` is an alias of, or else `line` itself.
pub(crate) fn expand(line: &str) -> &str {
    let text = line.strip_suffix('\r').unwrap_or(line);
    match text.trim_matches([' ', '\t']).eq_ignore_ascii_case(NOW) {
        true => Command::SendTime.name(),
        false => line,
    }
}

/// Returns the request that a line at the prompt stands for: `12` for `sum 12`, `day` for `send day`, or an alias.
pub(crate) fn request_of(line: &str) -> &str {
    let text = line.trim_matches([' ', '\t']);
    if let Some((word, rest)) = text.split_once([' ', '\t']) {
        let rest = rest.trim_matches([' ', '\t']);
        let is_sum = matches!(Request::of_line(rest), Request::Digits(_));
        if word.eq_ignore_ascii_case("sum") && is_sum {
            return rest;
        }
        // `send time` is a request of the protocol.
        if word.eq_ignore_ascii_case("send") && !rest.eq_ignore_ascii_case(Command::Time.name()) {
            return expand(rest);
        }
    }
    expand(line)
}

/// Returns the names nearest to `word`, in any letter case, within the greatest distance.
pub(crate) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let word = word.to_ascii_lowercase();
    let near = names.filter_map(|name| {
        let distance = strsim::damerau_levenshtein(&word, name);
        (distance <= DISTANCE_MAX.min(name.len() / 2)).then_some((distance, name))
    });
    let near: Vec<_> = near.collect();
    let least = near.iter().map(|(distance, _)| *distance).min();
    let nearest = near
        .into_iter()
        .filter(|(distance, _)| Some(*distance) == least);
    nearest.map(|(_, name)| name).collect()
}

/// Converts the name of the subcommand among `arguments` to lowercase, and `help NAME` to `NAME --help`.
pub(crate) fn normalize(mut arguments: Vec<OsString>, command: &clap::Command) -> Vec<OsString> {
    let name = |index: usize| {
        let name = arguments.get(index)?.to_ascii_lowercase();
        let mut known = command.get_subcommands().map(clap::Command::get_name);
        known.any(|known| *known == *name).then_some(name)
    };
    let Some(index) = subcommand_index(&arguments, command) else {
        return arguments;
    };
    match (name(index), name(index + 1)) {
        (Some(help), Some(name)) if help == Command::Help.name() => {
            arguments[index] = name;
            arguments[index + 1] = "--help".into();
        }
        (Some(name), _) => arguments[index] = name,
        (None, _) => {}
    }
    arguments
}

/// Returns the index of the first argument that is neither an option nor the value of one.
fn subcommand_index(arguments: &[OsString], command: &clap::Command) -> Option<usize> {
    let takes_value = |option: &str| {
        let mut options = command
            .get_arguments()
            .filter(|argument| matches!(argument.get_action(), ArgAction::Set));
        match option.strip_prefix("--") {
            Some(long) => options.any(|argument| argument.get_long() == Some(long)),
            // The last of several short options, as in -vp.
            None => options.any(|argument| argument.get_short() == option.chars().last()),
        }
    };
    let mut index = 1;
    loop {
        match arguments.get(index)?.to_str() {
            Some(option) if option.starts_with('-') => {
                index += if takes_value(option) { 2 } else { 1 };
            }
            _ => return Some(index),
        }
    }
}

/// Adds suggestions to the error of an unknown subcommand or long option. Those of clap miss transpositions.
pub(crate) fn suggest(mut error: clap::Error, command: &clap::Command) -> clap::Error {
    let (invalid, suggested) = match error.kind() {
        ErrorKind::InvalidSubcommand => (
            ContextKind::InvalidSubcommand,
            ContextKind::SuggestedSubcommand,
        ),
        ErrorKind::UnknownArgument => (ContextKind::InvalidArg, ContextKind::SuggestedArg),
        _ => return error,
    };
    let Some(ContextValue::String(word)) = error.get(invalid).cloned() else {
        return error;
    };
    // clap advises to pass an option as a value, which no command accepts.
    error.remove(ContextKind::Suggested);
    let suggestion = match word.strip_prefix("--") {
        Some(option) => {
            let nearest = nearest(option, options(command)).into_iter().next();
            nearest.map(|name| ContextValue::String(format!("--{name}")))
        }
        None => {
            let names = match Request::of_line(&word) {
                Request::Digits(_) => vec![format!("sum {word}")],
                // `quit` or `exit`.
                Request::Command(_) => vec![format!("send {word}")],
                _ => {
                    let names = command.get_subcommands().map(clap::Command::get_name);
                    let nearest = nearest(&word, names).into_iter();
                    nearest.map(String::from).collect()
                }
            };
            (!names.is_empty()).then_some(ContextValue::Strings(names))
        }
    };
    if let Some(suggestion) = suggestion {
        error.insert(suggested, suggestion);
    }
    error
}

/// Returns the long options common to all subcommands.
fn options(command: &clap::Command) -> impl Iterator<Item = &str> {
    command.get_arguments().filter_map(clap::Arg::get_long)
}

#[cfg(test)]
mod tests {
    use super::{expand, nearest, request_of, requests};

    #[test]
    fn a_transposition_is_one_edit() {
        for (word, names) in [
            ("dya", &["day"][..]),
            ("DAT", &["day", "date"]),
            ("tiem", &["time"]),
            ("hlep", &["help"]),
            ("sendtime", &["send time"]),
            ("qiut", &["quit"]),
            ("nwo", &["now"]),
            ("foo", &[]),
            ("what?", &[]),
            ("12a45678", &[]),
        ] {
            assert_eq!(nearest(word, requests()), names, "{word}");
        }
    }

    #[test]
    fn the_words_of_the_command_line_are_requests() {
        for (line, request) in [
            ("sum 12345", "12345"),
            (" Sum\t 007 ", "007"),
            ("send day", "day"),
            ("SEND now", "send time"),
            ("send send time", "send time"),
            ("send Time", "send Time"),
            ("now", "send time"),
            ("sum 12 3", "sum 12 3"),
            ("sum", "sum"),
            ("sum -", "sum -"),
            ("summer 12", "summer 12"),
        ] {
            assert_eq!(request_of(line), request, "{line:?}");
        }
    }

    #[test]
    fn now_is_an_alias_of_send_time() {
        for line in ["now", "NOW", " \tnow ", "now\r"] {
            assert_eq!(expand(line), "send time", "{line:?}");
        }
        for line in ["now?", "no w", "\rnow", "", "day"] {
            assert_eq!(expand(line), line);
        }
    }
}
