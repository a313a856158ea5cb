//! One file that holds a model: encoders, tokenizer, and a manifest that says how to use them.
//!
//! The layout, byte by byte, is in `docs/bundle-format.md`. The rules are those of safetensors: sizes are capped before
//! anything is allocated, blobs are contiguous, the last one ends where the file ends, unknown keys are refused. Every blob
//! is covered by a SHA-256 in the header, so that a signature over the header covers the whole file.

use std::borrow::Cow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

#[cfg(doc)]
use crate::Error;
use crate::Result;
pub use crate::content::BUNDLE_MAX_BYTES;
use crate::content::Content;
use crate::error::{bundle_error, cut_off};
use crate::files::{hex, replace_file};
use crate::looks::{MAGIC, looks_like};

/// Version of the layout that this crate reads and writes.
pub const FORMAT: u32 = 1;
/// Offset of the signature area.
pub const SIGNATURE_OFFSET: usize = 16;
/// Length of the signature area; all zero in an unsigned bundle.
pub const SIGNATURE_BYTES: usize = 1024;
/// Offset of the manifest.
pub const MANIFEST_OFFSET: usize = SIGNATURE_OFFSET + SIGNATURE_BYTES;
/// Longest manifest that is read.
pub const MANIFEST_MAX_BYTES: usize = 1 << 20;
/// Blobs start on multiples of this; the bytes between are zero.
pub const ALIGNMENT: usize = 64;

/// What a bundle says of itself. Every key is required unless its type is an `Option`; unknown keys are refused.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Manifest {
    /// Version of the layout, [`FORMAT`].
    pub format: u32,
    /// The model's name, such as `mini`.
    pub name: String,
    /// How the weights are stored and computed, such as `int8-storage`.
    pub variant: String,
    /// Release number of this model: a board may refuse a lower one than it runs.
    pub serial: u64,
    /// Boards that this variant is for; empty means any.
    pub boards: Vec<String>,
    /// The image encoder and what its input looks like.
    pub image: ImageManifest,
    /// The text encoder and its tokenizer.
    pub text: TextManifest,
    /// Width of the space that patches and words share.
    pub embedding_dim: usize,
    /// Factor on the cosine of a patch and a word.
    pub logit_scale: f32,
    /// Added to the scaled cosine; the score is then a sigmoid, word by word. Without it scores are a softmax over the words.
    pub logit_bias: Option<f32>,
    /// Sentences that a word is put into, at `{}`; their embeddings are averaged.
    pub templates: Vec<String>,
    /// Score below which a pixel belongs to no word.
    pub background: f32,
    /// Pixel-tag score from which a word counts as present.
    pub tag_threshold: f32,
    /// Where the model comes from and what it may be used for.
    pub card: Card,
    /// The blobs, in the order in which they lie in the file.
    pub blobs: Vec<Blob>,
}

impl Manifest {
    /// A manifest of a bundle that is to be written, in this release's format. What it does not say: a release number of 0, any board,
    /// float weights, a bare word for a template, scores that are a softmax, and a half for both thresholds.
    pub fn new(
        name: impl Into<String>,
        image: ImageManifest,
        text: TextManifest,
        embedding_dim: usize,
        logit_scale: f32,
        card: Card,
    ) -> Self {
        Self {
            format: FORMAT,
            name: name.into(),
            variant: "f32".into(),
            serial: 0,
            boards: Vec::new(),
            image,
            text,
            embedding_dim,
            logit_scale,
            logit_bias: None,
            templates: vec!["{}".into()],
            background: 0.5,
            tag_threshold: 0.5,
            card,
            blobs: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Manifest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, variant, serial, templates, blobs, .. } = self;
        write!(f, "Manifest {{ {name:?} {variant:?}, serial {serial}, {} templates, {} blobs }}", templates.len(), blobs.len())
    }
}

