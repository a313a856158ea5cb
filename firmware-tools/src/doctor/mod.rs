//! What is wrong with a board, and the command that mends it.

mod inference;

use std::path::Path;

use edge_seg_board::sensors;
use edge_seg_bundle::Bundle;
use edge_seg_bundle::trust::Trust;
use serde::Serialize;

use crate::board::{Board, Host};
use crate::install::board_names;
use crate::places::Places;
use crate::slots::{RealDisk, Slots, machine};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing; the camera works.
    Note,
    /// Needs mending.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub check: &'static str,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// The command that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

fn ok(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, level: Level::Ok, found: found.into(), mend: None }
}

fn note(check: &'static str, found: impl Into<String>, mend: &str) -> Finding {
    Finding { check, level: Level::Note, found: found.into(), mend: Some(mend.into()) }
}

fn bad(check: &'static str, found: impl Into<String>, mend: impl Into<String>) -> Finding {
    Finding { check, level: Level::Bad, found: found.into(), mend: Some(mend.into()) }
}

const SERVICE: &str = "edge-seg.service";
const DISK_NEEDED_BYTES: u64 = 256 << 20;
const MEMORY_NEEDED_BYTES: u64 = 160 << 20;
/// 2025-01-01: a clock before it was never set.
const CLOCK_FLOOR_SECONDS: u64 = 1_735_689_600;

/// Looks at everything. `now` is the clock, in seconds since 1970.
pub fn examine(host: &Host, places: &Places, now: u64) -> Vec<Finding> {
    let board = Board::read(host);
    let mut found = vec![system(&board)];
    found.extend(cameras(host, &board));
    found.push(permissions(host));
    found.extend(releases(places, &board));
    found.push(disk(host));
    found.push(memory(&board));
    found.push(temperature(host));
    found.push(throttling(&board));
    found.push(clock(host, now));
    found.push(name(host));
    found.extend(service(host));
    if board.jetson.is_some() {
        found.push(inference::gpu(places));
    }
    found.push(inference::try_once(places, &board));
    found
}

fn system(board: &Board) -> Finding {
    match board.advice.variant {
        Some(variant) => {
            let model = board.model.clone().unwrap_or_else(|| "an unnamed machine".into());
            ok("board", format!("{model}: bundle variant {}, {} threads", variant.name(), board.advice.threads))
        }
        None => bad("board", board.advice.why.clone(), "write a 64-bit system to the card, for example with rpi-imager"),
    }
}

fn cameras(host: &Host, board: &Board) -> Vec<Finding> {
    if board.cameras.is_empty() {
        let mend = match board.key.starts_with("pi") {
            true => {
                "check the ribbon cable, then: sudo sed -i 's/^camera_auto_detect=0/camera_auto_detect=1/' /boot/firmware/config.txt && sudo reboot"
            }
            false => "plug the camera in, then: ls -l /dev/video* && sudo dmesg | tail -n 30",
        };
        return vec![bad("camera", "the kernel offers none", mend)];
    }
    board
        .cameras
        .iter()
        .map(|camera| match std::fs::File::open(host.path(&camera.device)) {
            Ok(_) => ok("camera", format!("{} can be read: {}", camera.device, camera.name)),
            Err(error) => {
                let mend = match error.kind() {
                    std::io::ErrorKind::PermissionDenied => "sudo usermod -aG video $USER   # then log in again",
                    std::io::ErrorKind::NotFound => "sudo udevadm trigger --subsystem-match=video4linux && sudo udevadm settle",
                    _ => "sudo systemctl stop edge-seg.service   # if another program holds it",
                };
                bad("camera", format!("{} cannot be read: {error}", camera.device), mend)
            }
        })
        .collect()
}

fn permissions(host: &Host) -> Finding {
    let passwd = host.text("etc/passwd").unwrap_or_default();
    if !passwd.lines().any(|line| line.starts_with("edge-seg:")) {
        return bad("user", "there is no user edge-seg", "sudo apt install --reinstall ./edge-seg_*.deb");
    }
    let groups = host.text("etc/group").unwrap_or_default();
    let member = groups
        .lines()
        .filter(|line| line.starts_with("video:"))
        .any(|line| line.rsplit(':').next().unwrap_or_default().split(',').any(|name| name == "edge-seg"));
    match member {
        true => ok("user", "edge-seg is in group video"),
        false => bad(
            "user",
            "edge-seg is not in group video and cannot open cameras",
            "sudo usermod -aG video edge-seg && sudo systemctl restart edge-seg.service",
        ),
    }
}

