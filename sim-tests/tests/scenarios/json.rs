//! Scenarios as JSON: its fields, its limits and its documentation.

use std::collections::BTreeSet;

use chime_sim_tests::chime::{
    Act, Behaviour, DestinationAddress, Ending, Form, Reading, Scenario, Source,
};
use chime_sim_tests::scenario::FaultKind;
use chime_sim_tests::{check, run};
use serde_json::Value;
use strum::VariantNames;

/// The keys and strings of a value.
fn words(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, field)| {
            found.insert(name.clone());
            words(field, found);
        }),
        Value::Array(items) => items.iter().for_each(|item| words(item, found)),
        Value::String(text) => drop(found.insert(text.clone())),
        _ => {}
    }
}

#[test]
fn the_documented_json_has_every_field_and_variant_and_passes() {
    let text = include_str!("../../src/chime/every-field.json");
    let scenario = Scenario::from_json(text.as_bytes()).expect("a scenario");
    check(&scenario, &run(&scenario)).expect("the run passes");

    let (mut shown, mut expected) = (BTreeSet::new(), BTreeSet::new());
    words(&serde_json::from_str(text).expect("JSON"), &mut shown);
    let default = serde_json::to_value(Scenario::default()).expect("plain data");
    let server = &default["server"];
    for part in [
        &default,
        server,
        &server["listeners"][0],
        &server["udp_sockets"][0],
        &default["network"],
    ] {
        expected.extend(part.as_object().expect("an object").keys().cloned());
    }
    let variants = [
        FaultKind::VARIANTS,
        Behaviour::VARIANTS,
        Act::VARIANTS,
        Reading::VARIANTS,
        Ending::VARIANTS,
        Source::VARIANTS,
        Form::VARIANTS,
        DestinationAddress::VARIANTS,
    ];
    expected.extend(variants.concat().into_iter().map(String::from));
    let missing: Vec<_> = expected.difference(&shown).collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
}

/// Puts a value at the place of `?` in JSON that is valid otherwise.
fn parses(json: &str, value: i64) -> bool {
    Scenario::from_json(json.replace('?', &value.to_string()).as_bytes()).is_ok()
}

/// The settings of `chime-server`, each with its field in a scenario.
const SIMULATED: [(&str, &str); 18] = [
    ("tcp", "listeners"),
    ("address", "listeners"),
    ("udp", "udp_sockets"),
    ("transport", "udp_sockets"),
    ("service", "service"),
    ("framing", "framing"),
    ("proxies", "proxies"),
    ("workers", "workers"),
    ("max-connections", "connections_max"),
    ("max-connections-per-address", "address_connections_max"),
    ("allow", "allowed"),
    ("deny", "denied"),
    ("udp-rate", "datagram_rate"),
    ("idle-timeout", "idle_timeout_ms"),
    ("line-timeout", "line_timeout_ms"),
    ("write-timeout", "write_timeout_ms"),
    ("drain-timeout", "drain_timeout_ms"),
    ("utc", "clock"),
];

/// The settings of `chime-server` that scenarios lack, each with the reason.
const NOT_SIMULATED: [(&str, &str); 6] = [
    (
        "no-tcp",
        "without listeners there is nothing to simulate over TCP",
    ),
    (
        "no-udp",
        "without sockets there is nothing to simulate over UDP",
    ),
    (
        "drain-delay",
        "the binary waits before it shuts the library down",
    ),
    ("log", "logs are not simulated"),
    ("log-format", "logs are not simulated"),
    ("admin", "the admin pages are served by the binary"),
];

#[test]
fn each_setting_of_the_server_is_simulated_or_has_a_reason_not_to_be() {
    let text = include_str!("../../../server/chime-server.toml");
    let keys = text.lines().filter_map(|line| {
        let (key, _) = line.strip_prefix('#')?.trim_start().split_once(" = ")?;
        let is_key = |key: &str| {
            key.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        };
        is_key(key).then_some(key)
    });
    let keys: BTreeSet<&str> = keys.collect();
    let (simulated, others) = (SIMULATED.map(|it| it.0), NOT_SIMULATED.map(|it| it.0));
    let known: BTreeSet<&str> = simulated.into_iter().chain(others).collect();
    assert_eq!(keys, known);
    let default = serde_json::to_value(Scenario::default()).expect("plain data");
    let mut fields = BTreeSet::new();
    words(&default, &mut fields);
    for (key, field) in SIMULATED {
        assert!(fields.contains(field), "{key}: a scenario has no {field}");
    }
}

