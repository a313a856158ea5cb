//! Slots survive power cuts, full and read-only disks, rot, and releases that never become healthy.

use crate::disk::{FakeDisk, Fault, Rng};
use edge_seg_fw::slots::machine::{Ending, Trial, Work, describe, name_of, running};
use edge_seg_fw::slots::{Action, Disk, Event, Kind, Outcome, Parts, Release, Slot, Slots, Source, State, Status, release_of, step};
use std::path::PathBuf;

const ROOT: &str = "/state";

/// A release whose three files name its serial.
struct Fake {
    serial: u64,
    parts: Parts,
    refuse_board: bool,
    /// A runtime that was tried on the disk, and is moved into the slot.
    tried: Option<PathBuf>,
}

/// Bundle, binary and configuration of a release.
fn bytes_of(serial: u64) -> [Vec<u8>; 3] {
    ["bundle", "binary", "config"].map(|what| format!("{what} of release {serial} ").repeat(40).into_bytes())
}

fn fake(serial: u64) -> Fake {
    let [bundle, binary, config] = bytes_of(serial).map(Into::into);
    Fake { serial, parts: Parts { bundle, binary, config, private: false }, refuse_board: false, tried: None }
}

impl Source for Fake {
    fn verify(&mut self) -> Result<Release, String> {
        release_of("mini", self.serial, &self.parts).map_err(|error| error.to_string())
    }

    fn check_board(&mut self, _: Option<&std::path::Path>) -> Result<(), String> {
        if self.refuse_board { Err("the bundle is for pi5, this board is pi4".into()) } else { Ok(()) }
    }

    fn parts(&self) -> &Parts {
        &self.parts
    }

    fn ready(&self, name: &str) -> Option<PathBuf> {
        self.tried.clone().filter(|_| name == "edge-seg")
    }
}

fn drive(disk: FakeDisk, event: Event, source: Option<&mut dyn Source>) -> (FakeDisk, Option<Outcome>) {
    let mut slots = Slots::new(disk, ROOT);
    let outcome = slots.drive(event, source).ok();
    (slots.into_disk(), outcome)
}

fn install(disk: FakeDisk, serial: u64) -> (FakeDisk, Option<Outcome>) {
    drive(disk, Event::Install { downgrade: false }, Some(&mut fake(serial)))
}

/// What runs after a start, proven by reading all of its files.
fn boot(disk: FakeDisk) -> (FakeDisk, Option<u64>) {
    let (mut disk, outcome) = drive(disk, Event::Boot, None);
    let Some(outcome) = outcome else { return (disk, None) };
    let serial = match outcome.run {
        Some(Some(slot)) => serial_in(&mut disk, slot),
        Some(None) => Some(0),
        None => None,
    };
    (disk, serial)
}

fn serial_in(disk: &mut FakeDisk, slot: Slot) -> Option<u64> {
    let folder = PathBuf::from(ROOT).join("slots").join(slot.name());
    let files = ["bundle.esb", "edge-seg", "config.toml"].map(|name| disk.read(&folder.join(name)).unwrap_or_default());
    (1..500).find(|serial| files == bytes_of(*serial))
}

/// Frames of what runs, as the supervisor that started it tells them.
fn healthy(disk: &FakeDisk, frames: u64) -> Event {
    let state = Slots::new(disk.clone(), ROOT).load().unwrap();
    let slot = state.current.expect("a slot runs");
    Event::Healthy { slot, digest: state.slot(slot).release.as_ref().unwrap().digest(), frames, ended: false }
}

fn good(disk: FakeDisk) -> FakeDisk {
    let event = healthy(&disk, 50);
    let (disk, outcome) = drive(disk, event, None);
    assert_eq!(outcome.unwrap().refused, None);
    disk
}

/// A board that runs release 1, proven.
fn board() -> FakeDisk {
    let (disk, outcome) = install(FakeDisk::new(), 1);
    assert_eq!(outcome.unwrap().refused, None);
    let (disk, serial) = boot(disk);
    assert_eq!(serial, Some(1));
    good(disk)
}

fn changes_of(disk: &FakeDisk, event: &Event, source: Option<u64>) -> usize {
    let before = disk.changes;
    let mut release = source.map(fake);
    let (after, _) = drive(disk.clone(), event.clone(), release.as_mut().map(|r| r as &mut dyn Source));
    after.changes - before
}

/// Cuts power before every change that `event` makes, and after the last, and hands over what is found then.
fn cut_everywhere(disk: &FakeDisk, event: Event, source: Option<u64>, seeds: u64, mut check: impl FnMut(FakeDisk, &str)) {
    let changes = changes_of(disk, &event, source);
    assert!(changes > 0, "{event:?} changes nothing: nothing is tested");
    for at in 0..=changes {
        for seed in 1..=seeds {
            let mut cut = disk.clone();
            cut.cut_at = Some(disk.changes + at);
            let mut release = source.map(fake);
            let (cut, _) = drive(cut, event.clone(), release.as_mut().map(|r| r as &mut dyn Source));
            assert_eq!(cut.is_dead(), at < changes);
            let found = cut.after_power_cut(&mut Rng(seed * 7919 + at as u64));
            check(found, &format!("{event:?} cut before change {at} of {changes}, seed {seed}"));
        }
    }
}

#[test]
fn the_old_or_the_new_runs_after_a_cut_anywhere_in_an_installation() {
    let (mut old, mut new) = (0, 0);
    cut_everywhere(&board(), Event::Install { downgrade: false }, Some(2), 40, |found, place| {
        let (found, serial) = boot(found);
        match serial {
            Some(1) => old += 1,
            Some(2) => new += 1,
            other => panic!("{place}: {other:?} runs"),
        }
        // And the board takes the next release as if nothing had been.
        let found = if serial == Some(2) { good(found) } else { found };
        let (found, outcome) = install(found, 3);
        assert_eq!(outcome.unwrap().refused, None, "{place}");
        assert_eq!(boot(found).1, Some(3), "{place}");
    });
    assert!(old > 0 && new > 0, "both ends must have been seen: {old} old, {new} new");
}

#[test]
fn a_program_that_is_moved_into_its_slot_is_whole_there_or_not_at_all() {
    let tried = PathBuf::from(ROOT).join("check.edge-seg");
    let moved = |mut disk: FakeDisk, cut: Option<usize>, bytes: &[u8]| {
        let mut source = Fake { tried: Some(tried.clone()), ..fake(2) };
        disk.write(&tried, &mut { bytes }, Kind::Program).unwrap();
        disk.cut_at = cut.map(|cut| disk.changes + cut);
        drive(disk, Event::Install { downgrade: false }, Some(&mut source)).0
    };
    let [_, program, _] = bytes_of(2);
    let before = board();
    let whole = moved(before.clone(), None, &program);
    let changes = whole.changes - before.changes;
    assert_eq!(boot(whole).1, Some(2));
    // One that was changed after it was tried is not taken.
    assert_eq!(boot(moved(before.clone(), None, b"another program")).1, Some(2));
    let mut seen = [0, 0];
    for cut in 0..changes {
        for seed in 1..8 {
            let dead = moved(before.clone(), Some(cut), &program);
            let (_, runs) = boot(dead.after_power_cut(&mut Rng(seed)));
            assert!(runs == Some(1) || runs == Some(2), "cut at {cut}: {runs:?} runs");
            seen[usize::from(runs == Some(2))] += 1;
        }
    }
    assert!(seen[0] > 0 && seen[1] > 0, "{seen:?}");
}

