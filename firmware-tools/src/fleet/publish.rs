//! A folder for a web server or a USB stick, from which boards that nobody can reach pull.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use edge_seg_bundle::date::Date;
use edge_seg_bundle::files::{folder_of, replace_file};
use edge_seg_bundle::trust::Trust;
use serde::Serialize;
use serde_json::json;

use super::journal::{self, Journal};
use super::{Fleet, Host};
use crate::deploy::{Brought, OwnFolder, Payload, Release};
use crate::install::{now, of_file};
use crate::keys::{self, Password};
use crate::pull::{FORMAT, INDEX, Index, Listed, Offer};
use crate::slots::digest_of;
use crate::slots::machine::{CONFIG, PROGRAM};

/// What is published.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The bundle and the runtime.
    pub payload: Payload,
    /// With each board's configuration.
    pub configs: bool,
    /// Last day on which the index counts.
    pub expires: Option<Date>,
    /// Password of the key that signs it.
    pub password: Password,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Published {
    /// The index, with all offers.
    #[serde(flatten)]
    pub index: Index,
    /// How many of its offers are those of before, for other boards.
    pub kept: usize,
    /// The highest number of another folder, by the journal, where the folder's own was lower.
    pub after: Option<u64>,
}

/// The index that is there. A torn one is none where everything in it is written `anew`.
fn read_index(path: &Path, anew: bool) -> Result<Option<(Index, Vec<u8>)>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("{}", path.display()))?,
    };
    let place = path.display();
    match serde_json::from_slice(&bytes) {
        Ok(index) => Ok(Some((index, bytes))),
        Err(why) if why.is_syntax() || why.is_eof() => {
            ensure!(anew, "{place}: expected an index, found {} torn bytes: {why}; publish for all boards, or remove it", bytes.len());
            eprintln!("edge-seg-fw: {place}: torn ({why}), and written anew");
            Ok(None)
        }
        Err(why) => Err(why).with_context(|| format!("{place}: expected an index of this version; publish elsewhere, or remove it")),
    }
}

/// The offers of an index for boards other than `hosts`. They are signed anew, so that somebody with the same key must have signed them.
fn kept(index: Index, bytes: &[u8], path: &Path, hosts: &[&Host], trust: &Trust) -> Result<Vec<Offer>> {
    let mut offers = Vec::new();
    for mut offer in index.releases {
        let for_any = offer.hosts.is_empty();
        offer.hosts.retain(|name| !hosts.iter().any(|host| host.name == *name));
        if for_any || !offer.hosts.is_empty() {
            offers.push(offer);
        }
    }
    let names = || offers.iter().flat_map(|offer| offer.hosts.clone()).collect::<Vec<_>>().join(", ");
    if offers.is_empty() {
        return Ok(offers);
    }
    let signature = fs::read(format!("{}.minisig", path.display())).unwrap_or_default();
    if let Err(why) = trust.check_signature(&signature, bytes) {
        bail!(
            "{}: expected a signature by this key, for its offers to {} stay: {}; publish for them too, or remove the index",
            path.display(),
            names(),
            of_file(&why)
        );
    }
    for file in offers.iter().flat_map(|offer| &offer.files) {
        let there = path.with_file_name(&file.file);
        let found = fs::metadata(&there).map_or(0, |meta| meta.len());
        ensure!(
            found == file.bytes,
            "{}: expected {} bytes, which {} names, found {found}; publish for {} too, or remove the index",
            there.display(),
            file.bytes,
            path.display(),
            names()
        );
    }
    Ok(offers)
}

/// Whether some text in it is an address with a password.
fn holds_password(config: &toml::Table) -> bool {
    config.values().any(|value| match value {
        toml::Value::Table(table) => holds_password(table),
        toml::Value::String(text) => {
            text.split_once("://").is_some_and(|(_, rest)| rest.split('/').next().unwrap_or_default().contains('@'))
        }
        _ => false,
    })
}

/// Whether two names lead to one folder.
fn is_one(folder: &Path, other: &Path) -> Result<bool> {
    let of = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).with_context(|| format!("{}", path.display()));
    Ok(of(folder)? == of(other)?)
}

/// Removes what runs that were killed have left; nobody else writes here meanwhile.
fn sweep(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("{}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "part") && path.is_file() {
            fs::remove_file(&path).with_context(|| format!("{}", path.display()))?;
        }
    }
    Ok(())
}

