//! Canaries: a wrong model and a wrong trace must fail the check.

use chime_protocol::Service;
use chime_protocol::model::naive;
use chime_sim_tests::chime::{
    Act, Behaviour, Destination, Ending, Reading, Scenario, Server, Source, Target, Timeout,
    check_against,
};
use chime_sim_tests::scenario::{Client, Fault, FaultKind, Text, shrink};
use chime_sim_tests::trace::{
    ClientEvent, DatagramEvent, End, Event, EventKind, ServerEvent, StreamEvent, Trace,
};
use chime_sim_tests::{check, run};
use chrono::{NaiveDateTime, TimeDelta};

/// The number of seeds that must catch a wrong model.
const SEEDS: u64 = 50;

/// Returns the first generated scenario that fails with a wrong model.
fn first_failing(model: naive::Answer) -> Scenario {
    let mut scenarios = (0..SEEDS).map(Scenario::from_seed);
    let failing =
        scenarios.find(|scenario| check_against(model, scenario, &run(scenario)).is_err());
    failing.expect("the wrong model fails")
}

#[test]
fn a_wrong_sum_is_caught_and_shrunk_to_one_client() {
    fn wrong(service: Service, command: &[u8], now: NaiveDateTime) -> (Option<String>, bool) {
        let (reply, closes) = naive::answer(service, command, now);
        let is_long = command.len() > 3 && command.iter().all(u8::is_ascii_digit);
        (
            reply.map(|reply| if is_long { "7".into() } else { reply }),
            closes,
        )
    }
    let scenario = shrink(first_failing(wrong), 20_000, |scenario| {
        check_against(wrong, scenario, &run(scenario)).is_err()
    });
    assert_eq!(scenario.clients.len(), 1, "{scenario}");
    assert_eq!(scenario.faults, [], "{scenario}");
    assert_eq!(scenario.network, Default::default(), "{scenario}");
    let text = scenario.to_string();
    assert!(text.len() < 600, "{text}");
}

#[test]
fn a_clock_that_is_500_ms_slow_is_caught() {
    fn wrong(service: Service, command: &[u8], now: NaiveDateTime) -> (Option<String>, bool) {
        naive::answer(service, command, now - TimeDelta::milliseconds(500))
    }
    first_failing(wrong);
}

#[test]
fn a_quit_without_a_close_is_caught() {
    fn wrong(service: Service, command: &[u8], now: NaiveDateTime) -> (Option<String>, bool) {
        (naive::answer(service, command, now).0, false)
    }
    first_failing(wrong);
}

