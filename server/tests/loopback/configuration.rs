//! Settings: their sources and precedence, and the configuration file.

use std::collections::{BTreeMap, BTreeSet};
use std::env::temp_dir;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{self, Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{FLAGS, ServerProcess, TIMEOUT, command, read_to_eof};

/// The example that is shipped.
const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/chime-server.toml");

/// A configuration file. Dropping it removes the file.
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
        // A leftover file is harmless.
        let _ = fs::remove_file(&self.0);
    }
}

fn check(command: &mut Command) -> Output {
    command.arg("--check-config").output().expect("it runs")
}

/// Returns a value as `--check-config` prints it.
fn toml_text(value: &str) -> String {
    match value.parse::<u32>() {
        Ok(number) => number.to_string(),
        Err(_) => format!("\"{value}\""),
    }
}

/// Returns the effective settings that the command prints.
fn checked(command: &mut Command) -> String {
    let output = check(command);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    String::from_utf8(output.stdout).expect("text")
}

/// Returns the error message for a file with this text, without the name of the file.
fn error_for(text: &str) -> String {
    let file = File::new(text);
    let output = check(command(&[]).args(["--config", file.path()]));
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty(), "{text}");
    let message = String::from_utf8(output.stderr).expect("text");
    let message = message.strip_prefix(&format!("error: {}:", file.path()));
    let message = message.and_then(|message| message.strip_suffix('\n'));
    message.expect("the file is named").to_string()
}

