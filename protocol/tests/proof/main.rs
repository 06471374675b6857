//! The proof that the protocol does what its naive model does, for input of **any** length, however it is cut.
//!
//! `cargo test -p chime-protocol --lib --test proof` runs it in less than ten seconds. A test with examples shows that
//! some inputs work. This proof shows that there is no input left: it tries every case that the code can tell apart.
//! It has ten lemmas (steps). Each is a module with one or a few tests, whose documentation says what is *enumerated*
//! (the test tries every case) and what is *argued* (a sentence that you check by reading a few lines of code).
//!
//! # The idea
//!
//! [`RequestDecoder`] reads one byte at a time and remembers little: which command's name the line may still
//! become, whether blanks follow, and a sum. Leave the sum aside, and the values that a decoder can have are
//! few: 126. We call them its *states*. `PartialEq` says whether two are the same.
//!
//! A decoder has no memory beside its state. So what it does with the next byte depends on the state alone.
//! That makes "any length" finite: start with a new decoder, try all 256 bytes and the end of the input, and
//! note which states they lead to. Do the same from those states, until no new state appears. Then each byte
//! of each input, however long, is one of the steps that we tried.
//!
//! The naive model has no such states, it keeps the whole line. So we group lines into *classes*: two lines are
//! in one class if no continuation makes the model treat them differently. The lemma [`control`] walks through
//! all *pairs* of a state and a class, and compares decoder and model at each step. (Textbooks call these classes
//! Myhill-Nerode classes, and the pairs a product automaton.)
//!
//! The test [`drawing`] merges the states that no input tells apart. What is left are 43 states, as many as the model
//! has classes. It draws them for the crate documentation.
//!
//! # The lemmas
//!
//! 1. [`words`]: the states of the decoder are few; a line that no name begins with never becomes a command.
//! 2. [`control`]: from every state, every byte and the end of input, the decoder's request is the model's.
//! 3. [`sums`]: no decision depends on the value of a sum; sums are added up exactly.
//! 4. [`fast_paths`]: many bytes in one call do what the same bytes do one at a time.
//! 5. [`output`]: a reply arrives whole, however small the output buffers are.
//! 6. [`time`]: the replies with day, date and time are those of chrono's formatting.
//! 7. [`session`]: a session sends the reply of its service to each request of its decoder, and closes when it
//!    must.
//! 8. [`datagrams`]: a datagram gets the reply of the model, or silence.
//! 9. [`replies`]: the client's decoder splits and parses as the model does.
//! 10. What is not proved, see below.
//!
//! Together: by 4, the cut of the input does not matter, so take one byte per call. By 1, 2 and 3, the decoder
//! then returns the request of the model after every line of any length. By 7, the session replies to it as the
//! model does, and is ready for the next line in the state in which it began. By 5 and 6, that reply is the
//! right text and arrives whole. The lemmas 8 and 9 do the same for UDP and for the client's side.
//!
//! # What is not proved
//!
//! - That the naive model says what the specification says. It is short: read `protocol/model/src/naive.rs`.
//! - The sockets, the clocks and the tasks of the server and the client: `chime-sim-tests` tests those.
//! - The calendar of chrono, the standard library, the compiler and the processor.
//! - That the code has no other input. That is Rust's part: the crate has no `unsafe`, no I/O and no globals.
//! - What is marked as *argued*. Each such sentence is short and names the lines that it is about.

mod control;
mod datagrams;
mod drawing;
mod fast_paths;
mod output;
mod replies;
mod session;
mod sums;
mod time;
mod words;

use std::sync::LazyLock;

use chime_model::naive;
use chime_protocol::{Request, RequestDecoder, Service};
use chrono::{NaiveDate, NaiveDateTime};

/// A state of the decoder, and one of the shortest lines that lead to it.
struct State {
    decoder: RequestDecoder,
    line: Vec<u8>,
}

/// Every state of the decoder, the state of a new decoder first. `0` stands for all digits, see [`sums`].
static STATES: LazyLock<Vec<State>> = LazyLock::new(|| {
    let mut states = vec![State {
        decoder: RequestDecoder::new(),
        line: Vec::new(),
    }];
    let mut done = 0;
    while done < states.len() {
        for byte in bytes_of_a_line() {
            let mut decoder = states[done].decoder.clone();
            assert_eq!(decoder.next(&mut &[byte][..]), None, "only LF ends a line");
            if states.iter().all(|state| state.decoder != decoder) {
                let line = [&states[done].line[..], &[byte]].concat();
                states.push(State { decoder, line });
            }
        }
        done += 1;
        assert!(states.len() < 1_000, "the states are not few");
    }
    states
});

/// Every byte but LF. `0` stands for all digits.
fn bytes_of_a_line() -> impl Iterator<Item = u8> {
    (0..=255).filter(|byte| !matches!(byte, b'\n' | b'1'..=b'9'))
}

/// Feeds `input` to the decoder one byte at a time, and returns the requests that it completes.
fn decode_byte_by_byte(decoder: &mut RequestDecoder, input: &[u8]) -> Vec<Request> {
    let next = |byte: &u8| decoder.next(&mut &[*byte][..]);
    input.iter().filter_map(next).collect()
}

/// Feeds `input` to the decoder in one piece, and returns the requests that it completes.
fn decode(decoder: &mut RequestDecoder, mut input: &[u8]) -> Vec<Request> {
    let mut requests = Vec::new();
    while let Some(request) = decoder.next(&mut input) {
        requests.push(request);
    }
    assert!(input.is_empty(), "all input is read");
    requests
}

/// Returns the reply of the model to a request of the decoder, and whether the server closes after it.
fn model_reply(service: Service, request: Request, now: NaiveDateTime) -> (Option<String>, bool) {
    let command = match request {
        Request::Command(command) => command.name().to_string(),
        // The sum of a nine for each nine in it, and of the rest.
        Request::Digits(sum) => format!("{}{}", "9".repeat((sum / 9) as usize), sum % 9),
        Request::Invalid => "?".to_string(),
    };
    naive::answer(service, command.as_bytes(), now)
}

/// An instant at which all time replies differ.
fn now() -> NaiveDateTime {
    instant(2026, 11, 21)
}

/// Another instant, all of whose replies differ from those at [`now`].
fn later() -> NaiveDateTime {
    instant(2031, 2, 3)
}

fn instant(year: i32, month: u32, day: u32) -> NaiveDateTime {
    let date = NaiveDate::from_ymd_opt(year, month, day).expect("it exists");
    date.and_hms_micro_opt(month, day, month + day, 1_000 * day)
        .expect("it exists")
}
