//! T25: probes of the admin port, and clients that fill it.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use crate::{OPEN, PATIENCE, Server, metric, record, rest_of, start};

const PROBE: &[u8] = b"GET /healthz HTTP/1.0\r\n\r\n";

fn connect(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.admin.expect("an admin address"));
    let stream = stream.expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream
}

#[test]
fn t25_a_probe_that_half_closes_gets_its_response() {
    const PROBES: usize = 1000;
    let server = start(&[]);
    for _ in 0..PROBES {
        let mut stream = connect(&server);
        stream.write_all(PROBE).expect("sent");
        stream.shutdown(Shutdown::Write).expect("half-closed");
        let response = rest_of(stream);
        assert!(response.starts_with("HTTP/1.0 200 OK\r\n"), "{response:?}");
        assert!(response.ends_with("\r\n\r\nok\n"), "{response:?}");
    }
    record("T25", "half-closing probes with a response", PROBES);
}

#[test]
fn t25_clients_that_complete_no_request_keep_no_probe_waiting() {
    let server = start(&[]);
    // Were each of these to wait for the timeouts of others, a probe would wait longer than PATIENCE.
    let mut hogs: Vec<_> = (0..60).map(|_| connect(&server)).collect();
    for _ in 0..60 {
        let mut half = connect(&server);
        half.write_all(&PROBE[..PROBE.len() / 2]).expect("sent");
        hogs.push(half);
    }
    for _ in 0..20 {
        let mut probe = connect(&server);
        probe.write_all(PROBE).expect("sent");
        assert!(rest_of(probe).ends_with("\r\n\r\nok\n"));
    }
    assert_eq!(metric(&server, OPEN), 0);
    drop(hogs);
}
