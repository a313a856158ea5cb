//! Fetches releases from a plain web server or a folder, for boards that nobody can reach: the index is signed, and no port is open here.
//!
//! `index.json` names the files for boards by length and SHA-256; `index.json.minisig` signs it. Nothing of it is parsed before a trusted key
//! has signed it, nothing that it names is used before its digest is right, and bundle, program and configuration are held against their
//! own signatures as in every installation.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use edge_seg_bundle::date::Date;
use edge_seg_bundle::files::hex;
use edge_seg_bundle::trust::Trust;
use edge_seg_bundle::{Header, MANIFEST_MAX_BYTES, MANIFEST_OFFSET};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::board::Board;
use crate::install::{self, Request, board_names, now, of_file};
use crate::paths::Paths;
use crate::precheck;
use crate::service::open_named;
use crate::slots::machine::{ALLOW_DOWNGRADE, BUNDLE, CONFIG, GivenUp, PROGRAM, Trial};
use crate::slots::{Disk, Outcome, RESERVE_BYTES, RealDisk, Release, Slot, State, TOO_FULL, digest_of};

/// Name of the index.
pub const INDEX: &str = "index.json";
/// Version of the index that is read and written.
pub const FORMAT: u32 = 1;
const INDEX_MAX_BYTES: u64 = 4 << 20;
const SIGNATURE_MAX_BYTES: u64 = 1 << 16;
/// Larger files are none of a release.
const FILE_MAX_BYTES: u64 = 4 << 30;
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// What has not arrived by then is gone on with at the next pull.
const BODY_LIMIT: Duration = Duration::from_secs(3600);
/// How much of a bundle's beginning is asked for at first.
const HEAD_BYTES: usize = 1 << 16;
/// Files that a release may have, by their names in the index.
const NAMES: [&str; 5] = [BUNDLE, PROGRAM, "edge-seg.minisig", CONFIG, "config.toml.minisig"];

/// What a server offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// [`FORMAT`].
    pub format: u32,
    /// Counts up: a board refuses a lower one than it has seen.
    pub number: u64,
    /// Last day on which it counts.
    pub expires: Option<String>,
    /// The first that is for a board is that board's.
    pub releases: Vec<Offer>,
}

/// A release for some boards.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// Boards by their models or builds; none means any.
    pub boards: Vec<String>,
    /// Boards by their names; none means any.
    pub hosts: Vec<String>,
    /// The model's name and release number, for people.
    pub title: String,
    /// How it proves itself.
    pub trial: Trial,
    /// Its files.
    pub files: Vec<Listed>,
}

/// A file of an offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// What it is: its name in a slot, with `.minisig` for its signature.
    pub name: String,
    /// Its name beside the index.
    pub file: String,
    /// Length.
    pub bytes: u64,
    /// SHA-256.
    pub sha256: String,
}

/// Where an index and its files come from.
#[derive(Debug, Clone)]
pub enum From {
    /// A web server's folder.
    Web(String),
    /// A folder, such as a USB stick's.
    Folder(PathBuf),
}

