//! Instruction counts of the hot paths. Other load does not affect them, so a regression of one percent is
//! visible.
//!
//! `cargo bench -p chime-bench --bench instructions` needs valgrind, and skips everything without it.
//! Each case runs in its own process under callgrind, which counts the instructions inside `measured`.

use std::io::ErrorKind;
use std::process::Command;

use chime_bench::{DATAGRAMS, Server};
use chime_protocol::Session;

/// A hot path: its name, the number of repetitions, and the work.
type Case = (&'static str, usize, Work);

#[derive(Clone, Copy)]
enum Work {
    /// A session reads this text, repeated, in one read.
    Input(&'static str),
    Datagrams,
    Conversations,
}

const CASES: [Case; 7] = [
    ("day", 1_000, Work::Input("day\n")),
    ("send time", 1_000, Work::Input("send time\n")),
    ("short digits", 1_000, Work::Input("12345\n")),
    ("digit of a long line", 64 << 10, Work::Input("7")),
    ("invalid line", 1_000, Work::Input("what is this?\n")),
    ("datagram", 1_000, Work::Datagrams),
    ("conversation", 1_000, Work::Conversations),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("--bench") => count_all(),
        Some("--case") => {
            let name = arguments.next();
            let case = CASES
                .into_iter()
                .find(|case| Some(case.0) == name.as_deref());
            run(case.expect("--case needs the name of a case"));
        }
        _ => CASES.into_iter().for_each(run),
    }
}

/// Prints the instruction count of each case.
fn count_all() {
    for (name, count, _) in CASES {
        let Some(instructions) = count_instructions(name) else {
            println!("skipped: valgrind not found");
            return;
        };
        let each = instructions as f64 / count as f64;
        println!("{name:<20} {instructions:>9} instructions, {each:>7.2} each");
    }
}

/// Runs a case under callgrind. Returns `None` if valgrind is not installed.
fn count_instructions(name: &str) -> Option<u64> {
    let this = std::env::current_exe().expect("the benchmark has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*::measured*")
        .arg(this)
        .args(["--case", name])
        .output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        output => output.expect("valgrind starts"),
    };
    let report = String::from_utf8_lossy(&output.stderr);
    let collected = report
        .lines()
        .find_map(|line| line.split_once("Collected : "));
    let instructions = collected.and_then(|(_, instructions)| instructions.trim().parse().ok());
    Some(instructions.unwrap_or_else(|| panic!("no instruction count in the report: {report}")))
}

fn run((_, count, work): Case) {
    let input = match work {
        Work::Input(text) => text.repeat(count),
        Work::Datagrams | Work::Conversations => String::new(),
    };
    let mut server = Server::default();
    let mut session = server.welcomed();
    measured(work, count, input.as_bytes(), &mut server, &mut session);
}

#[inline(never)]
fn measured(work: Work, count: usize, input: &[u8], server: &mut Server, session: &mut Session) {
    match work {
        Work::Input(_) => server.converse(session, input),
        Work::Datagrams => {
            for request in DATAGRAMS.into_iter().cycle().take(count) {
                server.serve_datagram(request);
            }
        }
        Work::Conversations => {
            for _ in 0..count {
                server.serve();
            }
        }
    }
}