/// The image encoder's part of the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ImageManifest {
    /// Name of the ONNX blob.
    pub blob: String,
    /// Side of a patch, in pixels of the prepared input.
    pub patch_px: usize,
    /// Default side of the prepared input; see [`Fit`] for which side.
    pub input_px: usize,
    /// How a picture is brought to the input size.
    pub fit: Fit,
    /// Filter of the resize.
    pub interpolation: Interpolation,
    /// Subtracted from each channel, in 0..1.
    pub mean: [f32; 3],
    /// Divides each channel, in 0..1.
    pub std: [f32; 3],
    /// The stored position embeddings.
    pub positions: Positions,
    /// How patch tokens become embeddings, in words; bundles of older writers do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head: Option<String>,
}

impl ImageManifest {
    /// An encoder of square patches in the blob of this name, whose input is `input_px` a side. What it does not say: the short side
    /// becomes `input_px`, by a cubic filter, and channels stay in 0..1.
    pub fn new(blob: impl Into<String>, patch_px: usize, input_px: usize, positions: Positions) -> Self {
        let (fit, interpolation, mean, std) = (Fit::Grid, Interpolation::Bicubic, [0.0; 3], [1.0; 3]);
        Self { blob: blob.into(), patch_px, input_px, fit, interpolation, mean, std, positions, head: None }
    }
}

/// Position embeddings `[1 + rows·cols, width]`, the class token's first, little-endian f32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Positions {
    /// Name of the blob.
    pub blob: String,
    /// Rows of the stored grid.
    pub rows: usize,
    /// Columns of the stored grid.
    pub cols: usize,
    /// Width of the encoder.
    pub width: usize,
}

impl Positions {
    /// Embeddings of a grid of `rows` and `cols`, of `width` numbers each, in the blob of this name.
    pub fn new(blob: impl Into<String>, rows: usize, cols: usize, width: usize) -> Self {
        Self { blob: blob.into(), rows, cols, width }
    }
}

/// The text encoder's part of the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TextManifest {
    /// Name of the ONNX blob.
    pub blob: String,
    /// Name of the `tokenizer.json` blob.
    pub tokenizer: String,
    /// Longest token sequence, special tokens included.
    pub context: usize,
    /// Token that fills the shorter rows of a batch.
    pub pad_token: i64,
}

impl TextManifest {
    /// An encoder and its tokenizer in the blobs of these names.
    pub fn new(blob: impl Into<String>, tokenizer: impl Into<String>, context: usize, pad_token: i64) -> Self {
        Self { blob: blob.into(), tokenizer: tokenizer.into(), context, pad_token }
    }
}

/// How a picture is brought to the encoder's input size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fit {
    /// The short side becomes `input_px`, the other keeps the aspect; both are rounded to whole patches.
    Grid,
    /// The long side becomes `input_px`; the rest of a square is filled with the mean colour and takes no part in scoring.
    Letterbox,
    /// Both sides become `input_px`, whatever the aspect.
    Squash,
}

/// Filter of the resize, antialiased as Pillow does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Interpolation {
    /// Triangle filter.
    Bilinear,
    /// Cubic filter with a = -0.5.
    Bicubic,
}

/// The model card: free text for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Card {
    /// One line.
    pub title: String,
    /// Licence of the weights, and of the data that made them where that matters.
    pub licence: String,
    /// What it was trained on.
    pub training_data: String,
    /// Measured scores and how they were measured.
    pub measured: String,
    /// What it cannot do.
    pub limits: String,
}

impl Card {
    /// A card of this title.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// The same with another [`licence`](Self::licence).
    pub fn with_licence(self, licence: impl Into<String>) -> Self {
        Self { licence: licence.into(), ..self }
    }

    /// The same with other [`training_data`](Self::training_data).
    pub fn with_training_data(self, training_data: impl Into<String>) -> Self {
        Self { training_data: training_data.into(), ..self }
    }

    /// The same with other [`measured`](Self::measured) scores.
    pub fn with_measured(self, measured: impl Into<String>) -> Self {
        Self { measured: measured.into(), ..self }
    }

