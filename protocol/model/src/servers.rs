//! Checks of the server's side: conversations and datagrams.

use std::vec::Vec;

use chrono::NaiveDateTime;

use super::naive::{self, Answer, Conversation};
use super::script::{Escaped, Script};
use super::session_under_test::SessionUnderTest;
use chime_protocol::{DATAGRAM_MAX, Framing, Session, answer_datagram};

/// Checks that a session run through `script` sends the same bytes as the model, and returns them.
///
/// The two are compared after every step, so replies must not be delayed. The [`Progress`](chime_protocol::Progress) of
/// every call is checked against its contract.
pub fn check_session(script: &Script) -> Vec<u8> {
    check_session_against(naive::answer, script)
}

/// [`check_session`] against the given model, for canary tests.
pub fn check_session_against(model: Answer, script: &Script) -> Vec<u8> {
    run_to_end(SessionUnderTest::new(model, script))
}

/// Checks that a refused client gets only the full notice, whatever it sends.
pub fn check_refused(script: &Script) -> Vec<u8> {
    check_refused_against(Conversation::refused, script)
}

/// [`check_refused`] against the given model, for canary tests.
pub fn check_refused_against(model: fn(Framing) -> Conversation, script: &Script) -> Vec<u8> {
    let session = Session::refused(script.framing);
    run_to_end(SessionUnderTest::with_session(
        script,
        session,
        model(script.framing),
    ))
}

/// Checks that interleaved sessions each send what they send alone.
pub fn check_interleaved(scripts: &[Script]) {
    check_interleaved_against(naive::answer, scripts);
}

/// [`check_interleaved`] against the given model, for canary tests.
pub fn check_interleaved_against(model: Answer, scripts: &[Script]) {
    let mut sessions: Vec<SessionUnderTest<'_>> = scripts
        .iter()
        .map(|script| SessionUnderTest::new(model, script))
        .collect();
    let step_count = scripts.iter().map(|script| script.steps.len()).max();
    for index in 0..step_count.unwrap_or(0) {
        for (session, script) in sessions.iter_mut().zip(scripts) {
            if let Some(step) = script.steps.get(index) {
                session.step(step);
            }
        }
    }
    for (mut session, script) in sessions.into_iter().zip(scripts) {
        session.end();
        let alone = run_to_end(SessionUnderTest::new(model, script));
        assert_eq!(
            session.into_sent(),
            alone,
            "interleaving changes the replies, in this script:\n\n{script}"
        );
    }
}

/// Checks that a datagram gets the reply of the model, that the reply is short, and that it is not a request.
pub fn check_datagram(request: &[u8], now: NaiveDateTime) {
    check_datagram_against(naive::answer, request, now);
}

/// [`check_datagram`] against the given model, for canary tests.
pub fn check_datagram_against(model: Answer, request: &[u8], now: NaiveDateTime) {
    let mut buffer = [0; DATAGRAM_MAX];
    let reply = answer_datagram(request, now, &mut buffer);
    let expected = naive::datagram(model, request, now);
    assert!(
        reply == expected.as_deref(),
        "wrong reply to the datagram {} at {now}\nexpected: {}\ngot:      {}\n",
        Escaped(request),
        Escaped(expected.as_deref().unwrap_or(b"(no reply)")),
        Escaped(reply.unwrap_or(b"(no reply)")),
    );
    let Some(reply) = reply else {
        return;
    };
    assert!(
        reply.len() <= 32,
        "the reply is too long: {}",
        Escaped(reply)
    );
    assert!(
        reply.len() <= 3 * request.len(),
        "amplification of {}",
        Escaped(request)
    );
    let echo = answer_datagram(reply, now, &mut [0; DATAGRAM_MAX]).map(<[u8]>::to_vec);
    assert_eq!(echo, None, "a reply is a request: {}", Escaped(reply));
}

fn run_to_end(mut session: SessionUnderTest<'_>) -> Vec<u8> {
    for step in &session.script().steps {
        session.step(step);
    }
    session.end();
    session.into_sent()
}
