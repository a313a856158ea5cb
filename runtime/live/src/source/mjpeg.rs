use std::io::BufRead;
use std::sync::Arc;
use std::time::Instant;

use super::raw::time_of;
use super::{Fault, Notice, Rate};
use edge_seg_model::{Frame, decode_jpeg};

/// Cuts a stream of JPEG pictures apart and decodes them. Bytes between pictures are skipped, a damaged picture is left out, told
/// and counted.
pub(super) struct Mjpeg<R> {
    input: R,
    /// What was read of the picture at hand, and of what follows where that turned out to be damaged.
    bytes: Vec<u8>,
    /// Where the next picture begins in `bytes`.
    done: usize,
    sequence: u64,
    /// Of frames that are all there at once, as in a file; others have the times at which they come.
    rate: Option<Rate>,
    start: Instant,
    damage: Damage,
}

/// Counts damaged pictures, and tells of the first and then of ever fewer.
pub(super) struct Damage {
    count: u64,
    notify: Arc<dyn Fn(Notice) + Send + Sync>,
}

impl Damage {
    pub fn new(notify: &Arc<dyn Fn(Notice) + Send + Sync>) -> Self {
        Self { count: 0, notify: notify.clone() }
    }

    pub fn tell(&mut self, sequence: u64, why: &str) {
        self.count += 1;
        if self.count.is_power_of_two() {
            (self.notify)(Notice::Damaged { sequence, count: self.count, why: why.into() });
        }
    }
}

const MAX_JPEG_BYTES: usize = 32 << 20;
/// Damaged pictures in a row after which the stream counts as garbage.
const MAX_DAMAGED: usize = 30;
/// Bytes without the start of a picture after which the stream counts as garbage.
const MAX_SKIPPED_BYTES: usize = 8 << 20;
const START: [u8; 2] = [0xff, 0xd8];

/// How far a picture was walked.
enum Walked {
    Whole,
    /// The next picture begins before this one has ended.
    Cut,
    End,
}

impl<R: BufRead> Mjpeg<R> {
    pub fn new(input: R, rate: Option<Rate>, notify: &Arc<dyn Fn(Notice) + Send + Sync>) -> Self {
        Self { input, bytes: Vec::new(), done: 0, sequence: 0, rate, start: Instant::now(), damage: Damage::new(notify) }
    }

    pub fn rate(&self) -> Option<Rate> {
        self.rate
    }

    /// Reads the next whole picture. Its sequence number counts the damaged ones too.
    pub fn read(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        let mut said = String::new();
        for _ in 0..MAX_DAMAGED {
            if !self.skip_to_start()? {
                if self.sequence > 0 && self.damage.count == self.sequence {
                    return Err(Fault::stream("the stream", "a whole JPEG", format!("{} damaged ones: {said}", self.sequence)));
                }
                return Ok(false);
            }
            let sequence = self.sequence;
            self.sequence += 1;
            let decoded = match self.walk()? {
                Walked::Whole => decode_jpeg(&self.bytes[..self.done], &mut frame.pixels),
                // Cameras that write no end markers lose nothing else.
                Walked::Cut => decode_jpeg(before_part(&self.bytes[..self.done]), &mut frame.pixels)
                    .map_err(|_| "it is cut off; the next one begins inside it".into()),
                Walked::End => {
                    let decoded = decode_jpeg(&self.bytes, &mut frame.pixels);
                    self.done = if decoded.is_ok() { self.bytes.len() } else { self.done };
                    decoded.map_err(|_| "it is cut off by the end of the stream".into())
                }
            };
            match decoded {
                Ok(()) => {
                    frame.sequence = sequence;
                    frame.timestamp = self.rate.map_or_else(|| self.start.elapsed(), |rate| time_of(sequence, rate));
                    return Ok(true);
                }
                Err(e) => {
                    self.damage.tell(sequence, &e);
                    said = e;
                }
            }
        }
        Err(Fault::stream(format!("frame {}", self.sequence), "a whole JPEG", format!("{MAX_DAMAGED} damaged ones in a row: {said}")))
    }

    /// The byte at `at`, read if it was not yet; none at the end of the stream.
    fn byte(&mut self, at: usize) -> Result<Option<u8>, Fault> {
        while at >= self.bytes.len() {
            if self.bytes.len() >= MAX_JPEG_BYTES {
                return Err(Fault::stream(format!("frame {}", self.sequence - 1), "a JPEG of up to 32 MiB", "a longer one"));
            }
            let Some(byte) = next_byte(&mut self.input)? else { return Ok(None) };
            self.bytes.push(byte);
        }
        Ok(Some(self.bytes[at]))
    }

