use std::io::BufRead;

use image::imageops::{self, FilterType};

use super::raw::RawFrames;
use super::{Fault, Layout, Matrix, PixelFormat, Range, Rate, YuvDecoder};
use edge_seg_model::Frame;

/// Reads YUV4MPEG2, the stream that mjpegtools defined and ffmpeg, GStreamer and mpv write.
pub(super) struct Y4m<R> {
    input: R,
    matrix: Option<Matrix>,
    range: Option<Range>,
    frames: Option<Stream>,
    line: String,
}

/// What a header announces.
struct Stream {
    frames: RawFrames,
    /// The size at which pixels that are not square become so.
    shown: Option<(u32, u32)>,
}

/// Longest header line; a stream without line ends is refused after this much.
const MAX_LINE_BYTES: usize = 1024;

impl<R: BufRead> Y4m<R> {
    /// A reader. The stream says nothing of its matrix, so untagged video is taken by its height unless `matrix` is given.
    pub fn new(input: R, matrix: Option<Matrix>, range: Option<Range>) -> Self {
        Self { input, matrix, range, frames: None, line: String::new() }
    }

    pub fn rate(&self) -> Option<Rate> {
        self.frames.as_ref().map(|stream| stream.frames.rate)
    }

    pub fn read(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        let stream = match &mut self.frames {
            Some(stream) => stream,
            None => {
                if !read_line(&mut self.input, &mut self.line, || "header".into())? {
                    return Ok(false);
                }
                self.frames.insert(header(&self.line, self.matrix, self.range)?)
            }
        };
        let place = |sequence: u64| format!("frame {sequence}");
        let sequence = stream.frames.sequence();
        if !read_line(&mut self.input, &mut self.line, || place(sequence))? {
            return Ok(false);
        }
        if self.line.starts_with("YUV4MPEG2 ") {
            // Another stream follows in the same pipe, perhaps of another size.
            let next = header(&self.line, self.matrix, self.range)?;
            *stream = Stream { frames: next.frames.after(&stream.frames), ..next };
            if !read_line(&mut self.input, &mut self.line, || place(sequence))? {
                return Ok(false);
            }
        }
        if self.line != "FRAME" && !self.line.starts_with("FRAME ") {
            return Err(Fault::stream(place(sequence), "FRAME", format!("{:?}", self.line)));
        }
        if !stream.frames.read(&mut self.input, frame)? {
            return Err(Fault::stream(place(sequence), format!("{} bytes", stream.frames.layout.bytes()), "the end of the stream"));
        }
        if let Some((width, height)) = stream.shown {
            frame.pixels = imageops::resize(&frame.pixels, width, height, FilterType::Triangle);
        }
        Ok(true)
    }
}

/// Reads a line, without its end, into memory that is reused. False at the end of the stream.
fn read_line(input: &mut impl BufRead, line: &mut String, place: impl Fn() -> String) -> Result<bool, Fault> {
    let mut bytes = std::mem::take(line).into_bytes();
    bytes.clear();
    std::io::Read::take(&mut *input, MAX_LINE_BYTES as u64).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(false);
    }
    if bytes.pop() != Some(b'\n') {
        return Err(Fault::stream(place(), "a line of YUV4MPEG2 text", format!("{} bytes without its end", bytes.len() + 1)));
    }
    *line = String::from_utf8(bytes).map_err(|_| Fault::stream(place(), "a line of YUV4MPEG2 text", "other bytes"))?;
    Ok(true)
}

