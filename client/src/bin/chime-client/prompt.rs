//! The prompt: a conversation with a person at a terminal.

use std::io::{self, Write};

use chime_protocol::{Command, Reply};
use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::history::MemHistory;
use rustyline::{CompletionType, Config, Context, Editor};
use rustyline::{Helper, Highlighter, Hinter, Validator};
use tokio::runtime::Runtime;

use crate::failure::Failure;
use crate::network::Network;

const PROMPT: &str = "chime> ";

/// Shows the welcome, then asks what is typed, until the person or the server ends it.
pub(crate) fn run(runtime: &Runtime, network: &Network) -> Result<u8, Failure> {
    let mut connection = runtime.block_on(crate::greet(network))?;
    let mut editor = editor().map_err(terminal_failure)?;
    show(Reply::Welcome)?;
    loop {
        let text = match editor.readline(PROMPT) {
            Ok(text) => text,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(0),
            Err(error) => return Err(terminal_failure(error)),
        };
        // What is pasted may be several lines; a bare Enter is no request.
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match runtime.block_on(network.timed("answered", connection.ask(line)))? {
                Some(Reply::Farewell) => return show(Reply::Farewell).and(Ok(0)),
                Some(reply) => show(reply)?,
                None => return Ok(0),
            }
        }
    }
}

fn editor() -> rustyline::Result<Editor<CommandNames, MemHistory>> {
    let config = Config::builder()
        .auto_add_history(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor = Editor::with_history(config, MemHistory::new())?;
    editor.set_helper(Some(CommandNames));
    Ok(editor)
}

fn show(reply: Reply) -> Result<(), Failure> {
    writeln!(io::stdout(), "{reply}").map_err(Failure::Output)
}

fn terminal_failure(error: ReadlineError) -> Failure {
    Failure::Input(match error {
        ReadlineError::Io(error) => error,
        error => io::Error::other(error),
    })
}

/// Completes the names of commands.
#[derive(Helper, Highlighter, Hinter, Validator)]
struct CommandNames;

impl Completer for CommandNames {
    type Candidate = &'static str;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<&'static str>)> {
        let typed = line[..cursor].to_ascii_lowercase();
        let names = Command::ALL.into_iter().map(Command::name);
        Ok((0, names.filter(|name| name.starts_with(&typed)).collect()))
    }
}