#[test]
fn a_first_installation_ends_in_the_packaged_release_or_the_new_one() {
    cut_everywhere(&FakeDisk::new(), Event::Install { downgrade: false }, Some(1), 40, |found, place| {
        let serial = boot(found).1;
        assert!(matches!(serial, Some(0 | 1)), "{place}: {serial:?} runs");
    });
}

#[test]
fn a_cut_while_recovering_from_a_cut_changes_nothing() {
    cut_everywhere(&board(), Event::Install { downgrade: false }, Some(2), 6, |found, place| {
        if changes_of(&found, &Event::Boot, None) == 0 {
            return;
        }
        cut_everywhere(&found, Event::Boot, None, 6, |found, again| {
            let serial = boot(found).1;
            assert!(matches!(serial, Some(1 | 2)), "{place}, then {again}: {serial:?} runs");
        });
    });
}

#[test]
fn cuts_in_every_other_event_leave_a_release_that_runs() {
    let (trial, _) = install(board(), 2);
    let (trial, serial) = boot(trial);
    assert_eq!(serial, Some(2));
    let proven = good(trial.clone());
    for (disk, event) in [
        (&trial, Event::Boot),
        (&trial, healthy(&trial, 50)),
        (&trial, Event::MarkGood),
        (&trial, Event::Rollback),
        (&proven, Event::Rollback),
        (&proven, Event::Prune),
    ] {
        cut_everywhere(disk, event, None, 40, |found, place| {
            let serial = boot(found).1;
            assert!(matches!(serial, Some(1 | 2)), "{place}: {serial:?} runs");
        });
    }
}

#[test]
fn a_hundred_installations_with_random_cuts() {
    for seed in [1, 2, 3] {
        let mut rng = Rng(seed);
        let (mut disk, mut running, mut cuts) = (board(), 1, 0);
        for serial in 2..102 {
            let changes = changes_of(&disk, &Event::Install { downgrade: false }, Some(serial));
            if rng.below(4) > 0 {
                disk.cut_at = Some(disk.changes + rng.below(changes + 1));
            }
            (disk, _) = install(disk, serial);
            if disk.is_dead() {
                cuts += 1;
                disk = disk.after_power_cut(&mut rng);
            }
            disk.cut_at = None;
            // Sometimes power fails again in the next start.
            if rng.below(3) == 0 {
                disk.cut_at = Some(disk.changes + rng.below(6));
                (disk, _) = boot(disk);
                if disk.is_dead() {
                    disk = disk.after_power_cut(&mut rng);
                }
                disk.cut_at = None;
            }
            let (next, runs) = boot(disk);
            assert!(
                runs == Some(running) || runs == Some(serial),
                "seed {seed}, release {serial}: {runs:?} runs, expected {running} or {serial}"
            );
            disk = next;
            disk = good(disk);
            if runs == Some(serial) {
                running = serial;
            }
        }
        assert!(cuts > 40, "only {cuts} cuts");
    }
}

#[test]
fn a_release_that_never_becomes_healthy_is_given_up_after_three_starts() {
    let (mut disk, _) = install(board(), 2);
    for start in 1..=3 {
        let serial;
        (disk, serial) = boot(disk);
        assert_eq!(serial, Some(2), "start {start}");
        let event = healthy(&disk, 9);
        let (next, outcome) = drive(disk, event, None);
        assert!(matches!(outcome.unwrap().state.slot(Slot::B).status, Status::Pending { .. }), "9 frames are too few");
        disk = next;
    }
    for _ in 0..3 {
        let serial;
        (disk, serial) = boot(disk);
        assert_eq!(serial, Some(1));
    }
    let state = Slots::new(disk, ROOT).load().unwrap();
    assert_eq!(state.current, Some(Slot::A));
    assert!(matches!(&state.slot(Slot::B).status, Status::Bad { why } if why.contains("in 3 starts")), "{:?}", state.slot(Slot::B).status);
}

#[test]
fn an_error_at_any_change_leaves_the_old_release_running_and_is_told() {
    let disk = board();
    let changes = changes_of(&disk, &Event::Install { downgrade: false }, Some(2));
    for fault in (0..changes).flat_map(|at| [Fault::OnceAt(disk.changes + at), Fault::FullFrom(disk.changes + at)]) {
        let mut broken = disk.clone();
        broken.fault = Some(fault);
        let (mut broken, outcome) = install(broken, 2);
        let refused = outcome.unwrap().refused;
        broken.fault = None;
        let (broken, serial) = boot(broken);
        if refused.is_some() {
            assert!(matches!(serial, Some(1 | 2)), "{fault:?}: {serial:?} runs");
        } else {
            assert_eq!(serial, Some(2), "{fault:?}: reported as done");
        }
        let broken = if serial == Some(2) { good(broken) } else { broken };
        let (broken, outcome) = install(broken, 3);
        assert_eq!(outcome.unwrap().refused, None, "{fault:?}");
        assert_eq!(boot(broken).1, Some(3), "{fault:?}");
    }
}

#[test]
fn a_disk_that_is_too_full_is_noticed_before_anything_changes() {
    let mut disk = board();
    disk.free = 1000;
    let before = disk.changes;
    let (disk, outcome) = install(disk, 2);
    let why = outcome.unwrap().refused.unwrap();
    assert!(why.contains("too full"), "{why}");
    assert_eq!(disk.changes, before);
}

#[test]
fn a_read_only_disk_refuses_the_new_and_runs_the_old() {
    let mut disk = board();
    disk.fault = Some(Fault::ReadOnly);
    let (disk, outcome) = install(disk, 2);
    assert!(outcome.unwrap().refused.unwrap().contains("read-only"));
    assert_eq!(boot(disk).1, Some(1));
}

#[test]
fn a_trial_that_cannot_be_counted_gives_way_to_what_is_proven() {
    let (mut disk, _) = install(board(), 2);
    disk.fault = Some(Fault::ReadOnly);
    assert_eq!(boot(disk).1, Some(1), "else a release that fails could be tried for ever");
}

#[test]
fn rot_in_the_running_slot_brings_the_other_back() {
    let (disk, _) = install(board(), 2);
    let mut disk = good(boot(disk).0);
    disk.rot(&PathBuf::from(ROOT).join("slots/b/edge-seg"));
    let (mut disk, serial) = boot(disk);
    assert_eq!(serial, Some(1));
    disk.rot(&PathBuf::from(ROOT).join("slots/a/bundle.esb"));
    assert_eq!(boot(disk).1, Some(0), "with both gone the packaged release runs");
}