#[test]
fn the_precedence_is_flag_variable_file_default() {
    let file = File::new("idle-timeout = '3s'\nutc = true\nmax-connections = 3\ntcp = ['[::1]:3']");
    let with_file = || {
        let mut command = command(&[]);
        command.env("CHIME_CONFIG", file.path());
        command
    };
    let has = |settings: &str, line: &str| {
        assert!(
            settings.lines().any(|other| other == line),
            "{line} is not in\n{settings}"
        );
    };

    let settings = checked(&mut command(&[]));
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
fn an_address_may_be_a_port_of_localhost() {
    for (address, expected) in [
        ("8", "127.0.0.1:8"),
        ("localhost:8", "127.0.0.1:8"),
        ("[::]:8", "[::]:8"),
    ] {
        // The settings are printed as they were given.
        let flags = ["--tcp", address, "--udp", address, "--admin", address];
        let settings = checked(&mut command(&flags));
        assert!(
            settings.contains(&format!("tcp = [{}]", toml_text(address))),
            "{settings}"
        );
        let twice = check(&mut command(&["--tcp", address, "--tcp", expected]));
        assert_eq!(twice.status.code(), Some(2), "{address} is {expected}");
    }
    for address in [
        "65536",
        "localhost",
        "localhost:",
        "host:8",
        "127.0.0.1",
        ":8",
        "",
    ] {
        let output = check(&mut command(&["--tcp", address]));
        assert_eq!(output.status.code(), Some(2), "{address}");
    }
    let server = ServerProcess::start(&["--tcp", "0", "--udp", "localhost:0"]);
    // After those of every test.
    assert!(server.tcp[1].ip().is_loopback() && server.udp[1].ip().is_loopback());
}

#[test]
fn an_address_that_is_given_twice_is_an_error() {
    for (text, message) in [
        (
            "tcp = ['127.0.0.1:8', '[::1]:8', '127.0.0.1:8']",
            "the tcp address 127.0.0.1:8",
        ),
        (
            "udp = ['127.0.0.1:8', '127.0.0.1:8']",
            "the udp address 127.0.0.1:8",
        ),
        (
            "tcp = ['127.0.0.1:8']\n[[listener]]\naddress = '127.0.0.1:8'\ntransport = 'tcp'",
            "the tcp address 127.0.0.1:8",
        ),
    ] {
        let file = File::new(text);
        let output = check(command(&[]).args(["--config", file.path()]));
        assert_eq!(output.status.code(), Some(2), "{text}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(error, format!("error: {message} is given more than once\n"));
    }
    // The same port of two transports or addresses, and any free port.
    checked(&mut command(&[
        "--tcp",
        "127.0.0.1:8,[::1]:8,127.0.0.1:0,127.0.0.1:0",
        "--udp",
        "127.0.0.1:8",
    ]));
}

#[test]
fn unknown_variables_are_reported() {
    let mut command = command(&[]);
    command
        .env("CHIME_LOG", "off")
        .env("CHIME_IDLE_TIMOUT", "1s")
        .env("CHIME_SERVER", "host")
        .env("CHIME_UTC", "1");
    let output = check(&mut command);
    assert_eq!(output.status.code(), Some(0));
    let log = String::from_utf8_lossy(&output.stderr);
    let line = "chime-server: unknown environment variable CHIME_IDLE_TIMOUT\n";
    assert_eq!(log, line);
}

#[test]
fn errors_in_a_file_name_the_line() {
    for (text, message) in [
        ("\n\nspeed = 1", "3: unknown setting 'speed'"),
        ("config = 'x'", "1: unknown setting 'config'"),
        ("utc = true\n\nutc = true", "3: duplicate key"),
        ("utc = 'yes'", "1: 'utc' must be true or false"),
        (
            "utc = true\ntcp = []",
            "2: 'tcp' must have a value, or be left out",
        ),
        ("udp-rate = 1.5", "1: 'udp-rate' can't be of type float"),
        ("workers = [1, 2]", "1: 'workers' can't be of type array"),
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
            "3: expected an address such as 0.0.0.0:9990 or [::1]:9990, localhost:9990, or a port",
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
            "[[listener]]\ntransport = 'tcp'\naddress = '[::1]:1'\nproxies = ['::ffff:10.0.0.0/95']",
            "4: '::ffff:10.0.0.0/95': a network of IPv4-mapped addresses has a prefix of at least 96",
        ),
        (
            "[[listener]]\ntransport = 'tcp'\naddress = '[::1]:1'\nservice = 'all'",
            "4: 'all': unknown name, expected one of both, date-time, digit-sum",
        ),
        (
            "\n[[listener]]\ntransport = 'udp'\naddress = '[::1]:1'\nservice = 'both'",
            "2: service, framing and proxies are for tcp",
        ),
    ] {
        assert_eq!(error_for(text), message, "{text}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let output = check(command(&[]).args(["--config", "/nowhere/chime.toml"]));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: /nowhere/chime.toml: No such file or directory (os error 2)\n"
    );
}

#[test]
fn an_invalid_setting_in_a_file_is_an_error_even_if_a_flag_overrides_it() {
    let file = File::new("workers = 'none'");
    let output = check(command(&[]).args(["--config", file.path(), "--workers", "1"]));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_file_that_disables_every_listener_is_an_error() {
    let file = File::new("no-udp = true\n[[listener]]\ntransport = 'udp'\naddress = '[::1]:1'");
    let output = check(&mut command(&["--config", file.path()]));
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: --no-tcp and --no-udp leave nothing to serve\n"
    );
}

#[test]
fn effective_settings_round_trip() {
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
        let settings = checked(command(&[]).args(flags));
        let again = File::new(&settings);
        let read_back = checked(command(&[]).args(["--config", again.path()]));
        assert_eq!(read_back, settings, "{flags:?}");
    }
    let settings = checked(command(&[]).args(["--config", file.path()]));
    assert!(settings.contains("udp-rate = 1000\n"), "{settings}");
    // The listeners replace `tcp`, so it is printed as a comment.
    assert!(settings.starts_with("# tcp = "), "{settings}");
    assert!(settings.contains("\nproxies = [\"10.0.0.0/8\", \"::1/128\"]\n"));
}

#[test]
fn the_example_shows_every_setting_with_its_default() {
    let example = fs::read_to_string(EXAMPLE).expect("the example file");
    let defaults = checked(&mut command(&[]));
    assert_eq!(checked(command(&[]).args(["--config", EXAMPLE])), defaults);

    let uncommented = File::new(&uncommented(&example));
    let shown = checked(command(&[]).args(["--config", uncommented.path()]));
    assert_eq!(shown.matches("[[listener]]").count(), 2, "{shown}");
    let mut defaults = values(&defaults);
    // Comments in the effective settings, as other sockets replace them.
    defaults.insert("tcp", "[\"127.0.0.1:9990\"]");
    defaults.insert("udp", "[\"127.0.0.1:8089\"]");
    let shown = values(&shown);
    for (setting, default) in defaults {
        assert_eq!(shown.get(setting), Some(&default), "{setting}");
    }

    let help = command(&[]).arg("--help").output().expect("it runs");
    let help = String::from_utf8(help.stdout).expect("text");
    let lines = help.lines().map(str::trim_start);
    let flags = lines.filter_map(|line| line.strip_prefix("--")?.split_whitespace().next());
    let settings =
        flags.filter(|flag| !["config", "check-config", "manual", "completions"].contains(flag));
    let settings: BTreeSet<_> = settings.collect();
    assert_eq!(shown.into_keys().collect::<BTreeSet<_>>(), settings);
}

/// Returns the example file with every commented setting in effect.
fn uncommented(example: &str) -> String {
    let (settings, tables) = example.split_once("# [[listener]]\n").expect("tables");
    let settings = settings.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if !setting.starts_with(' ') => setting,
        _ => line,
    });
    let tables = tables
        .lines()
        .map(|line| line.trim_start_matches(['#', ' ']));
    let lines: Vec<_> = settings.chain(["[[listener]]"]).chain(tables).collect();
    lines.join("\n")
}

