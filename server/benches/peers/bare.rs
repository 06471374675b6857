//! Bare event loops: one thread around epoll or `recvmmsg`, without timeouts or limits.
//!
//! `serve_lines`, `serve_discard` and `serve_datagrams` do not parse requests: they measure the cost of the
//! system calls. `serve_sessions` runs chime's protocol: the difference to `serve_lines` is the cost of parsing,
//! and the difference of chime to it is the cost of the runtime, timeouts and limits.

use std::io::{self, IoSlice, IoSliceMut, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

use chime_protocol::{Framing, Service, Session, Status};
use chrono::{Local, NaiveDateTime};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg};
use socket2::SockRef;

const BLOCK: usize = 16_384;
const BATCH: usize = 64;

/// Listen backlog. The standard library's 128 drops SYNs when thousands of clients connect at once, and each
/// dropped SYN is sent again after 1 s.
const BACKLOG: i32 = 4096;

const GREETING: &[u8] = b"Welcome to the server\n";
const REPLY: &[u8] = b"Saturday\n";

/// Sends the greeting to each connection and a fixed reply for each LF.
pub(crate) fn serve_lines(address: &str) -> io::Result<()> {
    let replies = REPLY.repeat(BLOCK);
    serve(address, GREETING, (), |connection, (), request| {
        let lines = request.iter().filter(|byte| **byte == b'\n').count();
        connection.write_all(&replies[..lines * REPLY.len()])
    })
}

/// Serves chime's protocol.
pub(crate) fn serve_sessions(address: &str) -> io::Result<()> {
    let mut session = Session::new(Service::Both, Framing::Line);
    let mut greeting = [0; BLOCK];
    let progress = session.advance(&[], &mut greeting, NaiveDateTime::MIN);
    let greeting = &greeting[..progress.written];
    serve(
        address,
        greeting,
        session,
        |connection, session, request| {
            let now = Local::now().naive_local();
            let mut unread = request;
            loop {
                let mut replies = [0; BLOCK];
                let progress = session.advance(unread, &mut replies, now);
                connection.write_all(&replies[..progress.written])?;
                unread = &unread[progress.read..];
                match progress.status {
                    Status::NeedInput => return Ok(()),
                    Status::OutputFull => {}
                    Status::Closed => return Err(io::ErrorKind::ConnectionAborted.into()),
                }
            }
        },
    )
}

/// Discards what it reads, and sends a fixed reply when a read ends with LF.
pub(crate) fn serve_discard(address: &str) -> io::Result<()> {
    serve(
        address,
        GREETING,
        (),
        |connection, (), request| match request.ends_with(b"\n") {
            true => connection.write_all(b"0\n"),
            false => Ok(()),
        },
    )
}

/// Runs the event loop: calls `reply` after each read with the connection, its state and the bytes read.
fn serve<S: Clone>(
    address: &str,
    greeting: &[u8],
    state: S,
    reply: impl Fn(&mut TcpStream, &mut S, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let listener = TcpListener::bind(address)?;
    // A second listen(2) changes the backlog.
    SockRef::from(&listener).listen(BACKLOG)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
    let mut connections: Vec<Option<(TcpStream, S)>> = Vec::new();
    let mut events = [EpollEvent::empty(); 1024];
    let mut block = [0; BLOCK];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            let slot = event.data() as usize;
            if slot == 0 {
                accept(&listener, &epoll, &mut connections, greeting, &state)?;
                continue;
            }
            let (connection, state) = connections[slot].as_mut().expect("an open connection");
            let ended = match connection.read(&mut block) {
                Ok(0) | Err(_) => true,
                Ok(length) => reply(connection, state, &block[..length]).is_err(),
            };
            if ended {
                connections[slot] = None;
            }
        }
    }
}

/// Drains the backlog; the slot of a connection is its file descriptor.
fn accept<S: Clone>(
    listener: &TcpListener,
    epoll: &Epoll,
    connections: &mut Vec<Option<(TcpStream, S)>>,
    greeting: &[u8],
    state: &S,
) -> io::Result<()> {
    while let Ok((mut connection, _)) = listener.accept() {
        connection.set_nodelay(true)?;
        let slot = connection.as_raw_fd() as usize;
        connections.resize_with(connections.len().max(slot + 1), || None);
        epoll.add(
            &connection,
            EpollEvent::new(EpollFlags::EPOLLIN, slot as u64),
        )?;
        if connection.write_all(greeting).is_ok() {
            connections[slot] = Some((connection, state.clone()));
        }
    }
    Ok(())
}

/// Sends a fixed reply to each datagram, up to `BATCH` per system call.
pub(crate) fn serve_datagrams(address: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    let descriptor = socket.as_raw_fd();
    let mut received: MultiHeaders<SockaddrIn> = MultiHeaders::preallocate(BATCH, None);
    let mut sent: MultiHeaders<SockaddrIn> = MultiHeaders::preallocate(BATCH, None);
    loop {
        let mut blocks = [[0; 64]; BATCH];
        let mut slices = blocks.each_mut().map(|block| [IoSliceMut::new(block)]);
        let requests = recvmmsg(
            descriptor,
            &mut received,
            &mut slices,
            MsgFlags::MSG_WAITFORONE,
            None,
        )?;
        let addresses: Vec<Option<SockaddrIn>> = requests.map(|request| request.address).collect();
        let replies = [[IoSlice::new(REPLY)]; BATCH];
        sendmmsg(
            descriptor,
            &mut sent,
            &replies,
            addresses,
            [],
            MsgFlags::empty(),
        )?;
    }
}