impl From {
    /// A web address, or the path of a folder.
    ///
    /// # Errors
    /// When it is an address of another kind.
    pub fn new(text: &str) -> Result<From> {
        match text.split_once("://").map(|(scheme, rest)| (scheme.to_ascii_lowercase(), rest)) {
            Some((scheme, rest)) if ["http", "https"].contains(&&scheme[..]) => {
                Ok(From::Web(format!("{scheme}://{}", rest.trim_end_matches('/'))))
            }
            // The rest may hold a password.
            Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c)) => bail!(
                "expected http://SERVER/FOLDER, https://SERVER/FOLDER or the path of a folder, as /media/usb, found an address of {scheme}:"
            ),
            _ => Ok(From::Folder(text.into())),
        }
    }

    /// A file from `start` on, no more than `most` bytes where the server knows ranges, and where it really begins.
    fn open(&self, name: &str, start: u64, most: Option<u64>) -> Result<(u64, Box<dyn Read>)> {
        match self {
            From::Folder(folder) => {
                let mut file = open_named(&folder.join(name), FILE_MAX_BYTES)?;
                file.seek(SeekFrom::Start(start))?;
                Ok((start, Box::new(file)))
            }
            From::Web(address) => {
                let url = format!("{address}/{name}");
                let agent: ureq::Agent = ureq::Agent::config_builder()
                    .timeout_connect(Some(CONNECT_LIMIT))
                    .timeout_recv_response(Some(CONNECT_LIMIT))
                    .timeout_recv_body(Some(BODY_LIMIT))
                    .build()
                    .into();
                let mut request = agent.get(&url);
                if start > 0 || most.is_some() {
                    let last = most.map_or_else(String::new, |most| (start + most - 1).to_string());
                    request = request.header("range", format!("bytes={start}-{last}"));
                }
                let answer = request.call().with_context(|| url.clone())?;
                // A server that knows no ranges begins at the beginning.
                let begin = if answer.status().as_u16() == 206 { start } else { 0 };
                Ok((begin, Box::new(answer.into_body().into_reader())))
            }
        }
    }

    fn read(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(name, 0, None)?.1.take(most + 1).read_to_end(&mut bytes).with_context(|| name.to_owned())?;
        ensure!(bytes.len() as u64 <= most, "{name}: expected at most {most} bytes, found more");
        Ok(bytes)
    }
}

/// What came of a pull.
#[derive(Debug)]
pub enum Pulled {
    /// Nothing was to be done, and why.
    Nothing(String),
    /// A release was installed, or refused.
    Installed(Box<Outcome>),
}

/// What is known of earlier pulls, and its copy, in the order in which they are written and looked for.
const SEEN: [&str; 2] = ["pull.json", "pull.copy.json"];

/// What is known of earlier pulls.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    number: u64,
    /// Last day of the newest index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Refused>,
}

impl Seen {
    /// Reads what is known; tells what is wrong with its files, each in words. Where none can be read, nothing is known, and serials alone
    /// keep what is old away.
    pub fn read(disk: &mut RealDisk, state: &Path) -> (Seen, Vec<String>) {
        let (mut seen, mut wrong) = (None, Vec::new());
        for path in SEEN.map(|name| state.join(name)) {
            let read = disk.read(&path).and_then(|bytes| Ok(serde_json::from_slice::<Seen>(&bytes)?));
            match read {
                Ok(read) => seen = seen.or(Some(read)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => wrong.push(format!("{}: {error}", path.display())),
            }
        }
        (seen.unwrap_or_default(), wrong)
    }

    /// What is wrong with its files, in words.
    pub fn told(&self, wrong: &[String]) -> String {
        let then = if self.number > 0 { "the other copy is used" } else { "an index older than those before would not be noticed" };
        format!("{}: {then}", wrong.join("; "))
    }
}

/// What was refused here, so that it is not fetched again for the same answer.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// By [`circumstances`].
    under: String,
    pub why: String,
}

/// Looks at an index and installs what it offers to this board, called `host`. `again` tries what failed here before.
///
/// # Errors
/// When no key is trusted, the index cannot be had or is refused, or a file is not what it says.
pub fn pull(paths: &Paths, board: &Board, from: &From, host: &str, again: bool) -> Result<Pulled> {
    pulled(paths, board, from, host, again).map_err(|error| {
        let kind = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<io::Error>().map(io::Error::kind);
        match error.chain().any(|cause| kind(cause) == Some(io::ErrorKind::StorageFull)) {
            true => error.context(format!("{TOO_FULL}: {PRUNE}")),
            false => error,
        }
    })
}

const PRUNE: &str = "sudo edge-seg-fw prune frees the slot that does not run";

