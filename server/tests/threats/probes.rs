//! T25: health probes of the admin port, and exhaustion of its connections.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use crate::{OPEN, ServerProcess, TIMEOUT, metric, read_to_eof, record, start};

const PROBE: &[u8] = b"GET /healthz HTTP/1.0\r\n\r\n";

fn connect(server: &ServerProcess) -> TcpStream {
    let stream = TcpStream::connect(server.admin.expect("an admin address"));
    let stream = stream.expect("a connection");
    stream.set_read_timeout(Some(TIMEOUT)).expect("set");
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
        let response = read_to_eof(stream);
        assert!(response.starts_with("HTTP/1.0 200 OK\r\n"), "{response:?}");
        assert!(response.ends_with("\r\n\r\nok\n"), "{response:?}");
    }
    record("T25", "half-closing probes with a response", PROBES);
}

#[test]
fn t25_incomplete_requests_do_not_block_probes() {
    let server = start(&[]);
    // If connections waited for the timeouts of earlier ones, a probe would take longer than `TIMEOUT`.
    let mut stalled: Vec<_> = (0..60).map(|_| connect(&server)).collect();
    for _ in 0..60 {
        let mut incomplete = connect(&server);
        incomplete
            .write_all(&PROBE[..PROBE.len() / 2])
            .expect("sent");
        stalled.push(incomplete);
    }
    for _ in 0..20 {
        let mut probe = connect(&server);
        probe.write_all(PROBE).expect("sent");
        assert!(read_to_eof(probe).ends_with("\r\n\r\nok\n"));
    }
    assert_eq!(metric(&server, OPEN), 0);
    drop(stalled);
}
