use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::pixels::resize;
use super::raw::time_of;
use super::{Rate, Source, Stop};
use crate::Result;
use edge_seg_model::Frame;

/// Colour bars that walk to the left, one pixel a frame: to try things without a camera.
pub(super) struct Synthetic {
    pub size: (u32, u32),
    pub rate: Rate,
    pub frames: Option<u64>,
    pub live: bool,
    pub stop: Stop,
    pub sequence: u64,
    pub start: Instant,
}

const BARS: [[u8; 3]; 8] = [[255, 255, 255], [255, 255, 0], [0, 255, 255], [0, 255, 0], [255, 0, 255], [255, 0, 0], [0, 0, 255], [0, 0, 0]];

impl Source for Synthetic {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        if self.frames.is_some_and(|frames| self.sequence >= frames) {
            return Ok(false);
        }
        let due = time_of(self.sequence, self.rate);
        if self.live {
            while self.start.elapsed() < due {
                if self.stop.is_set() {
                    return Ok(false);
                }
                std::thread::sleep(due.saturating_sub(self.start.elapsed()).min(Duration::from_millis(50)));
            }
        }
        let (width, height) = self.size;
        resize(&mut frame.pixels, width, height);
        let bar = |x: u64| BARS[((x + self.sequence) * 8 / u64::from(width) % 8) as usize];
        let (first, rest) = frame.pixels.split_at_mut(3 * width as usize);
        first.chunks_exact_mut(3).zip(0..).for_each(|(pixel, x)| pixel.copy_from_slice(&bar(x)));
        rest.chunks_exact_mut(first.len()).for_each(|row| row.copy_from_slice(first));
        (frame.sequence, frame.timestamp) = (self.sequence, due);
        self.sequence += 1;
        Ok(true)
    }

    fn rate(&self) -> Option<Rate> {
        Some(self.rate)
    }

    fn is_live(&self) -> bool {
        self.live
    }

    fn stop_flag(&self) -> Option<Arc<AtomicBool>> {
        self.stop.flag()
    }
}
