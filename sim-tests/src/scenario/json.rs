//! How values are read from JSON and written to it.

use std::fmt::Display;
use std::str::FromStr;

use chrono::{Datelike, NaiveDateTime};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};

/// Reads a number between `MIN` and `MAX`.
pub fn within<'de, const MIN: i64, const MAX: i64, T: TryFrom<i64>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let number = i64::deserialize(deserializer)?;
    let limited = match number {
        _ if number < MIN => return Err(D::Error::custom(format!("must be at least {MIN}"))),
        _ if number > MAX => return Err(D::Error::custom(format!("must be at most {MAX}"))),
        _ => T::try_from(number),
    };
    limited.map_err(|_| D::Error::custom("out of range"))
}

/// Reads an instant of the years 1 to 9998: faults and a run change it by less than a year each.
pub(super) fn clock<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NaiveDateTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    let instant: NaiveDateTime = text
        .parse()
        .map_err(|_| D::Error::custom("must be like 2028-02-29T23:59:59.5"))?;
    match instant.year() {
        1..=9998 => Ok(instant),
        _ => Err(D::Error::custom("the year must be between 1 and 9998")),
    }
}

/// Returns whether a value is its default, which JSON leaves out.
pub fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Values as their names: the text of `Display`, read by `FromStr`. For `#[serde(with = "by_name")]`.
pub mod by_name {
    use super::*;

    /// Writes the name.
    pub fn serialize<T: Display, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// Reads the name.
    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(D::Error::custom)
    }
}
