//! Segments a live camera and prints each word's share of the picture, line by line; words typed on stdin are looked for from the next
//! frame on:
//!
//! ```text
//! cargo run --release --example live_camera -- rtsp://camera/stream "person, dog"
//! rpicam-vid -t 0 --codec mjpeg -o /tmp/camera &     # a named pipe made by `mkfifo /tmp/camera`
//! cargo run --release --example live_camera -- mjpeg:/tmp/camera "person, dog"
//! ```

use anyhow::{Context, Result};
use edge_seg::live::{Live, LiveOptions};
use edge_seg::source::{Pace, SourceOptions, open_source};
use edge_seg::{Session, parse_classes};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let uri = arguments.next().context("expected a source, as `edge-seg run --source` takes it")?;
    let list = arguments.next().context("expected words, separated by commas")?;

    let source = open_source(&uri, &SourceOptions::default().with_pace(Pace::Live))?;
    let options = LiveOptions::default().with_pace(Pace::Live);
    let live = Live::start(Session::built_in()?, source, list.as_str(), options)?;

    let typed = live.words().clone();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            // The new words are encoded here while frames go on with the old ones.
            if let Err(e) = parse_classes("stdin", &line).map_err(Into::into).and_then(|classes| typed.set(classes)) {
                eprintln!("{e}");
            }
        }
    });

    for shown in live {
        let shown = shown?;
        let told: Vec<_> = shown.found.classes().iter().map(|c| format!("{} {:.1} %", c.name(), 100.0 * c.share())).collect();
        println!("frame {}, {} ms: {}", shown.frame.sequence, shown.latency.as_millis(), told.join(", "));
    }
    Ok(())
}