fn pulled(paths: &Paths, board: &Board, from: &From, host: &str, again: bool) -> Result<Pulled> {
    paths.check_root()?;
    ensure!(
        paths.demands_signatures()?,
        "{}: expected a trusted key: what is fetched from elsewhere is installed by its signature alone",
        paths.keys.display()
    );
    let trust = Trust::read(&paths.keys)?.installing_at(now());
    let bytes = from.read(INDEX, INDEX_MAX_BYTES)?;
    let signature = from.read(&format!("{INDEX}.minisig"), SIGNATURE_MAX_BYTES)?;
    if let Err(why) = trust.check_signature(&signature, &bytes) {
        bail!("{INDEX}: {}", of_file(&why));
    }
    let index: Index = serde_json::from_slice(&bytes).with_context(|| INDEX.to_owned())?;
    let mut disk = paths.disk();
    let mut seen = accept(&index, &mut disk, paths)?;
    let names = board_names(board);
    let is_ours = |offer: &&Offer| {
        (offer.boards.is_empty() || offer.boards.iter().any(|board| names.contains(&board.as_str())))
            && (offer.hosts.is_empty() || offer.hosts.iter().any(|name| name == host))
    };
    let Some(offer) = index.releases.iter().find(is_ours) else {
        return Ok(Pulled::Nothing(format!("nothing is offered to {host}, a {}", board.key)));
    };
    check(offer)?;
    let state = paths.slots().load()?;
    let is_in = |slot: Slot| state.slot(slot).release.as_ref().is_some_and(|release| is_held(offer, release));
    if let Some(slot) = state.current.filter(|slot| is_in(*slot)) {
        if seen.refused.take().is_some() {
            keep(&seen, &mut disk, paths)?;
        }
        return Ok(Pulled::Nothing(format!("slot {} runs {} already", slot.name(), offer.title)));
    }
    // Installed once more it would be on trial, and lost in an outage that it has nothing to do with.
    if let Some(slot) = state.fallen_from().filter(|slot| !again && is_in(*slot)) {
        return Ok(Pulled::Nothing(format!("slot {} holds {} already, and is tried again by itself", slot.name(), offer.title)));
    }
    if let Some(GivenUp { why, .. }) = state.given_up.iter().find(|given_up| !again && is_held(offer, &given_up.release)) {
        return Ok(Pulled::Nothing(format!("{} failed here before ({why}): --again tries it once more", offer.title)));
    }
    let under = circumstances(paths, offer, &state)?;
    if let Some(Refused { why, .. }) = seen.refused.as_ref().filter(|refused| !again && refused.under == under) {
        return Ok(Pulled::Nothing(format!("{} was refused here before ({why}): --again tries it once more", offer.title)));
    }
    let folder = paths.state.join("pull");
    let lock = disk.open_lock(&paths.state.join("pull.lock"))?;
    ensure!(lock.try_lock().is_ok(), "another pull is under way");
    disk.make_folder(&folder).with_context(|| format!("{}", folder.display()))?;
    sweep(&mut disk, &folder, offer)?;
    let known: Vec<_> = offer.files.iter().map(|file| install::known(paths, &state, &file.name, &file.sha256)).collect();
    let remember = |why: &str, seen: &mut Seen| {
        seen.refused = Some(Refused { under: under.clone(), why: why.to_owned() });
        keep(seen, &mut paths.disk(), paths)
    };
    let begun = offer.files.iter().any(|file| folder.join(part_name(file)).exists());
    // A download that goes on was asked about when it began.
    if !begun && let Some(why) = foretold(paths, board, from, offer)? {
        remember(&why, &mut seen)?;
        bail!("refused, and not fetched: {}: {why}", offer.title);
    }
    room(&mut disk, &folder, offer, &known)?;
    for (file, known) in offer.files.iter().zip(known) {
        fetch(from, &disk, &folder, file, known).with_context(|| file.file.clone())?;
    }
    let at = |name: &str| offer.files.iter().any(|file| file.name == name).then(|| folder.join(name));
    let request = Request {
        bundle: at(BUNDLE),
        binary: at(PROGRAM),
        packaged: false,
        config: at(CONFIG),
        downgrade: at(BUNDLE).is_none(),
        trial: offer.trial,
        own: true,
    };
    let mut outcome = install::install(paths, board, &request)?;
    outcome.refused = outcome.refused.map(advised);
    let began = [&outcome.state.a, &outcome.state.b].iter().any(|slot| slot.release.as_ref().is_some_and(|held| is_held(offer, held)));
    // What a disk could not take may find room the next time.
    if let Some(why) = outcome.refused.as_ref().filter(|why| !began && !why.contains(TOO_FULL)) {
        remember(why, &mut seen)?;
    }
    for name in disk.list(&folder)? {
        disk.remove(&folder.join(name))?;
    }
    Ok(Pulled::Installed(Box::new(outcome)))
}

