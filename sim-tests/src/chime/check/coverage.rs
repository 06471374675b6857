//! The coverage goals that a conversation reaches.

use std::collections::BTreeSet;

use chrono::{Datelike, NaiveDateTime};

use super::conversations::{Case, Transcript};
use super::replay::Outcome;
use super::{Reason, Run, admission, clients, datagrams};
use crate::chime::{Behaviour, CoverageGoal as Goal, Ending, Reading};
use crate::scenario::{CROWD, FaultKind};
use crate::trace::{Client, Connection, EventKind, Life, Piece, ServerEvent};

/// The goals that a run reaches.
pub(super) fn goals(run: &Run<'_>, cases: &[Case<'_>]) -> BTreeSet<Goal> {
    let mut goals = BTreeSet::new();
    let mut see = |goal, is_seen| {
        if is_seen {
            goals.insert(goal);
        }
    };
    for case in cases {
        if let Ok(transcript) = &case.transcript {
            note_conversation(case, transcript, &mut see);
        }
    }
    for (number, client) in run.index.clients.iter().enumerate() {
        if let Some(Behaviour::Ask { .. }) = run.behaviour(number) {
            note_attempts(client, &mut see);
        }
    }
    for event in &run.index.trace.events {
        if let EventKind::Server(event) = &event.kind {
            see(Goal::AcceptFailed, *event == ServerEvent::CannotAccept);
            see(Goal::AcceptAborted, *event == ServerEvent::AcceptAborted);
            see(Goal::SendFailed, *event == ServerEvent::CannotSend);
            see(Goal::ReceiveFailed, *event == ServerEvent::CannotReceive);
        }
    }
    for (number, life) in run.index.lives.iter().enumerate() {
        note_stop(run, number, life, &mut see);
    }
    for connection in run.index.connections.values() {
        see(Goal::FrozenBeyondDeadline, is_saved(run, connection));
    }
    admission::note(run, &mut see);
    datagrams::note(run, &mut see);
    clients::note(run, &mut see);
    goals.extend(&run.answers.goals);
    goals
}

fn note_conversation(case: &Case<'_>, transcript: &Transcript, see: &mut impl FnMut(Goal, bool)) {
    let Ok(explanation) = case.explain(transcript) else {
        return;
    };
    let reason = explanation.map(|explanation| explanation.reason);
    let is_served = reason.is_none() && transcript.is_complete();
    note_bytes(case, transcript, is_served, see);
    note_end(case, transcript, reason, is_served, see);
    note_time(case, transcript, see);
}

fn note_stop(run: &Run<'_>, number: usize, life: &Life<'_>, see: &mut impl FnMut(Goal, bool)) {
    let (Some(stopping), Some(end)) = (life.stopping, life.end) else {
        return;
    };
    let events = &run.index.trace.events[stopping.event..end.event];
    for event in events {
        if let EventKind::Server(event) = &event.kind {
            see(
                Goal::AcceptFailedAtStop,
                *event == ServerEvent::CannotAccept,
            );
            see(
                Goal::AcceptAbortedAtStop,
                *event == ServerEvent::AcceptAborted,
            );
        }
    }
    let connections = run.index.connections.values();
    let busy = connections.filter(|connection| {
        let side = &connection.server_side;
        let last = side.read.last().into_iter().chain(side.wrote.last());
        let is_active = last.map(|piece| piece.at).max() > Some(stopping);
        connection.life == number && connection.accepted < stopping && is_active
    });
    let has_crowd = run.scenario.server.workers == 1 && busy.count() >= CROWD;
    see(Goal::CrowdAtStop, has_crowd);
}

/// Whether the server read at the end of a freeze although the idle timeout had passed.
fn is_saved(run: &Run<'_>, connection: &Connection<'_>) -> bool {
    let side = &connection.server_side;
    let freezes = run.index.faults.iter();
    let freezes = freezes.filter(|span| *span.kind == FaultKind::Freeze);
    freezes.filter_map(|span| span.end).any(|end| {
        let moves = side.read.iter().chain(&side.wrote).map(|piece| piece.at);
        let last = moves.filter(|at| at.at_ms < end.at_ms).max();
        let last_ms = last.unwrap_or(connection.accepted).at_ms;
        let deadline_ms = last_ms + run.scenario.server.idle_timeout_ms;
        let has_passed = deadline_ms < end.at_ms && run.index.awake_ms(deadline_ms) == end.at_ms;
        has_passed && side.read.iter().any(|piece| piece.at.at_ms == end.at_ms)
    })
}

fn note_attempts(client: &Client<'_>, see: &mut impl FnMut(Goal, bool)) {
    let mut attempts = client.attempts.iter();
    let has_failed = attempts.any(|attempt| attempt.failed.is_some());
    let last = client.attempts.last();
    let is_served = last.is_some_and(|last| last.failed.is_none());
    see(Goal::ServedAnew, has_failed && is_served);
}

