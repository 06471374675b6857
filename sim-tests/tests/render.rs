//! The HTML page with the sequence diagram of a run.

use std::collections::BTreeSet;

use chime_sim_tests::chime::{
    Act, Behaviour, Destination, Ending, Reading, Scenario, Source, Target, Timeout,
};
use chime_sim_tests::scenario::{Client, Fault, FaultKind, Network, Text};
use chime_sim_tests::trace::{
    ClientEvent, DatagramEvent, End, Event, EventKind, Peer, StreamEvent, Trace,
};
use chime_sim_tests::{Failure, Page, draw, run};

#[test]
fn written_bytes_are_shown() {
    let page = draw_run(&one_client(), &conversation("day\n", "Saturday\n"), None);
    assert_contains(&page, "&quot;day\\n&quot;</tspan>");
    assert_contains(&page, "&quot;Saturday\\n&quot;</tspan>");
}

#[test]
fn bytes_that_are_read_have_an_arrow_and_no_second_label() {
    let page = draw_run(&one_client(), &conversation("day\n", "Saturday\n"), None);
    assert_count(&page, "<g class=\"stream colour-0\"", 2);
    assert_count(&page, "class=\"cross\"", 0);
    assert!(!page.contains("reads </tspan>"), "{page}");
}

#[test]
fn bytes_that_are_never_read_end_in_a_cross() {
    let mut trace = conversation("day\n", "Saturday\n");
    trace.events.pop();
    let page = draw_run(&one_client(), &trace, None);
    assert_count(&page, "class=\"cross\"", 1);
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
    let page = draw_run(&one_client(), &trace, None);
    assert_count(&page, "<g class=\"stream colour-0\"", 3);
    assert_count(&page, "class=\"cross\"", 0);
    assert_contains(
        &page,
        "reads </tspan><tspan class=\"bytes\">&quot;Saturday\\n&quot;",
    );
}

#[test]
fn a_write_with_three_reads_has_one_arrow_and_two_parts() {
    let mut trace = conversation("day\n", "Saturday\n");
    trace.events.pop();
    for part in ["Sa", "tu", "rday\n"] {
        let read = StreamEvent::Read(part.into());
        trace.events.push(stream(6, End::Client, read));
    }
    let page = draw_run(&one_client(), &trace, None);
    assert_count(&page, "<g class=\"stream colour-0\"", 2);
    assert_count(&page, "<g class=\"part colour-0\"", 2);
    assert_count(&page, "class=\"cross\"", 0);
    assert_contains(
        &page,
        "reads </tspan><tspan class=\"bytes\">&quot;rday\\n&quot;",
    );
}

#[test]
fn markup_in_events_and_failures_is_escaped() {
    const MARKUP: &str = "<script>alert('\"&')</script>";
    let mut trace = conversation(MARKUP, "Saturday\n");
    let kinds = [
        EventKind::Panicked(MARKUP.into()),
        EventKind::Stuck(MARKUP.into()),
        client(ClientEvent::Reply(MARKUP.into())),
        client(ClientEvent::Failed(MARKUP.into())),
    ];
    trace
        .events
        .extend(kinds.map(|kind| Event { at_ms: 7, kind }));
    for event in 0..trace.events.len() {
        let failure = Failure {
            message: MARKUP.into(),
            event,
            right_bytes: Some(3),
        };
        let page = draw_run(&one_client(), &trace, Some(&failure));
        assert_count(&page, "<script", 1);
        assert_contains(&page, "&lt;script&gt;");
        assert_is_balanced(&page);
    }
}

