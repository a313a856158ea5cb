use std::io::BufRead;

use super::raw::RawFrames;
use super::{Fault, Layout, Matrix, PixelFormat, Range, Rate, YuvDecoder};
use edge_seg_model::Frame;

/// Reads YUV4MPEG2, the stream that mjpegtools defined and ffmpeg, GStreamer and mpv write.
pub(super) struct Y4m<R> {
    input: R,
    matrix: Option<Matrix>,
    range: Option<Range>,
    frames: Option<RawFrames>,
    line: String,
}

/// Longest header line; a stream without line ends is refused after this much.
const MAX_LINE_BYTES: usize = 1024;

impl<R: BufRead> Y4m<R> {
    /// A reader. The stream says nothing of its matrix, so untagged video is taken by its height unless `matrix` is given.
    pub fn new(input: R, matrix: Option<Matrix>, range: Option<Range>) -> Self {
        Self { input, matrix, range, frames: None, line: String::new() }
    }

    pub fn rate(&self) -> Option<Rate> {
        self.frames.as_ref().map(|f| f.rate)
    }

    pub fn read(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        let frames = match &mut self.frames {
            Some(frames) => frames,
            None => {
                if !read_line(&mut self.input, &mut self.line, || "header".into())? {
                    return Ok(false);
                }
                self.frames.insert(header(&self.line, self.matrix, self.range)?)
            }
        };
        let place = |sequence: u64| format!("frame {sequence}");
        let sequence = frames.sequence();
        if !read_line(&mut self.input, &mut self.line, || place(sequence))? {
            return Ok(false);
        }
        if self.line.starts_with("YUV4MPEG2 ") {
            // Another stream follows in the same pipe, perhaps of another size.
            *frames = header(&self.line, self.matrix, self.range)?.from(sequence);
            if !read_line(&mut self.input, &mut self.line, || place(sequence))? {
                return Ok(false);
            }
        }
        if self.line != "FRAME" && !self.line.starts_with("FRAME ") {
            return Err(Fault::stream(place(sequence), "FRAME", format!("{:?}", self.line)));
        }
        if !frames.read(&mut self.input, frame)? {
            return Err(Fault::stream(place(sequence), format!("{} bytes", frames.layout.bytes()), "the end of the stream"));
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

fn header(line: &str, matrix: Option<Matrix>, range: Option<Range>) -> Result<RawFrames, Fault> {
    let mut words = line.split(' ');
    if words.next() != Some("YUV4MPEG2") {
        let found: String = line.chars().take(40).collect();
        return Err(Fault::stream("header", "YUV4MPEG2", format!("{found:?}")));
    }
    let (mut width, mut height, mut rate, mut format, mut tagged) = (0, 0, (25, 1), PixelFormat::I420, Range::Limited);
    for word in words.filter(|w| !w.is_empty()) {
        let bad = |expected: &str| Fault::stream("header", expected, format!("{word:?}"));
        let (Some(tag), Some(value)) = (word.get(..1), word.get(1..)) else { return Err(bad("plain text")) };
        match tag {
            "W" => width = value.parse().map_err(|_| bad("a width"))?,
            "H" => height = value.parse().map_err(|_| bad("a height"))?,
            "F" => {
                let parts = value.split_once(':').and_then(|(n, d)| Some((n.parse().ok()?, d.parse().ok()?)));
                // 0:0 stands for an unknown rate.
                rate = parts.filter(|&(n, d): &Rate| (n == 0) == (d == 0)).ok_or_else(|| bad("a rate such as 30:1"))?;
                if rate.0 == 0 {
                    rate = (25, 1);
                }
            }
            "C" => {
                format = match value {
                    "420" | "420jpeg" | "420mpeg2" | "420paldv" => PixelFormat::I420,
                    "422" => PixelFormat::I422,
                    "444" => PixelFormat::I444,
                    "mono" => PixelFormat::Grey,
                    _ => return Err(bad("C420, C422, C444 or Cmono with 8 bits")),
                }
            }
            "X" if value == "COLORRANGE=FULL" => tagged = Range::Full,
            _ => {}
        }
    }
    let layout = Layout::new(format, width, height)?;
    let decoder = YuvDecoder::new(matrix.unwrap_or(Matrix::of_height(height)), range.unwrap_or(tagged));
    Ok(RawFrames::new(layout, decoder, rate))
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
    fn streams_of_several_sizes_may_follow_each_other() {
        let first = b"YUV4MPEG2 W1 H1 F10:1 Cmono\nFRAME\n\xebFRAME\n\xeb";
        let stream = [first.as_slice(), b"YUV4MPEG2 W2 H1 F10:1 Cmono\nFRAME\n\x10\x10"].concat();
        let frames = read(&stream).unwrap();
        let found: Vec<_> = frames.iter().map(|f| (f.sequence, f.pixels.dimensions(), f.timestamp.as_millis())).collect();
        assert_eq!(found, [(0, (1, 1), 0), (1, (1, 1), 100), (2, (2, 1), 200)]);
    }

    #[test]
    fn broken_streams_are_refused_by_place() {
        let cases: [(&[u8], &str); 9] = [
            (b"RIFF\x01\x02\n", "header"),
            (b"YUV4MPEG2 W2 H2 F1:1 C420p10\n", "C420"),
            (b"YUV4MPEG2 W0 H2 F1:1\nFRAME\n", "frame size"),
            (b"YUV4MPEG2 W99999 H99999 F1:1\nFRAME\n", "frame size"),
            (b"YUV4MPEG2 W2 H2 F1:0\n", "rate"),
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
