//! `cargo book`: builds the documentation of all crates and opens it at the specification.

use anyhow::Result;
use xshell::{Shell, cmd};

/// Builds the documentation. A warning, such as a broken link, is an error.
pub(crate) fn build(shell: &Shell) -> Result<()> {
    let _flags = shell.push_env("RUSTDOCFLAGS", "-D warnings");
    cmd!(shell, "cargo doc --no-deps").run()?;
    Ok(())
}

/// Builds the documentation and opens it in a browser.
pub(crate) fn open(shell: &Shell) -> Result<()> {
    build(shell)?;
    let _flags = shell.push_env("RUSTDOCFLAGS", "-D warnings");
    cmd!(shell, "cargo doc --no-deps --open -p chime-protocol").run()?;
    Ok(())
}
