//! The prompt at a terminal, typed at and read.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use chime_protocol::{Framing, Service};

use crate::stand_in::{Chime, answering, chime};
use crate::terminal::{
    CTRL_C, CTRL_D, ENTER, HOME, LEFT, RIGHT, TAB, Terminal, UP, client, new_state_folder,
};

const WELCOME: &str = "Welcome to the server";

/// A client of the server at its prompt, with what it remembers in a new folder of that name.
#[track_caller]
fn prompt(server: SocketAddr, folder: &str) -> Terminal {
    new_state_folder(folder);
    prompt_again(server, folder)
}

/// The same with a folder that may hold what an earlier one has remembered.
#[track_caller]
fn prompt_again(server: SocketAddr, folder: &str) -> Terminal {
    let mut terminal = Terminal::start(client(&format!("--server {server}"), folder));
    terminal.shows(&[WELCOME, "chime>"]);
    terminal
}

fn server() -> SocketAddr {
    chime(Service::Both, Framing::Line)
}

#[test]
fn requests_are_answered_until_quit() {
    let mut terminal = prompt(server(), "until_quit");
    terminal.press("day\r");
    terminal.shows(&[WELCOME, "chime> day", "Saturday", "chime>"]);
    terminal.press("\r12345\rquit\r");
    let (exit_code, screen) = terminal.end();
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
fn a_line_is_edited_before_it_is_asked() {
    let mut terminal = prompt(server(), "edited");
    terminal.press("xdy");
    terminal.shows(&[WELCOME, "chime> xdy"]);
    terminal.press(format!("{LEFT}a"));
    terminal.shows(&[WELCOME, "chime> xday"]);
    // Delete, after the cursor has gone to the begin of the line.
    terminal.press(format!("{HOME}\x1b[3~"));
    terminal.shows(&[WELCOME, "chime> day"]);
    terminal.press(ENTER);
    terminal.shows(&[WELCOME, "chime> day", "Saturday", "chime>"]);
}

#[test]
fn a_command_is_completed() {
    let mut terminal = prompt(server(), "completed");
    // The last letter tells it from a hint, which would go away.
    terminal.press(format!("sen{TAB}x"));
    terminal.shows(&[WELCOME, "chime> send timex"]);
    terminal.press(CTRL_C);
    terminal.shows_last(&["chime>"]);
    terminal.press(format!("da{TAB}{TAB}"));
    terminal.wait_for("the names that begin so", |lines| {
        lines
            .iter()
            .any(|line| line.split_whitespace().eq(["day", "date"]))
    });
}

#[test]
fn the_rest_of_a_command_is_shown_dimly_and_may_be_taken() {
    let mut terminal = prompt(server(), "hinted");
    terminal.press("qu");
    terminal.shows(&[WELCOME, "chime> quit"]);
    assert!(!terminal.cell("quit").dim());
    assert!(terminal.cell("it").dim());
    terminal.press(format!("{RIGHT}{ENTER}"));
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn no_color_is_respected() {
    new_state_folder("no_color");
    let client = client(&format!("--server {}", server()), "no_color").env("NO_COLOR", "1");
    let mut terminal = Terminal::start(client);
    terminal.shows(&[WELCOME, "chime>"]);
    terminal.press("qu");
    terminal.shows(&[WELCOME, "chime> quit"]);
    // It must not look typed.
    let hint = terminal.cell("it");
    assert!(hint.dim());
    assert_eq!(hint.fgcolor(), vt100::Color::Default);
    assert!(!terminal.cell("qu").dim());
}

#[test]
fn the_names_are_those_of_the_command_line() {
    let mut terminal = prompt(server(), "names");
    let now = "2026-11-21 06:32:06.123456";
    for line in ["now", " NOW", "Send Time"] {
        terminal.press(format!("{line}\r"));
        terminal.shows_last(&[&format!("chime> {line}"), now, "chime>"]);
    }
    terminal.press(format!("no{TAB}x"));
    terminal.shows_last(&["chime> nowx"]);
}

#[test]
fn bytes_that_are_not_utf_8_are_an_invalid_command() {
    let mut terminal = prompt(server(), "not_utf_8");
    let error = "You entered an invalid command";
    // Of what the line shows, the screen here leaves U+FFFD out.
    for (keys, line) in [
        (&b"da\xff\r"[..], "chime> da"),
        (b"\xff", "chime>"),
        // The first byte of a letter, and no more of it.
        (b"123\xe9\r", "chime> 123"),
        (b"qu\xc3\r", "chime> qu"),
    ] {
        terminal.press(keys);
        terminal.wait_for(line, |lines| {
            let is_answered = lines.windows(2).any(|shown| *shown == [line, error]);
            is_answered && lines.last().is_some_and(|shown| shown == "chime>")
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
fn ctrl_d_ends_it_on_an_empty_line_only() {
    let mut terminal = prompt(server(), "ctrl_d");
    terminal.press(format!("day{CTRL_D}"));
    terminal.shows(&[WELCOME, "chime> day"]);
    terminal.press(ENTER);
    terminal.shows(&[WELCOME, "chime> day", "Saturday", "chime>"]);
    terminal.press(CTRL_D);
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn lines_are_remembered_from_one_run_to_the_next() {
    let server = server();
    let folder = new_state_folder("remembered");
    let mut first = prompt_again(server, "remembered");
    first.press("12345\rday\r");
    first.shows_last(&["chime> day", "Saturday", "chime>"]);
    first.press(format!("{UP}{UP}"));
    first.shows_last(&["chime> 12345"]);
    // However it ends, even like this.
    drop(first);

    let mut second = prompt_again(server, "remembered");
    second.press(format!("{UP}{UP}"));
    second.shows(&[WELCOME, "chime> 12345"]);
    second.press(ENTER);
    second.shows(&[WELCOME, "chime> 12345", "15", "chime>"]);

    let file = fs::metadata(folder.join("chime").join("history")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
}

#[test]
fn an_output_that_is_no_terminal_gets_answers_and_no_prompt() {
    let folder = new_state_folder("no_terminal");
    fs::create_dir_all(&folder).unwrap();
    let output = folder.join("output");
    let client = client(&format!("--server {}", server()), "no_terminal");
    let client = client.stdout(fs::File::create(&output).unwrap());
    let mut terminal = Terminal::start(client);
    terminal.press(format!("day{ENTER}12345{ENTER}{CTRL_D}"));
    assert_eq!(terminal.end().0, Some(0));
    assert_eq!(fs::read_to_string(output).unwrap(), "Saturday\n15\n");
}

#[test]
fn a_prompt_that_cannot_remember_is_a_prompt() {
    let folder = new_state_folder("cannot_remember");
    fs::write(&folder, "not a folder").unwrap();
    let mut terminal = prompt_again(server(), "cannot_remember");
    terminal.press("day\r");
    terminal.shows(&[WELCOME, "chime> day", "Saturday", "chime>"]);
    fs::remove_file(folder).unwrap();
}

#[test]
fn a_word_that_is_no_command_is_followed_by_advice() {
    let mut terminal = prompt(server(), "advice");
    let error = "You entered an invalid command";
    let meant = "chime-client: did you mean 'time'?";
    terminal.press("tiem\r");
    terminal.shows(&[WELCOME, "chime> tiem", error, meant, "chime>"]);
}

#[test]
fn what_is_pasted_is_asked_line_by_line() {
    let mut terminal = prompt(server(), "pasted");
    terminal.press("\x1b[200~day\n12345\x1b[201~");
    terminal.wait_for("the pasted lines", |lines| {
        lines.last().is_some_and(|line| line.contains("12345"))
    });
    terminal.press(ENTER);
    terminal.shows_last(&["Saturday", "15", "chime>"]);
}

#[test]
fn a_server_that_has_restarted_is_connected_to_again() {
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

    // A restart between two requests.
    chime.stop();
    let chime = Chime::start_at(address);
    terminal.press("12345\r");
    terminal.shows_last(&["chime> 12345", lost, again, "15", "chime>"]);

    // To quit, no server is needed.
    chime.stop();
    terminal.press("time\r");
    terminal.shows_last(&["chime> time", lost, refused, "chime>"]);
    terminal.press("quit\r");
    assert_eq!(terminal.end().0, Some(0));
}

#[test]
fn t19_what_a_hostile_server_sends_does_not_reach_the_terminal() {
    let server = answering(b"\x1b[31mSaturday\x07\x1b[2J\n");
    let mut terminal = prompt(server, "hostile");
    terminal.press("day\r");
    terminal.wait_for("the error", |lines| {
        lines.concat().contains(r"'\x1b[31mSaturday\x07\x1b[2J'") && lines[0] == WELCOME
    });
}
