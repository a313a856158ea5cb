//! keygen, pack, sign, verify.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use edge_seg_bundle::Bundle;
use edge_seg_bundle::date::Date;
use edge_seg_bundle::files::replace_file;
use edge_seg_bundle::text::text_of;
use edge_seg_bundle::trust::Trust;
use edge_seg_fw::board::table::Target;
use edge_seg_fw::keys::{self, Packing, Password};

use super::output::print;

#[derive(clap::Args)]
pub struct PasswordArgs {
    /// Read the password from the first line of this file (mode 0600, or /dev/fd/N) in place of asking
    #[arg(long, value_name = "FILE", conflicts_with = "no_password")]
    password_file: Option<PathBuf>,
    /// The key has no password: whoever holds its file can sign
    #[arg(long)]
    no_password: bool,
}

impl PasswordArgs {
    pub fn password(&self) -> Password {
        match (&self.password_file, self.no_password) {
            (Some(path), _) => Password::File(path.clone()),
            (None, true) => Password::None,
            (None, false) => Password::Prompt,
        }
    }
}

#[derive(clap::Args)]
pub struct Keygen {
    /// The private key's file; the public one gets .pub behind it
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// Last day on which the key may sign
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = date)]
    expires: Option<Date>,
    #[command(flatten)]
    password: PasswordArgs,
}

pub fn date(text: &str) -> Result<Date, String> {
    Date::parse(text).ok_or_else(|| "expected a day as YYYY-MM-DD".into())
}

impl Keygen {
    pub fn run(self) -> Result<bool> {
        let public = keys::generate(&self.path, &self.password.password(), self.expires)?;
        eprintln!("edge-seg-fw: keep {} where no board can target it; boards trust it once", self.path.display());
        eprintln!("  {} is in their /etc/edge-seg/keys", public.display());
        warn_of_expiry(&self.path, now())?;
        print(&format!("{}\n", public.display()))?;
        Ok(true)
    }
}

fn warn_of_expiry(key: &Path, unix_seconds: u64) -> Result<()> {
    if let Some(until) = keys::expiry(key)?.filter(|until| Date::from_days(unix_seconds / 86_400).days() > until.days()) {
        eprintln!("edge-seg-fw: {}: the key expired on {until}: boards refuse what it signs", key.display());
    }
    Ok(())
}

#[derive(clap::Args)]
pub struct Pack {
    /// The bundle, as edge-seg-export wrote it
    #[arg(value_name = "BUNDLE")]
    input: PathBuf,
    /// Where the release goes
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Release number: a board refuses lower ones than it has run [default: one more than the input's and than those of the same model
    /// in OUTPUT's folder]
    #[arg(long, value_name = "N")]
    serial: Option<u64>,
    /// Boards that it is for, as `edge-seg-fw board` names them, or builds, which stand for all boards that run them; an empty list is any
    #[arg(long, value_name = "KEY,...", value_delimiter = ',')]
    boards: Option<Vec<String>>,
    /// How the weights are stored, for people
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
}

impl Pack {
    pub fn run(self) -> Result<bool> {
        let boards = self.boards.map(|boards| boards.into_iter().filter(|board| !board.is_empty()).collect());
        let manifest = keys::pack(&self.input, &self.output, &Packing { serial: self.serial, boards, variant: self.variant })?;
        let boards = if manifest.boards.is_empty() { "any board".into() } else { manifest.boards.join(", ") };
        print(&format!("{}: {} serial {} for {boards}, unsigned\n", self.output.display(), manifest.name, manifest.serial))?;
        Ok(true)
    }
}

#[derive(clap::Args)]
pub struct Sign {
    /// The bundle, or with --detached any file
    #[arg(value_name = "FILE")]
    path: PathBuf,
    /// The private key
    #[arg(long, value_name = "FILE", required_unless_present_any = ["export", "import"])]
    key: Option<PathBuf>,
    /// Write FILE.minisig beside FILE, as for a binary, in place of signing inside a bundle
    #[arg(long, requires = "key")]
    detached: bool,
    /// Write the bytes that a bundle's signature covers here, and its signature, if any, to PART.minisig: for minisign's own tool
    #[arg(long, value_name = "PART", conflicts_with_all = ["key", "import"])]
    export: Option<PathBuf>,
    /// Put a signature of those bytes, made by minisign's own tool, into the bundle
    #[arg(long, value_name = "PART.minisig", conflicts_with = "key")]
    import: Option<PathBuf>,
    #[command(flatten)]
    password: PasswordArgs,
}

impl Sign {
    pub fn run(self) -> Result<bool> {
        if let Some(part) = &self.export {
            edge_seg_bundle::files::check_bundle_output(part, Some(&self.path))?;
            replace_file(part, &keys::signed_part(&self.path)?)?;
            if let Some(minisig) = keys::embedded(&self.path)? {
                replace_file(&suffixed(part), &minisig)?;
            }
            return Ok(true);
        }
        if let Some(minisig) = &self.import {
            let place = minisig.display();
            let text = text_of(std::fs::read(minisig).with_context(|| place.to_string())?).map_err(|said| anyhow!("{place}: {said}"))?;
            keys::embed(&self.path, &text)?;
            return Ok(true);
        }
        let Some(key) = &self.key else { bail!("--key: expected a private key, found none") };
        let name = self.path.file_name().context("FILE: expected a file")?.to_string_lossy().replace(['\t', '\n', '\r'], " ");
        let seconds = now();
        warn_of_expiry(key, seconds)?;
        let message: Box<dyn std::io::Read> = match self.detached {
            true => Box::new(std::fs::File::open(&self.path).with_context(|| format!("{}", self.path.display()))?),
            false => Box::new(std::io::Cursor::new(keys::signed_part(&self.path)?)),
        };
        let secret = keys::read_secret(key, &self.password.password())?;
        let minisig = keys::sign(&secret, message, &name, seconds)?;
        match self.detached {
            true => replace_file(&suffixed(&self.path), minisig.as_bytes())?,
            false => keys::embed(&self.path, &minisig)?,
        }
        Ok(true)
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}

fn suffixed(path: &std::path::Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".minisig");
    name.into()
}

#[derive(clap::Args)]
pub struct Verify {
    /// The bundle
    #[arg(value_name = "BUNDLE")]
    path: PathBuf,
    /// A public key, or a folder of *.pub
    #[arg(long, value_name = "PATH")]
    trusted_keys: PathBuf,
    /// Also require that it is for this board
    #[arg(long, value_name = "KEY")]
    board: Option<String>,
    /// Also require at least this release number
    #[arg(long, value_name = "N", default_value_t = 0)]
    min_serial: u64,
}

impl Verify {
    pub fn run(self) -> Result<bool> {
        let mut trust = Trust::read(&self.trusted_keys)?.at_least(self.min_serial).installing_at(now());
        if let Some(board) = &self.board {
            let board: Target = board.parse().map_err(|unknown| anyhow!("--board: {unknown}"))?;
            trust = trust.on_board(&board.names());
        }
        let found: edge_seg_bundle::Result<Bundle> = trust.open(&self.path);
        match found {
            Ok(bundle) => {
                let manifest = bundle.manifest();
                print(&format!("{}: {} serial {}, signature and contents hold\n", self.path.display(), manifest.name, manifest.serial))?;
                Ok(true)
            }
            Err(error @ edge_seg_bundle::Error::Refused { .. }) => {
                eprintln!("edge-seg-fw: {error}");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}
