//! Lemma 2, the heart: from every state, with every byte and at the end of the input, the decoder returns the
//! request that the model reads.

use std::collections::{HashMap, HashSet};

use chime_model::naive::{self, Answer, Conversation};
use chime_protocol::{Command, Framing, Request, RequestDecoder, Service};
use chrono::NaiveDateTime;

use crate::{STATES, bytes_of_a_line, model_reply, now};

/// What the model does with a line and each of some continuations: equal for all lines of a class.
type Class = Vec<Outcome>;

/// The reply of the model to a request, and whether the server closes. `None` if there is no request.
type Outcome = Option<(Option<String>, bool)>;

/// Returns the continuations with which the search for classes begins: nothing, and every end of a name.
fn ends_of_names() -> Vec<Vec<u8>> {
    let names = Command::ALL.map(Command::name);
    let ends = names
        .iter()
        .flat_map(|name| (0..=name.len()).map(|start| name[start..].into()));
    let mut ends: Vec<Vec<u8>> = ends.collect();
    ends.sort();
    ends.dedup();
    ends
}

/// Returns what the model does with a line, ended by LF or by the end of the input.
fn model_outcome(answer: Answer, line: &[u8], end: &[u8]) -> Outcome {
    let mut model = Conversation::new(answer, Service::Both, Framing::Line);
    model.sent.clear();
    model.read(line, now());
    model.read(end, now());
    let closes = model.is_closed;
    model.end(now());
    let closes = closes || model.sent.ends_with(b")\n");
    let reply = String::from_utf8(model.sent).expect("replies are ASCII");
    (model.requests > 0).then_some((Some(reply), closes))
}

/// The model, which also says which command it was that ends the conversation: the replies are the same.
fn answer_with_name(
    service: Service,
    command: &[u8],
    now: NaiveDateTime,
) -> (Option<String>, bool) {
    let (reply, closes) = naive::answer(service, command, now);
    let name = String::from_utf8_lossy(command).to_ascii_lowercase();
    match closes {
        true => (reply.map(|reply| format!("{reply} ({name})")), true),
        false => (reply, false),
    }
}

/// Returns the same for a request of the decoder.
fn outcome(request: Option<Request>) -> Outcome {
    let (reply, closes) = model_reply(Service::Both, request?, now());
    let reply = reply.expect("this service always replies");
    let reply = match request {
        Some(Request::Command(command)) if closes => format!("{reply} ({})", command.name()),
        _ => reply,
    };
    Some((Some(reply + "\n"), closes))
}

fn class(answer: Answer, continuations: &[Vec<u8>], line: &[u8]) -> Class {
    let longer = |continuation: &Vec<u8>| [line, continuation].concat();
    let outcomes = continuations.iter().map(longer);
    outcomes
        .map(|line| model_outcome(answer, &line, b""))
        .collect()
}

/// Adds `digit` to the sum in an outcome, if it is a sum.
fn plus(outcome: &Outcome, digit: u8) -> Outcome {
    let (reply, closes) = outcome.clone()?;
    let sum = reply
        .as_ref()
        .and_then(|reply| reply.trim_end().parse().ok());
    let sum = sum.map(|sum: u64| format!("{}\n", sum + u64::from(digit - b'0')));
    Some((sum.or(reply), closes))
}

/// A state of the decoder and the class of lines that lead to it, with one of these lines.
struct Pair {
    decoder: RequestDecoder,
    class: Class,
    line: Vec<u8>,
}

/// The decoder and the model agree for lines of any length. *Enumerated:* all pairs of a state and a class, each
/// with all 256 bytes and the end of the input. *Argued:* that no class is missed. The model removes blanks and a
/// CR, and compares what is left with the names; or it is all digits. So the ends of names, blanks, a CR and a digit
/// tell all lines apart. The ends are given. The others are found, because [`walk`] ends only when lines of one
/// class are in one class again after any one byte.
#[test]
fn decoder_and_model_agree_in_every_state() {
    check_every_state(answer_with_name);
}

/// A canary: a model that reads two spaces in `send time` as one.
#[test]
#[should_panic(expected = "SEND  TIME")]
fn a_wrong_model_is_caught() {
    fn joins_spaces(
        service: Service,
        command: &[u8],
        now: NaiveDateTime,
    ) -> (Option<String>, bool) {
        let command = String::from_utf8_lossy(command).replace("  ", " ");
        answer_with_name(service, command.as_bytes(), now)
    }
    check_every_state(joins_spaces);
}

