use image::imageops::{self, FilterType};
use rust_h264::decoder::{ChromaFormat, Decoder, Frame as Picture};
use rust_h264::error::DecodeError;
use rust_h264::nal::{NalUnitType, SpsInfo, parse_annex_b, parse_sps_info};

use crate::source::y4m::squared;
use crate::source::{Fault, Layout, Matrix, PixelFormat, Range, SourceOptions, YuvDecoder};
use edge_seg_model::{Frame, contained};

/// Decodes H.264 by `rust_h264`, and gives its pictures in the order in which they are shown.
pub(super) struct H264 {
    decoder: Decoder,
    info: Option<SpsInfo>,
    /// Pictures that wait for those to be shown before them.
    held: Vec<Held>,
    /// How many wait, where the stream does not say: what was found necessary so far.
    depth: usize,
    /// Counts pictures from which the order begins anew.
    group: u64,
    /// Group and order of the newest that was shown.
    shown: Option<(u64, i32)>,
}

struct Held {
    group: u64,
    picture: Picture,
}

impl Held {
    fn order(&self) -> (u64, i32) {
        (self.group, self.picture.pic_order_cnt)
    }
}

/// Why a unit gives no picture.
#[derive(Debug)]
pub(super) enum Refused {
    /// It is damaged, or what it needs is.
    Damaged(String),
    /// The decoder has not learnt this.
    Unknown(String),
}

/// Macroblocks of the largest picture, that of level 6.2 (ITU-T H.264 table A-1).
const MOST_MACROBLOCKS: u64 = 139_264;
/// Bytes that pictures which are referred to may take.
const MOST_BYTES: u64 = 1 << 30;
const DEEPEST: usize = 16;

impl H264 {
    pub fn new() -> Self {
        Self { decoder: Decoder::new(), info: None, held: Vec::new(), depth: 0, group: 0, shown: None }
    }

    /// Takes the NAL units of one picture.
    pub fn push(&mut self, unit: &[u8]) -> Result<(), Refused> {
        contained(|| self.take(unit)).unwrap_or_else(|_| {
            *self = Self { info: self.info, depth: self.depth, ..Self::new() };
            Err(Refused::Damaged("the decoder gave up on it".into()))
        })
    }

    fn take(&mut self, unit: &[u8]) -> Result<(), Refused> {
        let (mut refused, mut anew) = (None, false);
        for nal in parse_annex_b(unit) {
            if nal.nal_unit_type == NalUnitType::Sps {
                let info = parse_sps_info(&nal).map_err(of)?;
                check(&info)?;
                self.info = Some(info);
            }
            let before = self.group;
            if nal.nal_unit_type == NalUnitType::SliceIdr && !std::mem::replace(&mut anew, true) {
                self.group += 1;
            }
            match self.decoder.decode_nal(&nal) {
                Ok(None) => {}
                // It is the one before.
                Ok(Some(picture)) => self.hold(before, picture),
                Err(error) => refused = refused.or(Some(of(error))),
            }
        }
        // Of a picture of fields the other may follow.
        if self.info.is_some_and(|info| info.progressive)
            && let Some(picture) = self.decoder.flush()
        {
            self.hold(self.group, picture);
        }
        refused.map_or(Ok(()), Err)
    }

    fn hold(&mut self, group: u64, picture: Picture) {
        let held = Held { group, picture };
        if self.shown.is_some_and(|shown| held.order() < shown) {
            // Too late: more pictures have to wait.
            self.depth = (self.depth + 1).min(DEEPEST);
            return;
        }
        self.held.push(held);
    }

    /// The next picture to be shown, if it is certain.
    fn pop(&mut self) -> Option<Picture> {
        let told = self.info.and_then(|info| info.max_reorder_frames);
        let depth = told.map_or(self.depth, |frames| (frames as usize).clamp(self.depth, DEEPEST));
        let (at, first) = self.held.iter().enumerate().min_by_key(|(_, held)| held.order())?;
        if self.held.len() <= depth && first.group == self.group {
            return None;
        }
        self.shown = Some(first.order());
        Some(self.held.swap_remove(at).picture)
    }

