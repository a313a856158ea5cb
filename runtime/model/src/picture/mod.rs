//! Pictures in files and in memory. What a header claims is held against a limit before anything is taken for it, and a decoder
//! that panics costs its own picture alone.

mod animation;
mod bmp;
mod jpeg;
mod kind;
mod scan;
mod tiff;

pub use animation::{animation_times, read_animation};

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use edge_seg_bundle::files::{Steady, about};
use edge_seg_bundle::text::shown;

use crate::contained::contained;
use crate::frame::{Alpha, over_white};
use crate::{Error, Frame, Result};

/// Endings that count as pictures when a folder is read.
const ENDINGS: [&str; 12] = ["jpg", "jpeg", "jfif", "jpe", "mpo", "png", "apng", "webp", "bmp", "tif", "tiff", "gif"];
/// Endings of pictures that cannot be read, of which a folder's reader is told.
const FOREIGN_ENDINGS: [&str; 13] = ["heic", "heif", "hif", "avif", "jxl", "jxr", "jp2", "j2k", "ppm", "pgm", "pnm", "psd", "tga"];
/// Endings of films, of which a folder's reader is told too.
const FILM_ENDINGS: [&str; 9] = ["mp4", "mkv", "mov", "avi", "webm", "m4v", "mpg", "mjpeg", "y4m"];
/// Cameras' raw pictures: many are TIFF on the outside.
const RAW_ENDINGS: [&str; 10] = ["dng", "cr2", "cr3", "nef", "arw", "orf", "rw2", "raf", "pef", "srw"];
/// What a picture may take in memory, its copies included: 350 megapixels of RGB that need none.
const MAX_DECODED_BYTES: u64 = 1 << 30;
/// What a frame of a stream may take: 85 megapixels.
const MAX_FRAME_BYTES: u64 = 1 << 28;
/// Beyond any highlight: floats that reach it count from 0 to 255 or further.
const MAX_FLOAT: f32 = 16.0;
const MAX_SIDE_PX: u32 = 1 << 16;
const MAX_FILE_BYTES: u64 = 1 << 30;
/// A JPEG is read whole before it is decoded.
const MAX_JPEG_BYTES: u64 = 1 << 28;
/// A JPEG spends a bit at least on the luma of a block of 64 pixels.
const MAX_PIXELS_A_BYTE: u64 = 512;

/// Reads a picture: upright by its EXIF orientation, transparency laid over white, the first image of an animation.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::Picture`] if it is not a whole picture of a known format, or one that takes
/// more than 1 GiB of memory. A JPEG's coded data are looked through: where codes are none, missing or left over, they are damaged.
pub fn read_picture(path: &Path) -> Result<Frame> {
    read_within(path, MAX_DECODED_BYTES, &mut None)
}

/// As [`read_picture`], also where the coded data of a JPEG are damaged: with what is wrong. What could not be read is grey, or of wrong
/// colours.
///
/// # Errors
/// As [`read_picture`] otherwise.
pub fn read_damaged_picture(path: &Path) -> Result<(Frame, Option<String>)> {
    let mut damage = Some(None);
    let frame = read_within(path, MAX_DECODED_BYTES, &mut damage)?;
    Ok((frame, damage.flatten()))
}

/// Reads a picture; damage is an error where nobody asks for it.
fn read_within(path: &Path, limit: u64, damage: &mut Option<Option<String>>) -> Result<Frame> {
    let fail = |found: String| Error::Picture { place: path.display().to_string(), found };
    // Asked before it is opened, which waits for a writer where it is a named pipe.
    let about = std::fs::metadata(path).map_err(Error::io(path))?;
    if about.is_dir() {
        return Err(fail("a folder".into()));
    }
    if !about.is_file() {
        return Err(fail("a pipe or device; save what comes from it as a file first".into()));
    }
    let bytes = about.len();
    if bytes == 0 {
        return Err(fail("an empty file".into()));
    }
    if bytes > MAX_FILE_BYTES {
        return Err(fail(format!("a file of {bytes} bytes, where at most {MAX_FILE_BYTES} are read")));
    }
    let mut file = BufReader::new(Steady(File::open(path).map_err(Error::io(path))?));
    let mut start = Vec::new();
    file.by_ref().take(64).read_to_end(&mut start).and_then(|_| file.rewind()).map_err(Error::io(path))?;
    let format = guess_format(&start).ok_or_else(|| fail(kind::describe(&start).into()))?;
    let picture = if format == ImageFormat::Jpeg {
        let mut jpeg = Vec::with_capacity(bytes.min(MAX_JPEG_BYTES) as usize);
        file.take(MAX_JPEG_BYTES + 1).read_to_end(&mut jpeg).map_err(Error::io(path))?;
        decode_with(|| whole_jpeg(&jpeg, limit, damage))
    } else {
        decode_with(|| decode_other(file, format, limit))
    };
    Ok(Frame::still(picture.map_err(fail)?))
}

