//! sim
use chime_sim_tests::*;
use chime_sim_tests::scenario::Scenario;
fn main() {
    let mut args = std::env::args().skip(1).map(|a| a.parse::<u64>().unwrap());
    let (start, count) = (args.next().unwrap(), args.next().unwrap());
    let mut reached = std::collections::BTreeMap::new();
    let mut failures = 0;
    let begin = std::time::Instant::now();
    let mut ms = 0u64;
    for seed in start..start + count {
        let scenario = Scenario::from(seed);
        let trace = run(&scenario);
        ms += u64::from(trace.events.last().unwrap().at_ms);
        match check(&scenario, &trace) {
            Ok(r) => for x in r { *reached.entry(x).or_insert(0) += 1; },
            Err(f) => {
                failures += 1;
                if count == 1 { println!("{scenario}\n{trace}"); }
                println!("seed {seed}: {f} (event {})", f.event);
                if failures > 30 { break; }
            }
        }
    }
    for s in Situation::ALL { println!("{s:?} {}", reached.get(&s).copied().unwrap_or(0)); }
    println!("{:?}, {} s simulated, failures {failures}", begin.elapsed(), ms/1000);
}
