//! What strangers write, changed at random: a short run of what `cargo xtask fuzz` does for as long as it is given.

use std::panic::{AssertUnwindSafe, catch_unwind};

#[path = "../fuzz/targets.rs"]
mod targets;

use targets::TARGETS;

/// Changes of each target's seeds.
const CHANGES: usize = 1500;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// What readers are seldom given, and often wrong about.
const ODD: [&[u8]; 14] = [
    b"0",
    b"-1",
    b"4294967296",
    b"18446744073709551615",
    b"1e999",
    b"NaN",
    b"\"",
    b"\\",
    b"\n",
    b"\x00",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    "\u{202e}".as_bytes(),
    "\u{feff}".as_bytes(),
];

fn change(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = random.below(bytes.len());
    let end = (at + 1 + random.below(16)).min(bytes.len());
    match random.below(7) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[at] = random.below(256) as u8,
        2 => drop(bytes.splice(at.min(bytes.len())..at.min(bytes.len()), ODD[random.below(ODD.len())].iter().copied())),
        3 if !bytes.is_empty() => drop(bytes.splice(at..end, ODD[random.below(ODD.len())].iter().copied())),
        4 if !bytes.is_empty() => drop(bytes.drain(at..end)),
        5 if !bytes.is_empty() => {
            let part = bytes[at..end].repeat(1 + random.below(8));
            drop(bytes.splice(at..at, part));
        }
        _ => {
            bytes.truncate(at);
            bytes.extend_from_slice(&other[random.below(other.len())..]);
        }
    }
}

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
