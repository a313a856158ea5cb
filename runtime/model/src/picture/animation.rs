//! Animations: GIF, WebP and PNG that hold several pictures, each with the time that it is shown.

use std::fs::File;
use std::io::{BufReader, Cursor, Read, Seek};
use std::path::Path;
use std::time::Duration;

use image::codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::error::{DecodingError, ImageFormatHint};
use image::metadata::Orientation;
use image::{
    AnimationDecoder, Delay, DynamicImage, Frames, ImageDecoder, ImageError, ImageFormat, ImageResult, Limits, RgbImage, RgbaImage,
    imageops,
};

use edge_seg_bundle::files::Steady;

use super::{MAX_DECODED_BYTES, MAX_SIDE_PX, check_size, decode_with, orientation};
use crate::frame::{Alpha, over_white};
use crate::{Error, Result};

/// Programs that make animations as fast as they can be mean this instead, as browsers take them.
const USUAL: Duration = Duration::from_millis(100);
const TOO_SHORT: Duration = Duration::from_millis(10);
/// More pictures than anybody draws; a file of so many is none.
const MAX_PICTURES: usize = 1 << 20;

/// How long each picture of an animation is shown; none of a file that holds a single picture, or is no GIF, WebP or PNG. What is cut off
/// or damaged ends the list.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read.
pub fn animation_times(path: &Path) -> Result<Option<Vec<Duration>>> {
    if !std::fs::metadata(path).map_err(Error::io(path))?.is_file() {
        return Ok(None);
    }
    let (mut file, format) = opened(path)?;
    let mut times = Vec::new();
    // What cannot be read further is the decoder's to tell.
    let _ = match format {
        Some(ImageFormat::Gif) => gif_times(&mut file, &mut times),
        Some(ImageFormat::WebP) => webp_times(&mut file, &mut times),
        Some(ImageFormat::Png) => png_times(&mut file, &mut times),
        _ => Ok(()),
    };
    Ok(Some(times).filter(|times| times.len() > 1))
}

/// Decodes an animation: upright by its EXIF orientation, transparency laid over white. `each` gets one picture after the other, and says
/// whether it wants more.
///
/// # Errors
/// [`Error::Io`] if the file cannot be read, [`Error::Picture`] if it is damaged or takes more than 1 GiB of memory.
pub fn read_animation(path: &Path, mut each: impl FnMut(RgbImage) -> bool) -> Result<()> {
    let (file, format) = opened(path)?;
    let played = decode_with(|| {
        let said = |e: image::ImageError| e.to_string();
        match format {
            Some(ImageFormat::Gif) => play(GifDecoder::new(file).map_err(said)?, |decoder| Ok(decoder.into_frames()), &mut each),
            Some(ImageFormat::WebP) => {
                let (own, _) = opened(path).map_err(|e| e.to_string())?;
                play(WebPDecoder::new(file).map_err(said)?, |decoder| Ok(webp_frames(own, decoder.dimensions())), &mut each)
            }
            Some(ImageFormat::Png) => {
                let decoder = PngDecoder::with_limits(file, limits()).map_err(said)?;
                play(decoder, |decoder| Ok(decoder.apng()?.into_frames()), &mut each)
            }
            _ => Err("no animation".into()),
        }
    });
    played.map_err(|found| Error::Picture { place: path.display().to_string(), found })
}

fn play<'a, D: ImageDecoder>(
    mut decoder: D,
    frames: impl FnOnce(D) -> ImageResult<Frames<'a>>,
    each: &mut impl FnMut(RgbImage) -> bool,
) -> Result<(), String> {
    let said = |e: image::ImageError| e.to_string();
    let (width, height) = decoder.dimensions();
    // The picture so far, the one that is put over it, and what is handed out, in four channels each; and that in three.
    check_size(width, height, 15 * u64::from(width) * u64::from(height), MAX_DECODED_BYTES)?;
    decoder.set_limits(limits()).map_err(said)?;
    let turn = orientation(&mut decoder)?;
    let mut is_empty = true;
    for frame in frames(decoder).map_err(said)? {
        let mut picture = DynamicImage::ImageRgba8(frame.map_err(said)?.into_buffer());
        if turn != Orientation::NoTransforms {
            picture.apply_orientation(turn);
        }
        is_empty = false;
        if !each(over_white(picture, Alpha::Straight)) {
            break;
        }
    }
    if is_empty { Err("an animation without a picture".into()) } else { Ok(()) }
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_DECODED_BYTES);
    (limits.max_image_width, limits.max_image_height) = (Some(MAX_SIDE_PX), Some(MAX_SIDE_PX));
    limits
}