    /// The same with other [`limits`](Self::limits).
    pub fn with_limits(self, limits: impl Into<String>) -> Self {
        Self { limits: limits.into(), ..self }
    }
}

/// A named run of bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Blob {
    /// Its name, unique in the bundle.
    pub name: String,
    /// First byte, counted from the start of the file.
    pub offset: u64,
    /// Length.
    pub bytes: u64,
    /// SHA-256 of the bytes, 64 lower-case hexadecimal digits.
    pub sha256: String,
}

/// A bundle, checked whole. One that was opened from a file stays there: its parts are read when they are asked for, and held against
/// their digests again if the file has been touched.
#[derive(Clone)]
pub struct Bundle {
    pub(crate) place: String,
    pub(crate) content: Content,
    signature: Option<Vec<u8>>,
    manifest: Manifest,
    digest: String,
}

impl std::fmt::Debug for Bundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bundle {{ {}, {} {} }}", self.place, self.manifest.name, self.manifest.variant)
    }
}

impl Bundle {
    /// Reads and checks a bundle file.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be read, [`Error::Bundle`] if any rule of the format is broken.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_if(path, |_, _| Ok(()))
    }

    /// As [`open`](Self::open), if `accept` says so: it is given the place and the file's first bytes, of which [`Header::parse`] takes
    /// what it needs, before anything of them is looked at.
    ///
    /// # Errors
    /// As [`open`](Self::open), and those of `accept`.
    pub(crate) fn open_if(path: &Path, accept: impl FnOnce(&str, &[u8]) -> Result<()>) -> Result<Self> {
        Self::check(path.display().to_string(), Content::open(path)?, accept)
    }

    /// The model that this build carries.
    ///
    /// # Errors
    /// [`Error::NoModel`] in a build without the `mini` feature.
    pub fn built_in() -> Result<Self> {
        #[cfg(feature = "mini")]
        {
            static MINI: &[u8] = include_bytes!("../../models/mini.esb");
            Self::from_bytes("built-in", MINI)
        }
        #[cfg(not(feature = "mini"))]
        Err(crate::Error::NoModel)
    }

    /// Checks a bundle that is in memory already. `place` names it in errors.
    ///
    /// # Errors
    /// [`Error::Bundle`] if any rule of the format is broken.
    pub fn from_bytes(place: impl Into<String>, bytes: impl Into<Cow<'static, [u8]>>) -> Result<Self> {
        Self::from_bytes_if(place.into(), bytes, |_, _| Ok(()))
    }

    /// As [`from_bytes`](Self::from_bytes), if `accept` says so, as [`open_if`](Self::open_if) asks it.
    pub(crate) fn from_bytes_if(
        place: String,
        bytes: impl Into<Cow<'static, [u8]>>,
        accept: impl FnOnce(&str, &[u8]) -> Result<()>,
    ) -> Result<Self> {
        Self::check(place, Content::Memory(bytes.into()), accept)
    }

    fn check(place: String, content: Content, accept: impl FnOnce(&str, &[u8]) -> Result<()>) -> Result<Self> {
        let head = content.read(0..content.len().min((MANIFEST_OFFSET + MANIFEST_MAX_BYTES) as u64))?;
        accept(&place, &head)?;
        let header = Header::parse(&place, &head)?;
        let manifest = header.manifest(&place)?;
        check_blobs(&place, &content, header.end(), &manifest.blobs)?;
        check_manifest(&place, &manifest)?;
        let digest = hex(&Sha256::digest(header.signed_message()));
        let signature = header.signature().map(<[u8]>::to_vec);
        drop(head);
        Ok(Self { place, content, signature, manifest, digest })
    }

    /// Where the bundle came from, for messages.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What the bundle says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the header and manifest, and so, through the blobs' digests, of everything but the signature.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Length of the whole file.
    pub fn size_bytes(&self) -> usize {
        self.content.len() as usize
    }

    /// The signature area up to its trailing zeros, or `None` in an unsigned bundle.
    pub fn signature(&self) -> Option<&[u8]> {
        self.signature.as_deref()
    }

    /// The bytes of a blob.
    ///
    /// # Errors
    /// [`Error::Bundle`] if there is none of that name, or the file was changed since it was opened; [`Error::Io`] if it cannot be read.
    pub fn blob(&self, name: &str) -> Result<Cow<'_, [u8]>> {
        let blob = self.find(name)?;
        let bytes = self.content.read(blob.offset..blob.offset + blob.bytes)?;
        if self.content.may_have_changed() {
            check_digest(&self.place, blob, hex(&Sha256::digest(&bytes)))?;
        }
        Ok(bytes)
    }

    /// A blob of little-endian f32.
    ///
    /// # Errors
    /// [`Error::Bundle`] if there is none of that name or it has not `len` numbers.
    pub fn floats(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        let blob = self.blob(name)?;
        if blob.len() != len * 4 {
            return Err(bundle_error(&self.place, name, format!("{} bytes", len * 4), format!("{} bytes", blob.len())));
        }
        Ok(blob.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
    }

    pub(crate) fn find(&self, name: &str) -> Result<&Blob> {
        let blob = self.manifest.blobs.iter().find(|blob| blob.name == name);
        blob.ok_or_else(|| bundle_error(&self.place, "blobs", format!("one named {name:?}"), self.blob_names()))
    }

    fn blob_names(&self) -> String {
        let names: Vec<_> = self.manifest.blobs.iter().map(|blob| blob.name.as_str()).collect();
        names.join(", ")
    }
}

