//! Cameras through Video4Linux 2, with buffers that the driver shares. Devices that speak its multi-planar calls alone, as image
//! processors on boards do, are read through GStreamer: the crate here has no streams of that kind.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use linuxvideo::format::{FrameSizes, PixFormat, PixelFormat as FourCc};
use linuxvideo::stream::ReadStream;
use linuxvideo::{BufType, CapabilityFlags, Device, Fract};

use super::camera::gstreamer;
use super::child::Producer;
use super::mjpeg::Damage;
use super::query::Query;
use super::{Fault, Layout, Matrix, PixelFormat, Range, Rate, SourceOptions, YuvDecoder};
use crate::Result;
use edge_seg_model::{Frame, decode_jpeg};

/// A camera as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct V4l2Camera {
    path: PathBuf,
    size: Option<(u32, u32)>,
    rate: Option<Rate>,
    format: Option<Format>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Mjpeg,
    Raw(PixelFormat),
}

/// Formats by their names here and the kernel's, the ones first that carry most frames over a USB cable.
const FORMATS: [(&str, &[&[u8; 4]], Format); 16] = [
    ("mjpeg", &[b"MJPG", b"JPEG"], Format::Mjpeg),
    ("nv12", &[b"NV12"], Format::Raw(PixelFormat::Nv12)),
    ("yuyv", &[b"YUYV"], Format::Raw(PixelFormat::Yuyv)),
    ("i420", &[b"YU12"], Format::Raw(PixelFormat::I420)),
    ("uyvy", &[b"UYVY"], Format::Raw(PixelFormat::Uyvy)),
    ("yvyu", &[b"YVYU"], Format::Raw(PixelFormat::Yvyu)),
    ("vyuy", &[b"VYUY"], Format::Raw(PixelFormat::Vyuy)),
    ("nv21", &[b"NV21"], Format::Raw(PixelFormat::Nv21)),
    ("nv16", &[b"NV16"], Format::Raw(PixelFormat::Nv16)),
    ("nv61", &[b"NV61"], Format::Raw(PixelFormat::Nv61)),
    ("yv12", &[b"YV12"], Format::Raw(PixelFormat::Yv12)),
    ("rgb24", &[b"RGB3"], Format::Raw(PixelFormat::Rgb24)),
    ("bgr24", &[b"BGR3"], Format::Raw(PixelFormat::Bgr24)),
    // The kernel's RGBA32 and RGBX32, and ABGR32 and XBGR32, by the order of their bytes.
    ("rgba", &[b"AB24", b"XB24"], Format::Raw(PixelFormat::Rgba)),
    ("bgra", &[b"AR24", b"XR24", b"BGR4"], Format::Raw(PixelFormat::Bgra)),
    ("grey", &[b"GREY"], Format::Raw(PixelFormat::Grey)),
];

const USUAL_SIZE: (u32, u32) = (1280, 720);
/// How often a waiting reader looks for a frame.
const LOOK: Duration = Duration::from_millis(2);
/// Damaged frames in a row after which the camera counts as broken.
const MAX_DAMAGED: usize = 30;

impl V4l2Camera {
    pub const KEYS: [&str; 3] = ["size", "fps", "format"];

    pub fn parse(path: &str, query: &Query) -> Result<Self> {
        let formats = FORMATS.map(|(name, _, format)| (name, format));
        Ok(Self { path: path.into(), size: query.size()?, rate: query.fps()?, format: query.word("format", &formats)? })
    }

    /// Opens the camera and lets it stream.
    pub fn start(&self, options: &SourceOptions) -> Result<V4l2Reader, Fault> {
        let place = |e| self.refused(e);
        let device = Device::open(&self.path).map_err(place)?;
        let can = device.capabilities().map_err(place)?.device_capabilities();
        if can.contains(CapabilityFlags::VIDEO_CAPTURE_MPLANE) && !can.contains(CapabilityFlags::VIDEO_CAPTURE) {
            // GStreamer opens the device itself.
            drop(device);
            return self.start_gstreamer(options).map(V4l2Reader::Gstreamer);
        }
        self.start_stream(device, options).map(V4l2Reader::Direct)
    }

    /// What the system says of the device, with what mends that.
    fn refused(&self, error: std::io::Error) -> Fault {
        let path = self.path.display();
        let remedy = match error.kind() {
            ErrorKind::PermissionDenied => "; try: sudo usermod -aG video $USER, then log in anew".into(),
            ErrorKind::ResourceBusy => format!("; try: fuser -v {path}, which tells the program that holds it"),
            _ => "; try: ls /dev/video*, or edge-seg-fw doctor".into(),
        };
        Fault::Io(std::io::Error::new(error.kind(), format!("{path}: {error}{remedy}")))
    }

