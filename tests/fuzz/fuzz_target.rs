//! The target that the variable EDGE_SEG_FUZZ names, under libFuzzer.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

mod changes;
mod targets;

use changes::{Random, change};

/// Targets that take less time than libFuzzer itself takes for an input, which looks through the counters of all crates: so many changes
/// of each input are tried with it, the same each time.
const QUICK: [&str; 9] = ["words", "classes", "rules", "keys", "frame", "tokens", "masks", "capture", "fleet"];
const CHANGES: usize = 31;

static READ: LazyLock<(fn(&[u8]), usize)> = LazyLock::new(|| {
    let names: Vec<_> = targets::TARGETS.iter().map(|target| target.name).collect();
    let wanted = std::env::var("EDGE_SEG_FUZZ").unwrap_or_default();
    match targets::TARGETS.iter().find(|target| target.name == wanted) {
        Some(target) => {
            if let Some(folder) = std::env::var_os("EDGE_SEG_FUZZ_SEEDS") {
                for (number, seed) in (target.seeds)().iter().enumerate() {
                    std::fs::write(std::path::Path::new(&folder).join(format!("seed-{number}")), seed).expect("a folder for seeds");
                }
            }
            (target.read, if QUICK.contains(&target.name) { CHANGES } else { 0 })
        }
        None => panic!("EDGE_SEG_FUZZ: expected one of {}, found {wanted:?}", names.join(", ")),
    }
});

fn read_with_changes(bytes: &[u8]) {
    let (read, changes) = *READ;
    read(bytes);
    // FNV-1a.
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    let mut random = Random(hash.max(1));
    for _ in 0..changes {
        let mut changed = bytes.to_vec();
        (0..=random.below(2)).for_each(|_| change(&mut random, &mut changed, bytes));
        read(&changed);
    }
}

fuzz_target!(
    init: {
        LazyLock::force(&READ);
        // A decoder's panic is contained by our readers, and no crash. Any other is told, and stopped by libFuzzer's own guard.
        std::panic::set_hook(Box::new(|panic| eprintln!("{panic}")));
    },
    |bytes: &[u8]| read_with_changes(bytes)
);