    /// Whether it has decoded any picture.
    pub fn has_shown(&self) -> bool {
        self.shown.is_some()
    }

    /// Shows the next picture; false if there is none yet. `pixel` is the shape of one, width to height.
    pub fn show(&mut self, pixel: (u32, u32), options: &SourceOptions, frame: &mut Frame) -> Result<bool, Fault> {
        let Some(picture) = self.pop() else { return Ok(false) };
        let format = if picture.chroma_format == ChromaFormat::Yuv422 { PixelFormat::I422 } else { PixelFormat::I420 };
        let layout = Layout::deep(format, picture.width, picture.height, u32::from(picture.bit_depth))?;
        // As ffmpeg takes it, which decodes the others: BT.601 and limited unless the stream says otherwise.
        let told = self.info.map_or((2, false), |info| (info.matrix, info.full_range));
        let matrix = options.matrix.unwrap_or(if [1, 9].contains(&told.0) { Matrix::Bt709 } else { Matrix::Bt601 });
        let range = options.range.unwrap_or(if told.1 { Range::Full } else { Range::Limited });
        let bytes = [picture.y, picture.u, picture.v].concat();
        YuvDecoder::new(matrix, range).decode(&layout, &bytes, &mut frame.pixels)?;
        if let Some((width, height)) = squared((picture.width, picture.height), pixel) {
            frame.pixels = imageops::resize(&frame.pixels, width, height, FilterType::Triangle);
        }
        Ok(true)
    }
}

/// Gives `take` the pictures of H.264 behind start codes, in the order in which they are shown, as far as they can be decoded; a unit begins
/// with each delimiter.
///
/// # Errors
/// What is wrong with a picture that was decoded.
#[doc(hidden)]
pub fn decode_h264(bytes: &[u8], mut take: impl FnMut(&Frame)) -> Result<(), Fault> {
    const DELIMITER: [u8; 5] = [0, 0, 0, 1, 9];
    let starts = (0..bytes.len()).filter(|at| *at == 0 || bytes[*at..].starts_with(&DELIMITER));
    let starts: Vec<usize> = starts.collect();
    let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
    let (mut decoder, options, mut frame) = (H264::new(), SourceOptions::default(), Frame::still(Default::default()));
    for (start, end) in starts.iter().zip(ends) {
        // As a camera's next unit comes after a damaged one.
        let _ = decoder.push(&bytes[*start..end]);
        while decoder.show((1, 1), &options, &mut frame)? {
            take(&frame);
        }
    }
    Ok(())
}

/// Refuses what would take more memory than any real picture needs.
fn check(info: &SpsInfo) -> Result<(), Refused> {
    let (width, height) = (u64::from(info.coded_width), u64::from(info.coded_height));
    let bytes = width * height * 3 * u64::from(info.reference_frames.clamp(1, 16) + 2);
    if width.max(height) > 16384 || width * height / 256 > MOST_MACROBLOCKS || bytes > MOST_BYTES {
        let found = format!("{width}×{height} with {} references", info.reference_frames);
        return Err(Refused::Damaged(format!("expected pictures within level 6.2 that take up to 1 GiB, found {found}")));
    }
    Ok(())
}

fn of(error: DecodeError) -> Refused {
    match error {
        DecodeError::Unsupported(what) => Refused::Unknown(what.into()),
        other => Refused::Damaged(other.to_string()),
    }
}