/// All that a refusal depends on: what is offered, the keys, what is installed and packaged, and this tool.
fn circumstances(paths: &Paths, offer: &Offer, state: &State) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(offer)?);
    let mut keys: Vec<PathBuf> = match fs::read_dir(&paths.keys) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?,
        Err(_) => vec![paths.keys.clone()],
    };
    keys.sort();
    for key in keys {
        hash.update(format!("{}\n", key.display()));
        hash.update(fs::read(&key).unwrap_or_default());
    }
    let held = [&state.a, &state.b].map(|slot| slot.release.as_ref().map(Release::digest));
    let packaged = fs::metadata(&paths.packaged).ok().map(|meta| (meta.len(), meta.modified().ok()));
    hash.update(format!("{held:?} {:?} {} {packaged:?} {}", state.current, state.floor, env!("CARGO_PKG_VERSION")));
    Ok(hex(&hash.finalize()))
}

/// Why an offer would be refused, as its bundle's first bytes and its configuration tell.
fn foretold(paths: &Paths, board: &Board, from: &From, offer: &Offer) -> Result<Option<String>> {
    let listed = |name: &str| offer.files.iter().find(|file| file.name == name);
    let small = |name: &str, most: u64| -> Result<Vec<u8>> {
        let Some(file) = listed(name) else { return Ok(Vec::new()) };
        let bytes = from.read(&file.file, most)?;
        let (_, sha256) = digest_of(bytes.as_slice())?;
        ensure!(sha256 == file.sha256, "{}: expected SHA-256 {}, found {sha256}", file.file, file.sha256);
        Ok(bytes)
    };
    let mut head = Vec::new();
    if let Some(bundle) = listed(BUNDLE) {
        let most = MANIFEST_OFFSET + MANIFEST_MAX_BYTES;
        // A manifest is seldom as long as it may be.
        let mut wanted = HEAD_BYTES;
        while head.len() < most && Header::parse("the bundle", &head).is_err() {
            let before = head.len();
            let (_, source) = from.open(&bundle.file, 0, Some(wanted as u64))?;
            head.clear();
            source.take(wanted as u64).read_to_end(&mut head).with_context(|| bundle.file.clone())?;
            if head.len() <= before {
                break;
            }
            wanted = (wanted * 4).min(most);
        }
    }
    let config = small(CONFIG, install::LARGEST_CONFIG)?;
    let signature = small("config.toml.minisig", SIGNATURE_MAX_BYTES)?;
    let signature = (!signature.is_empty()).then(|| String::from_utf8_lossy(&signature).into_owned());
    let named = offer.files.iter().filter(|file| !file.name.ends_with(".minisig"));
    let files: Vec<_> = named.map(|file| json!({ "name": file.name, "bytes": file.bytes, "sha256": file.sha256 })).collect();
    let line = json!({
        "head_bytes": head.len(), "config_bytes": config.len(), "config_signature": signature, "downgrade": head.is_empty(), "files": files,
    });
    let question = [format!("{line}\n").as_bytes(), &head, &config].concat();
    // What is here already counts as room there, and is looked at when that is known.
    Ok(precheck::answer(paths, board, question.as_slice())?.filter(|why| !why.contains(TOO_FULL)).map(advised))
}

/// A refusal with advice that whoever publishes can follow.
fn advised(why: String) -> String {
    why.replace(ALLOW_DOWNGRADE, "publish it under a higher number: edge-seg-fw pack BUNDLE --serial N")
}

