//! What the rows of the table have measured, written down for the command `table`.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Writes down what a row has measured, in place of what it had measured before.
pub(crate) fn record(row: &str, what: &str, figure: impl Display) {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{row}: {what}: {figure}");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("threats");
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join(format!("{row}.txt"));
    // There is no file before the first figure.
    let before = fs::read_to_string(&file).unwrap_or_default();
    let name = format!("{what} | ");
    let mut lines: Vec<&str> = before.lines().collect();
    lines.retain(|line| !line.starts_with(&name));
    let line = format!("{name}{figure}");
    lines.push(&line);
    fs::write(file, lines.join("\n") + "\n").expect("written");
}