fn releases(places: &Places, board: &Board) -> Vec<Finding> {
    let mut found = Vec::new();
    if !places.packaged.exists() {
        found.push(bad("runtime", format!("{} is not there", places.packaged.display()), "sudo apt install --reinstall ./edge-seg_*.deb"));
    }
    let mut slots = Slots::new(RealDisk, &places.state);
    let state = match slots.load() {
        Ok(state) => state,
        Err(error) => {
            found.push(bad("model", error.to_string(), format!("sudo ls -ld {}", places.state.display())));
            return found;
        }
    };
    let config = match state.current {
        Some(slot) => slots.folder(slot).join("config.toml"),
        None => places.config.clone(),
    };
    let (runtime, _) = inference::runtime(places);
    found.push(match places.complaint(&runtime, &config) {
        Ok(None) => ok("configuration", config.display().to_string()),
        Ok(Some(complaint)) => bad("configuration", complaint, format!("sudoedit {}", config.display())),
        Err(error) => bad("configuration", format!("{error:#}"), "sudo apt install --reinstall ./edge-seg_*.deb"),
    });
    let Some(slot) = state.current else {
        found.push(ok("model", "the packaged release runs"));
        return found;
    };
    let path = slots.folder(slot).join("bundle.esb");
    let opened = match places.demands_signatures() {
        true => Trust::read(&places.keys).and_then(|trust| trust.on_board(&board_names(board)).open(&path)),
        false => Bundle::open(&path),
    };
    let signed = if places.demands_signatures() { "signature and contents hold" } else { "contents hold, no key is trusted" };
    found.push(match opened {
        Ok(bundle) => {
            ok("model", format!("slot {}: {} serial {}, {signed}", slot.name(), bundle.manifest().name, bundle.manifest().serial))
        }
        Err(error) => bad("model", error.to_string(), "sudo edge-seg-fw rollback --restart"),
    });
    if matches!(state.slot(slot).status, machine::Status::Pending { .. }) {
        let what = format!("slot {}: {}", slot.name(), machine::describe(state.slot(slot)));
        found.push(note("trial", what, "sudo edge-seg-fw mark-good   # or wait for healthy frames"));
    }
    if let machine::Status::Bad { why } = &state.slot(slot.other()).status {
        found.push(note("other slot", format!("slot {} is bad: {why}", slot.other().name()), "sudo edge-seg-fw prune"));
    }
    found
}

fn disk(host: &Host) -> Finding {
    let text = host.command("df", &["-B1", "--output=avail", "/var/lib"]).unwrap_or_default();
    match text.lines().last().and_then(|line| line.trim().parse::<u64>().ok()) {
        Some(free) if free < DISK_NEEDED_BYTES => bad(
            "disk",
            format!("{} MiB free, {} are needed for a release", free >> 20, DISK_NEEDED_BYTES >> 20),
            "sudo edge-seg-fw prune && sudo journalctl --vacuum-size=50M && sudo apt clean",
        ),
        Some(free) => ok("disk", format!("{} MiB free", free >> 20)),
        None => note("disk", "free space could not be read", "df -h /var/lib"),
    }
}

fn memory(board: &Board) -> Finding {
    match board.memory {
        Some(memory) if memory.available_bytes < MEMORY_NEEDED_BYTES => {
            let found = format!("{} MiB available, {} are needed", memory.available_bytes >> 20, MEMORY_NEEDED_BYTES >> 20);
            bad(
                "memory",
                found,
                "ps aux --sort=-rss | head   # and, on a board with a desktop: sudo systemctl set-default multi-user.target",
            )
        }
        Some(memory) => ok("memory", format!("{} MiB available", memory.available_bytes >> 20)),
        None => note("memory", "could not be read", "free -m"),
    }
}

/// By the zone that the runtime's governor goes by, and from the temperatures on that it goes by.
fn temperature(host: &Host) -> Finding {
    let Some(zone) = sensors::hottest(host) else {
        return ok("temperature", "this board gives no reading");
    };
    let found = format!("{:.1} °C at {}", zone.celsius, zone.name);
    if zone.celsius >= zone.slowed_c() {
        let found = format!("{found}: from {:.0} °C on the board slows down", zone.slowed_c());
        bad("temperature", found, "fit a heat sink or a fan, then: edge-seg-fw board")
    } else if zone.celsius >= zone.hot_c() {
        note("temperature", format!("{found}: from {:.0} °C on edge-seg works less", zone.hot_c()), "give it air")
    } else {
        ok("temperature", found)
    }
}

