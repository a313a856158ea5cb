use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufWriter, ErrorKind, Seek, SeekFrom, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use image::RgbImage;
use image::imageops::{FilterType, resize};

use crate::source::{Fault, Rate};
use crate::{Error, Result};
use edge_seg_bundle::files::has_name;

/// Video at a constant rate: frames are repeated where the source lost some, so that it plays at the right speed.
pub struct VideoWriter {
    place: PathBuf,
    beside: Option<PathBuf>,
    /// The file beside. Its lock tells other runs, and the next one after a power cut, whether somebody writes it.
    part: Option<File>,
    out: Option<Box<dyn Write + Send>>,
    encoder: Option<Child>,
    /// The encoder takes no more.
    broken: bool,
    picture: Option<(u32, u32, Rate)>,
    first: Option<Duration>,
    written: u64,
    /// Bytes of whole frames in the file, where no encoder writes it.
    whole_bytes: u64,
    bytes: Vec<u8>,
}

/// A longer gap, such as a camera that was away, is cut instead of filled.
pub(super) const MAX_REPEATS: u64 = 250;
/// How long ffmpeg may take to finish its file.
const FINISH: Duration = Duration::from_secs(5);

impl std::fmt::Debug for VideoWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VideoWriter {{ {:?}, {} frames }}", self.place, self.written)
    }
}

impl VideoWriter {
    /// Video into a file: `.y4m` as it is, anything else encoded by an `ffmpeg` child (H.264 for `.mp4` and `.mkv`). `-` is y4m on
    /// stdout. Files are written beside and get their name when they are finished; what a run that was killed left there is written over.
    ///
    /// # Errors
    /// As [`Self::check`]; [`Io`](edge_seg_model::Error::Io) if the file cannot be made, [`Error::Source`] if ffmpeg is missing,
    /// [`Error::Sink`] if another run writes it.
    pub fn create(place: &Path) -> Result<Self> {
        Self::check(place)?;
        let mut writer = Self::empty(place);
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
        let beside = part_of(place);
        let part = locked(&beside, place)?;
        writer.begin(beside, part)?;
        Ok(writer)
    }

