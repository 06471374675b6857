//! The line that is being typed: its completion, its hints, and those before it.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::{ColorMode, CompletionType, Config, Context, Helper, Validator};

use crate::cli_error::CliError;
use crate::diagnostics::eprint_line;
use crate::endpoint::Endpoint;
use crate::names;

const PROMPT: &str = "chime> ";

/// The most lines that the history keeps.
const HISTORY_LINES_MAX: usize = 1000;

/// Reads lines from the terminal, and keeps them from one run of the program to the next.
pub(super) struct Editor {
    lines: rustyline::Editor<CommandNames, FileHistory>,
    /// Where the history is kept, if it can be.
    history: Option<PathBuf>,
}

impl Editor {
    /// Begins with the history of earlier runs. To have none is nothing that a person has to be told
    /// unless they ask.
    pub(super) fn new(endpoint: &Endpoint) -> Result<Editor, CliError> {
        let config = Config::builder()
            .max_history_size(HISTORY_LINES_MAX)
            .map_err(failure)?
            .completion_type(CompletionType::List)
            // Dim is not a colour: with NO_COLOR set a hint must still differ from typed text.
            .color_mode(ColorMode::Forced)
            .build();
        let mut lines = rustyline::Editor::with_config(config).map_err(failure)?;
        lines.set_helper(Some(CommandNames::default()));
        let mut history = history_file();
        if let Some(file) = &history
            && let Err(error) = load(&mut lines, file)
        {
            if endpoint.is_verbose {
                eprint_line(&format!("no history in {}: {error}", file.display()));
            }
            history = None;
        }
        Ok(Editor { lines, history })
    }

    /// The next line, or several that are pasted; `None` at the end of the input. Ctrl-C clears the line.
    pub(super) fn read(&mut self) -> Result<Option<String>, CliError> {
        loop {
            match self.lines.readline(PROMPT) {
                Ok(line) => {
                    self.keep(&line);
                    return Ok(Some(line));
                }
                Err(ReadlineError::Interrupted) => {}
                Err(ReadlineError::Eof) => return Ok(None),
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    return self.accept_invalid().map(Some);
                }
                Err(error) => return Err(failure(error)),
            }
        }
    }

    /// Ends the line at a byte that is not UTF-8, and returns it with U+FFFD in place of the byte: an
    /// invalid command, whatever follows. rustyline discards type-ahead on such an error.
    fn accept_invalid(&mut self) -> Result<String, CliError> {
        let typed = self.lines.helper().and_then(|names| names.typed.take());
        let line = format!("{}\u{FFFD}", typed.as_deref().unwrap_or_default());
        if typed.is_some() {
            // rustyline has ended the line on the screen, perhaps with a hint: draw it again.
            writeln!(io::stdout(), "\x1b[A\r\x1b[K{PROMPT}{line}").map_err(CliError::Output)?;
        }
        Ok(line)
    }

    /// Keeps the line at once, since a program may be ended in any way. When it can't be, the one at the
    /// prompt has other things to do.
    fn keep(&mut self, line: &str) {
        let is_new = self.lines.add_history_entry(line);
        if let (Ok(true), Some(file)) = (is_new, &self.history) {
            let _ = self.lines.append_history(file);
        }
    }
}

/// The file in the folder for what a program remembers, on systems that have one, or for its data.
fn history_file() -> Option<PathBuf> {
    let folder = dirs::state_dir().or_else(dirs::data_local_dir)?;
    Some(folder.join("chime").join("history"))
}

/// Reads the history, if there has been one, and makes sure that there is a folder for it.
fn load(
    lines: &mut rustyline::Editor<CommandNames, FileHistory>,
    file: &Path,
) -> Result<(), ReadlineError> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    match lines.load_history(file) {
        Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn failure(error: ReadlineError) -> CliError {
    CliError::Input(match error {
        ReadlineError::Io(error) => error,
        error => io::Error::other(error),
    })
}

/// Completes the names of commands, and shows the rest of the one that has been begun.
#[derive(Default, Helper, Validator)]
struct CommandNames {
    /// The line being edited; none on a terminal without line editing.
    typed: RefCell<Option<String>>,
}

impl CommandNames {
    /// The commands that begin so.
    fn of(typed: &str) -> impl Iterator<Item = &'static str> {
        let typed = typed.to_ascii_lowercase();
        names::requests().filter(move |name| name.starts_with(&typed))
    }
}

impl Completer for CommandNames {
    type Candidate = &'static str;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<&'static str>)> {
        Ok((0, CommandNames::of(&line[..cursor]).collect()))
    }
}

impl Hinter for CommandNames {
    type Hint = &'static str;

    fn hint(&self, line: &str, cursor: usize, _: &Context<'_>) -> Option<&'static str> {
        // The editor asks after each change of the line.
        self.typed.replace(Some(line.to_owned()));
        if line.is_empty() || cursor < line.len() {
            return None;
        }
        let rest = &CommandNames::of(line).next()?[line.len()..];
        Some(rest).filter(|rest| !rest.is_empty())
    }
}

impl Highlighter for CommandNames {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        format!("\x1b[2m{hint}\x1b[0m").into()
    }
}
