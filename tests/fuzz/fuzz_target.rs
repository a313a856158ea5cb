//! The target that the variable EDGE_SEG_FUZZ names, under libFuzzer.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

mod targets;

static READ: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let names: Vec<_> = targets::TARGETS.iter().map(|target| target.name).collect();
    let wanted = std::env::var("EDGE_SEG_FUZZ").unwrap_or_default();
    match targets::TARGETS.iter().find(|target| target.name == wanted) {
        Some(target) => {
            if let Some(folder) = std::env::var_os("EDGE_SEG_FUZZ_SEEDS") {
                for (number, seed) in (target.seeds)().iter().enumerate() {
                    std::fs::write(std::path::Path::new(&folder).join(format!("seed-{number}")), seed).expect("a folder for seeds");
                }
            }
            target.read
        }
        None => panic!("EDGE_SEG_FUZZ: expected one of {}, found {wanted:?}", names.join(", ")),
    }
});

fuzz_target!(
    init: {
        LazyLock::force(&READ);
        // A decoder's panic is contained by our readers, and no crash: what gets here is stopped by libFuzzer's own guard.
        std::panic::set_hook(Box::new(|_| {}));
    },
    |bytes: &[u8]| READ(bytes)
);
