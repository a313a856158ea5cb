use super::*;
use image::codecs::jpeg::JpegEncoder;

/// Colours in tiles of 32 pixels, far enough apart that no upsampling reaches their middles.
const TILE: usize = 32;
const SIZE: [usize; 2] = [5 * TILE - 3, 3 * TILE - 5];

fn tile(x: usize, y: usize) -> [i32; 3] {
    let n = (x / TILE + 5 * (y / TILE)) as i32;
    [40 + 12 * n, 100 + (n * 29 % 60), 160 - (n * 17 % 60)]
}

/// A JPEG of flat blocks: each has a DC code of four bits and, where there are AC coefficients, an end of block of one bit.
fn flat_jpeg(luma: [usize; 2], scans: &[&[usize]], restart: usize, progressive: bool) -> Vec<u8> {
    sampled_jpeg([luma, [1, 1], [1, 1]], scans, restart, progressive)
}

/// As [`flat_jpeg`], each component with sampling factors of its own.
fn sampled_jpeg(factors: [[usize; 2]; 3], scans: &[&[usize]], restart: usize, progressive: bool) -> Vec<u8> {
    let [width, height] = SIZE;
    let side = |c: usize| factors[c];
    let most = [0, 1].map(|i| factors.map(|f| f[i]).into_iter().max().unwrap());
    let pixels = |c: usize| [most[0] / factors[c][0], most[1] / factors[c][1]];
    let mcus = [width.div_ceil(8 * most[0]), height.div_ceil(8 * most[1])];
    // The value of a component's block: what is at its first pixel.
    let value = |c: usize, x: usize, y: usize| {
        let [fx, fy] = pixels(c);
        2 * (tile((8 * x * fx).min(width - 1), (8 * y * fy).min(height - 1))[c] - 128)
    };
    let mut out = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    out.extend([4; 64]);
    out.extend([0xff, if progressive { 0xc2 } else { 0xc0 }, 0, 17, 8, 0, height as u8, 0, width as u8, 3]);
    out.extend((1u8..).zip(factors).flat_map(|(id, [h, v])| [id, (h << 4 | v) as u8, 0]));
    out.extend([0xff, 0xc4, 0, 31, 0, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    out.extend([0xff, 0xc4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    out.extend([0xff, 0xdd, 0, 4, 0, restart as u8]);
    for &scan in scans {
        out.extend([0xff, 0xda, 0, (6 + 2 * scan.len()) as u8, scan.len() as u8]);
        out.extend(scan.iter().flat_map(|&c| [c as u8 + 1, 0]));
        out.extend([0, if progressive { 0 } else { 63 }, 0]);
        let units: Vec<Vec<(usize, usize, usize)>> = match scan {
            &[c] => {
                let [fx, fy] = pixels(c);
                let grid = [width.div_ceil(fx).div_ceil(8), height.div_ceil(fy).div_ceil(8)];
                (0..grid[1]).flat_map(|y| (0..grid[0]).map(move |x| vec![(c, x, y)])).collect()
            }
            several => (0..mcus[0] * mcus[1])
                .map(|mcu| {
                    let [mx, my] = [mcu % mcus[0], mcu / mcus[0]];
                    let blocks = |&c: &usize| {
                        let [w, h] = side(c);
                        (0..w * h).map(move |i| (c, mx * w + i % w, my * h + i / w))
                    };
                    several.iter().flat_map(blocks).collect()
                })
                .collect(),
        };
        for (n, units) in units.chunks(if restart == 0 { units.len() } else { restart }).enumerate() {
            if n > 0 {
                out.extend([0xff, 0xd0 + ((n - 1) % 8) as u8]);
            }
            let (mut bits, mut last) = (String::new(), [0; 3]);
            for &(c, x, y) in units.iter().flatten() {
                let step = value(c, x, y) - last[c];
                last[c] += step;
                let size = (32 - step.unsigned_abs().leading_zeros()) as usize;
                bits += &format!("{size:04b}");
                if size > 0 {
                    bits += &format!("{:0size$b}", if step > 0 { step } else { step + (1 << size) - 1 });
                }
                bits += if progressive { "" } else { "0" };
            }
            while bits.len() % 8 > 0 {
                bits.push('1');
            }
            for byte in bits.as_bytes().chunks(8) {
                let byte = u8::from_str_radix(std::str::from_utf8(byte).unwrap(), 2).unwrap();
                out.push(byte);
                out.extend((byte == 0xff).then_some(0));
            }
        }
    }
    out.extend([0xff, 0xd9]);
    out
}

#[test]
fn every_order_of_scans_shows_the_same_picture() {
    let layouts: [&[&[usize]]; 4] = [&[&[0, 1, 2]], &[&[0], &[1], &[2]], &[&[0], &[1, 2]], &[&[1], &[2], &[0]]];
    let common = [[1, 1], [2, 1], [2, 2], [1, 2], [4, 1], [4, 2]].map(|luma| [luma, [1, 1], [1, 1]]);
    // Of these, chroma is finer than luma.
    let fine = [[[1, 1], [2, 2], [2, 2]], [[1, 1], [2, 1], [1, 1]], [[1, 1], [1, 2], [1, 2]], [[2, 1], [2, 2], [2, 2]]];
    for sampling in common.into_iter().chain(fine) {
        for (layout, restart, progressive) in
            layouts.iter().flat_map(|l| [0, 5].into_iter().flat_map(move |r| [false, true].map(|p| (l, r, p))))
        {
            let bytes = sampled_jpeg(sampling, layout, restart, progressive);
            let what = format!("{sampling:?} {layout:?} restart {restart} progressive {progressive}");
            let mut picture = RgbImage::new(1, 1);
            decode_jpeg(&bytes, &mut picture).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(whole_jpeg(&bytes, MAX_DECODED_BYTES, &mut None).as_ref(), Ok(&picture), "{what}");
            for (x, y) in (0..15).map(|n| (n % 5 * TILE + TILE / 2 - 2, n / 5 * TILE + TILE / 2 - 2)) {
                let [luma, blue, red] = tile(x, y).map(f64::from);
                // JFIF: BT.601 in full range.
                let (b, r) = (luma + 1.772 * (blue - 128.0), luma + 1.402 * (red - 128.0));
                let want = [r, (luma - 0.299 * r - 0.114 * b) / 0.587, b].map(|c| c.round().clamp(0.0, 255.0) as u8);
                let found = picture.get_pixel(x as u32, y as u32).0;
                assert!(found.iter().zip(want).all(|(&a, b)| a.abs_diff(b) <= 3), "{what} at {x},{y}: {found:?} instead of {want:?}");
            }
        }
    }
}

#[test]
fn a_jpeg_of_a_sampling_that_no_decoder_takes_is_refused_by_name() {
    let apart: &[&[usize]] = &[&[0], &[1], &[2]];
    for (factors, scans) in
        [([[4, 1], [2, 1], [2, 1]], apart), ([[4, 2], [2, 2], [1, 1]], apart), ([[3, 1], [1, 1], [1, 1]], &[&[0, 1, 2]])]
    {
        let said = whole_jpeg(&sampled_jpeg(factors, scans, 0, false), MAX_DECODED_BYTES, &mut None).unwrap_err();
        assert!(said.contains("a JPEG of rare sampling") && said.contains("save it"), "{factors:?}: {said}");
    }
}

#[test]
fn the_orientation_of_a_jpeg_is_found_behind_a_megabyte_of_metadata() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    let exif = b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let long = [&[0xff, 0xe2, 0xff, 0xff][..], &[0; 0xfffd]].concat().repeat(17);
    std::fs::write(&path, [&small_jpeg()[..2], &long, exif, &small_jpeg()[2..]].concat()).unwrap();
    assert_eq!(read_orientation(&path).unwrap(), Orientation::Rotate90);
    assert_eq!(read_picture(&path).unwrap().pixels.dimensions(), (48, 64));
    std::fs::write(&path, [&small_jpeg()[..2], &long, &small_jpeg()[2..]].concat()).unwrap();
    assert_eq!(read_orientation(&path).unwrap(), Orientation::NoTransforms);
}

fn small_jpeg() -> Vec<u8> {
    let mut bytes = Vec::new();
    let picture = RgbImage::from_fn(64, 48, |x, y| image::Rgb([(4 * x) as u8, (5 * y) as u8, (x * y) as u8]));
    JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&picture).unwrap();
    bytes
}

#[test]
fn what_stands_behind_a_jpeg_or_inside_its_segments_is_no_part_of_it() {
    let whole = small_jpeg();
    let read = |bytes: &[u8]| whole_jpeg(bytes, MAX_DECODED_BYTES, &mut None);
    let want = read(&whole).unwrap();
    // Films behind a picture hold every pair of bytes.
    let trailers: [&[u8]; 4] = [b"\xff\xc9\0\x02", b"\xff\xda and no end", b"\xff\xd9 \xff\xda \xff\xd9", b"\xff\xd8\xff\xc0\0\x02"];
    for trailer in trailers {
        assert_eq!(read(&[&whole, trailer].concat()).as_ref(), Ok(&want), "{trailer:?}");
        let cut = [&whole[..whole.len() * 3 / 4], b"\0\0", &trailer[..4]].concat();
        if !trailer.starts_with(b"\xff\xd9") {
            assert!(read(&cut).unwrap_err().contains("cut off"));
        }
    }
    let mut thumbnail = vec![0xff, 0xd8, 0xff, 0xe1];
    thumbnail.extend((whole.len() as u16 + 2).to_be_bytes());
    let inside = [&thumbnail, whole.as_slice(), &whole[2..]].concat();
    assert_eq!(read(&inside).as_ref(), Ok(&want));
    assert!(read(&inside[..inside.len() - 40]).unwrap_err().contains("cut off"));
}

#[test]
fn the_colours_of_jfif_are_ycbcr_whatever_else_a_file_says() {
    let whole = small_jpeg();
    let read = |bytes: &[u8]| whole_jpeg(bytes, MAX_DECODED_BYTES, &mut None).unwrap();
    assert_eq!(&whole[6..10], b"JFIF");
    let behind = 4 + usize::from(u16::from_be_bytes([whole[4], whole[5]]));
    let adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0";
    assert_eq!(read(&[&whole[..behind], adobe, &whole[behind..]].concat()), read(&whole));
    let mut named = whole.clone();
    let segment = |marker: u8| whole.windows(2).position(|pair| pair == [0xff, marker]).unwrap();
    for i in 0..3 {
        named[segment(0xc0) + 10 + 3 * i] = b"RGB"[i];
        named[segment(0xda) + 5 + 2 * i] = b"RGB"[i];
    }
    assert_eq!(read(&named), read(&whole));
}

#[test]
fn a_jpeg_that_lacks_its_end_marker_alone_is_whole() {
    let whole = small_jpeg();
    let read = |bytes: &[u8]| whole_jpeg(bytes, MAX_DECODED_BYTES, &mut None);
    let coded = &whole[..whole.len() - 2];
    assert_eq!(read(coded), read(&whole));
    for missing in [8, 40, coded.len() / 3] {
        assert!(read(&coded[..coded.len() - missing]).unwrap_err().contains("cut off"), "{missing} bytes missing");
    }
}

#[test]
fn what_takes_more_memory_than_the_limit_is_refused_before_it_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let picture = RgbImage::from_pixel(200, 100, image::Rgb([200, 30, 60]));
    let clear = DynamicImage::from(picture.clone()).into_rgba8();
    for name in ["a.jpg", "a.png", "a.bmp", "a.tif", "a.webp", "a.gif", "clear.png", "grey.png"] {
        let path = folder.path().join(name);
        match name {
            "clear.png" | "a.gif" => clear.save(&path).unwrap(),
            "grey.png" => DynamicImage::from(picture.clone()).into_luma8().save(&path).unwrap(),
            _ => picture.save(&path).unwrap(),
        }
        read_within(&path, 20 * 20_000, &mut None).unwrap_or_else(|e| panic!("{e}"));
        let said = read_within(&path, 3 * 20_000 - 1, &mut None).unwrap_err().to_string();
        assert!(said.contains("200×100 pixels") && said.contains("59999 are the limit"), "{name}: {said}");
    }
    let turned =
        [&small_jpeg()[..2], b"\xff\xe1\0\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0", &small_jpeg()[2..]]
            .concat();
    assert_eq!(whole_jpeg(&turned, 6 * 64 * 48, &mut None).unwrap().dimensions(), (48, 64));
    assert!(whole_jpeg(&turned, 6 * 64 * 48 - 1, &mut None).unwrap_err().contains("limit"), "the copy that is turned counts");
}

#[test]
fn a_picture_is_turned_whatever_stands_before_its_orientation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.webp");
    let (little, big) = (b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01");
    // Some tools take JPEG's mark along into WebP, whose EXIF has none.
    for (mark, is_big) in [&b""[..], b"Exif\0\0"].iter().flat_map(|mark| [false, true].map(|big| (*mark, big))) {
        for orientation in 1..=8u8 {
            let (head, value) = if is_big { (big, [0, orientation, 0, 0]) } else { (little, [orientation, 0, 0, 0]) };
            let mut bytes = Vec::new();
            let mut encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut bytes);
            image::ImageEncoder::set_exif_metadata(&mut encoder, [mark, head, &value, &[0; 4]].concat()).unwrap();
            let pixels = [[200u8, 30, 60], [30, 60, 200]].concat();
            encoder.encode(&pixels, 2, 1, image::ExtendedColorType::Rgb8).unwrap();
            std::fs::write(&path, &bytes).unwrap();
            let seen = read_picture(&path).unwrap().pixels;
            let wide = orientation <= 4;
            assert_eq!(seen.dimensions(), if wide { (2, 1) } else { (1, 2) }, "{orientation} behind {mark:?}");
            // EXIF 2.3: where the stored picture's left end is shown.
            let is_first = [1, 4, 5, 6].contains(&orientation);
            assert_eq!(seen.get_pixel(0, 0).0 == [200, 30, 60], is_first, "{orientation} behind {mark:?}");
        }
    }
}