#[test]
fn a_server_has_between_one_and_ten_sockets_of_each_kind() {
    for name in ["listeners", "udp_sockets"] {
        for (count, is_valid) in [(0, false), (1, true), (10, true), (11, false)] {
            let sockets = vec!["{}"; count].join(",");
            let json = format!(r#"{{"server":{{"{name}":[{sockets}]}}}}"#);
            assert_eq!(
                Scenario::from_json(json.as_bytes()).is_ok(),
                is_valid,
                "{json}"
            );
        }
    }
}

#[test]
fn numbers_at_a_limit_are_accepted_and_those_beyond_are_refused() {
    const HOUR_MS: i64 = 3_600_000;
    const YEAR_SECONDS: i64 = 366 * 86_400;
    let ask = r#"{"clients":[{"host":HOST,"start_ms":START,"behaviour":{"ask":{"lines":[],"pause_ms":PAUSE,"timeout_ms":TIMEOUT}}}]}"#;
    let ask = |place: &str| {
        let json = ask.replacen(place, "?", 1);
        ["HOST", "START", "PAUSE", "TIMEOUT"]
            .iter()
            .fold(json, |json, place| json.replace(place, "1"))
    };
    let header = |name: &str| {
        format!(
            r#"{{"clients":[{{"host":0,"start_ms":0,"behaviour":{{"write":{{"acts":[],"to":{{"header":{{
            "form":"v1","client":"192.0.2.1","{name}":?}}}}}}}}}}]}}"#
        )
    };
    let fault =
        |kind: &str| format!(r#"{{"faults":[{{"at_ms":0,"for_ms":0,"kind":{{{kind}}}}}]}}"#);
    let mut limits = vec![
        (r#"{"heal_ms":?}"#.into(), 0, HOUR_MS),
        (ask("HOST"), 0, 19),
        (ask("START"), 0, HOUR_MS),
        (ask("PAUSE"), 0, 60_000),
        (ask("TIMEOUT"), 1, 60_000),
        (
            r#"{"faults":[{"at_ms":?,"for_ms":0,"kind":"stop"}]}"#.into(),
            0,
            HOUR_MS,
        ),
        (
            r#"{"faults":[{"at_ms":0,"for_ms":?,"kind":"stop"}]}"#.into(),
            0,
            HOUR_MS,
        ),
        (r#"{"server":{"workers":?}}"#.into(), 1, 64),
        (
            r#"{"server":{"address_connections_max":?}}"#.into(),
            1,
            1_000_000,
        ),
        (r#"{"server":{"refusals_max":?}}"#.into(), 1, 1_000_000),
        (r#"{"server":{"datagram_rate":?}}"#.into(), 1, 1_000_000),
        (header("cuts"), 0, 600),
        (header("pause_ms"), 0, 60_000),
        (fault(r#""slow":{"host":0,"latency_ms":?}"#), 0, 500),
        (
            fault(r#""clock-step":{"seconds":?}"#),
            -YEAR_SECONDS,
            YEAR_SECONDS,
        ),
        (r#"{"network":{"latency_min_ms":?}}"#.into(), 0, 500),
        (r#"{"network":{"latency_max_ms":?}}"#.into(), 0, 500),
        (r#"{"network":{"window_bytes":?}}"#.into(), 1, 1_000_000_000),
        (r#"{"network":{"datagrams_max":?}}"#.into(), 1, 1_000_000),
        (r#"{"server":{"connections_max":?}}"#.into(), 1, 1_000_000),
        (
            r#"{"server":{"drain_timeout_ms":?}}"#.into(),
            0,
            24 * HOUR_MS,
        ),
    ];
    for kind in [
        "hold",
        "partition",
        "partition-to-server",
        "partition-from-server",
    ] {
        limits.push((fault(&format!(r#""{kind}":{{"host":?}}"#)), 0, 19));
    }
    limits.push((fault(r#""slow":{"host":?,"latency_ms":0}"#), 0, 19));
    for timeout in ["idle", "line", "write"] {
        limits.push((
            format!(r#"{{"server":{{"{timeout}_timeout_ms":?}}}}"#),
            100,
            24 * HOUR_MS,
        ));
    }
    let network = serde_json::to_value(Scenario::default().network).expect("plain data");
    let percentages = network.as_object().expect("an object").keys();
    for name in percentages.filter(|name| name.ends_with("_percent")) {
        limits.push((format!(r#"{{"network":{{"{name}":?}}}}"#), 0, 100));
    }
    for (json, min, max) in limits {
        assert!(
            parses(&json, min) && parses(&json, max),
            "{json}: {min} and {max}"
        );
        assert!(
            !parses(&json, min - 1) && !parses(&json, max + 1),
            "{json}: beyond {min} and {max}"
        );
    }
}
