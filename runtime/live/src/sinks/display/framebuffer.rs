use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;

use super::address::Address;
use super::{Screen, View, draw};
use crate::{Error, Result};

/// How a framebuffer's memory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// 16 (RGB 5-6-5) or 32 (blue, green, red and nothing, byte by byte).
    pub bits: u32,
    /// Bytes from one row to the next.
    pub stride: u32,
}

/// A side that is read; more is no screen.
const MAX_SIDE: u32 = 16_384;

impl Geometry {
    /// What the kernel says of a framebuffer in its folder, `/sys/class/graphics/fb0`.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if a file cannot be read, [`Error::Sink`] if it holds something else or a format that cannot be drawn.
    pub fn read(folder: &Path) -> Result<Self> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).map(|text| text.trim().to_owned()).map_err(Error::io(path))
        };
        let wrong = |file: &str, expected: &str, found: &str| Error::Sink {
            place: folder.join(file).display().to_string(),
            found: format!("expected {expected}, found {found:?}"),
        };
        let pair = |text: &str, between: char| {
            let (width, height) = text.split_once(between)?;
            Some((width.trim().parse().ok()?, height.trim().parse().ok()?))
        };
        let size = read("virtual_size")?;
        let (width, mut height): (u32, u32) = pair(&size, ',').ok_or_else(|| wrong("virtual_size", "WIDTH,HEIGHT", &size))?;
        // The memory may hold several screens, of which the mode shows the first: `U:1920x1080p-60`.
        let modes = read("modes").unwrap_or_default();
        let visible = modes.lines().next().and_then(|m| m.split_once(':')).and_then(|(_, m)| {
            let (_, rest) = m.split_once('x')?;
            rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse::<u32>().ok()
        });
        height = visible.filter(|v| *v > 0).unwrap_or(height).min(height);
        let number = |file: &str| -> Result<u32> {
            let text = read(file)?;
            text.parse().map_err(|_| wrong(file, "a number", &text))
        };
        let geometry = Self { width, height, bits: number("bits_per_pixel")?, stride: number("stride")? };
        geometry.check().map_err(|(expected, found)| Error::Sink {
            place: folder.display().to_string(),
            found: format!("expected {expected}, found {found}"),
        })?;
        Ok(geometry)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let side = |v: u32| (1..=MAX_SIDE).contains(&v);
        if !side(self.width) || !side(self.height) {
            return Err(("a size of 1 to 16384", format!("{}x{}", self.width, self.height)));
        }
        if self.bits != 16 && self.bits != 32 {
            return Err(("16 or 32 bits a pixel", self.bits.to_string()));
        }
        if self.stride < self.width * self.bits / 8 || self.stride > 8 * MAX_SIDE {
            return Err(("a stride of a row or more", self.stride.to_string()));
        }
        Ok(())
    }
}

/// A framebuffer of the kernel, or a file that is one's picture.
pub struct Framebuffer {
    path: PathBuf,
    file: File,
    geometry: Geometry,
    quarter_turns: u16,
    memory: Vec<u8>,
}

impl std::fmt::Debug for Framebuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Framebuffer {{ {:?}, {}×{} }}", self.path, self.geometry.width, self.geometry.height)
    }
}

impl Framebuffer {
    pub(super) fn open(address: &Address) -> Result<Self> {
        address.only(&["size", "bits", "stride", "rotate"])?;
        let path = Path::new(address.device);
        let geometry = match address.pair("size", 'x')? {
            Some((width, height)) => {
                let (width, bits) = (u32::from(width), address.number("bits")?.unwrap_or(16));
                Geometry { width, height: height.into(), bits, stride: address.number("stride")?.unwrap_or(width * bits / 8) }
            }
            None => {
                let is_device = path.starts_with("/dev");
                if is_device {
                    OpenOptions::new().write(true).open(path).map_err(|e| address.unopened(e, "ls /dev/fb*", "video"))?;
                }
                let folder = Path::new("/sys/class/graphics").join(path.file_name().unwrap_or_default());
                if !is_device || !folder.exists() {
                    return Err(address.wrong("size=WxH, for this is no framebuffer of the kernel", "none"));
                }
                Geometry::read(&folder)?
            }
        };
        Self::new(path, geometry, address.rotation()?)
    }

    /// Opens a framebuffer of this geometry, turned by 0, 90, 180 or 270 degrees clockwise.
    ///
    /// # Errors
    /// [`Option`](edge_seg_model::Error::Option) if the geometry cannot be drawn, [`Io`](edge_seg_model::Error::Io) if the file cannot be opened.
    pub fn new(path: &Path, geometry: Geometry, degrees: u16) -> Result<Self> {
        geometry.check().map_err(|(expected, found)| Error::option(format!("display fb:{}", path.display()), expected, found))?;
        // A device exists; a file that stands for one is made, and neither is ever cut.
        let file = OpenOptions::new().write(true).create(!path.starts_with("/dev")).truncate(false).open(path).map_err(Error::io(path))?;
        let memory = vec![0; geometry.stride as usize * geometry.height as usize];
        Ok(Self { path: path.into(), file, geometry, quarter_turns: degrees / 90 % 4, memory })
    }