#[test]
fn a_panic_in_a_decoder_is_that_pictures_fault_alone() {
    let said = decode_with::<()>(|| panic!("index out of bounds")).unwrap_err();
    assert_eq!(said, "what makes its decoder give up: index out of bounds");
    assert_eq!(decode_with(|| Ok(3)), Ok(3));
}

#[test]
fn what_no_decoder_knows_is_called_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jpg");
    let cases: [(&[u8], &str); 12] = [
        (b"P6\n2 2\n255\n", "PPM"),
        (b"8BPS\0\x01\0\0", "Photoshop"),
        (b"\xff\x4f\xff\x51\0\x2f\0\0", "JPEG 2000"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01", "raw picture"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "git lfs pull"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF, which is not read; save it as JPEG or PNG"),
        (b"\x76\x2f\x31\x01\x02\0\0\0", "no known picture format"),
        (b"\0\0\0\x18ftypisom\0\0\0\0", "a film"),
        (b"II\x2b\0\x08\0\0\0", "BigTIFF"),
        (b"\n<html>not found", "markup"),
        (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", "companion"),
    ];
    for (bytes, complaint) in cases {
        std::fs::write(&path, bytes).unwrap();
        let said = read_picture(&path).unwrap_err().to_string();
        assert!(said.contains(complaint), "{said}");
    }
    assert!(!is_picture(Path::new("folder/._a.jpg")) && is_picture(Path::new("._folder/a.jpg")));
    assert!(is_picture(Path::new("from a browser.jfif")) && is_picture(Path::new("A.JPE")) && !is_picture(Path::new("jpg")));
}

