//! Keys, signatures and release numbers of bundles. The only place that holds private keys.
//!
//! Keys and signatures are minisign's, file for file: its own tool verifies what is signed here and the other way round. A
//! bundle carries the text of its `.minisig` in its signature area, over the bytes that [`signed_part`] gives.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use edge_seg_board::boards::Target;
use edge_seg_bundle::date::Date;
use edge_seg_bundle::files::{create_private_file, folder_of, replace_file};
use edge_seg_bundle::text::text_of;
use edge_seg_bundle::trust::Trust;
use edge_seg_bundle::{self as bundle, Bundle, Header, MANIFEST_OFFSET, Manifest, SIGNATURE_BYTES, SIGNATURE_OFFSET, kind_of};
use minisign::{KeyPair, PublicKey, PublicKeyBox, SecretKey, SecretKeyBox};

const PASSWORD_MAX_BYTES: u64 = 1024;

/// Where a key's password comes from. Never from an argument, which every user of the machine can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// Asked for at the terminal.
    Prompt,
    /// The first line of a file that only its owner can read, or of `/dev/fd/N`.
    File(PathBuf),
    /// The key has none: its file alone signs.
    None,
}

impl Password {
    fn read(&self, prompt: &str) -> Result<Option<String>> {
        match self {
            Password::None => Ok(None),
            // The library asks, without echo, when it is given no password.
            Password::Prompt => {
                ensure!(
                    fs::File::open("/dev/tty").is_ok(),
                    "{prompt}: there is no terminal to ask at; give --password-file FILE, where /dev/fd/N is a file too, or --no-password"
                );
                Ok(None)
            }
            Password::File(path) => {
                let mut file = fs::File::open(path).with_context(|| format!("password file {}", path.display()))?;
                let meta = file.metadata()?;
                ensure!(
                    !meta.is_file() || meta.permissions().mode() & 0o077 == 0,
                    "password file {}: expected mode 0600, found {:04o}; mend it with: chmod 600 {}",
                    path.display(),
                    meta.permissions().mode() & 0o7777,
                    path.display()
                );
                let mut text = String::new();
                Read::by_ref(&mut file).take(PASSWORD_MAX_BYTES).read_to_string(&mut text)?;
                let line = text.lines().next().unwrap_or_default().to_string();
                ensure!(!line.is_empty(), "password file {}: expected a password on the first line, found none", path.display());
                Ok(Some(line))
            }
        }
    }
}

/// Makes a key pair: `path` (mode 0600) and `path` with `.pub` for the boards.
///
/// # Errors
/// When a file of these names exists, or cannot be written.
pub fn generate(path: &Path, password: &Password, expires: Option<Date>) -> Result<PathBuf> {
    let public = public_path(path);
    for file in [path, &public] {
        let is_there = file.try_exists().with_context(|| format!("{}", file.display()))?;
        ensure!(!is_there, "{}: exists already, and a key is never overwritten: choose another name", file.display());
    }
    let folder = folder_of(path);
    ensure!(folder.is_dir(), "{}: expected a folder, found none; try: mkdir -p {0}", folder.display());
    let given = password.read("password of the new key")?;
    let pair = match password {
        Password::None => KeyPair::generate_unencrypted_keypair(),
        _ => KeyPair::generate_encrypted_keypair(given),
    }
    .context("making a key")?;
    let secret = pair.sk.to_box(Some("edge-seg secret key")).context("writing the key")?.into_string();
    let boxed = pair.pk.to_box().context("writing the key")?.into_string();
    // The first line is minisign's comment; its last word is the key's id.
    let (comment, key) = boxed.split_once('\n').context("writing the key")?;
    let expires = expires.map_or_else(String::new, |date| format!(" expires:{date}"));
    // A private key without its public one is of use, but not the other way round.
    create_private_file(path, secret.as_bytes())?;
    if let Err(error) = replace_file(&public, format!("{comment}{expires}\n{key}").as_bytes()) {
        let _ = fs::remove_file(path);
        return Err(error.into());
    }
    Ok(public)
}

fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// What to try where a file is no private key.
const MAKE_KEY: &str = "try: the file that edge-seg-fw keygen wrote beside its .pub file";

