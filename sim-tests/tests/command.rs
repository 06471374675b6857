//! The command `sim`, as its users run it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::{env, fs, io};

use chime_protocol::Framing;
use chime_sim_tests::chime::{
    Act, Behaviour, CoverageGoal, Ending, Listener, Reading, Scenario, Server, Target, Timeout,
};
use chime_sim_tests::command::keep_failure;
use chime_sim_tests::scenario::{Client, Text};
use strum::VariantArray;

/// Set in the child process of [`keep_failure_writes_a_scenario_that_replays`].
const IS_CHILD: &str = "CHIME_KEEP_FAILURE";

#[test]
fn invalid_scenarios_are_refused_with_the_path_of_the_value() {
    let folder = folder("invalid");
    for (json, path, message) in [
        (
            client(r#"{"ask":{"lines":[]}}"#, 9_000_000_000),
            "clients[0].host: ",
            "at most 19",
        ),
        (
            client(r#"{"ask":{"lines":[]}}"#, 20),
            "clients[0].host: ",
            "at most 19",
        ),
        (
            client(r#"{"ask":{"lines":[]}}"#, -1),
            "clients[0].host: ",
            "at least 0",
        ),
        (
            client(r#"{"ask":{"lines":["day","1\n2"]}}"#, 0),
            "clients[0].behaviour.ask.lines",
            "a line must not contain a line end",
        ),
        (
            client(r#"{"ask-datagrams":{"commands":["day","noon"]}}"#, 0),
            "clients[0].behaviour.ask-datagrams.commands",
            "must be a time command",
        ),
        (
            client(r#"{"write":{"acts":["shut","jump"]}}"#, 0),
            "clients[0].behaviour.write.acts[1]",
            "unknown variant `jump`",
        ),
        (
            r#"{"heal_ms":4294967295}"#.into(),
            "heal_ms: ",
            "at most 3600000",
        ),
        (r#"{"heal":1}"#.into(), "heal: ", "unknown field `heal`"),
        (
            r#"{"network":{"loss":1}}"#.into(),
            "network.loss: ",
            "unknown field `loss`",
        ),
        (
            r#"{"network":{"window_bytes":0}}"#.into(),
            "network.window_bytes: ",
            "at least 1",
        ),
        (
            r#"{"faults":[{"at_ms":0,"for_ms":1,"kind":{"clock-step":{"seconds":31622401}}}]}"#
                .into(),
            "faults[0].kind.clock-step.seconds: ",
            "at most 31622400",
        ),
        (
            r#"{"clock":"9999-01-01T00:00:00"}"#.into(),
            "clock: ",
            "the year must be between 1 and 9998",
        ),
        ("{} {}".into(), "", "trailing characters"),
        ("{".into(), "", "EOF"),
        ("day".into(), "", "expected a JSON object"),
        ("[]".into(), "", "expected a JSON object"),
        (
            r#"{"network":{"latency_min_ms":501}}"#.into(),
            "network.latency_min_ms: ",
            "at most 500",
        ),
        (
            r#"{"clock":"tomorrow"}"#.into(),
            "clock: ",
            "must be like 2028-02-29T23:59:59.5",
        ),
    ] {
        let file = folder.join("scenario.json");
        fs::write(&file, &json).expect("the file is written");
        for subcommand in ["run", "shrink"] {
            let line = error_line(sim([subcommand]).arg(&file));
            let place = format!("{}: {path}", file.display());
            assert!(line.starts_with(&place), "{json}: {line}");
            assert!(line.contains(message), "{json}: {line}");
        }
    }
}

#[test]
fn unreadable_files_are_reported() {
    let folder = folder("unreadable");
    let missing = folder.join("missing.json");
    for (path, reason) in [(missing, "No such file"), (folder, "Is a directory")] {
        let line = error_line(sim(["run"]).arg(&path));
        let expected = format!("cannot read {}: {reason}", path.display());
        assert!(line.starts_with(&expected), "{line}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_reported() {
    for arguments in [&["swarm", "--seeds", "5"][..], &["run", "7"]] {
        let full = fs::File::create("/dev/full").expect("Linux has it");
        let line = error_line(sim(arguments).stdout(full));
        assert!(
            line.starts_with("cannot write to stdout: No space left on device"),
            "{line}"
        );
    }
    for (page, reason) in [
        ("/dev/full", "No space left on device"),
        ("/nonexistent/x.html", "No such file"),
    ] {
        let line = error_line(&mut sim(["draw", "7", "-o", page]));
        let expected = format!("cannot write {page}: {reason}");
        assert!(line.starts_with(&expected), "{line}");
    }
}

#[test]
fn a_closed_pipe_is_no_error() {
    for arguments in [&["swarm", "--seeds", "3"][..], &["run", "7"]] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let output = output(sim(arguments).stdout(writer));
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn a_swarm_reports_its_rate_faults_and_coverage_goals() {
    let (text, code) = text_and_code(&mut sim(["swarm", "--seeds", "3"]));
    assert!(text.starts_with("3 scenarios in "), "{text}");
    assert!(text.contains(" a second; "), "{text}");
    let (_, sections) = text.split_once("\n\nfaults, ").expect("a section");
    let (faults, goals) = sections
        .split_once("\n\ncoverage goals, ")
        .expect("a section");
    let (goals, total) = goals.trim_end().rsplit_once("\n\n").expect("a total");
    for section in [faults, goals] {
        for row in section.lines().skip(1) {
            let (count, name) = row.trim_start().split_once(' ').expect("a count");
            let count: u64 = count.parse().expect("a number");
            assert!(count <= 3, "{name}: {count}\n{text}");
        }
    }
    assert!(faults.lines().count() > 5, "{text}");
    assert_eq!(
        goals.lines().count(),
        1 + CoverageGoal::VARIANTS.len(),
        "{text}"
    );
    // Goals are missed, which only fails a swarm of 20,000 seeds or more.
    let missed = goals.lines().filter(|row| row.starts_with("        0 "));
    let expected = format!("0 failed, coverage goals not reached: {}", missed.count());
    assert_eq!(total, expected);
    assert!(!total.ends_with(" 0"), "3 seeds reach every goal");
    assert_eq!(code, Some(0));
}

#[test]
fn a_swarm_counts_the_same_on_any_number_of_threads() {
    let counts = |jobs| {
        let (text, _) = text_and_code(&mut sim(["swarm", "--seeds", "20", "--jobs", jobs]));
        text.split_once('\n').expect("lines").1.to_string()
    };
    assert_eq!(counts("1"), counts("3"));
    for jobs in ["0", "257"] {
        let output = output(&mut sim(["swarm", "--seeds", "1", "--jobs", jobs]));
        assert_eq!(output.status.code(), Some(2), "--jobs {jobs}");
    }
}

#[test]
fn seeds_wrap_around() {
    let (text, code) = text_and_code(&mut sim([
        "swarm",
        "--start",
        "18446744073709551613",
        "--seeds",
        "5",
    ]));
    assert!(text.starts_with("5 scenarios in "), "{text}");
    assert_eq!(code, Some(0));
}

#[test]
fn a_page_shows_its_seed_and_the_command_that_replays_it() {
    let page = folder("page").join("page.html");
    let output = output(sim(["draw", "7", "-o"]).arg(&page));
    assert_eq!(output.status.code(), Some(0));
    let page = fs::read_to_string(page).expect("a page");
    assert!(
        page.contains("<title>Simulated run: seed 7</title>"),
        "{page}"
    );
    assert!(page.contains("<code>cargo sim run 7</code>"), "{page}");
}

#[test]
fn a_failing_scenario_is_replayed_drawn_and_shrunk() {
    let folder = folder("failing");
    let file = folder.join("failing.json");
    fs::write(&file, failing().to_string()).expect("the file is written");
    let failure = failure_of(&file);

    // `draw` succeeds: the page shows the failure.
    let page = folder.join("failing.html");
    let drawn = output(sim(["draw"]).arg(&file).arg("-o").arg(&page));
    assert_eq!(drawn.status.code(), Some(0));
    let page = fs::read_to_string(page).expect("a page");
    let title = format!("<title>Simulated run: {}</title>", file.display());
    assert!(page.contains(&title), "{page}");
    let first_words = failure.split('"').next().expect("words");
    assert!(page.contains(first_words), "{failure}\n{page}");

    let (text, code) = text_and_code(sim(["shrink"]).arg(&file));
    assert_eq!(code, Some(1), "{text}");
    let shrunk = Scenario::from_json(text.as_bytes()).expect("a scenario");
    assert_eq!(shrunk.clients.len(), 1, "{text}");
    assert_eq!(shrunk.heal_ms, 0, "{text}");
    fs::write(&file, text).expect("the file is written");
    failure_of(&file);
}

#[test]
fn a_scenario_passes_only_if_its_trace_shows_what_it_expects_in_order() {
    let folder = folder("expectations");
    let client = r#"{"host":0,"start_ms":10,"behaviour":{"ask":{"lines":["12345"],"pause_ms":9}}}"#;
    let read = r#""client 0: receives reply '15'""#;
    for (expect, missing) in [
        (format!(r#""server started", {read}"#), None),
        (
            format!(r#"{read}, "server started""#),
            Some("server started"),
        ),
        (
            format!("{read}, {read}"),
            Some("client 0: receives reply '15'"),
        ),
        (r#""reads \"16\\n\"""#.to_owned(), Some("reads \"16\\n\"")),
    ] {
        let file = folder.join("expectations.json");
        let json = format!(r#"{{"clients":[{client}],"expect":[{expect}]}}"#);
        fs::write(&file, json).expect("written");
        let file = file.to_str().expect("a path in UTF-8");
        let (text, code) = text_and_code(&mut sim(["run", file]));
        let last = text.lines().last().expect("a result");
        match missing {
            None => assert!(code == Some(0) && last.starts_with("passed"), "{last}"),
            Some(missing) => {
                let message = format!(", but not there: {missing}");
                assert!(code == Some(1) && last.contains(&message), "{last}");
            }
        }
    }
}

#[test]
fn a_passing_scenario_is_not_shrunk() {
    let line = error_line(&mut sim(["shrink", "7"]));
    assert_eq!(line, "this scenario passes its check");
}

#[test]
fn keep_failure_writes_a_scenario_that_replays() {
    if env::var_os(IS_CHILD).is_some() {
        let replay = keep_failure("cargo sim", "kept", &failing()).expect("the failure is kept");
        println!("\nreplay: {replay}");
        return;
    }
    let folder = folder("kept");
    let child = Command::new(env::current_exe().expect("this test"))
        .args([
            "--exact",
            "keep_failure_writes_a_scenario_that_replays",
            "--nocapture",
        ])
        .env(IS_CHILD, "1")
        // A path relative to the folder of the child: the command must work in another folder.
        .env("CARGO_TARGET_DIR", "target")
        .current_dir(&folder)
        .output()
        .expect("the child runs");
    let text = String::from_utf8(child.stdout).expect("text");
    let mut lines = text.lines();
    let replay = lines.find_map(|line| line.strip_prefix("replay: cargo sim run "));
    let file = Path::new(replay.expect("a command"));
    assert_eq!(file, folder.join("target/sim/kept.json"));
    failure_of(file);
    let scenario = Scenario::from_json(&fs::read(file).expect("readable"));
    assert_eq!(scenario, Ok(failing()));
    let page = fs::read_to_string(file.with_extension("html")).expect("a page");
    let command = format!("<code>cargo sim run {}</code>", file.display());
    assert!(page.contains(&command), "{page}");
}

/// A scenario that fails on any server: with the framing `read` a request must fit into one read of the server.
fn failing() -> Scenario {
    let write = Behaviour::Write {
        to: Target::default(),
        acts: vec![Act::Write(Text("1".repeat(40_000).into())), Act::Shut],
        reading: Reading::Eager,
        ending: Ending::Await,
    };
    let ask = Behaviour::Ask {
        to: Target::default(),
        lines: vec!["day".into()],
        pause_ms: 0,
        timeout_ms: Timeout::default(),
    };
    let clients = [write, ask].map(|behaviour| Client {
        host: 0,
        start_ms: 3,
        behaviour,
    });
    Scenario {
        server: Server {
            listeners: vec![Listener {
                framing: Framing::Read,
                ..Listener::default()
            }],
            ..Server::default()
        },
        clients: clients.into(),
        heal_ms: 50,
        ..Scenario::default()
    }
}

/// The JSON of a scenario with one client.
fn client(behaviour: &str, host: i64) -> String {
    format!(r#"{{"clients":[{{"host":{host},"start_ms":0,"behaviour":{behaviour}}}]}}"#)
}

/// Returns an empty folder for the files of a test.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("command")
        .join(test);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("the folder is created");
    folder
}

fn sim<'a>(arguments: impl AsRef<[&'a str]>) -> Command {
    let mut sim = Command::new(env!("CARGO_BIN_EXE_sim"));
    sim.args(arguments.as_ref());
    sim
}

fn output(sim: &mut Command) -> Output {
    sim.output().expect("sim runs")
}

fn text_and_code(sim: &mut Command) -> (String, Option<i32>) {
    let output = output(sim);
    let text = String::from_utf8(output.stdout).expect("text");
    (text, output.status.code())
}

/// Returns the one line on stderr of a command that fails, without `sim: `.
fn error_line(sim: &mut Command) -> String {
    let output = output(sim);
    let stderr = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{sim:?}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{sim:?}: {stderr}");
    let line = stderr.trim_end().strip_prefix("sim: ");
    line.unwrap_or_else(|| panic!("{sim:?}: {stderr}")).into()
}

/// Returns why the run of a scenario fails.
fn failure_of(file: &Path) -> String {
    let (text, code) = text_and_code(sim(["run"]).arg(file));
    assert_eq!(code, Some(1), "{text}");
    let last = text
        .lines()
        .last()
        .and_then(|line| line.strip_prefix("failed: "));
    last.unwrap_or_else(|| panic!("{text}")).into()
}
