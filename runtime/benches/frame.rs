//! One call at a time, for who compares: `cargo bench --workspace --bench frame -- SIZE THREADS WORDS` reads a frame of 1280×720 RGB bytes
//! from stdin, then a line a call, and answers each with two numbers of nanoseconds: the call's, and those that making a `Frame` of the bytes
//! took before it. `runtime/python/benches/frame.py` asks.

use std::io::{BufRead, Read, Write};
use std::time::Instant;

use edge_seg::{Channels, Frame, Options, Session};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let [size, threads, words] = &words[..] else {
        // `cargo bench` runs every bench, this one with nobody to ask.
        return println!("expected SIZE THREADS WORDS");
    };
    let number = |text: &String| text.parse::<usize>().expect("a number");
    let options = Options::default().with_size_px(number(size)).with_threads(number(threads));
    let session = Session::built_in_with(&options).expect("the model loads");
    let words = session.words(words).expect("words");
    let mut input = std::io::stdin().lock();
    let mut pixels = vec![0; 1280 * 720 * 3];
    input.read_exact(&mut pixels).expect("a frame");
    let mut line = String::new();
    while input.read_line(&mut line).is_ok_and(|read| read > 0) {
        let begun = Instant::now();
        let frame = Frame::from_raw(Channels::Rgb, (1280, 720), 3 * 1280, &pixels).expect("a frame");
        let start = Instant::now();
        let found = session.find(&frame, &words).expect("masks");
        let took = start.elapsed();
        assert_eq!(found.labels.labels.len(), 1280 * 720);
        println!("{} {}", took.as_nanos(), (start - begun).as_nanos());
        std::io::stdout().flush().expect("somebody asks");
    }
}
