//! `fleet.toml`: boards, groups, what differs between them, and how they are changed.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use edge_seg_bundle::files::folder_of;
use edge_seg_bundle::text::{shown_lines, text_of};
use serde::Deserialize;
use toml::{Table, Value};

use super::window::Window;
use crate::deploy::{Phase, Remote, SshTarget, in_order, wait_for};
use crate::page::toml_fault;
use crate::slots::machine::{Bar, Trial};

/// Boards, by the file that names them.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The boards, in the order of the file.
    pub hosts: Vec<Host>,
    /// How to reach them.
    pub target: SshTarget,
    /// Where each phase of a rollout ends.
    pub phases: Vec<Phase>,
    /// How many boards are asked, copied to and installed on at a time.
    pub jobs: usize,
    /// How many boards of a rollout may have begun and not ended, those on trial included.
    pub under_way: usize,
    /// When boards may be changed; at any time where there is none.
    pub windows: Vec<Window>,
    /// For how long boards that are away are tried again.
    pub retry: Duration,
    /// How long to wait between two tries.
    pub retry_every: Duration,
    /// How a release proves itself.
    pub trial: Trial,
    /// How long a board may take to call it good.
    pub wait: Duration,
    /// Who brought what when.
    pub journal: PathBuf,
    /// While this file is there, no board begins.
    pub pause: PathBuf,
    /// The private key that signs configurations.
    pub key: Option<PathBuf>,
}

