//! What the programs share at the command line: how they end, shell completions and manual pages from their definitions.
#![forbid(unsafe_code)]

use std::fmt::Debug;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Args, Command, Parser};
use clap_complete::Shell;
use clap_mangen::Man;
use edge_seg_bundle::redact::redacted;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// The command line, or the status to end with: help and version are done, a mistake is an error.
///
/// # Errors
/// The exit status, after clap has printed what there is to say.
pub fn parse<C: Parser>() -> std::result::Result<C, ExitCode> {
    parse_with(|_| None)
}

/// As [`parse`], with a tip for a mistake that people make.
///
/// # Errors
/// As [`parse`].
pub fn parse_with<C: Parser>(tip: impl FnOnce(&clap::Error) -> Option<String>) -> std::result::Result<C, ExitCode> {
    let typed: Vec<String> = std::env::args().collect();
    let parsed = with_negative_numbers(C::command()).try_get_matches().and_then(|matches| C::from_arg_matches(&matches));
    parsed.map_err(|mut error| {
        let said = std::error::Error::source(&error).map(ToString::to_string);
        if let Some(expected) = said.and_then(|said| number(&said)) {
            let of = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
            let (value, option) = (of(ContextKind::InvalidValue), of(ContextKind::InvalidArg));
            let meant = with_point(&value).filter(|_| !expected.contains("whole"));
            let remedy = meant.map(|meant| format!("; try: {meant}")).unwrap_or_default();
            let message = format!("invalid value '{value}' for '{option}': expected {expected}{remedy}\n");
            error = clap::Error::raw(clap::error::ErrorKind::ValueValidation, message);
        } else if let Some(tip) = slip(&C::command(), &typed, &error).or_else(|| tip(&error)).or_else(|| all_options::<C>(&error)) {
            error.remove(ContextKind::SuggestedArg);
            error.remove(ContextKind::SuggestedSubcommand);
            error.remove(ContextKind::SuggestedValue);
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
        if error.use_stderr()
            && let Some(said) = typographic(&C::command(), &typed[1.min(typed.len())..])
        {
            let _ = writeln!(io::stderr(), "{}: {}", C::command().get_name(), redacted(&said));
            return ExitCode::from(2);
        }
        let said = error.render().to_string();
        let shown = redacted(&said);
        if error.use_stderr() && shown != said {
            let _ = write!(io::stderr(), "{shown}");
            return ExitCode::from(2);
        }
        let printed = error.print().and_then(|()| io::stdout().flush());
        match printed {
            _ if error.use_stderr() => ExitCode::from(2),
            Err(fault) if fault.kind() != ErrorKind::BrokenPipe => {
                let _ = writeln!(io::stderr(), "{}: {}", C::command().get_name(), of_stdout(fault));
                ExitCode::from(2)
            }
            _ => ExitCode::SUCCESS,
        }
    })
}

/// Hyphens and dashes that telephones and web pages put in the place of `-` and `--`.
const DASHES: [char; 7] = ['\u{2010}', '\u{2011}', '\u{2012}', '\u{2013}', '\u{2014}', '\u{2015}', '\u{2212}'];
/// Quotes that they put in the place of `"` and `'`, of which a shell knows nothing.
const QUOTES: [char; 8] = ['\u{201c}', '\u{201d}', '\u{201e}', '\u{ab}', '\u{bb}', '\u{2018}', '\u{2019}', '\u{201a}'];

/// Which of them end what others begin.
const PAIRS: [(char, &str); 6] = [
    ('\u{201c}', "\u{201d}"),
    ('\u{201e}', "\u{201c}\u{201d}"),
    ('\u{ab}', "\u{bb}"),
    ('\u{bb}', "\u{ab}"),
    ('\u{2018}', "\u{2019}"),
    ('\u{201a}', "\u{2018}\u{2019}"),
];

/// Tells of typographic dashes and quotes in what was typed, where a command has failed: they were taken for words and files, whose errors
/// tell nothing of them.
pub fn tell_typographic(program: &Command) {
    let typed: Vec<String> = std::env::args().skip(1).collect();
    if let Some(said) = typographic(program, &typed) {
        let _ = writeln!(io::stderr(), "{}: {}", program.get_name(), redacted(&said));
    }
}

/// What to type where an option begins with a typographic dash, or a text with spaces stands in typographic quotes. Names of files, values
/// of options and what stands behind `--` are what they are.
fn typographic(program: &Command, typed: &[String]) -> Option<String> {
    let typed = &typed[..typed.iter().position(|argument| argument == "--").unwrap_or(typed.len())];
    for (at, argument) in typed.iter().enumerate() {
        if Path::new(argument).exists() {
            continue;
        }
        let bare = argument.trim_matches(QUOTES);
        let name = bare.trim_start_matches(|c| c == '-' || DASHES.contains(&c));
        let (name, value) = name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)));
        let is_value = at.checked_sub(1).is_some_and(|before| takes_value(program, &typed[before]));
        if !is_value
            && bare.len() > name.len()
            && (bare.starts_with(DASHES) || bare.len() < argument.len() || bare[1..].starts_with(DASHES))
            && let Some(option) = option_of(program, name)
        {
            let value = value.map(|value| format!("={value}")).unwrap_or_default();
            return Some(format!(
                "expected an option, found {argument:?}, with a typographic dash or quote; did you mean {option}{value}?"
            ));
        }
        if let Some((open, closes)) = PAIRS.iter().find(|(open, _)| argument.starts_with(*open))
            && let rest = typed[at + 1..].iter().take_while(|argument| !argument.starts_with('-')).count()
            && let joined = typed[at..=at + rest].iter().position(|argument| argument.contains(|c| closes.contains(c)))
            && let Some(more) = joined.filter(|more| *more > 0)
            && let text = typed[at..=at + more].join(" ")
            && let Some(plain) = text.strip_prefix(*open).and_then(|text| text.strip_suffix(|c| closes.contains(c)))
            && !plain.contains(QUOTES)
        {
            return Some(format!("expected quotes that the shell knows, found {text}; did you mean \"{plain}\"?"));
        }
    }
    None
}