fn header(line: &str, matrix: Option<Matrix>, range: Option<Range>) -> Result<Stream, Fault> {
    let mut words = line.split(' ');
    if words.next() != Some("YUV4MPEG2") {
        let found: String = line.chars().take(40).collect();
        return Err(Fault::stream("header", "YUV4MPEG2", format!("{found:?}")));
    }
    let (mut width, mut height, mut rate, mut format, mut tagged, mut aspect) = (0, 0, (25, 1), (PixelFormat::I420, 8), None, (1, 1));
    let mut written = None;
    for word in words.filter(|w| !w.is_empty()) {
        let bad = |expected: &str| Fault::stream("header", expected, format!("{word:?}"));
        let (Some(tag), Some(value)) = (word.get(..1), word.get(1..)) else { return Err(bad("plain text")) };
        let fraction = || value.split_once(':').and_then(|(n, d)| Some((n.parse::<u32>().ok()?, d.parse::<u32>().ok()?)));
        match tag {
            "W" => width = value.parse().map_err(|_| bad("a width"))?,
            "H" => height = value.parse().map_err(|_| bad("a height"))?,
            "F" => {
                // 0:0 stands for an unknown rate.
                rate = fraction().filter(|&(n, d)| (n == 0) == (d == 0)).ok_or_else(|| bad("a rate such as 30:1"))?;
                if rate.0 == 0 {
                    rate = (25, 1);
                }
                let (frames, seconds) = (u64::from(rate.0), u64::from(rate.1));
                if frames > MAX_RATE * seconds || frames * LONGEST_S < seconds {
                    return Err(bad("a rate of a frame in a day to 100,000 a second"));
                }
            }
            "C" => format = colour_space(value).ok_or_else(|| bad(COLOUR_SPACES))?,
            // The format has no tag for it; what this program writes carries one of its own.
            "X" if value == "EDGESEGMATRIX=BT601" => written = Some(Matrix::Bt601),
            "X" if value == "COLORRANGE=FULL" => tagged = Some(Range::Full),
            "X" if value == "COLORRANGE=LIMITED" => tagged = Some(Range::Limited),
            // 0:0 stands for an unknown shape.
            "A" => aspect = fraction().ok_or_else(|| bad("a pixel's shape such as A1:1"))?,
            _ => {}
        }
    }
    let (format, bits) = format;
    let layout = Layout::deep(format, width, height, bits)?;
    let range = range.or(tagged).unwrap_or(format.usual_range());
    let decoder = YuvDecoder::new(matrix.or(written).unwrap_or(Matrix::of_height(height)), range);
    Ok(Stream { frames: RawFrames::new(layout, decoder, rate), shown: squared((width, height), aspect) })
}

/// Frames a second at most; programs give the rate of a clock where a film has none of its own.
const MAX_RATE: u64 = 100_000;
/// Seconds between two frames at most.
const LONGEST_S: u64 = 86_400;

const COLOUR_SPACES: &str = "C411, C420, C422, C444 or Cmono, of 8 bits or with p10, p12, p14 or p16 behind it (Cmono10 and so on)";

/// Format and bits of a sample.
fn colour_space(value: &str) -> Option<(PixelFormat, u32)> {
    let bits = |text: &str| match text {
        "" => Some(8),
        "9" => Some(9),
        "10" => Some(10),
        "12" => Some(12),
        "14" => Some(14),
        "16" => Some(16),
        _ => None,
    };
    if let Some(deep) = value.strip_prefix("mono") {
        return Some((PixelFormat::Grey, bits(deep)?));
    }
    let (space, deep) = value.split_once('p').filter(|(_, deep)| bits(deep).is_some_and(|b| b > 8)).unwrap_or((value, ""));
    let format = match space {
        "411" => PixelFormat::I411,
        "420" | "420jpeg" | "420mpeg2" | "420paldv" => PixelFormat::I420,
        "422" => PixelFormat::I422,
        "444" => PixelFormat::I444,
        _ => return None,
    };
    Some((format, bits(deep)?))
}

