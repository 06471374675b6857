//! The command `chime-client completions`: prints a completion script for a shell.

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

/// Prints the completion script of `command` and returns the exit code.
pub(crate) fn print(shell: Shell, command: Command) -> Result<u8, CliError> {
    let script = script(shell, command);
    let mut output = io::stdout().lock();
    output
        .write_all(&script)
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
