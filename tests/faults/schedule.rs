//! What goes wrong, drawn from a number.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// A small generator (splitmix64): the number is all that a schedule needs to be seen again.
#[derive(Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}

/// Sorts of calls, as `faults.c` names them, with how many there are in a run without faults.
pub type Calls = BTreeMap<(String, String), u64>;

/// From call number `first` on, `count` calls are struck; 0: all that follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub call: String,
    pub kind: String,
    pub action: String,
    pub first: u64,
    pub count: u64,
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("expected CALL KIND ACTION FIRST COUNT, found {text:?}");
        let [call, kind, action, first, count] = text.split(' ').collect::<Vec<_>>()[..] else { return Err(wrong()) };
        let number = |text: &str| text.parse().map_err(|_| wrong());
        Ok(Self { call: call.into(), kind: kind.into(), action: action.into(), first: number(first)?, count: number(count)? })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {} {}", self.call, self.kind, self.action, self.first, self.count)
    }
}

/// The kind of calls that a program asks of the kernel without the C library, as `edge-seg-fw` does for its slots. `strace` strikes these.
pub const RAW: &str = "raw";
pub const RAW_CALLS: [&str; 6] = ["openat", "renameat", "unlinkat", "mkdirat", "linkat", "symlinkat"];

/// What happens to a call that can fail, by its sort. What a disk, a pipe or a peer cannot do is not in it.
fn actions(call: &str, kind: &str) -> &'static [&'static str] {
    match (call, kind) {
        ("open", "file") => &["EIO", "EMFILE", "EINTR", "kill", "wait"],
        ("list", "file") => &["EIO", "kill", "wait"],
        ("make", "file") => &["ENOSPC", "EIO", "EMFILE", "EROFS", "EINTR", "kill", "killed"],
        ("read", "file") => &["EIO", "EINTR", "short", "short", "kill", "wait"],
        ("write", "file") => &["ENOSPC", "full", "full", "EIO", "EINTR", "short", "torn", "torn", "kill", "killed", "wait"],
        ("sync", "file") => &["ENOSPC", "EIO", "kill", "killed", "wait"],
        ("rename", "file") => &["ENOSPC", "EIO", "kill", "killed"],
        ("remove" | "cut", "file") => &["EIO", "kill", "killed"],
        ("folder" | "link", "file") => &["ENOSPC", "EIO", "kill", "killed"],
        ("look", "file") => &["EIO", "kill"],
        ("lock", "file") => &["ENOLCK", "kill", "wait"],
        ("read" | "write", "pipe") => &["EINTR", "short", "wait", "kill"],
        ("read" | "write", "socket") => &["EINTR", "short", "ECONNRESET", "wait", "kill"],
        ("open", "socket") => &["EMFILE", "EINTR", "ECONNRESET"],
        ("spawn", _) => &["EAGAIN", "EMFILE", "kill", "killed"],
        ("await", _) => &["EINTR"],
        ("openat", RAW) => &["EIO", "EMFILE", "ENOSPC", "kill"],
        ("unlinkat", RAW) => &["EIO", "kill"],
        (_, RAW) => &["ENOSPC", "EIO", "kill"],
        ("clock", _) => &["+3600", "-3600", "+86400000", "-86400000", "kill"],
        _ => &[],
    }
}

/// Whether a program must not notice: it does the rest, or asks again.
pub fn is_harmless(action: &str) -> bool {
    matches!(action, "EINTR" | "short" | "wait") || action.starts_with(['+', '-'])
}

/// One to three rules for a job whose calls are known.
pub fn draw(rng: &mut Rng, calls: &Calls) -> Vec<Rule> {
    let can: Vec<(&String, &String, u64)> =
        calls.iter().filter(|((call, kind), _)| !actions(call, kind).is_empty()).map(|((call, kind), n)| (call, kind, *n)).collect();
    if can.is_empty() {
        return Vec::new();
    }
    let rules = [1, 1, 1, 1, 2, 2, 3][rng.below(7) as usize];
    (0..rules)
        .map(|_| {
            // Half of them where a program writes: most of what can be half done is there.
            let writes: Vec<_> = can.iter().filter(|(call, kind, _)| *call == "write" && *kind == "file").collect();
            let (call, kind, number) = if rng.below(4) == 0 && !writes.is_empty() { **rng.pick(&writes) } else { *rng.pick(&can) };
            let action = (*rng.pick(actions(call, kind))).to_owned();
            let lasts = matches!(action.as_str(), "ENOSPC" | "full" | "EIO" | "EROFS" | "short" | "EMFILE");
            let count = match rng.below(3) {
                0 if lasts => 0,
                1 => 1 + rng.below(4),
                _ => 1,
            };
            Rule { call: call.clone(), kind: kind.clone(), action, first: 1 + rng.below(number), count }
        })
        .collect()
}