/// Whether what is there is what it is named by: a stick that was pulled out may hold other bytes under the right length.
fn is_whole(path: &Path, file: &Brought) -> bool {
    let same_length = fs::metadata(path).is_ok_and(|meta| meta.len() == file.bytes);
    let digest = || {
        let there = File::open(path)?;
        let _ = rustix::fs::fadvise(&there, 0, None, rustix::fs::Advice::DontNeed);
        digest_of(there)
    };
    same_length && digest().is_ok_and(|(_, sha256)| sha256 == file.sha256)
}

impl Fleet {
    /// Writes files and a signed index into `folder`, the index last and in one step. What the folder offers to other boards stays.
    ///
    /// # Errors
    /// When there is no key, every board would refuse what is published, a file cannot be read, or the folder cannot be written.
    pub fn publish(&self, hosts: &[&Host], folder: &Path, what: &Publication) -> Result<Published> {
        let key = self.key.as_ref().context("--key: expected the private key that signs the index, here or as [config] key")?;
        let today = Date::from_days(now() / 86_400);
        if let Some(until) = keys::expiry(key)?.filter(|until| today.days() > until.days()) {
            bail!("{}: the key expired on {until}, and boards refuse what it signs: name another by --key", key.display());
        }
        if let Some(last) = what.expires.filter(|last| today.days() > last.days()) {
            bail!("--expires: expected today, {today}, or later, found {last}: boards would refuse the index");
        }
        let release = Release::of(&what.payload)?;
        let secret = keys::read_secret(key, &what.password)?;
        let trust = keys::trust_in(key, &secret)?.installing_at(now());
        if let Some(why) = release.refusal_by(&trust)? {
            bail!("boards would refuse it: {why}");
        }
        fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        // Two at once, into whatever folders, must not find the same number free.
        let journals = folder_of(&self.journal);
        let _alone = if is_one(journals, folder)? { None } else { Some(keys::alone_in(journals)?) };
        let alone = keys::alone_in(folder)?;
        sweep(folder)?;
        let path = folder.join(INDEX);
        let before = read_index(&path, hosts.len() == self.hosts.len())?;
        // A fresh stick, or a second folder, must not look older to boards than what they have seen.
        let elsewhere = journal::highest_index(&journal::read(&self.journal)?);
        let here = before.as_ref().map_or(0, |(index, _)| index.number);
        let number =
            here.max(elsewhere).checked_add(1).with_context(|| format!("{}: its number is the highest there is", path.display()))?;
        let kept = match before {
            Some((index, bytes)) => kept(index, &bytes, &path, hosts, &trust)?,
            None => Vec::new(),
        };
        for host in hosts.iter().filter(|host| what.configs && host.config.as_ref().is_some_and(holds_password)) {
            eprintln!("edge-seg-fw: {}: an address with a password is published: whoever can read {} has it", host.name, folder.display());
        }
        let own = OwnFolder::new()?;
        let releases = self.releases(hosts, &release, what.configs, Some(&secret), &own)?;
        // Boards that get the same have one offer.
        let mut offers: BTreeMap<Vec<String>, Offer> = BTreeMap::new();
        for host in hosts {
            let release = releases.get(host.name.as_str()).context("a board without a release")?;
            let offer = self.offer(release, folder)?;
            let digests = offer.files.iter().map(|file| file.sha256.clone()).collect();
            offers.entry(digests).or_insert(offer).hosts.push(host.name.clone());
        }
        let expires = what.expires.map(|day| day.to_string());
        let stay = kept.len();
        let index = Index { format: FORMAT, number, expires, releases: offers.into_values().chain(kept).collect() };
        let mut bytes = serde_json::to_vec_pretty(&index)?;
        bytes.push(b'\n');
        let signature = keys::sign(&secret, bytes.as_slice(), INDEX, now())?;
        // An index must not last where what it names does not.
        alone.sync_all().with_context(|| format!("{}", folder.display()))?;
        // Between the two, a board finds a signature that does not fit, and asks again later.
        replace_file(&folder.join(format!("{INDEX}.minisig")), signature.as_bytes())?;
        replace_file(&path, &bytes)?;
        let title = format!("{} for {} boards, index {number} in {}", release.title(), hosts.len(), folder.display());
        Journal::at(&self.journal).add("publish", &json!({ "what": title, "files": release.digests(), "number": number }))?;
        Ok(Published { index, kept: stay, after: Some(elsewhere).filter(|elsewhere| *elsewhere > here) })
    }