fn throttling(board: &Board) -> Finding {
    let now: Vec<&str> = board.throttling.iter().flat_map(|source| &source.now).map(String::as_str).collect();
    let before: Vec<&str> = board.throttling.iter().flat_map(|source| &source.since_boot).map(String::as_str).collect();
    let supply = "use the board's own power supply and a short cable, then: sudo reboot";
    let heat = "give it air, then: edge-seg-fw board";
    let mend = |what: &[&str]| if what.iter().any(|name| name.contains("voltage") || name.contains("current")) { supply } else { heat };
    if !now.is_empty() {
        return bad("throttling", format!("now: {}", now.join(", ")), mend(&now));
    }
    match before.as_slice() {
        [] if board.throttling.is_empty() => ok("throttling", "this board does not tell"),
        [] => ok("throttling", "none"),
        before if before.contains(&"under-voltage") => bad("throttling", format!("since boot: {}", before.join(", ")), supply),
        before => note("throttling", format!("since boot: {}", before.join(", ")), mend(before)),
    }
}

fn clock(host: &Host, now: u64) -> Finding {
    let mend = "sudo timedatectl set-ntp true && timedatectl timesync-status";
    if now < CLOCK_FLOOR_SECONDS {
        return bad("clock", "it was never set: recordings and logs carry wrong times", mend);
    }
    match host.command("timedatectl", &["show", "-p", "NTPSynchronized", "--value"]).as_deref().map(str::trim) {
        Some("yes") => ok("clock", "synchronised"),
        Some(_) => note("clock", "not synchronised", mend),
        None => ok("clock", "set; this system does not tell whether it is synchronised"),
    }
}

fn name(host: &Host) -> Finding {
    let name = host.text("proc/sys/kernel/hostname").or_else(|| host.text("etc/hostname")).unwrap_or_default();
    let mend = "sudo hostnamectl set-hostname camera1 && sudo systemctl restart avahi-daemon";
    match name.trim() {
        "" | "localhost" | "(none)" => bad("network name", "none is set", mend),
        common @ ("raspberrypi" | "ubuntu" | "jetson" | "nvidia-desktop") => {
            note("network name", format!("{common} is what such boards are called from the start: two of them collide"), mend)
        }
        name => ok("network name", format!("{name}, {name}.local where mDNS runs")),
    }
}

fn service(host: &Host) -> Vec<Finding> {
    let property = |name: &str| {
        let text = host.command("systemctl", &["show", SERVICE, "-p", name, "--value"])?;
        Some(text.trim().to_string()).filter(|text| !text.is_empty())
    };
    let mut found = Vec::new();
    match (property("LoadState").as_deref(), property("ActiveState").as_deref()) {
        (None, _) => return vec![note("service", "systemd does not answer here", "systemctl status edge-seg.service")],
        (Some("loaded"), Some("active")) => found.push(ok("service", "active")),
        (Some("loaded"), Some("failed")) => {
            found.push(bad("service", "failed", "sudo systemctl reset-failed edge-seg.service && sudo systemctl restart edge-seg.service"))
        }
        (Some("loaded"), state) => found.push(bad("service", state.unwrap_or("unknown"), "sudo systemctl enable --now edge-seg.service")),
        (Some(_), _) => return vec![bad("service", "not installed", "sudo apt install ./edge-seg_*.deb")],
    }
    let errors = host.command("journalctl", &["-u", SERVICE, "-p", "err", "-n", "5", "-o", "cat", "--since", "-1h"]).unwrap_or_default();
    let errors: Vec<&str> = errors.lines().filter(|line| !line.starts_with("-- ")).collect();
    found.push(match errors.as_slice() {
        [] => ok("errors", "none in the last hour"),
        errors => note("errors", format!("in the last hour: {}", errors.join(" | ")), "journalctl -u edge-seg.service -n 50"),
    });
    found
}

/// The findings for people: what needs mending first.
pub fn render(findings: &[Finding]) -> String {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.level as u8));
    let mut out = String::new();
    for finding in sorted {
        let mark = match finding.level {
            Level::Bad => "BAD ",
            Level::Note => "note",
            Level::Ok => "ok  ",
        };
        out.push_str(&format!("{mark} {:<14} {}\n", finding.check, finding.found));
        if let Some(mend) = &finding.mend {
            out.push_str(&format!("     {:<14} -> {mend}\n", ""));
        }
    }
    out
}

/// Whether something needs mending.
pub fn is_healthy(findings: &[Finding]) -> bool {
    findings.iter().all(|finding| finding.level != Level::Bad)
}

/// Keeps the time of this board's inference as what it should do.
///
/// # Errors
/// When the inference fails or the file cannot be written.
pub fn record_baseline(places: &Places) -> anyhow::Result<f64> {
    inference::record(places)
}

/// Where the baseline is kept.
fn baseline(state: &Path) -> std::path::PathBuf {
    state.join("inference.json")
}