#[test]
fn pictures_in_subfolders_are_told_with_what_to_type() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a/b.jpg", "a/deep er/c.png", "d/e.JPG", ".cache/f.jpg", "a/notes.txt"] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, small_jpeg()).unwrap();
    }
    let here = folder.path().display().to_string();
    let said = expand_inputs(std::slice::from_ref(&here)).remove(0).unwrap_err().to_string();
    let globs = ["JPG", "jpg", "png"].map(|ending| format!("'{here}/**/*.{ending}'"));
    let told = format!("3 pictures in its sub-folders are passed over; to take all, give {}", globs.join(" "));
    assert!(said.ends_with(&told), "{said}");
    // What it says leads to them, and to those of the folder itself.
    std::fs::write(folder.path().join("g.jpg"), small_jpeg()).unwrap();
    let typed: Vec<String> = globs.iter().map(|glob| glob.trim_matches('\'').to_owned()).collect();
    assert_eq!(expand_inputs(&typed).into_iter().filter(Result::is_ok).count(), 4);
    assert_eq!(expand_inputs(std::slice::from_ref(&here)).len(), 1);
    // What takes no globs is told a folder.
    std::fs::remove_file(folder.path().join("g.jpg")).unwrap();
    let said = expand_folder(folder.path()).remove(0).unwrap_err().to_string();
    assert!(
        said.ends_with(&format!("3 pictures in its sub-folders are passed over; one folder is taken at a time, such as {here}/a")),
        "{said}"
    );
}