/// Whether an option takes what stands behind it, whichever command has it.
fn takes_value(program: &Command, option: &str) -> bool {
    let Some(name) = option.strip_prefix("--") else { return false };
    let takes = |arg: &Arg| arg.get_long() == Some(name) && arg.get_action().takes_values() && !arg.is_require_equals_set();
    program.get_arguments().any(takes) || program.get_subcommands().any(|inner| takes_value(inner, option))
}

/// An option as it is typed, by its name, whichever command has it.
fn option_of(program: &Command, name: &str) -> Option<String> {
    let is_long = |arg: &&Arg| arg.get_long() == Some(name);
    let is_short = |arg: &&Arg| arg.get_short().is_some_and(|short| name == short.to_string());
    let own = program.get_arguments().find_map(|arg| match arg {
        arg if is_long(&arg) => Some(format!("--{name}")),
        arg if is_short(&arg) => Some(format!("-{name}")),
        _ => None,
    });
    let always = matches!(name, "help" | "version").then(|| format!("--{name}"));
    own.or(always).or_else(|| program.get_subcommands().find_map(|inner| option_of(inner, name)))
}

/// The programs and their commands, each of which is looked for in the others.
const PROGRAMS: [(&str, &str); 3] = [
    ("edge-seg", "demo segment run config tags search inspect bench"),
    (
        "edge-seg-fw",
        "board doctor keygen pack sign verify install reconfigure status mark-good rollback prune deploy fleet pull compare metrics guard",
    ),
    ("edge-seg-export", "bundle quantize extract eval import label train ablate bias train-bench trainer-setup"),
];

