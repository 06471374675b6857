//! sim
use chime_sim_tests::scenario::*;
fn main() {
    let client = |host, start_ms, behaviour| Client { host, start_ms, behaviour };
    let s = Scenario {
        heal_ms: 500,
        network: Network { latency_max_ms: 20, cut_percent: 20, glue_percent: 30, loss_percent: 30, ..Network::default() },
        clients: vec![
            client(0, 5, Behaviour::Ask { lines: vec!["day".into(), "123".into(), "quit".into()], pause_ms: 100 }),
            client(1, 5, Behaviour::Pipe { chunks: vec!["day\n12".into(), "3\r\ntime\n".into(), "quit\n".into()], pause_ms: 100 }),
            client(1, 15, Behaviour::AskDatagrams { commands: vec!["day".into(), "send time".into()], pause_ms: 100 }),
            client(1, 15, Behaviour::WriteDatagrams { datagrams: vec!["day".into(), "send time".into()], source: Source::Server, pause_ms: 100 }),
            client(0, 15, Behaviour::Write { acts: vec![Act::Write("day\r".into()), Act::Pause(20), Act::Write("\n55".into()), Act::Shut], reading: Reading::Eager, ending: Ending::Await }),
        ],
        faults: vec![Fault { at_ms: 250, for_ms: 50, kind: FaultKind::Crash }],
        ..Scenario::calm()
    };
    let start = std::time::Instant::now();
    let t = chime_sim_tests::run(&s);
    eprintln!("{:?}", start.elapsed());
    print!("{t}");
}