fn check_every_state(answer: Answer) {
    let mut continuations = ends_of_names();
    let pairs = loop {
        match walk(answer, &continuations) {
            Ok(pairs) => break pairs,
            Err(longer) => continuations.push(longer),
        }
    };
    for pair in &pairs {
        check_end(answer, &pair.decoder, &pair.line);
        check_digits(answer, &continuations, &pair.decoder, &pair.line);
    }
    // Each state meets one class: the decoder knows all that the model knows. Some states are one class.
    assert_eq!(pairs.len(), STATES.len());
    let classes: HashSet<&Class> = pairs.iter().map(|pair| &pair.class).collect();
    assert_eq!(classes.len(), CLASSES);
}

/// Walks from the empty line with every byte through all pairs. Returns a continuation that tells two lines of one
/// class apart, if there is one: then the classes have to be split. (Textbooks call this partition refinement.)
fn walk(answer: Answer, continuations: &[Vec<u8>]) -> Result<Vec<Pair>, Vec<u8>> {
    // For each class, the classes of its lines with one more byte.
    let mut longer_classes: HashMap<Class, Vec<Class>> = HashMap::new();
    let mut pairs = vec![Pair {
        decoder: RequestDecoder::new(),
        class: class(answer, continuations, b""),
        line: Vec::new(),
    }];
    let mut done = 0;
    while done < pairs.len() {
        let mut longer = Vec::new();
        for byte in bytes_of_a_line() {
            let mut decoder = pairs[done].decoder.clone();
            assert_eq!(decoder.next(&mut &[byte][..]), None, "only LF ends a line");
            let line = [&pairs[done].line[..], &[byte]].concat();
            let class = class(answer, continuations, &line);
            longer.push(class.clone());
            let is_known = |pair: &Pair| pair.decoder == decoder && pair.class == class;
            if !pairs.iter().any(is_known) {
                pairs.push(Pair {
                    decoder,
                    class,
                    line,
                });
            }
        }
        let known = longer_classes
            .entry(pairs[done].class.clone())
            .or_insert_with(|| longer.clone());
        for (byte, (one, other)) in bytes_of_a_line().zip(known.iter().zip(&longer)) {
            if let Some(index) = (0..one.len()).find(|index| one[*index] != other[*index]) {
                return Err([&[byte], &continuations[index][..]].concat());
            }
        }
        done += 1;
        assert!(pairs.len() < 1_000, "the pairs are not few");
    }
    Ok(pairs)
}

/// The number of classes: the states that a smallest decoder has.
pub(crate) const CLASSES: usize = 43;

/// LF and the end of the input give the request of the model, and then the decoder is as new.
fn check_end(answer: Answer, decoder: &RequestDecoder, line: &[u8]) {
    let mut after = decoder.clone();
    let request = after.next(&mut &b"\n"[..]);
    assert_eq!(
        outcome(request),
        model_outcome(answer, line, b"\n"),
        "{}",
        line.escape_ascii()
    );
    assert!(request.is_some() && after == RequestDecoder::new());
    let mut after = decoder.clone();
    let request = after.finish();
    assert_eq!(
        outcome(request),
        model_outcome(answer, line, b""),
        "{}",
        line.escape_ascii()
    );
    assert!(after == RequestDecoder::new());
}

/// The digits from 1 on do what 0 does, but for the sum: in the model here, in the decoder by lemma 3.
fn check_digits(answer: Answer, continuations: &[Vec<u8>], decoder: &RequestDecoder, line: &[u8]) {
    let zero = class(answer, continuations, &[line, b"0"].concat());
    for digit in b'1'..=b'9' {
        let line = [line, &[digit]].concat();
        let expected: Class = zero.iter().map(|outcome| plus(outcome, digit)).collect();
        assert!(
            class(answer, continuations, &line) == expected,
            "{}",
            line.escape_ascii()
        );
        let mut decoder = decoder.clone();
        assert_eq!(decoder.next(&mut &[digit][..]), None);
        check_end(answer, &decoder, &line);
    }
}
