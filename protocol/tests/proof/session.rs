//! Lemma 7: a session sends the reply of its service to each request of its decoder, and closes when it must.

use std::fmt::Debug;
use std::str::FromStr;

use chime_model::naive;
use chime_protocol::{
    Command, Framing, Progress, Reply, Request, RequestCounts, RequestDecoder, RequestKind,
    Service, Session, Status, UnknownName,
};

use crate::{STATES, bytes_of_a_line, later, model_reply, now};

/// More requests than 16 bits count.
const COUNT: usize = 70_000;

/// A buffer into which any reply fits.
type Output = [u8; 2 * Reply::TEXT_MAX];

/// Starts a session, and takes its welcome.
fn welcomed(service: Service, framing: Framing) -> Session {
    let mut session = Session::new(service, framing);
    let mut output: Output = [0; _];
    let progress = session.advance(b"", &mut output, now());
    assert_eq!(progress.status, Status::NeedInput);
    let line_end = if framing == Framing::Line { "\n" } else { "" };
    let expected = format!("Welcome to the server{line_end}");
    assert_eq!(output[..progress.written], *expected.as_bytes());
    session
}

/// Returns the counts of the given requests.
fn counts(requests: &[Request]) -> RequestCounts {
    let kind = |request: &Request| match request {
        Request::Command(command) => RequestKind::Command(*command),
        Request::Digits(_) => RequestKind::Digits,
        Request::Invalid => RequestKind::Invalid,
    };
    let counts = RequestCounts::from_iter(requests.iter().map(|request| (kind(request), 1)));
    assert_eq!(counts.total(), requests.len() as u64);
    for wanted in RequestKind::ALL {
        let count = requests
            .iter()
            .filter(|request| kind(request) == wanted)
            .count();
        assert_eq!(counts[wanted], count as u64);
    }
    counts
}

/// Asserts that a call has read all `input`, and has sent the reply of the model to `request`, if there is one.
fn check_progress(
    service: Service,
    input: &[u8],
    request: Option<Request>,
    progress: Progress,
    output: &Output,
) {
    let (reply, closes) = match request {
        Some(request) => model_reply(service, request, now()),
        None => (None, false),
    };
    let text = reply.map(|reply| reply + "\n").unwrap_or_default();
    assert_eq!(output[..progress.written], *text.as_bytes());
    assert_eq!(progress.read, input.len());
    assert_eq!(progress.requests, counts(request.as_slice()));
    assert_eq!(progress.status == Status::Closed, closes, "{request:?}");
}

/// A closed session reads nothing, sends nothing and stays as it is. *Enumerated:* every byte and the end of the
/// input, which covers any length, because the session stays as it is.
fn check_closed(session: &Session) {
    let closed = Progress {
        read: 0,
        written: 0,
        status: Status::Closed,
        requests: RequestCounts::default(),
    };
    let mut output: Output = [0; _];
    for byte in 0..=255 {
        let mut after = session.clone();
        assert_eq!(after.advance(&[byte], &mut output, now()), closed);
        assert_eq!(after, *session);
    }
    let mut after = session.clone();
    assert_eq!(after.finish(&mut output, now()), closed);
    assert_eq!(after, *session);
}

/// With framing `line`, a session is its decoder and the table of replies. *Enumerated:* for each service, all
/// pairs of a session and a decoder that read the same bytes, each with all 256 bytes and the end of the input.
/// *Argued:* with many lines in one call, the session repeats these steps, in the loop of `Session::run`.
#[test]
fn a_session_replies_to_the_requests_of_its_decoder() {
    for service in Service::ALL.iter().copied() {
        let mut pairs = vec![(welcomed(service, Framing::Line), RequestDecoder::new())];
        let mut done = 0;
        while done < pairs.len() {
            for byte in 0..=255 {
                let (mut session, mut decoder) = pairs[done].clone();
                let request = decoder.next(&mut &[byte][..]);
                let mut output: Output = [0; _];
                let progress = session.advance(&[byte], &mut output, now());
                check_progress(service, &[byte], request, progress, &output);
                let is_new = decoder == RequestDecoder::new();
                assert_eq!(session.has_partial_line(), !is_new);
                if progress.status == Status::Closed {
                    check_closed(&session);
                } else if bytes_of_a_line().any(|other| other == byte) || byte == b'\n' {
                    let pair = (session, decoder);
                    if !pairs.contains(&pair) {
                        pairs.push(pair);
                    }
                }
            }
            check_end(service, &pairs[done]);
            done += 1;
        }
        // As many as states of the decoder: the session adds none that differ.
        assert_eq!(pairs.len(), STATES.len());
    }
}