/// What was meant by a slip that people make in every program: a space in a list, an option before its command, another word for the version.
fn slip(program: &Command, typed: &[String], error: &clap::Error) -> Option<String> {
    let given = |kind| error.get(kind).map(ToString::to_string);
    match error.kind() {
        clap::error::ErrorKind::InvalidSubcommand => {
            let name = given(ContextKind::InvalidSubcommand)?;
            if matches!(name.trim_start_matches('-'), "version" | "ver" | "v") {
                return Some(format!("{} --version", program.get_name()));
            }
            let is_first = typed.get(1).is_some_and(|first| *first == name);
            let other = PROGRAMS.iter().find(|(_, commands)| is_first && commands.split(' ').any(|command| command == name));
            other.map(|(other, _)| format!("that is a command of another program: {other} {name}"))
        }
        clap::error::ErrorKind::InvalidValue => {
            let (value, option) = (given(ContextKind::InvalidValue)?, given(ContextKind::InvalidArg)?);
            let known: &[String] = match error.get(ContextKind::ValidValue) {
                Some(ContextValue::Strings(known)) => known,
                _ => &[],
            };
            if let Some(name) = option.split(' ').next().filter(|name| value.is_empty() && name.starts_with("--")) {
                return Some(format!("a value stands behind it, as {option}; one that begins with a dash behind =, as {name}=-1"));
            }
            meant_value(&value, known).map(|meant| format!("did you mean '{meant}'?"))
        }
        clap::error::ErrorKind::ValueValidation => with_point(&given(ContextKind::InvalidValue)?).map(|meant| format!("try {meant}")),
        // Of an option that is given twice it names the option itself as what it conflicts with.
        clap::error::ErrorKind::ArgumentConflict => {
            let option = given(ContextKind::InvalidArg).filter(|option| given(ContextKind::PriorArg).as_ref() == Some(option))?;
            let name = option.split(' ').next()?;
            Some(match option.contains("<WORDS>") || option.contains("<LIST>") {
                true => format!("all in one list, separated by commas: {name} \"A, B\""),
                false => format!("{name} once, with the value that is meant"),
            })
        }
        clap::error::ErrorKind::MissingRequiredArgument => {
            let command = typed.get(1).filter(|name| program.find_subcommand(name).is_some());
            let command = command.map(|name| format!(" {name}")).unwrap_or_default();
            Some(format!("{}{command} --help says what each of them is", program.get_name()))
        }
        clap::error::ErrorKind::UnknownArgument => {
            let argument = given(ContextKind::InvalidArg)?;
            let usual = argument.to_lowercase().replace('_', "-");
            let in_use = typed.get(1).and_then(|name| program.find_subcommand(name)).unwrap_or(program);
            if usual != argument
                && let Some(name) = usual.strip_prefix("--")
                && in_use.get_arguments().any(|arg| arg.get_long() == Some(name))
            {
                return Some(format!("did you mean {usual}?"));
            }
            let typed_name = typed.get(1).map_or("", |first| first.as_str());
            if matches!(typed_name, "-version" | "-v") && argument == "-v" {
                return Some(format!("{} --version", program.get_name()));
            }
            let at = typed.iter().position(|typed| *typed == argument);
            if let Some(before) = at.and_then(|at| typed[..at].last()).filter(|_| !argument.starts_with('-')) {
                // The value of an option that takes none, or takes it behind `=`.
                let inner = program.find_subcommand(typed_name).unwrap_or(program);
                let is_it =
                    |arg: &&Arg| arg.is_require_equals_set() && arg.get_long().is_some() && before.strip_prefix("--") == arg.get_long();
                if let Some(name) = inner.get_arguments().find(is_it).and_then(Arg::get_long) {
                    return Some(format!("--{name}, --{name}=true or --{name}=false"));
                }
                if before.len() > 1 && before.ends_with(',') {
                    return Some(format!("a list has no space behind its comma, or stands in quotes: {before}{argument}"));
                }
            }
            let option =
                argument.strip_prefix("--").filter(|_| typed_name.starts_with('-') || program.find_subcommand(typed_name).is_none())?;
            let option = option.split('=').next()?;
            let having = program.get_subcommands().filter(|inner| inner.get_arguments().any(|arg| arg.get_long() == Some(option)));
            let names: Vec<_> = having.filter(|inner| !inner.is_hide_set()).map(|inner| inner.get_name().to_owned()).collect();
            let first = names.iter().find(|name| typed.contains(name)).or(names.first())?;
            Some(format!("--{option} stands behind a command ({}): {} {first} --{option} ...", names.join(", "), program.get_name()))
        }
        _ => None,
    }
}

