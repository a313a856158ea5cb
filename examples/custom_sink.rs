//! Hands a segmentation to a sink of one's own, here one that writes each word's box as a line of CSV:
//!
//! ```text
//! cargo run --release -p edge-seg-examples --example custom_sink -- examples/pictures/cat.jpg "cat, wall" > boxes.csv
//! ```

use std::io::Write;

use anyhow::{Context, Result};
use edge_seg::{Background, Bundle, Options, Segmentation, Session, parse_tags, read_picture};

/// What takes in masks: all that a sink needs is the segmentation and the words.
trait Sink {
    fn take(&mut self, found: &Segmentation, names: &[String]) -> Result<()>;
}

/// `sequence,word,left,top,width,height,pixels`
struct Boxes<W: Write>(W);

impl<W: Write> Sink for Boxes<W> {
    fn take(&mut self, found: &Segmentation, names: &[String]) -> Result<()> {
        // Label 0 is the background; label k is the k-th word.
        for (name, extent) in names.iter().zip(&found.labels.extents(names.len())[1..]) {
            if let Some([left, top, width, height]) = extent.bounds_px {
                writeln!(self.0, "{},{name},{left},{top},{width},{height},{}", found.sequence, extent.pixels)?;
            }
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let picture = arguments.next().context("expected a picture")?;
    let words = arguments.next().context("expected words, separated by commas")?;

    let session = Session::new(Bundle::built_in()?, &Options::default())?;
    let bank = session.tag_bank(&parse_tags("the words", &words)?, &[])?;
    let background = Background::Threshold(session.bundle().manifest().background);
    let found = session.segment(&read_picture(picture.as_ref())?, &bank, background)?;
    Boxes(std::io::stdout().lock()).take(&found, bank.names())
}
