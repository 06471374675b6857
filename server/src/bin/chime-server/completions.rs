//! Shell completions, which `--completions` prints.

use clap::CommandFactory;
use clap_complete::{Shell, generate};

use crate::flags::Flags;

/// Returns the completion script for a shell.
pub(crate) fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    generate(shell, &mut Flags::command(), "chime-server", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

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
        let call = r#"
            source <(printf %s "$1")
            read -ra COMP_WORDS <<<"$2"
            COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
            _chime__server chime-server "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
            printf '%s\n' "${COMPREPLY[@]}"
        "#;
        let script = String::from_utf8(script(Shell::Bash)).expect("the script is UTF-8");
        let mut bash = Command::new("bash");
        bash.args(["-c", call, "bash", &script, line]);
        let output = bash.output().expect("bash is installed");
        let offers = String::from_utf8(output.stdout).expect("the offers are UTF-8");
        let offers: Vec<_> = offers.split_whitespace().collect();
        assert_eq!(offers, expected, "{line}");
    }
}