/// A number as this program takes it, where somebody wrote a share in percent or a comma for the point.
fn with_point(value: &str) -> Option<String> {
    let number = |text: &str| text.replacen(',', ".", 1).parse::<f64>().ok().filter(|number| number.is_finite());
    if let Some(percent) = value.strip_suffix('%') {
        return number(percent.trim()).map(|percent| (percent / 100.0).to_string());
    }
    value.contains(',').then(|| number(value)).flatten().map(|number| number.to_string())
}

/// What was meant by a value that is none of those that are known: the same in capitals, or another name for the same.
fn meant_value<'a>(value: &str, known: &'a [String]) -> Option<&'a str> {
    let value = value.to_lowercase();
    let value = if matches!(&*value, "gpu" | "nvidia") { "cuda" } else { &*value };
    known.iter().map(String::as_str).find(|known| *known == value)
}

/// What the standard library's readers of numbers wanted.
fn number(said: &str) -> Option<&'static str> {
    match said {
        "invalid digit found in string" | "cannot parse integer from empty string" => Some("a whole number"),
        "number too large to fit in target type" | "number too small to fit in target type" => Some("a smaller whole number"),
        "invalid float literal" | "cannot parse float from empty string" => Some("a number"),
        _ => None,
    }
}

/// Where all options of the command are listed, for an option that there is not. clap's own tip stands in the way where it names one that is
/// hardly like it, or says to give the option as a value.
fn all_options<C: Parser>(error: &clap::Error) -> Option<String> {
    let given = error.get(ContextKind::InvalidArg).or(error.get(ContextKind::InvalidSubcommand)).map(ToString::to_string)?;
    let is_command = error.kind() == clap::error::ErrorKind::InvalidSubcommand;
    let is_unknown = is_command || error.kind() == clap::error::ErrorKind::UnknownArgument;
    let near = error.get(ContextKind::SuggestedArg).or(error.get(ContextKind::SuggestedSubcommand)).map(ToString::to_string);
    let is_near = near.is_some_and(|near| near.split(", ").any(|near| is_like(near, &given)));
    if !is_unknown || is_near {
        return None;
    }
    let program = C::command();
    let mut typed = program.get_name().to_owned();
    let mut at = &program;
    for word in std::env::args().skip(1) {
        let Some(inner) = at.find_subcommand(&word) else { break };
        typed = format!("{typed} {word}");
        at = inner;
    }
    let all = if is_command { "commands" } else { "options" };
    Some(format!("{typed} --help lists all {all}"))
}

/// Whether a name is so near to another that it was probably meant.
fn is_like(meant: &str, given: &str) -> bool {
    let [meant, given] = [meant, given].map(|name| name.trim_start_matches('-').to_lowercase());
    2 * strsim::osa_distance(&meant, &given) <= meant.len().min(given.len())
}

/// Prints what the libraries have to tell, behind the program's name as everything else that it says. For commands without a log of their
/// own.
pub fn speak(program: &'static str) {
    // Whoever has set another before has it told there.
    let _ = tracing::subscriber::set_global_default(Spoken(program));
}

struct Spoken(&'static str);

impl Subscriber for Spoken {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let most = if metadata.target().starts_with("edge_seg_model") { Level::INFO } else { Level::WARN };
        metadata.is_event() && metadata.target().starts_with("edge_seg") && *metadata.level() <= most
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Message(self.0));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Message(&'static str);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = writeln!(io::stderr(), "{}: {}", self.0, redacted(&format!("{value:?}")));
        }
    }
}