fn opened(path: &Path) -> Result<(BufReader<Steady<File>>, Option<ImageFormat>)> {
    let mut file = BufReader::new(Steady(File::open(path).map_err(Error::io(path))?));
    let mut start = Vec::new();
    file.by_ref().take(64).read_to_end(&mut start).and_then(|_| file.rewind()).map_err(Error::io(path))?;
    Ok((file, image::guess_format(&start).ok()))
}

fn shown(time: Duration) -> Duration {
    if time <= TOO_SHORT { USUAL } else { time }
}

fn bytes<const N: usize>(file: &mut impl Read) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes).map(|()| bytes)
}

/// GIF89a, sections 18 to 23: what follows the header are extensions and pictures in blocks.
fn gif_times(file: &mut BufReader<Steady<File>>, times: &mut Vec<Duration>) -> std::io::Result<()> {
    let table = |packed: u8| if packed & 0x80 == 0 { 0 } else { 3 << ((packed & 7) + 1) };
    let header: [u8; 13] = bytes(file)?;
    file.seek_relative(table(header[10]))?;
    let mut delay = Duration::ZERO;
    while times.len() < MAX_PICTURES {
        match bytes::<1>(file)?[0] {
            0x21 => {
                if bytes::<1>(file)?[0] == 0xf9 {
                    let [_, _, low, high, _]: [u8; 5] = bytes(file)?;
                    delay = Duration::from_millis(10 * u64::from(u16::from_le_bytes([low, high])));
                }
                pass_blocks(file)?;
            }
            0x2c => {
                let place: [u8; 9] = bytes(file)?;
                // And the width of the codes.
                file.seek_relative(table(place[8]) + 1)?;
                pass_blocks(file)?;
                times.push(shown(std::mem::take(&mut delay)));
            }
            _ => break,
        }
    }
    Ok(())
}

fn pass_blocks(file: &mut BufReader<Steady<File>>) -> std::io::Result<()> {
    loop {
        match bytes::<1>(file)?[0] {
            0 => return Ok(()),
            length => file.seek_relative(i64::from(length))?,
        }
    }
}

/// WebP container specification, "Animation": a chunk `ANMF` a picture, its time in 24 bits behind its place and size.
fn webp_times(file: &mut BufReader<Steady<File>>, times: &mut Vec<Duration>) -> std::io::Result<()> {
    let _: [u8; 12] = bytes(file)?;
    while times.len() < MAX_PICTURES {
        let [a, b, c, d, length @ ..]: [u8; 8] = bytes(file)?;
        let length = i64::from(u32::from_le_bytes(length));
        let padded = length + length % 2;
        let rest = if &[a, b, c, d] == b"ANMF" && padded >= 16 {
            let head: [u8; 16] = bytes(file)?;
            times.push(shown(Duration::from_millis(u64::from(u32::from_le_bytes([head[12], head[13], head[14], 0])))));
            padded - 16
        } else {
            padded
        };
        file.seek_relative(rest)?;
    }
    Ok(())
}

/// The pictures of an animated WebP, put over one another here: the decoder (image-webp 0.2.4) does not clear what a picture leaves unless
/// it is told a colour, and then clears the wrong pixels where the next picture is opaque.
fn webp_frames(mut file: BufReader<Steady<File>>, (width, height): (u32, u32)) -> Frames<'static> {
    let mut shown = RgbaImage::new(width, height);
    let (mut began, mut leaves) = (false, None);
    Frames::new(Box::new(std::iter::from_fn(move || {
        if !std::mem::replace(&mut began, true)
            && let Err(error) = bytes::<12>(&mut file)
        {
            return Some(Err(error.into()));
        }
        // What is no chunk any more is the end.
        let body = loop {
            let [kind @ .., l0, l1, l2, l3]: [u8; 8] = bytes(&mut file).ok()?;
            let length = u32::from_le_bytes([l0, l1, l2, l3]);
            let padded = i64::from(length) + i64::from(length % 2);
            if &kind == b"ANMF" {
                let mut body = Vec::new();
                let read = file.by_ref().take(padded as u64).read_to_end(&mut body);
                break read.map(|_| body);
            }
            file.seek_relative(padded).ok()?;
        };
        let drawn = body.map_err(ImageError::from).and_then(|body| draw_webp(&body, &mut shown, &mut leaves));
        Some(drawn.map(|()| image::Frame::from_parts(shown.clone(), 0, 0, Delay::from_numer_denom_ms(0, 1))))
    })))
}

