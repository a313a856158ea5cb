//! Cameras that a program of their maker's reads: its children write frames on their stdout.

use std::process::Command;

use super::child::{Frames, Producer, Program};
use super::mjpeg::Mjpeg;
use super::query::Query;
use super::raw::RawFrames;
use super::y4m::Y4m;
use super::{Fault, Layout, Matrix, PixelFormat, Range, Rate, SourceOptions, YuvDecoder};
use crate::Result;

/// A Raspberry Pi camera.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RpiCamera {
    size: (u32, u32),
    rate: Rate,
    camera: u64,
    hflip: bool,
    vflip: bool,
    codec: Codec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Mjpeg,
    Yuv420,
}

/// The names of one program, the newer first.
const RPICAM: [Program; 2] =
    [Program { name: "rpicam-vid", package: "rpicam-apps" }, Program { name: "libcamera-vid", package: "libcamera-apps" }];

impl RpiCamera {
    pub const KEYS: [&str; 6] = ["size", "fps", "camera", "hflip", "vflip", "codec"];

    pub fn parse(query: &Query) -> Result<Self> {
        Ok(Self {
            size: query.size()?.unwrap_or((1280, 720)),
            rate: query.fps()?.unwrap_or((30, 1)),
            camera: query.number("camera")?.unwrap_or(0),
            hflip: query.flag("hflip")?,
            vflip: query.flag("vflip")?,
            codec: query.word("codec", &[("mjpeg", Codec::Mjpeg), ("yuv420", Codec::Yuv420)])?.unwrap_or(Codec::Mjpeg),
        })
    }

    /// Uncompressed lines are padded to whole 64 bytes of chroma at most, which the stream does not tell.
    pub fn check(self) -> Result<Self, Fault> {
        let (width, height) = self.size;
        Layout::new(PixelFormat::I420, width, height)?;
        if self.codec == Codec::Yuv420 && (!width.is_multiple_of(128) || height % 2 == 1) {
            return Err(Fault::name("a width of a multiple of 128 and an even height, for codec=yuv420", format!("{width}x{height}")));
        }
        program()?;
        Ok(self)
    }

    fn arguments(self) -> Vec<String> {
        let codec = if self.codec == Codec::Mjpeg { "mjpeg" } else { "yuv420" };
        let mut arguments: Vec<String> = ["--timeout", "0", "--nopreview", "--flush", "--codec", codec].map(String::from).into();
        let values = [
            ("--width", self.size.0.to_string()),
            ("--height", self.size.1.to_string()),
            ("--framerate", (f64::from(self.rate.0) / f64::from(self.rate.1)).to_string()),
            ("--camera", self.camera.to_string()),
        ];
        for (option, value) in values {
            arguments.extend([option.into(), value]);
        }
        arguments.extend(self.hflip.then(|| "--hflip".into()));
        arguments.extend(self.vflip.then(|| "--vflip".into()));
        arguments.extend(["--output".into(), "-".into()]);
        arguments
    }

    pub fn start(self, options: &SourceOptions) -> Result<Producer, Fault> {
        let program = program()?;
        let mut command = Command::new(program.name);
        command.args(self.arguments());
        Producer::start(program, command, options, |out| {
            if self.codec == Codec::Mjpeg {
                return Ok(Frames::Mjpeg(Mjpeg::new(out, None, &options.notify)));
            }
            let layout = Layout::new(PixelFormat::I420, self.size.0, self.size.1)?;
            // The program asks libcamera for sYCC whatever the size, for this codec as for JPEG.
            let decoder = YuvDecoder::new(options.matrix.unwrap_or(Matrix::Bt601), options.range.unwrap_or(Range::Full));
            Ok(Frames::Raw(out, RawFrames::new(layout, decoder, self.rate)))
        })
    }
}

fn program() -> Result<Program, Fault> {
    RPICAM.into_iter().find(|p| p.is_there()).ok_or_else(|| RPICAM[0].missing())
}

/// A camera on a Jetson's CSI connector, through NVIDIA's image processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Csi {
    size: (u32, u32),
    rate: Rate,
    camera: u64,
    flip: u64,
}

const GSTREAMER: Program = Program { name: "gst-launch-1.0", package: "gstreamer1.0-tools" };

impl Csi {
    pub const KEYS: [&str; 4] = ["size", "fps", "camera", "flip"];

    pub fn parse(query: &Query) -> Result<Self> {
        let flips: [(&str, u64); 8] = [("0", 0), ("1", 1), ("2", 2), ("3", 3), ("4", 4), ("5", 5), ("6", 6), ("7", 7)];
        Ok(Self {
            size: query.size()?.unwrap_or((1280, 720)),
            rate: query.fps()?.unwrap_or((30, 1)),
            camera: query.number("camera")?.unwrap_or(0),
            flip: query.word("flip", &flips)?.unwrap_or(0),
        })
    }

    /// GStreamer pads lines of other widths, and `y4menc` writes the padding too.
    pub fn check(self) -> Result<Self, Fault> {
        let (width, height) = self.size;
        Layout::new(PixelFormat::I420, width, height)?;
        if !width.is_multiple_of(8) || height % 2 == 1 {
            return Err(Fault::name("a width of a multiple of 8 and an even height", format!("{width}x{height}")));
        }
        if !GSTREAMER.is_there() {
            return Err(GSTREAMER.missing());
        }
        Ok(self)
    }

    /// `y4menc` writes a header, so that sizes need not be guessed.
    fn pipeline(self) -> Vec<String> {
        let Self { size: (width, height), rate: (frames, seconds), camera, flip } = self;
        format!(
            "nvarguscamerasrc sensor-id={camera} ! video/x-raw(memory:NVMM),width={width},height={height},framerate={frames}/{seconds} ! \
             nvvidconv flip-method={flip} ! video/x-raw,format=I420 ! y4menc ! fdsink fd=3"
        )
        .split(' ')
        .map(String::from)
        .collect()
    }

    pub fn start(self, options: &SourceOptions) -> Result<Producer, Fault> {
        gstreamer(self.pipeline(), options, options.matrix, options.range)
    }
}

/// Lets GStreamer run a pipeline that writes y4m on descriptor 3: NVIDIA's camera stack, for one, prints messages on stdout.
pub(super) fn gstreamer(
    pipeline: Vec<String>,
    options: &SourceOptions,
    matrix: Option<Matrix>,
    range: Option<Range>,
) -> Result<Producer, Fault> {
    if !GSTREAMER.is_there() {
        return Err(GSTREAMER.missing());
    }
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" -q \"$@\" 3>&1 1>&2", GSTREAMER.name]).args(pipeline);
    Producer::start(GSTREAMER, command, options, |out| Ok(Frames::Y4m(Y4m::new(out, matrix, range))))
}