#[test]
fn a_slot_that_rots_while_the_other_runs_in_its_place_is_told_and_never_started() {
    let program = PathBuf::from(ROOT).join("slots/b/edge-seg");
    let mut disk = good(fallen());
    disk.rot(&program);
    let (disk, serial) = boot(disk);
    assert_eq!(serial, Some(1));
    let state = Slots::new(disk.clone(), ROOT).load().unwrap();
    let told = describe(&state, Slot::B);
    assert!(state.slot(Slot::B).changed && told.contains("mini serial 2, bad, for it has changed on the disk: "), "{told}");
    let (disk, serial) = boot(good(disk));
    assert_eq!(serial, Some(1));
    // It is brought again as any other.
    let (disk, outcome) = install(disk, 2);
    assert_eq!(outcome.unwrap().refused, None);
    let (disk, serial) = boot(disk);
    let state = Slots::new(good(disk), ROOT).load().unwrap();
    assert_eq!((serial, state.slot(Slot::B).changed), (Some(2), false));

    // Nor where the disk refuses to count the start of the other one.
    let mut disk = good(fallen());
    disk.rot(&PathBuf::from(ROOT).join("slots/a/edge-seg"));
    disk.fault = Some(Fault::ReadOnly);
    assert_eq!(boot(disk).1, Some(2));
}

#[test]
fn a_release_is_not_written_over_the_last_one_that_is_whole() {
    let (disk, _) = install(board(), 2);
    let mut disk = good(boot(disk).0);
    // What runs has rotted, and only the next start would find it.
    disk.rot(&PathBuf::from(ROOT).join("slots/b/edge-seg"));
    let before = disk.changes;
    let (disk, outcome) = install(disk, 3);
    let why = outcome.unwrap().refused.unwrap();
    assert!(why.starts_with("slot a alone is whole (") && why.contains("slots/b/edge-seg") && why.contains("systemctl restart"), "{why}");
    let (disk, outcome) = drive(disk, Event::Prune, None);
    assert!(outcome.unwrap().refused.is_some());
    assert_eq!(disk.changes, before);
    let (disk, serial) = boot(disk);
    assert_eq!(serial, Some(1));
    let (disk, outcome) = install(good(disk), 3);
    assert_eq!(outcome.unwrap().refused, None);
    assert_eq!(boot(disk).1, Some(3));
    // With both gone there is nothing to lose.
    let (disk, _) = install(board(), 2);
    let mut disk = good(boot(disk).0);
    for slot in ["a", "b"] {
        disk.rot(&PathBuf::from(ROOT).join("slots").join(slot).join("config.toml"));
    }
    assert_eq!(install(disk, 3).1.unwrap().refused, None);
}

#[test]
fn a_deployment_while_what_fails_is_tried_again_leaves_what_works_wherever_power_fails() {
    let (two, _) = install(board(), 2);
    let mut falling = good(boot(two).0);
    for _ in 0..2 {
        falling = boot(falling).0;
    }
    let (tried_again, serial) = boot(good(fallen()));
    assert_eq!(serial, Some(2));
    for disk in [falling, tried_again] {
        let (done, outcome) = install(disk.clone(), 3);
        assert_eq!(outcome.unwrap().refused, None);
        assert_eq!((serial_in(&mut done.clone(), Slot::A), serial_in(&mut done.clone(), Slot::B)), (Some(1), Some(3)));
        cut_everywhere(&disk, Event::Install { downgrade: false }, Some(3), 10, |found, place| {
            assert_eq!(serial_in(&mut found.clone(), Slot::A), Some(1), "{place}");
            let mut disk = found;
            let mut ran = Vec::new();
            for _ in 0..5 {
                let serial;
                (disk, serial) = boot(disk);
                ran.push(serial.unwrap());
            }
            assert!(ran.contains(&1), "{place}: {ran:?} ran");
        });
    }
}

#[test]
fn with_both_states_lost_while_fallen_back_what_stands_in_goes_on_and_nothing_is_written_over() {
    let mut disk = good(fallen());
    for name in ["state.json", "state.copy.json"] {
        disk.remove(&PathBuf::from(ROOT).join(name)).unwrap();
    }
    // Nothing tells which one worked: neither is taken before one has proved itself.
    let (disk, outcome) = install(disk, 3);
    assert!(outcome.unwrap().refused.unwrap().contains("slot b is what it would fall back to"));
    let (disk, serial) = boot(disk);
    assert_eq!(serial, Some(1));
    let mut disk = good(disk);
    let state = Slots::new(disk.clone(), ROOT).load().unwrap();
    assert_eq!(
        describe(&state, Slot::B),
        "mini serial 2, not proven since the state was lost, nor known whether it was what is wanted, 3 starts left: runs where slot a fails"
    );
    // The operator may want it, and where the other one fails it has its trial.
    assert_eq!(drive(disk.clone(), Event::Rollback, None).1.unwrap().reports, ["slot b runs at the next start"]);
    for expected in [1, 1, 1, 2] {
        let serial;
        (disk, serial) = boot(disk);
        assert_eq!(serial, Some(expected));
    }
    let state = Slots::new(good(disk), ROOT).load().unwrap();
    assert_eq!((state.current, state.wanted(), &state.slot(Slot::B).status), (Some(Slot::B), Some(Slot::B), &Status::Good));
}

#[test]
fn what_a_start_finds_is_kept_where_the_packaged_release_runs() {
    // Power fails in each start of a first release, before the pointer names it.
    let (mut disk, _) = install(FakeDisk::new(), 1);
    disk.remove(&PathBuf::from(ROOT).join("current")).unwrap();
    for _ in 0..3 {
        disk = boot(disk).0;
        disk.remove(&PathBuf::from(ROOT).join("current")).unwrap();
    }
    let (disk, serial) = boot(disk);
    let state = Slots::new(disk, ROOT).load().unwrap();
    assert_eq!(serial, Some(0));
    assert!(matches!(state.slot(Slot::A).status, Status::Bad { .. }), "{state:?}");
    assert_eq!(running(&state), "the packaged release");
}

#[test]
fn a_lost_or_mangled_state_file_keeps_the_running_release() {
    let path = PathBuf::from(ROOT).join("state.json");
    for bytes in [None, Some(&b""[..]), Some(b"{\"format\":2}"), Some(b"\0\0\0\0")] {
        let mut disk = board();
        match bytes {
            None => disk.remove(&path).unwrap(),
            Some(mut bytes) => disk.write(&path, &mut bytes, Kind::Plain).unwrap(),
        }
        let (disk, serial) = boot(disk);
        assert_eq!(serial, Some(1), "{bytes:?}");
        let (_, outcome) = install(disk, 1);
        assert_eq!(outcome.unwrap().refused, None);
    }
}

#[test]
fn lower_serials_are_refused_unless_asked_for() {
    let (disk, _) = install(board(), 5);
    let disk = good(boot(disk).0);
    let (disk, outcome) = install(disk, 4);
    assert!(outcome.unwrap().refused.unwrap().starts_with("downgrade: the bundle's serial is 4, this board has run 5"));
    let (disk, outcome) = drive(disk, Event::Install { downgrade: true }, Some(&mut fake(4)));
    assert_eq!(outcome.unwrap().refused, None);
    assert_eq!(boot(disk).1, Some(4));
}

#[test]
fn a_bundle_for_another_board_changes_nothing() {
    let disk = board();
    let before = disk.changes;
    let mut release = fake(2);
    release.refuse_board = true;
    let (disk, outcome) = drive(disk, Event::Install { downgrade: false }, Some(&mut release));
    assert_eq!(outcome.unwrap().refused.as_deref(), Some("the bundle is for pi5, this board is pi4"));
    assert_eq!(disk.changes, before);
}

