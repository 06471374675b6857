//! What is wrong is noticed: checks of the checks.

use chime_protocol::Service;
use chime_protocol::model::naive;
use chime_sim_tests::chime::{Act, Behaviour, Ending, Reading, Scenario, Source, check_against};
use chime_sim_tests::scenario::{Client, Text, shrink};
use chime_sim_tests::trace::{
    ClientEvent, DatagramEvent, End, EventKind, ServerEvent, StreamEvent, Trace,
};
use chime_sim_tests::{check, run};
use chrono::{NaiveDateTime, TimeDelta};

/// How many scenarios a wrong model may get past.
const PATIENCE: u64 = 50;

/// The first scenario by which a wrong model is caught.
fn caught(model: naive::Answer) -> Scenario {
    let mut scenarios = (0..PATIENCE).map(Scenario::from_seed);
    let caught = scenarios.find(|scenario| check_against(model, scenario, &run(scenario)).is_err());
    caught.expect("the model is wrong")
}

#[test]
fn a_wrong_sum_is_caught_and_all_else_is_left_out() {
    fn wrong(service: Service, command: &[u8], now: NaiveDateTime) -> (Option<String>, bool) {
        let (reply, closes) = naive::answer(service, command, now);
        let is_long = command.len() > 3 && command.iter().all(u8::is_ascii_digit);
        (
            reply.map(|reply| if is_long { "7".into() } else { reply }),
            closes,
        )
    }
    let scenario = shrink(caught(wrong), 20_000, |scenario| {
        check_against(wrong, scenario, &run(scenario)).is_err()
    });
    assert_eq!(scenario.clients.len(), 1, "{scenario}");
    assert_eq!(scenario.faults, [], "{scenario}");
    assert_eq!(scenario.network, Default::default(), "{scenario}");
    let text = scenario.to_string();
    assert!(text.len() < 600, "{text}");
}

#[test]
fn a_clock_that_is_a_little_slow_is_caught() {
    fn wrong(service: Service, command: &[u8], now: NaiveDateTime) -> (Option<String>, bool) {
        naive::answer(service, command, now - TimeDelta::milliseconds(500))
    }
    caught(wrong);
}

#[test]
fn a_quit_that_does_not_close_is_caught() {
    fn wrong(service: Service, command: &[u8], now: NaiveDateTime) -> (Option<String>, bool) {
        (naive::answer(service, command, now).0, false)
    }
    caught(wrong);
}

/// What a client of each kind does on a network that does nothing wrong.
fn calm() -> Scenario {
    let behaviours = [
        Behaviour::Ask {
            lines: vec!["12345".into(), "quit".into()],
            pause_ms: 5,
        },
        Behaviour::Write {
            acts: vec![Act::Write(Text::from("day\n99\n")), Act::Shut],
            reading: Reading::Eager,
            ending: Ending::Await,
        },
        Behaviour::AskDatagrams {
            commands: vec!["date".into()],
            pause_ms: 0,
        },
        Behaviour::WriteDatagrams {
            datagrams: vec![Text::from("what?")],
            source: Source::Sender,
            pause_ms: 0,
        },
    ];
    let clients = behaviours.map(|behaviour| Client {
        host: 0,
        start_ms: 1,
        behaviour,
    });
    Scenario {
        clients: clients.into(),
        heal_ms: 1,
        ..Scenario::default()
    }
}

/// Checks that a trace that has been tampered with is found wrong, with these words.
fn assert_noticed(words: &str, tamper: impl FnOnce(&mut Trace)) {
    let scenario = calm();
    let mut trace = run(&scenario);
    check(&scenario, &trace).expect("it is right so far");
    tamper(&mut trace);
    let failure = check(&scenario, &trace).expect_err("it has been tampered with");
    assert!(failure.message.contains(words), "{failure}");
    assert!(failure.event < trace.events.len(), "{failure}");
}

/// The index of the first event like this.
fn find(trace: &Trace, is_it: impl Fn(&EventKind) -> bool) -> usize {
    let mut events = trace.events.iter();
    events
        .position(|event| is_it(&event.kind))
        .expect("it happens")
}

fn is_read(kind: &EventKind, text: &str) -> bool {
    matches!(
        kind,
        EventKind::Stream { end: End::Client, event: StreamEvent::Read(bytes), .. } if **bytes == *text.as_bytes()
    )
}