    /// Whether a name is that of a video that can be written, and its folder is there. Nothing is opened.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if it is not.
    pub fn check(place: &Path) -> Result<()> {
        let takes_bytes = std::fs::metadata(place).is_ok_and(|found| !found.is_file() && !found.is_dir());
        if place == Path::new("-") || takes_bytes {
            return Ok(());
        }
        let wrong = |expected: String, found: String| Err(Error::option(place.display().to_string(), expected, found));
        let ending = ending_of(place);
        if place.is_dir() {
            return wrong("a file to write".into(), "a folder".into());
        }
        if !ENDINGS.contains(&&*ending) {
            let found = if ending.is_empty() { "none".into() } else { format!("{:?}", format!(".{ending}")) };
            return wrong(format!("a video by its ending, one of .{}", ENDINGS.join(", .")), found);
        }
        match place.parent() {
            Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
                wrong("a folder to write into".into(), format!("{}, which is none; try: mkdir -p {}", folder.display(), folder.display()))
            }
            _ => Ok(()),
        }
    }

    /// As [`Self::create`], for a file that must not be there; none if it is, or if another run writes one of this name.
    pub(super) fn create_new(place: &Path) -> Result<Option<Self>> {
        let beside = part_of(place);
        let part = match OpenOptions::new().write(true).create_new(true).open(&beside) {
            Ok(part) => part,
            Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(None),
            Err(e) => return Err(Error::io(beside)(e)),
        };
        // Where a file system has no locks, the name alone keeps others away.
        let _ = part.try_lock();
        let mut writer = Self::empty(place);
        let taken = place.try_exists();
        if !matches!(taken, Ok(false)) {
            // From here on it is removed.
            (writer.beside, writer.part) = (Some(beside), Some(part));
            return taken.map(|_| None).map_err(Error::io(place));
        }
        writer.begin(beside, part)?;
        Ok(Some(writer))
    }

    fn empty(place: &Path) -> Self {
        Self {
            place: place.into(),
            beside: None,
            part: None,
            out: None,
            encoder: None,
            broken: false,
            picture: None,
            first: None,
            written: 0,
            whole_bytes: 0,
            bytes: Vec::new(),
        }
    }

    fn begin(&mut self, beside: PathBuf, part: File) -> Result<()> {
        // From here on it is removed if this fails.
        let beside = self.beside.insert(beside);
        if ending_of(&self.place) == "y4m" {
            self.out = Some(Box::new(part.try_clone().map_err(Error::io(&*beside))?));
        } else {
            let mut child = encoder(beside, &self.place)?;
            self.out = child.stdin.take().map(|stdin| Box::new(stdin) as _);
            self.encoder = Some(child);
        }
        self.part = Some(part);
        Ok(())
    }

    /// Whether nothing more can be written into it, because its encoder has ended.
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Appends a picture that belongs at `timestamp`. The first one sets size and rate; later ones of other sizes are scaled to it.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if the picture has no pixels, [`Io`](edge_seg_model::Error::Io) if the file, the pipe or
    /// ffmpeg takes no more.
    pub fn write(&mut self, picture: &RgbImage, timestamp: Duration, rate: Option<Rate>) -> Result<()> {
        if picture.is_empty() {
            let found = format!("{}×{} pixels", picture.width(), picture.height());
            return Err(Error::option(self.place.display().to_string(), "pictures with pixels", found));
        }
        let first = *self.first.get_or_insert(timestamp);
        let (width, height, rate) = match self.picture {
            Some(known) => known,
            None => {
                let known =
                    (picture.width(), picture.height(), rate.filter(|&(frames, seconds)| frames > 0 && seconds > 0).unwrap_or((25, 1)));
                self.bytes = header(known.0, known.1, known.2);
                self.put()?;
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
        encode(picture, &mut self.bytes);
        let due = (timestamp.saturating_sub(first).as_secs_f64() * f64::from(rate.0) / f64::from(rate.1)).round() as u64;
        if due > self.written + MAX_REPEATS {
            self.first =
                Some(timestamp.saturating_sub(Duration::from_secs_f64(self.written as f64 * f64::from(rate.1) / f64::from(rate.0))));
        }
        // A picture that comes early is kept all the same, and repeats are fewer afterwards: up to a second, for who is always faster than
        // its rate would be shown ever slower.
        let early = self.written.saturating_sub(due);
        let least = u64::from(early <= u64::from(rate.0.div_ceil(rate.1)));
        let repeats = if due > self.written + MAX_REPEATS { 1 } else { (due + 1).saturating_sub(self.written).max(least) };
        for _ in 0..repeats {
            self.put()?;
            self.written += 1;
        }
        Ok(())
    }

    /// Writes `bytes` as a whole: what a full disk took of it is taken back, so that what comes later follows whole frames.
    fn put(&mut self) -> Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let Err(error) = out.write_all(&self.bytes) else {
            self.whole_bytes += self.bytes.len() as u64;
            return Ok(());
        };
        if self.encoder.is_some() {
            self.broken = true;
            let said = format!("it takes no more frames ({error}); its message is above");
            return Err(fault(&self.place, Fault::Ended { program: "ffmpeg", status: "while it encodes".into(), said }));
        }
        if let Some(part) = &mut self.part {
            let _ = part.set_len(self.whole_bytes).and_then(|()| part.seek(SeekFrom::Start(self.whole_bytes)));
        }
        Err(Error::io(&self.place)(error))
    }

    /// Ends the video and gives it its name. Without any frame there is no file. What was written before a fault is kept.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if the file system refuses, [`Error::Source`] if ffmpeg does not end well.
    pub fn finish(mut self) -> Result<()> {
        if self.picture.is_none() {
            return Ok(());
        }
        let flushed = self.out.as_mut().map_or(Ok(()), |out| out.flush()).map_err(Error::io(&self.place));
        self.out = None;
        let encoded = self.encoder.take().map_or(Ok(()), |child| self.ended(child));
        let Some(beside) = self.beside.take() else { return flushed.and(encoded) };
        let part = self.part.take();
        let empty = part.as_ref().and_then(|part| part.metadata().ok()).is_some_and(|found| found.len() == 0);
        if empty {
            let _ = std::fs::remove_file(&beside);
            return flushed.and(encoded);
        }
        let synced = part.map_or(Ok(()), |part| part.sync_all());
        let renamed = std::fs::rename(&beside, &self.place).map_err(|e| {
            let found = format!("{e}; the video is in {}, which the next run clears away", beside.display());
            Error::Sink { place: self.place.display().to_string(), found }
        });
        flushed.and(encoded).and(synced.map_err(Error::io(&self.place))).and(renamed)
    }

    /// Waits for the encoder, which writes the rest.
    fn ended(&self, mut child: Child) -> Result<()> {
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
        match status.as_str() {
            "exit status: 0" => Ok(()),
            _ => Err(fault(&self.place, Fault::Ended { program: "ffmpeg", status, said: "its message is above".into() })),
        }
    }
}

/// Where a video is written until it is finished.
fn part_of(place: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(place.file_stem().unwrap_or_default());
    name.push(".part.");
    name.push(place.extension().unwrap_or_default());
    place.with_file_name(name)
}

