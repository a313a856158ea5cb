mod machine;

use std::io::Write;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use clap::Args;
use edge_seg::hide::Hide;
use edge_seg::live::{Countable, Follower, Sight, ThingOptions};
use edge_seg::rules::{RuleBook, Watcher, brightness};
use edge_seg::search::{IndexOptions, IndexWriter, Seen};
use edge_seg::sink::{LegendEntry, Milliseconds, OverlayOptions};
use edge_seg::source::{Pace, SourceOptions, open_source};
use edge_seg::{Frame, Session, WordBank};
use edge_seg_board::boards::Macs;
use edge_seg_board::boards::{BOARDS, Board, Rates};
use edge_seg_kernels::{Kernels, kernels};
use edge_seg_model::propagation::{PropagationOptions, Propagator};
use edge_seg_model::render::draw_overlay_on;
use edge_seg_model::{check_classes, count_macs, join_examples};
use serde::Serialize;

use self::machine::Machine;
use super::args::{BackgroundArgs, ModelArgs, RefineArg};
use super::examples::ExampleArg;
use super::flags::{classes_of, words, words_of};
use super::hide::HideArgs;
use super::output::{Outcome, print_json};

#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to segment: a picture, a folder, a video, or any other source of `run`; it starts again at its end.
    #[arg(value_name = "SOURCE", default_value = "test:?size=1280x720&fps=30")]
    source: String,
    /// Words to look for, separated by commas.
    #[arg(long, value_name = "WORDS", value_parser = words, allow_hyphen_values = true, default_value = "person, car, road, tree, building, sky, dog, grass", conflicts_with = "tags_file")]
    tags: String,
    /// File with one class a line: `name`, or `name: synonym, synonym`.
    #[arg(long, value_name = "FILE")]
    tags_file: Option<std::path::PathBuf>,
    /// Frames that count.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// Frames before those, which do not count.
    #[arg(long, value_name = "N", default_value_t = 2)]
    warmup: u32,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
    /// Fail with exit code 1 if this program runs slower kernels than the processor has, or is a debug build.
    #[arg(long)]
    assert: bool,
    /// Also count and follow things of these words, as `run --things` does.
    #[arg(long, value_name = "WORDS", value_parser = super::run::countable, allow_hyphen_values = true)]
    things: Option<Countable>,
    /// Also look for what a box of a picture shows, as `run --example` does. As often as there are boxes.
    #[arg(long, value_name = "PICTURE:x,y,w,h=NAME")]
    example: Vec<ExampleArg>,
    /// Also watch by the zones, rules and profiles of a file, as `run --rules` does.
    #[arg(long, value_name = "FILE")]
    rules: Option<std::path::PathBuf>,
    /// Also put each frame into an index, as `run --index` does once a second; it is thrown away.
    #[arg(long, conflicts_with = "hide")]
    index: bool,
    /// What is done to the masks' borders.
    #[arg(long, value_enum, default_value_t = RefineArg::None)]
    refine: RefineArg,
    #[command(flatten)]
    background: BackgroundArgs,
    #[command(flatten)]
    hide: HideArgs,
    #[command(flatten)]
    model: ModelArgs,
    /// On a GPU, score there as well and, with --refine none, draw there. No GPU has run this yet.
    #[arg(long, help_heading = "Model")]
    gpu_masks: bool,
}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    debug_build: bool,
    model: String,
    variant: String,
    digest: String,
    source: String,
    frame_px: (u32, u32),
    input_px: (u32, u32),
    words: usize,
    threads: usize,
    backend: &'static str,
    /// Operators of the image encoder that its device leaves to the processor.
    unsupported_ops: Vec<String>,
    kernels: &'static str,
    best_kernels: &'static str,
    /// Reading and checking the bundle, loading the image encoder and the tokenizer.
    load_ms: f64,
    /// Loading the text encoder and embedding the words.
    words_ms: f64,
    /// The first frame, with the encoder's plan for its size.
    first_frame_ms: f64,
    frames: u32,
    stages: Vec<Stage>,
    frames_per_second: f64,
    /// Processor time of all threads for one frame.
    cpu_ms_median: Option<f64>,
    peak_memory_bytes: Option<u64>,
    multiplications: u64,
    integer_multiplications: u64,
    machine: Machine,
    boards: Vec<Elsewhere>,
}

/// One of a frame's stages.
#[derive(Serialize)]
struct Stage {
    stage: &'static str,
    median_ms: f64,
    p95_ms: f64,
}

