//! Checks that no connection ends in a reset where an orderly close was possible.

use super::Run;
use crate::Failure;
use crate::trace::Connection;

/// Checks every connection.
pub(super) fn check(run: &Run<'_>) -> Result<(), Failure> {
    let mut connections = run.index.connections.iter();
    connections.try_for_each(|(number, connection)| check_connection(*number, connection))
}

/// The server resets a connection only if it drops it before EOF, and is reset only if the client has dropped its end.
fn check_connection(number: usize, connection: &Connection<'_>) -> Result<(), Failure> {
    let [client, server] = [&connection.client_side, &connection.server_side];
    let message = |end| {
        format!("connection {number}: the {end} was reset although both ends closed in order")
    };
    if let Some((at, false)) = client.failed {
        let is_dropped = server.dropped.is_some_and(|dropped| dropped < at);
        if !is_dropped || server.read_end.is_some() {
            return Err(Failure::new(message("client"), at.event));
        }
    }
    if let Some((at, false)) = server.failed
        && connection.client.is_some()
        && client.dropped.is_none_or(|dropped| at < dropped)
    {
        return Err(Failure::new(message("server"), at.event));
    }
    Ok(())
}
