//! Animations: GIF, WebP and PNG that hold several pictures, each with the time that it is shown.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;
use std::time::Duration;

use image::codecs::{gif::GifDecoder, png::PngDecoder, webp::WebPDecoder};
use image::metadata::Orientation;
use image::{AnimationDecoder, DynamicImage, Frames, ImageDecoder, ImageFormat, ImageResult, Limits, RgbImage};

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
            Some(ImageFormat::WebP) => play(WebPDecoder::new(file).map_err(said)?, |decoder| Ok(decoder.into_frames()), &mut each),
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

fn opened(path: &Path) -> Result<(BufReader<File>, Option<ImageFormat>)> {
    let mut file = BufReader::new(File::open(path).map_err(Error::io(path))?);
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
fn gif_times(file: &mut BufReader<File>, times: &mut Vec<Duration>) -> std::io::Result<()> {
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

fn pass_blocks(file: &mut BufReader<File>) -> std::io::Result<()> {
    loop {
        match bytes::<1>(file)?[0] {
            0 => return Ok(()),
            length => file.seek_relative(i64::from(length))?,
        }
    }
}

/// WebP container specification, "Animation": a chunk `ANMF` a picture, its time in 24 bits behind its place and size.
fn webp_times(file: &mut BufReader<File>, times: &mut Vec<Duration>) -> std::io::Result<()> {
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

/// PNG, third edition, section 11.3.6: a chunk `fcTL` a picture, its time as a fraction of a second, of hundredths where it has no
/// denominator.
fn png_times(file: &mut BufReader<File>, times: &mut Vec<Duration>) -> std::io::Result<()> {
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
    use image::{Delay, ExtendedColorType, ImageEncoder, Rgba, RgbaImage};

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