#[test]
fn what_to_type_for_subfolders_takes_the_pictures_beside_them_and_no_masks() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("up[1]");
    for name in ["top.jpg", "a/two.png", "edge-seg-out/two.mask.png", "a/.trash/b.png"] {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, small_jpeg()).unwrap();
    }
    let below = PicturesBelow::count(&folder);
    let told = below.advice(&folder.display().to_string(), PicturesBelow::globs).unwrap();
    let (said, globs) = told.split_once("; to take all, give ").unwrap();
    assert_eq!(said, "1 picture in its sub-folders is passed over");
    let typed: Vec<String> = globs.split(' ').map(|glob| glob.trim_matches('\'').to_owned()).collect();
    let found = expand_inputs(&typed).into_iter().collect::<Result<Vec<_>>>().unwrap();
    assert_eq!(found, [folder.join("top.jpg"), folder.join("a/two.png")]);
    // By its name the folder of masks is read.
    let masks = format!("{}/edge-seg-out/*.png", glob::Pattern::escape(&folder.display().to_string()));
    assert_eq!(expand_inputs(&[masks]).into_iter().filter(Result::is_ok).count(), 1);
}

#[test]
fn companions_are_passed_over_and_pipes_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.jpg", "._a.jpg"] {
        std::fs::write(folder.path().join(name), small_jpeg()).unwrap();
    }
    let here = folder.path().display().to_string();
    for input in [here.clone(), format!("{here}/*.jpg")] {
        let found: Vec<_> = expand_inputs(&[input]).into_iter().map(|p| p.unwrap()).collect();
        assert_eq!(found, [folder.path().join("a.jpg")]);
    }
    let fifo = folder.path().join("pipe.jpg");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    assert!(read_picture(&fifo).unwrap_err().to_string().contains("a pipe or device"));
}

