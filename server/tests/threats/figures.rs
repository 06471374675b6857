//! Files of the figures that tests measure, read by `cargo threats`.

use std::fmt::Display;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Writes a figure to the file of this row of the table. Replaces an earlier figure with the same label.
pub(crate) fn record(row: &str, label: &str, figure: impl Display) {
    static LOCK: Mutex<()> = Mutex::new(());
    let _guard = LOCK.lock().unwrap_or_else(PoisonError::into_inner);
    println!("{row}: {label}: {figure}");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("threats");
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join(format!("{row}.txt"));
    // Fails before the first figure of a row.
    let before = fs::read_to_string(&file).unwrap_or_default();
    let name = format!("{label} | ");
    let mut lines: Vec<&str> = before.lines().collect();
    lines.retain(|line| !line.starts_with(&name));
    let line = format!("{name}{figure}");
    lines.push(&line);
    fs::write(file, lines.join("\n") + "\n").expect("written");
}
