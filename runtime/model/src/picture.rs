use std::fs::File;
use std::io::{BufRead, BufReader, Cursor, Read, Seek};
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};

use crate::{Error, Frame, Result};

/// Endings that count as pictures when a folder is read.
const ENDINGS: [&str; 8] = ["jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif"];
/// Enough for 300 megapixels of RGB; beyond it a small file that claims to be a vast picture is refused.
const MAX_DECODED_BYTES: u64 = 1 << 30;
const MAX_SIDE_PX: u32 = 1 << 16;

/// Reads a picture: upright by its EXIF orientation, transparency laid over white, the first image of an animation.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::Picture`] if it is not a whole picture of a known format.
pub fn read_picture(path: &Path) -> Result<Frame> {
    let fail = |found: String| Error::Picture { place: path.display().to_string(), found };
    if path.is_dir() {
        return Err(fail("a folder".into()));
    }
    let file = File::open(path).map_err(Error::io(path))?;
    let bytes = file.metadata().map_err(Error::io(path))?.len();
    if bytes == 0 {
        return Err(fail("an empty file".into()));
    }
    let reader = ImageReader::new(BufReader::new(file)).with_guessed_format().map_err(Error::io(path))?;
    let format = reader.format().ok_or_else(|| fail("bytes of no known picture format".into()))?;
    let decoded = if format == ImageFormat::Jpeg {
        let mut file = reader.into_inner();
        let mut jpeg = Vec::with_capacity(bytes as usize);
        file.rewind().and_then(|()| file.read_to_end(&mut jpeg)).map_err(Error::io(path))?;
        if !jpeg_is_whole(&jpeg) {
            return Err(fail("a JPEG without its end marker; it is cut off".into()));
        }
        decode(ImageReader::with_format(Cursor::new(jpeg), format))
    } else {
        decode(reader)
    };
    let picture = decoded.map_err(|e| fail(e.to_string()))?;
    if picture.width() == 0 || picture.height() == 0 {
        return Err(fail(format!("{}×{} pixels", picture.width(), picture.height())));
    }
    Ok(Frame::still(over_white(picture)))
}

fn decode<R: BufRead + Seek>(mut reader: ImageReader<R>) -> image::ImageResult<DynamicImage> {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    limits.max_image_width = Some(MAX_SIDE_PX);
    limits.max_image_height = Some(MAX_SIDE_PX);
    reader.limits(limits);
    let mut decoder = reader.into_decoder()?;
    let orientation = decoder.orientation()?;
    let mut picture = DynamicImage::from_decoder(decoder)?;
    picture.apply_orientation(orientation);
    Ok(picture)
}

/// The decoder fills what a cut-off JPEG lacks with grey and says nothing, so its end is looked for here.
/// Cameras append bytes behind the end marker (previews, depth maps), so it may stand anywhere after the scan starts.
fn jpeg_is_whole(bytes: &[u8]) -> bool {
    // EXIF may embed a thumbnail, a whole JPEG: only what follows the last start-of-scan marker counts.
    let scan = bytes.windows(2).rposition(|w| w == [0xff, 0xda]).unwrap_or(0);
    bytes[scan..].windows(2).any(|w| w == [0xff, 0xd9])
}

pub(crate) fn over_white(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    RgbImage::from_fn(rgba.width(), rgba.height(), |x, y| {
        let [r, g, b, a] = rgba.get_pixel(x, y).0.map(u16::from);
        image::Rgb([r, g, b].map(|c| ((c * a + 255 * (255 - a) + 127) / 255) as u8))
    })
}

/// Whether a file's name ends like a picture's.
pub fn is_picture(path: &Path) -> bool {
    path.extension().and_then(|e| e.to_str()).is_some_and(|e| ENDINGS.contains(&e.to_ascii_lowercase().as_str()))
}

/// Turns what a person typed into a list of pictures: a file stands for itself, a folder for the pictures in it (sorted, not
/// its subfolders), and what is neither for the files that match it as a glob. Each input gives its own result, so that one
/// that is missing does not hide the others.
pub fn expand_inputs(inputs: &[String]) -> Vec<Result<PathBuf>> {
    inputs.iter().flat_map(|input| expand(input)).collect()
}

fn expand(input: &str) -> Vec<Result<PathBuf>> {
    let path = Path::new(input);
    let nothing = |found: &str| {
        vec![Err(Error::Option { option: input.into(), expected: "a picture, a folder or a glob".into(), found: found.into() })]
    };
    if path.is_dir() {
        let mut found =
            match std::fs::read_dir(path).and_then(|entries| entries.map(|e| e.map(|e| e.path())).collect::<std::io::Result<Vec<_>>>()) {
                Ok(paths) => paths,
                Err(e) => return vec![Err(Error::io(path)(e))],
            };
        found.retain(|p| is_picture(p) && p.is_file());
        found.sort();
        if found.is_empty() { nothing("a folder without pictures") } else { found.into_iter().map(Ok).collect() }
    } else if path.exists() {
        vec![Ok(path.into())]
    } else if input.contains(['*', '?', '[']) {
        match glob::glob(input) {
            Err(e) => nothing(&format!("a glob that is wrong at {}: {}", e.pos, e.msg)),
            Ok(paths) => {
                let found: Vec<_> = paths.map(|p| p.map_err(|e| Error::Io { path: e.path().into(), source: e.into() })).collect();
                if found.is_empty() { nothing("a glob that matches nothing") } else { found }
            }
        }
    } else {
        nothing("nothing of that name")
    }
}