#[test]
fn the_page_shows_the_command_and_the_json_escaped() {
    let details = Page {
        name: "a<b.json",
        replay: "sim run 'a<b.json'",
    };
    let lines = vec!["<i>\u{7f}".into()];
    let scenario = Scenario {
        clients: vec![at(
            0,
            0,
            Behaviour::Ask {
                to: Target::default(),
                lines,
                pause_ms: 0,
                timeout_ms: Timeout::default(),
            },
        )],
        ..Scenario::default()
    };
    let page = draw(&details, &scenario, &Trace::default(), None);
    assert_contains(&page, "<title>Simulated run: a&lt;b.json</title>");
    assert_contains(&page, "<code>sim run 'a&lt;b.json'</code>");
    let json = "&quot;&lt;i&gt;\u{fffd}&quot;";
    assert_contains(&page, json);
    assert_is_balanced(&page);
}

#[test]
fn a_hundred_clients_fit_into_1200_pixels() {
    let behaviour = Behaviour::Ask {
        to: Target::default(),
        lines: Vec::new(),
        pause_ms: 0,
        timeout_ms: Timeout::default(),
    };
    for (client_count, host_count) in [(1, 1), (20, 4), (100, 1), (100, 7)] {
        let clients = (0..client_count).map(|client| at(client % host_count, 0, behaviour.clone()));
        let scenario = Scenario {
            clients: clients.collect(),
            ..Scenario::default()
        };
        let events = (0..client_count).flat_map(|client| {
            [ClientEvent::Connects, ClientEvent::Done].map(|event| Event {
                at_ms: 1,
                kind: EventKind::Client { client, event },
            })
        });
        let trace = Trace {
            events: events.collect(),
        };
        let page = draw_run(&scenario, &trace, None);
        let (_, size) = page.split_once("viewBox=\"0 0 ").unwrap();
        let width: i32 = size.split_once(' ').unwrap().0.parse().unwrap();
        assert!(width <= 1_200, "{client_count} clients: {width} px");
        let lifelines = page.split("<path class=\"lifeline ").skip(1);
        let xs = lifelines.map(|path| {
            let (_, x) = path.split_once(" d=\"M").unwrap();
            x.split_once(' ').unwrap().0.parse::<i32>().unwrap()
        });
        let xs: BTreeSet<_> = xs.collect();
        assert_eq!(xs.len(), client_count, "lifelines overlap: {xs:?}");
        assert!(xs.iter().all(|x| (0..width).contains(x)), "{xs:?}");
    }
}

#[test]
fn heads_arrows_labels_and_lifelines_name_their_client() {
    let mut scenario = one_client();
    scenario.clients.push(scenario.clients[0].clone());
    let mut trace = conversation("day\n", "Saturday\n");
    let event = ClientEvent::Connects;
    let kind = EventKind::Client { client: 1, event };
    trace.events.push(Event { at_ms: 60, kind });
    let page = draw_run(&scenario, &trace, None);
    for filtered in [
        "<button class=\"colour-0\" data-client=\"0\"",
        "<button class=\"colour-1\" data-client=\"1\"",
        "<path class=\"lifeline colour-0\" data-client=\"0\"",
        "<g class=\"connect colour-0\" data-client=\"0\"",
        "<g class=\"stream colour-0\" data-client=\"0\"",
        "<g class=\"colour-0\" data-client=\"0\"",
        "<g class=\"colour-1\" data-client=\"1\"",
    ] {
        assert!(page.contains(filtered), "{filtered}: {page}");
    }
    let unnamed = page.matches("<g class=\"colour-").count();
    let named = page
        .matches("<g class=\"colour-0\" data-client=\"0\">")
        .count();
    assert_eq!(unnamed, named + 1);
    assert!(page.contains("dataset.client"), "the script is missing");
}

#[test]
fn the_first_wrong_byte_is_marked() {
    let trace = conversation("day\n", "Satyrday\n");
    let failure = |right_bytes| Failure {
        message: "it is Saturday".into(),
        event: trace.events.len() - 1,
        right_bytes: Some(right_bytes),
    };
    let page = draw_run(&one_client(), &trace, Some(&failure(3)));
    let marked = "<tspan class=\"bytes right\">Sat</tspan>\
                  <tspan class=\"bytes first-wrong\">y</tspan>\
                  <tspan class=\"bytes wrong\">rday\\n</tspan>";
    assert_contains(&page, marked);
    for right_bytes in [9, 1_000] {
        let page = draw_run(&one_client(), &trace, Some(&failure(right_bytes)));
        let marked = "<tspan class=\"bytes right\">Satyrday\\n</tspan>\
                      <tspan class=\"bytes first-wrong\"></tspan>";
        assert_contains(&page, marked);
    }
}

