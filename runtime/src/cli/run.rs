use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{ArgGroup, Args, ValueEnum};
use edge_seg::files::replace_file;
use edge_seg::live::{Counters, FrameReport, LiveOptions, Shown, Words};
use edge_seg::sink::{LegendEntry, OverlayOptions, VideoWriter, draw_overlay, encode_mask};
use edge_seg::source::{Matrix, Notice, Pace, Range, SourceOptions, open_source};
use edge_seg::{parse_tags, read_tags_file};

use super::{BackgroundArgs, ModelArgs, Outcome, print_json, steer, warn_of_many};

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("words").required(true))]
pub struct RunArgs {
    /// Where frames come from: a video, picture or folder, y4m:-, mjpeg:-, raw:-?size=640x480&format=yuyv&fps=30,
    /// rtsp://..., or test:?size=640x360&fps=30. PATH in place of `-` reads a file.
    #[arg(long, value_name = "URI")]
    source: String,
    /// Words to look for, separated by commas: "dog, grass, sky".
    #[arg(long, group = "words", value_name = "WORDS")]
    tags: Option<String>,
    /// File with one class a line: `name`, or `name: synonym, synonym`. It is read again whenever it changes.
    #[arg(long, group = "words", value_name = "FILE")]
    tags_file: Option<PathBuf>,
    /// Obey lines on stdin: `tags WORDS`, `add WORDS`, `remove WORDS`, `quit`.
    #[arg(long)]
    commands: bool,
    /// Write the video with its masks: .y4m, or .mp4 through ffmpeg; `-` is y4m on stdout, in place of the JSON lines.
    #[arg(long, value_name = "FILE")]
    overlay: Option<PathBuf>,
    /// Write each frame's labels into this folder, as SEQUENCE.mask.png.
    #[arg(long, value_name = "DIR")]
    masks: Option<PathBuf>,
    /// Whether frames that come too fast are dropped.
    #[arg(long, value_enum, default_value_t = PaceArg::Auto)]
    pace: PaceArg,
    /// Run the encoder on every Nth frame only; masks stand still between.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    key_interval: u64,
    /// Stop after N segmented frames.
    #[arg(long, value_name = "N")]
    frames: Option<u64>,
    /// Start files, pictures and folders again at their end.
    #[arg(long = "loop")]
    again: bool,
    /// Seconds without a frame after which a network stream counts as dead and is opened again.
    #[arg(long, value_name = "S", default_value_t = 10.0, value_parser = parse_seconds)]
    stall: f64,
    /// The source's colour matrix [default: what it says, else BT.709 from 720 lines, BT.601 below].
    #[arg(long, value_enum)]
    matrix: Option<MatrixArg>,
    /// The source's colour range [default: what it says, else limited].
    #[arg(long, value_enum)]
    range: Option<RangeArg>,
    #[command(flatten)]
    background: BackgroundArgs,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PaceArg {
    /// Live for cameras, network streams and the test source, every for everything else.
    Auto,
    /// The newest frame is taken, the others are dropped and counted; files play at their own speed.
    Live,
    /// Every frame is segmented; the source waits.
    Every,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MatrixArg {
    Bt601,
    Bt709,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RangeArg {
    /// Black is 16, white 235.
    Limited,
    /// Black is 0, white 255.
    Full,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|s| (0.1..=86400.0).contains(s)).ok_or_else(|| "expected seconds, 0.1 to 86400".into())
}

impl RunArgs {
    fn source_options(&self, stop: &Arc<AtomicBool>) -> SourceOptions {
        let notify = |notice: Notice| match notice {
            Notice::Lost { why, retry_in } => {
                let why = why.map_or_else(|| "the source ended".into(), |e| e.to_string());
                eprintln!("edge-seg: {why}; opening it again in {:.1} s", retry_in.as_secs_f64());
            }
            Notice::Back => eprintln!("edge-seg: the source is back"),
            _ => {}
        };
        SourceOptions {
            pace: self.pace(),
            stall: Duration::from_secs_f64(self.stall),
            matrix: self.matrix.map(|m| if m == MatrixArg::Bt601 { Matrix::Bt601 } else { Matrix::Bt709 }),
            range: self.range.map(|r| if r == RangeArg::Full { Range::Full } else { Range::Limited }),
            again: self.again,
            stop: stop.clone(),
            notify: Arc::new(notify),
        }
    }

    fn pace(&self) -> Pace {
        match self.pace {
            PaceArg::Auto => Pace::Auto,
            PaceArg::Live => Pace::Live,
            PaceArg::Every => Pace::Every,
        }
    }
}

pub fn run(args: &RunArgs) -> Result<Outcome> {
    let classes = match (&args.tags, &args.tags_file) {
        (Some(list), _) => parse_tags("--tags", list)?,
        (_, Some(file)) => read_tags_file(file)?,
        _ => unreachable!("clap asks for one of them"),
    };
    let background_words = args.background.words()?;
    if args.commands && args.source.split('?').next().is_some_and(|s| s.ends_with(":-")) {
        bail!("--commands and --source {} both read stdin", args.source);
    }
    warn_of_many(classes.iter().map(|c| c.words.len()).sum());
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The first signal asks, the second one ends at once.
        signal_hook::flag::register_conditional_shutdown(signal, 2, stop.clone()).context("signals")?;
        signal_hook::flag::register(signal, stop.clone()).context("signals")?;
    }
    let source = open_source(&args.source, &args.source_options(&stop))?;
    let session = Arc::new(args.model.session()?);
    let words = Arc::new(Words::new(session.clone(), classes, background_words)?);
    if args.commands {
        steer::obey_stdin(words.clone(), stop.clone());
    }
    if let Some(file) = &args.tags_file {
        steer::watch_file(file.clone(), words.clone(), stop.clone());
    }
    let mut sinks = Sinks::open(args)?;
    let options = LiveOptions {
        pace: args.pace(),
        background: args.background.threshold(session.bundle().manifest()),
        key_interval: args.key_interval,
    };
    let counters = Arc::new(Counters::default());
    let start = Instant::now();
    let mut shown = 0;
    let outcome = edge_seg::live::run(&session, source, &words, options, &counters, &stop, |frame| {
        sinks.take(&frame)?;
        shown += 1;
        anyhow::Ok(args.frames.is_none_or(|frames| shown < frames))
    });
    let finished = sinks.finish();
    let seconds = start.elapsed().as_secs_f64();
    let dropped = counters.dropped.load(Ordering::Relaxed);
    eprintln!("edge-seg: {shown} frames in {seconds:.1} s ({:.1} a second), {dropped} dropped", shown as f64 / seconds);
    outcome?;
    finished?;
    Ok(Outcome::Done)
}

/// Where frames go.
struct Sinks {
    json: bool,
    overlay: Option<VideoWriter>,
    masks: Option<PathBuf>,
}

impl Sinks {
    fn open(args: &RunArgs) -> Result<Self> {
        if let Some(folder) = &args.masks {
            std::fs::create_dir_all(folder).with_context(|| format!("--masks {}", folder.display()))?;
        }
        let json = args.overlay.as_deref() != Some("-".as_ref());
        Ok(Self { json, overlay: args.overlay.as_deref().map(VideoWriter::create).transpose()?, masks: args.masks.clone() })
    }

    fn take(&mut self, shown: &Shown) -> Result<()> {
        let report = FrameReport::new(shown);
        if let Some(folder) = &self.masks {
            let path = folder.join(format!("{:08}.mask.png", report.sequence));
            replace_file(&path, &encode_mask(&shown.found.labels, report.classes.len())?)?;
        }
        if let Some(overlay) = &mut self.overlay {
            let legend: Vec<_> =
                report.classes.iter().map(|c| LegendEntry { label: c.label, name: c.name.clone(), score: c.score }).collect();
            let picture = draw_overlay(&shown.frame.pixels, &shown.found.labels, &legend, OverlayOptions::default());
            overlay.write(&picture, shown.frame.timestamp, shown.rate)?;
        }
        if self.json { print_json(&report) } else { Ok(()) }
    }

    fn finish(self) -> Result<()> {
        Ok(self.overlay.map_or(Ok(()), VideoWriter::finish)?)
    }
}
