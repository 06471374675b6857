//! Every rule of the specification has a test, and every rule that a test names is one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use chime_protocol::Command;
use chime_protocol::model::strategies::FIXED_REPLIES;

const SPECIFICATION: &str = include_str!("../src/lib.rs");

/// The rules that are defined: a name in bold defines one.
fn defined_rules() -> BTreeSet<String> {
    let bold = SPECIFICATION.split("**").skip(1).step_by(2);
    bold.filter(|text| is_rule(text))
        .map(str::to_string)
        .collect()
}

/// The rules that the documentation of tests names, in this folder and those below.
fn tested_rules(folder: &Path) -> BTreeSet<String> {
    let mut rules = BTreeSet::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rules.extend(tested_rules(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(path).expect("a source file");
            let comments = text
                .lines()
                .filter_map(|line| line.trim_start().strip_prefix("/// "));
            let words = comments.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric()));
            rules.extend(words.filter(|word| is_rule(word)).map(str::to_string));
        }
    }
    rules
}

/// A capital letter and a number.
fn is_rule(word: &str) -> bool {
    let (letter, number) = word.split_at_checked(1).unwrap_or_default();
    letter.chars().all(|char| char.is_ascii_uppercase()) && number.parse::<u32>().is_ok()
}

#[test]
fn every_rule_is_tested_and_every_tested_rule_exists() {
    let defined = defined_rules();
    let tested = tested_rules(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    assert!(
        defined.len() >= 27,
        "the rules are where they were: {defined:?}"
    );
    assert_eq!(defined, tested, "left: defined, right: tested");
}

#[test]
fn the_grammar_has_every_command_and_every_fixed_reply() {
    let (_, grammar) = SPECIFICATION.split_once("```abnf").expect("a grammar");
    let (grammar, _) = grammar.split_once("```").expect("its end");
    let commands = Command::ALL.map(|command| command.name().to_string());
    let replies = FIXED_REPLIES.map(|reply| reply.to_string());
    for text in commands.into_iter().chain(replies) {
        assert!(grammar.contains(&format!("\"{text}\"")), "{text}");
    }
}
