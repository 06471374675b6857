//! The transcripts of the README, compared with the actual output.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use crate::isolated;
use crate::servers::chime_tcp_and_udp;

const README: &str = include_str!("../../../README.md");

/// Returns the code blocks of a kind, without their fences.
fn blocks(kind: &str) -> impl Iterator<Item = &'static str> {
    let fence = format!("```{kind}\n");
    let mut parts = Vec::new();
    for part in README.split(&*fence).skip(1) {
        let (block, _) = part.split_once("```").expect("the end of the block");
        parts.push(block);
    }
    assert!(!parts.is_empty(), "the README has no block {kind}");
    parts.into_iter()
}

#[test]
fn the_transcript_matches_a_server() {
    let transcript = blocks("text").next().expect("a transcript");
    let stream = TcpStream::connect(chime_tcp_and_udp()).unwrap();
    let mut replies = BufReader::new(&stream).lines();
    for line in transcript.lines() {
        if let Some(request) = line.strip_prefix("chime> ") {
            writeln!(&stream, "{request}").unwrap();
        } else {
            let reply = replies.next().expect("a reply").expect("text");
            assert_eq!(reply.trim_end(), line);
        }
    }
}

#[test]
fn the_commands_print_the_output_shown() {
    let server = chime_tcp_and_udp();
    for block in blocks("console") {
        for part in block.split("$ ").skip(1) {
            let (command, output) = part.split_once('\n').expect("a line");
            assert_eq!(printed(command, server), output, "{command}");
        }
    }
}

/// Runs the command in a shell that has the client in its PATH, and returns the output.
fn printed(command: &str, server: SocketAddr) -> String {
    let client = Path::new(env!("CARGO_BIN_EXE_chime-client"));
    let folder = client.parent().expect("a folder").to_path_buf();
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = [folder].into_iter().chain(env::split_paths(&path));
    let output = isolated("sh")
        .args(["-c", command])
        .env("PATH", env::join_paths(folders).expect("a path"))
        .env("CHIME_SERVER", server.to_string())
        .output()
        .expect("sh is installed");
    String::from_utf8([output.stdout, output.stderr].concat()).expect("text")
}
