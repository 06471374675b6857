//! Clocks: replies follow the wall clock, connections do not depend on it.

use chime_sim_tests::chime::{CoverageGoal, Scenario};
use chime_sim_tests::scenario::FaultKind;
use chrono::NaiveDate;

use crate::{ask, fault, passes, replies, with};

/// Asserts the replies to one request, sent at 23:59:59.700 of this day and once more 600 ms later.
fn assert_midnight(date: [u32; 3], request: &str, expected: [&str; 2], goals: &[CoverageGoal]) {
    let [year, month, day] = date;
    let clock = NaiveDate::from_ymd_opt(year as i32, month, day)
        .and_then(|date| date.and_hms_milli_opt(23, 59, 59, 700))
        .expect("the instant exists");
    let scenario = Scenario {
        clock,
        ..with([ask(&[request, request], 600)])
    };
    let trace = passes(
        &scenario,
        &[&[CoverageGoal::MidnightBetweenReplies], goals].concat(),
    );
    assert_eq!(replies(&trace, 0), expected);
}

#[test]
fn midnight_changes_the_weekday_between_two_replies() {
    assert_midnight([2026, 11, 21], "day", ["Saturday", "Sunday"], &[]);
}

#[test]
fn a_leap_year_has_a_29_february() {
    let goals = [CoverageGoal::LeapDay];
    assert_midnight([2028, 2, 28], "date", ["28-02-28", "28-02-29"], &[]);
    assert_midnight([2028, 2, 29], "date", ["28-02-29", "28-03-01"], &goals);
    assert_midnight([2026, 2, 28], "date", ["26-02-28", "26-03-01"], &[]);
}

#[test]
fn the_year_changes_between_two_replies() {
    let goals = [CoverageGoal::NewYearBetweenReplies];
    assert_midnight([1999, 12, 31], "date", ["99-12-31", "00-01-01"], &goals);
}

#[test]
fn t20_a_clock_step_closes_no_connection() {
    for seconds in [-86_400, -3_600, -1, 1, 3_600, 86_400] {
        let scenario = Scenario {
            faults: vec![fault(50, 1, FaultKind::ClockStep { seconds })],
            ..with([ask(&["send time", "send time", "quit"], 100)])
        };
        let trace = passes(&scenario, &[]);
        let replies = replies(&trace, 0);
        assert_eq!(replies[0] < replies[1], seconds > 0, "{replies:?}");
    }
}
