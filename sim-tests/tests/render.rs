//! What stands in the picture of a run.

use chime_sim_tests::scenario::{
    Act, Behaviour, Client, Ending, Fault, FaultKind, Network, Reading, Scenario, Source, Text,
};
use chime_sim_tests::trace::{
    ClientEvent, DatagramEvent, End, Event, EventKind, Peer, StreamEvent, Trace,
};
use chime_sim_tests::{Failure, draw, run};

#[test]
fn what_is_written_stands_in_the_picture() {
    let page = draw(&one_client(), &conversation("day\n", "Saturday\n"), None);
    assert!(page.contains("&quot;day\\n&quot;</tspan>"), "{page}");
    assert!(page.contains("&quot;Saturday\\n&quot;</tspan>"), "{page}");
}

#[test]
fn what_is_read_has_an_arrow_and_nothing_is_lost() {
    let page = draw(&one_client(), &conversation("day\n", "Saturday\n"), None);
    assert_eq!(page.matches("<g class=\"stream client-0\">").count(), 2);
    assert_eq!(page.matches("class=\"cross\"").count(), 0);
    // It stands where it was written, and not once more.
    assert!(!page.contains("reads </tspan>"), "{page}");
}

#[test]
fn what_is_never_read_is_lost() {
    let mut trace = conversation("day\n", "Saturday\n");
    trace.events.pop();
    let page = draw(&one_client(), &trace, None);
    assert_eq!(page.matches("class=\"cross\"").count(), 1);
}

#[test]
fn one_read_of_two_writes_ends_both_arrows() {
    let mut trace = conversation("day\n", "Satu");
    trace.events.pop();
    let rest = StreamEvent::Wrote {
        bytes: "rday\n".into(),
        is_short: false,
    };
    trace.events.push(stream(5, End::Server, rest));
    let read = StreamEvent::Read("Saturday\n".into());
    trace.events.push(stream(6, End::Client, read));
    let page = draw(&one_client(), &trace, None);
    assert_eq!(page.matches("<g class=\"stream client-0\">").count(), 3);
    assert_eq!(page.matches("class=\"cross\"").count(), 0);
    assert!(page.contains("reads </tspan><tspan class=\"bytes\">&quot;Saturday\\n&quot;"));
}

#[test]
fn a_write_that_is_read_in_three_has_one_arrow_and_two_parts() {
    let mut trace = conversation("day\n", "Saturday\n");
    trace.events.pop();
    for part in ["Sa", "tu", "rday\n"] {
        let read = StreamEvent::Read(part.into());
        trace.events.push(stream(6, End::Client, read));
    }
    let page = draw(&one_client(), &trace, None);
    assert_eq!(page.matches("<g class=\"stream client-0\">").count(), 2);
    assert_eq!(page.matches("<g class=\"part client-0\">").count(), 2);
    assert_eq!(page.matches("class=\"cross\"").count(), 0);
    assert!(page.contains("reads </tspan><tspan class=\"bytes\">&quot;rday\\n&quot;"));
}

#[test]
fn markup_is_escaped_wherever_it_comes_from() {
    const EVIL: &str = "<script>alert('\"&')</script>";
    let mut trace = conversation(EVIL, "Saturday\n");
    let happened = [
        EventKind::Panicked(EVIL.into()),
        EventKind::Stuck(EVIL.into()),
        client(ClientEvent::Told(EVIL.into())),
        client(ClientEvent::Failed(EVIL.into())),
    ];
    trace
        .events
        .extend(happened.map(|kind| Event { at_ms: 7, kind }));
    for event in 0..trace.events.len() {
        let failure = Failure {
            message: EVIL.into(),
            event,
            right_bytes: Some(3),
        };
        let page = draw(&one_client(), &trace, Some(&failure));
        assert!(!page.contains("<script"), "{page}");
        assert!(page.contains("&lt;script&gt;"), "{page}");
        assert_is_balanced(&page);
    }
}

#[test]
fn the_first_wrong_byte_is_marked() {
    let trace = conversation("day\n", "Satyrday\n");
    let failure = |right_bytes| Failure {
        message: "it is Saturday".into(),
        event: trace.events.len() - 1,
        right_bytes: Some(right_bytes),
    };
    let page = draw(&one_client(), &trace, Some(&failure(3)));
    let marked = "<tspan class=\"bytes right\">Sat</tspan>\
                  <tspan class=\"bytes first-wrong\">y</tspan>\
                  <tspan class=\"bytes wrong\">rday\\n</tspan>";
    assert!(page.contains(marked), "{page}");
    for right_bytes in [9, 1_000] {
        let page = draw(&one_client(), &trace, Some(&failure(right_bytes)));
        assert!(page.contains("and no more"), "{page}");
    }
}

