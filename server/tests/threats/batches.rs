//! T6: datagrams that the server receives in one batch.

use std::net::UdpSocket;

use crate::load::{resume, suspend};
use crate::{
    ANSWERED, IGNORED, LIMITED, ServerProcess, UNSENT, isolated, metric, start, wait_for_metric,
};

/// The number of datagrams that the server receives per system call.
const BATCH: usize = 64;

/// Starts a server with one worker, and a client.
fn start_with_client() -> (ServerProcess, UdpSocket) {
    let server = start(&["--workers", "1"]);
    // A reply from the admin endpoint shows that the worker has started.
    assert_eq!(metric(&server, ANSWERED), 0);
    let client = server.udp_client();
    (server, client)
}

/// Sends datagrams while the server is suspended, so that it receives them in one batch.
fn send_in_one_batch(server: &ServerProcess, client: &UdpSocket, datagrams: &[&[u8]]) {
    suspend(server);
    for datagram in datagrams {
        client.send(datagram).expect("sent");
    }
    resume(server);
}

fn assert_replies(client: &UdpSocket, count: usize) {
    let mut reply = [0; 64];
    for number in 0..count {
        let received = client.recv(&mut reply);
        let length = received.unwrap_or_else(|error| panic!("{number} of {count}: {error}"));
        assert!(reply[..length].ends_with(b"day"));
    }
}

/// Asserts the counters of datagrams, and that no further reply has arrived.
fn assert_counted(server: &ServerProcess, client: &UdpSocket, answered: usize, ignored: usize) {
    wait_for_metric(server, ANSWERED, answered as u64);
    wait_for_metric(server, IGNORED, ignored as u64);
    assert_eq!(metric(server, UNSENT) + metric(server, LIMITED), 0);
    client.set_nonblocking(true).expect("set");
    assert!(client.recv(&mut [0; 64]).is_err(), "one reply too many");
    client.set_nonblocking(false).expect("set");
}

#[test]
fn t06_batches_of_all_sizes_are_answered() {
    for count in [1, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH, 2 * BATCH + 1] {
        let (server, client) = start_with_client();
        send_in_one_batch(&server, &client, &vec![&b"day"[..]; count]);
        assert_replies(&client, count);
        assert_counted(&server, &client, count, 0);
    }
}

#[test]
fn t06_a_batch_without_requests_does_not_end_the_receive_loop() {
    for count in [1, BATCH, BATCH + 1] {
        let (server, client) = start_with_client();
        send_in_one_batch(&server, &client, &vec![&b"what?"[..]; count]);
        wait_for_metric(&server, IGNORED, count as u64);
        client.send(b"day").expect("sent");
        assert_replies(&client, 1);
        assert_counted(&server, &client, 1, count);
    }
}

#[test]
fn t06_requests_mixed_with_invalid_datagrams_are_answered() {
    // At each index of a batch: the only request, then the only invalid datagram.
    for (one, others, answered) in [("day", "what?", 1), ("what?", "day", BATCH - 1)] {
        let (server, client) = start_with_client();
        for index in 0..BATCH {
            let mut datagrams = vec![others.as_bytes(); BATCH];
            datagrams[index] = one.as_bytes();
            send_in_one_batch(&server, &client, &datagrams);
            assert_replies(&client, answered);
            let sent = (index + 1) * BATCH;
            let total = (index + 1) * answered;
            assert_counted(&server, &client, total, sent - total);
        }
    }
}

/// Sends three requests in one batch. The source address of the second is deleted before the server replies.
const UNSENDABLE: &str = r#"
set -e
ip link set lo up
ip address add 10.9.9.1/32 dev lo
ip address add 10.9.9.9/32 dev lo
coproc server {
    exec "$0" --tcp 10.9.9.1:0 --udp 10.9.9.1:0 --admin 127.0.0.1:0 --utc --workers 1 2>&1
}
read -r _ _ _ tcp <&"${server[0]}"
read -r _ _ _ udp <&"${server[0]}"
read -r _ _ _ admin <&"${server[0]}"
exec 3<>"/dev/udp/10.9.9.1/${udp##*:}" 4<>"/dev/udp/10.9.9.1/${udp##*:}"
ip route replace table local local 10.9.9.1 dev lo src 10.9.9.9
exec 5<>"/dev/udp/10.9.9.1/${udp##*:}"
ip route replace table local local 10.9.9.1 dev lo src 10.9.9.1
kill -STOP "$server_PID"
until grep -q 'State:.T' "/proc/$server_PID/status"; do :; done
printf day >&3
printf day >&5
printf day >&4
ip address delete 10.9.9.9/32 dev lo
kill -CONT "$server_PID"
timeout 20 head -c 1 <&3
timeout 20 head -c 1 <&4
exec 6<>"/dev/tcp/127.0.0.1/${admin##*:}"
printf 'GET /metrics HTTP/1.0\r\n\r\n' >&6
cat <&6
kill "$server_PID"
"#;

#[test]
fn t06_an_unsendable_reply_does_not_block_others_of_its_batch() {
    // A new network namespace, in which addresses can be added and deleted.
    let unshare = |arguments: &[&str]| {
        let mut command = isolated("unshare");
        command.arg("--map-root-user").arg("--net").args(arguments);
        command.output()
    };
    let probe = unshare(&["ip", "address", "add", "10.9.9.1/32", "dev", "lo"]);
    if !probe.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED: unshare(1) or ip(8) is missing or not permitted");
        return;
    }
    let output = unshare(&["bash", "-c", UNSENDABLE, env!("CARGO_BIN_EXE_chime-server")]);
    let output = output.expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
    // The first byte of each of the two replies, which are weekdays.
    assert!(text[..2].chars().all(char::is_alphabetic), "{text}");
    assert_eq!(text[..1], text[1..2]);
    for (result, count) in [(ANSWERED, 2), (UNSENT, 1), (IGNORED, 0)] {
        assert!(text.contains(&format!("{result} {count}\n")), "{text}");
    }
}
