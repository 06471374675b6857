//! Clients, good and bad, on a network that does nothing wrong.

use chime_protocol::Framing;
use chime_sim_tests::chime::{Act, Behaviour, CoverageGoal, Ending, Reading, Scenario, Server};
use chime_sim_tests::scenario::{Network, Text};

use crate::{act, ask, passes, told, with, write};

#[test]
fn a_calm_day() {
    let trace = passes(&with([ask(&["day", "12345", "quit"], 10)]), &[]);
    assert_eq!(
        told(&trace, 0),
        ["Saturday", "15", "Thank You .. See You soon !! "]
    );
}

#[test]
fn pipelined_lines_are_answered_in_order() {
    let chunks = vec![Text::from("1\n22\n333\n"), Text::from("4444\nquit\n")];
    let trace = passes(
        &with([Behaviour::Pipe {
            chunks,
            pause_ms: 3,
        }]),
        &[CoverageGoal::LinesInOneRead],
    );
    assert_eq!(told(&trace, 0)[..4], ["1", "4", "9", "16"]);
}

#[test]
fn cr_and_lf_may_come_apart() {
    let apart = act(vec![
        Act::Write(Text::from("day\r")),
        Act::Pause(20),
        Act::Write(Text::from("\nquit\r")),
        Act::Pause(20),
        Act::Write(Text::from("\n")),
    ]);
    passes(&with([apart]), &[CoverageGoal::CrAndLfInDifferentReads]);
}

#[test]
fn a_drip_is_answered() {
    let bytes = b"send time\n0123456789\nquit\n".iter();
    let acts = bytes.flat_map(|byte| [Act::Write(Text(vec![*byte])), Act::Pause(7)]);
    passes(&with([act(acts.collect())]), &[]);
}

#[test]
fn whoever_stops_sending_early_gets_the_last_answer() {
    let early = act(vec![Act::Write(Text::from("day\n99")), Act::Shut]);
    passes(&with([early]), &[CoverageGoal::LastLineWithoutEnd]);
}

#[test]
fn nothing_is_answered_after_quit() {
    passes(
        &with([write(&["1\nquit\n2\n", "3\n"])]),
        &[CoverageGoal::MoreAfterQuit],
    );
}

#[test]
fn a_slow_reader_gets_everything() {
    let slow = Behaviour::Write {
        acts: vec![Act::Write(Text("day\n".repeat(300).into())), Act::Shut],
        reading: Reading::Slow {
            bytes: 20,
            pause_ms: 5,
        },
        ending: Ending::Await,
    };
    let scenario = Scenario {
        network: Network {
            window_bytes: 100,
            ..Network::default()
        },
        ..with([slow])
    };
    passes(
        &scenario,
        &[CoverageGoal::ServerBlocked, CoverageGoal::SlowReaderServed],
    );
}

#[test]
fn who_never_reads_is_closed_when_idle() {
    let deaf = Behaviour::Write {
        acts: vec![Act::Write(Text("day\n".repeat(300).into()))],
        reading: Reading::Never,
        ending: Ending::Await,
    };
    let scenario = Scenario {
        network: Network {
            window_bytes: 100,
            ..Network::default()
        },
        ..with([deaf, ask(&["5"], 0)])
    };
    let trace = passes(&scenario, &[CoverageGoal::ServerBlocked]);
    assert_eq!(told(&trace, 1), ["5"]);
}

#[test]
fn who_says_nothing_is_closed_when_idle() {
    passes(
        &with([write(&[]), write(&["da"])]),
        &[CoverageGoal::IdleClosed],
    );
}

#[test]
fn who_is_gone_without_a_word_is_closed_when_idle() {
    let forgetful = |text| Behaviour::Write {
        acts: vec![Act::Write(Text::from(text))],
        reading: Reading::Eager,
        ending: Ending::Forget,
    };
    passes(
        &with([forgetful("day\n"), forgetful("")]),
        &[CoverageGoal::ForgottenClosed],
    );
}

#[test]
fn who_leaves_with_replies_unread_harms_no_one() {
    let rude = || Behaviour::Write {
        acts: vec![Act::Write(Text("date\n".repeat(50).into())), Act::Pause(10)],
        reading: Reading::Never,
        ending: Ending::Leave,
    };
    let trace = passes(
        &with([rude(), rude(), ask(&["1", "2"], 10)]),
        &[CoverageGoal::Reset],
    );
    assert_eq!(told(&trace, 2), ["1", "2"]);
}

#[test]
fn a_pipe_through_a_narrow_window_comes_to_its_end() {
    for window_bytes in [1, 2, 3, 7, 30] {
        let scenario = Scenario {
            network: Network {
                window_bytes,
                ..Network::default()
            },
            ..with([Behaviour::Pipe {
                chunks: vec![Text("what?\n".repeat(20).into())],
                pause_ms: 0,
            }])
        };
        let trace = passes(&scenario, &[CoverageGoal::ServerBlocked]);
        assert_eq!(told(&trace, 0).len(), 20);
    }
}

#[test]
fn old_clients_send_a_command_at_a_time() {
    let old = act(vec![
        Act::Write(Text::from("day")),
        Act::Pause(10),
        Act::Write(Text::from("12345")),
        Act::Pause(10),
        Act::Write(Text::from("day\n")),
        Act::Pause(10),
        Act::Write(Text::from("quit")),
    ]);
    let scenario = Scenario {
        server: Server {
            framing: Framing::Read,
            ..Server::default()
        },
        ..with([old])
    };
    passes(&scenario, &[]);
}