/// How long the encoder takes on a board.
#[derive(Serialize)]
struct Elsewhere {
    board: String,
    one_thread_ms: f64,
    all_cores_ms: f64,
    known_by: &'static str,
}

impl Elsewhere {
    /// With `half`, in 16-bit floats where the board has them.
    fn on(board: &Board, rates: Rates, work: Macs, half: bool) -> Self {
        let halved = rates.in_halves().filter(|_| half);
        let fewest = board.cores.first().copied().unwrap_or(1);
        let [one_thread_ms, all_cores_ms] = [1, fewest].map(|cores| halved.unwrap_or(rates).least_ms(work, cores));
        let known_by = match (half, halved) {
            (true, Some(_)) => "predicted with --half: arithmetic alone, at least",
            (true, None) => "predicted, has no --half: arithmetic alone, at least",
            (false, _) => "predicted: arithmetic alone, at least",
        };
        Self { board: format!("{} ({})", board.name, rates.core.name), one_thread_ms, all_cores_ms, known_by }
    }
}

/// What is timed, in a frame's order; `frame` is all of it.
const STAGES: [&str; 12] = ["read", "prepare", "encode", "score", "mask", "motion", "things", "rules", "index", "hide", "overlay", "frame"];

impl BenchArgs {
    /// Whether a stage is of an option that was given, or of none.
    fn times(&self, stage: &str) -> bool {
        match stage {
            "motion" | "things" => self.things.is_some(),
            "rules" => self.rules.is_some(),
            "index" => self.index,
            "hide" => self.hide.is_given(),
            _ => true,
        }
    }
}

pub fn run(args: &BenchArgs) -> Result<Outcome> {
    let mut classes = match &args.tags_file {
        Some(file) => classes_of(file)?,
        None => words_of("--tags", &args.tags)?,
    };
    args.hide.check(args.hide.is_given())?;
    let start = Instant::now();
    let session = args.model.session_with(None, args.gpu_masks)?.with_refinement(args.refine.into());
    let load = start.elapsed();
    let examples = join_examples(&mut classes, &ExampleArg::embed_all(&args.example, &session)?);
    let classes = check_classes("--tags, --example", classes)?;
    let bank = session.word_bank_with(&classes, &args.background.words()?, &examples)?;
    let words = start.elapsed() - load;
    let mut timed = Timed::new(args, &session, &bank)?;
    let first = timed.frame()?;
    (0..args.warmup).try_for_each(|_| timed.frame().map(drop))?;
    let before = Machine::read();
    let mut laps = Vec::new();
    for _ in 0..args.frames {
        laps.push(timed.frame()?);
    }
    let placement = timed.placement.ok_or_else(|| anyhow::anyhow!("no frame"))?;
    // Counting loads the encoder again.
    let peak_memory_bytes = machine::peak_memory_bytes();
    let work = count_macs(session.bundle(), placement.grid())?;
    let half = args.model.half.unwrap_or(false);
    let sets = Kernels::all();
    let stages: Vec<_> = STAGES
        .iter()
        .enumerate()
        .filter(|(_, stage)| args.times(stage))
        .map(|(i, stage)| {
            let times: Vec<f64> = laps.iter().map(|lap| Milliseconds::rounded(lap.stages[i])).collect();
            Stage { stage, median_ms: quantile(&times, 0.5), p95_ms: quantile(&times, 0.95) }
        })
        .collect();
    let cpu: Option<Vec<f64>> = laps.iter().map(|lap| lap.cpu_ms).collect();
    let manifest = session.bundle().manifest();
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        debug_build: cfg!(debug_assertions),
        model: manifest.name.clone(),
        variant: manifest.variant.clone(),
        digest: session.bundle().digest().into(),
        source: args.source.clone(),
        frame_px: placement.frame_px,
        input_px: placement.input_px,
        words: bank.words().rows(),
        threads: args.model.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)),
        backend: session.backend(),
        unsupported_ops: session.unsupported_ops(),
        kernels: kernels().name(),
        best_kernels: sets.last().map_or("scalar", |set| set.name()),
        load_ms: Milliseconds::rounded(load),
        words_ms: Milliseconds::rounded(words),
        first_frame_ms: Milliseconds::rounded(first.stages[STAGES.len() - 1]),
        frames: args.frames,
        frames_per_second: 1e3 / stages[stages.len() - 1].median_ms,
        stages,
        cpu_ms_median: cpu.map(|times| quantile(&times, 0.5)),
        peak_memory_bytes,
        multiplications: work.floats,
        integer_multiplications: work.integers,
        machine: Machine { before: Some(Box::new(before)), ..Machine::read() },
        boards: BOARDS.iter().filter_map(|board| Some(Elsewhere::on(board, board.rates?, work, half))).collect(),
    };
    if args.json {
        print_json(&report)?;
    } else {
        print_table(&report)?;
    }
    if args.assert {
        return assert(&report);
    }
    Ok(Outcome::Done)
}