/// Whether what has to be fetched fits beside both slots: the one that is not running is the way back until all is here.
fn room(disk: &mut RealDisk, folder: &Path, offer: &Offer, known: &[Option<PathBuf>]) -> Result<()> {
    let mut needed = RESERVE_BYTES;
    for (file, _) in offer.files.iter().zip(known).filter(|(_, known)| known.is_none()) {
        let length = |name: &str| fs::metadata(folder.join(name)).map_or(0, |meta| meta.len());
        needed += file.bytes.saturating_sub(length(&part_name(file)));
        // It is tried before a slot shares it.
        needed += if file.name == PROGRAM { file.bytes } else { 0 };
    }
    let free = disk.free_bytes(folder).with_context(|| format!("{}", folder.display()))?;
    ensure!(free >= needed, "{}: {TOO_FULL}: {} needs {needed} bytes more, {free} are free: {PRUNE}", folder.display(), offer.title);
    Ok(())
}

/// Holds an index against the day and the highest number that was seen here, and remembers its number.
fn accept(index: &Index, disk: &mut RealDisk, paths: &Paths) -> Result<Seen> {
    ensure!(index.format == FORMAT, "{INDEX}: expected format {FORMAT}, found {}", index.format);
    if let Some(day) = &index.expires {
        let last = Date::parse(day).with_context(|| format!("{INDEX}: expires: expected a day as YYYY-MM-DD, found {day:?}"))?;
        // A clock that was never set is years behind, and refuses nothing.
        ensure!(now() / 86_400 <= last.days(), "{INDEX}: it counted until {day}: the server, or somebody between, holds newer ones back");
    }
    let (mut seen, wrong) = Seen::read(disk, &paths.state);
    if !wrong.is_empty() {
        eprintln!("edge-seg-fw: {}", seen.told(&wrong));
    }
    ensure!(index.number >= seen.number, "{INDEX}: expected number {} or higher, found {}: an old index", seen.number, index.number);
    if index.number > seen.number || index.expires != seen.expires || !wrong.is_empty() {
        (seen.number, seen.expires) = (index.number, index.expires.clone());
        keep(&seen, disk, paths)?;
    }
    Ok(seen)
}

fn keep(seen: &Seen, disk: &mut RealDisk, paths: &Paths) -> Result<()> {
    let _lock = install::lock(paths)?;
    let bytes = serde_json::to_vec(seen)?;
    SEEN.map(|name| paths.state.join(name))
        .iter()
        .try_for_each(|path| disk.replace(path, &bytes).with_context(|| format!("{}", path.display())))
}

/// Holds an offer to be one that can be installed.
fn check(offer: &Offer) -> Result<()> {
    ensure!(!offer.files.is_empty(), "{INDEX}: {}: expected files, found none", offer.title);
    for (i, file) in offer.files.iter().enumerate() {
        let place = || format!("{INDEX}: {}: file {:?}", offer.title, file.file);
        ensure!(NAMES.contains(&file.name.as_str()), "{}: expected one of {}, found {:?}", place(), NAMES.join(", "), file.name);
        ensure!(!offer.files[..i].iter().any(|other| other.name == file.name), "{}: expected each name once", place());
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let is_name = !file.file.is_empty() && !file.file.starts_with('.') && file.file.chars().all(plain);
        ensure!(is_name, "{}: expected a name of letters, digits, - _ and .", place());
        ensure!(file.bytes <= FILE_MAX_BYTES, "{}: expected at most {FILE_MAX_BYTES} bytes", place());
        let is_digest = file.sha256.len() == 64 && file.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        ensure!(is_digest, "{}: expected a SHA-256", place());
    }
    Ok(())
}

/// Whether a release is what is offered.
fn is_held(offer: &Offer, release: &Release) -> bool {
    let mut named = offer.files.iter().filter(|file| !file.name.ends_with(".minisig"));
    named.all(|file| release.files.iter().any(|held| held.name == file.name && held.sha256 == file.sha256))
}

/// Removes what an earlier pull has left that is none of this offer's.
fn sweep(disk: &mut RealDisk, folder: &Path, offer: &Offer) -> Result<()> {
    for name in disk.list(folder)? {
        if !offer.files.iter().any(|file| name == part_name(file)) {
            disk.remove(&folder.join(&name))?;
        }
    }
    Ok(())
}

fn part_name(file: &Listed) -> String {
    format!("{}.part", file.sha256)
}

