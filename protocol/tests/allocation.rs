//! The protocol never allocates.

use std::hint::black_box;

use allocation_counter::measure;
use chime_model::Script;
use chime_protocol::{
    DATAGRAM_MAX, Framing, ReplyDecoder, RequestDecoder, Service, Session, Status, answer_datagram,
};

/// A session, and the decoders of both sides.
#[test]
fn a_conversation_allocates_nothing() {
    let now = Script::clock_at_start();
    let mut bytes = b"day\r\ndate\ntime\nsend time\nhelp\nwhat?\n\n\xff\n".repeat(100);
    bytes.extend([b'9'; 10_000]);
    bytes.extend([b'x'; 10_000]);
    bytes.extend(b"\nquit");
    let mut replies = ReplyDecoder::new();
    let mut requests = RequestDecoder::new();
    let mut counts = (0, 0);

    let allocations = measure(|| {
        let mut session = Session::new(Service::Both, Framing::Line);
        let mut output = [0; 50];
        for read in bytes.chunks(7) {
            let mut rest = read;
            while requests.next(&mut rest).is_some() {
                counts.0 += 1;
            }
            rest = read;
            loop {
                let progress = session.advance(rest, &mut output, now);
                rest = &rest[progress.read..];
                let mut sent = &output[..progress.written];
                while let Some(reply) = replies.next(&mut sent) {
                    assert!(reply.is_ok());
                    counts.1 += 1;
                }
                if progress.status != Status::OutputFull {
                    break;
                }
                assert_eq!(progress.written, output.len(), "no progress");
            }
        }
        // The farewell fits the output.
        assert_eq!(session.finish(&mut output, now).status, Status::Closed);
    });

    assert_eq!(allocations.count_total, 0);
    assert_eq!(counts, (801, 802));
}

#[test]
fn a_datagram_allocates_nothing() {
    let now = Script::clock_at_start();
    let mut replies = 0;
    let allocations = measure(|| {
        for request in ["day", "date\n", "time\r\n", "send time", "what?", ""] {
            let mut buffer = [0; DATAGRAM_MAX];
            replies += usize::from(answer_datagram(request.as_bytes(), now, &mut buffer).is_some());
        }
    });
    assert_eq!(allocations.count_total, 0);
    assert_eq!(replies, 4);
}

#[test]
fn an_unknown_reply_allocates_nothing() {
    let bytes = [b'x'; 1_000];
    let mut unknown = 0;
    let allocations = measure(|| {
        let mut replies = ReplyDecoder::new();
        let mut input = &bytes[..];
        while let Some(reply) = replies.next(&mut input) {
            unknown += usize::from(reply.is_err());
        }
    });
    assert_eq!(allocations.count_total, 0);
    assert_eq!(unknown, 13);
}

/// A canary for the tests above.
#[test]
fn an_allocation_is_counted() {
    assert_eq!(
        measure(|| drop(black_box(Vec::<u8>::with_capacity(1)))).count_total,
        1
    );
}