/// Reads a private key that minisign or [`generate`] wrote.
///
/// # Errors
/// When others can read the file, it is no key, or the password is wrong.
pub fn read_secret(path: &Path, password: &Password) -> Result<SecretKey> {
    let meta = fs::metadata(path).with_context(|| format!("{}", path.display()))?;
    // Before its mode, which is right for a public one.
    let place = path.display().to_string();
    let text = text_of(read(path)?).map_err(|said| anyhow!("{place}: {said}; {MAKE_KEY}"))?;
    ensure!(
        PublicKeyBox::from_string(&text).and_then(PublicKeyBox::into_public_key).is_err(),
        "{place}: expected a private key, found a public one; try: --key {}",
        place.strip_suffix(".pub").unwrap_or("the file that keygen wrote beside it")
    );
    ensure!(
        meta.permissions().mode() & 0o077 == 0,
        "{}: expected mode 0600, found {:04o}: others can read the private key; mend it with: chmod 600 {}",
        path.display(),
        meta.permissions().mode() & 0o7777,
        path.display()
    );
    // The library takes any text, and asks for its password before it looks.
    ensure!(
        text.starts_with("untrusted comment:") && text.lines().nth(1).is_some_and(|line| line.starts_with("RW")),
        "{place}: expected a private key of minisign, found {}; {MAKE_KEY}",
        kind_of(text.as_bytes()).unwrap_or("another text")
    );
    let boxed = SecretKeyBox::from_string(&text).with_context(|| {
        let found = kind_of(text.as_bytes()).unwrap_or("another text");
        format!("{place}: expected a private key of minisign, found {found}; {MAKE_KEY}")
    })?;
    let key = match password {
        Password::None => boxed.into_unencrypted_secret_key(),
        _ => {
            let given = password.read("password")?;
            boxed.into_secret_key(given)
        }
    };
    key.with_context(|| format!("{}: wrong password, or the key has none (--no-password)", path.display()))
}

/// Trust in the public half of a private key at `path`, with the last day that stands beside it.
///
/// # Errors
/// When what stands beside it cannot be read.
pub fn trust_in(path: &Path, secret: &SecretKey) -> Result<Trust> {
    let boxed = PublicKey::from_secret_key(secret).and_then(|key| key.to_box()).context("the public key")?.into_string();
    let (comment, key) = boxed.split_once('\n').context("the public key")?;
    let expires = expiry(path)?.map_or_else(String::new, |date| format!(" expires:{date}"));
    Ok(Trust::in_keys([(path.display().to_string().as_str(), format!("{comment}{expires}\n{key}").as_str())])?)
}

/// Text of a `.minisig` over all that `message` gives, with the time and `name` in its trusted comment.
///
/// # Errors
/// When it cannot be read, or the library refuses.
pub fn sign(key: &SecretKey, message: impl Read, name: &str, unix_seconds: u64) -> Result<String> {
    let trusted = format!("timestamp:{unix_seconds}\tfile:{name}\thashed");
    let signature = minisign::sign(None, key, message, Some(&trusted), Some("signature of an edge-seg bundle")).context("signing")?;
    Ok(signature.into_string())
}

/// The bytes of a bundle that its signature covers.
///
/// # Errors
/// When it is no bundle.
pub fn signed_part(path: &Path) -> Result<Vec<u8>> {
    let bytes = read(path)?;
    Ok(Header::parse(&path.display().to_string(), &bytes)?.signed_message())
}

/// A bundle's signature as a `.minisig` file has it, if it has one.
///
/// # Errors
/// When it is no bundle.
pub fn embedded(path: &Path) -> Result<Option<Vec<u8>>> {
    let bytes = read(path)?;
    Ok(Header::parse(&path.display().to_string(), &bytes)?.signature().map(|text| [text, b"\n"].concat()))
}