/// A TIFF of one pixel with alpha, of which its colours are, or are not, a multiple.
fn tiff_with_alpha(little: bool, extra: u16, pixel: [u8; 4]) -> Vec<u8> {
    tiff_of(little, &[(338, extra)], &pixel)
}

/// A TIFF of one pixel of four channels, in which some tags are others.
fn tiff_of(little: bool, others: &[(u16, u16)], pixel: &[u8]) -> Vec<u8> {
    let short = |v: u16| if little { v.to_le_bytes() } else { v.to_be_bytes() };
    let long = |v: u32| if little { v.to_le_bytes() } else { v.to_be_bytes() };
    let usual: [(u16, u16); 9] =
        [(256, 1), (257, 1), (258, 8), (259, 1), (262, 2), (273, 220), (277, 4), (278, 1), (279, pixel.len() as u16)];
    let tags: std::collections::BTreeMap<u16, u16> = usual.iter().chain(others).copied().collect();
    let mut bytes = [if little { b"II" } else { b"MM" }.as_slice(), &short(42), &long(8), &short(tags.len() as u16)].concat();
    for (tag, value) in &tags {
        bytes.extend([short(*tag), short(3)].concat());
        match tag {
            258 => bytes.extend([long(4), long(200)].concat()),
            _ => bytes.extend([long(1).as_slice(), &short(*value), &[0; 2]].concat()),
        }
    }
    assert!(bytes.len() < 196, "{} tags", tags.len());
    bytes.resize(200, 0);
    bytes.extend(short(tags[&258]).repeat(4));
    bytes.resize(220, 0);
    bytes.extend(pixel);
    bytes
}