/// Puts a picture of an animation over what is shown; `leaves` is the place that the one before leaves clear.
fn draw_webp(body: &[u8], shown: &mut RgbaImage, leaves: &mut Option<[u32; 4]>) -> ImageResult<()> {
    let wrong = |why: &str| ImageError::Decoding(DecodingError::new(ImageFormatHint::Exact(ImageFormat::WebP), why.to_owned()));
    let (head, data) = body.split_at_checked(16).ok_or_else(|| wrong("a picture of an animation that is cut off"))?;
    let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], 0]);
    let [x, y, width, height] = [2 * number(0), 2 * number(3), number(6) + 1, number(9) + 1];
    if x + width > shown.width() || y + height > shown.height() {
        return Err(wrong("a picture of an animation that reaches out of it"));
    }
    // A file of its own. Alpha that stands apart needs a header that says so.
    let side = |from: usize| &head[from..from + 3];
    let extended = [b"VP8X\x0a\0\0\0\x10\0\0\0", side(6), side(9)].concat();
    let header = if data.starts_with(b"ALPH") { extended.as_slice() } else { &[] };
    let length = (4 + header.len() + data.len()) as u32;
    let file = [b"RIFF", length.to_le_bytes().as_slice(), b"WEBP", header, data].concat();
    let mut decoder = WebPDecoder::new(Cursor::new(file))?;
    decoder.set_limits(limits())?;
    if decoder.dimensions() != (width, height) {
        return Err(wrong("a picture of an animation that is of another size than it claims"));
    }
    let picture = DynamicImage::from_decoder(decoder)?.into_rgba8();
    if let Some([x, y, width, height]) = leaves.take() {
        imageops::replace(shown, &RgbaImage::new(width, height), x.into(), y.into());
    }
    // WebP container specification, figure 10: the last bit says that its place is cleared after it, the one before that it is not blended.
    match head[15] & 2 {
        0 => imageops::overlay(shown, &picture, x.into(), y.into()),
        _ => imageops::replace(shown, &picture, x.into(), y.into()),
    }
    *leaves = (head[15] & 1 == 1).then_some([x, y, width, height]);
    Ok(())
}