/// A client of each kind, on a network without faults.
fn without_faults() -> Scenario {
    let behaviours = [
        Behaviour::Ask {
            to: Target::default(),
            lines: vec!["12345".into(), "quit".into()],
            pause_ms: 5,
            timeout_ms: Timeout::default(),
        },
        Behaviour::Write {
            to: Target::default(),
            acts: vec![Act::Write(Text::from("day\n99\n")), Act::Shut],
            reading: Reading::Eager,
            ending: Ending::Await,
        },
        Behaviour::AskDatagrams {
            to: Destination::default(),
            commands: vec!["date".into()],
            pause_ms: 0,
            timeout_ms: Timeout::default(),
        },
        Behaviour::WriteDatagrams {
            to: Destination::default(),
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

/// Asserts that a trace fails its check with this message once `change` has made it wrong.
fn assert_caught(message: &str, change: impl FnOnce(&mut Trace)) {
    assert_caught_in(&without_faults(), message, change);
}

fn assert_caught_in(scenario: &Scenario, message: &str, change: impl FnOnce(&mut Trace)) {
    let mut trace = run(scenario);
    check(scenario, &trace).expect("the original trace passes");
    change(&mut trace);
    let failure = check(scenario, &trace).expect_err("the changed trace fails");
    assert!(failure.message.contains(message), "{failure}");
    assert!(failure.event < trace.events.len(), "{failure}");
}

/// Returns the index of the first event of this kind.
fn find(trace: &Trace, is_it: impl Fn(&EventKind) -> bool) -> usize {
    let index = trace.events.iter().position(|event| is_it(&event.kind));
    index.expect("the trace has this event")
}

/// Returns the index of the first such event at this end of any connection.
fn find_stream(trace: &Trace, wanted_end: End, wanted: &StreamEvent) -> usize {
    find(
        trace,
        |kind| matches!(kind, EventKind::Stream { end, event, .. } if *end == wanted_end && event == wanted),
    )
}

fn find_read(trace: &Trace, text: &str) -> usize {
    find_stream(trace, End::Client, &StreamEvent::Read(text.into()))
}

/// Returns the first such event of a client.
fn find_client<'a>(
    trace: &'a mut Trace,
    number: usize,
    wanted: &ClientEvent,
) -> &'a mut ClientEvent {
    let mut events = trace.events.iter_mut();
    let found = events.find_map(|event| match &mut event.kind {
        EventKind::Client { client, event } if *client == number && event == wanted => Some(event),
        _ => None,
    });
    found.expect("the trace has this event")
}

#[test]
fn a_wrong_byte_is_caught() {
    assert_caught("the client expected \"5\\n\" and read \"6\\n", |trace| {
        let index = find_read(trace, "15\n");
        if let EventKind::Stream { event, .. } = &mut trace.events[index].kind {
            *event = StreamEvent::Read("16\n".into());
        }
    });
}

#[test]
fn a_missing_reply_is_caught() {
    assert_caught(
        "the conversation ended early, 2 replies are missing",
        |trace| {
            let index = find_read(trace, "Saturday\n18\n");
            trace.events.remove(index);
        },
    );
}

#[test]
fn a_reply_without_a_request_is_caught() {
    assert_caught("the client expected \"\" and read \"15\\n\"", |trace| {
        let index = find_read(trace, "15\n");
        let mut copy = trace.events[index].clone();
        if let EventKind::Stream { connection, .. } = &mut copy.kind {
            *connection = 1 - *connection;
        }
        let last = find_read(trace, "Saturday\n18\n");
        trace.events.insert(last + 1, copy);
    });
}

#[test]
fn a_conversation_without_its_half_close_is_caught() {
    assert_caught("and no fault explains it", |trace| {
        let index = find_stream(trace, End::Client, &StreamEvent::Shut);
        trace.events.remove(index);
    });
}

#[test]
fn a_wrong_reply_of_the_client_library_is_caught() {
    assert_caught("which did not arrive", |trace| {
        replace_reply(trace, 0, "15", "16");
    });
}

#[test]
fn a_wrong_datagram_reply_of_the_client_library_is_caught() {
    assert_caught("which no datagram contained", |trace| {
        replace_reply(trace, 2, "26-11-21", "26-11-22");
    });
}

/// Replaces a reply that a client receives from the client library.
fn replace_reply(trace: &mut Trace, client: usize, reply: &str, wrong: &str) {
    *find_client(trace, client, &ClientEvent::Reply(reply.into())) =
        ClientEvent::Reply(wrong.into());
}

#[test]
fn a_reply_dropped_by_the_client_library_is_caught() {
    assert_caught(
        "the client library did not return a reply that arrived",
        |trace| {
            trace.events.retain(|event| {
                let EventKind::Client { client, event } = &event.kind else {
                    return true;
                };
                *client != 0 || !matches!(event, ClientEvent::Reply(_))
            });
        },
    );
}

#[test]
fn an_unexplained_error_of_the_client_library_is_caught() {
    assert_caught("and no fault explains it", |trace| {
        *find_client(trace, 0, &ClientEvent::Done) = ClientEvent::Failed("no answer".into());
    });
}

#[test]
fn each_counter_that_is_off_by_one_is_caught() {
    let names = match run(&without_faults())
        .events
        .last()
        .map(|event| &event.kind)
    {
        Some(EventKind::Server(ServerEvent::Stopped { counters })) => counters.clone(),
        last => panic!("the last event is {last:?}"),
    };
    assert!(names.len() > 25, "{names:?}");
    for name in names.into_keys() {
        assert_caught("the server counts ", |trace| {
            let last = trace.events.len() - 1;
            let EventKind::Server(ServerEvent::Stopped { counters }) = &mut trace.events[last].kind
            else {
                panic!("the last event is the end of the server");
            };
            *counters.get_mut(&name).expect("the counter exists") += 1;
        });
    }
}

#[test]
fn a_drain_beyond_its_timeout_is_caught() {
    assert_caught("the drain took 2", |trace| {
        let last = trace.events.len() - 1;
        trace.events[last].at_ms += 2_000;
    });
}

#[test]
fn an_event_of_an_unknown_connection_is_caught() {
    assert_caught("this event belongs to nothing that has begun", |trace| {
        let index = find_stream(trace, End::Server, &StreamEvent::Accepted);
        trace.events.remove(index);
    });
}

#[test]
fn a_datagram_received_twice_is_caught() {
    assert_caught("was received, but not as it was sent", |trace| {
        let received = datagrams_with(trace, "what?")[1];
        let copy = trace.events[received].clone();
        trace.events.insert(received, copy);
    });
}

#[test]
fn a_panic_is_caught() {
    assert_caught("panicked: oh", |trace| {
        let last = trace.events.len() - 1;
        trace.events[last].kind = EventKind::Panicked("oh".into());
    });
}

#[test]
fn a_connection_kept_for_too_long_is_caught() {
    let keep = |trace: &mut Trace| {
        let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
        trace.events[index].at_ms += 3_000;
    };
    assert_caught("a closed connection lingered for more than 1000 ms", keep);
    assert_caught("a connection was idle for more than 2000 ms", |trace| {
        keep(trace);
        let index = find_stream(trace, End::Server, &StreamEvent::Shut);
        trace.events.remove(index);
    });
}

#[test]
fn a_corrupted_datagram_is_caught() {
    assert_caught("was received, but not as it was sent", |trace| {
        let sent = datagrams_with(trace, "26-11-21")[0];
        rewrite(trace, &[sent], "26-11-22");
    });
}

#[test]
fn a_wrong_reply_to_a_datagram_is_caught() {
    assert_caught("is not the reply that the model expects", |trace| {
        let sent_and_received = datagrams_with(trace, "26-11-21");
        rewrite(trace, &sent_and_received, "26-11-22");
    });
}

#[test]
fn a_lost_datagram_is_caught() {
    assert_caught("never arrived, and no fault explains it", |trace| {
        let received = datagrams_with(trace, "what?")[1];
        trace.events.remove(received);
    });
}

#[test]
fn a_late_reply_to_a_datagram_is_caught() {
    assert_caught("was not answered within the millisecond", |trace| {
        let sent = datagrams_with(trace, "26-11-21")[0];
        for event in &mut trace.events[sent..] {
            event.at_ms += 1;
        }
    });
}

#[test]
fn a_datagram_request_without_a_reply_is_caught() {
    assert_caught("was not answered", |trace| {
        let sent_and_received = datagrams_with(trace, "what?");
        rewrite(trace, &sent_and_received, "day");
    });
}

/// Returns the indices of the events that send or receive a datagram with this text.
fn datagrams_with(trace: &mut Trace, text: &str) -> Vec<usize> {
    let events = trace.events.iter_mut().enumerate();
    let found = events.filter_map(|(index, event)| {
        let bytes = bytes(&mut event.kind)?;
        (**bytes == *text.as_bytes()).then_some(index)
    });
    found.collect()
}

fn bytes(kind: &mut EventKind) -> Option<&mut Text> {
    match kind {
        EventKind::Datagram {
            event: DatagramEvent::Sent { bytes, .. } | DatagramEvent::Received { bytes, .. },
            ..
        } => Some(bytes),
        _ => None,
    }
}

/// Replaces the text of these datagrams.
fn rewrite(trace: &mut Trace, indices: &[usize], text: &str) {
    for index in indices {
        *bytes(&mut trace.events[*index].kind).expect("a datagram") = text.into();
    }
}

#[test]
fn a_reply_that_is_lost_before_a_fault_is_caught() {
    let host = 0;
    for kind in [
        FaultKind::Partition { host },
        FaultKind::PartitionFromServer { host },
        FaultKind::Crash,
    ] {
        let acts = vec![
            Act::Write(Text::from("15\n")),
            Act::Pause(100),
            Act::Write(Text::from("24\n")),
        ];
        let scenario = Scenario {
            faults: vec![Fault {
                at_ms: 50,
                for_ms: 300,
                kind,
            }],
            ..writer(acts, Reading::Eager, Server::default())
        };
        assert_caught_in(&scenario, "the conversation ended early", |trace| {
            let index = find_read(trace, "6\n");
            trace.events.remove(index);
        });
    }
}

#[test]
fn an_injected_failure_does_not_excuse_earlier_losses() {
    let acts = vec![Act::Write(Text::from("15\n")), Act::Pause(100)];
    assert_caught_in(
        &writer(acts, Reading::Eager, Server::default()),
        "the conversation ended early",
        |trace| {
            let index = find_read(trace, "6\n");
            trace.events.remove(index);
            let later = trace
                .events
                .iter()
                .position(|event| event.at_ms > 50)
                .expect("a later event");
            let failed = StreamEvent::Failed {
                error: "reset".into(),
                is_injected: true,
            };
            let kind = EventKind::Stream {
                connection: 0,
                end: End::Client,
                event: failed,
            };
            trace.events.insert(later, Event { at_ms: 50, kind });
        },
    );
}

#[test]
fn a_failed_connect_without_a_fault_is_caught() {
    assert_caught(
        "a client cannot connect, and no fault explains it: refused",
        |trace| {
            let connection = 0;
            let connected = ClientEvent::Connected { connection };
            let index = find(
                trace,
                |kind| matches!(kind, EventKind::Client { event, .. } if *event == connected),
            );
            let EventKind::Client { event, .. } = &mut trace.events[index].kind else {
                unreachable!("it is an event of a client");
            };
            *event = ClientEvent::Failed("refused".into());
        },
    );
}

#[test]
fn a_request_by_datagram_that_fails_without_a_fault_is_caught() {
    assert_caught(
        "client 2 got no reply by datagram, and no fault explains it: timed out",
        |trace| {
            *find_client(trace, 2, &ClientEvent::Reply("26-11-21".into())) =
                ClientEvent::Failed("timed out".into());
        },
    );
}

#[test]
fn a_late_recovery_is_caught() {
    assert_caught(
        "a client was not served soon after the network had healed",
        |trace| {
            let recovery = without_faults().clients.len();
            let done = EventKind::Client {
                client: recovery,
                event: ClientEvent::Done,
            };
            let index = find(trace, |kind| *kind == done);
            trace.events[index].at_ms += 60_000;
        },
    );
}

#[test]
fn a_connection_that_is_never_dropped_is_caught() {
    assert_caught("a connection was still open at the end", |trace| {
        let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
        trace.events.remove(index);
    });
}

#[test]
fn a_line_beyond_its_timeout_is_caught() {
    let server = Server {
        line_timeout_ms: 100,
        ..Server::default()
    };
    let scenario = writer(vec![Act::Write(Text::from("da"))], Reading::Eager, server);
    assert_caught_in(&scenario, "was not timed out until", |trace| {
        let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
        trace.events[index].at_ms += 1_000;
    });
}

#[test]
fn a_slow_reader_beyond_the_write_timeout_is_caught() {
    let server = Server {
        write_timeout_ms: 100,
        ..Server::default()
    };
    let acts = vec![Act::Write(Text::from(&*"day\n".repeat(50)))];
    let mut scenario = writer(acts, Reading::Never, server);
    scenario.network.window_bytes = 100;
    assert_caught_in(&scenario, "a client that read nothing after", |trace| {
        let index = find_stream(trace, End::Server, &StreamEvent::Dropped);
        trace.events[index].at_ms += 1_500;
    });
}

#[test]
fn a_run_that_is_stuck_is_caught() {
    assert_caught("stuck: client 7", |trace| {
        let last = trace.events.len() - 1;
        trace.events[last].kind = EventKind::Stuck("client 7".into());
    });
}

/// One client that does this and reads to EOF.
fn writer(acts: Vec<Act>, reading: Reading, server: Server) -> Scenario {
    let behaviour = Behaviour::Write {
        to: Target::default(),
        acts,
        reading,
        ending: Ending::Await,
    };
    Scenario {
        server,
        clients: vec![Client {
            host: 0,
            start_ms: 1,
            behaviour,
        }],
        heal_ms: 400,
        ..Scenario::default()
    }
}