/// Whether the best that this processor can do is what runs.
fn assert(report: &Report) -> Result<Outcome> {
    let mut slower = Vec::new();
    if report.kernels != report.best_kernels {
        slower.push(format!("kernels: expected {} (the fastest that this processor has), found {}", report.best_kernels, report.kernels));
    }
    if report.debug_build {
        slower.push("build: expected a release build, found a debug build".into());
    }
    slower.iter().for_each(|why| eprintln!("edge-seg: {why}"));
    Ok(if slower.is_empty() { Outcome::Done } else { Outcome::No })
}

struct Timed<'a> {
    source: Box<dyn edge_seg::source::Source>,
    session: &'a Session,
    bank: &'a WordBank,
    background: edge_seg::Background,
    frame: Frame,
    placement: Option<edge_seg::Placement>,
    hide: Option<Hide>,
    uri: &'a str,
    /// What follows things, and the motion that it goes by.
    follower: Option<(Follower, Propagator)>,
    watcher: Option<Watcher>,
    /// With the folder that it lies in.
    index: Option<(IndexWriter, tempfile::TempDir)>,
}

struct Lap {
    stages: [Duration; STAGES.len()],
    cpu_ms: Option<f64>,
}

impl<'a> Timed<'a> {
    fn new(args: &'a BenchArgs, session: &'a Session, bank: &'a WordBank) -> Result<Self> {
        let options = SourceOptions::default().with_pace(Pace::Every).with_repeat(true);
        let follower = args.things.clone().map(|words| {
            let follower = Follower::new(ThingOptions::new(words))?;
            anyhow::Ok((follower, Propagator::new(PropagationOptions::default())))
        });
        let watcher = args.rules.as_deref().map(|file| Watcher::new(RuleBook::read(file)?)).transpose()?;
        let index = args.index.then(|| {
            let folder = tempfile::tempdir().context("a folder for the index")?;
            anyhow::Ok((IndexWriter::open(&folder.path().join("index"), session, &IndexOptions::default())?, folder))
        });
        Ok(Self {
            source: open_source(&args.source, &options)?,
            session,
            bank,
            background: args.background.threshold(session.bundle().manifest()),
            frame: Frame::still(image::RgbImage::new(0, 0)),
            placement: None,
            hide: args.hide.hide(session, None)?,
            uri: &args.source,
            follower: follower.transpose()?,
            watcher,
            index: index.transpose()?,
        })
    }