/// At the end of the input, a line that has begun gets its reply, and the session closes.
fn check_end(service: Service, (session, decoder): &(Session, RequestDecoder)) {
    let (mut session, mut decoder) = (session.clone(), decoder.clone());
    let request = decoder.finish();
    let mut output: Output = [0; _];
    let progress = session.finish(&mut output, now());
    assert_eq!(progress.status, Status::Closed);
    let reply = request.and_then(|request| model_reply(service, request, now()).0);
    let text = reply.map(|reply| reply + "\n").unwrap_or_default();
    assert_eq!(output[..progress.written], *text.as_bytes());
    assert_eq!(progress.requests, counts(request.as_slice()));
    check_closed(&session);
}

/// With framing `read`, each read is a command, and a session that stays open is as before. So any number of reads
/// follows from one. *Enumerated:* for each service, the empty read, the line of every state with each of the 256
/// bytes behind or in front, and digits up to more than two blocks with each position replaced by each byte.
/// *Argued:* `Request::parse` compares with each name byte by byte, so no other read is a command.
#[test]
fn a_read_is_a_command() {
    for service in Service::ALL.iter().copied() {
        let session = welcomed(service, Framing::Read);
        check_read(service, &session, b"");
        for state in STATES.iter() {
            check_read(service, &session, &state.line);
            for byte in 0..=255 {
                check_read(service, &session, &[&state.line[..], &[byte]].concat());
                check_read(service, &session, &[&[byte], &state.line[..]].concat());
            }
        }
        let mut digits = vec![b'9'; 40];
        for position in 0..digits.len() {
            for byte in 0..=255 {
                digits[position] = byte;
                check_read(service, &session, &digits);
                check_read(service, &session, &digits[..=position]);
            }
            digits[position] = b'9';
        }
        let mut session = session;
        let mut output: Output = [0; _];
        let progress = session.finish(&mut output, now());
        assert_eq!((progress.status, progress.written), (Status::Closed, 0));
        check_closed(&session);
    }
}

fn check_read(service: Service, session: &Session, read: &[u8]) {
    let mut after = session.clone();
    let mut output: Output = [0; _];
    let progress = after.advance(read, &mut output, now());
    let (reply, closes) = match read {
        b"" => (None, false),
        command => naive::answer(service, command, now()),
    };
    let reply = reply.unwrap_or_default();
    assert_eq!(
        output[..progress.written],
        *reply.as_bytes(),
        "{}",
        read.escape_ascii()
    );
    assert_eq!(progress.read, read.len());
    assert_eq!(progress.status == Status::Closed, closes);
    assert_eq!(progress.requests.total(), u64::from(!read.is_empty()));
    match closes {
        true => check_closed(&after),
        false => assert_eq!(after, *session),
    }
}

/// A refused client gets the full notice, and the session is closed. *Enumerated:* both framings.
#[test]
fn a_refused_session_sends_the_full_notice_and_closes() {
    for framing in Framing::ALL.iter().copied() {
        for is_last in [false, true] {
            let mut session = Session::refused(framing);
            let mut output: Output = [0; _];
            let progress = match is_last {
                false => session.advance(b"day\n", &mut output, now()),
                true => session.finish(&mut output, now()),
            };
            let line_end = if framing == Framing::Line { "\n" } else { "" };
            let expected = format!("The server is full, please try again later{line_end}");
            assert_eq!(output[..progress.written], *expected.as_bytes());
            assert_eq!((progress.read, progress.status), (0, Status::Closed));
            assert_eq!(progress.requests.total(), 0);
            check_closed(&session);
        }
    }
}

