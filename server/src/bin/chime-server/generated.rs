//! The completions of shells: the files in `deploy/completions` are what the flags make.
//!
//! `SNAPSHOTS=overwrite cargo test -p chime-server --bins` writes them anew.

use std::path::Path;
use std::process::Command;

use clap::CommandFactory;
use clap_complete::{Generator, Shell, generate};
use snapbox::{Data, assert_data_eq};

use crate::flags::Flags;

const NAME: &str = "chime-server";

#[test]
fn the_completions_are_those_of_the_flags() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/completions");
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let file = folder.join(shell.file_name(NAME));
        assert_data_eq!(completions(shell), Data::read_from(&file, None).raw());
    }
}

#[test]
fn bash_completes_flags_and_their_values() {
    assert_completes(
        "chime-server --drain",
        &["--drain-delay", "--drain-timeout"],
    );
    assert_completes("chime-server --service da", &["date-time"]);
    assert_completes("chime-server --utc --log-format j", &["json"]);
    assert_completes("chime-server --nothing", &[]);
}

/// Asserts what bash offers for the last word of a line.
#[track_caller]
fn assert_completes(line: &str, expected: &[&str]) {
    // As bash calls it: with the command, the word to complete, and the word before it.
    let script = r#"
        source <(printf %s "$1")
        read -ra COMP_WORDS <<<"$2"
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _chime__server chime-server "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
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
    generate(shell, &mut Flags::command(), NAME, &mut text);
    String::from_utf8(text).expect("text")
}
