//! Where settings come from, and what a file may say.

use std::collections::BTreeMap;
use std::env::temp_dir;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{self, Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{PATIENCE, Server};

/// The file that is shipped.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/chime-server.toml");

/// A file that is removed when it goes out of scope.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> File {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = temp_dir().join(format!("chime-{}-{count}.toml", process::id()));
        fs::write(&path, text).expect("written");
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // It does no harm if it stays.
        let _ = fs::remove_file(&self.0);
    }
}

fn server() -> Command {
    Command::new(env!("CARGO_BIN_EXE_chime-server"))
}

fn check(command: &mut Command) -> Output {
    command.arg("--check-config").output().expect("it runs")
}

/// What a command says that is in force.
fn checked(command: &mut Command) -> String {
    let output = check(command);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    String::from_utf8(output.stdout).expect("text")
}

/// The message for a file, with the name of the file left out.
fn refusal(text: &str) -> String {
    let file = File::new(text);
    let output = check(server().args(["--config", file.path()]));
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty(), "{text}");
    let message = String::from_utf8(output.stderr).expect("text");
    let message = message.strip_prefix(&format!("error: {}:", file.path()));
    let message = message.and_then(|message| message.strip_suffix('\n'));
    message.expect("the file is named").to_string()
}

#[test]
fn flags_go_over_variables_over_the_file_over_defaults() {
    let file = File::new("idle-timeout = '3s'\nutc = true\nmax-connections = 3\ntcp = ['[::1]:3']");
    let with_file = || {
        let mut command = server();
        command.env("CHIME_CONFIG", file.path());
        command
    };
    let has = |settings: &str, line: &str| {
        let found = settings.lines().any(|other| other == line);
        assert!(found, "{line} is not in\n{settings}");
    };

    let settings = checked(&mut server());
    has(&settings, "idle-timeout = \"300s\"");
    has(&settings, "max-connections = 10000");
    has(&settings, "utc = false");

    let settings = checked(&mut with_file());
    has(&settings, "idle-timeout = \"3s\"");
    has(&settings, "max-connections = 3");
    has(&settings, "utc = true");
    has(&settings, "tcp = [\"[::1]:3\"]");
    has(&settings, "drain-timeout = \"10s\"");

    let variables = [
        ("CHIME_IDLE_TIMEOUT", "2s"),
        ("CHIME_UTC", "0"),
        ("CHIME_TCP", "[::1]:2,[::1]:22"),
    ];
    let settings = checked(with_file().envs(variables));
    has(&settings, "idle-timeout = \"2s\"");
    has(&settings, "max-connections = 3");
    has(&settings, "utc = false");
    has(&settings, "tcp = [\"[::1]:2\", \"[::1]:22\"]");

    let flags = ["--idle-timeout", "1s", "--utc", "--tcp", "[::1]:1"];
    let settings = checked(with_file().envs(variables).args(flags));
    has(&settings, "idle-timeout = \"1s\"");
    has(&settings, "max-connections = 3");
    has(&settings, "utc = true");
    has(&settings, "tcp = [\"[::1]:1\"]");
}