/// As [`read_picture`], of a file that is in memory; `place` names it in errors.
///
/// # Errors
/// [`Error::Picture`] as there.
pub fn decode_picture(place: &str, bytes: &[u8]) -> Result<Frame> {
    let picture = match guess_format(bytes) {
        _ if bytes.is_empty() => Err("an empty file".into()),
        Some(ImageFormat::Jpeg) => decode_with(|| whole_jpeg(bytes, MAX_DECODED_BYTES, &mut None)),
        Some(format) => decode_with(|| decode_other(Cursor::new(bytes), format, MAX_DECODED_BYTES)),
        None => Err(kind::describe(&bytes[..bytes.len().min(64)]).into()),
    };
    picture.map(Frame::still).map_err(|found| Error::Picture { place: place.into(), found })
}

fn decode_other<R: BufRead + Seek>(mut file: R, format: ImageFormat, limit: u64) -> Result<RgbImage, String> {
    if format == ImageFormat::Bmp {
        let mended = bmp::mended(file).map_err(|error| error.to_string())?;
        return decode(ImageReader::with_format(BufReader::new(mended), format), limit, Alpha::Straight);
    }
    let kind = if format == ImageFormat::Tiff { tiff::look(&mut file).unwrap_or_default() } else { tiff::Kind::default() };
    if let Some(found) = kind.refused {
        return Err(found);
    }
    file.rewind().map_err(|error| error.to_string())?;
    decode(ImageReader::with_format(file, format), limit, if kind.premultiplied { Alpha::Premultiplied } else { Alpha::Straight })
}

/// How a picture is turned before it is shown, by its EXIF orientation. A file that says nothing, or cannot be read that far, is not.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read.
pub fn read_orientation(path: &Path) -> Result<Orientation> {
    if !std::fs::metadata(path).map_err(Error::io(path))?.is_file() {
        return Ok(Orientation::NoTransforms);
    }
    let mut file = Steady(File::open(path).map_err(Error::io(path))?);
    let mut start = Vec::new();
    file.by_ref().take(64).read_to_end(&mut start).and_then(|_| file.rewind()).map_err(Error::io(path))?;
    let found = decode_with(|| match image::guess_format(&start) {
        Ok(ImageFormat::Jpeg) => jpeg::orientation(BufReader::new(file)).map_err(|e| e.to_string()),
        Ok(format) => {
            let mut reader = ImageReader::with_format(BufReader::new(file), format);
            let mut limits = Limits::default();
            limits.max_alloc = Some(MAX_DECODED_BYTES);
            reader.limits(limits);
            orientation(&mut reader.into_decoder().map_err(|e| e.to_string())?)
        }
        Err(_) => Ok(Orientation::NoTransforms),
    });
    Ok(found.unwrap_or(Orientation::NoTransforms))
}

/// What a file that begins with these bytes is, where it is no picture that [`read_picture`] knows, and what to do with it.
pub fn describe_picture(start: &[u8]) -> &'static str {
    match guess_format(start) {
        Some(ImageFormat::Jpeg) => "a JPEG",
        Some(_) => "another format of pictures",
        None => kind::describe(start),
    }
}

/// The format that bytes begin as, where there is a decoder for it here.
fn guess_format(start: &[u8]) -> Option<ImageFormat> {
    image::guess_format(start).ok().filter(ImageFormat::reading_enabled)
}

/// Decodes a picture; a decoder's panic is one more thing that is wrong with it.
fn decode_with<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    contained(decode).unwrap_or_else(|said| Err(format!("what makes its decoder give up: {}", said.lines().next().unwrap_or_default())))
}

/// Refuses what takes too much memory, before anything is taken.
fn check_size(width: u32, height: u32, bytes: u64, limit: u64) -> Result<(), String> {
    if width == 0 || height == 0 {
        return Err(format!("{width}×{height} pixels"));
    }
    if width > MAX_SIDE_PX || height > MAX_SIDE_PX {
        return Err(format!("{width}×{height} pixels, where sides of up to {MAX_SIDE_PX} are read"));
    }
    if bytes > limit {
        return Err(format!("{width}×{height} pixels, which take {bytes} bytes of memory where {limit} are the limit; scale it down"));
    }
    Ok(())
}

