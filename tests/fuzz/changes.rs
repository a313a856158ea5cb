//! Random changes of inputs, the same for the same start.

/// Marsaglia's xorshift; not 0.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: usize) -> usize {
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

/// Changes a place of `bytes`, or puts what `other` ends with behind what they begin with.
pub fn change(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
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
