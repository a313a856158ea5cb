//! An album on all threads with one session, and one call that gives up in time.
//!
//! ```text
//! cargo run --release --example parallel_album -- examples/pictures "cat, cup, person, sky"
//! ```

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge_seg::{Session, expand_inputs, read_picture};

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let album = arguments.next().context("expected a folder")?;
    let words = arguments.next().context("expected words, separated by commas")?;

    let session = Session::built_in()?;
    let words = session.words(&words)?;
    let paths = expand_inputs(&[album]).into_iter().collect::<Result<Vec<_>, _>>()?;
    std::thread::scope(|scope| {
        let work = |paths: &[std::path::PathBuf]| -> Result<()> {
            for path in paths {
                let found = session.find(&read_picture(path)?, &words)?;
                let best = found.classes().into_iter().max_by_key(|class| class.pixels()).context("no word")?;
                println!("{}: {} on {:.1} %", path.display(), best.name(), 100.0 * best.share());
            }
            Ok(())
        };
        let threads: Vec<_> = paths.chunks(paths.len().div_ceil(4).max(1)).map(|some| scope.spawn(move || work(some))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("no call panics"))
    })?;
    let (frame, until) = (read_picture(&paths[0])?, Instant::now() + Duration::from_millis(20));
    let found = session.segment_until(&frame, &words, || Instant::now() > until)?;
    println!("within 20 ms: {}", if found.is_some() { "masks" } else { "nothing" });
    Ok(())
}
