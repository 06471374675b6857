//! The chime protocol: its specification, and a pure state machine that speaks it.
//!
//! A client connects, is welcomed, and asks for the day, the date, the time, or the sum of a string of
//! digits; the server answers each request with one line of text. A simpler form over datagrams only
//! tells the time. This page is the specification. The types below are all that it takes to implement
//! it: [`Session`] is the server's side of a conversation, [`answer_datagram`] the whole service over datagrams,
//! [`ReplyDecoder`] and [`RequestDecoder`] the client's side.
//!
//! What this crate does **not** do: it opens no sockets, reads no clock, allocates nothing, and starts
//! nothing. Bytes and the time come in as arguments, bytes go out. So all of it can be tested exactly,
//! and any runtime, or a simulation of one, can drive it.
//!
//! # How to read on
//!
//! - this page: [a conversation](#a-conversation), [the rules](#rules), [a run loop](#running-a-session), and
//!   [how to add a command](#adding-a-command)
//! - the crate [`chime_server`](../chime_server/index.html#the-shape): the shape of the server
//! - the crate [`chime_client`](../chime_client/index.html): the client for programs
//! - the crate [`chime_sim_tests`](../chime_sim_tests/index.html): the simulations, and
//!   [how all tests fit together](../chime_sim_tests/index.html#how-the-tests-fit-together)
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
//! last    = 1*OCTET                 ; without LF; then the client stops sending
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
//! The server's side, with a reply in hand written before anything more is read:
//!
//! ```text
//!            ┌───────────────── reply written ─────────────────┐
//!            ▼                                                 │
//! Welcome ─► Reading ── a request is complete ─► Replying ─────┘
//! Full ──┐     │                                   │
//!        │     │ the client stops sending          │ it was quit, exit, or the last line
//!        ▼     ▼                                   ▼
//!        └─► Closed ◄──────────────────────── reply written
//! ```
//!
//! # Rules
//!
//! Each rule has a name, by which the tests refer to it.
//!
//! ## The conversation
//!
//! - **G1** The server speaks first: it sends the welcome as soon as the client is connected. A person
//!   sees that someone is there, and a load balancer has its health check.
//! - **G2** A server with no room for the client sends the full notice in place of the welcome, and
//!   closes. Silence would look like a network at fault.
//! - **G3** Every byte string is a legal conversation. Bytes that are not ASCII are bytes of an invalid
//!   command, not an error of the connection.
//!
//! ## Framing `line`
//!
//! - **L1** A command ends at LF. Every line gets exactly one reply line, in order, ended by LF; an
//!   empty line too, which is an invalid command. So a client can count.
//! - **L2** One CR before the LF does not count, for the sake of telnet.
//! - **L3** Spaces and tabs around the command do not count.
//! - **L4** Replies do not depend on how the network cut or joined the bytes.
//! - **L5** When the client stops sending, a last line of at least one byte without LF is answered
//!   like any other (a CR at its end does not count); then the server closes.
//! - **L6** A line may be of any length. Digits are summed as they arrive, and an invalid line costs
//!   one reply, so the state of a conversation is of fixed size, whatever is sent.
//!
//! ## Framing `read`
//!
//! For old clients that write a command without a line end and read once.
//!
//! - **R1** What one read returns is one command, whole: nothing is trimmed, so a line end makes it
//!   invalid.
//! - **R2** The welcome and the replies have no line end. Each is one write.
//! - **R3** An empty read is the end of the conversation, never a command.
//!
//! ## Commands
//!
//! - **C1** Letter case does not count.
//! - **C2** `day` is answered with the weekday in English, `date` with year, month and day of two
//!   digits each, `time` with hour, minute and second.
//! - **C3** `send time` is answered with date and time and always six digits of a second. There is one
//!   space in it.
//! - **C4** One or more ASCII digits are answered with their decimal sum. It is a `u64`, which more
//!   than 2·10¹⁸ nines would overflow.
//! - **C5** `help` is answered with one line that names the commands.
//! - **C6** `quit` and `exit` are answered with the farewell; then the server closes. Nothing after them
//!   is read or answered.
//! - **C7** Anything else is answered with an error.
//!
//! ## Services
//!
//! A server offers one of three services.
//!
//! | command | **S1** `both` | **S2** `date-time` | **S3** `digit-sum` |
//! | --- | --- | --- | --- |
//! | `day` `date` `time` | answered | answered | digit error |
//! | `send time` `help` | answered | command error | digit error |
//! | digits | the sum | command error | the sum |
//! | `quit` `exit` | farewell, then close | close, nothing sent | farewell, then close |
//! | anything else | command error | command error | digit error |
//!
//! ## Datagrams
//!
//! One datagram is one request, and at most one datagram answers it.
//!
//! - **D1** A request is `send time`, `day`, `date` or `time`, in any letter case, with at most one LF or
//!   CRLF after it and nothing else.
//! - **D2** The reply is the text of the rules above; it ends with LF if the request had a line end, and
//!   has none otherwise.
//! - **D3** Anything else gets silence. So no reply is ever a request, and two servers that are tricked
//!   into talking to each other stop after one datagram ([CA-1996-01]). A digit sum is not offered: its
//!   reply would be a request.
//! - **D4** A reply is at most [`DATAGRAM_MAX`] bytes and at most three times its request: the service
//!   is of no use to those who want traffic amplified.
//! - **D5** There is no state between datagrams: any replica can answer any of them.
//!
//! The server sees to it that a reply leaves from the address that was asked.
//!
//! ## Time
//!
//! - **T1** The time is an argument. All commands that one call completes are answered with the time
//!   passed to that call.
//! - **T2** Only the time commands depend on it.
//!
//! Years are written with four digits; of a year outside 0 to 9999 these are the last four.
//!
//! # Running a session
//!
//! One call takes input, output and time, and says how far it got. This loop is complete; a server
//! differs from it in where the bytes come from and go to.
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
//! let mut output = [0; 16]; // any size will do, but zero
//! loop {
//!     // 1. Let the session read and write.
//!     let progress = match end_of_input {
//!         false => session.advance(input, &mut output, now),
//!         true => session.finish(&mut output, now),
//!     };
//!     // 2. Keep what it did not read, send what it wrote.
//!     input = &input[progress.read..];
//!     sent.push_str(str::from_utf8(&output[..progress.written]).unwrap());
//!     // 3. Do what it asks for.
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
//! # Adding a command
//!
//! The compiler and the tests ask for most of this, if not always in this order; what nothing asks for is
//! marked ∅. Tests that list commands or count the bytes of `help` fail on the way: bring them up to date.
//!
//! 1. **Specify it**, on this page: the grammar of the command and of its reply, a rule with a new name, ∅ the
//!    table of services, and ∅ D1 if it may be asked by datagram. `tests/specification.rs` fails until the
//!    documentation of a test names the rule: a transcript, which passes after step 3.
//! 2. **Name it**: a variant of [`Command`], its place in [`Command::ALL`] and its [`Command::name`], of at most
//!    12 letters and spaces. The compiler now asks for parts of steps 3 and 6.
//! 3. **Answer it**: a variant of [`Reply`] and its text, then `Command::time_reply` if it tells the time, which
//!    offers it over datagrams too (D4 limits the reply), and `Session::answer`, which knows the services.
//! 4. **Read the reply back**: `Reply::parse_value`. Whatever a server writes at any instant can be read, in
//!    years that are cut to four digits too.
//! 5. **Offer it in `help`**: the line stands in `reply.rs`, in the model, in the grammar, in tests of the
//!    protocol and of the client, and ∅ in seeds in `fuzz/corpus/replies`.
//! 6. **Tell the model**, without a look at the machine: `naive::answer`, `naive::datagram`, `naive::reply`, and
//!    `fits` in `model/clients.rs`. Tests fail until both agree on every command. ∅ `reply` and `server_bytes`
//!    in `model/strategies.rs`: without them nothing tries step 4 at unusual instants.
//! 7. **Client**: `answers_command` in `fit.rs`, then `Action` in `options.rs` and its arm in `Options::task`, ∅
//!    above those for TCP alone if it may be asked by datagram, and ∅ the texts there that list commands. What is
//!    generated is written anew by the commands at the top of `generated.rs` and `tests/loopback/help.rs`.
//! 8. ∅ **What else lists commands**: `git grep 'send time'` and `git grep 'day, date'` find it in texts, tests,
//!    simulations, benchmarks and the fuzzers' dictionary. Add a seed to `fuzz/corpus`.
//!
//! At last, `.ci/run`.
//!
//! [RFC 5234]: https://www.rfc-editor.org/rfc/rfc5234
//! [CA-1996-01]: https://insights.sei.cmu.edu/library/udp-port-denial-of-service-attack/
#![no_std]

#[cfg(feature = "model")]
extern crate std;

mod datagram;
mod digits;
#[cfg(feature = "model")]
pub mod model;
mod reply;
mod reply_decoder;
mod request;
mod session;

pub use datagram::{DATAGRAM_MAX, answer_datagram};
pub use reply::Reply;
pub use reply_decoder::{ReplyDecoder, UnknownReply};
pub use request::{Command, Request, RequestDecoder};
pub use session::{Framing, Progress, RequestCounts, Service, Session, Status, UnknownName};
