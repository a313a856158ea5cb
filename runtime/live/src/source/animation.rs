use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use edge_seg_model::image::RgbImage;
use edge_seg_model::{Frame, animation_times, read_animation};

use super::{Pace, Rate, Source, SourceOptions};
use crate::backoff::sleep_until;
use crate::{Error, Result};

/// An animation as a film: each picture once, at its own time.
pub(super) struct Animation {
    path: PathBuf,
    times: Vec<Duration>,
    pictures: Receiver<Result<RgbImage>>,
    /// Of the pictures, the next one's number.
    next: usize,
    sequence: u64,
    timestamp: Duration,
    start: Option<Instant>,
    options: SourceOptions,
}

impl Animation {
    /// The film of a file; none if it holds a single picture.
    pub fn open(path: &Path, options: &SourceOptions) -> Result<Option<Self>> {
        let Some(times) = animation_times(path)? else { return Ok(None) };
        let (pictures, options) = (decoded(path)?, options.clone());
        let (path, timestamp) = (path.to_owned(), Duration::ZERO);
        Ok(Some(Self { path, times, pictures, next: 0, sequence: 0, timestamp, start: None, options }))
    }

    fn time(&self, number: usize) -> Duration {
        self.times.get(number).or(self.times.last()).copied().unwrap_or_default()
    }
}

/// The pictures of an animation, which a thread decodes one ahead.
fn decoded(path: &Path) -> Result<Receiver<Result<RgbImage>>> {
    let (sender, pictures) = sync_channel(1);
    let name = path.to_owned();
    let decode = move || {
        // Whoever wanted them may have gone.
        if let Err(e) = read_animation(&name, |picture| sender.send(Ok(picture)).is_ok()) {
            let _ = sender.send(Err(e.into()));
        }
    };
    std::thread::Builder::new().name("edge-seg animation".into()).spawn(decode).map_err(Error::io(path))?;
    Ok(pictures)
}

impl Source for Animation {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        let picture = match self.pictures.recv() {
            Ok(picture) => picture?,
            Err(_) if self.options.repeat && self.next > 0 => {
                (self.pictures, self.next) = (decoded(&self.path)?, 0);
                return self.read(frame);
            }
            Err(_) => return Ok(false),
        };
        if self.options.pace == Pace::Live {
            let start = *self.start.get_or_insert_with(Instant::now);
            sleep_until(|| self.options.stopped(), self.timestamp.saturating_sub(start.elapsed()));
        }
        frame.pixels = picture;
        (frame.sequence, frame.timestamp) = (self.sequence, self.timestamp);
        self.timestamp += self.time(self.next);
        self.next += 1;
        self.sequence += 1;
        Ok(true)
    }

    /// That of the shortest time, so that no picture is left out where the rate is constant.
    fn rate(&self) -> Option<Rate> {
        let shortest = self.times.iter().min()?.as_millis();
        Some((1000, u32::try_from(shortest).ok()?.max(1)))
    }

    fn is_live(&self) -> bool {
        self.options.pace == Pace::Live
    }

    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        self.options.stop().flag()
    }
}
