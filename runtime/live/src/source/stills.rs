use std::path::{Path, PathBuf};

use super::raw::time_of;
use super::{Notice, Rate, Source, SourceOptions};
use crate::{Error, Result};
use edge_seg_model::{Frame, expand_folder, read_picture};

/// Pictures as a film, one a frame. One that cannot be read is told and passed over, if there is one that can.
pub(super) struct Stills {
    paths: Vec<PathBuf>,
    next: usize,
    sequence: u64,
    /// A picture was read since the first, or since the film last began again.
    read_one: bool,
    options: SourceOptions,
}

const RATE: Rate = (1, 1);

impl Stills {
    /// A picture, or the pictures of a folder in the order of their names; what else lies there and would be missed is told.
    pub fn open(path: &Path, options: &SourceOptions) -> Result<Self> {
        let (mut paths, mut left_out) = (Vec::new(), Vec::new());
        for found in expand_folder(path) {
            match found {
                Ok(path) => paths.push(path),
                Err(why) => left_out.push(Error::from(why)),
            }
        }
        for why in left_out {
            if paths.is_empty() {
                return Err(why);
            }
            (options.notify)(Notice::Skipped { why });
        }
        Ok(Self { paths, next: 0, sequence: 0, read_one: false, options: options.clone() })
    }
}

impl Source for Stills {
    fn read(&mut self, frame: &mut Frame) -> Result<bool> {
        loop {
            if self.options.repeat && self.next == self.paths.len() {
                (self.next, self.read_one) = (0, false);
            }
            let Some(path) = self.paths.get(self.next) else { return Ok(false) };
            self.next += 1;
            match read_picture(path) {
                Ok(read) => frame.pixels = read.pixels,
                Err(e) if self.next == self.paths.len() && !self.read_one => return Err(e.into()),
                Err(e) => {
                    (self.options.notify)(Notice::Skipped { why: Error::from(e) });
                    continue;
                }
            }
            self.read_one = true;
            (frame.sequence, frame.timestamp) = (self.sequence, time_of(self.sequence, RATE));
            self.sequence += 1;
            return Ok(true);
        }
    }

    fn rate(&self) -> Option<Rate> {
        Some(RATE)
    }
}
