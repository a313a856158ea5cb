//! One picture through the runtime, and its time against the time that this board took when all was well.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::{Finding, bad, baseline, note, ok};
use crate::board::{Board, table};
use crate::config::Places;

/// How much slower than the baseline is too slow.
const SLOWER: f64 = 1.5;
const SIDE_PX: usize = 256;

/// How much longer than the inner loop alone an encoder may take: layers between the products, memory, the little work of other
/// programs.
const ABOVE_PREDICTION: f64 = 4.0;

/// Runs the inference and judges its time: by the time that this board took when all was well, else by what is predicted for such
/// boards.
pub fn try_once(places: &Places, board: &Board) -> Finding {
    let milliseconds = match run(places) {
        Ok(milliseconds) => milliseconds,
        Err(error) => return bad("inference", format!("{error:#}"), "journalctl -u edge-seg.service -n 50; edge-seg inspect"),
    };
    let expected = fs::read(baseline(&places.state)).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    if let Some(expected) = expected.and_then(|value| value["milliseconds"].as_f64()) {
        return match milliseconds > expected * SLOWER {
            true => bad("inference", format!("{milliseconds:.0} ms, this board has done it in {expected:.0} ms"), LOOK),
            false => ok("inference", format!("{milliseconds:.0} ms, the baseline is {expected:.0} ms")),
        };
    }
    let built_in = match runtime(places).1 {
        None => true,
        Some(bundle) => edge_seg::Bundle::open(&bundle).is_ok_and(|bundle| bundle.manifest().name == BUILT_IN),
    };
    match table::least_ms(&board.key).filter(|_| built_in) {
        Some(least) if milliseconds > least * ABOVE_PREDICTION => {
            note("inference", format!("{milliseconds:.0} ms, where {least:.0} ms or a little more are predicted for this board"), LOOK)
        }
        Some(least) => {
            ok("inference", format!("{milliseconds:.0} ms, at least {least:.0} ms are predicted; doctor --baseline keeps this board's own"))
        }
        None => ok("inference", format!("{milliseconds:.0} ms; no baseline to hold it against (doctor --baseline records one)")),
    }
}

const BUILT_IN: &str = "mini";
const LOOK: &str = "edge-seg-fw board   # temperature, throttling; then: top -b -n 1 | head -n 15";

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

/// The runtime that the service would start, and its bundle where that is not the runtime's own.
fn runtime(places: &Places) -> (PathBuf, Option<PathBuf>) {
    let slot = places.state.join("current");
    match slot.join("edge-seg").exists() {
        true => (slot.join("edge-seg"), Some(slot.join("bundle.esb"))),
        false => (places.packaged.clone(), None),
    }
}

/// What the service's user could have put into a slot must not run with root's rights: runs it as the owner of the slots, who is
/// given `paths`.
fn as_owner(command: &mut Command, places: &Places, paths: &[&Path]) -> Result<()> {
    if let Ok(owner) = fs::metadata(&places.state)
        && fs::metadata("/proc/self")?.uid() == 0
        && owner.uid() != 0
    {
        for path in paths {
            chown(path, Some(owner.uid()), Some(owner.gid()))?;
        }
        command.uid(owner.uid()).gid(owner.gid());
    }
    Ok(())
}

/// Whether the runtime can use the board's GPU, by its own word. A board without one of NVIDIA's is not asked.
pub fn gpu(places: &Places) -> Finding {
    let ask = || -> Result<Value> {
        let (binary, bundle) = runtime(places);
        let mut command = Command::new(&binary);
        command.args(["inspect", "--json"]).args(bundle);
        as_owner(&mut command, places, &[])?;
        let output = command.stdin(Stdio::null()).output().with_context(|| format!("{}", binary.display()))?;
        Ok(serde_json::from_slice::<Value>(&output.stdout).context("expected JSON of edge-seg inspect")?["devices"]["cuda"].take())
    };
    match ask() {
        Ok(cuda) if cuda["usable"] == true => ok("gpu", "the runtime can use it: --device cuda"),
        Ok(cuda) => {
            let why = cuda["why"].as_str().unwrap_or("the runtime does not tell").to_string();
            note("gpu", format!("the encoders run on the processor: {why}"), "see docs/jetson.md, the section on the GPU")
        }
        Err(error) => note("gpu", format!("could not be asked for: {error:#}"), "edge-seg inspect"),
    }
}

fn run_in(places: &Places, folder: &Path) -> Result<f64> {
    let picture = folder.join("test.bmp");
    fs::write(&picture, bitmap())?;
    let (binary, bundle) = runtime(places);
    let mut command = Command::new(&binary);
    command.arg("segment").arg(&picture).args(["--tags", "sky, wall", "--out"]).arg(folder.join("out"));
    if let Some(bundle) = bundle {
        command.arg("--model").arg(bundle);
    }
    as_owner(&mut command, places, &[folder, &picture])?;
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
