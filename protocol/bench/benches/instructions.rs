//! Instruction counts of the hot paths. Other load does not affect them, so a regression of one percent is
//! visible.
//!
//! `cargo bench -p chime-bench --bench instructions` needs valgrind. It fails if a case takes more instructions than its
//! limit: about a tenth more than it takes on x86-64 with Rust 1.95.
//! Each case runs in its own process under callgrind, which counts the instructions inside `measured`.

use std::io::ErrorKind;
use std::process::{Command, ExitCode};

use chime_bench::{DATAGRAMS, Server};
use chime_protocol::Session;

/// A hot path: its name, the number of repetitions, the most instructions of each, and the work.
type Case = (&'static str, usize, f64, Work);

#[derive(Clone, Copy)]
enum Work {
    /// A session reads this text, repeated, in one read.
    Input(&'static str),
    Datagrams,
    Conversations,
}

const CASES: [Case; 7] = [
    ("day", 1_000, 125.0, Work::Input("day\n")),
    ("send time", 1_000, 145.0, Work::Input("send time\n")),
    ("short digits", 1_000, 375.0, Work::Input("12345\n")),
    ("digit of a long line", 64 << 10, 0.9, Work::Input("7")),
    ("invalid line", 1_000, 355.0, Work::Input("what is this?\n")),
    ("datagram", 1_000, 265.0, Work::Datagrams),
    ("conversation", 1_000, 1_350.0, Work::Conversations),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    match arguments.next().as_deref() {
        Some("--bench") => return count_all(),
        Some("--case") => {
            let name = arguments.next();
            let case = CASES
                .into_iter()
                .find(|case| Some(case.0) == name.as_deref());
            run(case.expect("--case needs the name of a case"));
        }
        _ => CASES.into_iter().for_each(run),
    }
    ExitCode::SUCCESS
}

/// Prints the instruction count of each case, and fails if one is above its limit.
fn count_all() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (name, count, each_max, _) in CASES {
        let Some(instructions) = count_instructions(name) else {
            eprintln!("instructions: valgrind not found");
            return ExitCode::FAILURE;
        };
        let each = instructions as f64 / count as f64;
        let is_above = each > each_max;
        let result = if is_above { "above" } else { "of at most" };
        println!("{name:<20} {each:>8.2} instructions each, {result} {each_max}");
        if is_above {
            code = ExitCode::FAILURE;
        }
    }
    code
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

fn run((_, count, _, work): Case) {
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