/// Opens the file beside for this run alone.
fn locked(beside: &Path, place: &Path) -> Result<File> {
    loop {
        let part = OpenOptions::new().write(true).create(true).truncate(false).open(beside).map_err(Error::io(place))?;
        if let Err(TryLockError::WouldBlock) = part.try_lock() {
            let found = "another run writes this file; name another, or end that run".into();
            return Err(Error::Sink { place: place.display().to_string(), found });
        }
        // Its writer may have finished it between the two calls.
        let emptied = match has_name(&part, beside) {
            Ok(true) => part.set_len(0),
            Ok(false) => continue,
            Err(error) => Err(error),
        };
        if let Err(error) = emptied {
            let _ = std::fs::remove_file(beside);
            return Err(Error::io(beside)(error));
        }
        return Ok(part);
    }
}

/// Endings of the videos that are written; a killed run's parts are known by them for what they are.
const ENDINGS: [&str; 17] =
    ["y4m", "mp4", "mkv", "mov", "webm", "avi", "m4v", "ts", "mts", "m2ts", "mpg", "mpeg", "flv", "wmv", "ogv", "mxf", "gif"];

/// The ending of a name, in small letters.
fn ending_of(place: &Path) -> String {
    place.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase()).unwrap_or_default()
}

/// Removes what runs that were killed left in a folder: files beside videos that nobody writes.
pub(super) fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let parts = name.to_str().and_then(|name| name.strip_prefix('.')?.rsplit_once('.'));
        let is_part = parts.is_some_and(|(rest, ending)| rest.ends_with(".part") && ENDINGS.contains(&&*ending.to_ascii_lowercase()));
        if is_part
            && entry.file_type().is_ok_and(|kind| kind.is_file())
            && let Ok(part) = OpenOptions::new().write(true).open(entry.path())
            && part.try_lock().is_ok()
        {
            match std::fs::remove_file(entry.path()) {
                Ok(()) => tracing::info!("{}: left by a run that was killed; removed", entry.path().display()),
                Err(e) => tracing::warn!("{}: {e}", entry.path().display()),
            }
        }
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

/// To 4:2:0 of even sides in BT.709 for players. From version 7 on the encoder takes its tags from the frames, and not from options.
pub(super) const TO_VIDEO: &str = "scale=trunc(iw/2)*2:trunc(ih/2)*2:in_color_matrix=bt601:in_range=limited:out_color_matrix=bt709:\
    out_range=limited,format=yuv420p,setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=bt709";
/// The same in BT.601, for files that tell no matrix: players take this one.
const TO_UNTAGGED: &str = "scale=trunc(iw/2)*2:trunc(ih/2)*2:in_color_matrix=bt601:in_range=limited:out_color_matrix=bt601:\
    out_range=limited,format=yuv420p";
const UNTAGGED: [&str; 4] = ["avi", "flv", "wmv", "ogv"];
pub(super) const VIDEO_TAGS: [&str; 8] = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"];

fn encoder(beside: &Path, place: &Path) -> Result<Child> {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y", "-f", "yuv4mpegpipe", "-i", "pipe:0", "-vf"]);
    let ending = ending_of(place);
    if UNTAGGED.contains(&&*ending) {
        command.arg(TO_UNTAGGED);
    } else {
        command.arg(TO_VIDEO).args(VIDEO_TAGS);
    }
    if ["mp4", "mkv"].contains(&&*ending) {
        // Without B-frames, before which a file in fragments would start two frames late.
        command.args(["-c:v", "libx264", "-preset", "veryfast", "-crf", "20", "-bf", "0"]);
    }
    if ending == "webm" {
        // As fast as frames come; what it does otherwise holds dozens of them back and takes seconds over each.
        command.args(["-deadline", "realtime", "-cpu-used", "8"]);
    }
    if ["mpg", "mpeg"].contains(&&*ending) {
        // What it takes otherwise, MPEG-1, knows a few rates alone.
        command.args(["-c:v", "mpeg2video"]);
    }
    if ending == "mxf" {
        // Rates that no broadcast has.
        command.args(["-strict", "unofficial"]);
    }
    if ending == "mp4" {
        // In fragments, so that a power cut leaves a file that plays.
        command.args(["-movflags", "+frag_keyframe+empty_moov+default_base_moof"]);
    }
    let mut name = OsString::from("file:");
    name.push(beside);
    command.arg(name).process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::inherit());
    command.spawn().map_err(|e| match e.kind() {
        ErrorKind::NotFound => fault(place, Fault::MissingProgram { program: "ffmpeg", package: "ffmpeg" }),
        _ => Error::Sink { place: place.display().to_string(), found: format!("ffmpeg cannot be started: {e}") },
    })
}

/// The head of a y4m stream.
pub(super) fn header(width: u32, height: u32, (frames, seconds): Rate) -> Vec<u8> {
    format!("YUV4MPEG2 W{width} H{height} F{frames}:{seconds} Ip A1:1 C444 XCOLORRANGE=LIMITED XEDGESEGMATRIX=BT601\n").into_bytes()
}