fn decode<R: BufRead + Seek>(mut reader: ImageReader<R>, limit: u64, alpha: Alpha) -> Result<RgbImage, String> {
    let said = |e: image::ImageError| e.to_string();
    let format = reader.format();
    // Some decoders take memory for what the header claims before they can be asked for its size.
    let mut limits = Limits::default();
    limits.max_alloc = Some(limit);
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE_PX), Some(MAX_SIDE_PX));
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(said)?;
    let orientation = orientation(&mut decoder)?;
    let ((width, height), colours, decoded) = (decoder.dimensions(), decoder.color_type(), decoder.total_bytes());
    let area = u64::from(width) * u64::from(height);
    let own = if matches!(format, Some(ImageFormat::Png | ImageFormat::Bmp)) { 0 } else { decoded };
    let turned = if orientation == Orientation::NoTransforms { 0 } else { decoded };
    let converted = match colours {
        image::ColorType::Rgb8 => 0,
        colours if colours.has_alpha() => 7 * area,
        _ => 3 * area,
    };
    check_size(width, height, decoded.saturating_add(own.max(turned)).saturating_add(converted), limit)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(said)?;
    let brightest = match &picture {
        DynamicImage::ImageRgb32F(floats) => floats.iter().copied().fold(0.0, f32::max),
        DynamicImage::ImageRgba32F(floats) => floats.iter().copied().fold(0.0, f32::max),
        _ => 0.0,
    };
    if brightest > MAX_FLOAT {
        return Err(format!("floats of up to {brightest}, where 0 is black and 1 white; divide them, or save it with 8 or 16 bits"));
    }
    picture.apply_orientation(orientation);
    Ok(over_white(picture, alpha))
}

/// How a picture is to be turned. EXIF may begin with the mark that JPEG puts before it.
fn orientation(decoder: &mut impl ImageDecoder) -> Result<Orientation, String> {
    let exif = decoder.exif_metadata().map_err(|e| e.to_string())?;
    match exif.as_deref().and_then(|exif| Orientation::from_exif_chunk(exif.strip_prefix(b"Exif\0\0").unwrap_or(exif))) {
        Some(orientation) => Ok(orientation),
        None => decoder.orientation().map_err(|e| e.to_string()),
    }
}

/// What is to be decoded of a JPEG: its shape, and its bytes with the tables that it lacks.
fn checked_jpeg(bytes: &[u8], limit: u64) -> Result<(jpeg::Shape, std::borrow::Cow<'_, [u8]>), String> {
    let shape = jpeg::walk(bytes)?;
    let area = u64::from(shape.width) * u64::from(shape.height);
    let converted = if shape.components == 3 { 0 } else { 3 * area };
    check_size(shape.width, shape.height, shape.decoded_bytes() + converted, limit)?;
    if bytes.len() as u64 * MAX_PIXELS_A_BYTE < area {
        return Err(format!("{}×{} pixels in a JPEG of {} bytes, which cannot hold them", shape.width, shape.height, bytes.len()));
    }
    let mut bytes = jpeg::with_tables(jpeg::with_jfif_colours(bytes, &shape), &shape);
    if !shape.whole {
        // Some writers leave the end marker out. Of several scans a later one may be what is missing.
        bytes.to_mut().extend([0xff, 0xd9]);
        if shape.several_scans || !shape.has_scan() || scan::judge(&bytes) != Some(Ok(())) {
            return Err(format!("a JPEG without its end marker; it is cut off after {} bytes: copy or fetch it again", bytes.len() - 2));
        }
    }
    Ok((shape, bytes))
}

fn whole_jpeg(bytes: &[u8], limit: u64, damage: &mut Option<Option<String>>) -> Result<RgbImage, String> {
    if bytes.len() as u64 > MAX_JPEG_BYTES {
        return Err(format!("a JPEG of more than {MAX_JPEG_BYTES} bytes, which are the most that are read"));
    }
    let (shape, bytes) = checked_jpeg(bytes, limit)?;
    match (scan::damage(&bytes), damage) {
        (None, _) => {}
        (found, Some(told)) => *told = found,
        (Some(found), None) => return Err(format!("a JPEG, but {found}")),
    }
    let mut decoder = jpeg::header(&bytes)?;
    let orientation = orientation(&mut decoder)?;
    if orientation != Orientation::NoTransforms {
        check_size(shape.width, shape.height, shape.decoded_bytes() + decoder.total_bytes(), limit)?;
    }
    let mut picture = match shape.is_separate() {
        true => jpeg::separate_scans(&bytes)?,
        false => DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?,
    };
    picture.apply_orientation(orientation);
    Ok(picture.into_rgb8())
}

