//! What small displays show, drawn on a simulated one and kept as pictures in the build folder.

use std::path::Path;

use edge_seg::sink::class_colour;
use edge_seg::sink::open_screen;
use edge_seg::{Background, Bundle, Frame, LabelMap, Options, Session, parse_classes, read_picture};
use edge_seg_live::sinks::display::{Line, View, draw, draw_mono};
use edge_seg_model::region::regions;
use edge_seg_tests::{edge_seg, picture};
use embedded_graphics::pixelcolor::{BinaryColor, Rgb565, Rgb888};
use embedded_graphics::prelude::*;
use embedded_graphics_simulator::{OutputSettingsBuilder, SimulatorDisplay};

fn scene(name: &str, words: &str) -> (Frame, LabelMap, Vec<Line>) {
    let session = Session::new(Bundle::built_in().unwrap(), &Options::default().with_size_px(224)).unwrap();
    let bank = session.word_bank(&parse_classes("words", words).unwrap(), &[]).unwrap();
    let frame = read_picture(&picture(name)).unwrap();
    let found = session.segment(&frame, &bank, Background::Threshold(session.bundle().manifest().background)).unwrap();
    let extents = found.labels.extents(bank.names().len());
    let line = |(i, name): (usize, &String)| {
        let share = extents[i + 1].pixels as f64 / found.labels.pixels() as f64;
        Line::new(name, share, class_colour(i + 1))
    };
    let lines = bank.names().iter().enumerate().map(line).collect();
    (frame, found.labels, lines)
}

fn keep<C: PixelColor + Into<Rgb888>>(display: &SimulatorDisplay<C>, name: &str, scale: u32) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("display-{name}.png"));
    display.to_rgb_output_image(&OutputSettingsBuilder::new().scale(scale).build()).save_png(&path).unwrap();
    eprintln!("{}", path.display());
}

/// How many different colours a part of a display shows.
fn colours<C: PixelColor>(display: &SimulatorDisplay<C>, rows: std::ops::Range<i32>) -> usize {
    let mut seen: Vec<C> = Vec::new();
    for y in rows {
        for x in 0..display.bounding_box().size.width as i32 {
            let colour = display.get_pixel(Point::new(x, y));
            if !seen.contains(&colour) {
                seen.push(colour);
            }
            if seen.len() >= 40 {
                return 40;
            }
        }
    }
    seen.len()
}

#[test]
fn colour_displays_show_the_picture_and_the_words() {
    for (name, words) in [("cat.jpg", "cat, wall"), ("coffee.jpg", "cup, table, spoon, café au lait with a very long name, plate, saucer")]
    {
        let (frame, labels, lines) = scene(name, words);
        for (width, height) in [(240, 240), (320, 240), (135, 240), (800, 480)] {
            let mut display = SimulatorDisplay::<Rgb565>::with_default_color(Size::new(width, height), Rgb565::MAGENTA);
            draw(&View::new(&frame.pixels, &labels, lines.clone()), &mut display).unwrap();
            keep(&display, &format!("{}-{width}x{height}", name.trim_end_matches(".jpg")), 1);
            let all: Vec<_> = (0..height as i32).flat_map(|y| (0..width as i32).map(move |x| Point::new(x, y))).collect();
            assert!(all.iter().all(|p| display.get_pixel(*p) != Rgb565::MAGENTA), "every pixel is drawn");
            assert_eq!(colours(&display, 0..height as i32 / 3), 40, "the picture is a picture");
            // Each word that has room is there with its own colour at the left of its line.
            let colour = |line: &Line| Rgb565::from(Rgb888::new(line.colour[0], line.colour[1], line.colour[2]));
            let shown = lines.iter().filter(|l| all.iter().filter(|p| display.get_pixel(**p) == colour(l)).count() >= 5 * 16).count();
            assert!(shown >= lines.len().min(2), "{name} {width}x{height}: {shown} words");
        }
    }
}

#[test]
fn the_mask_lies_where_the_label_is() {
    // A bright square in the upper left of a black picture twice as wide as high.
    let picture = image::RgbImage::new(400, 200);
    let inside = |i: usize| i % 400 < 100 && i / 400 < 100;
    let labels = LabelMap { width: 400, height: 200, labels: (0..400 * 200).map(|i| u16::from(inside(i))).collect() };
    let words = vec![Line::new("square", 0.125, [250, 0, 0])];
    let mut display = SimulatorDisplay::<Rgb888>::with_default_color(Size::new(200, 200), Rgb888::WHITE);
    draw(&View::new(&picture, &labels, words), &mut display).unwrap();
    let drawn: Vec<u16> = (0..100)
        .flat_map(|y| (0..200).map(move |x| (x, y)))
        .map(|(x, y)| u16::from(display.get_pixel(Point::new(x, y)).r() > 60))
        .collect();
    let found = regions(&drawn, 200, 1);
    assert_eq!(found.iter().map(|(_, mask)| mask.bounds_px()).collect::<Vec<_>>(), [[0, 0, 50, 50]]);
}

#[test]
fn one_colour_displays_show_patterns_and_words() {
    let (frame, labels, lines) = scene("cat.jpg", "cat, wall, floor");
    for (width, height) in [(128, 64), (128, 32), (64, 128)] {
        let mut display = SimulatorDisplay::<BinaryColor>::new(Size::new(width, height));
        draw_mono(&View::new(&frame.pixels, &labels, lines.clone()), &mut display).unwrap();
        keep(&display, &format!("mono-{width}x{height}"), 4);
        let lit =
            (0..height as i32).flat_map(|y| (0..width as i32).map(move |x| Point::new(x, y))).filter(|p| display.get_pixel(*p).is_on());
        let lit = lit.count() as u32;
        assert!(lit > 60 && lit < width * height * 3 / 4, "{lit} of {}", width * height);
    }
}

#[test]
fn a_framebuffer_gets_the_frames_of_a_run() {
    let folder = tempfile::tempdir().unwrap();
    for (bits, stride) in [(16, 160), (32, 256)] {
        let uri = format!("fb:screen{bits}?size=64x48&bits={bits}&stride={stride}");
        let source = ["run", "--source", "test:?size=64x48&fps=20&frames=3", "--pace", "every", "--tags", "sky", "--size", "96"];
        let ended = edge_seg(folder.path(), &[source.as_slice(), &["--display", &uri, "--display-interval", "0"]].concat());
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let bytes = std::fs::read(folder.path().join(format!("screen{bits}"))).unwrap();
        assert_eq!(bytes.len(), 48 * stride);
        let row = &bytes[..64 * bits / 8];
        assert!(
            row.iter().any(|b| *b != 0) && bytes[64 * bits / 8..stride].iter().all(|b| *b == 0),
            "the row is drawn, what is behind it is not"
        );
    }
}

#[test]
fn a_framebuffer_that_cannot_be_opened_is_told_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display().to_string();
    assert!(open_screen(&format!("fb:{place}?size=64x48")).err().unwrap().to_string().contains(&place));
}
