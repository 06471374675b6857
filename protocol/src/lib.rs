//! The chime protocol: its specification, and a sans-I/O state machine that implements it.
//!
//! chime is a small request/reply protocol. Over TCP, a client requests the day, the date, the time or the
//! sum of a string of digits, and the server sends one line of text per request. Over UDP, a client requests
//! the day, the date or the time.
//!
//! This crate is **not** a server or a client: it opens no sockets, reads no clock, allocates nothing and
//! spawns nothing. Bytes and the time come in as arguments, and bytes go out. So every behaviour can be tested
//! exactly, and any runtime or simulator can drive it.
//!
//! | side | TCP | UDP |
//! | --- | --- | --- |
//! | server | [`Session`]: the bytes of a client and the time in, replies out | [`answer_datagram`] |
//! | client | [`ReplyDecoder`] for the bytes received, [`RequestDecoder`] for the bytes sent | [`Reply::parse`] |
//!
//! The crates `chime-server` and `chime-client` add the sockets and the clock. `chime-sim-tests` runs both in a
//! deterministic simulation. `chime-model` is the test oracle: a naive model of the protocol, and differential
//! checks against it.
//!
//! This page has [an example and the grammar](#a-conversation), [the rules](#rules), and
//! [a run loop](#running-a-session).
//!
//! # A conversation
//!
//! ```text
//! S: Welcome to the server
//! C: day
//! S: Saturday
//! C: 12345
//! S: 15
//! C: what?
//! S: You entered an invalid command
//! C: quit
//! S: Thank You .. See You soon !!
//! ```
//!
//! In ABNF ([RFC 5234], whose strings ignore letter case), with the framing `line`:
//!
//! ```abnf
//! client  = *line [last]
//! line    = *BLANK [command] *BLANK [CR] LF
//! last    = 1*OCTET                 ; without LF, ended by EOF
//! command = "day" / "date" / "time" / "send time" / 1*DIGIT / "help" / "quit" / "exit"
//!         / *OCTET                  ; anything else, without LF
//! BLANK   = SP / HTAB
//!
//! server  = (welcome *reply / full) ; then the server closes
//! welcome = "Welcome to the server" LF
//! full    = "The server is full, please try again later" LF
//! reply   = (weekday / date / time / date-time / sum / help / farewell / error) LF
//! weekday = "Monday" / "Tuesday" / "Wednesday" / "Thursday" / "Friday" / "Saturday" / "Sunday"
//! date    = 2DIGIT "-" 2DIGIT "-" 2DIGIT                     ; year, month, day
//! time    = 2DIGIT ":" 2DIGIT ":" 2DIGIT                     ; hour, minute, second
//! date-time = 4DIGIT "-" 2DIGIT "-" 2DIGIT " " time "." 6DIGIT
//! sum     = 1*20DIGIT
//! help    = "Commands: day, date, time, send time, a string of digits, help, quit, exit"
//! farewell = "Thank You .. See You soon !! "                 ; the last byte is a space
//! error   = "You entered an invalid command"
//!         / "Please enter a valid String of Digits or type 'quit' to exit."
//! ```
//!
//! The states of the server. It writes a pending reply before it reads more:
//!
//! ```text
//!            ┌───────────────── reply written ─────────────────┐
//!            ▼                                                 │
//! Welcome ─► Reading ── a request is complete ─► Replying ─────┘
//! Full ──┐     │                                   │
//!        │     │ EOF                               │ it was quit, exit, or the last line
//!        ▼     ▼                                   ▼
//!        └─► Closed ◄──────────────────────── reply written
//! ```
//!
//! The states of a line, in the smallest automaton that decodes it. A test computes them from the decoder, and draws
//! them. `cargo test -p chime-protocol --lib --test proof` proves that a session sends what the naive model sends, for
//! input of any length, however it is split.
//!
#![doc = include_str!("automaton.svg")]
//!
//! # Rules
//!
//! Each rule has a name, which the tests refer to.
//!
//! ## The conversation
//!
//! - **G1** The server speaks first: it sends the welcome as soon as the client is connected. A person
//!   sees that the server is up, and a load balancer has its health check.
//! - **G2** A server at its connection limit sends the full notice in place of the welcome, and closes.
//!   Silence would look like a network fault.
//! - **G3** Every byte string is a legal conversation. Bytes that are not ASCII are bytes of an invalid
//!   command, not an error of the connection.
//!
//! ## Framing `line`
//!
//! - **L1** A command ends at LF. Every line gets exactly one reply line, in order, ended by LF. An
//!   empty line is an invalid command. So a client can match replies to requests by counting.
//! - **L2** One CR before the LF is ignored, for telnet.
//! - **L3** Spaces and tabs around the command are ignored.
//! - **L4** Replies do not depend on how the network splits or joins the bytes.
//! - **L5** At EOF (the client half-closes), a last line of at least one byte without LF gets a reply like
//!   any other line (a CR at its end is ignored). Then the server closes.
//! - **L6** A line can have any length. Digits are summed as they arrive, and an invalid line gets one
//!   reply, so the state of a conversation has a fixed size.
//!
//! ## Framing `read`
//!
//! For legacy clients that send a command without a newline and read once.
//!
//! - **R1** The bytes of one read are one whole command: nothing is trimmed, so a line end makes it
//!   invalid.
//! - **R2** The welcome and the replies have no line end. Each is one write.
//! - **R3** An empty read is EOF, never a command.
//!
//! ## Commands
//!
//! - **C1** Letter case is ignored.
//! - **C2** The reply to `day` is the weekday in English. The reply to `date` is year, month and day, of
//!   two digits each. The reply to `time` is hour, minute and second.
//! - **C3** The reply to `send time` is date and time, always with six digits of a second. The command
//!   has exactly one space.
//! - **C4** The reply to one or more ASCII digits is their decimal sum. It is a `u64`, which takes more
//!   than 2·10¹⁸ nines to overflow.
//! - **C5** The reply to `help` is one line that names the commands.
//! - **C6** The reply to `quit` and `exit` is the farewell. Then the server closes. It reads and replies
//!   to nothing after them.
//! - **C7** The reply to anything else is an error.
//!
//! ## Services
//!
//! A server offers one of three services.
//!
//! | command | **S1** `both` | **S2** `date-time` | **S3** `digit-sum` |
//! | --- | --- | --- | --- |
//! | `day` `date` `time` | reply | reply | digit error |
//! | `send time` `help` | reply | command error | digit error |
//! | digits | the sum | command error | the sum |
//! | `quit` `exit` | farewell, then close | close, nothing sent | farewell, then close |
//! | anything else | command error | command error | digit error |
//!
//! ## Datagrams
//!
//! One datagram is one request, and gets at most one datagram in reply.
//!
//! - **D1** A request is `send time`, `day`, `date` or `time`, in any letter case, with at most one LF or
//!   CRLF after it and nothing else.
//! - **D2** The reply is the text of the rules above. It ends with LF if the request has a line end, and
//!   has no line end otherwise.
//! - **D3** Anything else gets no reply. So no reply is itself a request, and two servers that are
//!   tricked into talking to each other stop after one datagram ([CA-1996-01]). UDP has no digit sum: its
//!   reply would be a request.
//! - **D4** A reply is at most [`DATAGRAM_MAX`] bytes and at most three times its request. This limits
//!   amplification.
//! - **D5** There is no state between datagrams: any replica can reply to any of them.
//!
//! The server sends a reply from the address to which the request was sent.
//!
//! ## Time
//!
//! - **T1** The time is an argument. All commands that one call completes get the time passed to that
//!   call.
//! - **T2** Only the replies to the time commands depend on it.
//!
//! A year is written as its last four digits, or as its last two in a `date`.
//!
//! # Running a session
//!
//! One call takes input, output and time, and returns how many bytes it read and wrote. This loop is
//! complete. A server differs only in the source and the destination of the bytes.
//!
//! ```
//! use chime_protocol::{Framing, Service, Session, Status};
//!
//! let now = chrono::NaiveDate::from_ymd_opt(2026, 11, 21).unwrap().and_hms_opt(6, 32, 6).unwrap();
//! let mut reads = ["da", "y\n123", "45\nquit\nday\n"].into_iter();
//! let mut sent = String::new();
//!
//! let mut session = Session::new(Service::Both, Framing::Line);
//! let mut input: &[u8] = b"";
//! let mut end_of_input = false;
//! let mut output = [0; 16]; // any size but zero
//! loop {
//!     // 1. Let the session read and write.
//!     let progress = match end_of_input {
//!         false => session.advance(input, &mut output, now),
//!         true => session.finish(&mut output, now),
//!     };
//!     // 2. Keep what it did not read, send what it wrote.
//!     input = &input[progress.read..];
//!     sent.push_str(str::from_utf8(&output[..progress.written]).unwrap());
//!     // 3. Act on the status.
//!     match progress.status {
//!         Status::OutputFull => continue,
//!         Status::Closed => break,
//!         Status::NeedInput => match reads.next() {
//!             Some(bytes) => input = bytes.as_bytes(),
//!             None => end_of_input = true,
//!         },
//!     }
//! }
//! assert_eq!(sent, "Welcome to the server\nSaturday\n15\nThank You .. See You soon !! \n");
//! ```
//!
//! [RFC 5234]: https://www.rfc-editor.org/rfc/rfc5234
//! [CA-1996-01]: https://insights.sei.cmu.edu/library/udp-port-denial-of-service-attack/
#![no_std]

#[cfg(test)]
extern crate std;

mod datagram;
mod digits;
mod reply;
mod reply_decoder;
mod request;
mod session;

pub use datagram::{DATAGRAM_MAX, answer_datagram};
pub use reply::Reply;
pub use reply_decoder::{ReplyDecoder, UnknownReply};
pub use request::{Command, Request, RequestCounts, RequestDecoder, RequestKind};
pub use session::{Framing, Progress, Service, Session, Status, UnknownName};
