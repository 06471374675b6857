//! End-to-end tests of the command `chime-server` over loopback.

mod abuse;
#[path = "../process/activated.rs"]
mod activated;
mod activation;
mod admin;
mod completions;
mod configuration;
mod datagrams;
mod help;
mod lifecycle;
mod lines;
mod logs;
mod originals;
#[path = "../process/mod.rs"]
mod process;

use std::io::Read;
use std::net::TcpStream;

use process::{
    FLAGS, ServerProcess, TIMEOUT, command, has_ipv6, isolated, raise_descriptor_limit, read_line,
    read_to_eof, retry_interrupted, wait_until, write_until_blocked,
};

/// Returns what one read returns, as text.
fn read_once(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 1024];
    let length = retry_interrupted(|| stream.read(&mut buffer)).expect("readable");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}