/// Where bundles come from.
const MAKE: &str = "to make a bundle: edge-seg-export import, then edge-seg-export bundle, which takes ONNX files too (docs/models.md)";

/// The part of a bundle that a signature covers, found without parsing anything that the signature protects.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    prefix: &'a [u8],
    signature: &'a [u8],
    manifest: &'a [u8],
}

impl<'a> Header<'a> {
    /// Checks magic, version and lengths, and finds the signature and the manifest's bytes.
    ///
    /// # Errors
    /// [`Error::Bundle`] if the file is too short, of another kind or version, or its manifest is too long.
    pub fn parse(place: &str, bytes: &'a [u8]) -> Result<Self> {
        if bytes.starts_with(b"version https://git-lfs") {
            let found = "a Git LFS pointer in place of it; run `git lfs pull`";
            return Err(bundle_error(place, "file", "an .esb file", found));
        }
        if bytes.is_empty() || !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
            return Err(bundle_error(place, "magic", "an .esb file", format!("{}; {MAKE}", looks_like(bytes))));
        }
        if bytes.len() < MANIFEST_OFFSET {
            return Err(bundle_error(place, "file", format!("at least {MANIFEST_OFFSET} bytes"), cut_off(bytes.len() as u64)));
        }
        let word = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if word(8) != FORMAT {
            let found = format!("{}; a bundle of another release of edge-seg: update edge-seg, or make the bundle again", word(8));
            return Err(bundle_error(place, "format version", FORMAT.to_string(), found));
        }
        let len = word(12) as usize;
        if len > MANIFEST_MAX_BYTES {
            return Err(bundle_error(place, "manifest", format!("at most {MANIFEST_MAX_BYTES} bytes"), format!("{len} bytes")));
        }
        let manifest = bytes.get(MANIFEST_OFFSET..MANIFEST_OFFSET + len).ok_or_else(|| {
            let left = (bytes.len() - MANIFEST_OFFSET) as u64;
            bundle_error(place, "manifest", format!("{len} bytes"), cut_off(left))
        })?;
        Ok(Self { prefix: &bytes[..SIGNATURE_OFFSET], signature: &bytes[SIGNATURE_OFFSET..MANIFEST_OFFSET], manifest })
    }

    /// The signature area up to its trailing zeros, or `None` if it is empty.
    pub fn signature(&self) -> Option<&'a [u8]> {
        trim_zeros(self.signature)
    }

    /// What a signature is made over: the first 16 bytes of the file, then the manifest's bytes.
    pub fn signed_message(&self) -> Vec<u8> {
        [self.prefix, self.manifest].concat()
    }

    /// Parses the manifest. Blobs are not looked at.
    ///
    /// # Errors
    /// [`Error::Bundle`] if it is not the JSON of a [`Manifest`].
    pub fn manifest(&self, place: &str) -> Result<Manifest> {
        serde_json::from_slice(self.manifest)
            .map_err(|e| bundle_error(place, "manifest", "a manifest as docs/bundle-format.md has it", e.to_string()))
    }

    fn end(&self) -> usize {
        MANIFEST_OFFSET + self.manifest.len()
    }
}