    fn frame(&mut self) -> Result<Lap> {
        let cpu_before = machine::cpu_ms();
        let start = Instant::now();
        if !self.source.read(&mut self.frame)? {
            bail!("{}: expected at least one frame, found the end", self.uri);
        }
        let read = start.elapsed();
        let mut hide = Duration::ZERO;
        let [mut motion_took, mut things_took, mut rules_took, mut index_took] = [Duration::ZERO; 4];
        let is_plain = self.hide.is_none() && self.follower.is_none() && self.watcher.is_none() && self.index.is_none();
        let found = if is_plain {
            self.session.segment(&self.frame, self.bank, self.background)?
        } else {
            let moved = Instant::now();
            let cut = self.follower.as_mut().map(|(_, propagator)| propagator.follow(&self.frame.pixels).cut);
            motion_took = cut.map_or(Duration::ZERO, |_| moved.elapsed());
            let encoded = self.session.encode(&self.frame)?;
            let masks = self.session.masks(&self.frame, &encoded, self.bank, self.background)?;
            let mut things = None;
            if let (Some((follower, propagator)), Some(another_scene)) = (&mut self.follower, cut) {
                let motion = (!another_scene).then(|| propagator.motion(self.frame.pixels.dimensions()));
                let (placement, patches) = (&encoded.placement, Some(&encoded.grid));
                let seen = things
                    .insert(follower.follow(
                        &Sight::new(&masks, placement).with_motion(motion).with_patches(patches).with_another_scene(another_scene),
                    ));
                things_took = seen.took;
            }
            if let Some(watcher) = &mut self.watcher {
                let start = Instant::now();
                if watcher.needs_light() {
                    watcher.light(brightness(&self.frame.pixels));
                }
                match &things {
                    Some(things) => watcher.look_at(&masks, things, SystemTime::now()),
                    None => watcher.look(&masks, SystemTime::now()),
                };
                rules_took = start.elapsed();
            }
            if let Some((writer, _)) = &mut self.index {
                let start = Instant::now();
                let (picture, at) = (&self.frame.pixels, self.frame.timestamp);
                writer.add(&Seen::new(&encoded, picture, SystemTime::now(), at, self.uri))?;
                index_took = start.elapsed();
            }
            if let Some(hidden) = &self.hide {
                let start = Instant::now();
                let frame = std::mem::replace(&mut self.frame, Frame::still(image::RgbImage::default()));
                self.frame = hidden.show(self.session, frame, &encoded)?.into_inner();
                hide = start.elapsed();
            }
            masks
        };
        let drawn = Instant::now();
        let legend: Vec<_> = self
            .bank
            .names()
            .iter()
            .zip(found.scores.scores())
            .enumerate()
            .map(|(i, (name, score))| LegendEntry::new(i + 1, name, *score))
            .collect();
        draw_overlay_on(&mut self.frame.pixels, &found.labels, &legend, &[], OverlayOptions::default());
        let overlay = drawn.elapsed();
        let image = &self.session.bundle().manifest().image;
        self.placement = Some(edge_seg::Placement::new(self.frame.pixels.dimensions(), image, self.session.size_px())?);
        let t = found.timings;
        Ok(Lap {
            stages: [
                read,
                t.prepare,
                t.encode,
                t.score,
                t.mask,
                motion_took,
                things_took,
                rules_took,
                index_took,
                hide,
                overlay,
                start.elapsed(),
            ],
            cpu_ms: cpu_before.zip(machine::cpu_ms()).map(|(before, after)| after - before),
        })
    }
}

/// The smallest of `times` that at least the share `q` of them does not exceed.
fn quantile(times: &[f64], q: f64) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1]
}

fn print_table(report: &Report) -> Result<()> {
    let mut out = edge_seg_terminal::results();
    let (frame, input) = (report.frame_px, report.input_px);
    writeln!(out, "model      {} ({}), input {}×{} of frames {}×{}", report.model, report.variant, input.0, input.1, frame.0, frame.1)?;
    writeln!(out, "words      {}", report.words)?;
    let slower =
        if report.kernels == report.best_kernels { String::new() } else { format!(" (this processor has {})", report.best_kernels) };
    writeln!(out, "runs on    {}, kernels {}{slower}, threads {}", report.backend, report.kernels, report.threads)?;
    if !report.unsupported_ops.is_empty() {
        writeln!(out, "left to the processor: {}", report.unsupported_ops.join(", "))?;
    }
    writeln!(out, "machine    {}", report.machine)?;
    writeln!(out, "load       {:.0} ms; words {:.0} ms; first frame {:.0} ms", report.load_ms, report.words_ms, report.first_frame_ms)?;
    if let Some(bytes) = report.peak_memory_bytes {
        writeln!(out, "memory     {:.0} MB at most", bytes as f64 / 1e6)?;
    }
    writeln!(out, "\n{:<10} {:>10} {:>10}   of {} frames", "stage", "median ms", "p95 ms", report.frames)?;
    for stage in &report.stages {
        writeln!(out, "{:<10} {:>10.2} {:>10.2}", stage.stage, stage.median_ms, stage.p95_ms)?;
    }
    let cpu = report.cpu_ms_median.map_or(String::new(), |cpu| format!(", {cpu:.1} ms of processor time a frame"));
    writeln!(out, "\n{:.1} frames a second{cpu}\n", report.frames_per_second)?;
    writeln!(out, "{:<34} {:>14} {:>14}", "encoder elsewhere", "one thread", "all cores")?;
    for line in &report.boards {
        writeln!(out, "{:<34} {:>11.0} ms {:>11.0} ms   {}", line.board, line.one_thread_ms, line.all_cores_ms, line.known_by)?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let times: Vec<f64> = (1..=20).rev().map(f64::from).collect();
        assert_eq!((quantile(&times, 0.5), quantile(&times, 0.95), quantile(&times, 1.0)), (10.0, 19.0, 20.0));
        assert_eq!((quantile(&[7.0], 0.5), quantile(&[7.0], 0.95)), (7.0, 7.0));
    }
}
