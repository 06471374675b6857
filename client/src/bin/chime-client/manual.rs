//! The manual page `deploy/chime-client.1`, generated from the command line's help.
//!
//! `SNAPSHOTS=overwrite cargo test -p chime-client --bins` regenerates it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process;

use clap::{Arg, ArgAction, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, italic, roman};
use snapbox::{Data, assert_data_eq};

use crate::options::command_line;

/// The first lines of the help paragraphs that become sections.
const EXIT_CODES: &str = "Exit codes:";
const EXAMPLES: &str = "Examples:";

#[test]
fn the_manual_is_generated_from_the_options() {
    let page = page(command_line());
    assert_data_eq!(page, Data::read_from(&manual_file(), None).raw());
}

#[test]
fn the_manual_is_well_formed() {
    let mut groff = process::Command::new("groff");
    groff
        .args(["-man", "-Tutf8", "-ww", "-z"])
        .arg(manual_file());
    match groff.output() {
        Ok(output) => assert!(output.stderr.is_empty(), "{output:?}"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let line = "SKIPPED: the_manual_is_well_formed needs groff, which is not installed";
            // Bypasses the test harness, which captures the macros' output of a test that passes.
            writeln!(io::stderr(), "{line}").expect("standard error is writable");
        }
        Err(error) => panic!("{error}"),
    }
}

fn manual_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/chime-client.1")
}

/// Returns the page of a command and its subcommands.
fn page(mut command: Command) -> String {
    // Adds --help, and the global options to the subcommands.
    command.build();
    let command = &command;
    let mut sections = vec![
        head(command).render(),
        options(command),
        commands(command).render(),
    ];
    for command in with_options(command) {
        sections.push(own_options(command));
        sections.push(notes(command).render());
    }
    sections.push(environment(command).render());
    sections.push(exit_status(command).render());
    sections.push(examples(command).render());
    sections.push(see_also().render());
    // Each section begins with the same preamble: keep one.
    let preamble = Roff::new().render();
    preamble.clone() + &sections.concat().replace(&preamble, "")
}

/// Returns the title, the name, the synopsis and the description.
fn head(command: &Command) -> Roff {
    let name = command.get_name();
    let about = command
        .get_about()
        .expect("the command has a description")
        .to_string();
    let usage = command.clone().render_usage().to_string();
    let (_, usage) = usage.split_once(name).expect("the usage contains the name");
    let mut roff = Roff::new();
    let title = name.to_uppercase();
    // No date: the generated page must be reproducible.
    roff.control("TH", [&title, "1", "\"\"", "chime", "User Commands"]);
    // Names such as --warm-up are not hyphenated.
    roff.control("nh", []);
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{name} - {}", about.trim_end_matches('.')))]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([bold(name), roman(usage)]);
    roff.control("SH", ["DESCRIPTION"]);
    roff.text([roman(format!("{}.", about.trim_end_matches('.')))]);
    roff.extend([notes(command)]);
    roff
}

/// Returns the options section of a command.
fn options(command: &Command) -> String {
    let mut section = Vec::new();
    let man = Man::new(command.clone());
    man.render_options_section(&mut section)
        .expect("writing to memory succeeds");
    String::from_utf8(section).expect("the section is UTF-8")
}

/// Returns the section of the options that are not global.
fn own_options(command: &Command) -> String {
    let hide = |option: Arg| match is_own(&option) {
        true => option,
        false => option.hide(true),
    };
    let heading = format!("\"OPTIONS OF {}\"", command.get_name().to_uppercase());
    options(&command.clone().mut_args(hide)).replacen("OPTIONS", &heading, 1)
}

/// Whether the argument is an option of this subcommand alone.
fn is_own(option: &Arg) -> bool {
    !option.is_global_set() && !option.is_positional() && option.get_id() != "help"
}