#[test]
fn a_wrong_byte_is_noticed() {
    assert_noticed("the client expected \"5\\n\" and read \"6\\n", |trace| {
        let index = find(trace, |kind| is_read(kind, "15\n"));
        if let EventKind::Stream {
            event: StreamEvent::Read(bytes),
            ..
        } = &mut trace.events[index].kind
        {
            *bytes = Text::from("16\n");
        }
    });
}

#[test]
fn a_reply_that_never_comes_is_noticed() {
    assert_noticed(
        "the conversation ends early, 2 replies are missing",
        |trace| {
            let index = find(trace, |kind| is_read(kind, "Saturday\n18\n"));
            trace.events.remove(index);
        },
    );
}

#[test]
fn a_reply_that_nobody_asked_for_is_noticed() {
    assert_noticed("the client expected \"\" and read \"15\\n\"", |trace| {
        let index = find(trace, |kind| is_read(kind, "15\n"));
        let mut copy = trace.events[index].clone();
        if let EventKind::Stream { connection, .. } = &mut copy.kind {
            *connection = 1 - *connection;
        }
        let last = find(trace, |kind| is_read(kind, "Saturday\n18\n"));
        trace.events.insert(last + 1, copy);
    });
}

#[test]
fn an_end_before_its_time_is_noticed() {
    assert_noticed("and nothing explains it", |trace| {
        let index = find(trace, |kind| {
            matches!(
                kind,
                EventKind::Stream {
                    end: End::Client,
                    event: StreamEvent::Shut,
                    ..
                }
            )
        });
        trace.events.remove(index);
    });
}

#[test]
fn a_library_that_invents_a_reply_is_noticed() {
    assert_noticed("which is not what came", |trace| {
        invent_reply(trace, "15", "16")
    });
}

#[test]
fn a_library_that_invents_a_reply_to_a_datagram_is_noticed() {
    assert_noticed("but no datagram brought it", |trace| {
        invent_reply(trace, "26-11-21", "26-11-22");
    });
}

/// Lets a client receive `invented` from its library in place of `reply`.
fn invent_reply(trace: &mut Trace, reply: &str, invented: &str) {
    let told = ClientEvent::Told(reply.into());
    let index = find(
        trace,
        |kind| matches!(kind, EventKind::Client { event, .. } if *event == told),
    );
    if let EventKind::Client { event, .. } = &mut trace.events[index].kind {
        *event = ClientEvent::Told(invented.into());
    }
}

#[test]
fn a_library_that_keeps_a_reply_is_noticed() {
    assert_noticed("the client was not told a reply", |trace| {
        let is_it = |kind: &EventKind| {
            matches!(
                kind,
                EventKind::Client {
                    client: 0,
                    event: ClientEvent::Told(_)
                }
            )
        };
        trace.events.retain(|event| !is_it(&event.kind));
    });
}

#[test]
fn a_failure_of_the_library_for_no_reason_is_noticed() {
    assert_noticed("and nothing explains it", |trace| {
        let index = find(trace, |kind| {
            matches!(
                kind,
                EventKind::Client {
                    client: 0,
                    event: ClientEvent::Done
                }
            )
        });
        trace.events[index].kind = EventKind::Client {
            client: 0,
            event: ClientEvent::Failed("no answer".into()),
        };
    });
}

#[test]
fn a_server_that_miscounts_is_noticed() {
    for (name, wrong) in [
        (
            "ConnectionServed",
            "the server counts ConnectionServed=4, expected 3",
        ),
        (
            "ConnectionRefused",
            "the server counts ConnectionRefused=1, expected 0",
        ),
        (
            "conversations-ended",
            "the server counts conversations-ended=4, expected 3",
        ),
        (
            "ConversationPanicked",
            "the server counts ConversationPanicked=1, expected 0",
        ),
        (
            "DatagramAnswered",
            "the server counts DatagramAnswered=3, expected 2",
        ),
        (
            "DatagramIgnored",
            "the server counts DatagramIgnored=2, expected 1",
        ),
        ("permits", "the server counts permits=10001, expected 10000"),
    ] {
        assert_noticed(wrong, |trace| {
            let last = trace.events.len() - 1;
            if let EventKind::Server(ServerEvent::Stopped { counters }) =
                &mut trace.events[last].kind
            {
                *counters.get_mut(name).expect("the counter exists") += 1;
            }
        });
    }
}

