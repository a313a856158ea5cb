//! How many pictures a second several callers get of one session, beside one caller alone and beside as many processes:
//! `cargo bench -p edge-seg --bench callers [-- SIZE]`. Rounds take turns; medians of five.

use std::process::Command;
use std::time::{Duration, Instant};

use edge_seg::{Background, Bundle, Frame, Options, Session, TagBank, parse_tags};
use image::RgbImage;

const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(2);

fn load(size: usize) -> (Session, TagBank, Frame) {
    let options = Options { size_px: Some(size), ..Options::default() };
    let session = Session::new(Bundle::built_in().expect("a build with a model"), &options).expect("the model loads");
    let bank = session.tag_bank(&parse_tags("words", "sky, grass, person").expect("words"), &[]).expect("words");
    let pixels = RgbImage::from_fn(640, 480, |x, y| image::Rgb([x as u8, y as u8, (x + y) as u8]));
    let frame = Frame::still(pixels);
    session.segment(&frame, &bank, Background::None).expect("a first picture");
    (session, bank, frame)
}

/// Pictures a second of `callers` threads that share one session.
fn shared((session, bank, frame): &(Session, TagBank, Frame), callers: usize) -> f64 {
    let start = Instant::now();
    let call = || {
        let mut count = 0;
        while start.elapsed() < ROUND {
            session.segment(frame, bank, Background::None).expect("masks");
            count += 1;
        }
        count
    };
    let count: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..callers).map(|_| scope.spawn(call)).collect();
        callers.into_iter().map(|caller| caller.join().expect("a caller ends")).sum()
    });
    count as f64 / start.elapsed().as_secs_f64()
}

/// Pictures a second of as many processes, each with a session and all threads of its own.
fn apart(size: usize, processes: usize) -> f64 {
    let program = std::env::current_exe().expect("this program");
    let children: Vec<_> = (0..processes)
        .map(|_| Command::new(&program).args(["alone", &size.to_string()]).stdout(std::process::Stdio::piped()).spawn().expect("a process"))
        .collect();
    let rate = |child: std::process::Child| {
        let output = child.wait_with_output().expect("a process ends");
        String::from_utf8_lossy(&output.stdout).trim().parse::<f64>().expect("a rate")
    };
    children.into_iter().map(rate).sum()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if let [alone, size] = &words[..]
        && alone == "alone"
    {
        println!("{}", shared(&load(size.parse().expect("a size")), 1));
        return;
    }
    let size = words.first().map_or(224, |size| size.parse().expect("a size in pixels"));
    let loaded = load(size);
    println!("pictures a second at {size} px, 640x480, {} threads", std::thread::available_parallelism().map_or(1, usize::from));
    for callers in [2, 4, 8] {
        let mut rates = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            rates[0].push(shared(&loaded, 1));
            rates[1].push(shared(&loaded, callers));
            rates[2].push(apart(size, callers));
        }
        let [one, together, processes] = rates.map(median);
        println!(
            "{callers} callers {together:.1}, one {one:.1}, {callers} processes {processes:.1}: {:.2} of one's, {:.2} of the processes'",
            together / one,
            together / processes
        );
    }
}