#[test]
fn operators_can_go_back_confirm_and_free_space() {
    let (disk, _) = install(board(), 2);
    let (disk, _) = boot(disk);
    let (disk, outcome) = install(disk, 3);
    assert!(outcome.unwrap().refused.unwrap().contains("on trial"), "the way back must not be overwritten");
    let (disk, outcome) = drive(disk, Event::Prune, None);
    assert!(outcome.unwrap().refused.unwrap().contains("on trial"));
    let (back, outcome) = drive(disk.clone(), Event::Rollback, None);
    assert_eq!(outcome.unwrap().refused, None);
    let (back, serial) = boot(back);
    assert_eq!(serial, Some(1));
    let (back, outcome) = drive(back, Event::Rollback, None);
    assert!(outcome.unwrap().refused.unwrap().contains("nothing good"));
    // With the bad one pruned there is the packaged release.
    let (back, _) = drive(back, Event::Prune, None);
    let (packaged, outcome) = drive(back, Event::Rollback, None);
    assert_eq!(outcome.unwrap().reports, ["the packaged release runs at the next start"]);
    let (packaged, serial) = boot(packaged);
    assert_eq!(serial, Some(0));
    let (_, outcome) = drive(packaged, Event::Rollback, None);
    assert!(outcome.unwrap().refused.unwrap().contains("the packaged release runs"));
    let (disk, outcome) = drive(disk, Event::MarkGood, None);
    assert_eq!(outcome.unwrap().reports, ["slot b is good"]);
    let (mut disk, outcome) = drive(disk, Event::Prune, None);
    assert_eq!(outcome.unwrap().reports, ["freed: a"]);
    assert!(disk.list(&PathBuf::from(ROOT).join("slots/a")).unwrap().is_empty());
    assert_eq!(boot(disk).1, Some(2));
}

#[test]
fn healthy_frames_prove_the_release_that_showed_them_and_no_other() {
    // An old runtime works on while a release is installed without a restart.
    let (disk, outcome) = install(board(), 2);
    assert_eq!(outcome.unwrap().refused, None);
    let state = Slots::new(disk.clone(), ROOT).load().unwrap();
    let of = |slot: Slot| state.slot(slot).release.as_ref().unwrap().digest();
    let event = Event::Healthy { slot: Slot::A, digest: of(Slot::A), frames: 50, ended: false };
    let (disk, _) = drive(disk, event, None);
    let state = Slots::new(disk.clone(), ROOT).load().unwrap();
    assert!(matches!(state.slot(Slot::B).status, Status::Pending { .. }), "it never ran: {:?}", state.slot(Slot::B));
    assert_eq!(state.floor, 1);
    // Nor do frames of what the slot held before.
    let event = Event::Healthy { slot: Slot::B, digest: of(Slot::A), frames: 50, ended: false };
    let (disk, outcome) = drive(disk, event, None);
    assert!(outcome.unwrap().refused.unwrap().contains("no longer holds"));
    // Nor does an operator's word before it was started.
    let (disk, outcome) = drive(disk, Event::MarkGood, None);
    assert!(outcome.unwrap().refused.unwrap().contains("has not run yet"));
    let (disk, serial) = boot(disk);
    assert_eq!(serial, Some(2));
    assert_eq!(Slots::new(good(disk), ROOT).load().unwrap().floor, 2);
}

#[test]
fn a_source_that_ends_well_ends_the_trial() {
    let ended = |frames: u64| {
        let (disk, _) = install(FakeDisk::new(), 1);
        let (disk, serial) = boot(disk);
        assert_eq!(serial, Some(1));
        let Event::Healthy { slot, digest, .. } = healthy(&disk, 0) else { unreachable!() };
        let (disk, _) = drive(disk, Event::Healthy { slot, digest, frames, ended: true }, None);
        Slots::new(disk, ROOT).load().unwrap().slot(slot).status.clone()
    };
    assert_eq!(ended(2), Status::Good, "a folder of two pictures has no more to show");
    assert!(matches!(ended(0), Status::Pending { .. }));
}

#[test]
fn an_outage_after_both_states_are_lost_makes_no_release_bad() {
    let (disk, _) = install(board(), 2);
    let mut disk = good(boot(disk).0);
    for name in ["state.json", "state.copy.json"] {
        disk.remove(&PathBuf::from(ROOT).join(name)).unwrap();
    }
    for expected in [2, 2, 2, 1, 1, 1] {
        let serial;
        (disk, serial) = boot(disk);
        assert_eq!(serial, Some(expected));
    }
    let (disk, serial) = boot(disk);
    assert_eq!(serial, Some(1), "the last choice comes before the packaged release");
    let state = Slots::new(disk.clone(), ROOT).load().unwrap();
    assert!([Slot::A, Slot::B].iter().all(|slot| matches!(state.slot(*slot).status, Status::Aside { .. })), "{state:?}");
    let state = Slots::new(good(disk), ROOT).load().unwrap();
    assert_eq!(state.slot(Slot::A).status, Status::Good);
}

#[test]
fn a_good_release_that_fails_later_gives_way_to_the_other() {
    let (disk, _) = install(board(), 2);
    let mut disk = good(boot(disk).0);
    let mut ran = Vec::new();
    let mut waited = Vec::new();
    for _ in 0..14 {
        waited.push(Slots::new(disk.clone(), ROOT).load().unwrap().patience().as_secs());
        let (next, outcome) = drive(disk, Event::Boot, None);
        ran.push(outcome.unwrap().run.unwrap());
        disk = next;
    }
    let (a, b) = (Slot::A, Slot::B);
    let round = [Some(b), Some(b), Some(b), Some(a)];
    let expected = [&round[..], &round, &[None; 3], &round].concat();
    assert_eq!(ran, expected[..14], "what is wanted most often, the packaged release last, for ever");
    assert!(waited.is_sorted() && waited[3] == 0 && waited[4] > 0 && waited[13] == 240, "slower and slower: {waited:?}");
    // Both stay good, for nothing says that it was their fault; a healthy one starts anew.
    let disk = good(disk);
    let state = Slots::new(disk.clone(), ROOT).load().unwrap();
    assert_eq!((&state.slot(a).status, &state.slot(b).status, state.slot(b).failed_starts), (&Status::Good, &Status::Good, 0));
    let (disk, serial) = boot(disk);
    assert_eq!(serial, Some(2));
    // Alone, it and the packaged release take turns, and the pointer stays.
    let (mut disk, _) = drive(good(disk), Event::Prune, None);
    for expected in [2, 2, 2, 0, 0, 0, 2, 2] {
        let serial;
        (disk, serial) = boot(disk);
        assert_eq!(serial, Some(expected));
        assert_eq!(Slots::new(disk.clone(), ROOT).load().unwrap().current, Some(b));
    }
}

#[test]
fn a_start_of_the_packaged_release_that_cannot_be_counted_runs_it_all_the_same() {
    let mut disk = board();
    for _ in 0..3 {
        disk = boot(disk).0;
    }
    disk.fault = Some(Fault::ReadOnly);
    assert_eq!(boot(disk).1, Some(0));
}

