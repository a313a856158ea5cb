//! A folder for a web server or a USB stick, from which boards that nobody can reach pull.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use edge_seg_bundle::date::Date;
use edge_seg_bundle::files::replace_file;
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

fn read_index(path: &Path) -> Result<Option<(Index, Vec<u8>)>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("{}", path.display()))?,
    };
    let index = serde_json::from_slice(&bytes).with_context(|| format!("{}", path.display()))?;
    Ok(Some((index, bytes)))
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
        let alone = keys::alone_in(folder)?;
        sweep(folder)?;
        let path = folder.join(INDEX);
        let before = read_index(&path)?;
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
                fs::copy(&file.path, &beside)
                    .and_then(readable)
                    .and_then(|()| File::open(&beside)?.sync_all())
                    .and_then(|_| fs::rename(&beside, &to))
                    .with_context(|| format!("{}", to.display()))?;
            }
            files.push(Listed { name, file: stored, bytes: file.bytes, sha256: file.sha256.clone() });
        }
        let boards = release.bundle.as_ref().map(|bundle| bundle.boards.clone()).unwrap_or_default();
        Ok(Offer { boards, hosts: Vec::new(), title: release.title(), trial: self.trial, files })
    }
}
