//! `cargo readme`: runs the commands of the README as written, and prints how long each takes.
//!
//! A command must exit with code 0. A command that runs until it is stopped must print its sign of
//! success. Commands of the client have a server.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag, TagEnd};
use xshell::{Shell, cmd};

use crate::target_dir;

const README: &str = "README.md";
/// The scheduled workflow ends a command sooner.
const TIMEOUT: Duration = Duration::from_secs(6 * 3_600);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub(crate) fn run(shell: &Shell, filters: &[String]) -> Result<()> {
    // Commands that `cargo install` has installed are found in the path, as for a user.
    let installed = shell.current_dir().join(target_dir()).join("installed");
    let path = format!("{}:{}", installed.join("bin").display(), shell.var("PATH")?);
    let _root = shell.push_env("CARGO_INSTALL_ROOT", &installed);
    let _path = shell.push_env("PATH", &path);
    let is_wanted = |command: &String| {
        filters.is_empty() || filters.iter().any(|filter| command.contains(filter))
    };
    let commands: Vec<_> = commands(shell)?.into_iter().filter(is_wanted).collect();
    ensure!(
        !commands.is_empty(),
        "no command of {README} matches {filters:?}"
    );
    for command in commands {
        let start = Instant::now();
        run_command(shell, &command).with_context(|| format!("{README}: {command}"))?;
        println!("{:7.1} s  {command}", start.elapsed().as_secs_f64());
    }
    Ok(())
}

/// Returns the commands of the README.
pub(crate) fn commands(shell: &Shell) -> Result<Vec<String>> {
    Ok(commands_in(&shell.read_file(README)?))
}

/// Returns the lines of `sh` blocks, and the code in the last column of tables whose last heading is
/// `command`. A test of the client compares the `text` and `console` blocks with its output.
fn commands_in(markdown: &str) -> Vec<String> {
    let mut commands = Vec::new();
    let mut block = None;
    let mut cell = String::new();
    let mut is_heading = false;
    let mut has_commands = false;
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::CodeBlock(CodeBlockKind::Fenced(kind))) => block = Some(kind),
            Event::End(TagEnd::CodeBlock) => block = None,
            Event::Text(text) if block.as_deref() == Some("sh") => {
                commands.extend(text.lines().map(String::from));
            }
            Event::Text(text) if is_heading => cell = text.to_string(),
            Event::Start(Tag::TableHead) => is_heading = true,
            Event::End(TagEnd::TableHead) => {
                is_heading = false;
                has_commands = cell == "command";
            }
            Event::Start(Tag::TableCell) => cell.clear(),
            Event::Code(code) => cell = code.to_string(),
            Event::End(TagEnd::TableRow) if has_commands => commands.push(cell.clone()),
            _ => {}
        }
    }
    commands
}

/// Returns the sign of success in the output of a command that runs until it is stopped.
fn sign_of_success(command: &str) -> Option<&'static str> {
    match command {
        _ if command.starts_with("cargo run --release -p chime-server") => Some("listening on"),
        _ => None,
    }
}

fn run_command(shell: &Shell, command: &str) -> Result<()> {
    let mut server = None;
    if command.contains("chime-client") {
        cmd!(shell, "cargo build --release -p chime-server")
            .quiet()
            .ignore_stderr()
            .run()?;
        let server_path = target_dir().join("release/chime-server");
        let mut started = Job::start(shell, &server_path.to_string_lossy(), "server")?;
        started.wait_for(Some("listening on udp"))?;
        server = Some(started);
    }
    let result = Job::start(shell, command, "command")?.wait_for(sign_of_success(command));
    drop(server);
    result
}

/// A command in a process group of its own, which is killed when this is dropped.
struct Job<'a> {
    shell: &'a Shell,
    child: Child,
    output: PathBuf,
}

impl Job<'_> {
    fn start<'a>(shell: &'a Shell, command: &str, name: &str) -> Result<Job<'a>> {
        let output = target_dir().join(format!("readme-{name}.log"));
        let file = File::create(&output)?;
        let child = Command::new("bash")
            .args(["-c", command])
            .envs(
                ["PATH", "CARGO_INSTALL_ROOT"]
                    .map(|name| (name, shell.var(name).unwrap_or_default())),
            )
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()?;
        Ok(Job {
            shell,
            child,
            output,
        })
    }

    /// Waits for the sign of success, or for the end of a command that has none.
    fn wait_for(&mut self, sign: Option<&str>) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < TIMEOUT {
            let exited = self.child.try_wait()?;
            let output = String::from_utf8_lossy(&fs::read(&self.output)?).into_owned();
            match (sign, exited) {
                (Some(sign), _) if output.contains(sign) => return Ok(()),
                (None, Some(status)) if status.success() => return Ok(()),
                (_, Some(status)) => bail!("{status}\n{output}"),
                (_, None) => thread::sleep(POLL_INTERVAL),
            }
        }
        bail!("timed out after {TIMEOUT:?}")
    }
}

impl Drop for Job<'_> {
    /// Ends the process group, and waits for its last process: the next command may need its ports.
    fn drop(&mut self) {
        let group = format!("-{}", self.child.id());
        let signal = |signal: &str| {
            let kill = cmd!(self.shell, "kill {signal} -- {group}");
            kill.quiet().ignore_stderr().run().is_ok()
        };
        let start = Instant::now();
        signal("-TERM");
        let _: io::Result<ExitStatus> = self.child.wait();
        while signal("-0") && start.elapsed() < TIMEOUT {
            thread::sleep(POLL_INTERVAL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::commands_in;

    #[test]
    fn commands_are_in_blocks_and_in_the_last_column() {
        let text = "
`not this`
```sh
cargo test
ls | head
```
```console
$ not this
```

| claim | command |
| --- | --- |
| `first` and more | `cargo test -p one` |

| `name` | what |
| --- | --- |
| `a` | `b` |
";
        let expected = ["cargo test", "ls | head", "cargo test -p one"];
        assert_eq!(commands_in(text), expected);
    }
}
