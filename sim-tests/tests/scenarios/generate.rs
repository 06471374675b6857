//! Generation of scenarios.

use arbitrary::{Arbitrary, Unstructured};
use chime_sim_tests::Chime;
use chime_sim_tests::scenario::{CROWD, FaultKind, Scenario};
use strum::VariantNames;

#[test]
fn any_bytes_generate_a_bounded_scenario() {
    let random: Vec<u8> = (0..20_000_u64).map(|n| (n * n * 31 % 251) as u8).collect();
    for bytes in [&[][..], &[0; 100], &[255; 100_000], &random, &random[..99]] {
        let scenario = Scenario::<Chime>::arbitrary(&mut Unstructured::new(bytes));
        let scenario = scenario.expect("generation succeeds");
        assert!((1..=CROWD).contains(&scenario.clients.len()), "{scenario}");
        assert!(scenario.faults.len() <= 20, "{scenario}");
        assert!(scenario.host_count() <= 2, "{scenario}");
        assert!(scenario.heal_ms <= 700, "{scenario}");
        assert!(scenario.to_string().len() < 1_000_000, "{scenario}");
    }
}

#[test]
fn each_kind_of_fault_strikes_in_some_scenarios_and_not_in_most() {
    let mut on_counts = [0; FaultKind::VARIANTS.len()];
    for seed in 0..1_000 {
        let scenario = Scenario::<Chime>::from_seed(seed);
        for (kind, count) in FaultKind::VARIANTS.iter().zip(&mut on_counts) {
            *count += usize::from(
                scenario
                    .faults
                    .iter()
                    .any(|fault| fault.kind.name() == *kind),
            );
        }
    }
    assert!(
        on_counts.iter().all(|count| (150..600).contains(count)),
        "{on_counts:?}"
    );
}