const FRAME: &[u8] = b"FRAME\n";

/// A frame of y4m: RGB to BT.601 luma and chroma in limited range, in planes of full size (ITU-R BT.601-7 section 2.5, 16-bit fixed
/// point).
pub(super) fn encode(picture: &RgbImage, bytes: &mut Vec<u8>) {
    let area = picture.width() as usize * picture.height() as usize;
    bytes.resize(FRAME.len() + 3 * area, 0);
    let (head, planes) = bytes.split_at_mut(FRAME.len());
    head.copy_from_slice(FRAME);
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

    /// How many frames a video has of pictures at such times, at ten a second.
    fn frames_of(times_ms: impl IntoIterator<Item = u64>) -> usize {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.y4m");
        let mut video = VideoWriter::create(&path).unwrap();
        for time in times_ms {
            video.write(&RgbImage::new(2, 2), Duration::from_millis(time), Some((10, 1))).unwrap();
        }
        video.finish().unwrap();
        std::fs::read(&path).unwrap().windows(FRAME.len()).filter(|bytes| *bytes == FRAME).count()
    }

    #[test]
    fn pictures_that_come_early_are_kept_and_paid_back() {
        assert_eq!(frames_of([0, 30, 200, 210, 390, 500]), 6);
        assert_eq!(frames_of([0, 10, 20, 30, 1000]), 11);
        // Twice as fast as it says: a second's frames more than there is time for.
        assert_eq!(frames_of((0..200).map(|i| 50 * i)), 111);
    }

    #[test]
    fn colours_read_back_at_every_height() {
        let folder = tempfile::tempdir().unwrap();
        for height in [4, 720] {
            let path = folder.path().join(format!("{height}.y4m"));
            let mut video = VideoWriter::create(&path).unwrap();
            video.write(&RgbImage::from_pixel(4, height, image::Rgb([200, 40, 40])), Duration::ZERO, None).unwrap();
            video.finish().unwrap();
            let mut source = open_source(&format!("y4m:{}", path.display()), &SourceOptions::default()).unwrap();
            let mut frame = Frame::still(RgbImage::default());
            assert!(source.read(&mut frame).unwrap());
            let found = frame.pixels.get_pixel(1, 1).0;
            assert!(found.iter().zip([200, 40, 40]).all(|(&a, b)| a.abs_diff(b) <= 2), "{height}: {found:?}");
        }
    }

    #[test]
    fn pictures_without_pixels_and_rates_without_frames_are_no_video() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.y4m");
        let mut video = VideoWriter::create(&path).unwrap();
        let said = video.write(&RgbImage::new(0, 5), Duration::ZERO, None).unwrap_err().to_string();
        assert!(said.contains("expected pictures with pixels, found 0×5 pixels"), "{said}");
        for (second, rate) in [(0, (0, 1)), (1, (1, 0)), (2, (0, 0))] {
            video.write(&RgbImage::new(4, 2), Duration::from_secs(second), Some(rate)).unwrap();
        }
        video.finish().unwrap();
        assert!(std::fs::read(&path).unwrap().starts_with(b"YUV4MPEG2 W4 H2 F25:1 "));
    }

    #[test]
    fn what_a_killed_run_left_is_written_over_and_nobody_writes_what_another_does() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a.y4m");
        std::fs::write(folder.path().join(".a.part.y4m"), [7; 9999]).unwrap();
        let mut first = VideoWriter::create(&place).unwrap();
        let said = VideoWriter::create(&place).err().unwrap().to_string();
        assert!(said.contains("another run writes this file"), "{said}");
        sweep(folder.path());
        first.write(&RgbImage::new(2, 2), Duration::ZERO, None).unwrap();
        first.finish().unwrap();
        assert!(std::fs::read(&place).unwrap().starts_with(b"YUV4MPEG2 W2 H2 "));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        // A name is taken while it is written, and after.
        let new = folder.path().join("b.y4m");
        let mut writer = VideoWriter::create_new(&new).unwrap().unwrap();
        assert!(VideoWriter::create_new(&new).unwrap().is_none());
        writer.write(&RgbImage::new(2, 2), Duration::ZERO, None).unwrap();
        writer.finish().unwrap();
        assert!(VideoWriter::create_new(&new).unwrap().is_none());
        std::fs::write(folder.path().join(".20260101T000000Z.part.mp4"), "").unwrap();
        std::fs::write(folder.path().join(".film.part.mkv"), "").unwrap();
        std::fs::write(folder.path().join(".o.17410.part.y4m"), "").unwrap();
        std::fs::write(folder.path().join("notes.part.y4m"), "").unwrap();
        sweep(folder.path());
        let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, ["a.y4m", "b.y4m", "notes.part.y4m"]);
    }
}
