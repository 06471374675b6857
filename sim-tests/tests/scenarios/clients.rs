//! Correct and misbehaving clients, on a network without faults.

use chime_protocol::Framing;
use chime_sim_tests::chime::{Act, Behaviour, CoverageGoal, Ending, Reading, Target, Timeout};
use chime_sim_tests::scenario::Text;

use crate::{act, ask, passes, read, replies, with, with_window, write};

#[test]
fn requests_are_answered() {
    let trace = passes(&with([ask(&["day", "12345", "quit"], 10)]), &[]);
    assert_eq!(
        replies(&trace, 0),
        ["Saturday", "15", "Thank You .. See You soon !! "]
    );
}

#[test]
fn pipelined_lines_are_answered_in_order() {
    let chunks = vec![Text::from("1\n22\n333\n"), Text::from("4444\nquit\n")];
    let pipe = Behaviour::Pipe {
        to: Target::default(),
        chunks,
        pause_ms: 3,
        timeout_ms: Timeout::default(),
    };
    let trace = passes(&with([pipe]), &[CoverageGoal::LinesInOneRead]);
    assert_eq!(replies(&trace, 0)[..4], ["1", "4", "9", "16"]);
}

#[test]
fn cr_and_lf_in_different_reads_end_one_line() {
    let split = act(vec![
        Act::Write(Text::from("day\r")),
        Act::Pause(20),
        Act::Write(Text::from("\nquit\r")),
        Act::Pause(20),
        Act::Write(Text::from("\n")),
    ]);
    passes(&with([split]), &[CoverageGoal::CrAndLfInDifferentReads]);
}

#[test]
fn requests_written_byte_by_byte_are_answered() {
    let bytes = b"send time\n0123456789\nquit\n".iter();
    let acts = bytes.flat_map(|byte| [Act::Write(Text(vec![*byte])), Act::Pause(7)]);
    passes(&with([act(acts.collect())]), &[]);
}

#[test]
fn the_last_line_before_a_half_close_is_answered() {
    let half_close = act(vec![Act::Write(Text::from("day\n99")), Act::Shut]);
    passes(&with([half_close]), &[CoverageGoal::LastLineWithoutEnd]);
}

#[test]
fn lines_after_quit_are_not_answered() {
    passes(
        &with([write(&["1\nquit\n2\n", "3\n"])]),
        &[CoverageGoal::MoreAfterQuit],
    );
}

#[test]
fn a_slow_reader_receives_every_reply() {
    let slow = Behaviour::Write {
        to: Target::default(),
        acts: vec![Act::Write(Text("day\n".repeat(300).into())), Act::Shut],
        reading: Reading::Slow {
            bytes: 20,
            pause_ms: 5,
        },
        ending: Ending::Await,
    };
    passes(
        &with_window(100, [slow]),
        &[CoverageGoal::ServerBlocked, CoverageGoal::SlowReaderServed],
    );
}

#[test]
fn a_client_that_never_reads_is_closed_at_the_idle_timeout() {
    let scenario = with_window(100, [read(300, Reading::Never), ask(&["5"], 0)]);
    let trace = passes(&scenario, &[CoverageGoal::ServerBlocked]);
    assert_eq!(replies(&trace, 1), ["5"]);
}

#[test]
fn clients_that_send_no_line_are_closed_at_the_idle_timeout() {
    passes(
        &with([write(&[]), write(&["da"])]),
        &[CoverageGoal::IdleClosed],
    );
}

#[test]
fn half_open_connections_are_closed_at_the_idle_timeout() {
    let forget = |text| Behaviour::Write {
        to: Target::default(),
        acts: vec![Act::Write(Text::from(text))],
        reading: Reading::Eager,
        ending: Ending::Forget,
    };
    passes(
        &with([forget("day\n"), forget("")]),
        &[CoverageGoal::ForgottenClosed],
    );
}

#[test]
fn clients_that_leave_replies_unread_do_not_affect_others() {
    let leave = || Behaviour::Write {
        to: Target::default(),
        acts: vec![Act::Write(Text("date\n".repeat(50).into())), Act::Pause(10)],
        reading: Reading::Never,
        ending: Ending::Leave,
    };
    let scenario = with([leave(), leave(), ask(&["1", "2"], 10)]);
    let trace = passes(&scenario, &[CoverageGoal::Reset]);
    assert_eq!(replies(&trace, 2), ["1", "2"]);
}

#[test]
fn a_pipe_through_a_small_window_completes() {
    for window_bytes in [1, 2, 3, 7, 30] {
        let pipe = Behaviour::Pipe {
            to: Target::default(),
            chunks: vec![Text("what?\n".repeat(20).into())],
            pause_ms: 0,
            timeout_ms: Timeout::default(),
        };
        let scenario = with_window(window_bytes, [pipe]);
        let trace = passes(&scenario, &[CoverageGoal::ServerBlocked]);
        assert_eq!(replies(&trace, 0).len(), 20);
    }
}

#[test]
fn legacy_clients_send_one_command_per_write() {
    let mut acts = Vec::new();
    for command in ["day", "12345", "day\n", "quit"] {
        acts.extend([Act::Write(Text::from(command)), Act::Pause(10)]);
    }
    acts.pop();
    let mut scenario = with([act(acts)]);
    scenario.server.listeners[0].framing = Framing::Read;
    passes(&scenario, &[]);
}
