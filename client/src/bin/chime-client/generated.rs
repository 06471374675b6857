//! The completions of shells and the manual page of `chime-client`: the files in `deploy` are what its options make.
//!
//! `SNAPSHOTS=overwrite cargo test -p chime-client --bins` writes them anew.

mod manual;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use clap_complete::{Generator, Shell, generate};
use snapbox::{Data, assert_data_eq};

use crate::options::Options;

const NAME: &str = "chime-client";

#[test]
fn the_completions_are_those_of_the_options() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let file = deploy_folder()
            .join("completions")
            .join(shell.file_name(NAME));
        assert_data_eq!(completions(shell), Data::read_from(&file, None).raw());
    }
}

#[test]
fn the_manual_is_that_of_the_options() {
    let page = manual::page(Options::command());
    assert_data_eq!(page, Data::read_from(&manual_file(), None).raw());
}

#[test]
fn the_manual_is_well_formed() {
    let mut groff = Command::new("groff");
    groff
        .args(["-man", "-Tutf8", "-ww", "-z"])
        .arg(manual_file());
    match groff.output() {
        Ok(output) => assert!(output.stderr.is_empty(), "{output:?}"),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let line =
                "SKIPPED: the_manual_is_well_formed needs groff, which is not installed here";
            // Past the harness, which keeps what the macros print from a test that passes.
            writeln!(io::stderr(), "{line}").expect("written");
        }
        Err(error) => panic!("{error}"),
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
#[track_caller]
fn assert_completes(line: &str, expected: &[&str]) {
    // As bash calls it: with the command, the word to complete, and the word before it.
    let script = r#"
        source <(printf %s "$1")
        read -ra COMP_WORDS <<<"$2"
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _chime__client chime-client "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["-c", script, "bash", &completions(Shell::Bash), line]);
    let output = bash.output().expect("there is bash");
    let offers = String::from_utf8(output.stdout).expect("text");
    let offers: Vec<_> = offers.split_whitespace().collect();
    assert_eq!(offers, expected, "{line}");
}

fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    generate(shell, &mut Options::command(), NAME, &mut text);
    let text = String::from_utf8(text).expect("text");
    // A name with a hyphen is one thing where bash notes the subcommand, another where it looks it up:
    // clap-rs/clap#6421. Once that is mended, there is nothing here to replace.
    text.replace("chime__subcmd__client", "chime__client")
}

fn manual_file() -> PathBuf {
    deploy_folder().join("chime-client.1")
}

fn deploy_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}