/// PNG, third edition, section 11.3.6: a chunk `fcTL` a picture, its time as a fraction of a second, of hundredths where it has no
/// denominator.
fn png_times(file: &mut BufReader<Steady<File>>, times: &mut Vec<Duration>) -> std::io::Result<()> {
    let _: [u8; 8] = bytes(file)?;
    while times.len() < MAX_PICTURES {
        let [l0, l1, l2, l3, kind @ ..]: [u8; 8] = bytes(file)?;
        let with_checksum = i64::from(u32::from_be_bytes([l0, l1, l2, l3])) + 4;
        let rest = match &kind {
            b"IEND" => break,
            b"fcTL" if with_checksum >= 30 => {
                let head: [u8; 26] = bytes(file)?;
                let [parts, of] = [20, 22].map(|at| u64::from(u16::from_be_bytes([head[at], head[at + 1]])));
                times.push(shown(Duration::from_micros(parts * 1_000_000 / if of == 0 { 100 } else { of })));
                with_checksum - 26
            }
            _ => with_checksum,
        };
        file.seek_relative(rest)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::gif::GifEncoder;
    use image::{ExtendedColorType, ImageEncoder, Rgba};

    const COLOURS: [[u8; 3]; 3] = [[200, 30, 40], [20, 180, 60], [30, 50, 220]];
    /// The last is too short to be meant.
    const SHOWN_MS: [u16; 3] = [40, 250, 0];

    fn picture(colour: [u8; 3]) -> RgbaImage {
        RgbaImage::from_pixel(12, 10, Rgba([colour[0], colour[1], colour[2], 255]))
    }

    fn gif() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = GifEncoder::new(&mut bytes);
        for (colour, ms) in COLOURS.into_iter().zip(SHOWN_MS) {
            let frame = image::Frame::from_parts(picture(colour), 0, 0, Delay::from_numer_denom_ms(u32::from(ms), 1));
            encoder.encode_frame(frame).unwrap();
        }
        drop(encoder);
        bytes
    }

    fn webp() -> Vec<u8> {
        let chunk = |kind: &[u8], data: &[u8]| [kind, &(data.len() as u32).to_le_bytes(), data, &[0][..data.len() % 2]].concat();
        let size = [11, 0, 0, 9, 0, 0];
        let mut body = [b"WEBP".as_slice(), &chunk(b"VP8X", &[&[0x02, 0, 0, 0][..], &size].concat()), &chunk(b"ANIM", &[0; 6])].concat();
        for (colour, ms) in COLOURS.into_iter().zip(SHOWN_MS) {
            let mut still = Vec::new();
            let encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut still);
            encoder.write_image(&picture(colour), 12, 10, ExtendedColorType::Rgba8).unwrap();
            let [low, high] = ms.to_le_bytes();
            body.extend(chunk(b"ANMF", &[&[0; 6][..], &size, &[low, high, 0, 0], &still[12..]].concat()));
        }
        [b"RIFF".as_slice(), &(body.len() as u32).to_le_bytes(), &body].concat()
    }

    fn crc(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
    }

    fn png() -> Vec<u8> {
        let chunk = |kind: &[u8], data: &[u8]| {
            let named = [kind, data].concat();
            [&(data.len() as u32).to_be_bytes(), named.as_slice(), &crc(&named).to_be_bytes()].concat()
        };
        let still = |colour| {
            let mut bytes = Vec::new();
            let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
            encoder.write_image(&picture(colour), 12, 10, ExtendedColorType::Rgba8).unwrap();
            bytes
        };
        let mut bytes = [&still(COLOURS[0])[..33], &chunk(b"acTL", &[0, 0, 0, 3, 0, 0, 0, 0])].concat();
        let mut number = 0u32;
        for (at, (colour, ms)) in COLOURS.into_iter().zip(SHOWN_MS).enumerate() {
            let place = [12u32, 10, 0, 0].map(u32::to_be_bytes).concat();
            bytes.extend(chunk(b"fcTL", &[&number.to_be_bytes()[..], &place, &ms.to_be_bytes(), &1000u16.to_be_bytes(), &[0, 0]].concat()));
            number += 1;
            let still = still(colour);
            let start = still.windows(4).position(|kind| kind == b"IDAT").unwrap();
            let length = u32::from_be_bytes(still[start - 4..start].try_into().unwrap()) as usize;
            let data = &still[start + 4..][..length];
            if at == 0 {
                bytes.extend(chunk(b"IDAT", data));
            } else {
                bytes.extend(chunk(b"fdAT", &[&number.to_be_bytes(), data].concat()));
                number += 1;
            }
        }
        bytes.extend(chunk(b"IEND", &[]));
        bytes
    }

    /// A WebP of 8×4 pixels: each picture has a place, flags and a colour.
    fn composed(pictures: &[([u8; 4], u8, [u8; 4])]) -> Vec<u8> {
        let chunk = |kind: &[u8], data: &[u8]| [kind, &(data.len() as u32).to_le_bytes(), data, &[0][..data.len() % 2]].concat();
        let mut body = [b"WEBP".as_slice(), &chunk(b"VP8X", &[0x12, 0, 0, 0, 7, 0, 0, 3, 0, 0]), &chunk(b"ANIM", &[0; 6])].concat();
        for ([x, y, width, height], flags, colour) in pictures {
            let picture = RgbaImage::from_pixel(u32::from(*width), u32::from(*height), Rgba(*colour));
            let mut still = Vec::new();
            // Without alpha where it has none, as encoders leave it out.
            let encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut still);
            match colour[3] {
                255 => {
                    let opaque = DynamicImage::from(picture).into_rgb8();
                    encoder.write_image(&opaque, opaque.width(), opaque.height(), ExtendedColorType::Rgb8).unwrap();
                }
                _ => encoder.write_image(&picture, picture.width(), picture.height(), ExtendedColorType::Rgba8).unwrap(),
            }
            let head = [x / 2, 0, 0, y / 2, 0, 0, width - 1, 0, 0, height - 1, 0, 0, 100, 0, 0, *flags];
            body.extend(chunk(b"ANMF", &[&head[..], &still[12..]].concat()));
        }
        [b"RIFF".as_slice(), &(body.len() as u32).to_le_bytes(), &body].concat()
    }

    #[test]
    fn pictures_of_a_webp_leave_what_they_are_to_leave() {
        const RED: [u8; 4] = [200, 0, 0, 255];
        const BLUE: [u8; 4] = [0, 0, 200, 255];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.webp");
        // What is seen at the left, where the first picture was, and at the right in the second picture, both opaque or not.
        let cases = [
            (0, BLUE, [200, 0, 0], [0, 0, 200]),
            (1, BLUE, [255; 3], [0, 0, 200]),
            (2, BLUE, [200, 0, 0], [0, 0, 200]),
            (3, BLUE, [255; 3], [0, 0, 200]),
            (0, [0, 0, 200, 0], [200, 0, 0], [255; 3]),
            (1, [0, 0, 200, 0], [255; 3], [255; 3]),
        ];
        for (flags, colour, left, right) in cases {
            std::fs::write(&path, composed(&[([0, 0, 4, 4], flags, RED), ([4, 0, 4, 4], 0, colour)])).unwrap();
            let mut seen = Vec::new();
            read_animation(&path, |picture| {
                seen.push([1, 6].map(|x| picture.get_pixel(x, 2).0));
                true
            })
            .unwrap();
            assert_eq!(seen, [[[200, 0, 0], [255; 3]], [left, right]], "{flags} {colour:?}");
        }
        // Over what is shown, or in its place.
        for (flags, want) in [(0, [200, 0, 0]), (2, [255; 3])] {
            std::fs::write(&path, composed(&[([0, 0, 8, 4], 0, RED), ([0, 0, 8, 4], flags, [0; 4])])).unwrap();
            let mut last = None;
            read_animation(&path, |picture| last.replace(picture.get_pixel(3, 1).0).is_none_or(|_| true)).unwrap();
            assert_eq!(last, Some(want), "{flags}");
        }
        std::fs::write(&path, composed(&[([0, 0, 8, 4], 0, RED), ([4, 0, 8, 4], 0, BLUE)])).unwrap();
        assert!(read_animation(&path, |_| true).unwrap_err().to_string().contains("reaches out"));
    }

    #[test]
    fn each_picture_of_an_animation_has_its_own_time() {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in [("a.gif", gif()), ("a.webp", webp()), ("a.png", png())] {
            let path = folder.path().join(name);
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(animation_times(&path).unwrap().unwrap(), [40, 250, 100].map(Duration::from_millis), "{name}");
            let mut seen = Vec::new();
            read_animation(&path, |picture| {
                seen.push(picture.get_pixel(5, 5).0);
                assert_eq!(picture.dimensions(), (12, 10));
                true
            })
            .unwrap();
            let near = |(a, b): (&[u8; 3], &[u8; 3])| a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= 2);
            assert!(seen.len() == 3 && seen.iter().zip(&COLOURS).all(near), "{name}: {seen:?}");
            let mut count = 0;
            read_animation(&path, |_| {
                count += 1;
                false
            })
            .unwrap();
            assert_eq!(count, 1, "{name}");
            // Cut off anywhere: what is there, or an error, and never a panic.
            for length in 0..bytes.len() {
                std::fs::write(&path, &bytes[..length]).unwrap();
                let _ = (animation_times(&path).unwrap(), read_animation(&path, |_| true));
            }
        }
        let still = folder.path().join("still.png");
        picture(COLOURS[0]).save(&still).unwrap();
        assert_eq!(animation_times(&still).unwrap(), None);
        assert!(animation_times(&folder.path().join("none.gif")).is_err());
    }
}