#[test]
fn what_is_wrong_in_a_file_is_told_with_its_line() {
    for (text, message) in [
        ("\n\nspeed = 1", "3: unknown setting 'speed'"),
        ("config = 'x'", "1: unknown setting 'config'"),
        ("utc = true\n\nutc = true", "3: duplicate key"),
        ("utc = 'yes'", "1: 'utc' must be true or false"),
        ("utc = true\ntcp = []", "2: 'tcp' can't be this array"),
        ("udp-rate = 1.5", "1: 'udp-rate' can't be this float"),
        ("workers = [1, 2]", "1: 'workers' can't be this array"),
        (
            "\nworkers = 'none'",
            "2: invalid value 'none' for '--workers <N>': invalid digit found in string",
        ),
        (
            "service = 'all'",
            "1: invalid value 'all' for '--service <NAME>' \
             [possible values: both, date-time, digit-sum]",
        ),
        (
            "\nallow = [\n'10.0.0.0/8',\n'10.0.0.0/33']",
            "2: invalid value '10.0.0.0/33' for '--allow <NET>': \
             not a network such as 10.0.0.0/8 or 2001:db8::/32",
        ),
        ("[listener]", "1: listeners are [[listener]] tables"),
        (
            "utc = true\n[[listener]]\ntransport = 'tcp'",
            "2: missing field `address`",
        ),
        (
            "[[listener]]\ntransport = 'tcp'\naddress = 'here'",
            "3: invalid socket address syntax",
        ),
        (
            "[[listener]]\ntransport = 'tcp'\naddress = '[::1]:1'\nspeed = 1",
            "4: unknown field `speed`, \
             expected one of `address`, `transport`, `service`, `framing`, `proxies`",
        ),
        (
            "[[listener]]\ntransport = 'tcp'\naddress = '[::1]:1'\nproxies = []",
            "1: proxies must name a network, or be left out",
        ),
        (
            "\n[[listener]]\ntransport = 'udp'\naddress = '[::1]:1'\nservice = 'both'",
            "2: service, framing and proxies are for tcp",
        ),
    ] {
        assert_eq!(refusal(text), message, "{text}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let output = check(server().args(["--config", "/nowhere/chime.toml"]));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: /nowhere/chime.toml: No such file or directory (os error 2)\n"
    );
}

#[test]
fn a_bad_setting_of_the_file_is_told_even_if_a_flag_replaces_it() {
    let file = File::new("workers = 'none'");
    let output = check(server().args(["--config", file.path(), "--workers", "1"]));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_settings_in_force_can_be_read_back() {
    let file = File::new(
        "no-udp = true\nallow = ['10.0.0.0/8', '::1']\nudp-rate = 1_000\nlog = 'debug'
        [[listener]]\ntransport = 'tcp'\naddress = '127.0.0.1:1'\nframing = 'read'
        proxies = ['10.0.0.0/8', '::1']
        [[listener]]\ntransport = 'udp'\naddress = '[::1]:2'",
    );
    for flags in [
        &[][..],
        &["--config", file.path()],
        &["--config", file.path(), "--udp", "[::1]:5,[::1]:6"],
        &["--utc", "--workers", "3", "--admin", "127.0.0.1:4"],
    ] {
        let settings = checked(server().args(flags));
        let again = File::new(&settings);
        let read_back = checked(server().args(["--config", again.path()]));
        assert_eq!(read_back, settings, "{flags:?}");
    }
    let settings = checked(server().args(["--config", file.path()]));
    assert!(settings.contains("udp-rate = 1000\n"), "{settings}");
    assert!(settings.contains("\nproxies = [\"10.0.0.0/8\", \"::1/128\"]\n"));
}

#[test]
fn the_example_shows_every_setting_with_its_default() {
    let example = fs::read_to_string(EXAMPLE).expect("the file is there");
    let defaults = checked(&mut server());
    assert_eq!(checked(server().args(["--config", EXAMPLE])), defaults);

    let uncommented = File::new(&uncommented(&example));
    let shown = checked(server().args(["--config", uncommented.path()]));
    let mut defaults = values(&defaults);
    // Shown as a comment, as they give way to other sockets.
    defaults.insert("tcp", "[\"127.0.0.1:9990\"]");
    defaults.insert("udp", "[\"127.0.0.1:8089\"]");
    let shown = values(&shown);
    for (setting, default) in defaults {
        assert_eq!(shown.get(setting), Some(&default), "{setting}");
    }

    let help = server().arg("--help").output().expect("it runs");
    let help = String::from_utf8(help.stdout).expect("text");
    let lines = help.lines().map(str::trim_start);
    let flags = lines.filter_map(|line| line.strip_prefix("--")?.split_whitespace().next());
    let settings = flags.filter(|flag| !["config", "check-config"].contains(flag));
    for setting in settings {
        assert!(shown.contains_key(setting), "{setting} is not shown");
    }
    assert_eq!(shown.len(), 20, "{shown:?}");
}

/// The file with all of its examples in force.
fn uncommented(example: &str) -> String {
    let is_table = |line: &str| line.contains(" = ") || line.contains("[[listener]]\n");
    let line = |line: &str| {
        let line = line.to_string() + "\n";
        let setting = line.strip_prefix('#').filter(|text| !text.starts_with(' '));
        setting.unwrap_or(&line).to_string()
    };
    let (settings, tables) = example.split_once("# [[listener]]").expect("tables");
    let tables = format!("# [[listener]]{tables}");
    let tables = tables.split_inclusive('\n').map(|line| {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if is_table(line) { line } else { "" }
    });
    settings.lines().map(line).chain(tables.map(String::from)).collect()
}

/// The settings before the tables.
fn values(settings: &str) -> BTreeMap<&str, &str> {
    let lines = settings.lines().take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.split_once(" = ")).filter(|(name, _)| !name.starts_with('#')).collect()
}

#[test]
fn listeners_of_a_file_offer_different_services() {
    let file = File::new(
        "[[listener]]\ntransport = 'tcp'\naddress = '127.0.0.1:0'\nservice = 'digit-sum'
        [[listener]]\ntransport = 'tcp'\naddress = '127.0.0.1:0'\nservice = 'date-time'
        [[listener]]\ntransport = 'udp'\naddress = '127.0.0.1:0'",
    );
    // As the defaults are not served, these are all.
    let server = Server::spawn(server().args(["--config", file.path()]), 3);
    assert_eq!((server.tcp.len(), server.udp.len()), (2, 1));
    let ask = |address: SocketAddr| {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.write_all(b"12\n").expect("sent");
        stream.shutdown(Shutdown::Write).expect("half-closed");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an end");
        text
    };
    assert!(ask(server.tcp[0]).ends_with("\n3\n"));
    let reply = ask(server.tcp[1]);
    assert!(reply.ends_with("\nYou entered an invalid command\n"), "{reply}");
}

#[test]
fn addresses_that_are_given_are_served_beside_listeners_of_a_file() {
    let file = File::new("[[listener]]\ntransport = 'tcp'\naddress = '127.0.0.3:0'");
    let server = Server::start(&["--config", file.path()]);
    let hosts: Vec<_> = server.tcp.iter().map(|address| address.ip().to_string()).collect();
    assert_eq!(hosts, ["127.0.0.1"], "the table comes behind what was waited for");
}