#[test]
fn a_write_that_was_cut_off_says_so() {
    let mut trace = conversation("day\n", "Saturday\n");
    let is_cut_off = |trace: &Trace| draw(&one_client(), trace, None).contains("> cut off<");
    assert!(!is_cut_off(&trace));
    let cut = StreamEvent::Wrote {
        bytes: "12".into(),
        is_short: true,
    };
    trace.events.push(stream(60, End::Client, cut));
    assert!(is_cut_off(&trace));
}

#[test]
fn a_failure_is_told_first_and_linked_to_its_place() {
    let trace = conversation("day\n", "Saturday\n");
    let failure = Failure {
        message: "it is Sunday".into(),
        event: 5,
        right_bytes: None,
    };
    let page = draw(&one_client(), &trace, Some(&failure));
    assert!(
        page.contains("href=\"#failure\"><b>it is Sunday</b>"),
        "{page}"
    );
    assert_eq!(page.matches("id=\"failure\"").count(), 1);
    let without = draw(&one_client(), &trace, None);
    assert!(!without.contains("#failure"), "{without}");
}

#[test]
fn a_datagram_is_marked_with_what_became_of_it() {
    let server = "192.168.0.1:8089".parse().unwrap();
    let sent = |from: &str| DatagramEvent::Sent {
        by: Peer::Client(0),
        from: from.parse().unwrap(),
        to: server,
        bytes: "day".into(),
    };
    let happened = [
        (0, sent("192.168.0.2:5")),
        (0, DatagramEvent::Lost),
        (1, sent("192.168.0.1:8089")),
        (1, DatagramEvent::Corrupted("dax".into())),
        (2, sent("192.168.0.2:5")),
        (1, DatagramEvent::Duplicated { duplicate: 2 }),
    ];
    let events = happened.map(|(datagram, event)| Event {
        at_ms: 1,
        kind: EventKind::Datagram { datagram, event },
    });
    let page = draw(
        &one_client(),
        &Trace {
            events: events.into(),
        },
        None,
    );
    assert_eq!(page.matches("<g class=\"datagram client-0\">").count(), 3);
    assert_eq!(page.matches("class=\"cross\"").count(), 3);
    assert!(
        page.contains("<tspan class=\"trouble\"> lost</tspan>"),
        "{page}"
    );
    assert!(
        page.contains(" as if from the server, becomes &quot;dax&quot;<"),
        "{page}"
    );
    assert!(
        page.contains("<tspan class=\"trouble\"> once more</tspan>"),
        "{page}"
    );
}

#[test]
fn of_a_long_run_the_events_around_the_failure_are_drawn() {
    let mut trace = Trace::default();
    for index in 0..5_000 {
        let kind = client(ClientEvent::Told(format!("reply {index}.")));
        trace.events.push(Event { at_ms: index, kind });
    }
    let failure = Failure {
        message: "wrong".into(),
        event: 3_000,
        right_bytes: None,
    };
    let page = draw(&one_client(), &trace, Some(&failure));
    assert!(
        page.contains("Only those from 2001 to 4000 are drawn"),
        "{page}"
    );
    for (reply, is_drawn) in [(1_999, false), (2_000, true), (3_999, true), (4_000, false)] {
        assert_eq!(
            page.contains(&format!("reply {reply}.")),
            is_drawn,
            "{reply}"
        );
    }
    let page = draw(&one_client(), &trace, None);
    assert!(
        page.contains("Only those from 1 to 2000 are drawn"),
        "{page}"
    );
}

#[test]
fn labels_stand_below_each_other() {
    let scenario = troubled();
    let page = draw(&scenario, &run(&scenario), None);
    let heights = page.split("<text class=\"label\"").skip(1).map(|label| {
        let (_, rest) = label.split_once(" y=\"").unwrap();
        rest.split_once('"').unwrap().0.parse::<i32>().unwrap()
    });
    let heights: Vec<_> = heights.collect();
    assert!(heights.len() > 50);
    assert!(
        heights.is_sorted_by(|above, below| above + 19 <= *below),
        "{heights:?}"
    );
}

#[test]
fn the_picture_of_a_run_is_whole_and_always_the_same() {
    let scenario = troubled();
    let trace = run(&scenario);
    let page = draw(&scenario, &trace, None);
    assert_is_balanced(&page);
    assert!(page.contains("class=\"fault\""));
    assert!(page.contains("class=\"line-healed\""));
    assert!(page.contains("class=\"server up\""));
    // Before it starts, after the crash, and after it has stopped.
    assert_eq!(page.matches("class=\"server down\"").count(), 3, "{page}");
    assert_eq!(page, draw(&scenario, &trace, None));
}