    /// Puts the next start of a picture at the front. False at the end of the stream.
    fn skip_to_start(&mut self) -> Result<bool, Fault> {
        self.bytes.drain(..self.done);
        self.done = 0;
        if let Some(at) = self.bytes.windows(2).position(|pair| pair == START) {
            self.bytes.drain(..at);
            return Ok(true);
        }
        let mut last = self.bytes.last().copied().unwrap_or(0);
        let mut skipped = self.bytes.len();
        self.bytes.clear();
        loop {
            let Some(byte) = next_byte(&mut self.input)? else {
                if self.sequence == 0 && skipped > 0 {
                    return Err(Fault::stream("start", "a JPEG", format!("{skipped} bytes without one")));
                }
                return Ok(false);
            };
            if [last, byte] == START {
                self.bytes.extend(START);
                return Ok(true);
            }
            (last, skipped) = (byte, skipped + 1);
            if skipped > MAX_SKIPPED_BYTES {
                return Err(Fault::stream(format!("frame {}", self.sequence), "a JPEG", format!("{skipped} bytes without one")));
            }
        }
    }

    /// Walks one picture from its start marker to its end marker, segment by segment (ITU-T T.81 annex B), so that a thumbnail
    /// inside ends nothing, and a start marker where none may be begins the next one.
    fn walk(&mut self) -> Result<Walked, Fault> {
        let (mut at, mut in_scan, mut has_frame) = (START.len(), false, false);
        while let Some(byte) = self.byte(at)? {
            at += 1;
            if byte != 0xff {
                if in_scan {
                    continue;
                }
                // Bytes are lost or wrong: the next picture may have begun among those that were taken for a segment.
                self.done = START.len();
                return Ok(Walked::Cut);
            }
            let marker = loop {
                match self.byte(at)? {
                    Some(0xff) => at += 1,
                    other => break other,
                }
            };
            let Some(marker) = marker else { break };
            at += 1;
            match marker {
                0xd9 => {
                    self.done = at;
                    return Ok(Walked::Whole);
                }
                0xd8 => {
                    self.done = at - START.len();
                    return Ok(Walked::Cut);
                }
                0x00..=0xbf | 0xd0..=0xd7 if in_scan => {}
                // A second frame header: the next picture has begun in a segment that was cut off.
                0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) && std::mem::replace(&mut has_frame, true) => {
                    self.done = START.len();
                    return Ok(Walked::Cut);
                }
                _ => {
                    in_scan = marker == 0xda;
                    let (Some(high), Some(low)) = (self.byte(at)?, self.byte(at + 1)?) else { break };
                    let (body, length) = (at, u16::from_be_bytes([high, low]));
                    // A scan's header names one to four components.
                    if in_scan && !(8..=14).contains(&length) {
                        self.done = START.len();
                        return Ok(Walked::Cut);
                    }
                    at += usize::from(length).max(2);
                    if self.byte(at - 1)?.is_none() {
                        break;
                    }
                    // A segment that is cut off may be filled up by just as much of the next picture as hides its start.
                    let segment = &self.bytes[body..at];
                    if let Some(next) = (0..segment.len()).find(|next| begins_picture(&segment[*next..])) {
                        self.done = body + next;
                        return Ok(Walked::Cut);
                    }
                }
            }
        }
        self.done = START.len();
        Ok(Walked::End)
    }
}

/// What comes before the head of a multipart stream's next part, if one ends these bytes.
fn before_part(bytes: &[u8]) -> &[u8] {
    let is_text = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let text = bytes.len() - bytes.iter().rev().take_while(|byte| is_text(byte)).count();
    let Some(at) = bytes[text..].windows(2).position(|pair| pair == b"--") else { return bytes };
    let coded = &bytes[..text + at];
    coded.strip_suffix(b"\r\n").unwrap_or(coded)
}

/// Whether these are the start of a picture and whole segments, as which a thumbnail in metadata does not end.
fn begins_picture(bytes: &[u8]) -> bool {
    let Some(mut rest) = bytes.strip_prefix(&START) else { return false };
    while let [0xff, marker @ (0xc0..=0xd7 | 0xda..=0xfe), high, low, ..] = *rest {
        let length = 2 + usize::from(u16::from_be_bytes([high, low]));
        if marker == 0xda || length > rest.len() {
            return false;
        }
        rest = &rest[length..];
    }
    rest.is_empty()
}

