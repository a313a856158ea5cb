//! A sink of one's own beside the program's: each word's box as a line of CSV, and the masks as pictures in a folder.
//!
//! ```text
//! cargo run --release --example custom_sink -- examples/pictures "cat, cup, person, table" masks > boxes.csv
//! ```

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, Result};
use edge_seg::Session;
use edge_seg::live::{FrameReport, Live, LiveOptions, SegmentedFrame};
use edge_seg::sink::{LiveSink, MaskFolder};
use edge_seg::source::open_source;

/// `sequence,word,left,top,width,height,pixels`
struct Boxes<W: Write + Send>(W);

impl<W: Write + Send> LiveSink for Boxes<W> {
    fn take(&mut self, shown: &Arc<SegmentedFrame>, _: &Arc<FrameReport>) -> edge_seg::Result<()> {
        for class in shown.found.classes() {
            if let Some([left, top, width, height]) = class.bounds_px() {
                let (sequence, name, pixels) = (shown.frame.sequence, class.name(), class.pixels());
                writeln!(self.0, "{sequence},{name},{left},{top},{width},{height},{pixels}").map_err(edge_seg::Error::io("boxes"))?;
            }
        }
        Ok(())
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = |what: &str| arguments.next().with_context(|| format!("expected {what}"));
    let (uri, words) = (next("a source, as `edge-seg run --source` takes it")?, next("words, separated by commas")?);
    let masks = MaskFolder::create(next("a folder")?.into())?;

    let source = open_source(&uri, &Default::default())?;
    let live = Live::start(Session::built_in()?, source, words.as_str(), LiveOptions::default())?;
    let mut live = live.with_sink(Boxes(std::io::stdout())).with_sink(masks);
    live.try_for_each(|shown| shown.map(drop))?;
    Ok(live.stop()?)
}
