use std::path::{Path, PathBuf};

use super::raw::time_of;
use super::{Rate, Source};
use crate::Result;
use edge_seg_model::{Frame, expand_inputs, read_picture};

/// Pictures as a film, one a frame.
pub(super) struct Stills {
    paths: Vec<PathBuf>,
    next: usize,
    repeat: bool,
    sequence: u64,
}

const RATE: Rate = (1, 1);

impl Stills {
    /// A picture, or the pictures of a folder in the order of their names.
    pub fn open(path: &Path, repeat: bool) -> Result<Self> {
        let paths = expand_inputs(&[path.display().to_string()]).into_iter().collect::<edge_seg_model::Result<_>>()?;
        Ok(Self { paths, next: 0, repeat, sequence: 0 })
    }
}

impl Source for Stills {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        if self.repeat && self.next == self.paths.len() {
            self.next = 0;
        }
        let Some(path) = self.paths.get(self.next) else { return Ok(false) };
        self.next += 1;
        frame.pixels = read_picture(path)?.pixels;
        (frame.sequence, frame.timestamp) = (self.sequence, time_of(self.sequence, RATE));
        self.sequence += 1;
        Ok(true)
    }

    fn rate(&self) -> Option<Rate> {
        Some(RATE)
    }
}