/// The size at which pixels of this shape, width to height, are square, with no fewer of them than there are; none if they are, or if the
/// shape is not to be believed.
pub(super) fn squared((width, height): (u32, u32), (across, down): (u32, u32)) -> Option<(u32, u32)> {
    let (a, d) = (u64::from(across), u64::from(down));
    if a == d || a == 0 || d == 0 || a > 4 * d || d > 4 * a {
        return None;
    }
    let scaled = |side: u32, by: u64, to: u64| ((u64::from(side) * by + to / 2) / to) as u32;
    Some(if a > d { (scaled(width, a, d), height) } else { (width, scaled(height, d, a)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Frame>, Fault> {
        let mut y4m = Y4m::new(bytes, None, None);
        let mut frames = Vec::new();
        let mut frame = Frame::still(image::RgbImage::default());
        while y4m.read(&mut frame)? {
            frames.push(frame.clone());
        }
        Ok(frames)
    }

    #[test]
    fn frames_carry_number_time_and_colour() {
        let stream = b"YUV4MPEG2 W2 H2 F10:1 Ip A1:1 C420jpeg XCOLORRANGE=FULL\nFRAME\n\xff\xff\xff\xff\x80\x80FRAME Ip\n\0\0\0\0\x80\x80";
        let frames = read(stream).unwrap();
        assert_eq!(frames.len(), 2);
        assert_eq!((frames[1].sequence, frames[1].timestamp.as_millis()), (1, 100));
        assert_eq!(frames[0].pixels.get_pixel(1, 1).0, [255; 3]);
        assert_eq!(frames[1].pixels.get_pixel(0, 0).0, [0; 3]);
    }

    #[test]
    fn streams_of_several_sizes_and_rates_may_follow_each_other() {
        let first = b"YUV4MPEG2 W1 H1 F10:1 Cmono\nFRAME\n\xebFRAME\n\xeb";
        for (rate, third) in [("10:1", 300), ("20:1", 250), ("1000:1", 201), ("1:2", 2200)] {
            let second = format!("YUV4MPEG2 W2 H1 F{rate} Cmono\nFRAME\nxxFRAME\nxx");
            let frames = read(&[first.as_slice(), second.as_bytes()].concat()).unwrap();
            let found: Vec<_> = frames.iter().map(|f| (f.sequence, f.pixels.dimensions(), f.timestamp.as_millis())).collect();
            assert_eq!(found, [(0, (1, 1), 0), (1, (1, 1), 100), (2, (2, 1), 200), (3, (2, 1), third)]);
        }
    }

    #[test]
    fn grey_is_in_full_range_unless_it_says_otherwise() {
        for (tag, want) in [("", 19), (" XCOLORRANGE=FULL", 19), (" XCOLORRANGE=LIMITED", 3)] {
            let frames = read(format!("YUV4MPEG2 W1 H1 F10:1 Cmono{tag}\nFRAME\n\x13").as_bytes()).unwrap();
            assert_eq!(frames[0].pixels.get_pixel(0, 0).0, [want; 3], "{tag}");
        }
    }

    #[test]
    fn samples_of_more_bits_and_a_quarter_of_the_columns_are_read() {
        let deep = |values: &[u16]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        // Red by BT.601 in limited range: 81, 90, 240.
        for bits in [9, 10, 12, 14, 16] {
            let [y, u, v] = [81u16, 90, 240].map(|code| code << (bits - 8));
            for (space, samples) in
                [("420", vec![y, y, y, y, u, v]), ("422", vec![y, y, y, y, u, u, v, v]), ("444", [[y; 4], [u; 4], [v; 4]].concat())]
            {
                let head = format!("YUV4MPEG2 W2 H2 F10:1 C{space}p{bits} XYSCSS={space}P{bits}\nFRAME\n");
                let found = read(&[head.as_bytes(), &deep(&samples)].concat()).unwrap()[0].pixels.get_pixel(1, 1).0;
                assert!(found.iter().zip([255, 0, 0]).all(|(&a, b)| a.abs_diff(b) <= 2), "{head}: {found:?}");
            }
        }
        let mono = [b"YUV4MPEG2 W2 H1 F10:1 Cmono10\nFRAME\n".as_slice(), &deep(&[1023, 400])].concat();
        assert_eq!(read(&mono).unwrap()[0].pixels.as_raw(), &[255, 255, 255, 100, 100, 100]);
        let quarter = b"YUV4MPEG2 W5 H1 F10:1 C411\nFRAME\n\x51\x51\x51\x51\x51\x5a\x80\xf0\x80";
        let pixels = &read(quarter).unwrap()[0].pixels;
        assert!(pixels.get_pixel(3, 0).0[0] > 250 && pixels.get_pixel(4, 0).0[0] < 90, "{pixels:?}");
    }

    #[test]
    fn pixels_that_are_not_square_become_so() {
        let size = |shape: &str| {
            let stream = [format!("YUV4MPEG2 W20 H18 F10:1 {shape} Cmono\nFRAME\n").as_bytes(), &[7; 360]].concat();
            read(&stream).unwrap()[0].pixels.dimensions()
        };
        assert_eq!(size("A64:45"), (28, 18));
        assert_eq!(size("A8:9"), (20, 20));
        assert_eq!([size("A1:1"), size("A0:0"), size("A1:65535"), size("A128:128")], [(20, 18); 4]);
    }

    #[test]
    fn broken_streams_are_refused_by_place() {
        let cases: [(&[u8], &str); 11] = [
            (b"RIFF\x01\x02\n", "header"),
            (b"YUV4MPEG2 W2 H2 F1:1 C420p11\n", "C420"),
            (b"YUV4MPEG2 W0 H2 F1:1\nFRAME\n", "frame size"),
            (b"YUV4MPEG2 W99999 H99999 F1:1\nFRAME\n", "frame size"),
            (b"YUV4MPEG2 W2 H2 F1:0\n", "rate"),
            (b"YUV4MPEG2 W2 H2 F4000000000:1\n", "100,000 a second"),
            (b"YUV4MPEG2 W2 H2 F1:1 A1\n", "shape"),
            (b"YUV4MPEG2 Wx H2\n", "width"),
            (b"YUV4MPEG2 W2 H2 F1:1\nFRAME\nab", "frame 0"),
            (b"YUV4MPEG2 W2 H2 F1:1\nFRAME\nabcdefFRAMES\n", "frame 1"),
            (&[b'Y'; 2000], "without its end"),
        ];
        for (bytes, complaint) in cases {
            let said = read(bytes).expect_err(complaint).to_string();
            assert!(said.contains(complaint), "{said}");
        }
        assert!(read(b"").unwrap().is_empty());
    }
}
