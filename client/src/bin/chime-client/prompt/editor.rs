//! The line editor: completion, hints and history.

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

/// The most lines in the history.
const HISTORY_LINES_MAX: usize = 1000;

/// Reads lines from the terminal, and keeps a history across runs of the program.
pub(super) struct Editor {
    lines: rustyline::Editor<CommandNames, FileHistory>,
    /// The history file, if it is usable.
    history: Option<PathBuf>,
}

impl Editor {
    /// Loads the history of earlier runs. A failure to load it is reported with `--verbose` only.
    pub(super) fn new(endpoint: &Endpoint) -> Result<Editor, CliError> {
        let config = Config::builder()
            .max_history_size(HISTORY_LINES_MAX)
            .map_err(to_cli_error)?
            .completion_type(CompletionType::List)
            // Dim is not a colour: with NO_COLOR set a hint must still differ from typed text.
            .color_mode(ColorMode::Forced)
            .build();
        let mut lines = rustyline::Editor::with_config(config).map_err(to_cli_error)?;
        lines.set_helper(Some(CommandNames::default()));
        let mut history = history_file();
        if let Some(file) = &history
            && let Err(error) = load(&mut lines, file)
        {
            if endpoint.is_verbose {
                eprint_line(&format!(
                    "cannot load the history {}: {error}",
                    file.display()
                ));
            }
            history = None;
        }
        Ok(Editor { lines, history })
    }

    /// Returns the next line, or several pasted lines; `None` at EOF. Ctrl-C clears the line.
    pub(super) fn read(&mut self) -> Result<Option<String>, CliError> {
        loop {
            match self.lines.readline(PROMPT) {
                Ok(line) => {
                    self.append_history(&line);
                    return Ok(Some(line));
                }
                Err(ReadlineError::Interrupted) => self.erase_hint()?,
                Err(ReadlineError::Eof) => return Ok(None),
                Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                    return self.accept_invalid().map(Some);
                }
                Err(error) => return Err(to_cli_error(error)),
            }
        }
    }

    /// Erases the hint from a line that rustyline has ended on the screen.
    fn erase_hint(&self) -> Result<(), CliError> {
        match self.take_typed() {
            Some(line) if hint(&line).is_some() => redraw(&line),
            _ => Ok(()),
        }
    }

    /// Ends the line at a byte that is not UTF-8, and returns it with U+FFFD in place of the byte: an
    /// invalid command, whatever follows. rustyline discards type-ahead on such an error.
    fn accept_invalid(&mut self) -> Result<String, CliError> {
        let typed = self.take_typed();
        let line = format!("{}\u{FFFD}", typed.as_deref().unwrap_or_default());
        if typed.is_some() {
            redraw(&line)?;
        }
        Ok(line)
    }

    /// Takes the line that was being edited.
    fn take_typed(&self) -> Option<String> {
        self.lines.helper()?.typed.take()
    }

    /// Appends the line to the history file at once, so that it survives a crash. Failures are ignored.
    fn append_history(&mut self, line: &str) {
        let is_new = self.lines.add_history_entry(line);
        if let (Ok(true), Some(file)) = (is_new, &self.history) {
            let _ = self.lines.append_history(file);
        }
    }
}

/// Draws a line again that rustyline has ended on the screen, perhaps with a hint.
fn redraw(line: &str) -> Result<(), CliError> {
    writeln!(io::stdout(), "\x1b[A\r\x1b[K{PROMPT}{line}").map_err(CliError::Output)
}

/// Returns the history file, in the state directory or, on systems without one, the data directory.
fn history_file() -> Option<PathBuf> {
    let directory = dirs::state_dir().or_else(dirs::data_local_dir)?;
    Some(directory.join("chime").join("history"))
}

/// Creates the directory of the history file, and loads the file if it exists.
fn load(
    lines: &mut rustyline::Editor<CommandNames, FileHistory>,
    file: &Path,
) -> Result<(), ReadlineError> {
    if let Some(directory) = file.parent() {
        fs::create_dir_all(directory)?;
    }
    // Reading a FIFO, for example, would wait.
    match fs::metadata(file) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(io::Error::other("not a regular file").into());
        }
        _ => remove_invalid_lines(file)?,
    }
    match lines.load_history(file) {
        Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes the lines of a history that are not UTF-8: rustyline would not load the others.
fn remove_invalid_lines(file: &Path) -> io::Result<()> {
    let Ok(history) = fs::read(file) else {
        return Ok(());
    };
    if str::from_utf8(&history).is_ok() {
        return Ok(());
    }
    let lines = history.split_inclusive(|byte| *byte == b'\n');
    let valid: Vec<&[u8]> = lines.filter(|line| str::from_utf8(line).is_ok()).collect();
    // In one step, so that a crash loses nothing.
    let new = file.with_extension("new");
    fs::write(&new, valid.concat())?;
    fs::rename(new, file)
}

fn to_cli_error(error: ReadlineError) -> CliError {
    CliError::Input(match error {
        ReadlineError::Io(error) => error,
        error => io::Error::other(error),
    })
}

/// Completes command names, and shows the rest of the current one as a hint.
#[derive(Default, Helper, Validator)]
struct CommandNames {
    /// The line being edited; none on a terminal without line editing.
    typed: RefCell<Option<String>>,
}

/// Returns the commands with the prefix `typed`.
fn with_prefix(typed: &str) -> impl Iterator<Item = &'static str> {
    let typed = typed.to_ascii_lowercase();
    names::requests().filter(move |name| name.starts_with(&typed))
}

/// Returns the rest of the first command with the prefix `typed`, if there is one.
fn hint(typed: &str) -> Option<&'static str> {
    let rest = &with_prefix(typed).next()?[typed.len()..];
    Some(rest).filter(|rest| !typed.is_empty() && !rest.is_empty())
}

impl Completer for CommandNames {
    type Candidate = &'static str;

    fn complete(
        &self,
        line: &str,
        cursor: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<&'static str>)> {
        Ok((0, with_prefix(&line[..cursor]).collect()))
    }
}

impl Hinter for CommandNames {
    type Hint = &'static str;

    fn hint(&self, line: &str, cursor: usize, _: &Context<'_>) -> Option<&'static str> {
        // The editor calls this after each change of the line.
        self.typed.replace(Some(line.to_owned()));
        hint(line).filter(|_| cursor == line.len())
    }
}

impl Highlighter for CommandNames {
    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        format!("\x1b[2m{hint}\x1b[0m").into()
    }
}
