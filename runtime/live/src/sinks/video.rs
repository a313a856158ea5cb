use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use image::RgbImage;
use image::imageops::{FilterType, resize};

use crate::source::{Fault, Rate};
use crate::{Error, Result};

/// Video at a constant rate: frames are repeated where the source lost some, so that it plays at the right speed.
pub struct VideoWriter {
    place: PathBuf,
    beside: Option<PathBuf>,
    out: Option<Box<dyn Write + Send>>,
    encoder: Option<Child>,
    picture: Option<(u32, u32, Rate)>,
    first: Option<Duration>,
    written: u64,
    planes: Vec<u8>,
}

/// A longer gap, such as a camera that was away, is cut instead of filled.
const MAX_REPEATS: u64 = 250;
/// How long ffmpeg may take to finish its file.
const FINISH: Duration = Duration::from_secs(5);

impl VideoWriter {
    /// Video into a file: `.y4m` as it is, anything else encoded by an `ffmpeg` child (H.264 for `.mp4` and `.mkv`). `-` is y4m on
    /// stdout. Files are written beside and get their name when they are finished.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if the file cannot be made, [`Error::Source`] if ffmpeg is missing.
    pub fn create(place: &Path) -> Result<Self> {
        let mut writer = Self {
            place: place.into(),
            beside: None,
            out: None,
            encoder: None,
            picture: None,
            first: None,
            written: 0,
            planes: Vec::new(),
        };
        if place == Path::new("-") {
            writer.out = Some(Box::new(BufWriter::new(std::io::stdout())));
            return Ok(writer);
        }
        if let Ok(found) = std::fs::metadata(place)
            && !found.is_file()
        {
            // A named pipe or a device takes the bytes themselves.
            writer.out = Some(Box::new(BufWriter::new(File::create(place).map_err(Error::io(place))?)));
            return Ok(writer);
        }
        let ending = place.extension().unwrap_or_default().to_os_string();
        let mut name = OsString::from(".");
        name.push(place.file_stem().unwrap_or_default());
        name.push(format!(".{}.part.", std::process::id()));
        name.push(&ending);
        let beside = place.with_file_name(name);
        if ending == "y4m" {
            writer.out = Some(Box::new(BufWriter::new(File::create(&beside).map_err(Error::io(&beside))?)));
        } else {
            let mut child = encoder(&beside, place)?;
            writer.out = child.stdin.take().map(|stdin| Box::new(stdin) as _);
            writer.encoder = Some(child);
        }
        writer.beside = Some(beside);
        Ok(writer)
    }

    /// Appends a picture that belongs at `timestamp`. The first one sets size and rate; later ones of other sizes are scaled to it.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if the file, the pipe or ffmpeg takes no more.
    pub fn write(&mut self, picture: &RgbImage, timestamp: Duration, rate: Option<Rate>) -> Result<()> {
        let first = *self.first.get_or_insert(timestamp);
        let (width, height, rate) = match self.picture {
            Some(known) => known,
            None => {
                let known = (picture.width(), picture.height(), rate.unwrap_or((25, 1)));
                let header = format!("YUV4MPEG2 W{} H{} F{}:{} Ip A1:1 C444 XCOLORRANGE=LIMITED\n", known.0, known.1, known.2.0, known.2.1);
                self.put(|out, _| out.write_all(header.as_bytes()))?;
                *self.picture.insert(known)
            }
        };
        let scaled;
        let picture = if picture.dimensions() == (width, height) {
            picture
        } else {
            scaled = resize(picture, width, height, FilterType::Triangle);
            &scaled
        };
        encode(picture, &mut self.planes);
        let due = (timestamp.saturating_sub(first).as_secs_f64() * f64::from(rate.0) / f64::from(rate.1)).round() as u64;
        if due > self.written + MAX_REPEATS {
            self.first =
                Some(timestamp.saturating_sub(Duration::from_secs_f64(self.written as f64 * f64::from(rate.1) / f64::from(rate.0))));
        }
        let repeats = if due > self.written + MAX_REPEATS { 1 } else { (due + 1).saturating_sub(self.written) };
        for _ in 0..repeats {
            self.put(|out, planes| out.write_all(b"FRAME\n").and_then(|()| out.write_all(planes)))?;
        }
        self.written += repeats;
        Ok(())
    }

