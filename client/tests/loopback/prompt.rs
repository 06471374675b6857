//! The prompt at a terminal.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use chime_protocol::{Framing, Service};

use crate::servers::{Chime, chime, chime_udp, replying};
use crate::terminal::{
    CTRL_C, CTRL_D, ENTER, HOME, LEFT, RIGHT, TAB, Terminal, UP, client, new_state_directory,
};

const WELCOME: &str = "Welcome to the server";

/// Starts a client at its prompt, with a new state directory.
#[track_caller]
fn prompt(server: SocketAddr, directory: &str) -> Terminal {
    new_state_directory(directory);
    prompt_again(server, directory)
}

/// Starts a client at its prompt, with a state directory that may hold the history of an earlier client.
#[track_caller]
fn prompt_again(server: SocketAddr, directory: &str) -> Terminal {
    let mut terminal = Terminal::start(client(&format!("--server {server}"), directory));
    terminal.shows(&[WELCOME, "chime>"]);
    terminal
}

fn server() -> SocketAddr {
    chime(Service::Both, Framing::Line)
}

#[test]
fn requests_get_replies_until_quit() {
    let mut terminal = prompt(server(), "until_quit");
    terminal.press("day\r");
    terminal.shows(&[WELCOME, "chime> day", "Saturday", "chime>"]);
    terminal.press("\r12345\rquit\r");
    let (exit_code, screen) = terminal.wait();
    let farewell = "Thank You .. See You soon !!";
    let lines = [
        WELCOME,
        "chime> day",
        "Saturday",
        "chime>",
        "chime> 12345",
        "15",
        "chime> quit",
        farewell,
    ];
    assert_eq!((exit_code, screen), (Some(0), lines.join("\n")));
}

#[test]
fn a_line_can_be_edited_before_it_is_sent() {
    let mut terminal = prompt(server(), "edited");
    terminal.press("xdy");
    terminal.shows(&[WELCOME, "chime> xdy"]);
    terminal.press(format!("{LEFT}a"));
    terminal.shows(&[WELCOME, "chime> xday"]);
    // Home, then Delete.
    terminal.press(format!("{HOME}\x1b[3~"));
    terminal.shows(&[WELCOME, "chime> day"]);
    terminal.press(ENTER);
    terminal.shows(&[WELCOME, "chime> day", "Saturday", "chime>"]);
}

#[test]
fn a_command_is_completed() {
    let mut terminal = prompt(server(), "completed");
    // The last letter shows that this is not a hint, which would disappear.
    terminal.press(format!("sen{TAB}x"));
    terminal.shows(&[WELCOME, "chime> send timex"]);
    terminal.press(CTRL_C);
    terminal.shows_last(&["chime>"]);
    terminal.press(format!("da{TAB}{TAB}"));
    terminal.wait_for("the matching names", |lines| {
        lines
            .iter()
            .any(|line| line.split_whitespace().eq(["day", "date"]))
    });
}

#[test]
fn a_hint_is_dim_and_can_be_accepted() {
    let mut terminal = prompt(server(), "hinted");
    terminal.press("qu");
    terminal.shows(&[WELCOME, "chime> quit"]);
    assert!(!terminal.cell("quit").dim());
    assert!(terminal.cell("it").dim());
    terminal.press(format!("{RIGHT}{ENTER}"));
    assert_eq!(terminal.wait().0, Some(0));
}

#[test]
fn no_color_is_respected() {
    new_state_directory("no_color");
    let client = client(&format!("--server {}", server()), "no_color").env("NO_COLOR", "1");
    let mut terminal = Terminal::start(client);
    terminal.shows(&[WELCOME, "chime>"]);
    terminal.press("qu");
    terminal.shows(&[WELCOME, "chime> quit"]);
    // The hint must differ from typed text.
    let hint = terminal.cell("it");
    assert!(hint.dim());
    assert_eq!(hint.fgcolor(), vt100::Color::Default);
    assert!(!terminal.cell("qu").dim());
}

#[test]
fn command_names_are_those_of_the_command_line() {
    let mut terminal = prompt(server(), "names");
    let now = "2026-11-21 06:32:06.123456";
    for line in ["now", " NOW", "Send Time"] {
        terminal.press(format!("{line}\r"));
        terminal.shows_last(&[&format!("chime> {line}"), now, "chime>"]);
    }
    for (line, reply) in [("sum 12345", "15"), ("send day", "Saturday")] {
        terminal.press(format!("{line}\r"));
        terminal.shows_last(&[&format!("chime> {line}"), reply, "chime>"]);
    }
    terminal.press(format!("no{TAB}x"));
    terminal.shows_last(&["chime> nowx"]);
}

