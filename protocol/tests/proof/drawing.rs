//! The smallest automaton that decodes requests, drawn: `src/automaton.svg`, which the crate documentation shows.
//!
//! `SNAPSHOTS=overwrite cargo test -p chime-protocol --test proof drawing` draws it anew.

use std::collections::BTreeMap;
use std::fmt::Write;

use chime_protocol::Request;
use snapbox::{assert_data_eq, file};

use crate::control::CLASSES;
use crate::{STATES, bytes_of_a_line};

/// A state of the smallest automaton: states of the decoder that no input tells apart.
struct Node {
    /// The shortest line that leads here.
    line: Vec<u8>,
    request: Request,
    /// Where each byte leads. Bytes that make the line invalid for good are left out.
    next: BTreeMap<usize, Vec<u8>>,
}

/// Merges the states of the decoder that no input tells apart. First, states are in one group if LF and the end of
/// the input give the same request. Then groups are split until each byte leads from all states of a group to one
/// group.
fn smallest_automaton() -> Vec<Node> {
    let end = |index: usize| {
        let decoder = &STATES[index].decoder;
        let request = decoder.clone().next(&mut &b"\n"[..]);
        (request.expect("LF ends a line"), decoder.clone().finish())
    };
    let next: Vec<Vec<usize>> = STATES
        .iter()
        .map(|state| {
            let after = |byte| {
                let mut decoder = state.decoder.clone();
                assert_eq!(decoder.next(&mut &[byte][..]), None);
                let is_next = |state: &crate::State| state.decoder == decoder;
                STATES
                    .iter()
                    .position(is_next)
                    .expect("all states are known")
            };
            bytes_of_a_line().map(after).collect()
        })
        .collect();
    let mut groups = number(&(0..STATES.len()).map(end).collect::<Vec<_>>());
    loop {
        let rows: Vec<(usize, Vec<usize>)> = (0..STATES.len())
            .map(|state| {
                (
                    groups[state],
                    next[state].iter().map(|next| groups[*next]).collect(),
                )
            })
            .collect();
        let split = number(&rows);
        if split == groups {
            break;
        }
        groups = split;
    }
    let invalid = groups[STATES
        .iter()
        .position(|state| state.line == b"\0")
        .expect("it is a state")];
    let count = groups.iter().max().map_or(0, |last| last + 1);
    (0..count)
        .map(|group| {
            // The states are in the order of the length of their lines.
            let first = groups
                .iter()
                .position(|other| *other == group)
                .expect("no group is empty");
            let mut bytes: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
            for (byte, state) in bytes_of_a_line().zip(&next[first]) {
                if groups[*state] != invalid {
                    bytes.entry(groups[*state]).or_default().push(byte);
                }
            }
            Node {
                line: STATES[first].line.clone(),
                request: end(first).0,
                next: bytes,
            }
        })
        .collect()
}

/// Numbers the values in the order of their first occurrence.
fn number<T: PartialEq>(values: &[T]) -> Vec<usize> {
    let mut seen: Vec<&T> = Vec::new();
    values
        .iter()
        .map(|value| {
            seen.iter()
                .position(|other| *other == value)
                .unwrap_or_else(|| {
                    seen.push(value);
                    seen.len() - 1
                })
        })
        .collect()
}

const COLUMN: usize = 72;
const ROW: usize = 56;
const RADIUS: usize = 17;

/// Gives `node` and the nodes that follow it their places: the first child in the same row, others below.
fn place(
    nodes: &[Node],
    node: usize,
    rows: &mut usize,
    places: &mut BTreeMap<usize, (usize, usize)>,
) {
    let column = nodes[node].line.len();
    places.insert(node, (column * COLUMN + 40, *rows * ROW + 40));
    let mut is_first = true;
    for child in 0..nodes.len() {
        if nodes[child]
            .line
            .split_last()
            .is_some_and(|(_, line)| line == nodes[node].line)
            && nodes[node].next.contains_key(&child)
        {
            if !is_first {
                *rows += 1;
            }
            is_first = false;
            place(nodes, child, rows, places);
        }
    }
}

