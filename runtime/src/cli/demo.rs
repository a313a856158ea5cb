//! `edge-seg demo`: a first look without a picture of one's own.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Parser};
use edge_seg_bundle::files::replace_file;

use super::flags::words;
use super::output::Outcome;
use super::segment::{self, SegmentArgs};

/// Pictures that the program carries, by name.
const PICTURES: [(&str, &[u8]); 2] =
    [("cat", include_bytes!("../../../examples/pictures/cat.jpg")), ("coffee", include_bytes!("../../../examples/pictures/coffee.jpg"))];

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Words to look for, separated by commas.
    #[arg(long, value_name = "WORDS", value_parser = words, allow_hyphen_values = true, default_value = "cat, cup, table, spoon")]
    tags: String,
    /// Folder to write to; it is made if missing. The pictures, cat and coffee, each as .jpg, .mask.png and .overlay.png.
    #[arg(long, value_name = "DIR", default_value = "edge-seg-out")]
    out: PathBuf,
}

/// The options of `segment`, as its command line gives them.
#[derive(Debug, Parser)]
struct Segment {
    #[command(flatten)]
    args: SegmentArgs,
}

pub fn run(args: &DemoArgs) -> Result<Outcome> {
    std::fs::create_dir_all(&args.out).with_context(|| format!("--out {}", args.out.display()))?;
    let mut line = vec!["segment".into(), "--tags".into(), args.tags.clone().into(), "--out".into(), args.out.clone().into_os_string()];
    for (name, bytes) in PICTURES {
        let path = args.out.join(format!("{name}.jpg"));
        replace_file(&path, bytes)?;
        line.push(path.into_os_string());
    }
    segment::run(&Segment::try_parse_from(line)?.args)
}
