//! What strangers write, changed at random: a short run of what `cargo xtask fuzz` does for as long as it is given.

use std::panic::{AssertUnwindSafe, catch_unwind};

#[path = "../fuzz/changes.rs"]
mod changes;
#[path = "../fuzz/targets.rs"]
mod targets;

use changes::{Random, change};
use targets::TARGETS;

/// Changes of each target's seeds.
const CHANGES: usize = 1500;

#[test]
fn no_reader_of_what_strangers_write_panics() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut faults = Vec::new();
    for target in TARGETS {
        let seeds = (target.seeds)();
        let changed = (0..CHANGES).map(|_| {
            let mut bytes = seeds[random.below(seeds.len())].clone();
            let other = &seeds[random.below(seeds.len())];
            (0..=random.below(4)).for_each(|_| change(&mut random, &mut bytes, other));
            bytes
        });
        let panics = |bytes: &Vec<u8>| catch_unwind(AssertUnwindSafe(|| (target.read)(bytes))).is_err();
        if let Some(bytes) = seeds.iter().cloned().chain(changed).find(panics) {
            faults.push(format!("{}: {:?}", target.name, String::from_utf8_lossy(&bytes[..bytes.len().min(400)])));
        }
    }
    assert!(faults.is_empty(), "panics:\n{}", faults.join("\n"));
}
