//! The commands `chime-client completions` and `chime-client manual`, for users of `cargo install`.

use std::io::{self, Write};

use clap::{Command, ValueEnum};
use clap_complete::generate;

use crate::cli_error::CliError;

/// A shell that has a completion script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The manual page, generated from the help.
const MANUAL: &[u8] = include_bytes!("../../../deploy/chime-client.1");

/// Prints the completion script of `command` and returns the exit code.
pub(crate) fn print(shell: Shell, command: Command) -> Result<u8, CliError> {
    print_bytes(&script(shell, command))
}

/// Prints the manual page and returns the exit code.
pub(crate) fn print_manual() -> Result<u8, CliError> {
    print_bytes(MANUAL)
}

fn print_bytes(bytes: &[u8]) -> Result<u8, CliError> {
    let mut output = io::stdout().lock();
    output
        .write_all(bytes)
        .and_then(|()| output.flush())
        .map_err(CliError::Output)?;
    Ok(0)
}

fn script(shell: Shell, mut command: Command) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let generator = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    generate(generator, &mut command, name, &mut script);
    if shell != Shell::Bash {
        return script;
    }
    // The bash script names a subcommand of a command with a hyphen in two ways, which do not match:
    // clap-rs/clap#6421.
    let script = String::from_utf8_lossy(&script);
    script
        .replace("chime__subcmd__client", "chime__client")
        .into_bytes()
}
