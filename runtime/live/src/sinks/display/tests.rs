//! Screens on buses that only write down what comes over them.

use std::convert::Infallible;
use std::sync::Arc;

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::i2c::{self, I2c};
use embedded_hal::spi::{self, SpiDevice};
use image::{Rgb, RgbImage};
use parking_lot::Mutex;
use ssd1306::prelude::{DisplayRotation, DisplaySize128x64};

use super::*;
use edge_seg_model::LabelMap;

/// What happened on the wires, in order.
#[derive(Debug, Clone, PartialEq)]
enum Wire {
    Reset(bool),
    Command(u8),
    Data(Vec<u8>),
}

#[derive(Clone, Default)]
struct Tape(Arc<Mutex<(bool, Vec<Wire>)>>);

impl Tape {
    fn wires(&self) -> Vec<Wire> {
        std::mem::take(&mut self.0.lock().1)
    }
}

struct Bus(Tape);
struct DataLine(Tape);
struct ResetLine(Tape);
struct NoDelay;

impl DelayNs for NoDelay {
    fn delay_ns(&mut self, _: u32) {}
}

impl spi::ErrorType for Bus {
    type Error = Infallible;
}

impl SpiDevice for Bus {
    fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> std::result::Result<(), Infallible> {
        let mut tape = self.0.0.lock();
        for operation in operations {
            let spi::Operation::Write(bytes) = operation else { panic!("displays are only written to") };
            assert!(bytes.len() <= 4096, "the kernel takes 4096 bytes at a time");
            let command = !tape.0;
            match tape.1.last_mut() {
                _ if command => {
                    assert_eq!(bytes.len(), 1);
                    let command = Wire::Command(bytes[0]);
                    tape.1.push(command);
                }
                Some(Wire::Data(last)) => last.extend_from_slice(bytes),
                _ if bytes.is_empty() => {}
                _ => {
                    let data = Wire::Data(bytes.to_vec());
                    tape.1.push(data);
                }
            }
        }
        Ok(())
    }
}

impl embedded_hal::digital::ErrorType for DataLine {
    type Error = Infallible;
}

impl OutputPin for DataLine {
    fn set_low(&mut self) -> std::result::Result<(), Infallible> {
        self.0.0.lock().0 = false;
        Ok(())
    }

    fn set_high(&mut self) -> std::result::Result<(), Infallible> {
        self.0.0.lock().0 = true;
        Ok(())
    }
}

impl embedded_hal::digital::ErrorType for ResetLine {
    type Error = Infallible;
}

impl OutputPin for ResetLine {
    fn set_low(&mut self) -> std::result::Result<(), Infallible> {
        self.0.0.lock().1.push(Wire::Reset(false));
        Ok(())
    }

    fn set_high(&mut self) -> std::result::Result<(), Infallible> {
        self.0.0.lock().1.push(Wire::Reset(true));
        Ok(())
    }
}

fn scene() -> (RgbImage, LabelMap, Vec<Line>) {
    let picture = RgbImage::from_pixel(32, 32, Rgb([255, 0, 0]));
    let labels = (0..32 * 32).map(|i| u16::from(i % 32 >= 16)).collect();
    let words = vec![Line { name: "half".into(), share: 0.5, colour: [0, 0, 255] }];
    (picture, LabelMap { width: 32, height: 32, labels }, words)
}

fn panel(controller: Controller, wiring: Wiring) -> (Tape, Box<dyn Screen>) {
    let tape = Tape::default();
    let wires = (Bus(tape.clone()), DataLine(tape.clone()), ResetLine(tape.clone()), ());
    (tape.clone(), Box::new(Panel::new("mock", controller, wiring, wires, &mut NoDelay).unwrap()))
}

fn data(bytes: &[u8]) -> Wire {
    Wire::Data(bytes.to_vec())
}