#[test]
fn a_short_write_is_labelled() {
    let mut trace = conversation("day\n", "Saturday\n");
    let is_labelled =
        |trace: &Trace| draw_run(&one_client(), trace, None).contains("> short write<");
    assert!(!is_labelled(&trace));
    let cut = StreamEvent::Wrote {
        bytes: "12".into(),
        is_short: true,
    };
    trace.events.push(stream(60, End::Client, cut));
    assert!(is_labelled(&trace));
}

#[test]
fn a_failure_is_at_the_top_and_linked_to_its_event() {
    let trace = conversation("day\n", "Saturday\n");
    let failure = Failure {
        message: "it is Sunday".into(),
        event: 5,
        right_bytes: None,
    };
    let page = draw_run(&one_client(), &trace, Some(&failure));
    assert_contains(&page, "href=\"#failure\"><b>it is Sunday</b>");
    assert_count(&page, "id=\"failure\"", 1);
    let without = draw_run(&one_client(), &trace, None);
    assert!(!without.contains("href=\"#failure\""), "{without}");
}

#[test]
fn datagrams_are_labelled_with_network_faults() {
    let server = "192.168.0.1:8089".parse().unwrap();
    let sent = |from: &str| DatagramEvent::Sent {
        by: Peer::Client(0),
        from: from.parse().unwrap(),
        to: server,
        bytes: "day".into(),
    };
    let datagrams = [
        (0, sent("192.168.0.2:5")),
        (0, DatagramEvent::Lost),
        (1, sent("192.168.0.1:8089")),
        (1, DatagramEvent::Corrupted("dax".into())),
        (2, sent("192.168.0.2:5")),
        (1, DatagramEvent::Duplicated { duplicate: 2 }),
    ];
    let events = datagrams.map(|(datagram, event)| Event {
        at_ms: 1,
        kind: EventKind::Datagram { datagram, event },
    });
    let page = draw_run(
        &one_client(),
        &Trace {
            events: events.into(),
        },
        None,
    );
    assert_count(&page, "<g class=\"datagram colour-0\"", 3);
    assert_count(&page, "class=\"cross\"", 3);
    assert_contains(&page, "<tspan class=\"trouble\"> lost</tspan>");
    assert_contains(&page, " source spoofed, corrupted to &quot;dax&quot;<");
    assert_contains(&page, "<tspan class=\"trouble\"> duplicate</tspan>");
}

#[test]
fn a_long_run_is_cut_to_the_events_around_the_failure() {
    let mut trace = Trace::default();
    for index in 0..5_000 {
        let kind = client(ClientEvent::Reply(format!("reply {index}.")));
        trace.events.push(Event { at_ms: index, kind });
    }
    let failure = Failure {
        message: "wrong".into(),
        event: 3_000,
        right_bytes: None,
    };
    let page = draw_run(&one_client(), &trace, Some(&failure));
    assert_contains(&page, "Shows the events 2001 to 4000 of 5000.");
    for (reply, is_drawn) in [(1_999, false), (2_000, true), (3_999, true), (4_000, false)] {
        assert_eq!(
            page.contains(&format!("reply {reply}.")),
            is_drawn,
            "{reply}"
        );
    }
    let page = draw_run(&one_client(), &trace, None);
    assert_contains(&page, "Shows the events 1 to 2000 of 5000.");
}