/// Replies contain the time of the call that completes the request (rule T1). *Enumerated:* each time command in
/// two reads.
#[test]
fn the_time_is_that_of_the_completing_call() {
    for command in Command::time_commands() {
        let mut session = welcomed(Service::Both, Framing::Line);
        let mut output: Output = [0; _];
        let progress = session.advance(command.name().as_bytes(), &mut output, now());
        assert_eq!((progress.written, progress.status), (0, Status::NeedInput));
        let progress = session.advance(b"\n", &mut output, later());
        let (reply, _) = model_reply(Service::Both, Request::Command(command), later());
        assert_eq!(
            output[..progress.written],
            *(reply.unwrap() + "\n").as_bytes()
        );
    }
}

/// Services and framings have names, and nothing else is one. *Enumerated:* each name, and each other text that differs
/// from it in one letter.
#[test]
fn services_and_framings_are_named() {
    fn check<T: FromStr<Err = UnknownName> + Copy + PartialEq + Debug>(value: T, name: &str) {
        assert_eq!(name.parse(), Ok(value));
        for index in 0..name.len() {
            let text = [&name[..index], "?", &name[index + 1..]].concat();
            let error = text.parse::<T>().expect_err("no name has this letter");
            assert!(
                error.to_string().contains(name),
                "the names are listed: {error}"
            );
        }
    }
    for service in Service::ALL {
        check(*service, service.name());
    }
    for framing in Framing::ALL {
        check(*framing, framing.name());
    }
}

/// A client takes each reply of a service for a reply to its request, and no other but an error. *Enumerated:* each
/// request with each kind of reply, and each service.
#[test]
fn a_client_accepts_the_replies_to_its_request() {
    let requests = Command::ALL.map(Request::Command);
    let requests = requests
        .into_iter()
        .chain([Request::Digits(15), Request::Invalid]);
    let errors = [Reply::CommandError, Reply::DigitError].map(|reply| reply.to_string());
    let mut texts = vec![Reply::Welcome.to_string(), Reply::Full.to_string()];
    for request in requests.clone() {
        for service in Service::ALL {
            texts.extend(model_reply(*service, request, now()).0);
        }
    }
    for request in requests {
        let (_, closes) = model_reply(Service::Both, request, now());
        assert_eq!(request.is_quit(), closes);
        let replies: Vec<String> = Service::ALL
            .iter()
            .filter_map(|service| model_reply(*service, request, now()).0)
            .collect();
        for text in &texts {
            let reply = Reply::parse(text.as_bytes()).expect("it is a reply");
            let is_error = errors.contains(text) && !closes;
            assert_eq!(
                request.is_answered_by(reply),
                replies.contains(text) || is_error,
                "{request:?}: {text}"
            );
        }
    }
}

/// Requests are counted by kind, also with many in one call. *Enumerated:* 70,000 of each kind in one call, more than
/// 16 bits hold. *Argued:* the counts have 64 bits, and nothing else adds to them.
#[test]
fn every_request_is_counted() {
    let requests = Command::ALL.map(Request::Command).into_iter();
    for request in requests.chain([Request::Digits(7), Request::Invalid]) {
        if request.is_quit() {
            continue;
        }
        let line = match request {
            Request::Command(command) => format!("{}\n", command.name()),
            Request::Digits(sum) => format!("{sum}\n"),
            Request::Invalid => "\n".to_string(),
        };
        let mut session = welcomed(Service::Both, Framing::Line);
        let mut output = vec![0; COUNT * (Reply::TEXT_MAX + 1)];
        let input = line.repeat(COUNT);
        let progress = session.advance(input.as_bytes(), &mut output, now());
        assert_eq!(progress.requests, counts(&vec![request; COUNT]));
        let mut sum = progress.requests;
        sum += progress.requests;
        assert_eq!(sum.total(), 2 * COUNT as u64);
    }
}