    fn put(&mut self, put: impl FnOnce(&mut (dyn Write + Send), &[u8]) -> std::io::Result<()>) -> Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        put(out.as_mut(), &self.planes).map_err(Error::io(&self.place))
    }

    /// Ends the video and gives it its name. Without any frame there is no file.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if the file system refuses, [`Error::Source`] if ffmpeg does not end well.
    pub fn finish(mut self) -> Result<()> {
        if self.picture.is_none() {
            return Ok(());
        }
        if let Some(out) = &mut self.out {
            out.flush().map_err(Error::io(&self.place))?;
        }
        self.out = None;
        if let Some(mut child) = self.encoder.take() {
            let until = Instant::now() + FINISH;
            let status = loop {
                match child.try_wait().map_err(Error::io(&self.place))? {
                    Some(status) => break status.to_string(),
                    None if Instant::now() > until => {
                        let _ = child.kill();
                        let _ = child.wait();
                        break "did not finish".into();
                    }
                    None => std::thread::sleep(Duration::from_millis(10)),
                }
            };
            if status != "exit status: 0" {
                return Err(fault(&self.place, Fault::Ended { program: "ffmpeg", status, said: "its message stands above".into() }));
            }
        }
        let Some(beside) = self.beside.take() else { return Ok(()) };
        File::open(&beside).and_then(|f| f.sync_all()).and_then(|()| std::fs::rename(&beside, &self.place)).map_err(Error::io(&self.place))
    }
}

impl Drop for VideoWriter {
    fn drop(&mut self) {
        // Killed before its pipe is closed, for it would complain of a video without frames.
        if let Some(mut child) = self.encoder.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(beside) = self.beside.take() {
            let _ = std::fs::remove_file(beside);
        }
    }
}

fn fault(place: &Path, fault: Fault) -> Error {
    Error::Source { uri: place.display().to_string(), fault }
}

fn encoder(beside: &Path, place: &Path) -> Result<Child> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-f", "yuv4mpegpipe", "-i", "pipe:0", "-vf"]);
    command.arg(
        "scale=trunc(iw/2)*2:trunc(ih/2)*2:in_color_matrix=bt601:in_range=limited:out_color_matrix=bt709:out_range=limited,format=yuv420p",
    );
    command.args(["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]);
    if place.extension().is_some_and(|e| e == "mp4" || e == "mkv") {
        command.args(["-c:v", "libx264", "-preset", "veryfast", "-crf", "20"]);
    }
    if place.extension().is_some_and(|e| e == "mp4") {
        // In fragments, so that a power cut leaves a file that plays.
        command.args(["-movflags", "+frag_keyframe+empty_moov+default_base_moof"]);
    }
    let mut name = OsString::from("file:");
    name.push(beside);
    command.arg(name).process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit());
    command.spawn().map_err(|e| match e.kind() {
        ErrorKind::NotFound => fault(place, Fault::MissingProgram { program: "ffmpeg", package: "ffmpeg" }),
        _ => Error::io(place)(e),
    })
}

/// RGB to BT.601 luma and chroma in limited range, in planes of full size (ITU-R BT.601-7 section 2.5, 16-bit fixed point).
fn encode(picture: &RgbImage, planes: &mut Vec<u8>) {
    let area = picture.width() as usize * picture.height() as usize;
    planes.resize(3 * area, 0);
    let (luma, chroma) = planes.split_at_mut(area);
    let (blue, red) = chroma.split_at_mut(area);
    for (((pixel, y), u), v) in picture.chunks_exact(3).zip(luma).zip(blue).zip(red) {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(i32::from);
        *y = ((16829 * r + 33039 * g + 6416 * b + 32768) >> 16) as u8 + 16;
        *u = (((-9714 * r - 19070 * g + 28784 * b + 32768) >> 16) + 128) as u8;
        *v = (((28784 * r - 24103 * g - 4681 * b + 32768) >> 16) + 128) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{SourceOptions, open_source};
    use edge_seg_model::Frame;

    #[test]
    fn what_is_written_reads_back_at_the_right_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.y4m");
        let colours = [[255u8, 0, 0], [0, 255, 0], [0, 0, 255], [12, 200, 77], [255, 255, 255], [0, 0, 0]];
        let mut video = VideoWriter::create(&path).unwrap();
        for (i, colour) in (0..).zip(colours) {
            // The third frame is lost.
            let index = if i < 2 { i } else { i + 1 };
            video.write(&RgbImage::from_pixel(5, 3, image::Rgb(colour)), Duration::from_millis(100 * index), Some((10, 1))).unwrap();
        }
        assert!(!path.exists(), "the name comes at the end");
        video.finish().unwrap();
        let mut source = open_source(&format!("y4m:{}", path.display()), &SourceOptions::default()).unwrap();
        let mut frame = Frame::still(RgbImage::default());
        let mut seen = Vec::new();
        while source.read(&mut frame).unwrap() {
            seen.push(frame.pixels.get_pixel(4, 2).0);
        }
        assert_eq!(seen.len(), 7);
        let want = [0, 1, 2, 2, 3, 4, 5].map(|i: usize| colours[i]);
        for (found, want) in seen.iter().zip(want) {
            assert!(found.iter().zip(want).all(|(&a, b)| a.abs_diff(b) <= 2), "{found:?} instead of {want:?}");
        }
    }
}