/// A number below zero behind an option is its value, to be refused as one, and no option that nobody knows.
fn with_negative_numbers(command: Command) -> Command {
    let takes = |arg: &Arg| arg.get_action().takes_values() && !arg.is_positional() && !arg.is_allow_hyphen_values_set();
    let command = command.mut_args(|arg| if takes(&arg) { arg.allow_negative_numbers(true) } else { arg });
    command.mut_subcommands(with_negative_numbers)
}

/// Stdout for a command's results: errors name it, for a full disk below `> file` is one of several that a command may meet.
#[derive(Debug)]
pub struct Results(io::StdoutLock<'static>);

/// Where results go.
pub fn results() -> Results {
    Results(io::stdout().lock())
}

impl Write for Results {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(of_stdout)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(of_stdout)
    }
}

fn of_stdout(error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("stdout: {error}"))
}

/// Whether whoever reads stdout has seen enough, as `head` has: that is no failure. Libraries' errors name the system's as their source.
#[must_use]
pub fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|cause| cause.kind() == ErrorKind::BrokenPipe)
}

/// An error with its causes, each once: what the file system said is in the error that names the file, and is its cause as well. Where the
/// system refused, what to try is told too.
#[must_use]
pub fn told(error: &anyhow::Error) -> String {
    with_remedy(error, joined(error.chain().map(ToString::to_string)))
}

/// What was said of an error, and what to try where it is the system that refused and nobody has said so yet.
#[must_use]
pub fn with_remedy(error: &anyhow::Error, said: String) -> String {
    let refused = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    match refused.and_then(|refused| remedy(refused.kind())) {
        Some(remedy) if !said.contains("try: ") => format!("{said}; try: {remedy}"),
        _ => said,
    }
}

/// What helps where the system refuses in this way.
fn remedy(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::NotFound => "ls, to see which names are there",
        ErrorKind::PermissionDenied => "a place that this user may read and write, or ls -l to see who may",
        ErrorKind::AlreadyExists | ErrorKind::NotADirectory | ErrorKind::IsADirectory => {
            "another name: here is a file in a folder's place, or a folder in a file's"
        }
        ErrorKind::ReadOnlyFilesystem => "a folder on a disk that can be written",
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "a folder on a disk with room, which df -h shows",
        ErrorKind::AddrInUse => "another port, or ss -tlnp to see which program has this one",
        ErrorKind::AddrNotAvailable => "an address of this machine, which ip -brief address shows",
        ErrorKind::ConnectionRefused => "whether the other side is running, and the port is right",
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable | ErrorKind::TimedOut => "whether the other side answers to ping",
        _ => return None,
    })
}

/// A library's error with its causes, each once and without passwords.
#[must_use]
pub fn causes(error: &dyn std::error::Error) -> String {
    joined(std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string))
}

/// As [`causes`], in one's own words.
#[must_use]
pub fn joined(causes: impl Iterator<Item = String>) -> String {
    let join = |said: String, cause: String| match () {
        () if said.ends_with(&cause) => said,
        () if cause.starts_with(&format!("{said}: ")) => cause,
        () => format!("{said}: {cause}"),
    };
    redacted(&causes.reduce(join).unwrap_or_default())
}

/// Completions of a program's commands and options.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell they are for
    shell: Shell,
}

impl Completions {
    /// Writes them to stdout.
    ///
    /// # Errors
    /// If stdout takes nothing more.
    pub fn run(&self, mut program: Command) -> Result<()> {
        let name = program.get_name().to_owned();
        // To memory first: the generator panics where its writer fails.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, name, &mut script);
        if self.shell == Shell::Bash {
            script = of_one_name(&String::from_utf8(script)?, program.get_name()).into();
        }
        let mut stdout = results();
        stdout.write_all(&script)?;
        Ok(stdout.flush()?)
    }
}

