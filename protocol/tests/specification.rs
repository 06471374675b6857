//! Every rule of the specification has a test, and tests name only rules that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use chime_model::strategies::FIXED_REPLIES;
use chime_protocol::Command;

const SPECIFICATION: &str = include_str!("../src/lib.rs");

/// Returns the rules of the specification: a name in bold defines one.
fn defined_rules() -> BTreeSet<String> {
    let bold = SPECIFICATION.split("**").skip(1).step_by(2);
    bold.filter(|text| is_rule(text))
        .map(str::to_string)
        .collect()
}

/// Returns the rules that the documentation of tests names, in `folder` and its subfolders.
fn tested_rules(folder: &Path) -> BTreeSet<String> {
    let mut rules = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("the folder exists") {
        let path = entry.expect("the folder is readable").path();
        if path.is_dir() {
            rules.extend(tested_rules(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).expect("the source file is readable");
            let comments = text
                .lines()
                .filter_map(|line| line.trim_start().strip_prefix("/// "));
            let words = comments.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()));
            rules.extend(words.filter(|word| is_rule(word)).map(str::to_string));
        }
    }
    rules
}

/// Returns whether `word` is an upper-case letter and a number.
fn is_rule(word: &str) -> bool {
    let (letter, number) = word.split_at_checked(1).unwrap_or_default();
    letter.chars().all(|char| char.is_ascii_uppercase()) && number.parse::<u32>().is_ok()
}

#[test]
fn every_rule_is_tested_and_every_tested_rule_exists() {
    let defined = defined_rules();
    let tested = tested_rules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    assert!(defined.len() >= 27, "rules are missing: {defined:?}");
    assert_eq!(defined, tested, "left: defined, right: tested");
}

#[test]
fn the_grammar_has_every_command_and_every_fixed_reply() {
    let (_, grammar) = SPECIFICATION
        .split_once("```abnf")
        .expect("there is a grammar");
    let (grammar, _) = grammar.split_once("```").expect("the grammar ends");
    let commands = Command::ALL.map(|command| command.name().to_string());
    let replies = FIXED_REPLIES.map(|reply| reply.to_string());
    for text in commands.into_iter().chain(replies) {
        assert!(grammar.contains(&format!("\"{text}\"")), "{text}");
    }
}