/// Returns the section of subcommands.
fn commands(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["COMMANDS"]);
    for command in command.get_subcommands() {
        let about = command
            .get_about()
            .expect("the subcommand has a description");
        let arguments = || command.get_positionals();
        let mut line = vec![bold(command.get_name())];
        for argument in arguments() {
            let names = argument
                .get_value_names()
                .expect("the argument has a value name");
            let is_repeatable = matches!(argument.get_action(), ArgAction::Append);
            let dots = if is_repeatable { " ..." } else { "" };
            let name = names.join(" ");
            line.push(roman(" "));
            match argument.is_required_set() {
                true => line.extend([italic(name), roman(dots)]),
                false => line.extend([roman("["), italic(name), roman(format!("{dots}]"))]),
            }
        }
        roff.control("TP", []);
        roff.text(line);
        roff.text([roman(format!("{about}."))]);
        for help in arguments().filter_map(Arg::get_help) {
            roff.text([roman(format!("{help}."))]);
        }
    }
    roff
}

/// Returns the subcommands that have options of their own.
fn with_options(command: &Command) -> impl Iterator<Item = &Command> {
    let has_options = |command: &&Command| command.get_opts().any(is_own);
    command.get_subcommands().filter(has_options)
}

/// Returns the paragraphs of the help after the options, except those with a section of their own.
fn notes(command: &Command) -> Roff {
    let mut roff = Roff::new();
    let help = help_after(command);
    // An absent help is one empty paragraph.
    let is_elsewhere =
        |paragraph: &&str| ["", EXIT_CODES, EXAMPLES].contains(&first_line(paragraph));
    for paragraph in help
        .split("\n\n")
        .filter(|paragraph| !is_elsewhere(paragraph))
    {
        roff.control("PP", []);
        roff.extend([lines(paragraph)]);
    }
    roff
}

/// Formats the lines of a paragraph; a line with two spaces in a row is a term and its description.
fn lines(paragraph: &str) -> Roff {
    let mut roff = Roff::new();
    let mut is_after_term = false;
    for line in paragraph.lines() {
        let term = line.trim().split_once("  ");
        match term {
            Some((term, description)) => {
                roff.control("TP", []);
                roff.text([bold(term)]);
                roff.text([roman(description.trim())]);
            }
            None => {
                if is_after_term {
                    roff.control("PP", []);
                }
                roff.text([roman(line.trim())]);
            }
        }
        is_after_term = term.is_some();
    }
    roff
}

/// Returns the section of environment variables.
fn environment(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    for option in command.get_arguments() {
        let (Some(variable), Some(name)) = (option.get_env(), option.get_long()) else {
            continue;
        };
        roff.control("TP", []);
        roff.text([bold(variable.to_string_lossy())]);
        let option = bold(format!("--{name}"));
        roff.text([roman("The default of "), option, roman(".")]);
    }
    roff
}

fn exit_status(command: &Command) -> Roff {
    let help = help_after(command);
    let codes = section(&help, EXIT_CODES).expect("the help lists the exit codes");
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    roff.extend([lines(codes)]);
    roff
}

/// Returns the examples of the command, then those of its subcommands.
fn examples(command: &Command) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for command in [command].into_iter().chain(command.get_subcommands()) {
        let help = help_after(command);
        let Some(examples) = section(&help, EXAMPLES) else {
            continue;
        };
        roff.control("PP", []);
        roff.control("EX", []);
        for line in examples.lines() {
            roff.text([roman(line.trim())]);
        }
        roff.control("EE", []);
    }
    roff
}

fn see_also() -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("chime-server"), roman("(8)")]);
    roff
}

/// Returns the help text after the options.
fn help_after(command: &Command) -> String {
    let help = command.get_after_help();
    help.map(ToString::to_string).unwrap_or_default()
}

/// Returns the paragraph with the first line `title`, without that line.
fn section<'a>(help: &'a str, title: &str) -> Option<&'a str> {
    let mut paragraphs = help.split("\n\n");
    let paragraph = paragraphs.find(|paragraph| first_line(paragraph) == title)?;
    paragraph.split_once('\n').map(|(_, lines)| lines)
}

fn first_line(paragraph: &str) -> &str {
    paragraph.lines().next().unwrap_or_default()
}