fn note_bytes(
    case: &Case<'_>,
    transcript: &Transcript,
    is_served: bool,
    see: &mut impl FnMut(Goal, bool),
) {
    let server_side = &case.connection.server_side;
    let reads = || server_side.read.iter();
    let is_cr_then_lf = reads()
        .zip(reads().skip(1))
        .any(|(one, next)| one.bytes.ends_with(b"\r") && next.bytes.starts_with(b"\n"));
    see(Goal::CrAndLfInDifferentReads, is_cr_then_lf);
    let line_count = |piece: &Piece<'_>| piece.bytes.iter().filter(|byte| **byte == b'\n').count();
    see(
        Goal::LinesInOneRead,
        reads().any(|piece| line_count(piece) > 2),
    );
    let is_short = server_side.wrote.iter().any(|piece| piece.is_short);
    see(Goal::ShortWrite, is_short);
    let is_blocked = server_side.blocked_ms.is_some();
    see(Goal::ServerBlocked, is_blocked);
    let is_slow = matches!(
        case.behaviour,
        Some(Behaviour::Write {
            reading: Reading::Slow { .. },
            ..
        })
    );
    see(Goal::SlowReaderServed, is_slow && is_blocked && is_served);

    let exchanges = &transcript.exchanges;
    let is_more = exchanges.iter().any(|exchange| exchange.is_after_close);
    see(
        Goal::MoreAfterQuit,
        is_served && is_more && !transcript.is_refused,
    );
    let is_last_answered = exchanges.last().is_some_and(|last| last.has_reply);
    let is_half_closed = case.connection.client_side.shut.is_some();
    see(
        Goal::LastLineWithoutEnd,
        is_served && is_half_closed && is_last_answered && is_in_mid_line(case),
    );
}

/// Whether the server had read an incomplete line when it closed.
fn is_in_mid_line(case: &Case<'_>) -> bool {
    let closed = case.connection.server_side.closed();
    let closed_ms = closed.map_or(u32::MAX, |closed| closed.at_ms);
    let reads = case.connection.server_side.read.iter();
    let last = reads.take_while(|piece| piece.at.at_ms <= closed_ms).last();
    last.is_some_and(|piece| !piece.bytes.ends_with(b"\n"))
}

fn note_end(
    case: &Case<'_>,
    transcript: &Transcript,
    reason: Option<Reason>,
    is_served: bool,
    see: &mut impl FnMut(Goal, bool),
) {
    let is_because = |because| reason == Some(because);
    see(Goal::StreamFailed, is_because(Reason::StreamFailed));
    let replay = &case.run.replays[&case.number];
    see(Goal::IdleClosed, replay.is(Outcome::Idle));
    see(Goal::SlowLineClosed, replay.is(Outcome::SlowLine));
    see(Goal::SlowReaderClosed, replay.is(Outcome::SlowReader));
    see(Goal::DrainTimedOut, replay.is(Outcome::Cut));
    see(Goal::Killed, is_because(Reason::Killed));
    see(
        Goal::StoppedInMidLine,
        is_because(Reason::Stop) && is_in_mid_line(case),
    );
    see(Goal::Partitioned, is_because(Reason::Partition));
    let is_one_way = case.link_faults().all(|span| {
        matches!(
            span.kind,
            FaultKind::PartitionToServer { .. } | FaultKind::PartitionFromServer { .. }
        )
    });
    see(
        Goal::PartitionedOneWay,
        is_because(Reason::Partition) && is_one_way,
    );

    let [client_side, server_side] = [&case.connection.client_side, &case.connection.server_side];
    see(
        Goal::Reset,
        client_side.is_reset() || server_side.is_reset(),
    );
    let is_forgotten = matches!(
        case.behaviour,
        Some(Behaviour::Write {
            ending: Ending::Forget,
            ..
        })
    ) && client_side.dropped.is_none();
    see(
        Goal::ForgottenClosed,
        is_forgotten && server_side.dropped.is_some(),
    );

    see(Goal::Refused, transcript.is_refused && is_served);
    let is_held = case
        .link_faults()
        .any(|span| matches!(span.kind, FaultKind::Hold { .. }));
    see(
        Goal::ServedAfterHold,
        is_held && is_served && transcript.exchanges.len() > 1,
    );
    let life = &case.run.index.lives[case.connection.life];
    let has_stopped = |at_ms: u32| life.stopping.is_some_and(|stopping| stopping.at_ms < at_ms);
    let mut exchanges = transcript.exchanges.iter();
    let is_answered_late = exchanges
        .any(|exchange| exchange.has_reply && exchange.answered_ms.is_some_and(has_stopped));
    see(Goal::AnsweredAfterStop, is_answered_late);
}

fn note_time(case: &Case<'_>, transcript: &Transcript, see: &mut impl FnMut(Goal, bool)) {
    // The welcome is independent of the time.
    let replies = transcript
        .exchanges
        .iter()
        .skip(1)
        .filter(|exchange| exchange.has_reply);
    let instants: Vec<NaiveDateTime> = replies
        .filter_map(|exchange| {
            exchange
                .answered_ms
                .map(|at_ms| case.run.index.clock(at_ms))
        })
        .collect();
    let turns = || instants.iter().zip(instants.iter().skip(1));
    let is_midnight = turns().any(|(one, next)| one.date() < next.date());
    see(Goal::MidnightBetweenReplies, is_midnight);
    let is_new_year = turns().any(|(one, next)| one.year() < next.year());
    see(Goal::NewYearBetweenReplies, is_new_year);
    see(Goal::ClockSetBack, turns().any(|(one, next)| next < one));
    let is_leap_day = |instant: &NaiveDateTime| (instant.month(), instant.day()) == (2, 29);
    see(Goal::LeapDay, instants.iter().any(is_leap_day));
}