/// A script for bash in which a program's commands go by one name throughout. clap_complete 4.6 takes the hyphen of a program's name for a
/// space where it lists a command's options, and for a part of the name where it looks for them: those of commands are then never found
/// (findings/clap-complete-hyphens.sh).
fn of_one_name(script: &str, program: &str) -> String {
    let of_commands = |hyphen: &str| format!("{}__subcmd__", program.replace('-', hyphen));
    script.replace(&of_commands("__subcmd__"), &of_commands("__"))
}

/// A program's manual pages.
#[derive(Debug, Args)]
pub struct Manual {
    /// Folder for the pages; it is made
    folder: PathBuf,
}

impl Manual {
    /// Writes a page for the program, which ends with `more` (roff), and one for each of its commands.
    ///
    /// # Errors
    /// If the folder is a file, or cannot be written.
    pub fn run(&self, program: Command, more: &str) -> Result<()> {
        let place = self.folder.display();
        ensure!(!self.folder.is_file(), "{place}: expected a folder for the pages, found a file");
        fs::create_dir_all(&self.folder).with_context(|| format!("{place}: expected a folder that can be made"))?;
        let mut program = program.disable_help_subcommand(true);
        program.build();
        self.write(program, more)
    }

    fn write(&self, command: Command, more: &str) -> Result<()> {
        for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set()) {
            self.write(inner.clone(), "")?;
        }
        let version = command.get_version().unwrap_or_default().to_owned();
        let program = command.get_display_name().unwrap_or_default().to_owned();
        let examples = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
        let has_commands = command.get_subcommands().any(|inner| !inner.is_hide_set());
        let page = Man::new(command).source(format!("{program} {version}").trim().to_owned());
        let mut text = Vec::new();
        page.render_title(&mut text)?;
        page.render_name_section(&mut text)?;
        page.render_synopsis_section(&mut text)?;
        page.render_description_section(&mut text)?;
        page.render_options_section(&mut text)?;
        if has_commands {
            page.render_subcommands_section(&mut text)?;
        }
        if let Some(examples) = examples {
            text.extend_from_slice(as_it_stands("EXAMPLES", &examples).as_bytes());
        }
        text.extend_from_slice(more.as_bytes());
        let path = self.folder.join(page.get_filename());
        fs::write(&path, text).with_context(|| format!("{}: expected a file that can be written", path.display()))
    }
}