/// Writes a bundle: beside its final name first, then synced and renamed, so that no reader ever sees half of one.
///
/// `manifest.blobs` and `manifest.format` are filled in here, from `blobs` in their order.
///
/// # Errors
/// [`Error::Bundle`] if the manifest and blobs do not fit together, [`Error::Io`] if the file system refuses.
pub fn write(path: &Path, manifest: Manifest, blobs: &[(&str, &[u8])]) -> Result<()> {
    let content = build(path.display().to_string(), manifest, blobs)?.content;
    replace_file(path, &content.read(0..content.len())?)
}

/// As [`write()`], in memory; `place` names it in errors.
///
/// # Errors
/// [`Error::Bundle`] if the manifest and blobs do not fit together.
pub fn build(place: String, manifest: Manifest, blobs: &[(&str, &[u8])]) -> Result<Bundle> {
    Bundle::from_bytes(place, assemble(manifest, blobs))
}

fn assemble(mut manifest: Manifest, blobs: &[(&str, &[u8])]) -> Vec<u8> {
    manifest.format = FORMAT;
    manifest.blobs = blobs
        .iter()
        .map(|(name, bytes)| Blob {
            name: (*name).into(),
            offset: u64::MAX,
            bytes: bytes.len() as u64,
            sha256: hex(&Sha256::digest(bytes)),
        })
        .collect();
    // Offsets depend on the manifest's length and it on theirs; written at their widest first, they can only shrink.
    let widest = serde_json::to_vec(&manifest).expect("a manifest is plain data").len();
    let start = (MANIFEST_OFFSET + widest).next_multiple_of(ALIGNMENT);
    let mut offset = start;
    for blob in &mut manifest.blobs {
        offset = offset.next_multiple_of(ALIGNMENT);
        blob.offset = offset as u64;
        offset += blob.bytes as usize;
    }
    let mut header = serde_json::to_vec(&manifest).expect("a manifest is plain data");
    header.resize(start - MANIFEST_OFFSET, b' ');
    let mut bytes = Vec::with_capacity(offset);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
    bytes.resize(MANIFEST_OFFSET, 0);
    bytes.extend_from_slice(&header);
    for (blob, (_, content)) in manifest.blobs.iter().zip(blobs) {
        bytes.resize(blob.offset as usize, 0);
        bytes.extend_from_slice(content);
    }
    bytes
}

pub(crate) fn check_digest(place: &str, blob: &Blob, found: String) -> Result<()> {
    match found == blob.sha256 {
        true => Ok(()),
        false => Err(bundle_error(place, format!("blob {:?}", blob.name), format!("SHA-256 {}", blob.sha256), found)),
    }
}