/// Returns what a reader calls these bytes.
fn label(bytes: &[u8]) -> String {
    match bytes {
        b"\t " => "blank".into(),
        b" " => "SP".into(),
        b"\r" => "CR".into(),
        b"0" => "0–9".into(),
        [_, lower] if lower.is_ascii_lowercase() => char::from(*lower).into(),
        bytes => bytes.escape_ascii().to_string(),
    }
}

fn svg(nodes: &[Node]) -> String {
    let (mut rows, mut places) = (0, BTreeMap::new());
    place(nodes, 0, &mut rows, &mut places);
    let width = places.values().map(|(x, _)| x).max().unwrap_or(&0) + 110;
    let height = rows * ROW + 120;
    let (mut lines, mut circles) = (String::new(), String::new());
    for (node, (x, y)) in &places {
        for (next, bytes) in &nodes[*node].next {
            let (to_x, to_y) = places[next];
            let label = label(bytes);
            let is_parent = nodes[*next]
                .line
                .split_last()
                .is_some_and(|(_, line)| line == nodes[*node].line);
            if node == next {
                let y = y + RADIUS + 12;
                writeln!(
                    circles,
                    r##"<text x="{x}" y="{y}" class="small">↻ {label}</text>"##
                )
                .expect("a string has room");
            } else if is_parent {
                let bend = to_x - COLUMN / 2;
                writeln!(
                    lines,
                    r##"<path d="M{x} {y} C{bend} {y} {bend} {to_y} {to_x} {to_y}"/>"##
                )
                .expect("a string has room");
                writeln!(
                    circles,
                    r##"<circle cx="{to_x}" cy="{to_y}" r="{RADIUS}" class="{}"/>"##,
                    if nodes[*next].request == Request::Invalid {
                        "open"
                    } else {
                        "valid"
                    }
                )
                .expect("a string has room");
                writeln!(
                    circles,
                    r##"<text x="{to_x}" y="{}">{label}</text>"##,
                    to_y + 4
                )
                .expect("a string has room");
            } else {
                writeln!(
                    lines,
                    r##"<path d="M{x} {y} L{to_x} {to_y}" class="again"/>"##
                )
                .expect("a string has room");
            }
        }
        let name = match nodes[*node].request {
            Request::Command(command) if nodes[*node].line.ends_with(b"\r") => command.name(),
            Request::Digits(_) if nodes[*node].line.ends_with(b"\r") => "digits",
            _ => continue,
        };
        let (x, y) = (x + RADIUS + 8, y + 4);
        writeln!(
            circles,
            r##"<text x="{x}" y="{y}" class="name">{name}</text>"##
        )
        .expect("a string has room");
    }
    let (x, y) = places[&0];
    let below = height - 16;
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="The automaton of requests">
<style>
.automaton path {{ fill: none; stroke: #889; stroke-width: 1.5 }}
.automaton .again {{ stroke: #bbc; stroke-width: 1; stroke-dasharray: 3 3 }}
.automaton circle {{ fill: #fff; stroke: #556; stroke-width: 1.5 }}
.automaton .valid {{ fill: #cfe8d5; stroke: #275; stroke-width: 2.5 }}
.automaton text {{ font: 12px sans-serif; text-anchor: middle; fill: #222 }}
.automaton .small {{ font-size: 10px; fill: #556 }}
.automaton .name {{ font-weight: bold; text-anchor: start }}
.automaton .note {{ text-anchor: start }}
</style>
<g class="automaton">
<rect width="{width}" height="{height}" fill="#fff"/>
{lines}<circle cx="{x}" cy="{y}" r="{RADIUS}"/>
<text x="{x}" y="{}">start</text>
{circles}<text x="23" y="{below}" class="note">Any other byte: an invalid line. LF: the request (green) or an error, then the start. Letter case is ignored.</text>
</g>
</svg>
"##,
        y + 4
    )
}

/// The automaton has as many states as the model has classes of lines, so none is too many. *Enumerated:* all
/// states, with all bytes.
#[test]
fn the_automaton_matches_its_drawing() {
    let nodes = smallest_automaton();
    assert_eq!(nodes.len(), CLASSES);
    assert_data_eq!(svg(&nodes), file!["../../src/automaton.svg"].raw());
}
