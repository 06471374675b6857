//! The completions of shells and the manual page of `chime-client`: the files in `deploy` are what its options make.

mod manual;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs};

use clap::CommandFactory;
use clap_complete::{Generator, Shell};

use crate::options::Options;

const NAME: &str = "chime-client";
/// If it is set, the tests write the files, and compare nothing.
const WRITE: &str = "CHIME_WRITE_GENERATED";

#[test]
fn the_completions_are_those_of_the_options() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let folder = deploy_folder().join("completions");
        check(&folder.join(shell.file_name(NAME)), &completions(shell));
    }
}

#[test]
fn the_manual_is_that_of_the_options_and_well_formed() {
    let file = deploy_folder().join("chime-client.1");
    check(&file, &manual::page(Options::command()));
    let mut command = Command::new("groff");
    command.args(["-man", "-Tutf8", "-ww", "-z"]).arg(file);
    let test = "the_manual_is_that_of_the_options_and_well_formed";
    if let Some(output) = run(test, &mut command) {
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn bash_completes_commands_and_options() {
    assert_completes("chime-client s", &["sum", "send"]);
    assert_completes("chime-client day --ud", &["--udp"]);
    assert_completes("chime-client bench --rat", &["--rate"]);
    assert_completes("chime-client day --rat", &[]);
}

/// Asserts what bash offers for the last word of a line.
fn assert_completes(line: &str, expected: &[&str]) {
    // As bash calls it: with the command, the word to complete, and the word before it.
    let script = r#"
        source <(printf %s "$1")
        read -ra COMP_WORDS <<<"$2"
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _chime__client chime-client "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut command = Command::new("bash");
    command.args(["-c", script, "bash"]);
    command.args([&completions(Shell::Bash), line]);
    let Some(output) = run("bash_completes_commands_and_options", &mut command) else {
        return;
    };
    let offers = String::from_utf8(output.stdout).expect("text");
    let offers: Vec<_> = offers.split_whitespace().collect();
    assert_eq!(offers, expected, "{line}");
}

/// Asserts that a file is what it should be, or makes it so.
fn check(file: &Path, text: &str) {
    if env::var_os(WRITE).is_some() {
        fs::create_dir_all(file.parent().expect("a folder")).expect("made");
        fs::write(file, text).expect("written");
        return;
    }
    let is_same = fs::read_to_string(file).is_ok_and(|there| there == text);
    let file = file.display();
    assert!(
        is_same,
        "{file} is not that of the options: {WRITE}=1 cargo test -p {NAME} --bins generated writes it"
    );
}

/// Runs a program, unless it is not installed.
fn run(test: &str, command: &mut Command) -> Option<Output> {
    match command.output() {
        Ok(output) if output.status.success() => Some(output),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let program = command.get_program().display();
            let line = format!("SKIPPED: {test} needs {program}, which is not installed here\n");
            // Past the harness, which keeps what the macros print from a test that passes.
            io::stderr().write_all(line.as_bytes()).expect("written");
            None
        }
        failed => panic!("{command:?}: {failed:?}"),
    }
}

fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Options::command(), NAME, &mut text);
    let text = String::from_utf8(text).expect("text");
    // A name with a hyphen is one thing where bash notes the subcommand, another where it looks it up:
    // clap-rs/clap#6421. Once that is mended, there is nothing here to replace.
    text.replace("chime__subcmd__client", "chime__client")
}

fn deploy_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}