#[test]
fn an_st7789_is_started_as_its_data_sheet_says_and_gets_every_pixel() {
    let (tape, mut screen) = panel(Controller::St7789, Wiring::of(Controller::St7789));
    // ST7789V data sheet, section 9.1: SLPOUT, MADCTL, INVON, COLMOD (16 bits), NORON, DISPON.
    let start = [
        Wire::Reset(false),
        Wire::Reset(true),
        Wire::Command(0x11),
        Wire::Command(0x36),
        data(&[0x00]),
        Wire::Command(0x21),
        Wire::Command(0x3a),
        data(&[0x55]),
        Wire::Command(0x13),
        Wire::Command(0x29),
    ];
    assert_eq!(tape.wires(), start);
    let (picture, labels, words) = scene();
    screen.show(&View { picture: &picture, labels: &labels, words }).unwrap();
    let wires = tape.wires();
    // CASET and RASET 0 to 239, RAMWR.
    let window = [Wire::Command(0x2a), data(&[0, 0, 0, 239]), Wire::Command(0x2b), data(&[0, 0, 0, 239]), Wire::Command(0x2c)];
    assert_eq!(wires[..5], window);
    let Wire::Data(pixels) = &wires[5] else { panic!("{:?}", wires[5]) };
    assert_eq!((pixels.len(), wires.len()), (240 * 240 * 2, 6));
    // A square picture leaves 18 lines for its one word: 222 pixels, 9 black ones on either side. High byte first.
    let at = |x: usize, y: usize| &pixels[(y * 240 + x) * 2..][..2];
    assert_eq!(at(0, 0), [0, 0]);
    assert_eq!(at(20, 100), [0xf8, 0x00], "red where there is no word");
    assert_eq!(at(200, 100), [0x78, 0x0f], "half red, half blue under the mask");
    assert_eq!(at(0, 230), [0x00, 0x1f], "the word's colour beside its name");
    assert_eq!(at(119, 238), [0x00, 0x0f], "the bar, half as bright");
    assert_eq!(at(125, 238), [0, 0], "as long as the share");
}

#[test]
fn glass_that_is_turned_and_smaller_than_its_memory_is_addressed_where_it_is() {
    let wiring = Wiring { size: (135, 240), offset: (52, 40), rotation: 90, ..Wiring::of(Controller::St7789) };
    let (tape, mut screen) = panel(Controller::St7789, wiring);
    // MX and MV turn it by 90 degrees.
    assert!(tape.wires().windows(2).any(|w| w[0] == Wire::Command(0x36) && w[1] == data(&[0x60])));
    let (picture, labels, words) = scene();
    screen.show(&View { picture: &picture, labels: &labels, words }).unwrap();
    let wires = tape.wires();
    // 240 columns from 40, 135 rows from 53: the memory has 240 of which 52 lie before the glass and 53 behind it.
    assert_eq!(wires[1], data(&[0, 40, 1, 23]));
    assert_eq!(wires[3], data(&[0, 53, 0, 187]));
    assert!(matches!(&wires[5], Wire::Data(pixels) if pixels.len() == 240 * 135 * 2));
}

#[test]
fn an_ili9341_is_started_as_its_data_sheet_says() {
    let (tape, mut screen) = panel(Controller::Ili9341, Wiring::of(Controller::Ili9341));
    let wires = tape.wires();
    // MADCTL with BGR, then inversion off, 16 bits a pixel, and after the sleep the display is on.
    assert_eq!(wires[2..4], [Wire::Command(0x36), data(&[0x08])]);
    for command in [0x20, 0x3a, 0x13, 0x11, 0x29] {
        assert!(wires.contains(&Wire::Command(command)), "{command:#x}");
    }
    assert_eq!(wires.last(), Some(&Wire::Command(0x29)));
    let (picture, labels, words) = scene();
    screen.show(&View { picture: &picture, labels: &labels, words }).unwrap();
    assert!(matches!(&tape.wires()[5], Wire::Data(pixels) if pixels.len() == 240 * 320 * 2));
}

#[test]
fn glass_that_does_not_fit_its_controller_is_refused() {
    for wiring in [
        Wiring { size: (320, 240), ..Wiring::of(Controller::St7789) },
        Wiring { offset: (1, 0), ..Wiring::of(Controller::St7789) },
        Wiring { size: (0, 240), ..Wiring::of(Controller::St7789) },
        Wiring { rotation: 45, ..Wiring::of(Controller::St7789) },
    ] {
        let tape = Tape::default();
        let wires = (Bus(tape.clone()), DataLine(tape.clone()), ResetLine(tape.clone()), ());
        let refused = Panel::new("mock", Controller::St7789, wiring, wires, &mut NoDelay);
        assert!(matches!(refused, Err(Error::Sink { .. })), "{wiring:?}");
    }
}

type Written = Vec<(u8, Vec<u8>)>;