/// Decodes a JPEG, as it lies, into memory that is reused where it is RGB.
///
/// # Errors
/// What is wrong: it is cut off, damaged, or takes more than 256 MiB of memory.
pub fn decode_jpeg(bytes: &[u8], picture: &mut RgbImage) -> Result<(), String> {
    let decoded = decode_with(|| {
        let (shape, bytes) = checked_jpeg(bytes, MAX_FRAME_BYTES)?;
        if shape.is_separate() {
            *picture = jpeg::separate_scans(&bytes)?.into_rgb8();
            return Ok(());
        }
        let decoder = jpeg::header(&bytes)?;
        if decoder.color_type() != image::ColorType::Rgb8 {
            *picture = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?.into_rgb8();
            return Ok(());
        }
        if picture.dimensions() != (shape.width, shape.height) {
            let mut bytes = std::mem::take(picture).into_raw();
            bytes.resize(decoder.total_bytes() as usize, 0);
            *picture = RgbImage::from_raw(shape.width, shape.height, bytes).unwrap_or_default();
        }
        decoder.read_image(picture.as_flat_samples_mut().samples).map_err(|e| e.to_string())
    });
    if decoded.is_err() {
        *picture = RgbImage::default();
    }
    decoded
}

/// Whether a file's name ends like a picture's, and does not begin like the companions of files that macOS writes.
pub fn is_picture(path: &Path) -> bool {
    !is_companion(path) && has_ending(path, &ENDINGS)
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| endings.contains(&e.to_ascii_lowercase().as_str()))
}

/// Whether a file is the companion `._NAME` of another, which holds what a foreign file system cannot keep of that on macOS (AppleDouble);
/// it is never the file itself.
pub fn is_companion(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"._"))
}

/// Turns what a person typed into a list of pictures: a file stands for itself, a folder for the pictures in it (sorted, not
/// its subfolders), and what is neither for the files that match it as a glob. Each input gives its own result, so that one
/// that is missing does not hide the others.
pub fn expand_inputs(inputs: &[String]) -> Vec<Result<PathBuf>> {
    inputs.iter().flat_map(|input| expand(input, PicturesBelow::globs)).collect()
}

/// The pictures of a folder, or a picture, as [`expand_inputs`] finds them, for what takes no globs.
pub fn expand_folder(path: &Path) -> Vec<Result<PathBuf>> {
    expand(&path.display().to_string(), PicturesBelow::folder)
}

/// Says how many pictures lie in the sub-folders of a folder that is read without them.
pub fn tell_passed_over(folder: &Path) {
    let input = folder.display().to_string();
    if let Some(advice) = PicturesBelow::count(folder).advice(&input, PicturesBelow::folder) {
        tracing::info!("{}: {advice}", shown(&input));
    }
}