#[test]
fn what_makes_no_sense_is_drawn_all_the_same() {
    let stranger = EventKind::Client {
        client: 1_000,
        event: ClientEvent::Done,
    };
    let fault = EventKind::FaultEnded(FaultKind::Hold { host: 1_000 });
    let read = stream(2, End::Client, StreamEvent::Read("unwritten".into())).kind;
    let received = EventKind::Datagram {
        datagram: 9,
        event: DatagramEvent::Received {
            by: Peer::Server,
            from: "192.168.0.2:5".parse().unwrap(),
            bytes: "unsent".into(),
        },
    };
    let happened = [stranger, fault, read, received];
    let events = happened.map(|kind| Event { at_ms: 1, kind });
    let failure = Failure {
        message: "no such event".into(),
        event: 1_000,
        right_bytes: Some(1_000),
    };
    for trace in [
        Trace {
            events: events.into(),
        },
        Trace::default(),
    ] {
        assert_is_balanced(&draw(&Scenario::default(), &trace, Some(&failure)));
    }
}

fn one_client() -> Scenario {
    let lines = vec!["day".into()];
    let behaviour = Behaviour::Ask { lines, pause_ms: 0 };
    Scenario {
        clients: vec![at(0, 0, behaviour)],
        ..Scenario::default()
    }
}

/// A client that connects, writes something and is answered.
fn conversation(request: &str, reply: &str) -> Trace {
    let wrote = |text: &str| StreamEvent::Wrote {
        bytes: text.into(),
        is_short: false,
    };
    let connected = client(ClientEvent::Connected { connection: 0 });
    let events = vec![
        Event {
            at_ms: 1,
            kind: client(ClientEvent::Connects),
        },
        stream(2, End::Server, StreamEvent::Accepted),
        Event {
            at_ms: 3,
            kind: connected,
        },
        stream(3, End::Client, wrote(request)),
        stream(4, End::Server, StreamEvent::Read(request.into())),
        stream(4, End::Server, wrote(reply)),
        stream(50, End::Client, StreamEvent::Read(reply.into())),
    ];
    Trace { events }
}

fn client(event: ClientEvent) -> EventKind {
    EventKind::Client { client: 0, event }
}

fn stream(at_ms: u32, end: End, event: StreamEvent) -> Event {
    let kind = EventKind::Stream {
        connection: 0,
        end,
        event,
    };
    Event { at_ms, kind }
}

fn at(host: usize, start_ms: u32, behaviour: Behaviour) -> Client {
    Client {
        host,
        start_ms,
        behaviour,
    }
}

/// Clients of several kinds on several hosts, and much that goes wrong.
fn troubled() -> Scenario {
    let text = |text: &str| Text::from(text);
    let fault = |at_ms, kind| Fault {
        at_ms,
        for_ms: 60,
        kind,
    };
    let ask = Behaviour::Ask {
        lines: vec!["day".into(), "123".into(), "quit".into()],
        pause_ms: 100,
    };
    let write = Behaviour::Write {
        acts: vec![
            Act::Write(text("day\r")),
            Act::Pause(20),
            Act::Write(text("\n5")),
            Act::Shut,
        ],
        reading: Reading::Eager,
        ending: Ending::Await,
    };
    let write_datagrams = Behaviour::WriteDatagrams {
        datagrams: vec![text("day"), text("send time")],
        source: Source::Server,
        pause_ms: 100,
    };
    Scenario {
        heal_ms: 500,
        network: Network {
            latency_max_ms: 20,
            cut_percent: 20,
            glue_percent: 30,
            loss_percent: 30,
            duplication_percent: 30,
            ..Network::default()
        },
        clients: vec![at(0, 5, ask), at(1, 15, write), at(2, 15, write_datagrams)],
        faults: vec![
            fault(30, FaultKind::Hold { host: 1 }),
            fault(250, FaultKind::Crash),
        ],
        ..Scenario::default()
    }
}

/// Asserts that what opens in a page closes, in order.
fn assert_is_balanced(page: &str) {
    let mut open = Vec::new();
    for piece in page.split('<').skip(1) {
        let (tag, text) = piece
            .split_once('>')
            .unwrap_or_else(|| panic!("'<{piece}' is open"));
        assert!(!text.contains('>'), "'{text}' is not escaped");
        assert_eq!(
            tag.matches('"').count() % 2,
            0,
            "'{tag}' has an open attribute"
        );
        let name = tag.split([' ', '/']).next().unwrap_or(tag);
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed)),
            None if tag.ends_with('/') || name == "meta" || name == "!DOCTYPE" => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?} are open");
}