#[test]
fn the_time_commands_work_over_udp() {
    let directory = "over_udp";
    new_state_directory(directory);
    let server = format!("--server udp://{}", chime_udp());
    let mut terminal = Terminal::start(client(&server, directory));
    terminal.shows(&["chime>"]);
    terminal.press("day\rnow\r");
    let now = "2026-11-21 06:32:06.123456";
    terminal.shows(&["chime> day", "Saturday", "chime> now", now, "chime>"]);
    let refused = "chime-client: UDP has only day, date, time and now; the others need TCP";
    for line in ["help", "12345", "what?"] {
        terminal.press(format!("{line}\r"));
        terminal.shows_last(&[&format!("chime> {line}"), refused, "chime>"]);
    }
    terminal.press("quit\r");
    assert_eq!(terminal.wait().0, Some(0));
}

#[test]
fn bytes_that_are_not_utf_8_are_an_invalid_command() {
    let mut terminal = prompt(server(), "not_utf_8");
    let error = "You entered an invalid command";
    // The emulated screen omits U+FFFD.
    for (keys, line) in [
        (&b"da\xff\r"[..], "chime> da"),
        (b"\xff", "chime>"),
        // The first byte of a letter alone.
        (b"123\xe9\r", "chime> 123"),
        (b"qu\xc3\r", "chime> qu"),
    ] {
        terminal.press(keys);
        terminal.wait_for(line, |lines| {
            let has_error = lines.windows(2).any(|shown| *shown == [line, error]);
            has_error && lines.last().is_some_and(|shown| shown == "chime>")
        });
    }
    terminal.press("day\r");
    terminal.shows_last(&["chime> day", "Saturday", "chime>"]);
}

#[test]
fn ctrl_c_clears_the_line() {
    let mut terminal = prompt(server(), "ctrl_c");
    terminal.press("dayxx");
    terminal.shows(&[WELCOME, "chime> dayxx"]);
    terminal.press(CTRL_C);
    terminal.shows(&[WELCOME, "chime> dayxx", "chime>"]);
    terminal.press("day\r");
    terminal.shows_last(&["chime> dayxx", "chime> day", "Saturday", "chime>"]);
}

#[test]
fn ctrl_c_erases_the_hint() {
    let mut terminal = prompt(server(), "ctrl_c_hint");
    terminal.press("ti");
    terminal.shows(&[WELCOME, "chime> time"]);
    terminal.press(CTRL_C);
    terminal.shows(&[WELCOME, "chime> ti", "chime>"]);
}

#[test]
fn ctrl_d_exits_on_an_empty_line_only() {
    let mut terminal = prompt(server(), "ctrl_d");
    terminal.press(format!("day{CTRL_D}"));
    terminal.shows(&[WELCOME, "chime> day"]);
    terminal.press(ENTER);
    terminal.shows(&[WELCOME, "chime> day", "Saturday", "chime>"]);
    terminal.press(CTRL_D);
    assert_eq!(terminal.wait().0, Some(0));
}

