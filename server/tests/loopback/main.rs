//! The command `chime-server` over loopback, as its users meet it.

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
    FLAGS, PATIENCE, Server, command, read_line, rest_of, uninterrupted, wait_until,
    write_until_stopped,
};

/// What one read returns.
fn read_once(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 1024];
    let length = uninterrupted(|| stream.read(&mut buffer)).expect("readable");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}