    fn start_gstreamer(&self, options: &SourceOptions) -> Result<Producer, Fault> {
        let (width, height) = self.size.unwrap_or(USUAL_SIZE);
        // GStreamer pads lines of other widths, and `y4menc` writes the padding too.
        if !width.is_multiple_of(8) || height % 2 == 1 {
            return Err(Fault::name(
                "a width of a multiple of 8 and an even height, for a multi-planar device",
                format!("{width}x{height}"),
            ));
        }
        let wanted = match self.format {
            None => "video/x-raw".to_owned(),
            Some(Format::Mjpeg) => "image/jpeg".to_owned(),
            Some(Format::Raw(format)) => format!("video/x-raw,format={}", gstreamer_name(format)),
        };
        let rate = self.rate.map(|(n, d)| format!(",framerate={n}/{d}")).unwrap_or_default();
        let decoded = if self.format == Some(Format::Mjpeg) { " ! jpegdec" } else { "" };
        let pipeline = format!(
            "v4l2src device={} ! {wanted},width={width},height={height}{rate}{decoded} ! videoconvert ! video/x-raw,format=I420 ! y4menc ! \
             fdsink fd=3",
            self.path.display()
        );
        let pipeline = pipeline.split(' ').map(String::from).collect();
        gstreamer(pipeline, options, Some(options.matrix.unwrap_or(Matrix::Bt601)), self.gstreamer_range(options.range))
    }

    /// GStreamer hands the range of JPEG and of grey on, which is the full one, and y4m does not tell it.
    fn gstreamer_range(&self, asked: Option<Range>) -> Option<Range> {
        let is_full = match self.format {
            Some(Format::Mjpeg) => true,
            Some(Format::Raw(format)) => format.usual_range() == Range::Full,
            None => false,
        };
        asked.or(is_full.then_some(Range::Full))
    }

    fn start_stream(&self, device: Device, options: &SourceOptions) -> Result<V4l2Stream, Fault> {
        let path = self.path.display();
        let place = |e| self.refused(e);
        let offered: Vec<FourCc> = device.formats(BufType::VIDEO_CAPTURE).filter_map(|f| Some(f.ok()?.pixel_format())).collect();
        let has = |code: &[u8; 4]| offered.contains(&FourCc::from_fourcc(*code));
        let wanted = |format: Format| self.format.is_none_or(|wanted| wanted == format);
        let offered_of = |(name, codes, format): (&'static str, &[&'static [u8; 4]], Format)| {
            codes.iter().find(|code| wanted(format) && has(code)).map(|code| (name, *code, format))
        };
        let chosen = FORMATS.into_iter().find_map(offered_of);
        let offers = offers(&device, &offered);
        let Some((name, code, format)) = chosen else {
            let name = FORMATS.into_iter().find(|(_, _, format)| self.format == Some(*format)).map_or("none of these", |(name, ..)| name);
            return Err(Fault::name(format!("a format that {path} offers ({offers}) and that is read here"), name));
        };
        let (width, height) = self.size.unwrap_or(USUAL_SIZE);
        let capture = device.video_capture(PixFormat::new(width, height, FourCc::from_fourcc(*code))).map_err(place)?;
        let got = capture.format();
        let size = (got.width(), got.height());
        if got.pixel_format() != FourCc::from_fourcc(*code) || self.size.is_some_and(|wanted| wanted != size) {
            let expected = format!("what {path} offers ({offers}; nearest {} {}x{})", got.pixel_format(), size.0, size.1);
            return Err(Fault::name(expected, format!("{name} {width}x{height}")));
        }
        let layout = match format {
            Format::Mjpeg => None,
            Format::Raw(format) => Some(Layout::padded(format, size.0, size.1, got.bytes_per_line() as usize)?),
        };
        // A camera that cannot change its rate says so with an error and keeps the one it has.
        let asked = self.rate.and_then(|(n, d)| capture.set_frame_interval(Fract::new(d, n)).ok());
        let rate = asked.map(|f| (f.denominator(), f.numerator())).filter(|&(n, d)| n > 0 && d > 0);
        // Video4Linux takes YCbCr as BT.601 in limited range unless a driver says otherwise.
        let usual = layout.map_or(Range::Limited, |layout| layout.format.usual_range());
        let decoder = YuvDecoder::new(options.matrix.unwrap_or(Matrix::Bt601), options.range.unwrap_or(usual));
        let stream = capture.into_stream().map_err(place)?;
        let (start, damage, options) = (Instant::now(), Damage::new(&options.notify), options.clone());
        Ok(V4l2Stream { stream, layout, decoder, rate, bytes: Vec::new(), sequence: 0, start, options, damage })
    }
}

