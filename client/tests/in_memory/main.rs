//! The library over streams and datagrams in memory, in virtual time.

mod connections;
mod datagrams;
mod deadlines;
mod pipes;
mod servers;
mod sums;

use std::time::Duration;

/// The timeout of every client here.
const TIMEOUT: Duration = Duration::from_secs(10);
