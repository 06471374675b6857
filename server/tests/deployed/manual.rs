//! The manual page is well formed and agrees with `--help`.

use std::fs;
use std::process::Command;

use crate::{deploy_folder, folder, is_installed, isolated, shipped};

#[test]
fn every_flag_is_in_the_manual_with_its_variable_and_its_default() {
    let mut command = isolated(env!("CARGO_BIN_EXE_chime-server"));
    let output = command.arg("--help").output().expect("it runs");
    let help = String::from_utf8(output.stdout).expect("text");
    let manual = shipped("chime-server.8").replace('\\', "");
    let paragraphs: Vec<_> = manual.split(".TP\n").map(words).collect();
    let flags = flags(&help);
    assert!(flags.len() > 20, "too few flags in: {help}");
    for flag in flags {
        let is_of_flag = |paragraph: &&String| {
            let mut start = paragraph.split(' ').take(5);
            start.any(|word| word == flag.name)
        };
        let paragraph = paragraphs.iter().find(is_of_flag);
        let paragraph = paragraph.unwrap_or_else(|| panic!("{} is not in the manual", flag.name));
        if let Some(variable) = flag.variable {
            assert!(paragraph.contains(&format!("({variable})")), "{variable}");
        }
        if let Some(default) = flag.default {
            let sentence = format!("The default is {default}.");
            assert!(paragraph.contains(&sentence), "{}: {sentence}", flag.name);
        }
    }
}

#[test]
fn the_example_file_of_the_manual_is_valid() {
    let manual = shipped("chime-server.8").replace('\\', "");
    let mut examples = manual.split(".EX\n").skip(1);
    let example = examples.find(|example| example.contains("[[listener]]"));
    let (file, _) = example
        .and_then(|example| example.split_once(".EE"))
        .expect("a file");
    let path = folder("manual").join("chime-server.toml");
    fs::write(&path, file).expect("written");
    let mut command = isolated(env!("CARGO_BIN_EXE_chime-server"));
    command.arg("--check-config").arg("--config").arg(path);
    let output = command.output().expect("it runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
}

#[test]
fn the_manual_is_well_formed() {
    if !is_installed("the_manual_is_well_formed", "groff", "--version") {
        return;
    }
    let mut command = Command::new("groff");
    command.args(["-man", "-Tutf8", "-ww", "-z"]);
    command.arg(deploy_folder().join("chime-server.8"));
    let output = command.output().expect("it runs");
    let warnings = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && warnings.is_empty(), "{warnings}");
}

/// A flag as `--help` documents it.
struct Flag {
    /// With its dashes.
    name: String,
    variable: Option<String>,
    default: Option<String>,
}

fn flags(help: &str) -> Vec<Flag> {
    let is_flag = |line: &str| line.trim_start().starts_with('-') && line.contains("--");
    let lines: Vec<_> = help.lines().collect();
    let starts = lines.iter().enumerate().filter(|(_, line)| is_flag(line));
    let flag = |(start, line): (usize, &&str)| {
        let rest = lines[start + 1..].iter().take_while(|line| !is_flag(line));
        let rest: Vec<_> = rest.copied().collect();
        let rest = words(&rest.join(" "));
        let bracketed = |label: &str| {
            let (_, from) = rest.split_once(&format!("[{label}: "))?;
            Some(from.split_once(']')?.0.trim_end_matches('=').to_string())
        };
        let name = line.split_whitespace().find(|word| word.starts_with("--"));
        Flag {
            name: name.expect("a long flag").to_string(),
            variable: bracketed("env"),
            default: bracketed("default"),
        }
    };
    starts.map(flag).collect()
}

/// Collapses each run of white space to one space.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
