use std::io::BufRead;
use std::time::Instant;

use image::codecs::jpeg::JpegDecoder;
use image::{ColorType, DynamicImage, ImageDecoder, Limits, RgbImage};

use super::Fault;
use super::pixels::resize;
use edge_seg_model::Frame;

/// Cuts a stream of JPEG pictures apart and decodes them. Bytes between pictures are skipped, a damaged picture is left out.
pub(super) struct Mjpeg<R> {
    input: R,
    bytes: Vec<u8>,
    sequence: u64,
    start: Instant,
}

const MAX_JPEG_BYTES: usize = 32 << 20;
/// Damaged pictures in a row after which the stream counts as garbage.
const MAX_DAMAGED: usize = 30;
/// Bytes without the start of a picture after which the stream counts as garbage.
const MAX_SKIPPED_BYTES: usize = 8 << 20;

/// Decodes a picture into memory that is reused where it is RGB; says what is wrong otherwise.
pub(super) fn decode_jpeg(bytes: &[u8], picture: &mut RgbImage) -> Result<(), String> {
    let mut decoder = JpegDecoder::new(std::io::Cursor::new(bytes)).map_err(|e| e.to_string())?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(1 << 30);
    (limits.max_image_width, limits.max_image_height) = (Some(16384), Some(16384));
    decoder.set_limits(limits).map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err("an empty picture".into());
    }
    if decoder.color_type() == ColorType::Rgb8 {
        resize(picture, width, height);
        return decoder.read_image(picture.as_flat_samples_mut().samples).map_err(|e| e.to_string());
    }
    *picture = DynamicImage::from_decoder(decoder).map_err(|e| e.to_string())?.into_rgb8();
    Ok(())
}

impl<R: BufRead> Mjpeg<R> {
    pub fn new(input: R) -> Self {
        Self { input, bytes: Vec::new(), sequence: 0, start: Instant::now() }
    }

    /// Reads the next whole picture. Its sequence number counts the damaged ones too.
    pub fn read(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        let mut said = String::new();
        for _ in 0..MAX_DAMAGED {
            if !self.next_jpeg()? {
                return Ok(false);
            }
            frame.sequence = self.sequence;
            frame.timestamp = self.start.elapsed();
            self.sequence += 1;
            match decode_jpeg(&self.bytes, &mut frame.pixels) {
                Ok(()) => return Ok(true),
                Err(e) => said = e,
            }
        }
        Err(Fault::stream(format!("frame {}", self.sequence), "a whole JPEG", format!("{MAX_DAMAGED} damaged ones in a row: {said}")))
    }

    fn byte(&mut self) -> Result<Option<u8>, Fault> {
        let Some(&byte) = self.input.fill_buf()?.first() else { return Ok(None) };
        self.input.consume(1);
        Ok(Some(byte))
    }

    /// Gathers one picture, from its start marker to its end marker, by walking its segments (ITU-T T.81 annex B), so that a
    /// thumbnail inside ends nothing. False at the end of the stream.
    fn next_jpeg(&mut self) -> Result<bool, Fault> {
        let (mut last, mut skipped) = (0, 0);
        loop {
            let Some(byte) = self.byte()? else {
                if self.sequence == 0 && skipped > 0 {
                    return Err(Fault::stream("start", "a JPEG", format!("{skipped} bytes without one")));
                }
                return Ok(false);
            };
            if (last, byte) == (0xff, 0xd8) {
                break;
            }
            (last, skipped) = (byte, skipped + 1);
            if skipped > MAX_SKIPPED_BYTES {
                return Err(Fault::stream(format!("frame {}", self.sequence), "a JPEG", format!("{skipped} bytes without one")));
            }
        }
        self.bytes.clear();
        self.bytes.extend([0xff, 0xd8]);
        let mut in_scan = false;
        while let Some(byte) = self.byte()? {
            self.bytes.push(byte);
            if self.bytes.len() > MAX_JPEG_BYTES {
                return Err(Fault::stream(format!("frame {}", self.sequence), "a JPEG of up to 32 MiB", "a longer one"));
            }
            if byte != 0xff {
                if !in_scan {
                    // No marker where one must stand: the decoder says what is wrong.
                    return Ok(true);
                }
                continue;
            }
            let marker = loop {
                match self.byte()? {
                    Some(0xff) => {}
                    Some(marker) => break marker,
                    None => return Ok(false),
                }
            };
            self.bytes.push(marker);
            match marker {
                0xd9 => return Ok(true),
                0x00 | 0xd0..=0xd7 if in_scan => {}
                _ => {
                    in_scan = marker == 0xda;
                    let (Some(high), Some(low)) = (self.byte()?, self.byte()?) else { return Ok(false) };
                    self.bytes.extend([high, low]);
                    for _ in 2..u16::from_be_bytes([high, low]) {
                        let Some(byte) = self.byte()? else { return Ok(false) };
                        self.bytes.push(byte);
                    }
                }
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::jpeg::JpegEncoder;

    fn jpeg(colour: [u8; 3], width: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 100).encode_image(&RgbImage::from_pixel(width, 8, image::Rgb(colour))).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Frame>, Fault> {
        let (mut source, mut frames) = (Mjpeg::new(bytes), Vec::new());
        let mut frame = Frame::still(RgbImage::default());
        while source.read(&mut frame)? {
            frames.push(frame.clone());
        }
        Ok(frames)
    }

    #[test]
    fn colours_survive_and_sizes_may_change() {
        let chart = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [0, 255, 255], [255, 0, 255], [255; 3], [0; 3], [128; 3]];
        let stream: Vec<u8> = chart.iter().zip([8, 16].iter().cycle()).flat_map(|(&colour, &width)| jpeg(colour, width)).collect();
        let frames = read(&stream).unwrap();
        assert_eq!(frames.len(), chart.len());
        for ((frame, want), width) in frames.iter().zip(chart).zip([8, 16].iter().cycle()) {
            assert_eq!(frame.pixels.width(), *width);
            let found = frame.pixels.get_pixel(3, 3).0;
            assert!(found.iter().zip(want).all(|(&a, b)| a.abs_diff(b) <= 3), "{found:?} instead of {want:?}");
        }
    }

    #[test]
    fn garbage_between_is_skipped_and_damage_counted() {
        let good = jpeg([255, 0, 0], 8);
        let mut damaged = good.clone();
        damaged[5..40].fill(0);
        let stream = [b"--boundary\r\n".as_slice(), &good, b"\r\nnoise\xff\x00", &damaged, &good, &good[..good.len() / 2]].concat();
        let frames = read(&stream).unwrap();
        assert_eq!(frames.len(), 2);
        assert!(frames[1].sequence > frames[0].sequence + 1, "the damaged one has a number");
        assert!(read(b"no picture at all").is_err());
        assert!(read(b"").unwrap().is_empty());
    }
}
