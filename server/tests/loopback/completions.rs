//! `--completions` and `--manual`.

use crate::command;

#[test]
fn completions_are_printed_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let output = command(&["--completions", shell])
            .output()
            .expect("it runs");
        let script = String::from_utf8(output.stdout).expect("the script is UTF-8");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{shell}"
        );
        let flag = if shell == "fish" { "-l tcp" } else { "--tcp" };
        assert!(script.contains(flag), "{shell}: {script}");
    }
}

#[test]
fn completions_and_the_manual_need_no_valid_file() {
    for flags in [&["--completions", "bash"][..], &["--manual"]] {
        let mut command = command(flags);
        let output = command.env("CHIME_CONFIG", "/nowhere/chime.toml").output();
        let output = output.expect("it runs");
        assert!(output.status.success() && !output.stdout.is_empty());
    }
}

#[test]
fn the_manual_is_that_of_the_package() {
    let output = command(&["--manual"]).output().expect("it runs");
    let page = include_str!("../../deploy/chime-server.8");
    assert_eq!(String::from_utf8_lossy(&output.stdout), page);
}

#[test]
fn completions_for_an_unknown_shell_are_a_usage_error() {
    let output = command(&["--completions", "tcsh"])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
}