/// None at the end. A signal does not end a camera's stream.
fn next_byte(input: &mut impl BufRead) -> std::io::Result<Option<u8>> {
    loop {
        match input.fill_buf() {
            Ok(bytes) => {
                let byte = bytes.first().copied();
                input.consume(usize::from(byte.is_some()));
                return Ok(byte);
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;
    use image::codecs::jpeg::JpegEncoder;

    fn jpeg(colour: [u8; 3], width: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 100).encode_image(&RgbImage::from_pixel(width, 8, image::Rgb(colour))).unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Frame>, Fault> {
        let (mut source, mut frames) = (Mjpeg::new(bytes, None, &(Arc::new(|_| {}) as _)), Vec::new());
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

    /// Twelve frames of some size, of which one is cut off at some byte and the next follows at once.
    fn stream(cuts: &[(usize, usize)], between: &[u8]) -> Vec<u8> {
        let noise = |seed: u32| {
            RgbImage::from_fn(64, 48, |x, y| image::Rgb([(x * 37 + y * 91 + seed) as u8, (x * y * 53) as u8, (x * 11 + y * 7) as u8]))
        };
        let frame = |n: usize| {
            let mut bytes = Vec::new();
            JpegEncoder::new_with_quality(&mut bytes, 80).encode_image(&noise(n as u32)).unwrap();
            if let Some((_, percent)) = cuts.iter().find(|(cut, _)| *cut == n) {
                bytes.truncate(bytes.len() * percent / 100);
            }
            [between, &bytes].concat()
        };
        (0..12).flat_map(frame).collect()
    }

    #[test]
    fn a_frame_that_is_cut_off_costs_itself_alone_and_is_told() {
        let boundary = b"\r\n--frame\r\nContent-Type: image/jpeg\r\n\r\n".as_slice();
        // Percentages of a frame: 2 lies in a quantization table, 10 in a Huffman table, the others in the scan.
        for (between, percent) in [&b""[..], boundary].into_iter().flat_map(|b| [2, 10, 40, 60, 95].map(|p| (b, p))) {
            let told = Arc::new(parking_lot::Mutex::new(Vec::new()));
            let tell = told.clone();
            let notify: Arc<dyn Fn(Notice) + Send + Sync> = Arc::new(move |notice| tell.lock().push(format!("{notice:?}")));
            let bytes = stream(&[(3, percent), (7, percent), (11, percent)], between);
            let mut source = Mjpeg::new(bytes.as_slice(), Some((10, 1)), &notify);
            let mut frame = Frame::still(RgbImage::default());
            let mut seen = Vec::new();
            while source.read(&mut frame).unwrap() {
                seen.push((frame.sequence, frame.timestamp.as_millis() as u64));
            }
            let want: Vec<_> = (0..11).filter(|n| ![3, 7].contains(n)).map(|n| (n, 100 * n)).collect();
            assert_eq!(seen, want, "cut at {percent} %, {} bytes between", between.len());
            let told = told.lock();
            assert!(told[0].contains("sequence: 3") && told[0].contains("cut off"), "{told:?}");
        }
    }

    #[test]
    fn wherever_its_header_is_cut_off_a_frame_costs_itself_alone() {
        let whole = jpeg([200, 30, 60], 16);
        let scan = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap();
        for cut in START.len()..scan + 10 {
            let bytes = [&whole, &whole[..cut], &whole, &whole].concat();
            let seen: Vec<_> = read(&bytes).unwrap().iter().map(|frame| frame.sequence).collect();
            assert_eq!(seen, [0, 2, 3], "cut behind {cut} bytes");
        }
    }

    #[test]
    fn frames_without_huffman_tables_have_the_standards() {
        let whole = jpeg([200, 30, 60], 16);
        let mut bare = whole[..2].to_vec();
        let mut at = 2;
        while whole[at + 1] != 0xda {
            let end = at + 2 + usize::from(u16::from_be_bytes([whole[at + 2], whole[at + 3]]));
            // Tables of Huffman codes, and APP0, by which a decoder might know Motion JPEG.
            if ![0xc4, 0xe0].contains(&whole[at + 1]) {
                bare.extend(&whole[at..end]);
            }
            at = end;
        }
        bare.extend(&whole[at..]);
        assert!(bare.len() + 400 < whole.len());
        let frames = read(&bare.repeat(3)).unwrap();
        assert_eq!(frames.len(), 3);
        assert_eq!(frames[0].pixels, read(&whole).unwrap()[0].pixels);
    }

    #[test]
    fn frames_without_end_markers_are_whole() {
        let whole = jpeg([200, 30, 60], 64);
        let frames = read(&whole[..whole.len() - 2].repeat(3)).unwrap();
        assert_eq!(frames.iter().map(|frame| frame.sequence).collect::<Vec<_>>(), [0, 1, 2]);
        assert!(frames.iter().all(|frame| frame.pixels == read(&whole).unwrap()[0].pixels));
        // As parts, whose heads come between.
        for head in ["\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 700\r\n\r\n", "--frame\n\n"] {
            let parts = [&whole[..whole.len() - 2], head.as_bytes()].concat().repeat(3);
            assert_eq!(read(&[&parts, whole.as_slice()].concat()).unwrap().len(), 4, "{head:?}");
        }
    }

    #[test]
    fn a_stream_of_damaged_frames_alone_is_an_error() {
        let cut = &jpeg([9; 3], 16)[..300];
        let said = read(&cut.repeat(3)).unwrap_err().to_string();
        assert!(said.contains("3 damaged ones"), "{said}");
    }
}
