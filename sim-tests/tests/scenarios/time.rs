//! Clocks: the replies follow them, and nothing else does.

use chime_sim_tests::chime::{CoverageGoal, Scenario};
use chime_sim_tests::scenario::FaultKind;
use chrono::NaiveDate;

use crate::{ask, fault, passes, told, with};

/// Asks twice, 600 ms apart, from 23:59:59.700 of this day on.
fn over_midnight(year: i32, month: u32, day: u32, line: &str) -> (Scenario, [String; 2]) {
    let clock = NaiveDate::from_ymd_opt(year, month, day)
        .and_then(|date| date.and_hms_milli_opt(23, 59, 59, 700))
        .expect("an instant");
    let scenario = Scenario {
        clock,
        ..with([ask(&[line, line], 600)])
    };
    let trace = passes(&scenario, &[CoverageGoal::MidnightBetweenReplies]);
    let told = [0, 1].map(|index| told(&trace, 0)[index].to_string());
    (scenario, told)
}

#[test]
fn midnight_may_fall_between_two_replies() {
    let (_, told) = over_midnight(2026, 11, 21, "day");
    assert_eq!(told, ["Saturday", "Sunday"]);
}

#[test]
fn a_leap_year_has_a_29_february() {
    let (_, told) = over_midnight(2028, 2, 28, "date");
    assert_eq!(told, ["28-02-28", "28-02-29"]);
    let (scenario, told) = over_midnight(2028, 2, 29, "date");
    assert_eq!(told, ["28-02-29", "28-03-01"]);
    passes(&scenario, &[CoverageGoal::LeapDay]);
    let (_, told) = over_midnight(2026, 2, 28, "date");
    assert_eq!(told, ["26-02-28", "26-03-01"]);
}

#[test]
fn a_year_ends() {
    let (scenario, told) = over_midnight(1999, 12, 31, "date");
    assert_eq!(told, ["99-12-31", "00-01-01"]);
    passes(&scenario, &[CoverageGoal::NewYearBetweenReplies]);
}

#[test]
fn t20_a_clock_step_closes_no_connection() {
    for seconds in [-86_400, -3_600, -1, 1, 3_600, 86_400] {
        let scenario = Scenario {
            faults: vec![fault(50, 1, FaultKind::ClockStep { seconds })],
            ..with([ask(&["send time", "send time", "quit"], 100)])
        };
        let trace = passes(&scenario, &[]);
        let told = told(&trace, 0);
        assert_eq!(told[0] < told[1], seconds > 0, "{told:?}");
    }
}
