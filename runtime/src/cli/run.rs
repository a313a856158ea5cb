mod describe;
mod display;
mod file;
#[cfg(feature = "service")]
mod http;
mod index;
mod input;
mod log;
#[cfg(feature = "service")]
mod notify;
mod output;
mod pipeline;
mod reload;
mod rules;
mod running;
mod settings;
#[cfg(feature = "service")]
mod systemd;
mod things;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
#[cfg(feature = "service")]
use edge_seg::live::HideSwitches;
use edge_seg::live::{Counters, FrameReport, WordSpec, Words};
use edge_seg::sink::LiveSink;
use edge_seg_live::metrics::Metrics;
use edge_seg_live::session::EventBus;
use edge_seg_live::words::{Control, WordSets};
use edge_seg_model::same_name;

use super::examples::{ExampleArg, with_examples};
use super::input::MANY_WORDS;
use super::output::Outcome;
use super::{flags, hide, steer};
pub use describe::commented;
pub use file::{absent, read_settings};
use log::LogHandle;
use running::Running;
pub use settings::Settings;
pub use things::parse as countable;

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Read options from this TOML file; flags win over it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Settings,
}

pub fn run(args: RunArgs) -> Result<Outcome> {
    let settings = match &args.config {
        Some(file) => args.flags.over(read_settings(file)?)?,
        None => args.flags.clone(),
    };
    settings.check()?;
    let log = settings.log.start()?;
    match session(&args, &settings, log) {
        // From here on everything is said in the log, in its format.
        Err(e) if !edge_seg_terminal::is_closed_pipe(&e) => {
            tracing::error!("{}", flags::told(&e));
            Ok(Outcome::SomeFailed)
        }
        ended => ended,
    }
}

fn session(args: &RunArgs, settings: &Settings, log: LogHandle) -> Result<Outcome> {
    let commands = settings.words.commands.unwrap_or(false);
    if commands && settings.input.reads_stdin() {
        bail!(
            "--commands and --source {} both read stdin: give one of them alone; words also change by --tags-file or --http",
            settings.input.name()
        );
    }
    if settings.may_hide() {
        hide::keep_memory()?;
    }
    let book = settings.book()?;
    let mut rules = settings.rules.open(book, settings.words.state.as_deref())?;
    // Before signals only ask: a pipe in a file's place may keep this waiting.
    let specs = settings.words.specs()?;
    let stop = Arc::new(AtomicBool::new(false));
    // Not `stop` itself, which other ends set as well: a first signal that comes then would cut short the finishing of files.
    let signalled = Arc::new(AtomicBool::new(false));
    let mut signals = vec![signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM];
    // A terminal or ssh that goes away ends the run as well, unless SIGHUP reads a configuration again, or nohup has it ignored.
    if args.config.is_none() && !ignores_hangup() {
        signals.push(signal_hook::consts::SIGHUP);
    }
    for signal in signals {
        // The first signal asks, the second one ends at once.
        signal_hook::flag::register_conditional_shutdown(signal, 2, signalled.clone()).context("signals")?;
        signal_hook::flag::register(signal, signalled.clone()).context("signals")?;
        signal_hook::flag::register(signal, stop.clone()).context("signals")?;
    }
    let begun = Arc::new(AtomicBool::new(false));
    end_before_frames(signalled, begun.clone());
    let reconnects = Arc::default();
    let source = settings.input.open(&stop, &reconnects)?;
    let Some(running) = load(settings, specs, &stop, reconnects).map_err(|e| flags::in_list(e, settings.words.tags_file.as_deref()))?
    else {
        return Ok(Outcome::Done);
    };
    rules.change(running.control.words.clone());
    let commands = commands.then(|| steer::Commands::obey(running.control.clone()));
    if let Some(file) = &settings.words.tags_file {
        steer::watch_words(file.clone(), running.control.clone());
    }
    if let Some(file) = &args.config {
        reload::follow(file.clone(), args.flags.clone(), running.clone(), rules.reader(), log)?;
    }
    let waits = !settings.pipeline.is_live(settings.input.pace(), source.is_live());
    let mut sinks = open_sinks(settings, &running, waits)?;
    let Running { session, metrics, .. } = &running;
    sinks.extend(settings.index.open(session, &settings.input.name(), waits, settings.rules.start_time(), &settings.output, metrics)?);
    let hide = settings.hide.hide(session, settings.pipeline.hide_max_age())?;
    let options = settings.pipeline.live_options(settings.input.pace(), source.is_live()).with_things(settings.things.options());
    #[cfg(feature = "service")]
    let (options, _server) = {
        let how = settings.hide.options(settings.pipeline.hide_max_age());
        let switches = settings.http.hides().then(|| HideSwitches::new(session.clone(), how)).transpose().context("--hide-switches")?;
        let always = settings.hide.classes()?;
        let hidden = (hide.is_some() || switches.is_some()).then(|| http::Hidden { always, switches: switches.clone() });
        let server = settings.http.open(&running, settings.input.name(), settings.index.file(), hidden, &mut sinks)?;
        (options.with_hide_switches(switches), server)
    };
    let options = options.with_hide(hide);
    let mask_style = settings.output.mask_style();
    let start = Instant::now();
    begun.store(true, Ordering::Relaxed);
    let mut shown = 0;
    let outcome = edge_seg_live::run(&running.session, source, &running.control.words, options, &running.counters, &stop, |frame| {
        let mut report = FrameReport::new(&frame);
        if let Some(style) = mask_style {
            report = report.with_masks(&frame, style);
        }
        rules.observe(&frame, &mut report, &running.event_bus);
        running.metrics.observe(&report);
        let report = Arc::new(report);
        for sink in &mut sinks {
            sink.take(&frame, &report)?;
        }
        shown += 1;
        anyhow::Ok(settings.pipeline.frames.is_none_or(|frames| shown < frames))
    });
    rules.finish();
    if let Some(commands) = commands {
        commands.finish();
    }
    // Each sink is finished, whatever became of the others; the first fault ends the run, and the log has the rest.
    let mut finished = Ok(());
    for sink in sinks {
        let Err(error) = sink.finish() else { continue };
        match finished {
            Ok(()) if outcome.is_ok() => finished = Err(error),
            _ => tracing::error!("{error}"),
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let dropped = running.counters.dropped.load(Ordering::Relaxed);
    let [captured, late] = [&running.counters.captured, &running.counters.late].map(|c| c.load(Ordering::Relaxed));
    // A source that could not be opened has nothing to count.
    if outcome.is_ok() || captured > 0 {
        tracing::info!(
            "{captured} captured, {shown} shown in {seconds:.1} s ({:.1} a second), {late} late, {dropped} dropped",
            shown as f64 / seconds
        );
    }
    outcome?;
    finished?;
    Ok(Outcome::Done)
}

/// Has a signal end the process where nothing else sees it: the start may wait for the other end of a named pipe, or for a disk that has
/// gone. Until frames come there are no files to finish.
fn end_before_frames(signalled: Arc<AtomicBool>, begun: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        while !begun.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(200));
            if signalled.load(Ordering::Relaxed) {
                // What looks for the signal itself ends in order.
                std::thread::sleep(Duration::from_secs(2));
                if !begun.load(Ordering::Relaxed) {
                    tracing::info!("ended before the first frame");
                    std::process::exit(0);
                }
            }
        }
    });
}

