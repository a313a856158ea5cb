//! One picture through the runtime, and its time against the time that this board took when all was well.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Finding, bad, baseline, ok};
use crate::config::Places;

/// How much slower than the baseline is too slow.
const SLOWER: f64 = 1.5;
const SIDE_PX: usize = 256;

/// Runs the inference and judges its time.
pub fn try_once(places: &Places) -> Finding {
    let milliseconds = match run(places) {
        Ok(milliseconds) => milliseconds,
        Err(error) => return bad("inference", format!("{error:#}"), "journalctl -u edge-seg.service -n 50; edge-seg inspect"),
    };
    let expected = fs::read(baseline(&places.state)).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    match expected.and_then(|value| value["milliseconds"].as_f64()) {
        None => ok("inference", format!("{milliseconds:.0} ms; no baseline to hold it against (doctor --baseline records one)")),
        Some(expected) if milliseconds > expected * SLOWER => bad(
            "inference",
            format!("{milliseconds:.0} ms, this board has done it in {expected:.0} ms"),
            "edge-seg-fw board   # temperature, throttling; then: top -b -n 1 | head -n 15",
        ),
        Some(expected) => ok("inference", format!("{milliseconds:.0} ms, the baseline is {expected:.0} ms")),
    }
}

/// Records the baseline.
pub fn record(places: &Places) -> Result<f64> {
    let milliseconds = (0..3).map(|_| run(places)).collect::<Result<Vec<_>>>()?.into_iter().fold(f64::INFINITY, f64::min);
    fs::create_dir_all(&places.state).with_context(|| format!("{}", places.state.display()))?;
    edge_seg::files::replace_file(&baseline(&places.state), format!("{}\n", json!({ "milliseconds": milliseconds })).as_bytes())?;
    Ok(milliseconds)
}

/// Milliseconds of one inference, without loading: the stages of `edge-seg segment` on a picture made here.
fn run(places: &Places) -> Result<f64> {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let name = format!("edge-seg-doctor-{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    // Not create_dir_all: a folder that somebody else put there is not written into.
    fs::create_dir(&folder).with_context(|| format!("{}", folder.display()))?;
    let done = run_in(places, &folder);
    let _ = fs::remove_dir_all(&folder);
    done
}

fn run_in(places: &Places, folder: &std::path::Path) -> Result<f64> {
    let picture = folder.join("test.bmp");
    fs::write(&picture, bitmap())?;
    let slot = places.state.join("current");
    let (binary, bundle) = match slot.join("edge-seg").exists() {
        true => (slot.join("edge-seg"), Some(slot.join("bundle.esb"))),
        false => (places.packaged.clone(), None),
    };
    let mut command = Command::new(&binary);
    command.arg("segment").arg(&picture).args(["--tags", "sky, wall", "--out"]).arg(folder.join("out"));
    if let Some(bundle) = bundle {
        command.arg("--model").arg(bundle);
    }
    // What the service's user could have put into a slot must not run with root's rights.
    if let Ok(owner) = fs::metadata(&places.state) {
        let own = fs::metadata(folder)?.uid();
        if own == 0 && owner.uid() != 0 {
            for path in [folder, &picture] {
                chown(path, Some(owner.uid()), Some(owner.gid()))?;
            }
            command.uid(owner.uid()).gid(owner.gid());
        }
    }
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{}", binary.display()))?;
    ensure!(
        output.status.success(),
        "{} ended with {}: {}",
        binary.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default()
    );
    let line: Value = serde_json::from_slice(&output.stdout).context("the runtime's output: expected one line of JSON")?;
    let stages = line["milliseconds"].as_object().context("the runtime's output: expected milliseconds of its stages")?;
    // Reading the picture and planning for its size happen once.
    Ok(["prepare", "encode", "score", "mask"].iter().filter_map(|stage| stages.get(*stage)?.as_f64()).sum())
}

/// A picture of soft stripes as a 24-bit Windows bitmap, which needs no encoder.
fn bitmap() -> Vec<u8> {
    let pixels = SIDE_PX * SIDE_PX * 3;
    let mut bytes = Vec::with_capacity(54 + pixels);
    bytes.extend_from_slice(b"BM");
    for word in [(54 + pixels) as u32, 0, 54, 40, SIDE_PX as u32, SIDE_PX as u32, 0x0018_0001, 0, pixels as u32, 2835, 2835, 0, 0] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    for i in 0..SIDE_PX * SIDE_PX {
        let (x, y) = (i % SIDE_PX, i / SIDE_PX);
        bytes.extend_from_slice(&[(x + y) as u8, (x * 2) as u8, y as u8]);
    }
    bytes
}