#[test]
fn the_history_persists_across_runs() {
    let server = server();
    let directory = new_state_directory("remembered");
    let mut first = prompt_again(server, "remembered");
    first.press("12345\rday\r");
    first.shows_last(&["chime> day", "Saturday", "chime>"]);
    first.press(format!("{UP}{UP}"));
    first.shows_last(&["chime> 12345"]);
    // The history survives even SIGKILL.
    drop(first);

    let mut second = prompt_again(server, "remembered");
    second.press(format!("{UP}{UP}"));
    second.shows(&[WELCOME, "chime> 12345"]);
    second.press(ENTER);
    second.shows(&[WELCOME, "chime> 12345", "15", "chime>"]);

    let file = fs::metadata(directory.join("chime").join("history")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[test]
fn an_output_that_is_not_a_terminal_gets_replies_and_no_prompt() {
    let directory = new_state_directory("no_terminal");
    fs::create_dir_all(&directory).unwrap();
    let output = directory.join("output");
    let client = client(&format!("--server {}", server()), "no_terminal");
    let client = client.stdout(fs::File::create(&output).unwrap());
    let mut terminal = Terminal::start(client);
    terminal.press(format!("day{ENTER}12345{ENTER}{CTRL_D}"));
    assert_eq!(terminal.wait().0, Some(0));
    assert_eq!(fs::read_to_string(output).unwrap(), "Saturday\n15\n");
}

#[test]
fn the_prompt_works_without_a_history_file() {
    let directory = new_state_directory("cannot_remember");
    fs::write(&directory, "not a directory").unwrap();
    let mut terminal = prompt_again(server(), "cannot_remember");
    terminal.press("day\r");
    terminal.shows(&[WELCOME, "chime> day", "Saturday", "chime>"]);
    fs::remove_file(directory).unwrap();
}

#[test]
fn a_history_with_an_invalid_byte_keeps_its_other_lines() {
    let server = server();
    let directory = new_state_directory("damaged");
    drop({
        let mut first = prompt_again(server, "damaged");
        first.press("12345\rday\r");
        first.shows_last(&["chime> day", "Saturday", "chime>"]);
        first
    });
    let file = directory.join("chime").join("history");
    let mut history = fs::read(&file).unwrap();
    history.extend(b"d\xffte\ntime\n");
    fs::write(&file, history).unwrap();
    let mut second = prompt_again(server, "damaged");
    second.press(UP);
    second.shows(&[WELCOME, "chime> time"]);
    second.press(UP);
    second.shows(&[WELCOME, "chime> day"]);
    second.press(UP);
    second.shows(&[WELCOME, "chime> 12345"]);
}

#[test]
fn a_history_that_is_no_regular_file_is_not_used() {
    let directory = new_state_directory("no_file").join("chime");
    fs::create_dir_all(&directory).unwrap();
    let file = directory.join("history");
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let mut terminal = prompt_again(server(), "no_file");
    terminal.press("day\r");
    terminal.shows(&[WELCOME, "chime> day", "Saturday", "chime>"]);
}

#[test]
fn a_mistyped_command_gets_a_suggestion() {
    let mut terminal = prompt(server(), "advice");
    let error = "You entered an invalid command";
    let meant = "chime-client: did you mean 'time'?";
    terminal.press("tiem\r");
    terminal.shows(&[WELCOME, "chime> tiem", error, meant, "chime>"]);
}

#[test]
fn pasted_lines_are_sent_one_by_one() {
    let mut terminal = prompt(server(), "pasted");
    terminal.press("\x1b[200~day\n12345\x1b[201~");
    terminal.wait_for("the pasted lines", |lines| {
        lines.last().is_some_and(|line| line.contains("12345"))
    });
    terminal.press(ENTER);
    terminal.shows_last(&["Saturday", "15", "chime>"]);
}

#[test]
fn the_prompt_reconnects_after_a_restart() {
    let chime = Chime::start();
    let address = chime.address;
    let lost = &*format!("chime-client: the connection to {address} was lost");
    let refused = &*format!(
        "chime-client: cannot connect to {address}: connection refused; \
         is chime-server running there?"
    );
    let again = &*format!("chime-client: reconnected to {address}");
    let mut terminal = prompt(address, "restarted");

    chime.stop();
    terminal.press("day\r");
    terminal.shows(&[WELCOME, "chime> day", lost, refused, "chime>"]);
    let chime = Chime::start_at(address);
    terminal.press("date\r");
    terminal.shows_last(&["chime> date", again, "26-11-21", "chime>"]);

    // The server restarts between two requests.
    chime.stop();
    let chime = Chime::start_at(address);
    terminal.press("12345\r");
    terminal.shows_last(&["chime> 12345", lost, again, "15", "chime>"]);

    // quit needs no server.
    chime.stop();
    terminal.press("time\r");
    terminal.shows_last(&["chime> time", lost, refused, "chime>"]);
    terminal.press("quit\r");
    assert_eq!(terminal.wait().0, Some(0));
}

#[test]
fn t19_control_bytes_of_a_server_do_not_reach_the_terminal() {
    let server = replying(b"\x1b[31mSaturday\x07\x1b[2J\n");
    let mut terminal = prompt(server, "hostile");
    terminal.press("day\r");
    terminal.wait_for("the error", |lines| {
        lines.concat().contains(r"'\x1b[31mSaturday\x07\x1b[2J'") && lines[0] == WELCOME
    });
}
