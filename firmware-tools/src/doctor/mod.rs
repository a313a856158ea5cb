//! What is wrong with a board, and the command that mends it.

mod finding;
mod inference;

pub use finding::{Finding, Level};

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use edge_seg_board::sensors;
use edge_seg_bundle::Bundle;
use edge_seg_bundle::date::Date;
use edge_seg_bundle::trust::{Refusal, Trust};

use finding::{REINSTALL, bad, note, ok};

use crate::board::{Board, Host};
use crate::install::board_names;
use crate::paths::{Paths, SERVICE};
use crate::pull::Seen;
use crate::slots::{RealDisk, Slot, Slots, State, StateError, digest_of, machine};

const DISK_NEEDED_BYTES: u64 = 256 << 20;
const MEMORY_NEEDED_BYTES: u64 = 160 << 20;
/// 2025-01-01: a clock before it was never set.
const CLOCK_FLOOR_SECONDS: u64 = 1_735_689_600;

/// How long runtimes are asked for, all in all: whoever asks many boards waits two minutes for each, and all findings would be lost with
/// the answer of one that hangs.
const ASKED_LIMIT: Duration = Duration::from_secs(80);
/// How long one that is asked late is given.
const ASKED_LEAST: Duration = Duration::from_secs(5);
const SIGN: &str = "edge-seg-fw sign BUNDLE --key KEY   # where it is built, with a key that this board trusts; then deploy it";
/// What answers where the user who asks may not look.
const AS_ROOT: &str = "sudo edge-seg-fw doctor";