#[test]
fn what_was_gone_back_from_runs_where_the_other_starts_no_more() {
    let (disk, _) = install(board(), 2);
    let disk = good(boot(disk).0);
    let (mut disk, outcome) = drive(disk, Event::Rollback, None);
    assert_eq!(outcome.unwrap().refused, None);
    for expected in [1, 1, 1, 2] {
        let serial;
        (disk, serial) = boot(disk);
        assert_eq!(serial, Some(expected));
    }
    // What it failed for may be over; where it is not, what stood in goes on.
    let (disk, serial) = boot(good(disk));
    assert_eq!(serial, Some(1));
    assert_eq!(boot(disk).1, Some(2));
}

#[test]
fn one_number_means_one_release() {
    let mut other = fake(1);
    other.parts.bundle = b"another bundle".to_vec().into();
    let (disk, outcome) = drive(board(), Event::Install { downgrade: false }, Some(&mut other));
    assert!(outcome.unwrap().refused.unwrap().starts_with("equal serial: slot a holds another bundle of serial 1"));
    // The same bundle with another configuration is no other release of the model.
    let mut words = fake(1);
    words.parts.config = b"other words".to_vec().into();
    let (disk, outcome) = drive(disk, Event::Install { downgrade: false }, Some(&mut words));
    assert_eq!(outcome.unwrap().refused, None);
    let (disk, _) = boot(disk);
    let (disk, outcome) = drive(disk, Event::Install { downgrade: false }, Some(&mut words));
    let outcome = outcome.unwrap();
    assert!(outcome.refused.is_none() && outcome.reports[0].contains("holds this release already"), "{outcome:?}");
    assert!(matches!(Slots::new(disk, ROOT).load().unwrap().slot(Slot::B).status, Status::Pending { tries_left: 2 }), "its trial goes on");
}

#[test]
fn a_state_file_lost_in_a_trial_leaves_the_trial_what_it_is() {
    let (disk, _) = install(board(), 2);
    let (disk, _) = boot(disk);
    for lost in [&["state.json"][..], &["state.copy.json"], &["state.json", "state.copy.json"]] {
        let mut disk = disk.clone();
        for name in lost {
            disk.remove(&PathBuf::from(ROOT).join(name)).unwrap();
        }
        let state = Slots::new(disk.clone(), ROOT).load().unwrap();
        assert!(matches!(state.slot(Slot::B).status, Status::Pending { .. }), "{lost:?}: {:?}", state.slot(Slot::B));
        assert!(matches!(state.slot(Slot::A).status, Status::Good | Status::Pending { .. }), "{lost:?}: {:?}", state.slot(Slot::A));
        assert_eq!(state.slot(Slot::A).status == Status::Good, lost.len() == 1);
        // It fails, and what ran before runs.
        for _ in 0..3 {
            disk = boot(disk).0;
        }
        assert_eq!(boot(disk).1, Some(1), "{lost:?}");
    }
}

#[test]
fn room_is_freed_on_a_disk_without_any() {
    let (disk, _) = install(board(), 2);
    let mut disk = good(boot(disk).0);
    // Nothing can be written until files are gone.
    disk.full_until_removed = 3;
    let (mut disk, outcome) = drive(disk, Event::Prune, None);
    assert_eq!(outcome.unwrap().reports, ["freed: a"]);
    assert!(disk.list(&PathBuf::from(ROOT).join("slots/a")).unwrap().is_empty());
    assert_eq!(boot(disk.clone()).1, Some(2));
    disk.fault = Some(Fault::ReadOnly);
    assert!(drive(disk, Event::Prune, None).1.unwrap().refused.is_some(), "what is not freed is not said to be");
}

#[test]
fn what_both_releases_have_in_common_is_stored_once() {
    let program = vec![7; 100_000];
    let with = |serial: u64| {
        let mut release = fake(serial);
        release.parts.binary = program.clone().into();
        release
    };
    let (disk, _) = drive(FakeDisk::new(), Event::Install { downgrade: false }, Some(&mut with(1)));
    let (disk, _) = drive(disk, Event::Boot, None);
    let disk = good(disk);
    let written = disk.written;
    let (again, outcome) = drive(disk.clone(), Event::Install { downgrade: false }, Some(&mut with(2)));
    assert_eq!(outcome.unwrap().refused, None);
    assert!(again.written - written < 50_000, "the program was written again: {}", again.written - written);
    assert_eq!(drive(again, Event::Boot, None).1.unwrap().run, Some(Some(Slot::B)));
    // One that has rotted is not shared.
    let mut disk = disk;
    disk.rot(&PathBuf::from(ROOT).join("slots/a/edge-seg"));
    let (disk, outcome) = drive(disk, Event::Install { downgrade: false }, Some(&mut with(2)));
    assert_eq!(outcome.unwrap().refused, None);
    assert_eq!(drive(disk, Event::Boot, None).1.unwrap().run, Some(Some(Slot::B)));
}

/// A board that ran release 2 until it failed, and runs release 1 in its place.
fn fallen() -> FakeDisk {
    let (disk, _) = install(board(), 2);
    let mut disk = good(boot(disk).0);
    for expected in [2, 2, 2, 1] {
        let serial;
        (disk, serial) = boot(disk);
        assert_eq!(serial, Some(expected));
    }
    disk
}

fn steady(disk: &FakeDisk) -> Event {
    let Event::Healthy { slot, digest, .. } = healthy(disk, 0) else { unreachable!() };
    Event::Steady { slot, digest }
}

#[test]
fn what_is_wanted_comes_back_after_a_cut_anywhere_in_a_fall_or_a_recovery() {
    let (two, _) = install(board(), 2);
    let mut two = good(boot(two).0);
    for _ in 0..3 {
        two = boot(two).0;
    }
    let fell = fallen();
    let stands_in = good(fell.clone());
    let (tried, serial) = boot(stands_in.clone());
    assert_eq!(serial, Some(2));
    let works = good(tried.clone());
    for (disk, event) in [
        (&two, Event::Boot),
        (&fell, healthy(&fell, 50)),
        (&stands_in, steady(&stands_in)),
        (&stands_in, Event::Boot),
        (&tried, healthy(&tried, 50)),
        (&works, steady(&works)),
    ] {
        cut_everywhere(disk, event, None, 40, |found, place| {
            let mut disk = found;
            for turn in 0.. {
                assert!(turn < 5, "{place}: release 2 does not come back");
                let serial;
                (disk, serial) = boot(disk);
                assert!(matches!(serial, Some(1 | 2)), "{place}: {serial:?} runs");
                disk = good(disk);
                let event = steady(&disk);
                disk = drive(disk, event, None).0;
                let state = Slots::new(disk.clone(), ROOT).load().unwrap();
                if serial == Some(2) {
                    assert_eq!((state.fallen, state.current), (None, Some(Slot::B)), "{place}");
                    break;
                }
            }
        });
    }
    // Given up, it is not tried again, whatever was cut.
    let (given_up, outcome) = drive(stands_in.clone(), Event::Rollback, None);
    assert_eq!(outcome.unwrap().refused, None);
    assert_eq!(boot(given_up).1, Some(1));
    cut_everywhere(&stands_in, Event::Rollback, None, 40, |found, place| {
        let serial = boot(found).1;
        assert!(matches!(serial, Some(1 | 2)), "{place}: {serial:?} runs");
    });
}