#[test]
fn a_tiff_that_would_be_read_wrongly_is_refused_by_name() {
    let cases: [(&[(u16, u16)], &str); 16] = [
        (&[(254, 1)], "thumbnail"),
        (&[(262, 32803)], "raw picture"),
        (&[(50706, 1)], "raw picture"),
        (&[(266, 2)], "bits in reverse order (FillOrder 2), which is not read; save it as PNG"),
        (&[(259, 3)], "fax compression of group 3"),
        (&[(259, 50000)], "ZSTD"),
        (&[(259, 7), (262, 6)], "YCbCr"),
        (&[(259, 999)], "compression of kind 999"),
        (&[(262, 3)], "a palette"),
        (&[(262, 8)], "Lab"),
        (&[(262, 1)], "grey with alpha"),
        (&[(258, 32)], "integers of 32 bits"),
        (&[(258, 16), (339, 3)], "floats of 16 bits"),
        (&[(258, 12)], "12 bits a sample"),
        (&[(339, 2)], "signed numbers"),
        (&[(284, 2), (322, 16)], "tiles of their own"),
    ];
    for (little, (tags, complaint)) in [true, false].into_iter().flat_map(|little| cases.map(|case| (little, case))) {
        let said = decode_picture("a.tif", &tiff_of(little, tags, &[0; 16])).unwrap_err().to_string();
        assert!(said.contains(complaint), "{tags:?}: {said}");
    }
    let floats = |white: f32| [white, 0.0, 0.0, 1.0].map(f32::to_le_bytes).concat();
    let tags = [(258, 32), (339, 3), (338, 2)];
    assert_eq!(decode_picture("a.tif", &tiff_of(true, &tags, &floats(1.0))).unwrap().pixels.get_pixel(0, 0).0, [255, 0, 0]);
    let said = decode_picture("a.tif", &tiff_of(true, &tags, &floats(200.0))).unwrap_err().to_string();
    assert!(said.contains("floats of up to 200, where 0 is black and 1 white"), "{said}");
}

#[test]
fn colours_that_are_multiplied_by_their_alpha_are_laid_over_white_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.tif");
    for little in [true, false] {
        for (extra, want) in [(1, [227, 177, 127]), (2, [177, 152, 127])] {
            std::fs::write(&path, tiff_with_alpha(little, extra, [100, 50, 0, 128])).unwrap();
            assert_eq!(read_picture(&path).unwrap().pixels.get_pixel(0, 0).0, want, "{little} {extra}");
        }
    }
}

#[test]
fn damage_in_coded_data_is_told_and_passed_over_on_demand() {
    let folder = tempfile::tempdir().unwrap();
    let whole = small_jpeg();
    let scan = whole.windows(2).position(|pair| pair == [0xff, 0xda]).unwrap() + 14;
    let coded = |share: usize| scan + (whole.len() - 2 - scan) * share / 100;
    let cut = |share: usize| [&whole[..coded(share)], &[0xff, 0xd9]].concat();
    let mut damaged: Vec<_> = [30, 60, 90].map(cut).to_vec();
    // Bytes that are gone from the middle, and some too many at the end.
    damaged.push([&whole[..coded(40)], &whole[coded(60)..]].concat());
    damaged.push([&whole[..whole.len() - 2], &[0x12, 0x34, 0x56, 0x78, 0x9a, 0xff, 0xd9]].concat());
    let restarts = flat_jpeg([2, 2], &[&[0, 1, 2]], 5, false);
    let first = restarts.windows(2).position(|pair| pair == [0xff, 0xd0]).unwrap();
    damaged.push([&restarts[..first], &restarts[first + 2..]].concat());
    for (i, bytes) in damaged.iter().enumerate() {
        let path = folder.path().join(format!("{i}.jpg"));
        std::fs::write(&path, bytes).unwrap();
        let said = read_picture(&path).err().unwrap_or_else(|| panic!("{i} is taken as whole")).to_string();
        assert!(said.contains("coded data are damaged near byte"), "{said}");
        if let Ok((_, told)) = read_damaged_picture(&path) {
            assert!(told.is_some_and(|told| told.contains("damaged near byte")), "{i}");
        }
    }
    let path = folder.path().join("1.jpg");
    let (frame, _) = read_damaged_picture(&path).unwrap();
    let want = whole_jpeg(&whole, MAX_DECODED_BYTES, &mut None).unwrap();
    assert_eq!(frame.pixels.get_pixel(9, 3), want.get_pixel(9, 3), "what comes before is read");
    // Encoders may fill up what they send.
    for filling in [&[0x00][..], &[0x00; 40], &[0xff, 0x00], &[0xff], &[0x12], &[0x12, 0x34, 0x56]] {
        let padded = [&whole[..whole.len() - 2], filling, &[0xff, 0xd9]].concat();
        assert_eq!(whole_jpeg(&padded, MAX_DECODED_BYTES, &mut None).as_ref(), Ok(&want), "{filling:?}");
    }
}