    fn offer(&self, release: &Release, folder: &Path) -> Result<Offer> {
        let mut files = Vec::new();
        for file in &release.files {
            let name = match file.ending {
                "binary.minisig" => format!("{PROGRAM}.minisig"),
                "toml.minisig" => format!("{CONFIG}.minisig"),
                _ => file.name.to_owned(),
            };
            // Named by content: an index that is being read goes on to mean what it says.
            let stored = format!("{}.{}", &file.sha256[..16], file.ending);
            let to = folder.join(&stored);
            if !is_whole(&to, file) {
                let beside = folder.join(format!("{stored}.{}.part", std::process::id()));
                // Whoever may read the folder reads all of it.
                let readable = |_| fs::set_permissions(&beside, fs::Permissions::from_mode(0o644));
                let put = fs::copy(&file.path, &beside)
                    .and_then(readable)
                    .and_then(|()| File::open(&beside)?.sync_all())
                    .and_then(|_| fs::rename(&beside, &to));
                if put.is_err() {
                    let _ = fs::remove_file(&beside);
                }
                put.with_context(|| format!("{}", to.display()))?;
            }
            files.push(Listed { name, file: stored, bytes: file.bytes, sha256: file.sha256.clone() });
        }
        let boards = release.bundle.as_ref().map(|bundle| bundle.boards.clone()).unwrap_or_default();
        Ok(Offer { boards, hosts: Vec::new(), title: release.title(), trial: self.trial, files })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fleet of two boards in a folder of its own, with a key.
    fn fleet(name: &str) -> (Fleet, std::path::PathBuf) {
        let folder = std::env::temp_dir().join(format!("edge-seg-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        keys::generate(&folder.join("key"), &Password::None, None).unwrap();
        fs::write(folder.join("base.toml"), "[input]\nsource = \"test:\"\n").unwrap();
        let boards = "[config]\nbase = \"base.toml\"\nkey = \"key\"\n[[host]]\nname = \"cam0\"\n[[host]]\nname = \"cam1\"\n";
        fs::write(folder.join("fleet.toml"), boards).unwrap();
        (Fleet::read(&folder.join("fleet.toml")).unwrap(), folder)
    }

    fn words() -> Publication {
        Publication { payload: Payload::default(), configs: true, expires: None, password: Password::None }
    }

    #[test]
    fn a_torn_index_is_written_anew_for_all_boards_and_told_for_some() {
        let (fleet, folder) = fleet("torn");
        let (all, web) = (fleet.chosen(&[]).unwrap(), folder.join("web"));
        assert_eq!(fleet.publish(&all, &web, &words()).unwrap().index.number, 1);
        let path = web.join(INDEX);
        let whole = fs::read(&path).unwrap();
        for torn in [&whole[..whole.len() / 2], &[0; 512]] {
            fs::write(&path, torn).unwrap();
            let why = format!("{:#}", fleet.publish(&all[..1], &web, &words()).unwrap_err());
            assert!(why.contains("publish for all boards, or remove it"), "{why}");
            let before = journal::highest_index(&journal::read(&fleet.journal).unwrap());
            let published = fleet.publish(&all, &web, &words()).unwrap();
            assert_eq!((published.index.number, published.kept), (before + 1, 0));
        }
        // What is whole and of another kind is somebody's.
        fs::write(&path, "{\"format\": 99}").unwrap();
        assert!(format!("{:#}", fleet.publish(&all, &web, &words()).unwrap_err()).contains("of this version"));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn folders_that_are_published_into_at_once_have_numbers_of_their_own() {
        let (fleet, folder) = fleet("numbers");
        let all = fleet.chosen(&[]).unwrap();
        // The folder of the journal may be one of them.
        let folders: Vec<_> = (0..3).map(|n| if n == 0 { folder.clone() } else { folder.join(format!("stick{n}")) }).collect();
        let mut numbers: Vec<u64> = std::thread::scope(|scope| {
            let publish = |into| fleet.publish(&all, into, &words()).unwrap().index.number;
            let runs: Vec<_> = folders.iter().map(|into| scope.spawn(move || publish(into))).collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        numbers.sort_unstable();
        assert_eq!(numbers, [1, 2, 3]);
        fs::remove_dir_all(folder).unwrap();
    }
}