fn expand(input: &str, to_type: fn(&PicturesBelow, &str) -> String) -> Vec<Result<PathBuf>> {
    let path = Path::new(input);
    let nothing = |found: &str| {
        vec![Err(Error::Option {
            option: shown(input).into_owned(),
            expected: "a picture, a folder or a glob".into(),
            found: found.into(),
        })]
    };
    if path.is_dir() {
        let mut found =
            match std::fs::read_dir(path).and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>()) {
                Ok(paths) => paths,
                Err(e) => return vec![Err(Error::io(path)(e))],
            };
        // What the disk does not tell is kept: reading it will tell why.
        found.retain(|p| about(p).map_or(true, |about| about.is_some_and(|about| about.is_file())) && !is_companion(p));
        found.sort();
        let (pictures, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|p| is_picture(p));
        let foreign: Vec<_> = others.iter().filter(|p| has_ending(p, &FOREIGN_ENDINGS) || has_ending(p, &RAW_ENDINGS)).collect();
        let below = PicturesBelow::count(path);
        let films: Vec<_> = others.iter().filter(|p| has_ending(p, &FILM_ENDINGS)).collect();
        if let Some(first) = films.first() {
            let more = if films.len() > 1 { format!(" (and {} more films of this folder)", films.len() - 1) } else { String::new() };
            let name = shown(&first.to_string_lossy()).into_owned();
            if pictures.is_empty() && foreign.is_empty() && below.count == 0 {
                return nothing(&format!("a folder without pictures; {name}{more} is a film, which a source of video reads"));
            }
            tracing::info!("{name}{more} is left out: a film, which a source of video reads");
        }
        if pictures.is_empty() && foreign.is_empty() {
            return match below.advice(input, to_type) {
                Some(advice) => nothing(&format!("a folder without pictures of its own; {advice}")),
                None => nothing("a folder without pictures"),
            };
        }
        if let Some(advice) = below.advice(input, to_type) {
            tracing::info!("{}: {advice}", shown(input));
        }
        // They would be missed: told once, whatever their number.
        let told = foreign.first().map(|first| {
            let more = if foreign.len() > 1 { format!(" (and {} like it in this folder)", foreign.len() - 1) } else { String::new() };
            let mut start = Vec::new();
            let read = File::open(first).and_then(|file| file.take(64).read_to_end(&mut start));
            let found = match read {
                Err(_) => "a file that cannot be opened",
                Ok(_) if has_ending(first, &RAW_ENDINGS) => kind::RAW,
                Ok(_) => describe_picture(&start),
            };
            Err(Error::Picture { place: first.display().to_string(), found: format!("{found}{more}") })
        });
        pictures.into_iter().map(Ok).chain(told).collect()
    } else if path.exists() {
        vec![Ok(path.into())]
    } else if input.contains(['*', '?', '[']) {
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
        match glob::glob_with(input, options) {
            Err(e) => nothing(&format!("a glob that is wrong at {}: {}", e.pos, e.msg)),
            Ok(paths) => {
                let is_told = |p: &Path| !is_companion(p) && (input.contains(OUT_FOLDER) || !p.iter().any(|part| part == OUT_FOLDER));
                let paths = paths.filter(|p| !p.as_ref().is_ok_and(|p| !is_told(p)));
                let found: Vec<_> = paths.map(|p| p.map_err(|e| Error::Io { path: e.path().into(), source: e.into() })).collect();
                if found.is_empty() { nothing("a glob that matches nothing") } else { found }
            }
        }
    } else {
        let is_stream = ["test:", "rpicam:", "csi:", "v4l2:", "rtsp:", "rtsps:", "rtmp:", "srt:", "/dev/video"];
        match input {
            _ if is_stream.iter().any(|start| input.starts_with(start)) => nothing("a camera or a stream, which a source of video reads"),
            _ if input.contains("://") => nothing("an address, and no file; fetch it first"),
            _ if input.contains(['.', '/']) => nothing("nothing of that name here"),
            _ => nothing("nothing of that name"),
        }
    }
}

/// Where the programs write their masks and overlays if they are told no other folder. What lies there is no input unless it is named.
const OUT_FOLDER: &str = "edge-seg-out";

/// Pictures in the folders below one, which are no input unless they are named.
#[derive(Default)]
struct PicturesBelow {
    count: usize,
    /// Endings of all pictures, also of the folder's own.
    endings: BTreeSet<String>,
    /// Folders that hold some.
    folders: BTreeSet<PathBuf>,
}

impl PicturesBelow {
    /// Entries beyond which a tree is not looked through: it is a disk, and no folder of pictures.
    const MOST_ENTRIES: usize = 100_000;

    fn count(folder: &Path) -> Self {
        let (mut found, mut open, mut seen) = (Self::default(), vec![(folder.to_path_buf(), false)], 0);
        while let Some((folder, is_below)) = open.pop() {
            // What cannot be read holds nothing that could be named.
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                seen += 1;
                if seen > Self::MOST_ENTRIES {
                    return found;
                }
                let (path, kind) = (entry.path(), entry.file_type());
                if entry.file_name().as_encoded_bytes().starts_with(b".") || entry.file_name() == OUT_FOLDER {
                    continue;
                }
                if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) {
                    open.push((path, true));
                } else if is_picture(&path) && kind.is_ok_and(|kind| kind.is_file()) {
                    found.count += usize::from(is_below);
                    found.endings.extend(path.extension().map(|ending| ending.to_string_lossy().into_owned()));
                    found.folders.extend(path.parent().filter(|_| is_below).map(Path::to_path_buf));
                }
            }
        }
        found
    }

    /// How many there are, and what to type for them.
    fn advice(&self, folder: &str, to_type: fn(&Self, &str) -> String) -> Option<String> {
        let plural = if self.count == 1 { "picture in its sub-folders is" } else { "pictures in its sub-folders are" };
        (self.count > 0).then(|| format!("{} {plural} passed over; {}", self.count, to_type(self, folder)))
    }

    fn globs(&self, folder: &str) -> String {
        let folder = glob::Pattern::escape(folder.trim_end_matches('/')).replace('\'', "'\\''");
        let globs: Vec<String> = self.endings.iter().map(|ending| format!("'{}/**/*.{ending}'", shown(&folder))).collect();
        format!("to take all, give {}", globs.join(" "))
    }

    fn folder(&self, _: &str) -> String {
        let first = self.folders.first().map(|folder| folder.display().to_string()).unwrap_or_default();
        format!("one folder is taken at a time, such as {}", shown(&first))
    }
}

#[cfg(test)]
mod tests;
