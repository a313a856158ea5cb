//! One picture through the runtime, and its time against the time that this board took when all was well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use edge_seg_board::boards::{self, Macs};
use serde_json::{Value, json};

use super::finding::{Finding, REINSTALL, bad, note, ok};
use crate::board::Board;
use crate::paths::Paths;
use crate::service;
use crate::slots::machine::{BUNDLE, PROGRAM};

/// How much slower than the baseline is too slow.
const SLOWER: f64 = 1.5;
/// A square picture, near the built-in model's own size.
const SOURCE: &str = "test:?size=256x256";

/// How much longer than the inner loop alone an encoder may take: layers between the products, memory, the little work of other
/// programs.
const ABOVE_PREDICTION: f64 = 4.0;

/// How long a runtime may take for a few pictures, with loading, on the slowest board, where nobody waits for the rest.
const LIMIT: Duration = Duration::from_secs(120);

/// Runs the inference and judges its time: by the time that this board took when all was well, else by what is predicted for such
/// boards. No longer than `limit`.
pub fn try_once(paths: &Paths, board: &Board, limit: Duration) -> Finding {
    let Measured { milliseconds, work } = match run(paths, limit) {
        Ok(measured) => measured,
        Err(error) => return bad("inference", format!("{error:#}"), mend(paths, "journalctl -u edge-seg.service -n 50; edge-seg inspect")),
    };
    let expected = fs::read(baseline(&paths.state)).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    if let Some(expected) = expected.and_then(|value| value["milliseconds"].as_f64()) {
        return match milliseconds > expected * SLOWER {
            true => bad("inference", format!("{milliseconds:.0} ms, this board has done it in {expected:.0} ms"), LOOK),
            false => ok("inference", format!("{milliseconds:.0} ms, the baseline is {expected:.0} ms")),
        };
    }
    match boards::find(&board.key).and_then(|known| known.rates).map(|known| known.least_ms(work, board.cores)) {
        Some(least) if milliseconds > least * ABOVE_PREDICTION => {
            note("inference", format!("{milliseconds:.0} ms, where {least:.0} ms or a little more are predicted for this board"), LOOK)
        }
        Some(least) => {
            ok("inference", format!("{milliseconds:.0} ms, at least {least:.0} ms are predicted; doctor --baseline keeps this board's own"))
        }
        None => ok("inference", format!("{milliseconds:.0} ms; no baseline to hold it against (doctor --baseline records one)")),
    }
}

/// What helps where there is no program at all, else `otherwise`.
fn mend<'a>(paths: &Paths, otherwise: &'a str) -> &'a str {
    if runtime(paths).0.exists() { otherwise } else { REINSTALL }
}

const LOOK: &str = "edge-seg-fw board   # temperature, throttling; then: top -b -n 1 | head -n 15";

/// Where the baseline is kept.
fn baseline(state: &Path) -> PathBuf {
    state.join("inference.json")
}

/// Records the baseline.
pub fn record(paths: &Paths) -> Result<f64> {
    let milliseconds = run(paths, LIMIT)?.milliseconds;
    fs::create_dir_all(&paths.state).with_context(|| format!("{}", paths.state.display()))?;
    edge_seg_bundle::files::replace_file(&baseline(&paths.state), format!("{}\n", json!({ "milliseconds": milliseconds })).as_bytes())?;
    Ok(milliseconds)
}

/// What the runtime says of a picture: how long it takes, without loading, and what its encoder multiplies.
struct Measured {
    milliseconds: f64,
    work: Macs,
}

/// Lets the runtime time itself on a picture that it makes.
fn run(paths: &Paths, limit: Duration) -> Result<Measured> {
    let (binary, bundle) = runtime(paths);
    let mut command = Command::new(&binary);
    command.args(["bench", SOURCE, "--tags", "sky, wall", "--frames", "3", "--warmup", "1", "--json"]);
    if let Some(bundle) = bundle {
        command.arg("--model").arg(bundle);
    }
    let output = service::output(paths.user_to_run_as()?.as_ref(), &mut command, limit)?;
    ensure!(
        output.status.success(),
        "{} ended with {}: {}",
        binary.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default()
    );
    let report: Value = serde_json::from_slice(&output.stdout).context("the runtime's output: expected the JSON of edge-seg bench")?;
    let stages = report["stages"].as_array().context("the runtime's output: expected its stages")?;
    // Making the picture and drawing on it are nothing that a camera's frame needs.
    let counted = stages.iter().filter(|stage| ["prepare", "encode", "score", "mask"].iter().any(|name| stage["stage"] == *name));
    let number = |key: &str| report[key].as_u64().with_context(|| format!("the runtime's output: expected {key}"));
    Ok(Measured {
        milliseconds: counted.filter_map(|stage| stage["median_ms"].as_f64()).sum(),
        work: Macs { floats: number("multiplications")?, integers: number("integer_multiplications")? },
    })
}

/// The runtime that the service runs, and its bundle where that is not the runtime's own.
pub fn runtime(paths: &Paths) -> (PathBuf, Option<PathBuf>) {
    match paths.slot_that_runs() {
        Some(slot) => (slot.join(PROGRAM), Some(slot.join(BUNDLE))),
        None => (paths.packaged.clone(), None),
    }
}

/// How long a runtime may take to say what it has found.
const GPU_LIMIT: Duration = Duration::from_secs(20);

/// Whether the runtime can use the board's GPU, by its own word. A board without one of NVIDIA's is not asked.
pub fn gpu(paths: &Paths, limit: Duration) -> Finding {
    let ask = || -> Result<Value> {
        let (binary, bundle) = runtime(paths);
        let mut command = Command::new(&binary);
        command.args(["inspect", "--json"]).args(bundle);
        let output = service::output(paths.user_to_run_as()?.as_ref(), &mut command, limit.min(GPU_LIMIT))?;
        Ok(serde_json::from_slice::<Value>(&output.stdout).context("expected JSON of edge-seg inspect")?["devices"]["cuda"].take())
    };
    match ask() {
        Ok(cuda) if cuda["usable"] == true => ok("gpu", "the runtime can use it: --device cuda"),
        Ok(cuda) => {
            let why = cuda["why"].as_str().unwrap_or("the runtime does not tell").to_string();
            note("gpu", format!("the encoders run on the processor: {why}"), "see docs/jetson.md, the section on the GPU")
        }
        Err(error) => note("gpu", format!("could not be asked for: {error:#}"), mend(paths, "edge-seg inspect")),
    }
}