/// Brings a file into the folder under its name, from `known` where this board has it already, else from afar, going on where an earlier
/// pull broke off.
fn fetch(from: &From, disk: &RealDisk, folder: &Path, file: &Listed, known: Option<PathBuf>) -> Result<()> {
    let (part, whole) = (folder.join(part_name(file)), folder.join(&file.name));
    let mut disk = disk.clone();
    if let Some(known) = known
        && disk.share(&known, &whole).is_ok()
    {
        return Ok(());
    }
    // The folder is root's: nobody else has put anything there, and `disk` has held it to be so.
    let mut there = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&part)?;
    let had = there.metadata()?.len();
    let start = if had <= file.bytes { had } else { 0 };
    if start < file.bytes || file.bytes == 0 {
        let (begin, source) = from.open(&file.file, start, None)?;
        there.set_len(begin)?;
        there.seek(SeekFrom::End(0))?;
        // One byte more than it should have is enough to tell.
        io::copy(&mut source.take(file.bytes - begin + 1), &mut there)?;
        there.flush()?;
    }
    there.seek(SeekFrom::Start(0))?;
    let (bytes, sha256) = digest_of(&there)?;
    if bytes < file.bytes {
        bail!("it broke off after {bytes} of {} bytes, the next pull goes on there", file.bytes);
    }
    if (bytes, &sha256) != (file.bytes, &file.sha256) {
        fs::remove_file(&part)?;
        bail!("expected {} bytes with SHA-256 {}, found {bytes} with {sha256}", file.bytes, file.sha256);
    }
    let mode = match file.name.as_str() {
        PROGRAM => 0o755,
        // It may hold passwords.
        CONFIG => 0o600,
        _ => 0o644,
    };
    File::set_permissions(&there, fs::Permissions::from_mode(mode))?;
    disk.rename(&part, &whole)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_other_kinds_are_told_which_are_taken() {
        for text in ["ftp://user:secret@server/x", "file:///media/usb", "sftp://server"] {
            let said = From::new(text).err().unwrap().to_string();
            assert!(said.contains("https://SERVER/FOLDER") && said.contains("/media/usb,") && !said.contains("secret"), "{said}");
        }
        assert!(matches!(From::new("HTTP://server/x/").unwrap(), From::Web(address) if address == "http://server/x"));
        assert!(matches!(From::new("/media/usb").unwrap(), From::Folder(_)));
    }

    #[test]
    fn what_is_known_of_pulls_outlives_a_torn_file_and_ends_no_updates() {
        let root = std::env::temp_dir().join(format!("edge-seg-seen-{}", std::process::id()));
        let paths = Paths::under(&root);
        fs::create_dir_all(&paths.state).unwrap();
        let mut disk = RealDisk::below(&paths.state);
        let index = |number: u64| Index { format: FORMAT, number, expires: Some("2999-01-01".into()), releases: Vec::new() };
        let mut take = |number: u64| accept(&index(number), &mut disk, &paths);
        take(7).unwrap();
        for torn in ["", "{\"num", "[]"] {
            for name in SEEN {
                fs::write(paths.state.join(name), torn).unwrap();
                assert!(take(6).unwrap_err().to_string().contains("an old index"), "{name} holds {torn:?}");
                assert_eq!(take(7).unwrap().number, 7);
                assert!(serde_json::from_slice::<Seen>(&fs::read(paths.state.join(name)).unwrap()).is_ok(), "{name} is mended");
            }
        }
        SEEN.iter().for_each(|name| fs::write(paths.state.join(name), "").unwrap());
        assert_eq!(Seen::read(&mut RealDisk::below(&paths.state), &paths.state).1.len(), 2);
        assert_eq!(take(8).unwrap().number, 8);
        assert!(take(7).is_err());
        // A tool from before wrote one file, and knew no days.
        fs::remove_file(paths.state.join(SEEN[1])).unwrap();
        fs::write(paths.state.join(SEEN[0]), "{\"number\":9}").unwrap();
        let (seen, wrong) = Seen::read(&mut RealDisk::below(&paths.state), &paths.state);
        assert_eq!((seen.number, wrong), (9, Vec::new()));
        fs::remove_dir_all(root).unwrap();
    }
}