#[test]
fn files_in_memory_are_read_as_those_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let small =
        DynamicImage::ImageRgba8(image::RgbaImage::from_fn(9, 7, |x, y| image::Rgba([28 * x as u8, 36 * y as u8, 90, 28 * x as u8])));
    let mut files = vec![small_jpeg(), tiff_with_alpha(true, 1, [40, 80, 120, 128]), tiff_with_alpha(false, 2, [40, 80, 120, 128])];
    for format in [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Gif, ImageFormat::Tiff] {
        let mut bytes = Cursor::new(Vec::new());
        small.write_to(&mut bytes, format).unwrap();
        files.push(bytes.into_inner());
    }
    files.extend(files.clone().into_iter().map(|mut bytes| {
        bytes.truncate(bytes.len() / 2);
        bytes
    }));
    files.extend([Vec::new(), b"no picture".to_vec(), b"\0\0\0\x18ftypheic\0\0\0\0".to_vec()]);
    let path = folder.path().join("a");
    for bytes in files {
        std::fs::write(&path, &bytes).unwrap();
        let place = path.display().to_string();
        match (read_picture(&path), decode_picture(&place, &bytes)) {
            (Ok(on_disk), Ok(in_memory)) => assert_eq!(on_disk.pixels, in_memory.pixels),
            (Err(on_disk), Err(in_memory)) => assert_eq!(on_disk.to_string(), in_memory.to_string()),
            (on_disk, in_memory) => panic!("{:?} and {:?}", on_disk.err(), in_memory.err()),
        }
    }
}

#[test]
fn a_bmp_is_read_where_its_pixels_are() {
    // 5 pixels a line: 15 bytes and one of padding.
    let picture = RgbImage::from_fn(5, 4, |x, y| image::Rgb([40 * x as u8, 60 * y as u8, 200]));
    let bmp = |picture: DynamicImage| {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Bmp).unwrap();
        bytes.into_inner()
    };
    let colour = bmp(picture.clone().into());
    let grey = bmp(DynamicImage::ImageLuma8(image::GrayImage::from_fn(5, 4, |x, y| image::Luma([(50 * x + 10 * y) as u8]))));
    let with_offset = |bytes: &[u8], offset: u32| [&bytes[..10], &offset.to_le_bytes(), &bytes[14..]].concat();
    let read = |bytes: &[u8]| decode_picture("a.bmp", bytes).map(|frame| frame.pixels);
    for whole in [&colour, &grey] {
        let right = read(whole).unwrap();
        let headers = 14 + u32::from_le_bytes(whole[14..18].try_into().unwrap());
        for offset in [0, 13, headers - 1] {
            assert_eq!(read(&with_offset(whole, offset)).unwrap(), right, "an offset of {offset}");
        }
        // The last line's padding holds nothing.
        assert_eq!(read(&whole[..whole.len() - 1]).unwrap(), right);
        assert!(read(&whole[..whole.len() - 5]).is_err());
        assert!(read(&with_offset(whole, u32::MAX - 53)).is_err());
        for length in 0..whole.len() {
            let _ = read(&whole[..length]);
        }
    }
    let headers = 14 + u32::from_le_bytes(grey[14..18].try_into().unwrap());
    assert_eq!(read(&with_offset(&grey, headers)).unwrap(), read(&grey).unwrap(), "behind the palette");
    assert_eq!(read(&colour).unwrap(), picture);
}
