mod input;
mod output;
mod pipeline;
mod settings;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use edge_seg::Session;
use edge_seg::live::{Counters, FrameReport, LiveOptions, Words};
use edge_seg::sink::LiveSink;

use super::{Outcome, steer, warn_of_many};
use settings::Settings;

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Read options from this TOML file; flags win over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Settings,
}

/// A session that runs, as sinks may need to know or change it.
#[derive(Clone)]
pub struct Running {
    pub session: Arc<Session>,
    pub words: Arc<Words>,
    pub counters: Arc<Counters>,
    /// Set to end the run.
    pub stop: Arc<AtomicBool>,
}

pub fn run(args: RunArgs) -> Result<Outcome> {
    let settings = match &args.config {
        Some(file) => args.flags.over(Settings::read(file)?)?,
        None => args.flags,
    };
    settings.check()?;
    let commands = settings.words.commands.unwrap_or(false);
    if commands && settings.input.reads_stdin() {
        bail!("--commands and --source {} both read stdin", settings.input.source.unwrap_or_default());
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The first signal asks, the second one ends at once.
        signal_hook::flag::register_conditional_shutdown(signal, 2, stop.clone()).context("signals")?;
        signal_hook::flag::register(signal, stop.clone()).context("signals")?;
    }
    let source = settings.input.open(&stop)?;
    let Some(running) = load(&settings, &stop)? else { return Ok(Outcome::Done) };
    if commands {
        steer::obey_stdin(running.words.clone(), stop.clone());
    }
    if let Some(file) = &settings.words.tags_file {
        steer::watch_file(file.clone(), running.words.clone(), stop.clone());
    }
    let mut sinks = open_sinks(&settings, &running)?;
    let options = LiveOptions {
        pace: settings.input.pace(),
        background: settings.background.threshold(running.session.bundle().manifest()),
        key_interval: settings.pipeline.key_interval(),
    };
    let start = Instant::now();
    let mut shown = 0;
    let outcome = edge_seg::live::run(&running.session, source, &running.words, options, &running.counters, &stop, |frame| {
        let report = Arc::new(FrameReport::new(&frame));
        for sink in &mut sinks {
            sink.take(&frame, &report)?;
        }
        shown += 1;
        anyhow::Ok(settings.pipeline.frames.is_none_or(|frames| shown < frames))
    });
    // Each sink is finished, whatever became of the others; the first fault is told.
    let finished = sinks.into_iter().map(LiveSink::finish).fold(Ok(()), Result::and);
    let seconds = start.elapsed().as_secs_f64();
    let dropped = running.counters.dropped.load(Ordering::Relaxed);
    eprintln!("edge-seg: {shown} frames in {seconds:.1} s ({:.1} a second), {dropped} dropped", shown as f64 / seconds);
    outcome?;
    finished?;
    Ok(Outcome::Done)
}

/// Every group of options that takes frames adds its sinks here.
fn open_sinks(settings: &Settings, _running: &Running) -> Result<Vec<Box<dyn LiveSink>>> {
    settings.output.open()
}

/// Loads the model and encodes the words, which a small board takes many seconds for; none if it is to stop meanwhile.
fn load(settings: &Settings, stop: &Arc<AtomicBool>) -> Result<Option<Running>> {
    let classes = settings.words.classes()?;
    let background_words = settings.background.words()?;
    warn_of_many(classes.iter().map(|c| c.words.len()).sum());
    let (sender, loaded) = channel();
    let (model, stopped) = (settings.model.clone(), stop.clone());
    std::thread::spawn(move || {
        let running = || {
            let session = Arc::new(model.session()?);
            let words = Arc::new(Words::new(session.clone(), classes, background_words)?);
            anyhow::Ok(Running { session, words, counters: Arc::default(), stop: stopped })
        };
        let _ = sender.send(running());
    });
    loop {
        match loaded.recv_timeout(Duration::from_millis(40)) {
            Ok(running) => return running.map(Some),
            Err(RecvTimeoutError::Disconnected) => bail!("loading the model: the thread that loads it ended"),
            Err(RecvTimeoutError::Timeout) if stop.load(Ordering::Relaxed) => return Ok(None),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}
