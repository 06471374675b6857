//! The completion scripts of shells, and the manual.

use std::process::Command;

use crate::{Outcome, run};

fn script(shell: &str) -> String {
    let outcome = run(&format!("completions {shell}"));
    assert_eq!((outcome.exit_code, &*outcome.stderr), (Some(0), ""));
    outcome.stdout
}

#[test]
fn bash_completes_commands_and_options() {
    let script = script("bash");
    assert_completes(&script, "chime-client s", &["sum", "send"]);
    assert_completes(&script, "chime-client day --ud", &["--udp"]);
    assert_completes(&script, "chime-client bench --rat", &["--rate"]);
    assert_completes(&script, "chime-client day --rat", &[]);
    assert_completes(&script, "chime-client completions z", &["zsh"]);
}

#[test]
fn the_manual_is_that_of_the_package() {
    let page = include_str!("../../deploy/chime-client.1");
    assert_eq!(run("manual"), Outcome::success(page));
    // The server does not matter.
    let outcome = run("manual --server udp://localhost");
    assert_eq!(outcome, Outcome::success(page));
}

/// Asserts what bash offers for the last word of `line`.
#[track_caller]
fn assert_completes(script: &str, line: &str, expected: &[&str]) {
    // Calls the function as bash does: with the command, the word to complete, and the word before it.
    let complete = r#"
        source <(printf %s "$1")
        read -ra COMP_WORDS <<<"$2"
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        _chime__client chime-client "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = Command::new("bash");
    bash.args(["-c", complete, "bash", script, line]);
    let output = bash.output().expect("bash is installed");
    let offers = String::from_utf8(output.stdout).expect("the offers are UTF-8");
    let offers: Vec<_> = offers.split_whitespace().collect();
    assert_eq!(offers, expected, "{line}");
}

#[test]
fn zsh_and_fish_have_scripts() {
    let zsh = script("zsh");
    assert!(zsh.starts_with("#compdef chime-client\n"), "{zsh}");
    let fish = script("fish");
    assert!(fish.contains("complete -c chime-client "), "{fish}");
}

#[test]
fn an_unknown_shell_is_a_usage_error() {
    for arguments in ["completions", "completions tcsh", "completions bash --udp"] {
        assert_eq!(run(arguments).exit_code, Some(2), "{arguments}");
    }
}