/// Puts the text of a `.minisig` into a bundle's signature area.
///
/// # Errors
/// When it is no bundle, or the text is too long for the area.
pub fn embed(path: &Path, minisig: &str) -> Result<()> {
    let mut bytes = read(path)?;
    // A whole bundle or none: a signature over a header whose blobs are broken helps nobody.
    Bundle::from_bytes(path.display().to_string(), bytes.clone())?;
    // White space behind it would be bytes that nothing protects.
    let minisig = minisig.trim_end();
    minisign::SignatureBox::from_string(minisig)
        .map_err(|error| anyhow!("expected a signature as minisign writes it, in the file PART.minisig, found other text ({error})"))?;
    ensure!(
        minisig.len() <= SIGNATURE_BYTES,
        "the signature takes {} bytes, its area in a bundle has {SIGNATURE_BYTES}: shorten its comments",
        minisig.len()
    );
    bytes[SIGNATURE_OFFSET..MANIFEST_OFFSET].fill(0);
    bytes[SIGNATURE_OFFSET..SIGNATURE_OFFSET + minisig.len()].copy_from_slice(minisig.as_bytes());
    Ok(replace_file(path, &bytes)?)
}

/// Changes what [`pack`] sets.
#[derive(Debug, Clone, Default)]
pub struct Packing {
    /// New release number; without it the next one, of those that the input and the output's folder show.
    pub serial: Option<u64>,
    /// New list of boards.
    pub boards: Option<Vec<String>>,
    /// New variant.
    pub variant: Option<String>,
}

/// Waits until no other process of this machine works in a folder, and keeps others out while what is given back is held. Where the file
/// system knows no locks, nobody is kept out.
///
/// # Errors
/// When the folder cannot be opened.
pub(crate) fn alone_in(folder: &Path) -> Result<fs::File> {
    let held = fs::File::open(folder).with_context(|| format!("{}", folder.display()))?;
    let _ = held.lock();
    Ok(held)
}

/// Writes a bundle for release: the same model under a release number and for named boards, unsigned.
///
/// # Errors
/// When `input` is no bundle, a board is not in the table, or `output` cannot be written.
pub fn pack(input: &Path, output: &Path, packing: &Packing) -> Result<Manifest> {
    let bundle = Bundle::open(input)?;
    edge_seg_bundle::files::check_bundle_output(output, Some(input))?;
    let mut manifest = bundle.manifest().clone();
    // Two at once must not find the same number free.
    let _alone = alone_in(folder_of(output))?;
    manifest.serial = match packing.serial {
        Some(serial) => serial,
        None => next_serial(&manifest, output).context("--serial: expected one, for the input's is the highest there is")?,
    };
    if let Some(boards) = &packing.boards {
        let known = |name: &String| Ok(name.parse::<Target>().map_err(|unknown| anyhow!("--boards: {unknown}"))?.name.to_owned());
        manifest.boards = boards.iter().map(known).collect::<Result<_>>()?;
    }
    if let Some(variant) = &packing.variant {
        manifest.variant = variant.clone();
    }
    let blobs = manifest.blobs.iter().map(|blob| Ok((blob.name.clone(), bundle.blob(&blob.name)?))).collect::<Result<Vec<_>>>()?;
    let blobs: Vec<(&str, &[u8])> = blobs.iter().map(|(name, bytes)| (name.as_str(), &**bytes)).collect();
    bundle::write(output, manifest.clone(), &blobs)?;
    Ok(manifest)
}

/// One more than every release of the same model that is known here: boards refuse two of one number.
fn next_serial(input: &Manifest, output: &Path) -> Option<u64> {
    let others = fs::read_dir(folder_of(output)).into_iter().flatten().flatten().map(|entry| entry.path());
    let bundles = others.filter(|path| path.extension().is_some_and(|ext| ext == "esb"));
    let serials = bundles.filter_map(|path| {
        let bundle = Bundle::open(&path).ok()?;
        Some(bundle.manifest().serial).filter(|_| bundle.manifest().name == input.name)
    });
    serials.fold(input.serial, u64::max).checked_add(1)
}

/// The last day of a private key, as the public one beside it says, where it is there and says one.
///
/// # Errors
/// When the public key is there and cannot be read.
pub fn expiry(secret: &Path) -> Result<Option<Date>> {
    let path = public_path(secret);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.with_context(|| format!("{}", path.display()))?,
    };
    let day = text.lines().next().unwrap_or_default().split_whitespace().find_map(|word| word.strip_prefix("expires:"));
    Ok(day.and_then(Date::parse))
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{}", path.display()))
}