#[test]
fn labels_do_not_overlap() {
    let scenario = with_faults();
    let page = draw_run(&scenario, &run(&scenario), None);
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
fn a_page_is_balanced_and_deterministic() {
    let scenario = with_faults();
    let trace = run(&scenario);
    let page = draw_run(&scenario, &trace, None);
    assert_is_balanced(&page);
    assert_contains(&page, "class=\"fault\"");
    assert_contains(&page, "class=\"line-healed\"");
    assert_contains(&page, "class=\"server up\"");
    // Before the start, after the crash and after the shutdown.
    assert_count(&page, "class=\"server down\"", 3);
    assert_eq!(page, draw_run(&scenario, &trace, None));
}

#[test]
fn events_of_unknown_clients_hosts_and_datagrams_are_drawn() {
    let unknown_client = EventKind::Client {
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
    let kinds = [unknown_client, fault, read, received];
    let events = kinds.map(|kind| Event { at_ms: 1, kind });
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
        assert_is_balanced(&draw_run(&Scenario::default(), &trace, Some(&failure)));
    }
}

/// Draws a run with any name, replay command and JSON.
fn draw_run(scenario: &Scenario, trace: &Trace, failure: Option<&Failure>) -> String {
    let page = Page {
        name: "seed 7",
        replay: "sim run 7",
    };
    draw(&page, scenario, trace, failure)
}

fn one_client() -> Scenario {
    let lines = vec!["day".into()];
    let behaviour = Behaviour::Ask {
        to: Target::default(),
        lines,
        pause_ms: 0,
        timeout_ms: Timeout::default(),
    };
    Scenario {
        clients: vec![at(0, 0, behaviour)],
        ..Scenario::default()
    }
}

/// A client that connects, writes a request and reads a reply.
fn conversation(request: &str, reply: &str) -> Trace {
    let wrote = |text: &str| StreamEvent::Wrote {
        bytes: text.into(),
        is_short: false,
    };
    let connected = client(ClientEvent::Connected { connection: 0 });
    let accepted = StreamEvent::Accepted {
        from: "192.168.0.2:49152".parse().expect("an address"),
        listener: 0,
    };
    let events = vec![
        Event {
            at_ms: 1,
            kind: client(ClientEvent::Connects),
        },
        stream(2, End::Server, accepted),
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

fn at(host: usize, start_ms: u32, behaviour: Behaviour) -> Client<Behaviour> {
    Client {
        host,
        start_ms,
        behaviour,
    }
}

/// Clients with several behaviours on several hosts, with network faults and a crash.
fn with_faults() -> Scenario {
    let text = |text: &str| Text::from(text);
    let fault = |at_ms, kind| Fault {
        at_ms,
        for_ms: 60,
        kind,
    };
    let ask = Behaviour::Ask {
        to: Target::default(),
        lines: vec!["day".into(), "123".into(), "quit".into()],
        pause_ms: 100,
        timeout_ms: Timeout::default(),
    };
    let write = Behaviour::Write {
        to: Target::default(),
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
        to: Destination::default(),
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

fn assert_contains(page: &str, text: &str) {
    assert!(page.contains(text), "'{text}' is not in {page}");
}

fn assert_count(page: &str, text: &str, expected: usize) {
    let count = page.matches(text).count();
    assert_eq!(count, expected, "'{text}' in {page}");
}

/// Asserts that every element of a page is closed, in order.
fn assert_is_balanced(page: &str) {
    // The script is not markup.
    let (before, script) = page.split_once("<script>").expect("a script");
    let (_, after) = script.split_once("</script>").expect("a closed script");
    let markup = [before, after].concat();
    let mut open = Vec::new();
    for piece in markup.split('<').skip(1) {
        let (tag, text) = piece
            .split_once('>')
            .unwrap_or_else(|| panic!("'<{piece}' is not closed"));
        assert!(!text.contains('>'), "'{text}' is not escaped");
        assert_eq!(
            tag.matches('"').count() % 2,
            0,
            "'{tag}' has an unclosed attribute"
        );
        let name = tag.split([' ', '/']).next().unwrap_or(tag);
        match tag.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed)),
            None if tag.ends_with('/') || name == "meta" || name == "!DOCTYPE" => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?} are not closed");
}