#[test]
fn an_event_of_an_unknown_connection_is_noticed() {
    assert_noticed("this event belongs to nothing that has begun", |trace| {
        let is_accept = |kind: &EventKind| {
            matches!(
                kind,
                EventKind::Stream {
                    event: StreamEvent::Accepted,
                    ..
                }
            )
        };
        let index = find(trace, is_accept);
        trace.events.remove(index);
    });
}

#[test]
fn a_datagram_that_is_received_twice_is_noticed() {
    assert_noticed("is received, but not as it was sent", |trace| {
        let received = datagrams_with(trace, "what?")[1];
        let copy = trace.events[received].clone();
        trace.events.insert(received, copy);
    });
}

#[test]
fn a_panic_is_noticed() {
    assert_noticed("panicked: oh", |trace| {
        let last = trace.events.len() - 1;
        trace.events[last].kind = EventKind::Panicked("oh".into());
    });
}

#[test]
fn a_connection_that_is_kept_for_too_long_is_noticed() {
    let is_closing = |kind: &EventKind, closing: &StreamEvent| matches!(kind, EventKind::Stream { end: End::Server, event, .. } if event == closing);
    let keep = |trace: &mut Trace| {
        let index = find(trace, |kind| is_closing(kind, &StreamEvent::Dropped));
        trace.events[index].at_ms += 3_000;
    };
    assert_noticed("a closed connection was kept for more than 1000 ms", keep);
    assert_noticed("a connection was idle for more than 2000 ms", |trace| {
        keep(trace);
        let index = find(trace, |kind| is_closing(kind, &StreamEvent::Shut));
        trace.events.remove(index);
    });
}

#[test]
fn a_datagram_that_is_changed_on_its_way_is_noticed() {
    assert_noticed("is received, but not as it was sent", |trace| {
        let sent = datagrams_with(trace, "26-11-21")[0];
        rewrite(trace, &[sent], "26-11-22");
    });
}

#[test]
fn a_datagram_that_is_answered_wrongly_is_noticed() {
    assert_noticed("is not the reply that is due", |trace| {
        let sent_and_received = datagrams_with(trace, "26-11-21");
        rewrite(trace, &sent_and_received, "26-11-22");
    });
}

#[test]
fn a_datagram_that_is_not_received_is_noticed() {
    assert_noticed("and never came", |trace| {
        let received = datagrams_with(trace, "what?")[1];
        trace.events.remove(received);
    });
}

#[test]
fn a_datagram_that_is_answered_late_is_noticed() {
    assert_noticed("is not answered at once", |trace| {
        let sent = datagrams_with(trace, "26-11-21")[0];
        for event in &mut trace.events[sent..] {
            event.at_ms += 1;
        }
    });
}

#[test]
fn a_datagram_that_is_not_answered_is_noticed() {
    assert_noticed("is not answered", |trace| {
        let sent_and_received = datagrams_with(trace, "what?");
        rewrite(trace, &sent_and_received, "day");
    });
}

/// The events in which a datagram with this text is sent or received.
fn datagrams_with(trace: &Trace, text: &str) -> Vec<usize> {
    let events = trace.events.iter().enumerate();
    events
        .filter(|(_, event)| bytes(&event.kind).is_some_and(|bytes| **bytes == *text.as_bytes()))
        .map(|(index, _)| index)
        .collect()
}

fn bytes(kind: &EventKind) -> Option<&Text> {
    match kind {
        EventKind::Datagram {
            event: DatagramEvent::Sent { bytes, .. } | DatagramEvent::Received { bytes, .. },
            ..
        } => Some(bytes),
        _ => None,
    }
}

fn rewrite(trace: &mut Trace, indices: &[usize], text: &str) {
    for index in indices {
        if let EventKind::Datagram {
            event: DatagramEvent::Sent { bytes, .. } | DatagramEvent::Received { bytes, .. },
            ..
        } = &mut trace.events[*index].kind
        {
            *bytes = Text::from(text);
        }
    }
}