/// Returns the settings before the tables.
fn values(settings: &str) -> BTreeMap<&str, &str> {
    let lines = settings.lines().take_while(|line| !line.starts_with('['));
    lines
        .filter_map(|line| line.split_once(" = "))
        .filter(|(name, _)| !name.starts_with('#'))
        .collect()
}

#[test]
fn listeners_of_a_file_can_run_different_services() {
    let file = File::new(
        "[[listener]]\ntransport = 'tcp'\naddress = '127.0.0.1:0'\nservice = 'digit-sum'
        [[listener]]\ntransport = 'tcp'\naddress = '127.0.0.1:0'\nservice = 'date-time'
        [[listener]]\ntransport = 'udp'\naddress = '127.0.0.1:0'",
    );
    // The default addresses are not served.
    let server = ServerProcess::spawn(command(&[]).args(["--config", file.path()]), 3);
    assert_eq!((server.tcp.len(), server.udp.len()), (2, 1));
    let reply_to_digits = |address: SocketAddr| {
        let mut stream = TcpStream::connect(address).expect("a connection");
        stream.set_read_timeout(Some(TIMEOUT)).expect("set");
        stream.write_all(b"12\n").expect("sent");
        stream.shutdown(Shutdown::Write).expect("half-closed");
        read_to_eof(stream)
    };
    assert!(reply_to_digits(server.tcp[0]).ends_with("\n3\n"));
    let reply = reply_to_digits(server.tcp[1]);
    assert!(
        reply.ends_with("\nYou entered an invalid command\n"),
        "{reply}"
    );
}

#[test]
fn a_listener_of_a_file_trusts_only_its_proxies() {
    let listener = "[[listener]]\ntransport = 'tcp'\naddress = '127.0.0.1:0'";
    let trusted = File::new(&format!("{listener}\nproxies = ['127.0.0.1']"));
    let server = ServerProcess::spawn(&mut command(&["--config", trusted.path()]), 1);
    let reply = server.replies_to("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n12\n");
    assert_eq!(reply, "Welcome to the server\n3\n");

    let untrusted = File::new(&format!("{listener}\nproxies = ['10.0.0.0/8']"));
    let server = ServerProcess::spawn(&mut command(&["--config", untrusted.path()]), 1);
    assert_eq!(read_to_eof(server.connect()), "");
}

#[test]
fn an_ipv4_network_can_be_written_as_ipv4_mapped_ipv6() {
    let refused = "";
    for (flags, reply) in [
        (["--deny", "::ffff:127.0.0.0/104"], refused),
        (["--deny", "::ffff:127.0.0.1"], refused),
        (["--deny", "::ffff:0:0/96"], refused),
        (["--deny", "::ffff:128.0.0.0/97"], "Welcome to the server\n"),
        (["--deny", "::/0"], "Welcome to the server\n"),
        (
            ["--allow", "::ffff:127.0.0.0/104"],
            "Welcome to the server\n",
        ),
        (["--allow", "::ffff:10.0.0.0/104"], refused),
    ] {
        let server = ServerProcess::start(&flags);
        assert_eq!(read_after_half_close(&server), reply, "{flags:?}");
    }
    let listener = "[[listener]]\ntransport = 'tcp'\naddress = '127.0.0.1:0'";
    let file = File::new(&format!("{listener}\nproxies = ['::ffff:127.0.0.0/104']"));
    let server = ServerProcess::spawn(&mut command(&["--config", file.path()]), 1);
    let reply = server.replies_to("PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n12\n");
    assert_eq!(reply, "Welcome to the server\n3\n");
    for flag in ["--deny", "--allow"] {
        let output = check(&mut command(&[flag, "::ffff:10.0.0.0/95"]));
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        let reason = "a network of IPv4-mapped addresses has a prefix of at least 96";
        assert!(error.contains(reason), "{error}");
    }
}

/// Returns everything received by a client that sends nothing. A server that refuses it may have closed it
/// before the half-close.
fn read_after_half_close(server: &ServerProcess) -> String {
    let stream = server.connect();
    let _ = stream.shutdown(Shutdown::Write);
    read_to_eof(stream)
}

#[test]
fn explicit_addresses_are_served_beside_listeners_of_a_file() {
    let file = File::new("[[listener]]\ntransport = 'tcp'\naddress = '127.0.0.3:0'");
    let server = ServerProcess::spawn(command(&[]).args(FLAGS).args(["--config", file.path()]), 3);
    let hosts: Vec<_> = server.tcp.iter().map(SocketAddr::ip).collect();
    assert_eq!(hosts, [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 3)]);
    assert_eq!(server.udp.len(), 1);
}