#[cfg(test)]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "what is measured or left out is told")]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    /// Runs ffmpeg; none where it is not installed, which CI does not take.
    fn ffmpeg(folder: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
        match Command::new("ffmpeg").current_dir(folder).args(["-v", "error", "-nostdin"]).args(arguments).output() {
            Ok(ended) => {
                assert!(ended.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ended.stderr));
                Some(ended.stdout)
            }
            Err(_) => {
                assert!(std::env::var_os("EDGE_SEG_TESTS_REQUIRE").is_none_or(|which| which != "all"), "ffmpeg is not installed");
                eprintln!("skipped: no ffmpeg");
                None
            }
        }
    }

    /// Encodes a moving picture; each of its pictures begins with a delimiter.
    fn clip(folder: &Path, size: &str, frames: u32, format: &str, options: &str, arguments: &[&str]) -> Option<Vec<Vec<u8>>> {
        let source = format!("testsrc2=s={size}:r=25,noise=alls=12:allf=t");
        let (frames, options) = (frames.to_string(), format!("aud=1:threads=1:{options}"));
        let encode = ["-f", "lavfi", "-i", &source, "-frames:v", &frames, "-pix_fmt", format, "-c:v", "libx264"];
        ffmpeg(folder, &[&encode[..], arguments, &["-x264-params", &options, "-y", "clip.h264"]].concat())?;
        let bytes = std::fs::read(folder.join("clip.h264")).unwrap();
        let starts: Vec<usize> = (0..bytes.len() - 5).filter(|at| bytes[*at..*at + 5] == [0, 0, 0, 1, 9]).collect();
        let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
        Some(starts.iter().zip(ends).map(|(start, end)| bytes[*start..end].to_vec()).collect())
    }

    /// Decodes units to pictures, those that wait at the end included.
    fn decode(units: &[Vec<u8>]) -> Vec<Picture> {
        let (mut decoder, mut pictures) = (H264::new(), Vec::new());
        for unit in units {
            decoder.push(unit).unwrap();
            pictures.extend(std::iter::from_fn(|| decoder.pop()));
        }
        if let Some(last) = decoder.decoder.flush() {
            decoder.hold(decoder.group, last);
        }
        decoder.group += 1;
        pictures.extend(std::iter::from_fn(|| decoder.pop()));
        pictures
    }

    #[test]
    fn every_tool_of_h264_gives_the_pictures_that_ffmpeg_gives() {
        let folder = tempfile::tempdir().unwrap();
        let plain = [
            ("profile=baseline", "cabac=0:bframes=0:8x8dct=0:weightp=0:keyint=10"),
            ("cavlc", "cabac=0:bframes=3:ref=4:keyint=10"),
            ("cabac", "bframes=3:ref=4"),
            ("pyramid", "bframes=8:b-pyramid=normal:ref=16:weightp=2:subme=7:me=umh"),
            ("temporal", "direct=temporal:bframes=5:weightb=1"),
            ("slices", "slices=4"),
            ("small slices", "slice-max-size=400:bframes=0"),
            ("constrained intra", "constrained-intra=1"),
            ("refresh", "intra-refresh=1:bframes=0:keyint=12"),
            ("open groups", "open-gop=1:keyint=12:bframes=3"),
            ("matrices", "cqm=jvt"),
            ("no deblocking", "no-deblock=1"),
            ("fields", "interlaced=1"),
            ("fine", "qp=2"),
        ];
        let sized = plain.iter().map(|(what, options)| ("192x112", "yuv420p", *what, *options));
        let others =
            [("190x106", "yuv420p", "cropped", "ref=3"), ("192x112", "yuv420p10le", "10 bits", ""), ("192x112", "yuv422p", "4:2:2", "")];
        for (size, format, what, options) in sized.chain(others) {
            let Some(units) = clip(folder.path(), size, 30, format, options, &[]) else { return };
            let want = ffmpeg(folder.path(), &["-i", "clip.h264", "-fps_mode", "passthrough", "-f", "rawvideo", "-"]).unwrap();
            let found: Vec<u8> = decode(&units).into_iter().flat_map(|p| [p.y, p.u, p.v].concat()).collect();
            assert!(found == want, "{what}: {} bytes of {} the same", found.iter().zip(&want).filter(|(a, b)| a == b).count(), want.len());
        }
    }

    #[test]
    fn pictures_without_b_frames_are_shown_at_once_and_others_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let Some(units) = clip(folder.path(), "64x48", 12, "yuv420p", "bframes=0:keyint=6", &[]) else { return };
        let mut decoder = H264::new();
        for unit in &units {
            decoder.push(unit).unwrap();
            assert!(decoder.pop().is_some());
        }
        let Some(units) = clip(folder.path(), "64x48", 12, "yuv420p", "bframes=3:keyint=6", &[]) else { return };
        let orders: Vec<i32> = decode(&units).iter().map(|picture| picture.pic_order_cnt).collect();
        assert_eq!(orders.len(), 12);
        assert!(orders.windows(2).all(|pair| pair[0] < pair[1] || pair[1] == 0), "{orders:?}");
    }

    #[test]
    fn what_is_damaged_or_beyond_the_decoder_is_refused_and_the_next_decoded() {
        let folder = tempfile::tempdir().unwrap();
        let Some(units) = clip(folder.path(), "96x64", 24, "yuv420p", "keyint=6:bframes=2:ref=3:slices=2", &[]) else { return };
        let mut state = 7u32;
        let mut random = |most: usize| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as usize % most
        };
        for _ in 0..60 {
            let mut decoder = H264::new();
            for unit in &units {
                let mut unit = unit.clone();
                match random(6) {
                    0 => unit.truncate(random(unit.len())),
                    1 => (0..9).for_each(|_| {
                        let at = random(unit.len());
                        unit[at] ^= 1 << random(8);
                    }),
                    2 => unit.clear(),
                    _ => {}
                }
                let _ = decoder.push(&unit);
                while let Some(picture) = decoder.pop() {
                    assert!(picture.width <= 16384 && !picture.y.is_empty());
                }
            }
            units[..6].iter().for_each(|unit| drop(decoder.push(unit)));
            assert!(decoder.pop().is_some(), "it goes on with the next whole pictures");
        }
        for (format, options) in [("yuv444p", ""), ("yuv420p", "qp=0")] {
            let Some(units) = clip(folder.path(), "64x48", 2, format, options, &[]) else { return };
            assert!(matches!(H264::new().push(&units[0]), Err(Refused::Unknown(_))), "{format} {options}");
        }
        // 16384×16384 pixels: 1024 macroblocks each way, and four references.
        let side = "00000000001000000000 0";
        let bits = format!("1 1 1 1 00101 0 {side} {side} 1 1 0 0 1").replace(' ', "");
        let bytes =
            bits.as_bytes().chunks(8).map(|byte| byte.iter().enumerate().fold(0u8, |value, (i, bit)| value | (bit - b'0') << (7 - i)));
        let vast: Vec<u8> = [0, 0, 0, 1, 0x67, 66, 0, 62].into_iter().chain(bytes).collect();
        match H264::new().push(&vast) {
            Err(Refused::Damaged(why)) => assert!(why.contains("16384×16384"), "{why}"),
            other => panic!("{other:?}"),
        }
    }

    /// Processor seconds of this thread, or of the children that it has waited for, by the kernel's clock of 100 ticks.
    fn seconds(of_children: bool) -> f64 {
        let stat = std::fs::read_to_string(if of_children { "/proc/self/stat" } else { "/proc/thread-self/stat" }).unwrap();
        let fields: Vec<f64> = stat.rsplit(')').next().unwrap().split_whitespace().skip(1).map(|f| f.parse().unwrap_or(0.0)).collect();
        let first = if of_children { 12 } else { 10 };
        (fields[first] + fields[first + 1]) / 100.0
    }

    #[test]
    #[ignore = "measures: --ignored --nocapture"]
    fn processor_time_beside_ffmpeg() {
        const FRAMES: u32 = 200;
        let folder = tempfile::tempdir().unwrap();
        for preset in ["veryfast", "medium", "slower"] {
            let units = clip(folder.path(), "1280x720", FRAMES, "yuv420p", "", &["-preset", preset, "-b:v", "4M"]).unwrap();
            let mut ratios = Vec::new();
            for _ in 0..5 {
                let before = seconds(false);
                assert_eq!(decode(&units).len(), FRAMES as usize);
                let own = seconds(false) - before;
                let before = seconds(true);
                ffmpeg(folder.path(), &["-threads", "1", "-i", "clip.h264", "-f", "null", "-"]).unwrap();
                ratios.push((own / (seconds(true) - before), own));
            }
            ratios.sort_by(|a, b| a.0.total_cmp(&b.0));
            println!("{preset}: {:.1} ms a frame, {:.2} times ffmpeg's", 1000.0 * ratios[2].1 / f64::from(FRAMES), ratios[2].0);
        }
    }
}