fn check_blobs(place: &str, content: &Content, header_end: usize, blobs: &[Blob]) -> Result<()> {
    let mut end = header_end as u64;
    for (i, blob) in blobs.iter().enumerate() {
        let part = format!("blob {:?}", blob.name);
        if blobs[..i].iter().any(|other| other.name == blob.name) {
            return Err(bundle_error(place, part, "a name of its own", "the name of an earlier blob"));
        }
        let start = end.next_multiple_of(ALIGNMENT as u64);
        if blob.offset != start {
            return Err(bundle_error(place, part, format!("offset {start}"), blob.offset.to_string()));
        }
        end = start.checked_add(blob.bytes).filter(|&end| end <= content.len()).ok_or_else(|| {
            let left = content.len().saturating_sub(start);
            bundle_error(place, part.clone(), format!("{} bytes", blob.bytes), cut_off(left))
        })?;
        let gap_start = if i == 0 { header_end as u64 } else { blobs[i - 1].offset + blobs[i - 1].bytes };
        if content.read(gap_start..start)?.iter().any(|&b| b != 0) {
            return Err(bundle_error(place, part, "zeros before it", "other bytes"));
        }
        check_digest(place, blob, content.digest(start..end)?)?;
    }
    if end != content.len() {
        return Err(bundle_error(place, "file", format!("its end after the last blob, at {end}"), format!("{} bytes", content.len())));
    }
    Ok(())
}

fn check_manifest(place: &str, manifest: &Manifest) -> Result<()> {
    let image = &manifest.image;
    let check =
        |ok: bool, part: &str, expected: &str, found: String| if ok { Ok(()) } else { Err(bundle_error(place, part, expected, found)) };
    check(manifest.format == FORMAT, "format", "the header's format version", manifest.format.to_string())?;
    check((1..=128).contains(&image.patch_px), "image.patch_px", "1 to 128", image.patch_px.to_string())?;
    check(
        (image.patch_px..=8192).contains(&image.input_px) && image.input_px.is_multiple_of(image.patch_px),
        "image.input_px",
        "a multiple of patch_px, at most 8192",
        image.input_px.to_string(),
    )?;
    check(image.std.iter().all(|s| s.is_finite() && *s > 0.0), "image.std", "three positive numbers", format!("{:?}", image.std))?;
    check(image.mean.iter().all(|m| m.is_finite()), "image.mean", "three finite numbers", format!("{:?}", image.mean))?;
    let positions = &image.positions;
    for (name, value) in [("rows", positions.rows), ("cols", positions.cols), ("width", positions.width)] {
        check((1..=65536).contains(&value), &format!("image.positions.{name}"), "1 to 65536", value.to_string())?;
    }
    check((1..=65536).contains(&manifest.embedding_dim), "embedding_dim", "1 to 65536", manifest.embedding_dim.to_string())?;
    check((2..=4096).contains(&manifest.text.context), "text.context", "2 to 4096", manifest.text.context.to_string())?;
    check(
        manifest.logit_scale.is_finite() && manifest.logit_scale > 0.0,
        "logit_scale",
        "a positive number",
        manifest.logit_scale.to_string(),
    )?;
    check(manifest.logit_bias.is_none_or(f32::is_finite), "logit_bias", "a finite number or null", format!("{:?}", manifest.logit_bias))?;
    check(
        !manifest.templates.is_empty() && manifest.templates.iter().all(|t| t.matches("{}").count() == 1),
        "templates",
        "one or more sentences, each with one {}",
        format!("{:?}", manifest.templates),
    )?;
    for (name, value) in [("background", manifest.background), ("tag_threshold", manifest.tag_threshold)] {
        check((0.0..=1.0).contains(&value), name, "0 to 1", value.to_string())?;
    }
    for (part, name) in [
        ("image.blob", &image.blob),
        ("image.positions.blob", &positions.blob),
        ("text.blob", &manifest.text.blob),
        ("text.tokenizer", &manifest.text.tokenizer),
    ] {
        check(manifest.blobs.iter().any(|blob| blob.name == *name), part, "the name of a blob", format!("{name:?}"))?;
    }
    Ok(())
}

fn trim_zeros(area: &[u8]) -> Option<&[u8]> {
    area.iter().rposition(|&b| b != 0).map(|last| &area[..=last])
}