#[derive(Clone, Default)]
struct TwoWires(Arc<Mutex<Written>>, bool);

impl i2c::ErrorType for TwoWires {
    type Error = i2c::ErrorKind;
}

impl I2c for TwoWires {
    fn transaction(&mut self, address: u8, operations: &mut [i2c::Operation<'_>]) -> std::result::Result<(), i2c::ErrorKind> {
        if self.1 {
            return Err(i2c::ErrorKind::NoAcknowledge(i2c::NoAcknowledgeSource::Address));
        }
        for operation in operations {
            let i2c::Operation::Write(bytes) = operation else { panic!("displays are only written to") };
            self.0.lock().push((address, bytes.to_vec()));
        }
        Ok(())
    }
}

#[test]
fn an_ssd1306_is_started_as_its_data_sheet_says_and_shows_patterns() {
    let bus = TwoWires::default();
    let mut screen = Oled::new("mock", bus.clone(), 0x3c, DisplaySize128x64, DisplayRotation::Rotate0).unwrap();
    let start = std::mem::take(&mut *bus.0.lock());
    assert!(start.iter().all(|(address, bytes)| *address == 0x3c && bytes[0] == 0x00), "control byte: commands");
    let commands: Vec<u8> = start.iter().flat_map(|(_, bytes)| bytes[1..].to_vec()).collect();
    // SSD1306 data sheet, section 10: display off, clock, multiplex 63, offset 0, start line 0, charge pump on.
    assert_eq!(commands[..10], [0xae, 0xd5, 0x80, 0xa8, 63, 0xd3, 0, 0x40, 0x8d, 0x14]);
    assert_eq!(commands.last(), Some(&0xaf), "display on");
    let (picture, labels, words) = scene();
    screen.show(&View { picture: &picture, labels: &labels, words }).unwrap();
    let pixels: Vec<u8> = bus.0.lock().iter().filter(|(_, bytes)| bytes[0] == 0x40).flat_map(|(_, bytes)| bytes[1..].to_vec()).collect();
    // Eight pages of 128 columns, a bit a pixel from the top.
    assert_eq!(pixels.len(), 128 * 8);
    assert_eq!(pixels[10 + 128], 0x00, "no label, nothing lit");
    assert_eq!(pixels[40 + 128], 0xff, "the first word's pattern is full");
    assert_eq!(pixels[64] & 0x7f, 0x7f, "and lies beside its name");
}

#[test]
fn a_display_that_does_not_answer_is_told() {
    let bus = TwoWires(Arc::default(), true);
    let error = Oled::new("/dev/i2c-1", bus, 0x3c, DisplaySize128x64, DisplayRotation::Rotate0).err().unwrap().to_string();
    assert!(error.starts_with("/dev/i2c-1: SSD1306 at 0x3c") && error.contains("try: i2cdetect -y 1,"), "{error}");
}

#[test]
fn names_of_displays_are_checked() {
    for (uri, complaint) in [
        ("lcd:/dev/x", "expected fb:, st7789:, ili9341: or ssd1306:, found lcd"),
        ("st7789:/dev/no-such-spi", "expected dc=GPIO"),
        ("st7789:/dev/no-such-spi?dc=25", "/dev/no-such-spi: No such file or directory (os error 2); try: ls /dev/spidev*"),
        ("st7789:/dev/no-such-spi?dc=25&colour=1", "found colour"),
        ("st7789:/dev/no-such-spi?dc=25&mhz=900", "mhz of 1 to 125"),
        ("ssd1306:/dev/no-such-i2c?address=0x80", "0x08 to 0x77"),
        ("ssd1306:/dev/no-such-i2c", "/dev/no-such-i2c: No such file or directory (os error 2); try: ls /dev/i2c-*"),
        ("fb:/dev/no-such-fb", "/dev/no-such-fb: No such file or directory (os error 2); try: ls /dev/fb*"),
        ("fb:/dev/null", "expected size=WxH"),
        ("fb:no-such-file", "expected size=WxH"),
        ("fb:/dev/no-such-fb?size=64x48&bits=24", "16 or 32 bits"),
        ("fb:/dev/no-such-fb?size=64x48", "/dev/no-such-fb"),
    ] {
        let found = open_screen(uri).err().expect(uri).to_string();
        assert!(found.contains(complaint), "{uri}: {found}");
    }
}
