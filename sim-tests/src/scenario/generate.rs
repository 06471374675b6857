//! Generates scenarios from bytes, which a seed, a fuzzer or a property test supplies.
//!
//! Each kind of fault is on in half of the scenarios: where all strike at once, one hides the other. These switches
//! are the first bytes. Once the bytes are used up, each number is the least of its range and each fault is off. Every
//! list has a maximum length, so generation ends.

use std::ops::RangeInclusive;

use arbitrary::unstructured::Int;
use arbitrary::{Arbitrary, Result, Unstructured};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use rand::rngs::ChaCha8Rng;
use rand::{Rng, SeedableRng};
use strum::VariantNames;

use super::{Client, Fault, FaultKind, Network, Scenario};
use crate::Protocol;

/// The number of clients of a crowd.
pub const CROWD: usize = 2_000;

/// How many bytes a seed expands to.
const SEED_BYTES: usize = 16_384;

impl<P: Protocol> Scenario<P> {
    /// Generates a scenario. The same seed gives the same scenario until the generator changes.
    pub fn from_seed(seed: u64) -> Scenario<P> {
        let mut bytes = [0; SEED_BYTES];
        ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut bytes);
        let scenario = Scenario::arbitrary(&mut Unstructured::new(&bytes));
        scenario.expect("generation succeeds with any bytes")
    }
}

impl<'a, P: Protocol> Arbitrary<'a> for Scenario<P> {
    fn arbitrary(bytes: &mut Unstructured<'a>) -> Result<Scenario<P>> {
        let mut network = Network::arbitrary(bytes)?;
        // With a narrower window the clients time out.
        network.window_bytes = network
            .window_bytes
            .max(4 * network.latency_max_ms() as usize);
        let is_on: [bool; FaultKind::VARIANTS.len()] = bytes.arbitrary()?;
        let mut server = P::Server::arbitrary(bytes)?;
        let heal_ms = bytes.int_in_range(100..=700)?;
        // Each host costs time in each millisecond.
        let host_max = bytes.int_in_range(0..=1)?;
        let mut clients = list(1..=7, |bytes| {
            Ok(Client {
                host: bytes.int_in_range(0..=host_max)?,
                start_ms: bytes.int_in_range(0..=heal_ms - 1)?,
                behaviour: P::behaviour(&server, bytes)?,
            })
        })(bytes)?;
        let mut faults = list(0..=20, |bytes| {
            // Most connections are short, so most faults begin soon after a client starts.
            let start_ms = bytes.choose(&clients)?.start_ms;
            Ok(Fault {
                kind: FaultKind::arbitrary(bytes)?,
                at_ms: one_in(4, 0..=heal_ms - 1, start_ms..=start_ms + 60)(bytes)?,
                for_ms: bytes.int_in_range(1..=400)?,
            })
        })(bytes)?;
        faults.retain(|fault| {
            let kind = FaultKind::VARIANTS
                .iter()
                .position(|name| *name == fault.kind.name());
            let is_here = fault.kind.host().is_none_or(|host| host <= host_max);
            kind.is_some_and(|kind| is_on[kind]) && is_here
        });
        if bytes.int_in_range(1..=4)? == 4 {
            // All clients do the same at the same time, and the server stops or crashes meanwhile: when they connect or send
            // their first bytes, or later. Replies are unread then, if the window is narrow. Half of these scenarios have
            // no other fault.
            network.window_bytes = network.window_bytes.min(1_000);
            let first = clients[0].clone();
            // Sometimes a crowd. All of it is accepted in one millisecond, and its first bytes arrive in another.
            // Everything is serialized by way of a value: another serializer would take long to compile.
            let is_small =
                serde_json::to_value(&first.behaviour).is_ok_and(|it| it.to_string().len() < 300);
            let is_crowd = bytes.int_in_range(1..=100)? == 100
                && is_small
                && P::prepare_for_crowd(&mut server, &first.behaviour);
            if is_crowd {
                network.accept_error_percent = 0;
                network.stream_error_percent = 0;
                network.latency_min_ms = network.latency_min_ms.max(2);
                network.latency_max_ms = network.latency_min_ms;
            }
            let count = if is_crowd { CROWD..=CROWD } else { 2..=7 };
            clients = list(count, |bytes| {
                Ok(Client {
                    host: bytes.int_in_range(0..=host_max)?,
                    ..first.clone()
                })
            })(bytes)?;
            if bytes.arbitrary()? || is_crowd {
                faults.clear();
            }
            let latency_ms = network.latency_max_ms();
            let stop_ms = match is_crowd {
                // After the accept, which takes a latency and a millisecond, and before the first bytes arrive.
                true => bytes.int_in_range(latency_ms + 2..=2 * latency_ms + 1)?,
                false => one_in(2, 20..=300, 0..=4 * latency_ms + 4)(bytes)?,
            };
            faults.push(Fault {
                at_ms: first.start_ms + stop_ms,
                for_ms: bytes.int_in_range(1..=1_000)?,
                kind: match bytes.int_in_range(1..=6)? {
                    6 => FaultKind::Crash,
                    _ => FaultKind::Stop,
                },
            });
        }
        Ok(Scenario {
            rng_seed: bytes.arbitrary()?,
            clock: clock(bytes)?,
            server,
            network,
            clients,
            faults,
            heal_ms,
            expect: Vec::new(),
        })
    }
}

