//! The hand-written seeds of the fuzz targets, replayed.

use std::fs;
use std::path::Path;

use chime_protocol::model::targets::TARGETS;

#[test]
fn every_seed_passes_its_target() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, target) in TARGETS {
        let seeds = fs::read_dir(corpus.join(name)).expect("a folder of seeds");
        let mut seed_count = 0;
        for seed in seeds {
            let path = seed.expect("a seed").path();
            println!("{}", path.display());
            target(&fs::read(path).expect("readable"));
            seed_count += 1;
        }
        assert!(seed_count > 0, "no seeds for {name}");
    }
}