/// A board.
#[derive(Debug, Clone)]
pub struct Host {
    /// Its name in the fleet.
    pub name: String,
    /// Its name for ssh.
    pub ssh: String,
    /// Groups that it belongs to.
    pub groups: Vec<String>,
    /// Its configuration, where the file makes one.
    pub config: Option<Table>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    #[serde(default)]
    rollout: Rollout,
    #[serde(default)]
    ssh: Ssh,
    #[serde(default)]
    trial: WrittenTrial,
    #[serde(default)]
    config: Config,
    #[serde(default)]
    group: BTreeMap<String, Group>,
    #[serde(default)]
    host: Vec<WrittenHost>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Rollout {
    phases: Vec<String>,
    jobs: usize,
    under_way: usize,
    windows: Vec<String>,
    retry_minutes: f64,
    retry_every_s: f64,
    journal: PathBuf,
}

impl Default for Rollout {
    fn default() -> Rollout {
        Rollout {
            phases: ["1", "10 %", "all"].map(str::to_owned).to_vec(),
            jobs: 25,
            under_way: 100,
            windows: Vec::new(),
            retry_minutes: 0.0,
            retry_every_s: 60.0,
            journal: "fleet.journal.jsonl".into(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Ssh {
    config: Option<PathBuf>,
    options: Vec<String>,
    sudo: String,
    tool: String,
}

impl Default for Ssh {
    fn default() -> Ssh {
        Ssh { config: None, options: Vec::new(), sudo: "sudo -n".into(), tool: "edge-seg-fw".into() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WrittenTrial {
    starts: u32,
    frames: u64,
    minutes: u32,
    p95_ms: u32,
    growth_mib: u32,
    wait_s: Option<u64>,
}

impl Default for WrittenTrial {
    fn default() -> WrittenTrial {
        let Trial { starts, frames, .. } = Trial::default();
        WrittenTrial { starts, frames, minutes: 0, p95_ms: 0, growth_mib: 0, wait_s: None }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Config {
    base: Option<PathBuf>,
    key: Option<PathBuf>,
    set: BTreeMap<String, Value>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Group {
    source: Option<String>,
    mqtt_name: Option<String>,
    words: Option<String>,
    set: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenHost {
    name: String,
    ssh: Option<String>,
    #[serde(default)]
    groups: Vec<String>,
    source: Option<String>,
    mqtt_name: Option<String>,
    words: Option<String>,
    #[serde(default)]
    set: BTreeMap<String, Value>,
}

/// No fleet's file is longer.
const LONGEST_FILE_BYTES: u64 = 16 << 20;

impl Fleet {
    /// Reads the file; paths in it go out from its folder.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn read(path: &Path) -> Result<Fleet> {
        let make = || format!("try: printf '[[host]]\\nname = \"camera1\"\\n' > {}   # docs/updates.md has more", path.display());
        let text = read_text(path).map_err(|error| if path.exists() { error } else { anyhow!("{error:#}; {}", make()) })?;
        let folder = folder_of(path);
        Fleet::parse(&text, folder, &path.with_extension("pause")).with_context(|| format!("{}", path.display()))
    }

    #[doc(hidden)]
    /// As [`Self::read`], of text; paths in it go out from `folder`.
    pub fn parse(text: &str, folder: &Path, pause: &Path) -> Result<Fleet> {
        // Names of the file stand in what is said of it.
        Fleet::of_text(text, folder, pause).map_err(|error| anyhow!(shown_lines(&format!("{error:#}")).into_owned()))
    }

    fn of_text(text: &str, folder: &Path, pause: &Path) -> Result<Fleet> {
        let written: Written = toml::from_str(text).map_err(|error| match shape(text) {
            Some(right) => anyhow!("{}; try: {right}", toml_fault(text, &error)),
            None => toml_fault(text, &error),
        })?;
        let at = |path: &PathBuf| folder.join(path);
        let base = match &written.config.base {
            Some(base) => {
                let base = at(base);
                let text = read_text(&base).context("config.base")?;
                let table = text.parse::<Table>().map_err(|error| toml_fault(&text, &error));
                Some(table.with_context(|| format!("config.base: {}", base.display()))?)
            }
            None => None,
        };
        ensure!(!written.host.is_empty(), "expected one or more [[host]], found none");
        let mut hosts = Vec::new();
        for host in &written.host {
            let named = || format!("host {:?}", host.name);
            ensure!(is_name(&host.name), "{}: expected a name of letters, digits, - _ and .", named());
            ensure!(!hosts.iter().any(|other: &Host| other.name == host.name), "{}: expected each name once", named());
            let ssh = host.ssh.clone().unwrap_or_else(|| host.name.clone());
            if let Some(other) = hosts.iter().find(|other| other.ssh == ssh) {
                anyhow::bail!("{}: ssh: expected a board of its own, found {ssh:?}, which is {:?}'s", named(), other.name);
            }
            let config = config_of(&written, host, base.as_ref()).with_context(named)?;
            hosts.push(Host { name: host.name.clone(), ssh, groups: host.groups.clone(), config });
        }
        for name in written.group.keys() {
            ensure!(is_name(name), "group {name:?}: expected a name of letters, digits, - _ and .");
        }
        let WrittenTrial { starts, frames, minutes, p95_ms, growth_mib, wait_s } = written.trial;
        ensure!(
            (1..=100).contains(&starts) && (1..=1_000_000).contains(&frames),
            "trial: expected 1 to 100 starts and 1 to 1000000 frames"
        );
        ensure!(minutes <= MOST_MINUTES, "trial.minutes: expected at most {MOST_MINUTES}, found {minutes}");
        let trial = Trial { starts, frames, bar: Bar { minutes, p95_ms, growth_mib } };
        let wait = wait_for(&trial, wait_s).context("trial.wait-s")?;
        let rollout = written.rollout;
        for (name, count) in [("jobs", rollout.jobs), ("under-way", rollout.under_way)] {
            ensure!((1..=MOST_AT_ONCE).contains(&count), "rollout.{name}: expected 1 to {MOST_AT_ONCE}, found {count}");
        }
        let seconds = |name: &str, value: f64| {
            Duration::try_from_secs_f64(value).map_err(|_| anyhow!("rollout.{name}: expected a time of 0 or more, found {value}"))
        };
        let target = SshTarget {
            ssh_config: written.ssh.config.as_ref().map(at),
            options: written.ssh.options,
            tool: written.ssh.tool,
            sudo: written.ssh.sudo,
            shared: None,
        };
        for host in &hosts {
            Remote::check(&host.ssh).with_context(|| format!("host {:?}", host.name))?;
        }
        let phases = parsed("rollout.phases", &rollout.phases)?;
        in_order(&phases).context("rollout.phases")?;
        Ok(Fleet {
            hosts,
            target,
            phases,
            jobs: rollout.jobs,
            under_way: rollout.under_way,
            windows: parsed("rollout.windows", &rollout.windows)?,
            retry: seconds("retry-minutes", rollout.retry_minutes * 60.0)?,
            retry_every: seconds("retry-every-s", rollout.retry_every_s)?,
            trial,
            wait,
            journal: at(&rollout.journal),
            pause: pause.into(),
            key: written.config.key.as_ref().map(at),
        })
    }

    /// The boards of these names and, with `@` before it, groups; all where nothing is named.
    ///
    /// # Errors
    /// When a name is nobody's.
    pub fn chosen(&self, names: &[String]) -> Result<Vec<&Host>> {
        for name in names {
            let is_one = |host: &Host| host.is_meant(name);
            let known = || self.hosts.iter().map(|host| host.name.as_str()).collect::<Vec<_>>().join(", ");
            ensure!(self.hosts.iter().any(is_one), "{name}: expected a board's name or @GROUP; there are {}", known());
        }
        Ok(self.hosts.iter().filter(|host| names.is_empty() || names.iter().any(|name| host.is_meant(name))).collect())
    }
}

impl Host {
    fn is_meant(&self, name: &str) -> bool {
        match name.strip_prefix('@') {
            Some(group) => self.groups.iter().any(|own| own == group),
            None => self.name == name,
        }
    }
}

const SECTIONS: [&str; 6] = ["rollout", "ssh", "trial", "config", "group", "host"];
const HOST_SHAPE: &str = "[[host]] for each board, and name = \"camera1\" below it";

/// How the first section that a fleet's file cannot have is written rightly.
fn shape(text: &str) -> Option<String> {
    let table = text.parse::<Table>().ok()?;
    if table.get("host").is_some_and(|host| !host.is_array()) {
        return Some(HOST_SHAPE.into());
    }
    if table.get("group").is_some_and(|group| !group.as_table().is_some_and(|groups| groups.values().all(Value::is_table))) {
        return Some("[group.NAME] for each group".into());
    }
    let (name, value) = table.iter().find(|(name, _)| !SECTIONS.contains(&&name[..]))?;
    Some(match &name[..] {
        "hosts" | "board" | "boards" | "camera" | "cameras" | "device" | "devices" => HOST_SHAPE.into(),
        "groups" => "[group.NAME] for each group".into(),
        _ => {
            let key = value.as_table().and_then(|section| section.keys().next()).map_or("KEY", String::as_str);
            format!("what boards are configured with below [config], as set = {{ \"{name}.{key}\" = ... }}, or in its base")
        }
    })
}

/// Each board that is under way takes two processes of ssh and a thread here.
const MOST_AT_ONCE: usize = 1000;

/// A day: a trial that lasts longer is no trial.
pub const MOST_MINUTES: u32 = 24 * 60;

fn read_text(path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    crate::service::open_plain(path, LONGEST_FILE_BYTES)?.read_to_end(&mut bytes).with_context(|| format!("{}", path.display()))?;
    text_of(bytes).map_err(|said| anyhow!("{}: {said}; try: a file as docs/updates.md has it", path.display()))
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    // A name becomes a file's, where logs are fetched.
    !name.is_empty() && name.len() < 100 && name.chars().all(plain) && !name.starts_with(['.', '-'])
}

fn parsed<T: FromStr<Err = String>>(name: &str, texts: &[String]) -> Result<Vec<T>> {
    texts.iter().map(|text| text.parse().map_err(|error| anyhow!("{name}: {error}"))).collect()
}

/// A board's configuration: the base, then what all, its groups in their order, and itself set.
fn config_of(written: &Written, host: &WrittenHost, base: Option<&Table>) -> Result<Option<Table>> {
    let mut settings: Vec<(String, Value)> = written.config.set.clone().into_iter().collect();
    let mut take = |source: &Option<String>, mqtt_name: &Option<String>, words: &Option<String>, set: &BTreeMap<String, Value>| {
        for (key, value) in [("input.source", source), ("mqtt.name", mqtt_name), ("words.tags", words)] {
            settings.extend(value.iter().map(|value| (key.to_owned(), Value::from(value.as_str()))));
        }
        settings.extend(set.clone());
    };
    for name in &host.groups {
        let group = written.group.get(name).with_context(|| format!("groups: expected a [group.{name}], found none"))?;
        take(&group.source, &group.mqtt_name, &group.words, &group.set);
    }
    take(&host.source, &host.mqtt_name, &host.words, &host.set);
    let Some(base) = base else {
        ensure!(settings.is_empty(), "expected [config] base, a configuration of `edge-seg run` that {} is set in", settings[0].0);
        return Ok(None);
    };
    let mut config = base.clone();
    for (key, value) in settings {
        set(&mut config, &key, value).with_context(|| format!("set: {key}"))?;
    }
    Ok(Some(config))
}

fn set(config: &mut Table, key: &str, value: Value) -> Result<()> {
    let mut at = config;
    let parts: Vec<&str> = key.split('.').collect();
    let (last, sections) = parts.split_last().context("expected a key")?;
    ensure!(parts.iter().all(|part| !part.is_empty()), "expected SECTION.KEY");
    for section in sections {
        let inner = at.entry(*section).or_insert_with(|| Value::Table(Table::new()));
        at = inner.as_table_mut().with_context(|| format!("{section} is no section"))?;
    }
    at.insert((*last).to_owned(), value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"
        [rollout]
        phases = ["1", "50 %", "all"]
        windows = ["Mon-Fri 22:00-05:00"]
        retry-minutes = 0.5
        [trial]
        minutes = 2
        p95-ms = 900
        [config]
        base = "base.toml"
        set = { "log.level" = "warn" }
        [group.yard]
        words = "person, dog"
        set = { "http.clients" = 4, "mqtt.interval" = 2.5 }
        [group.night]
        words = "person"
        [[host]]
        name = "cam1"
        ssh = "pi@camera1.local"
        groups = ["yard", "night"]
        source = "rpicam:"
        mqtt-name = "front"
        [[host]]
        name = "cam2"
        groups = ["yard"]
        set = { "log.level" = "debug" }
    "#;

    fn parse(text: &str) -> Result<Fleet> {
        let folder = std::env::temp_dir().join(format!("edge-seg-fleet-{}-{:?}", std::process::id(), std::thread::current().id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("base.toml"), "[input]\nsource = \"test:\"\n[words]\ntags = \"cat\"\nstate = \"s\"\n").unwrap();
        let fleet = Fleet::parse(text, &folder, &folder.join("fleet.pause"));
        std::fs::remove_dir_all(folder).unwrap();
        fleet
    }

    #[test]
    fn a_section_that_is_none_is_told_its_right_shape() {
        for (text, right) in [
            ("[[hosts]]\nname = \"a\"\n", "[[host]] for each board"),
            ("[hosts.a]\nssh = \"a\"\n", "[[host]] for each board"),
            ("[host.a]\nssh = \"a\"\n", "[[host]] for each board"),
            ("[[group]]\nname = \"a\"\n", "[group.NAME]"),
            ("[groups.yard]\nwords = \"a\"\n", "[group.NAME]"),
            ("[mqtt]\nurl = \"mqtt://b\"\n[[host]]\nname = \"a\"\n", "below [config], as set = { \"mqtt.url\" = ... }"),
        ] {
            let said = Fleet::parse(text, Path::new("."), Path::new("pause")).unwrap_err().to_string();
            assert!(said.contains("; try: ") && said.contains(right), "{said}");
        }
    }

    #[test]
    fn later_settings_win_and_the_base_stays_where_nothing_is_said() {
        let fleet = parse(FILE).unwrap();
        let config = |host: usize| fleet.hosts[host].config.clone().unwrap();
        let (first, second) = (config(0), config(1));
        assert_eq!(first["input"]["source"].as_str(), Some("rpicam:"));
        assert_eq!((first["words"]["tags"].as_str(), first["words"]["state"].as_str()), (Some("person"), Some("s")));
        assert_eq!((first["mqtt"]["name"].as_str(), first["mqtt"]["interval"].as_float()), (Some("front"), Some(2.5)));
        assert_eq!((first["log"]["level"].as_str(), second["log"]["level"].as_str()), (Some("warn"), Some("debug")));
        assert_eq!((second["words"]["tags"].as_str(), second["input"]["source"].as_str()), (Some("person, dog"), Some("test:")));
        assert_eq!((fleet.hosts[0].ssh.as_str(), fleet.hosts[1].ssh.as_str()), ("pi@camera1.local", "cam2"));
        assert_eq!(fleet.phases, [Phase::Boards(1), Phase::Percent(50), Phase::All]);
        assert_eq!((fleet.retry, fleet.trial.bar.p95_ms, (fleet.jobs, fleet.under_way)), (Duration::from_secs(30), 900, (25, 100)));
        let names = |chosen: &[&str]| -> Vec<String> {
            let chosen: Vec<String> = chosen.iter().map(|name| (*name).to_owned()).collect();
            fleet.chosen(&chosen).unwrap().iter().map(|host| host.name.clone()).collect()
        };
        assert_eq!((names(&[]).len(), names(&["@night"]), names(&["cam2", "@night"]).len()), (2, vec!["cam1".to_owned()], 2));
        assert!(fleet.chosen(&["cam3".into()]).is_err() && fleet.chosen(&["@day".into()]).is_err());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (from, to, expected) in [
            ("phases = [\"1\",", "phases = [\"none\",", "rollout.phases"),
            ("22:00", "22", "rollout.windows"),
            ("p95-ms", "p95", "unknown field `p95`"),
            ("name = \"cam2\"", "name = \"cam1\"", "each name once"),
            ("name = \"cam2\"", "name = \"../cam2\"", "expected a name"),
            ("name = \"cam2\"", "name = \"cam2\"\nssh = \"pi@camera1.local\"", "which is \"cam1\"'s"),
            ("[\"1\", \"50 %\", \"all\"]", "[\"all\", \"1\"]", "found 1 after all"),
            ("[\"yard\", \"night\"]", "[\"yard\", \"day\"]", "[group.day]"),
            ("pi@camera1.local", "-oProxyCommand=reboot", "expected a host"),
            ("base = \"base.toml\"", "", "expected [config] base"),
            ("base.toml", "gone.toml", "gone.toml"),
            ("\"log.level\" = \"debug\"", "\"log.level.x\" = 1", "is no section"),
            ("minutes = 2", "minutes = 5\nwait-s = 300", "trial.wait-s"),
            ("retry-minutes = 0.5", "retry-minutes = -1", "rollout.retry-minutes"),
            ("retry-minutes = 0.5", "jobs = 0", "rollout.jobs"),
            ("retry-minutes = 0.5", "under-way = 0", "rollout.under-way"),
            ("retry-minutes = 0.5", "under-way = 100000", "rollout.under-way"),
        ] {
            assert!(FILE.contains(from));
            let error = format!("{:#}", parse(&FILE.replacen(from, to, 1)).unwrap_err());
            assert!(error.contains(expected), "{to}: {error}");
        }
        assert!(parse("").is_err());
        // A line may hold a password, and so may a value of another type than was meant.
        for (value, key) in [
            ("url = mqtt://cam:hunter2@broker", "url"),
            ("url = \"mqtt://cam:hunter2@broker", "url"),
            ("sudo = [\"hunter2\"]", "sudo"),
            ("options = \"hunter2\"", "options"),
            ("hunter2", ""),
            ("tool = 'hunter2' hunter2", "tool"),
        ] {
            let error = format!("{:#}", parse(&format!("[ssh]\n{value}\n")).unwrap_err());
            let place = if key.is_empty() { String::new() } else { format!(", {key}: ") };
            assert!(error.contains("line 2, column ") && error.contains(&place) && !error.contains("hunter2"), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
        // A pipe that nobody writes is no file, and is not waited for.
        let folder = std::env::temp_dir().join(format!("edge-seg-fleet-odd-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let (file, base) = (folder.join("fleet.toml"), folder.join("base.toml"));
        assert!(std::process::Command::new("mkfifo").arg(&base).status().unwrap().success());
        std::fs::write(&file, FILE).unwrap();
        let told = |path: &Path| format!("{:#}", Fleet::read(path).unwrap_err());
        assert!(told(&file).contains("config.base: ") && told(&file).contains("found a named pipe"), "{}", told(&file));
        std::fs::write(&file, b"\xff\xfe").unwrap();
        assert!(told(&file).contains("fleet.toml: "), "{}", told(&file));
        std::fs::remove_dir_all(folder).unwrap();
    }
}