#[test]
fn a_newer_tools_state_is_read_as_far_as_it_is_known_and_refused_by_its_version() {
    let write = |disk: &mut FakeDisk, change: &dyn Fn(&mut serde_json::Value)| {
        for name in ["state.json", "state.copy.json"] {
            let path = PathBuf::from(ROOT).join(name);
            let mut state = serde_json::from_slice(&disk.read(&path).unwrap()).unwrap();
            change(&mut state);
            disk.write(&path, &mut state.to_string().as_bytes(), Kind::Plain).unwrap();
        }
    };
    let (disk, _) = install(board(), 2);
    let mut disk = disk;
    for _ in 0..4 {
        disk = boot(disk).0;
    }
    let mut later = disk.clone();
    write(&mut later, &|state| {
        state["later"] = 1.into();
        for place in ["trial", "a", "b"] {
            state[place]["later"] = 1.into();
        }
        state["b"]["release"]["later"] = 1.into();
        state["b"]["release"]["files"][0]["later"] = 1.into();
    });
    let state = Slots::new(later.clone(), ROOT).load().unwrap();
    assert!(matches!(state.slot(Slot::B).status, Status::Bad { .. }), "{:?}", state.slot(Slot::B));
    assert_eq!((state.floor, boot(later).1), (1, Some(1)));

    write(&mut disk, &|state| state["format"] = 2.into());
    let error = Slots::new(disk.clone(), ROOT).load().unwrap_err().to_string();
    assert!(error.contains("expected format 1, found 2") && error.contains("newer edge-seg"), "{error}");
    let before = disk.changes;
    let (disk, outcome) = install(disk, 3);
    assert!(outcome.is_none() && disk.changes == before, "it changes nothing that it does not know");
}

/// A board under random schedules, with what is known of it beside its disk.
struct Model {
    disk: FakeDisk,
    rng: Rng,
    /// Number of the next release.
    next: u64,
    /// Releases that fail from now on.
    broken: Vec<u64>,
    /// Whether the camera is away, so that nothing at all works.
    outage: bool,
    /// What the newest start runs, for as long as it does: its slot, its number, whether it has shown its frames.
    runs: Option<(Option<Slot>, u64, bool)>,
    /// The release that has shown its frames last.
    shown: u64,
    /// As far as the state has kept it.
    worked: u64,
    /// Releases whose newest start has shown nothing, and that nobody stopped.
    dark: Vec<u64>,
    /// Releases that were good; those that the state has told so without being lost since.
    proven: Vec<u64>,
    remembered: Vec<u64>,
    /// Whether [`Model::runs`] is on record: neither power nor the state was lost since it was started.
    recorded: bool,
    /// Releases whose starts have ended badly one after the other, with nothing else between, the newest last.
    failed: Vec<(Option<Slot>, u64)>,
    /// Starts of each release on trial that nobody stopped.
    tried: Vec<u64>,
    /// Releases that end badly right after their frames.
    fleeting: Vec<u64>,
    log: Vec<String>,
}

impl Model {
    fn new(seed: u64) -> Model {
        let (proven, remembered, broken, log) = (vec![], vec![], vec![], vec![]);
        let (recorded, failed, tried, fleeting) = (false, vec![], vec![], vec![]);
        let mut rng = Rng(seed * 7919 + 1);
        (0..4).for_each(|_| _ = rng.below(2));
        let disk = FakeDisk::new();
        Model {
            disk,
            rng,
            next: 1,
            broken,
            outage: false,
            runs: None,
            shown: 0,
            worked: 0,
            dark: vec![],
            proven,
            remembered,
            recorded,
            failed,
            tried,
            fleeting,
            log,
        }
    }

    fn state(&self) -> State {
        Slots::new(self.disk.clone(), ROOT).load().unwrap()
    }

    fn held(&self, slot: Slot) -> Option<u64> {
        serial_in(&mut self.disk.clone(), slot)
    }

    fn works(&self, serial: u64) -> bool {
        !self.outage && !self.broken.contains(&serial)
    }

    /// Slots that are whole, have been good, and that nobody went back from.
    fn to_fall_back_on(&self) -> Vec<Slot> {
        let state = self.state();
        let is_one = |slot: &Slot| {
            matches!(state.slot(*slot).status, Status::Good | Status::Pending { .. })
                && self.held(*slot).is_some_and(|serial| self.remembered.contains(&serial))
        };
        [Slot::A, Slot::B].into_iter().filter(is_one).collect()
    }

    fn drive(&mut self, event: Event, brought: Option<u64>) -> Option<Outcome> {
        let mut release = brought.map(fake);
        let disk = std::mem::take(&mut self.disk);
        let (disk, outcome) = drive(disk, event, release.as_mut().map(|release| release as &mut dyn Source));
        self.disk = disk;
        outcome
    }

    /// Loses power before some change that `event` makes, or not at all.
    fn drive_and_cut(&mut self, event: Event, brought: Option<u64>) -> Option<Outcome> {
        if self.rng.below(3) == 0 {
            let changes = changes_of(&self.disk, &event, brought);
            self.disk.cut_at = Some(self.disk.changes + self.rng.below(changes + 1));
        }
        let outcome = self.drive(event, brought);
        self.disk.cut_at = None;
        if !self.disk.is_dead() {
            return outcome;
        }
        self.log.push("power is cut".into());
        (self.disk, self.runs) = (self.disk.after_power_cut(&mut self.rng), None);
        self.recorded = false;
        self.failed.clear();
        None
    }

    fn deploy(&mut self) {
        let (before, runs) = (self.to_fall_back_on(), self.runs);
        self.failed.clear();
        let old = self.state();
        let worked = [Slot::A, Slot::B].into_iter().find(|slot| {
            let counts = match old.slot(*slot).status {
                Status::Good => true,
                Status::Aside { .. } => old.fallen_from() == Some(slot.other()),
                _ => false,
            };
            counts && self.remembered.contains(&self.worked) && self.held(*slot) == Some(self.worked)
        });
        let serial = self.next;
        self.next += 1;
        let outcome = self.drive_and_cut(Event::Install { downgrade: false }, Some(serial));
        self.log.push(format!("release {serial}: {:?}", outcome.map(|outcome| (outcome.refused, outcome.reports))));
        // What has shown its frames last stays, whatever it stands in for.
        let state = self.state();
        let stays = [Slot::A, Slot::B].into_iter().any(|slot| state.may_run(slot) && self.held(slot) == Some(self.shown));
        assert!(stays || before.is_empty() || !self.to_fall_back_on().is_empty(), "the last release that was good is gone");
        let works = runs.and_then(|(slot, serial, shown)| slot.filter(|_| shown).map(|slot| (slot, serial)));
        let written = works.filter(|(slot, serial)| before.contains(slot) && self.held(*slot) != Some(*serial));
        assert!(written.is_none(), "{written:?} was written, and what runs from it works");
        // What has worked last gives way to nothing but a good one that its newest start does not speak against.
        if let Some(slot) = worked.filter(|slot| self.held(*slot) != Some(self.worked)) {
            let stays = self.held(slot.other()).filter(|_| old.slot(slot.other()).status == Status::Good);
            let is_better = stays.is_some_and(|stays| self.remembered.contains(&stays) && !self.dark.contains(&stays));
            assert!(is_better, "release {} has worked last and is gone, release {stays:?} stays: {old:?}", self.worked);
        }
    }