/// A section whose lines keep their ends and spaces: the generator would fill them to paragraphs.
fn as_it_stands(heading: &str, text: &str) -> String {
    let line = |line: &str| format!("\\&{}\n", line.replace('\\', "\\e").replace('-', "\\-"));
    format!(".SH {heading}\n.nf\n{}.fi\n", text.lines().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Command {
        let inner = Command::new("segment").about("Finds things").arg(clap::Arg::new("tags").long("tags").help("Words to look for"));
        Command::new("tool")
            .version("1.2.3")
            .after_help("Run:\n  tool   --all\n.x")
            .subcommand(inner)
            .subcommand(Command::new("inside").hide(true))
    }

    #[test]
    fn pages_are_of_what_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let pages = Manual { folder: folder.path().join("man") };
        pages.run(program(), ".SH FILES\nnone\n").unwrap();
        let mut names: Vec<_> =
            fs::read_dir(folder.path().join("man")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["tool-segment.1", "tool.1"]);
        let page = |name: &str| fs::read_to_string(folder.path().join("man").join(name)).unwrap();
        assert!(page("tool.1").ends_with(".SH FILES\nnone\n") && page("tool.1").contains("1.2.3"), "{}", page("tool.1"));
        assert!(page("tool.1").contains("\\&Run:\n\\&  tool   \\-\\-all\n\\&.x\n"), "{}", page("tool.1"));
        let of_command = page("tool-segment.1");
        assert!(of_command.contains(r"\-\-tags") && of_command.contains("Words to look for"), "{of_command}");
    }

    #[test]
    fn a_file_is_no_folder_for_pages() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "kept").unwrap();
        let error = Manual { folder: file.clone() }.run(program(), "").unwrap_err().to_string();
        assert!(error.contains("expected a folder") && error.contains("found a file"), "{error}");
        assert_eq!(fs::read_to_string(file).unwrap(), "kept");
    }

    #[test]
    fn what_the_system_refuses_is_told_with_what_to_try() {
        let refused = |kind: ErrorKind| anyhow::Error::from(io::Error::from(kind)).context("place");
        assert!(told(&refused(ErrorKind::NotFound)).ends_with("; try: ls, to see which names are there"));
        assert!(told(&refused(ErrorKind::AddrInUse)).contains("; try: another port"));
        assert_eq!(told(&refused(ErrorKind::InvalidData)), "place: invalid data");
        assert_eq!(told(&refused(ErrorKind::NotFound).context("a; try: b")).matches("try: ").count(), 1);
    }

    #[test]
    fn typographic_dashes_and_quotes_are_told_where_they_stand_for_an_option() {
        let said = |typed: &[&str]| typographic(&program(), &typed.iter().map(|t| (*t).to_owned()).collect::<Vec<_>>());
        for typed in ["\u{2013}tags", "\u{2014}tags", "-\u{2013}tags", "\u{2013}-tags", "\u{2018}--tags\u{2019}"] {
            assert!(said(&["segment", typed, "cat"]).unwrap().ends_with("did you mean --tags?"), "{typed}");
        }
        assert!(said(&["\u{2014}tags=a"]).unwrap().ends_with("did you mean --tags=a?"));
        assert!(said(&["--tags", "\u{201c}cat,", "red", "dog\u{201d}", "x"]).unwrap().ends_with("; did you mean \"cat, red dog\"?"));
        // A value of an option, two words of two arguments, quotes that are no pair, and what stands behind `--`.
        for right in [
            &["--tags", "\u{2014}tags"][..],
            &["\u{2018}90s", "--tags", "the dogs\u{2019}"],
            &["\u{201c}one\u{201d}", "two\u{201d}"],
            &["\u{201c}one", "\u{201c}two\u{201d}"],
            &["\u{201c}one", "two\u{2019}"],
            &["--", "\u{2014}tags"],
        ] {
            assert_eq!(said(right), None, "{right:?}");
        }
        for right in ["--tags", "\u{2014}rose", "\u{201c}cat\u{201d}", "a\u{2013}b", "-", "--", ""] {
            assert_eq!(said(&[right]), None, "{right}");
        }
    }

    #[test]
    fn no_way_to_tell_an_error_tells_a_password() {
        let error = anyhow::anyhow!("no answer").context("rtsp://me:hunter2@camera/1");
        assert_eq!(told(&error), "rtsp://***@camera/1: no answer");
        assert_eq!(causes(&*error), told(&error));
        assert_eq!(joined(["u:hunter2@camera".to_owned()].into_iter()), "***@camera");
    }

    #[test]
    fn numbers_and_values_in_other_ways_of_writing_are_known() {
        for (value, meant) in [("50%", Some("0.5")), ("12,5 %", Some("0.125")), ("0,4", Some("0.4")), ("1,2,3", None), ("0.4", None)] {
            assert_eq!(with_point(value).as_deref(), meant, "{value}");
        }
        let known = ["cpu", "cuda", "auto"].map(str::to_owned);
        for (value, meant) in [("gpu", Some("cuda")), ("CPU", Some("cpu")), ("tpu", None)] {
            assert_eq!(meant_value(value, &known), meant, "{value}");
        }
        assert_eq!(meant_value("gpu", &["cpu".to_owned()]), None);
    }

    #[test]
    fn a_closed_pipe_is_found_below_other_errors() {
        let closed = anyhow::Error::from(io::Error::from(ErrorKind::BrokenPipe)).context("stdout");
        assert!(is_closed_pipe(&closed));
        assert!(!is_closed_pipe(&anyhow::Error::from(io::Error::from(ErrorKind::NotFound)).context("stdout")));
    }
}
