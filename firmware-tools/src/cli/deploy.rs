//! deploy.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use edge_seg_fw::deploy::{self, Bringing, Interrupt, Machines, OwnFolder, Pace, Payload, Phase, Release, Remote, SshTarget, Verdict};
use edge_seg_fw::slots::machine::Trial;

use super::output::print;
use super::slots::TrialArgs;

#[derive(clap::Args)]
pub struct Deploy {
    /// Boards, as ssh takes them: user@host
    #[arg(value_name = "HOST", required = true)]
    hosts: Vec<String>,
    /// The bundle to bring; without one, the boards' own gets what else is brought
    #[arg(long, value_name = "FILE", required_unless_present_any = ["rollback", "config", "binary"])]
    bundle: Option<PathBuf>,
    /// Runtime to bring with it, with its FILE.minisig
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Configuration to bring with it, and its FILE.minisig where there is one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Bring the boards back to the release before; with --bundle or --of those alone that run it
    #[arg(long, conflicts_with_all = ["binary", "config", "allow_downgrade"])]
    rollback: bool,
    /// SHA-256 of the bundle, program or configuration that boards are brought back from
    #[arg(long, value_name = "SHA256", requires = "rollback", conflicts_with = "bundle", value_parser = sha256)]
    of: Option<String>,
    /// Only look, and say what would be done
    #[arg(long)]
    dry_run: bool,
    /// How many boards go first, one after the other
    #[arg(long, value_name = "N", default_value_t = 1)]
    canary: usize,
    /// How many of the rest go at a time, their trials included
    #[arg(long, value_name = "N", default_value_t = 4)]
    jobs: usize,
    /// Go on with the others when a board fails
    #[arg(long)]
    keep_going: bool,
    /// Accept a lower release number than a board has run
    #[arg(long)]
    allow_downgrade: bool,
    #[command(flatten)]
    trial: TrialArgs,
    /// Seconds to wait until a board calls the release good; then it is rolled back [default: 180 beyond the trial's minutes]
    #[arg(long, value_name = "S")]
    wait: Option<u64>,
    /// Leave the service alone: the release runs at its next start
    #[arg(long)]
    no_restart: bool,
    /// ssh's configuration file
    #[arg(long, value_name = "FILE")]
    ssh_config: Option<PathBuf>,
    /// An option for ssh, as behind its -o
    #[arg(long, value_name = "KEY=VALUE")]
    ssh_option: Vec<String>,
    /// What gives the rights to change a board; empty when the user is root
    #[arg(long, value_name = "COMMAND", default_value = "sudo -n")]
    sudo: String,
    /// The tool on the boards
    #[arg(long, value_name = "PATH", default_value = "edge-seg-fw")]
    remote_tool: String,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
}

pub fn sha256(text: &str) -> Result<String, String> {
    match text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(format!("expected a SHA-256, 64 hexadecimal digits as sha256sum prints them, found {text:?}")),
    }
}

impl Deploy {
    pub fn run(self) -> Result<bool> {
        let mut sorted = self.hosts.clone();
        sorted.sort();
        sorted.dedup();
        ensure!(sorted.len() == self.hosts.len(), "HOST: expected each board once, found one twice");
        ensure!(self.jobs > 0, "--jobs: expected 1 or more, found 0");
        let trial: Trial = self.trial.into();
        let wait = deploy::wait_for(&trial, self.wait).context("--wait")?;
        let target = SshTarget {
            ssh_config: self.ssh_config,
            options: self.ssh_option,
            tool: self.remote_tool,
            sudo: self.sudo,
            shared: OwnFolder::for_connections(),
        };
        Remote::check_distinct(&target, self.hosts.iter().map(|host| (host.as_str(), host.as_str()))).context("HOST")?;
        let (dry_run, downgrade) = (self.dry_run, self.allow_downgrade);
        let how = Bringing { dry_run, downgrade, trial, wait: (!self.no_restart).then_some(wait), machines: Machines::default() };
        let interrupt = Interrupt::listen()?;
        let gate = || interrupt.gate();
        let pace = Pace {
            // One after the other, each its own phase.
            phases: (1..=self.canary.min(self.hosts.len())).map(Phase::Boards).chain([Phase::All]).collect(),
            jobs: self.jobs,
            under_way: self.jobs,
            keep_going: self.keep_going,
            back: self.rollback,
            retry: None,
            retry_every: Duration::ZERO,
            gate: &gate,
            told: &|_| {},
        };
        let rows = match self.rollback {
            true => {
                let bundle = Release::of(&Payload { bundle: self.bundle, ..Payload::default() })?;
                let of: Vec<String> = bundle.marks().into_iter().chain(self.of).collect();
                deploy::over(&pace, &self.hosts, |host, job| deploy::rollback(&target, &how, &of, host, job))
            }
            false => {
                let release = Release::of(&Payload { bundle: self.bundle, binary: self.binary, config: self.config })?;
                deploy::over(&pace, &self.hosts, |host, job| deploy::bring(&target, &how, &release, host, job))
            }
        };
        match self.json {
            true => print(&format!("{}\n", serde_json::to_string_pretty(&rows)?))?,
            false => print(&deploy::render(&rows))?,
        }
        Ok(rows.iter().all(|row| row.verdict == Verdict::Done))
    }
}