    /// Ends what runs: stopped by somebody, or by itself; soon after its frames where it has shown them for no long.
    fn end(&mut self, how: Ending) {
        let Some((slot, serial, _)) = self.runs.take() else { return };
        self.log.push(format!("release {serial} ends: {how:?}"));
        let is_stopped = how == Ending::Stopped;
        let digest = slot.map(|_| fake(serial).verify().unwrap().digest());
        let on_trial = self.on_trial(slot, serial);
        self.drive(Event::Ended { slot, digest, how, worked_s: 0 }, None);
        match is_stopped {
            true => {
                self.recorded = false;
                self.dark.retain(|dark| *dark != serial);
            }
            false => self.failed.push((slot, serial)),
        }
        if let Some(tried) = self.tried.iter().position(|tried| *tried == serial).filter(|_| on_trial && is_stopped) {
            self.tried.swap_remove(tried);
        }
    }

    fn on_trial(&self, slot: Option<Slot>, serial: u64) -> bool {
        let state = self.state();
        slot.is_some_and(|slot| {
            matches!(state.slot(slot).status, Status::Pending { .. })
                && state.slot(slot).release.as_ref().is_some_and(|release| release.serial == serial)
        })
    }

    fn boot(&mut self) {
        match self.rng.below(3) {
            0 => self.end(Ending::Stopped),
            // Counted as it began, or as what ends right after its frames.
            _ if let Some((_, serial, shown)) = self.runs => match shown {
                true if self.fleeting.contains(&serial) => self.end(Ending::Early),
                true => self.failed.clear(),
                false => self.end(Ending::Other),
            },
            _ => {}
        }
        self.runs = None;
        let before = self.state();
        let Some(outcome) = self.drive_and_cut(Event::Boot, None) else {
            // It may have been counted before.
            let serials = [&before.a, &before.b].map(|slot| slot.release.as_ref().map(|release| release.serial));
            self.tried.extend(serials.into_iter().flatten());
            return;
        };
        let run = outcome.run.expect("something always runs");
        let serial = match run {
            Some(slot) => self.held(slot).expect("what is started is whole"),
            None => 0,
        };
        self.log.push(format!("{run:?} runs with release {serial}: {:?}", outcome.reports));
        let state = self.state();
        assert_eq!(state.runs(), run, "the state says what runs");
        let told = running(&state);
        assert!(told.split(", in place of").next() == Some(name_of(run).as_str()), "{told}");
        (self.runs, self.recorded) = (Some((run, serial, false)), true);
        self.dark.retain(|dark| *dark != serial);
        self.dark.push(serial);
        if self.on_trial(run, serial) {
            self.tried.push(serial);
        }
        // What ends badly each time, after frames or without, leaves the other one its turn.
        let in_a_row = self.failed.iter().rev().take_while(|failed| **failed == (run, serial)).count();
        let other = run.is_some_and(|slot| before.slot(slot.other()).status == Status::Good && self.held(slot.other()).is_some());
        assert!(!other || in_a_row < 3, "{run:?} is started again after {in_a_row} bad ends, and the other one never");
        let is_good = run.is_some_and(|slot| before.slot(slot).status == Status::Good);
        let is_slow = !is_good || self.failed.len() < 6 || in_a_row == 0 || !before.patience().is_zero();
        assert!(is_slow, "starts do not get slower: {before:?}");
        if self.works(serial) && self.rng.below(4) > 0 {
            self.frames();
        }
    }

    /// What runs shows its frames, for long or not.
    fn frames(&mut self) {
        let Some((run, serial, _)) = self.runs else { return };
        let long = self.rng.below(2) == 0;
        self.log.push(format!("release {serial} shows its frames{}", if long { " for long" } else { "" }));
        let Some(slot) = run else {
            self.drive(Event::PackagedWorks, None);
            self.failed.clear();
            if long && self.drive(Event::PackagedSteady, None).unwrap().refused.is_none() {
                self.runs = None;
            }
            return;
        };
        let release = fake(serial).verify().unwrap();
        self.runs = Some((run, serial, true));
        if !self.fleeting.contains(&serial) {
            self.failed.clear();
        }
        let told = self.drive_and_cut(Event::Healthy { slot, digest: release.digest(), frames: 50, ended: false }, None);
        match told {
            Some(outcome) if outcome.refused.is_some() => {}
            // Where power is cut, the state may have kept it.
            told => {
                self.worked = told.map_or(0, |_| serial);
                self.dark.retain(|dark| *dark != serial);
            }
        }
        let state = self.state();
        if state.slot(slot).release.as_ref() != Some(&release) {
            return;
        }
        self.shown = serial;
        if state.slot(slot).status == Status::Good {
            self.proven.push(serial);
            self.remembered.push(serial);
        }
        if self.runs.is_some() && long && state.steady_after().is_some() {
            let gives_way = state.fallen_from().is_some();
            self.drive_and_cut(Event::Steady { slot, digest: release.digest() }, None);
            self.runs = self.runs.filter(|_| !gives_way);
        }
    }

    fn rot(&mut self) {
        let slot = [Slot::A, Slot::B][self.rng.below(2)];
        let name = ["bundle.esb", "edge-seg", "config.toml"][self.rng.below(3)];
        if self.held(slot).is_some() {
            self.log.push(format!("{name} rots in slot {}", slot.name()));
            self.disk.rot(&PathBuf::from(ROOT).join("slots").join(slot.name()).join(name));
        }
    }

    /// One copy of the state, or both: what was good is then no longer known, nor where power was cut between the two copies.
    fn tear(&mut self) {
        let which = 1 + self.rng.below(3);
        let paths = ["state.json", "state.copy.json"].map(|name| PathBuf::from(ROOT).join(name));
        let copies = paths.each_ref().map(|path| self.disk.read(path).ok());
        for (path, _) in
            paths.iter().zip(&copies).enumerate().filter(|(i, (_, copy))| which >> i & 1 == 1 && copy.is_some()).map(|(_, both)| both)
        {
            self.log.push(format!("{} is torn", path.display()));
            self.disk.write(path, &mut &b"{\"format\":"[..], Kind::Plain).unwrap();
            self.disk.sync_file(path).unwrap();
        }
        if which == 3 || copies[0] != copies[1] {
            self.remembered.clear();
            self.recorded = false;
            self.failed.clear();
        }
    }