/// An instant of the years 1970 to 2069. Half of them are in the last second of a day, most before a new month or year;
/// some are in a leap second.
fn clock(bytes: &mut Unstructured<'_>) -> Result<NaiveDateTime> {
    let last_days = [
        (2026, 12, 31),
        (2028, 2, 28),
        (2028, 2, 29),
        (2026, 2, 28),
        (1999, 12, 31),
    ];
    let (date, second) = if bytes.arbitrary()? {
        let (year, month, day) = *bytes.choose(&last_days)?;
        (NaiveDate::from_ymd_opt(year, month, day), 86_399)
    } else {
        let days = bytes.int_in_range(0..=36_524)?;
        (
            NaiveDate::from_epoch_days(days),
            bytes.int_in_range(0..=86_399)?,
        )
    };
    // Time passes in milliseconds: only from whole ones it reaches whole seconds.
    let nanos = match bytes.arbitrary()? {
        true => 1_000_000 * bytes.int_in_range(0..=999)?,
        false => bytes.int_in_range(0..=999_999_999)?,
    };
    let is_leap = bytes.int_in_range(1..=10)? == 10;
    let (second, nanos) = match is_leap {
        true => (second / 60 * 60 + 59, nanos + 1_000_000_000),
        false => (second, nanos),
    };
    let time = NaiveTime::from_num_seconds_from_midnight_opt(second, nanos);
    Ok(date
        .expect("the date exists")
        .and_time(time.expect("a time of day")))
}

pub(super) fn clock_step(bytes: &mut Unstructured<'_>) -> Result<i64> {
    let step = *bytes.choose(&[3_600, -3_600, 86_400, 0])?;
    match step {
        0 => bytes.int_in_range(-4_000..=4_000),
        _ => Ok(step),
    }
}

/// A generator of the numbers of a range: `#[arbitrary(with = range(1..=9))]`.
pub fn range<T: Int>(range: RangeInclusive<T>) -> impl Fn(&mut Unstructured<'_>) -> Result<T> {
    move |bytes| bytes.int_in_range(range.clone())
}

/// A generator that draws from the range `rare` once in `times` times, else from `usual`.
pub fn one_in<T: Int>(
    times: u8,
    rare: RangeInclusive<T>,
    usual: RangeInclusive<T>,
) -> impl Fn(&mut Unstructured<'_>) -> Result<T> {
    move |bytes| {
        let is_rare = bytes.int_in_range(1..=times)? == times;
        bytes.int_in_range(if is_rare { rare.clone() } else { usual.clone() })
    }
}

/// A generator of percentages that are 0, which is off, in half of the scenarios.
pub fn percent(on: RangeInclusive<u8>) -> impl Fn(&mut Unstructured<'_>) -> Result<u8> {
    one_in(2, on, 0..=0)
}

/// A generator of lists with a length of this range.
pub fn list<T>(
    length: RangeInclusive<usize>,
    item: impl Fn(&mut Unstructured<'_>) -> Result<T>,
) -> impl Fn(&mut Unstructured<'_>) -> Result<Vec<T>> {
    move |bytes| {
        let length = bytes.int_in_range(length.clone())?;
        (0..length).map(|_| item(bytes)).collect()
    }
}