/// Whether the process that started this one has SIGHUP ignored.
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
}

/// Every group of options that takes frames adds its sinks here.
fn open_sinks(settings: &Settings, running: &Running, waits: bool) -> Result<Vec<Box<dyn LiveSink>>> {
    let mut sinks = settings.output.open(&running.metrics, waits && !settings.input.repeats())?;
    sinks.extend(settings.rules.sinks(&settings.output, &running.metrics)?);
    #[cfg(feature = "service")]
    {
        let model = &running.session.bundle().manifest().name;
        sinks.extend(settings.mqtt.open(model, &running.control, &running.metrics)?);
        sinks.extend(settings.webhook.open(&running.metrics)?);
        sinks.extend(systemd::Watchdog::new().map(|watchdog| Box::new(watchdog) as Box<dyn LiveSink>));
    }
    sinks.extend(settings.display.open()?);
    Ok(sinks)
}

/// Loads the model and encodes the words, which a small board takes many seconds for; none if it is to stop meanwhile.
fn load(settings: &Settings, specs: Vec<WordSpec>, stop: &Arc<AtomicBool>, reconnects: Arc<AtomicU64>) -> Result<Option<Running>> {
    let background_words = settings.background.words()?;
    let count: usize = specs.iter().map(|s| 1 + s.synonyms.len()).sum();
    if count > MANY_WORDS {
        tracing::warn!("{count} words: encoding them takes a while once, and the more words compete, the less likely each is right");
    }
    let given: Vec<&str> = specs.iter().map(|s| &*s.name).chain(settings.words.examples().iter().map(|example| &*example.name)).collect();
    let uncounted = settings.things.unlisted(|word| given.iter().any(|name| same_name(name, word)));
    if !uncounted.is_empty() {
        tracing::warn!(
            "--things names words that are not in the list; their things count once somebody adds them: {}",
            uncounted.join(", ")
        );
    }
    let sets = settings.words.state.as_ref().map(|folder| WordSets::open(&folder.join("words"))).transpose().context("--state")?;
    tracing::debug!("loading the model");
    let (sender, loaded) = channel();
    let (model, background, stop_too) = (settings.model.clone(), settings.background.clone(), stop.clone());
    let examples = settings.words.examples().to_vec();
    std::thread::spawn(move || {
        let running = || {
            let session = Arc::new(model.session()?);
            let background = background.threshold(session.bundle().manifest());
            let specs = with_examples(specs, ExampleArg::embed_all(&examples, &session).context("--example")?);
            let words = Arc::new(Words::new(session.clone(), specs, background_words, background)?);
            let control = Control { words, sets: sets.map(Arc::new), stop: stop_too };
            let (counters, event_bus) = (Arc::<Counters>::default(), Arc::<EventBus>::default());
            let metrics = Arc::new(Metrics::new(&session, counters.clone(), reconnects));
            let counted = metrics.clone();
            event_bus.add_metrics(move |text| text.push_str(&counted.render()));
            anyhow::Ok(Running { session, control, counters, metrics, event_bus })
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