    fn turn(&mut self) {
        match self.rng.below(20) {
            0..=2 => {
                self.deploy();
                // Not always with a restart.
                if self.rng.below(3) > 0 {
                    self.boot();
                }
            }
            3..=9 => self.boot(),
            10..=11 => self.frames_where_it_works(),
            12 => {
                let serial = self.runs.map_or(self.next, |(_, serial, _)| serial);
                if serial > 0 && self.rng.below(2) == 0 {
                    self.log.push(format!("release {serial} is broken"));
                    self.broken.push(serial);
                } else if serial > 0 {
                    self.log.push(format!("release {serial} ends right after its frames"));
                    self.fleeting.push(serial);
                }
            }
            13 => {
                self.log.push("all that was broken is mended".into());
                self.broken.clear();
                self.fleeting.clear();
                self.failed.clear();
            }
            14 => {
                self.outage = !self.outage;
                self.failed.clear();
                self.log.push(format!("the camera is away: {}", self.outage));
                // It stays away for a few starts, and somebody deploys what is to help.
                if self.outage && self.rng.below(2) == 0 {
                    (0..self.rng.below(6)).for_each(|_| self.boot());
                    self.deploy();
                }
            }
            15 => {
                self.failed.clear();
                let outcome = self.drive_and_cut(Event::Rollback, None);
                self.log.push(format!("rollback: {:?}", outcome.map(|outcome| (outcome.refused, outcome.reports))));
                self.boot();
            }
            16 => {
                self.failed.clear();
                let before = self.to_fall_back_on();
                let outcome = self.drive_and_cut(Event::Prune, None);
                self.log.push(format!("prune: {:?}", outcome.map(|outcome| (outcome.refused, outcome.reports))));
                let current = self.state().current;
                assert!(current.is_none() || before.is_empty() || !self.to_fall_back_on().is_empty(), "all that was good is pruned");
            }
            17..=18 => {
                self.failed.clear();
                self.rot();
            }
            _ => self.tear(),
        }
    }

    fn frames_where_it_works(&mut self) {
        if self.runs.is_some_and(|(_, serial, _)| self.works(serial)) {
            self.frames();
        }
    }

    fn check(&self) {
        let state = self.state();
        for slot in [Slot::A, Slot::B] {
            let held = self.held(slot);
            match &state.slot(slot).status {
                Status::Good => {
                    let serial = state.slot(slot).release.as_ref().unwrap().serial;
                    assert!(self.proven.contains(&serial), "release {serial} is good and never showed it");
                }
                Status::Bad { why } => {
                    let named = state.slot(slot).release.as_ref().map(|release| release.serial);
                    let ran = held.is_some_and(|serial| named == Some(serial) && self.remembered.contains(&serial));
                    assert!(!ran, "release {held:?} is whole, was good, and is called bad: {why}");
                    if why.contains("in 3 starts")
                        && let Some(serial) = named
                    {
                        let tried = self.tried.iter().filter(|tried| **tried == serial).count();
                        assert!(tried >= 3 || !self.recorded, "release {serial} has had {tried} starts: {why}");
                    }
                }
                _ => {}
            }
        }
        // What runs and works did not fall.
        if let Some((Some(slot), _, true)) = self.runs.filter(|_| self.recorded && !state.packaged.stands_in) {
            assert_ne!(state.fallen_from(), Some(slot), "slot {} works: {}", slot.name(), running(&state));
        }
        // What is told to run is what runs, whatever was installed or gone back to since.
        if let Some((slot, ..)) = self.runs.filter(|_| self.recorded) {
            let (told, is) = (running(&state), name_of(slot));
            assert!(told.starts_with(&is) || told.starts_with(&format!("what {is} held before")), "{is} runs, and it is told: {told}");
        }
    }
}

#[test]
fn under_random_schedules_there_is_always_a_way_back_and_what_runs_is_told() {
    for seed in 1..=200 {
        let mut model = Model::new(seed);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..60 {
                model.turn();
                model.check();
            }
        }));
        let state = model.state();
        let slots = [Slot::A, Slot::B].map(|slot| describe(&state, slot));
        assert!(done.is_ok(), "seed {seed}:\n{}\n{} {slots:?}", model.log.join("\n"), running(&state));
    }
}

/// Random events, answers and errors: the rules alone, without a disk.
#[test]
fn the_rules_never_touch_what_runs_and_never_trust_without_proof() {
    let mut rng = Rng(42);
    for _ in 0..2000 {
        let mut state = State::new(Trial { starts: 2, frames: 10, ..Trial::default() });
        for _ in 0..60 {
            let event = match (state.work, rng.below(10)) {
                (Work::Idle, 0..=2) => Event::Install { downgrade: rng.below(2) == 0 },
                (Work::Idle, 3..=5) => {
                    if rng.below(3) == 0 {
                        state.try_wanted();
                    }
                    Event::Boot
                }
                (Work::Idle, 6) => {
                    let slot = [Slot::A, Slot::B][rng.below(2)];
                    let digest = state.slot(slot).release.as_ref().map_or("none".into(), Release::digest);
                    Event::Healthy { slot, digest, frames: rng.below(20) as u64, ended: rng.below(4) == 0 }
                }
                (Work::Idle, 7) if rng.below(2) == 0 => {
                    let slot = [Slot::A, Slot::B][rng.below(2)];
                    Event::Steady { slot, digest: state.slot(slot).release.as_ref().map_or("none".into(), Release::digest) }
                }
                (Work::Idle, 7) if rng.below(2) == 0 => Event::Worked { seconds: 600 },
                (Work::Idle, 7) if rng.below(2) == 0 => {
                    let slot = [None, Some(Slot::A), Some(Slot::B)][rng.below(3)];
                    let digest = slot.and_then(|slot| state.slot(slot).release.as_ref()).map(Release::digest);
                    let how = [Ending::Stopped, Ending::Early, Ending::Short { why: "short".into() }, Ending::Other][rng.below(4)].clone();
                    Event::Ended { slot, digest, how, worked_s: rng.below(2) as u64 }
                }
                (Work::Idle, 7) => Event::MarkGood,
                (Work::Idle, 8) => Event::Rollback,
                (Work::Idle, _) => Event::Prune,
                (_, 0) => Event::Failed { why: "error".into() },
                (Work::Verifying { .. }, _) => Event::Verified(release_of("m", rng.below(9) as u64, &fake(1).parts).unwrap()),
                _ => Event::Done,
            };
            let before = state.clone();
            let proven = match &event {
                Event::MarkGood => before.current,
                Event::Healthy { slot, frames, ended, .. } if *frames >= 10 || (*ended && *frames > 0) => Some(*slot),
                _ => None,
            };
            let boots = event == Event::Boot;
            let (next, actions) = step(state, event);
            if boots {
                let runs = match next.work {
                    Work::Probing(slot) => Some(slot),
                    _ => None,
                };
                assert_eq!(before.next_start(), runs, "what is foretold is what starts: {before:?}");
            }
            for action in &actions {
                if let Action::Write(slot) | Action::Erase(slot) = action {
                    assert_ne!(next.current, Some(*slot), "{before:?} -> {actions:?}");
                }
            }
            for slot in [Slot::A, Slot::B] {
                let newly = next.slot(slot).status == Status::Good && before.slot(slot).status != Status::Good;
                assert!(!newly || proven == Some(slot), "{before:?} -> {next:?}");
            }
            assert!(next.floor >= before.floor);
            let written = actions.iter().position(|a| matches!(a, Action::Write(_)));
            let saved = actions.iter().position(|a| *a == Action::Save);
            assert!(written.is_none() || saved < written, "the target is marked bad before it is written");
            state = next;
        }
    }
}