/// Looks at everything. `now` is the clock, in seconds since 1970.
pub fn examine(host: &Host, paths: &Paths, now: u64) -> Vec<Finding> {
    let end = Instant::now() + ASKED_LIMIT;
    let left = || end.saturating_duration_since(Instant::now()).max(ASKED_LEAST);
    let board = Board::read(host);
    // A card that fails may be why of much else.
    let mut found: Vec<Finding> = read_only(host, paths).into_iter().chain([system(&board)]).collect();
    found.extend(cameras(host, &board, source(paths)));
    found.push(permissions(host));
    found.extend(releases(paths, &board));
    found.push(disk(host));
    found.push(memory(&board));
    found.push(temperature(host));
    found.push(throttling(&board));
    found.push(clock(host, now));
    found.push(name(host));
    found.extend(service(host));
    found.extend(pulling(host, paths, now));
    if board.jetson.is_some() {
        found.push(inference::gpu(paths, left()));
    }
    found.push(inference::try_once(paths, &board, left()));
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

/// What the configuration that runs takes frames from, where it says so.
fn source(paths: &Paths) -> io::Result<Option<String>> {
    crate::source::of(&running(paths).1)
}

fn cameras(host: &Host, board: &Board, source: io::Result<Option<String>>) -> Vec<Finding> {
    let untold = source.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    let source = source.ok().flatten();
    // Frames of a network's camera, of files or of a program need no camera here.
    let local = |source: &str| ["v4l2:", "rpicam:", "csi:", "/dev/"].iter().any(|start| source.starts_with(start));
    if let Some(source) = source.as_deref().filter(|source| !local(source)) {
        // An address may hold a password.
        let kind = source.split_once(':').map_or("files", |(scheme, _)| scheme);
        return vec![ok("camera", format!("{} here; the configuration takes frames from elsewhere ({kind})", board.cameras.len()))];
    }
    if board.cameras.is_empty() && untold {
        return vec![note("camera", "the kernel offers none; whether the configuration asks for one cannot be told without sudo", AS_ROOT)];
    }
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
            // What counts is the service's user, whose groups are looked at beside.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                note("camera", format!("{}: this user may not open it, and cannot tell without sudo", camera.device), AS_ROOT)
            }
            Err(error) => {
                let mend = match error.kind() {
                    io::ErrorKind::NotFound => "sudo udevadm trigger --subsystem-match=video4linux && sudo udevadm settle",
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
        return bad("user", "there is no user edge-seg", REINSTALL);
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

fn releases(paths: &Paths, board: &Board) -> Vec<Finding> {
    let mut found = Vec::new();
    if !paths.packaged.exists() {
        found.push(bad("runtime", format!("{} is not there", paths.packaged.display()), REINSTALL));
    }
    let mut slots = paths.slots();
    let state = match slots.load() {
        Ok(state) => state,
        Err(StateError::Read { path, source }) if source.kind() == io::ErrorKind::PermissionDenied => {
            found.push(note("model", format!("{}: this user may not read it, and cannot tell without sudo", path.display()), AS_ROOT));
            return found;
        }
        Err(error @ StateError::Newer { .. }) => {
            found.push(bad("state", error.to_string(), "sudo apt install ./edge-seg_*.deb   # of the version that wrote it"));
            return found;
        }
        Err(error) => {
            found.push(bad("model", error.to_string(), format!("sudo ls -ld {}", paths.state.display())));
            return found;
        }
    };
    found.extend(damage(&mut slots));
    let (runtime, config) = running(paths);
    let change = match state.runs() {
        Some(_) => format!("cp {} new.toml; editor new.toml; {}", config.display(), reconfigured(&state, "new.toml")),
        None => format!("sudoedit {}", config.display()),
    };
    found.push(match (std::fs::File::open(&config), paths.complaint(&runtime, &config)) {
        (Err(error), _) if error.kind() == io::ErrorKind::PermissionDenied => {
            note("configuration", format!("{}: this user may not read it, and cannot tell without sudo", config.display()), AS_ROOT)
        }
        (_, Ok(None)) => ok("configuration", config.display().to_string()),
        (_, Ok(Some(complaint))) => bad("configuration", complaint, change),
        (_, Err(error)) => bad("configuration", format!("{error:#}"), REINSTALL),
    });
    let Some(slot) = state.current else {
        found.extend(match state.is_unpointed() {
            false if !paths.packaged.exists() => None,
            false => Some(ok("model", "the packaged release runs")),
            true => Some(bad(
                "model",
                format!(
                    "{}: expected a link to a slot, found none: the next start runs {}",
                    paths.state.join("current").display(),
                    machine::name_of(state.next_start())
                ),
                "sudo systemctl restart edge-seg.service",
            )),
        });
        found.extend([Slot::A, Slot::B].into_iter().flat_map(|slot| way_back(&mut slots, &state, slot)));
        return found;
    };
    found.extend(contents(paths, board, &mut slots, &state, slot));
    let folder = slots.folder(slot);
    found.extend(beside_the_package(paths, &state, &folder.join(machine::CONFIG), &folder.join(machine::PROGRAM)));
    if matches!(state.slot(slot).status, machine::Status::Pending { .. }) {
        let what = format!("slot {}: {}", slot.name(), machine::describe(&state, slot));
        found.push(note("trial", what, "sudo edge-seg-fw mark-good   # or wait for healthy frames"));
    }
    if let Some(wanted) = state.fallen_from() {
        let instead = if state.packaged.stands_in { None } else { Some(slot) };
        let [what, instead] = [Some(wanted), instead].map(|slot| match slot {
            Some(slot) => format!("slot {} ({})", slot.name(), machine::describe(&state, slot)),
            None => machine::name_of(None),
        });
        found.push(bad("starts", format!("{what} kept failing: {instead} runs in its place until it is tried again"), again(&state)));
    } else if state.packaged.stands_in {
        let what = format!("{} runs in place of slot {}: {}", machine::name_of(None), slot.name(), machine::describe(&state, slot));
        found.push(bad("starts", what, again(&state)));
    } else if state.ended_starts(slot) > 0 {
        let what = format!("slot {}: {}", slot.name(), machine::describe(&state, slot));
        found.push(bad("starts", what, "journalctl -u edge-seg.service -n 50"));
    }
    found.extend(maybe_wanted(&state));
    found.extend(way_back(&mut slots, &state, slot.other()));
    found
}

/// What is wrong with the state and its copy: each start that is counted writes both anew.
fn damage(slots: &mut Slots<RealDisk>) -> Option<Finding> {
    const ANEW: &str = "sudo systemctl restart edge-seg.service   # writes both anew; then, of the card: sudo dmesg | tail -n 30";
    let (damaged, lost) = slots.damage();
    let what = damaged.join("; ");
    match (damaged.is_empty(), lost) {
        (true, _) => None,
        (false, false) => Some(note("state", format!("{what}: the other copy is used"), ANEW)),
        (false, true) => Some(bad("state", format!("{what}: what is whole in the slots is on trial again"), ANEW)),
    }
}

/// A slot of which the state that was lost may have said that it is what is wanted.
fn maybe_wanted(state: &State) -> Option<Finding> {
    let beside = state.current?.other();
    let is_unknown = state.slot(beside).rebuilt && matches!(state.slot(beside).status, machine::Status::Pending { .. });
    let name = beside.name();
    let what = format!("the state was lost: whether slot {name} ({}) is what is wanted is not known", machine::describe(state, beside));
    let mend = format!("sudo edge-seg-fw rollback --restart   # runs slot {name}; or deploy what is wanted once more");
    is_unknown.then(|| note("other slot", what, &mend))
}

/// Why what is wanted failed, and when it is tried again.
fn again(state: &State) -> String {
    let minutes = state.steady_after().map_or(0, |wait| wait.as_secs() / 60);
    let how = match state.packaged.stands_in {
        true => format!("after {minutes} minutes of frames by itself, or deploy it once more"),
        false => format!("sudo systemctl restart edge-seg.service once frames come, or after {minutes} minutes of them by itself"),
    };
    format!("journalctl -u edge-seg.service -n 50   # why; to try it again: {how}")
}

/// What keeps a slot that does not run from being gone back to, or from being tried again.
fn way_back(slots: &mut Slots<RealDisk>, state: &State, slot: Slot) -> Option<Finding> {
    const ANEW: &str = "deploy it once more; then, of the card: sudo dmesg | tail -n 30";
    let name = slot.name();
    let told = |found: String| Some(note("other slot", found, "sudo edge-seg-fw prune"));
    let changed = |why: &str| {
        let what =
            state.slot(slot).release.as_ref().map_or_else(String::new, |release| format!("{} serial {}", release.name, release.serial));
        Some(bad("other slot", format!("slot {name} held {what}, has changed on the disk, and is not started: {why}"), ANEW))
    };
    match &state.slot(slot).status {
        machine::Status::Empty => None,
        machine::Status::Bad { why } if state.slot(slot).changed => changed(why),
        machine::Status::Bad { why } => told(format!("slot {name} is bad: {why}")),
        _ => match slots.check(state, slot) {
            Err(why) if state.wanted() == Some(slot) => changed(&why),
            Err(why) => told(format!("slot {name} cannot be gone back to: {why}")),
            Ok(_) => None,
        },
    }
}

/// The runtime and the configuration that the service runs.
fn running(paths: &Paths) -> (PathBuf, PathBuf) {
    match paths.slot_that_runs() {
        Some(slot) => (slot.join(machine::PROGRAM), slot.join(machine::CONFIG)),
        None => (paths.packaged.clone(), paths.config.clone()),
    }
}

/// What the next start looks at: every file of the slot by its digest; and, as what is worth knowing, what an installation would say of
/// the bundle's signature today.
fn contents(paths: &Paths, board: &Board, slots: &mut Slots<RealDisk>, state: &State, slot: Slot) -> Vec<Finding> {
    let folder = slots.folder(slot);
    let unread = match slots.check(state, slot) {
        Ok(unread) => unread,
        Err(why) => {
            let mend = match why.contains(machine::CONFIG) {
                true => format!("{}   # takes it as it is now", reconfigured(state, &folder.join(machine::CONFIG).display().to_string())),
                false => "sudo edge-seg-fw rollback --restart".into(),
            };
            return vec![bad("model", format!("the next start will refuse slot {}: {why}", slot.name()), mend)];
        }
    };
    let path = folder.join(machine::BUNDLE);
    let what = state.slot(slot).release.as_ref().map_or_else(String::new, |held| format!("{} serial {}", held.name, held.serial));
    let what = format!("slot {}: {what}", slot.name());
    let mut found = vec![match unread.as_slice() {
        [] => ok("model", format!("{what}, contents hold")),
        unread => note("model", format!("{what}: {} cannot be told without sudo", unread.join(", ")), AS_ROOT),
    }];
    let signed = || -> anyhow::Result<Option<Bundle>> {
        match paths.demands_signatures()? {
            true => Ok(Some(Trust::read(&paths.keys)?.on_board(&board_names(board)).open(&path)?)),
            false => Ok(None),
        }
    };
    let denied = |error: &anyhow::Error| {
        let kind = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
        error.chain().any(|cause| kind(cause) == Some(io::ErrorKind::PermissionDenied))
    };
    found.push(match signed() {
        Ok(Some(_)) => ok("signature", "holds"),
        Ok(None) => ok("signature", "not asked for: no key is trusted"),
        Err(error) if denied(&error) => note("signature", format!("{error:#}: cannot tell without sudo"), AS_ROOT),
        Err(error) => match error.downcast_ref() {
            // Keys change after what they have signed.
            Some(edge_seg_bundle::Error::Refused {
                why: Refusal::Unsigned | Refusal::UnknownKey { .. } | Refusal::ExpiredKey { .. },
                ..
            }) => note("signature", format!("{what} runs on, but would not be installed today: {error:#}"), SIGN),
            Some(edge_seg_bundle::Error::Refused { .. }) => bad("signature", format!("{error:#}"), "sudo edge-seg-fw rollback --restart"),
            _ => bad(
                "signature",
                format!("{error:#}"),
                format!("sudo ls -l {}   # nothing is installed before they can be read", paths.keys.display()),
            ),
        },
    });
    found
}

/// How the package's program comes to run.
pub fn take_packaged(state: &State) -> String {
    brought(state, "--packaged", "--packaged", |name| name == machine::PROGRAM)
}

/// How what runs comes to have another configuration.
fn reconfigured(state: &State, config: &str) -> String {
    brought(state, config, &format!("--config {config}"), |_| false)
}

/// The command that brings something to what runs: where that only stands in for another release, the whole is to be brought with it.
fn brought(state: &State, alone: &str, with_bundle: &str, brings: impl Fn(&str) -> bool) -> String {
    let alone = format!("sudo edge-seg-fw reconfigure {alone} --restart");
    match (state.not_to_be_changed(&brings), state.not_to_be_kept(&brings)) {
        (None, _) => alone,
        (Some(_), Some(_)) => format!("sudo edge-seg-fw install BUNDLE {with_bundle} --restart   # what runs only stands in for another"),
        (Some(why), None) => format!("{alone}   # later: {why}"),
    }
}

/// What of the package the slots have copies of, where they differ: a change there changes nothing of what runs.
fn beside_the_package(paths: &Paths, state: &State, config: &Path, runtime: &Path) -> Vec<Finding> {
    let mut found = Vec::new();
    let time = |path: &Path| std::fs::metadata(path).and_then(|meta| meta.modified()).ok();
    let newer = time(&paths.config).zip(time(config)).is_some_and(|(packaged, slot)| packaged > slot);
    let digest = |path: &Path| std::fs::File::open(path).and_then(digest_of).ok();
    let differs = |a: &Path, b: &Path| digest(a).zip(digest(b)).is_some_and(|(a, b)| a != b);
    if newer && differs(&paths.config, config) {
        let what = format!("{} is newer than what runs, and is not read: the release has its own", paths.config.display());
        found.push(note("packaged configuration", what, &reconfigured(state, "/etc/edge-seg/edge-seg.toml")));
    }
    // Packages bring files as old as their build: what counts is when this one came here.
    let came = std::fs::metadata(&paths.packaged).ok().map(|meta| (meta.ctime(), meta.ctime_nsec()));
    let written = std::fs::metadata(runtime).ok().map(|meta| (meta.mtime(), meta.mtime_nsec()));
    let newer = came.zip(written).is_some_and(|(came, written)| came > written);
    if differs(&paths.packaged, runtime) {
        let version = |path: &Path| paths.version_of(path).unwrap_or_else(|| "another".into());
        let (packaged, slot) = (version(&paths.packaged), version(runtime));
        let same = if packaged == slot { ", built otherwise" } else { "" };
        let what = match newer {
            true => format!("the slot runs {slot}, the package has brought {packaged}{same} since"),
            false => format!("the slot runs {slot}, the package holds {packaged}{same}"),
        };
        found.push(note("packaged program", what, &take_packaged(state)));
    }
    found
}

fn read_only(host: &Host, paths: &Paths) -> Option<Finding> {
    // A tree that stands for a board tells its own.
    let is_read_only = match host.is_live() {
        true => paths.is_read_only(),
        false => host
            .command("findmnt", &["-n", "-o", "OPTIONS", "-T", "/var/lib/edge-seg"])
            .is_some_and(|options| options.trim().split(',').any(|option| option == "ro")),
    };
    let what =
        "/var/lib/edge-seg is on a disk that is read-only, as a card that fails often is made: nothing is installed, and no start counted";
    is_read_only.then(|| {
        bad("read-only", what, "sudo dmesg | tail -n 30   # why; a card with errors is replaced, else: sudo mount -o remount,rw /")
    })
}

fn disk(host: &Host) -> Finding {
    // A tree that stands for a board tells its own.
    let free = match host.is_live() {
        true => rustix::fs::statvfs("/var/lib").ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)),
        false => host
            .command("df", &["-B1", "--output=avail", "/var/lib"])
            .and_then(|text| text.lines().last().and_then(|line| line.trim().parse::<u64>().ok())),
    };
    match free {
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

fn property(host: &Host, unit: &str, name: &str) -> Option<String> {
    let text = host.command("systemctl", &["show", unit, "-p", name, "--value"])?;
    Some(text.trim().to_string()).filter(|text| !text.is_empty())
}

/// Where the board is set up to fetch releases: whether it does.
fn pulling(host: &Host, paths: &Paths, now: u64) -> Vec<Finding> {
    const NOW: &str = "sudo edge-seg-fw pull --restart";
    if !paths.pull_from.exists() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let timer = property(host, "edge-seg-pull.timer", "ActiveState");
    let enable = "sudo systemctl enable --now edge-seg-pull.timer";
    match timer.as_deref() {
        Some("active") => found.push(ok("pull", "looks for releases by its timer")),
        Some("failed") => found.push(bad("pull", "its timer has failed", enable)),
        Some(state) => {
            found.push(note("pull", format!("{} is there, and the timer is {state}: by hand alone", paths.pull_from.display()), enable));
        }
        None => {}
    }
    if let Some(result) = property(host, "edge-seg-pull.service", "Result").filter(|result| result != "success") {
        let lines = host.command("journalctl", &["-u", "edge-seg-pull.service", "-n", "20", "-o", "cat"]).unwrap_or_default();
        let said = lines.lines().filter_map(|line| line.strip_prefix("edge-seg-fw: ")).next_back();
        found.push(bad("pull", format!("the newest failed: {}", said.unwrap_or(&result)), format!("{NOW}   # tries at once")));
    }
    let (seen, wrong) = Seen::read(&mut paths.disk(), &paths.state);
    if !wrong.is_empty() {
        found.push(note("pull", seen.told(&wrong), &format!("{NOW}   # writes both anew")));
    }
    if let Some(day) = seen.expires.as_deref().and_then(Date::parse).filter(|day| now / 86_400 > day.days()) {
        let day = day.to_string();
        let what = format!("the index counted until {day}: the server, or somebody between, holds newer ones back");
        found.push(bad("pull", what, "edge-seg-fw fleet publish -o web --expires DAY   # where releases are published"));
    }
    if let Some(refused) = &seen.refused {
        found.push(note("pull", format!("refused what is offered: {}", refused.why), &format!("{NOW} --again   # once that is mended")));
    }
    found
}

/// Whether the service ended by itself, and well: a stop leaves a signal there, and a service that never ran has no code of an end.
fn ended_well(host: &Host) -> bool {
    let property = |name: &str| property(host, SERVICE, name);
    property("ExecMainCode").as_deref() == Some("1") && property("ExecMainStatus").as_deref() == Some("0")
}

/// What the service manager says of the service, in a word; `ended` where what it reads has come to its end.
pub fn service_state(host: &Host) -> Option<String> {
    match property(host, SERVICE, "ActiveState")?.as_str() {
        "inactive" if ended_well(host) => Some("ended".into()),
        state => Some(state.into()),
    }
}

fn service(host: &Host) -> Vec<Finding> {
    let property = |name: &str| property(host, SERVICE, name);
    let mut found = Vec::new();
    let state = property("ActiveState");
    match (property("LoadState").as_deref(), state.as_deref()) {
        (None, _) => return vec![note("service", "systemd does not answer here", "systemctl status edge-seg.service")],
        (Some("loaded"), Some("active")) => found.push(ok("service", "active")),
        (Some("loaded"), Some("failed")) => {
            found.push(bad("service", "failed", "sudo systemctl reset-failed edge-seg.service && sudo systemctl restart edge-seg.service"))
        }
        (Some("loaded"), Some("inactive")) if ended_well(host) => found.push(note(
            "service",
            "inactive: what the configuration reads, such as a folder of pictures, has come to its end",
            "sudo systemctl restart edge-seg.service   # once there is more",
        )),
        (Some("loaded"), Some("activating")) => {
            let what = "activating: it starts, and has shown no frame yet";
            found.push(bad("service", what, "journalctl -u edge-seg.service -n 50   # or wait for its first frame"));
        }
        (Some("loaded"), state) => found.push(bad("service", state.unwrap_or("unknown"), "sudo systemctl enable --now edge-seg.service")),
        (Some(_), _) => return vec![bad("service", "not installed", "sudo apt install ./edge-seg_*.deb")],
    }
    let errors = host.command("journalctl", &["-u", SERVICE, "-p", "err", "-n", "5", "-o", "cat", "--since", "-1h"]).unwrap_or_default();
    let errors: Vec<&str> = errors.lines().filter(|line| !line.starts_with("-- ")).collect();
    // The guard tells of each start: where there is nothing at all, this user may not read it.
    let told = || host.command("journalctl", &["-u", SERVICE, "-n", "1", "-o", "cat"]);
    let readable = || state.as_deref() == Some("inactive") || told().is_some_and(|text| text.lines().any(|line| !line.starts_with("-- ")));
    found.push(match errors.as_slice() {
        [] if !readable() => note(
            "errors",
            "the journal shows this user nothing of the service: cannot tell without sudo",
            "sudo journalctl -u edge-seg.service -n 50",
        ),
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
pub fn record_baseline(paths: &Paths) -> anyhow::Result<f64> {
    inference::record(paths)
}