/// What GStreamer calls a format.
fn gstreamer_name(format: PixelFormat) -> &'static str {
    match format {
        PixelFormat::Rgb24 => "RGB",
        PixelFormat::Bgr24 => "BGR",
        PixelFormat::Rgba => "RGBA",
        PixelFormat::Bgra => "BGRA",
        PixelFormat::Yuyv => "YUY2",
        PixelFormat::Uyvy => "UYVY",
        PixelFormat::Yvyu => "YVYU",
        PixelFormat::Vyuy => "VYUY",
        PixelFormat::Nv12 => "NV12",
        PixelFormat::Nv21 => "NV21",
        PixelFormat::Nv16 => "NV16",
        PixelFormat::Nv61 => "NV61",
        PixelFormat::Yv12 => "YV12",
        PixelFormat::I411 => "Y41B",
        PixelFormat::I420 => "I420",
        PixelFormat::I422 => "Y42B",
        PixelFormat::I444 => "Y444",
        PixelFormat::Grey => "GRAY8",
    }
}

/// What a camera has, in one line.
fn offers(device: &Device, formats: &[FourCc]) -> String {
    let sizes = |code: FourCc| match device.frame_sizes(code) {
        Ok(FrameSizes::Discrete(sizes)) => sizes.iter().map(|size| format!(" {}x{}", size.width(), size.height())).collect::<String>(),
        Ok(sizes) => format!(" {}x{} to {}x{}", sizes.min_width(), sizes.min_height(), sizes.max_width(), sizes.max_height()),
        Err(_) => String::new(),
    };
    let list: Vec<_> = formats.iter().map(|&code| format!("{code}{}", sizes(code))).collect();
    if list.is_empty() { "no format at all".into() } else { list.join(", ") }
}

/// A camera that is read here, or by a child.
pub(super) enum V4l2Reader {
    Direct(V4l2Stream),
    Gstreamer(Producer),
}

impl V4l2Reader {
    pub fn rate(&self) -> Option<Rate> {
        match self {
            Self::Direct(stream) => stream.rate,
            Self::Gstreamer(child) => child.rate(),
        }
    }

    /// Reads the next whole frame; false when the program stops.
    pub fn read(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        match self {
            Self::Direct(stream) => stream.read(frame),
            Self::Gstreamer(child) => child.read(frame),
        }
    }
}

/// A camera that sends frames.
pub(super) struct V4l2Stream {
    stream: ReadStream,
    layout: Option<Layout>,
    decoder: YuvDecoder,
    rate: Option<Rate>,
    bytes: Vec<u8>,
    sequence: u64,
    start: Instant,
    options: SourceOptions,
    damage: Damage,
}

impl V4l2Stream {
    /// Reads the next whole frame; false when the program stops.
    fn read(&mut self, frame: &mut Frame) -> Result<bool, Fault> {
        let mut said = String::new();
        for _ in 0..MAX_DAMAGED {
            let waiting = Instant::now();
            while self.stream.will_block()? {
                if self.options.stopped() {
                    return Ok(false);
                }
                if waiting.elapsed() > self.options.stall {
                    return Err(Fault::Stalled { after_ms: self.options.stall.as_millis() as u64 });
                }
                std::thread::sleep(LOOK);
            }
            let bytes = &mut self.bytes;
            // The driver gets its buffer back before the picture is decoded.
            let damaged = self.stream.dequeue(|buffer| {
                bytes.clear();
                bytes.extend_from_slice(&buffer);
                Ok(buffer.is_error())
            })?;
            (frame.sequence, frame.timestamp) = (self.sequence, self.start.elapsed());
            self.sequence += 1;
            let decoded = match &self.layout {
                _ if damaged => Err("the driver's error flag".to_owned()),
                Some(layout) => self.decoder.decode(layout, &self.bytes, &mut frame.pixels).map_err(|e| e.to_string()),
                None => decode_jpeg(&self.bytes, &mut frame.pixels),
            };
            match decoded {
                Ok(()) => return Ok(true),
                Err(e) => {
                    self.damage.tell(frame.sequence, &e);
                    said = e;
                }
            }
        }
        Err(Fault::stream(format!("frame {}", self.sequence), "a whole frame", format!("{MAX_DAMAGED} damaged ones in a row: {said}")))
    }
}
