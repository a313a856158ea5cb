use std::fmt;
use std::io::IsTerminal;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use edge_seg_bundle::redact::redacted;
use edge_seg_bundle::text::shown_lines;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::{self, Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

/// What is said while it runs, on stderr.
#[derive(Debug, Clone, Default, PartialEq, Args, Serialize, Deserialize)]
#[command(next_help_heading = "Log")]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct LogArgs {
    /// How much is said on stderr [default: info].
    #[arg(long, value_enum)]
    #[serde(rename = "level")]
    log: Option<LogLevel>,
    /// How it is written: text, or one line of JSON for each message [default: text].
    #[arg(long, value_enum)]
    #[serde(rename = "format")]
    log_format: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum LogFormat {
    #[default]
    Text,
    Json,
}

/// Changes the level while it runs.
#[derive(Clone)]
pub struct LogHandle(reload::Handle<Targets, Registry>);

impl LogHandle {
    pub fn change(&self, args: &LogArgs) -> Result<()> {
        self.0.reload(args.targets()).context("the log's level")
    }
}

impl LogArgs {
    /// Takes over what this program says from here on.
    pub fn start(&self) -> Result<LogHandle> {
        let (filter, handle) = reload::Layer::new(self.targets());
        let written = match self.log_format.unwrap_or_default() {
            LogFormat::Text => layer().event_format(Text).with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).boxed(),
            LogFormat::Json => layer().json().event_format(Json::default()).with_writer(std::io::stderr).boxed(),
        };
        tracing_subscriber::registry().with(filter).with(written).try_init().context("the log")?;
        Ok(LogHandle(handle))
    }

    /// This program at the level that is asked for; the libraries that it uses say little below a warning that concerns anybody here.
    fn targets(&self) -> Targets {
        let level = match self.log.unwrap_or_default() {
            LogLevel::Off => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        };
        let others = if level >= LevelFilter::TRACE { LevelFilter::DEBUG } else { level.min(LevelFilter::WARN) };
        Targets::new().with_target("edge_seg", level).with_default(others)
    }
}

/// As this program's other commands speak: its name, then the message. The service manager's journal adds the time.
struct Text;

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'a> FormatFields<'a> + 'static> FormatEvent<S, N> for Text {
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::INFO => "",
            Level::ERROR => "error: ",
            Level::WARN => "warning: ",
            _ => "debug: ",
        };
        write!(writer, "edge-seg: {level}")?;
        let mut said = String::new();
        context.field_format().format_fields(Writer::new(&mut said), event)?;
        writeln!(writer, "{}", shown_lines(&redacted(&said)))
    }
}

/// One object a line. Passwords are hidden in each text of it: in the line as a whole, quotes and brackets would be taken for parts of one.
struct Json(Format<format::Json>);

impl Default for Json {
    fn default() -> Self {
        Self(Format::default().json().flatten_event(true))
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>, N: for<'a> FormatFields<'a> + 'static> FormatEvent<S, N> for Json {
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let mut said: Value = serde_json::from_str(&line).map_err(|_| fmt::Error)?;
        hide_passwords(&mut said);
        writeln!(writer, "{said}")
    }
}

fn hide_passwords(value: &mut Value) {
    match value {
        Value::String(text) => *text = redacted(text),
        Value::Array(values) => values.iter_mut().for_each(hide_passwords),
        Value::Object(values) => values.values_mut().for_each(hide_passwords),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_of_json_hide_passwords_and_stay_json() {
        let kept = Kept::default();
        let to = kept.clone();
        let written = layer().json().event_format(Json::default()).with_writer(move || to.clone());
        tracing::subscriber::with_default(Registry::default().with(written), || {
            tracing::warn!(at = "u:hunter2@h", "no answer of rtsp://h/x?password=hunter2");
        });
        let line: Value = serde_json::from_slice(&kept.0.lock()).unwrap();
        assert_eq!((&line["message"], &line["at"]), (&"no answer of rtsp://h/x?password=***".into(), &"***@h".into()));
        assert_eq!(line["level"], "WARN");
        assert!(line["timestamp"].is_string() && line["target"].is_string(), "{line}");
    }
}