    /// Writes what was drawn.
    ///
    /// # Errors
    /// [`Io`](edge_seg_model::Error::Io) if the device does not take it.
    pub fn flush(&mut self) -> Result<()> {
        self.file.write_all_at(&self.memory, 0).map_err(Error::io(&self.path))
    }
}

impl OriginDimensions for Framebuffer {
    fn size(&self) -> Size {
        let Geometry { width, height, .. } = self.geometry;
        if self.quarter_turns.is_multiple_of(2) { Size::new(width, height) } else { Size::new(height, width) }
    }
}

impl DrawTarget for Framebuffer {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        let Geometry { width, height, bits, stride } = self.geometry;
        let size = self.size();
        for Pixel(at, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(at.x), u32::try_from(at.y)) else { continue };
            if x >= size.width || y >= size.height {
                continue;
            }
            let (x, y) = match self.quarter_turns {
                0 => (x, y),
                1 => (width - 1 - y, x),
                2 => (width - 1 - x, height - 1 - y),
                _ => (y, height - 1 - x),
            };
            let at = (y * stride + x * bits / 8) as usize;
            if bits == 16 {
                let value = u16::from(colour.r() >> 3) << 11 | u16::from(colour.g() >> 2) << 5 | u16::from(colour.b() >> 3);
                self.memory[at..at + 2].copy_from_slice(&value.to_le_bytes());
            } else {
                self.memory[at..at + 4].copy_from_slice(&[colour.b(), colour.g(), colour.r(), 0]);
            }
        }
        Ok(())
    }
}

impl Screen for Framebuffer {
    fn show(&mut self, view: &View) -> Result<()> {
        let Ok(()) = draw(view, self);
        self.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometry_is_what_the_kernel_says() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let put = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        put("virtual_size", "1920,2160\n");
        put("bits_per_pixel", "32\n");
        put("stride", "7680\n");
        let whole = Geometry { width: 1920, height: 2160, bits: 32, stride: 7680 };
        assert_eq!(Geometry::read(folder).unwrap(), whole);
        put("modes", "U:1920x1080p-0\n");
        assert_eq!(Geometry::read(folder).unwrap(), Geometry { height: 1080, ..whole });
        for (file, text, complaint) in [
            ("stride", "100", "a stride of a row or more, found 100"),
            ("bits_per_pixel", "24", "16 or 32 bits a pixel, found 24"),
            ("virtual_size", "1920", "WIDTH,HEIGHT"),
            ("virtual_size", "0,7", "a size of 1 to 16384, found 0x7"),
        ] {
            put(file, text);
            let found = Geometry::read(folder).unwrap_err().to_string();
            assert!(found.contains(complaint), "{found}");
        }
        let missing = Geometry::read(&folder.join("gone")).unwrap_err().to_string();
        assert!(missing.contains("gone") && missing.contains("No such file"), "{missing}");
    }

    #[test]
    fn pixels_lie_where_the_kernel_looks_for_them() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let path = folder.join("fb");
        let corner = |degrees, bits, stride| {
            let mut fb = Framebuffer::new(&path, Geometry { width: 3, height: 2, bits, stride }, degrees).unwrap();
            let drawn = [
                Pixel(Point::new(0, 0), Rgb888::new(255, 128, 8)),
                Pixel(Point::new(-1, 0), Rgb888::WHITE),
                Pixel(Point::new(3, 3), Rgb888::WHITE),
            ];
            fb.draw_iter(drawn).unwrap();
            fb.flush().unwrap();
            let bytes = std::fs::read(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            assert_eq!(bytes.len() as u32, 2 * stride);
            bytes
        };
        // 255 >> 3 = 31, 128 >> 2 = 32, 8 >> 3 = 1: 0b11111_100000_00001, low byte first.
        assert_eq!(corner(0, 16, 8)[..4], [0x01, 0xfc, 0, 0]);
        assert_eq!(corner(0, 32, 16)[..5], [8, 128, 255, 0, 0]);
        // Turned clockwise, what was at the top left is at the top right, then at the bottom right, then at the bottom left.
        assert_eq!(corner(90, 16, 8)[4..6], [0x01, 0xfc]);
        assert_eq!(corner(180, 16, 8)[8 + 4..8 + 6], [0x01, 0xfc]);
        assert_eq!(corner(270, 16, 8)[8..10], [0x01, 0xfc]);
    }
}
