//! Segments a live camera and prints each word's share of the picture, line by line; words typed on stdin are looked for from the next
//! frame on:
//!
//! ```text
//! cargo run --release -p edge-seg-examples --example live_camera -- rtsp://camera/stream "person, dog"
//! rpicam-vid -t 0 --codec mjpeg -o /tmp/camera &     # a named pipe made by `mkfifo /tmp/camera`
//! cargo run --release -p edge-seg-examples --example live_camera -- mjpeg:/tmp/camera "person, dog"
//! ```

use std::sync::Arc;

use anyhow::{Context, Result};
use edge_seg::live::{LiveOptions, Words};
use edge_seg::source::{Pace, SourceOptions, open_source};
use edge_seg::{Background, Bundle, Options, Session, parse_tags};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let uri = arguments.next().context("expected a source, as `edge-seg run --source` takes it")?;
    let list = arguments.next().context("expected words, separated by commas")?;

    let session = Arc::new(Session::new(Bundle::built_in()?, &Options::default())?);
    let background = Background::Threshold(session.bundle().manifest().background);
    let specs = parse_tags("the words", &list)?.into_iter().map(Into::into).collect();
    let words = Arc::new(Words::new(session.clone(), specs, vec![], background)?);

    let typed = words.clone();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            // The new words are encoded here while frames go on with the old ones.
            if let Err(e) = parse_tags("stdin", &line).map_err(Into::into).and_then(|classes| typed.set(classes)) {
                eprintln!("{e}");
            }
        }
    });

    let source = open_source(&uri, &SourceOptions { pace: Pace::Live, ..Default::default() })?;
    let options = LiveOptions { pace: Pace::Live, ..LiveOptions::default() };
    edge_seg::live::run(&session, source, &words, options, &Arc::default(), &Arc::default(), |shown| {
        let names = shown.words.bank.names();
        let extents = shown.found.labels.extents(names.len());
        let share = |pixels: u64| 100.0 * pixels as f64 / shown.found.labels.pixels() as f64;
        let told: Vec<_> = names.iter().zip(&extents[1..]).map(|(name, e)| format!("{name} {:.1} %", share(e.pixels))).collect();
        println!("frame {}, {} ms: {}", shown.frame.sequence, shown.latency.as_millis(), told.join(", "));
        anyhow::Ok(true)
    })
}
