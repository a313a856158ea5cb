//! Pictures and their labels on disk.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use edge_seg_bundle::files::{Steady, about};
use edge_seg_model::image::metadata::Orientation;
use edge_seg_model::{Frame, read_picture};

use super::classes::{NOTHING, View};
use super::label_picture::MAX_PIXELS;
use super::left_out::LeftOut;
use super::mat;
use super::shapes::Shapes;
use crate::{Error, Result};

pub use super::label_picture::LabelPicture;

/// A picture and its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// File name without its ending.
    pub stem: String,
    /// The picture.
    pub image: PathBuf,
    /// Its labels.
    pub labels: PathBuf,
    /// How they lie in the file.
    pub coding: Coding,
    /// Whether they are of the pixels as the picture's file stores them, its EXIF orientation not applied.
    pub stored: bool,
}

/// How a label picture holds its values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Coding {
    /// A number for each pixel, or the index of a palette.
    #[default]
    Numbers,
    /// A colour for each pixel, which is the value `0xRRGGBB`.
    Colours,
    /// As [`Coding::Numbers`], and where the picture is one of colours, the value of each colour `0xRRGGBB`.
    Mapped(Arc<HashMap<u32, u32>>),
    /// COCO panoptic: the segment `R + 256·G + 65536·B` of each pixel, and the category of each segment; 0 is no segment.
    Segments(Arc<HashMap<u32, u32>>),
    /// Masks of a COCO instances file, and the values that its categories stand for; 0 is no category.
    Shapes(Arc<Shapes>, Arc<HashMap<u32, u32>>),
    /// A number for each pixel in the matrix `LabelMap` of a MATLAB file.
    LabelMap,
}

/// The pictures of a folder by their names without endings.
pub(super) fn by_stem(folder: &Path) -> Result<BTreeMap<String, Vec<PathBuf>>> {
    files_by_stem(folder, edge_seg_model::is_picture)
}

fn files_by_stem(folder: &Path, wanted: fn(&Path) -> bool) -> Result<BTreeMap<String, Vec<PathBuf>>> {
    let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if wanted(&path)
            && !edge_seg_model::is_companion(&path)
            && about(&path)?.is_some_and(|about| about.is_file())
            && let Some(stem) = path.file_stem().and_then(|s| s.to_str())
        {
            found.entry(stem.to_owned()).or_default().push(path.clone());
        }
    }
    found.values_mut().for_each(|paths| paths.sort());
    Ok(found)
}

/// The one picture that these labels can be of, among those of their name.
pub(super) fn only_one<'a>(named: impl Iterator<Item = &'a PathBuf>, folder: &Path, stem: &str, labels: &Path) -> Result<PathBuf> {
    let named: Vec<&PathBuf> = named.collect();
    let wrong = |found: String| Error::file(folder.display().to_string(), stem, format!("one picture for {}", labels.display()), found);
    match named.as_slice() {
        [] => Err(wrong("none; try: label pictures named as their pictures are, STEM.png for STEM.jpg".into())),
        [one] => Ok((*one).clone()),
        [one, other, ..] => Err(wrong(format!("{} and {}; leave one in the folder", one.display(), other.display()))),
    }
}

/// What Roboflow puts behind a picture's name for its mask.
const MASK: &str = "_mask";

/// Every label picture (`STEM.png`, or `STEM_mask.png` as Roboflow has them) of one folder with its picture in the other, in the order of their
/// names. With `only`, those stems alone. Both may be in one folder: a picture of another ending or name beside its labels.
///
/// # Errors
/// [`Error::Io`] if a folder cannot be read, [`Error::File`] if a label picture has not one picture, a wanted stem no labels, or there are none.
pub fn pairs(images: &Path, labels: &Path, only: Option<&HashSet<String>>) -> Result<Vec<Pair>> {
    let is_label = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("png"));
    let pictures = by_stem(images)?;
    let one_folder = is_same(images, labels);
    let mut pairs = Vec::new();
    let files = files_by_stem(labels, is_label)?;
    let masked = |stem: &str| files.contains_key(&format!("{stem}{MASK}"));
    for (file_stem, paths) in &files {
        // A photo beside its mask.
        if one_folder && masked(file_stem) {
            continue;
        }
        let of_mask = file_stem.strip_suffix(MASK).filter(|stem| pictures.contains_key(*stem));
        let has_own = pictures.get(file_stem).is_some_and(|named| named.iter().any(|other| !one_folder || !paths.contains(other)));
        let stem = of_mask.filter(|_| !has_own).unwrap_or(file_stem).to_owned();
        if only.is_some_and(|only| !only.contains(&stem)) {
            continue;
        }
        for path in paths {
            let others = pictures.get(&stem).into_iter().flatten();
            let others = others.filter(|other| !one_folder || other.file_name() != path.file_name());
            let image = only_one(others, images, &stem, path)?;
            pairs.push(Pair { stem: stem.clone(), image, labels: path.clone(), coding: Coding::Numbers, stored: false });
        }
    }
    let found: HashSet<&str> = pairs.iter().map(|p| p.stem.as_str()).collect();
    if let Some(lost) = only.into_iter().flatten().find(|stem| !found.contains(stem.as_str())) {
        return Err(Error::file(labels.display().to_string(), lost, "a label picture of that name", "none"));
    }
    if pairs.is_empty() {
        let found = "none; try: the folder that holds a STEM.png for each picture STEM.jpg, or a labelling tool's file (edge-seg-export eval --help)";
        return Err(Error::file(labels.display().to_string(), "folder", "label pictures, STEM.png", found));
    }
    Ok(pairs)
}

/// Says how many pictures lie in folders below these, which are not read.
pub fn tell_passed_over(images: &Path, labels: &Path) {
    edge_seg_model::tell_passed_over(images);
    if !is_same(images, labels) {
        edge_seg_model::tell_passed_over(labels);
    }
}

/// Whether two paths lead to the same place.
pub(crate) fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.into());
    real(one) == real(other)
}

/// Pixels that CVAT and VOC leave out, where a label map does not name their colour.
const VOC_VOID: u32 = 0xe0_e0_c0;

/// Reads the label picture of a pair: a PNG of one channel of up to 16 bits or of a palette, whose indices are the labels; or for
/// [`Coding::Colours`], [`Coding::Mapped`] and [`Coding::Segments`] of 8-bit colours. For [`Coding::LabelMap`] it is no PNG but a MATLAB
/// file. With `frame_px` (width, height) labels of another size are refused before they are decoded; labels of stored pixels are turned
/// upright.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::File`] if it is no such file, has another size, or holds a segment or colour without a
/// category.
pub fn read_labels(pair: &Pair, frame_px: Option<(u32, u32)>) -> Result<LabelPicture> {
    let turn = if pair.stored { edge_seg_model::read_orientation(&pair.image)? } else { Orientation::NoTransforms };
    let check = |size: (u32, u32)| match frame_px {
        Some(frame_px) if swapped(size, turn) != frame_px => Err(wrong_size(pair, frame_px, size)),
        _ => Ok(()),
    };
    let path = pair.labels.as_path();
    if pair.coding == Coding::LabelMap {
        let found = mat::read(path, "LabelMap")?;
        check((found.width, found.height))?;
        return Ok(upright(found, turn));
    }
    if let Coding::Shapes(shapes, categories) = &pair.coding {
        let wrong = |found: String| Error::file(path.display().to_string(), &pair.stem, "masks of the picture", found);
        let (width, height) = shapes.size();
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(wrong(format!("{width}×{height} pixels, where at most {MAX_PIXELS} are read")));
        }
        check((width, height))?;
        return Ok(upright(shapes.draw(categories).map_err(wrong)?, turn));
    }
    let mut start = Vec::new();
    let mut file = Steady(std::fs::File::open(path).map_err(Error::io(path))?);
    file.by_ref().take(64).read_to_end(&mut start).and_then(|_| file.rewind()).map_err(Error::io(path))?;
    let coloured = matches!(pair.coding, Coding::Colours | Coding::Segments(_));
    let expected = if coloured { "a PNG of 8-bit colours" } else { "a PNG of one channel or a palette" };
    let wrong = |found: String| Error::file(path.display().to_string(), "file", expected, found);
    if !start.starts_with(b"\x89PNG") {
        return Err(wrong(edge_seg_model::describe_picture(&start).into()));
    }
    let mut decoder = png::Decoder::new(std::io::BufReader::new(file));
    let header = decoder.read_header_info().map_err(|e| wrong(e.to_string()))?;
    let ((width, height), colour) = ((header.width, header.height), header.color_type);
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(wrong(format!("{width}×{height} pixels, where at most {MAX_PIXELS} are read")));
    }
    check((width, height))?;
    let has_colours = matches!(colour, png::ColorType::Rgb | png::ColorType::Rgba);
    let coloured = coloured || (has_colours && matches!(pair.coding, Coding::Mapped(_)));
    decoder.set_transformations(if coloured { png::Transformations::EXPAND } else { png::Transformations::IDENTITY });
    let mut reader = decoder.read_info().map_err(|e| wrong(e.to_string()))?;
    let (color, depth) = reader.output_color_type();
    let fits = match (color, coloured) {
        (png::ColorType::Grayscale | png::ColorType::Indexed, false) => true,
        (png::ColorType::Rgb | png::ColorType::Rgba, true) => depth == png::BitDepth::Eight,
        _ => false,
    };
    if !fits {
        let advice = if has_colours {
            "; colours are read by labelmap.txt beside the folder, or by a class table with a column `colour`"
        } else {
            ""
        };
        return Err(wrong(format!("{color:?}, {depth:?} bits{advice}")));
    }
    let size = reader.output_buffer_size().ok_or_else(|| wrong("a size beyond memory".into()))?;
    let mut bytes = vec![0; size];
    let frame = reader.next_frame(&mut bytes).map_err(|e| wrong(e.to_string()))?;
    let lines = bytes.chunks_exact(frame.line_size).take(height as usize);
    let unknown = |expected: &str, found: String| Error::file(path.display().to_string(), "pixels", expected, found);
    let no_colour = |[r, g, b]: [u32; 3]| unknown("colours of the label map", format!("{r},{g},{b}; was it drawn with smooth edges?"));
    if !coloured {
        let mut values: Vec<u32> = lines.flat_map(|line| numbers(line, depth, width as usize)).collect();
        if let (Coding::Mapped(known), Some(palette)) = (&pair.coding, reader.info().palette.as_deref()) {
            by_palette(&mut values, palette, known).map_err(no_colour)?;
        }
        return Ok(upright(LabelPicture { width, height, values }, turn));
    }
    let channels = color.samples();
    let mut values = Vec::with_capacity(width as usize * height as usize);
    for pixel in lines.flat_map(|line| line.chunks_exact(channels)) {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
        values.push(match &pair.coding {
            Coding::Segments(categories) => match r | g << 8 | b << 16 {
                0 => 0,
                segment => *categories.get(&segment).ok_or_else(|| unknown("segments of the JSON file", segment.to_string()))?,
            },
            Coding::Mapped(known) => mapped([r, g, b], known).ok_or_else(|| no_colour([r, g, b]))?,
            _ => r << 16 | g << 8 | b,
        });
    }
    Ok(upright(LabelPicture { width, height, values }, turn))
}

/// What a colour stands for in a label map.
fn mapped([r, g, b]: [u32; 3], known: &HashMap<u32, u32>) -> Option<u32> {
    let colour = r << 16 | g << 8 | b;
    known.get(&colour).copied().or((colour == VOC_VOID).then_some(NOTHING))
}

/// Reads indices by their palette's colours where these contradict the label map: then something has put the palette into another order.
/// A palette that gives one colour to several of the indices in the picture tells nothing.
///
/// # Errors
/// A colour that the map does not know, in such a palette.
fn by_palette(values: &mut [u32], palette: &[u8], known: &HashMap<u32, u32>) -> Result<(), [u32; 3]> {
    let colour = |index: u32| palette.chunks_exact(3).nth(index as usize).map(|c| [c[0], c[1], c[2]].map(u32::from));
    let used: BTreeSet<u32> = values.iter().copied().collect();
    let Some(colours) = used.into_iter().map(|index| Some((index, colour(index)?))).collect::<Option<Vec<_>>>() else { return Ok(()) };
    let different: BTreeSet<_> = colours.iter().map(|(_, colour)| colour).collect();
    let contradicts = |(index, colour): &(u32, _)| mapped(*colour, known).is_some_and(|value| value != *index && value != NOTHING);
    if different.len() < colours.len() || !colours.iter().any(contradicts) {
        return Ok(());
    }
    let meanings = colours.into_iter().map(|(index, colour)| mapped(colour, known).map(|value| (index, value)).ok_or(colour));
    let meanings: HashMap<u32, u32> = meanings.collect::<Result<_, _>>()?;
    values.iter_mut().for_each(|value| *value = meanings[value]);
    Ok(())
}

/// What a size is when it is turned.
pub(super) fn swapped((width, height): (u32, u32), turn: Orientation) -> (u32, u32) {
    let sideways = [Orientation::Rotate90, Orientation::Rotate270, Orientation::Rotate90FlipH, Orientation::Rotate270FlipH];
    if sideways.contains(&turn) { (height, width) } else { (width, height) }
}

fn upright(labels: LabelPicture, turn: Orientation) -> LabelPicture {
    if turn == Orientation::NoTransforms {
        return labels;
    }
    let (wide, high) = (labels.width as usize, labels.height as usize);
    let (width, height) = swapped((labels.width, labels.height), turn);
    // Where a pixel of the upright labels lies in the stored ones.
    let at = |x: usize, y: usize| match turn {
        Orientation::NoTransforms => (x, y),
        Orientation::FlipHorizontal => (wide - 1 - x, y),
        Orientation::Rotate180 => (wide - 1 - x, high - 1 - y),
        Orientation::FlipVertical => (x, high - 1 - y),
        Orientation::Rotate90FlipH => (y, x),
        Orientation::Rotate90 => (y, high - 1 - x),
        Orientation::Rotate270FlipH => (wide - 1 - y, high - 1 - x),
        Orientation::Rotate270 => (wide - 1 - y, x),
    };
    let pixels = (0..height as usize).flat_map(|y| (0..width as usize).map(move |x| at(x, y)));
    LabelPicture { width, height, values: pixels.map(|(x, y)| labels.values[y * wide + x]).collect() }
}

fn wrong_size(pair: &Pair, frame_px: (u32, u32), found: (u32, u32)) -> Error {
    let turn = edge_seg_model::read_orientation(&pair.image).unwrap_or(Orientation::NoTransforms);
    let (stored, turned) = (swapped(frame_px, turn), turn != Orientation::NoTransforms);
    let why = match (pair.stored, turned && found == stored, turned && found == frame_px) {
        (false, true, _) => "; these are its stored pixels, before its EXIF orientation is applied: take --label-pixels stored",
        (true, _, true) => "; these are its upright pixels: leave --label-pixels stored away",
        _ => "",
    };
    let expected = format!("the picture's, {}×{}", frame_px.0, frame_px.1);
    Error::file(pair.labels.display().to_string(), "size", expected, format!("{}×{}{why}", found.0, found.1))
}

fn numbers(line: &[u8], depth: png::BitDepth, width: usize) -> Vec<u32> {
    match depth {
        png::BitDepth::Sixteen => line.chunks_exact(2).map(|b| u32::from(u16::from_be_bytes([b[0], b[1]]))).collect(),
        png::BitDepth::Eight => line.iter().map(|&b| u32::from(b)).collect(),
        _ => {
            let bits = depth as usize;
            let mask = (1u32 << bits) - 1;
            (0..width).map(|x| (u32::from(line[x * bits / 8]) >> (8 - bits - x * bits % 8)) & mask).collect()
        }
    }
}

/// A picture and its labels, in the terms of a view: `None` where a pixel counts for nothing. `[height, width]`
///
/// # Errors
/// That the picture is to be left out, if it or its labels cannot be read, as [`truth`] has it.
pub fn read_pair(pair: &Pair, view: &View) -> Result<(Frame, Vec<Option<u16>>), LeftOut> {
    let read = || {
        let frame = read_picture(&pair.image)?;
        let truth = truth(pair, view, frame.pixels.dimensions())?;
        Ok((frame, truth))
    };
    read().map_err(|why| LeftOut::new(&pair.stem, why))
}

/// A pair's labels, in the terms of a view: `None` where a pixel counts for nothing. `[height, width]`
///
/// # Errors
/// As [`read_labels`], and [`Error::File`] if a value has no meaning in the view, or the labels have not the size `frame_px` (width, height).
pub fn truth(pair: &Pair, view: &View, frame_px: (u32, u32)) -> Result<Vec<Option<u16>>> {
    let labels = read_labels(pair, Some(frame_px))?;
    let place = || pair.labels.display().to_string();
    let meaning =
        |value: &u32| view.label(*value).ok_or_else(|| Error::file(place(), "values", "values of the class table", value.to_string()));
    labels.values.iter().map(meaning).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_seg_model::image::{DynamicImage, ImageBuffer, Luma};

    #[test]
    fn labels_turn_as_pictures_do() {
        let values: Vec<u32> = (0..15).collect();
        let picture = ImageBuffer::<Luma<u16>, _>::from_fn(5, 3, |x, y| Luma([(y * 5 + x) as u16]));
        for turn in (1..=8).filter_map(Orientation::from_exif) {
            let mut expected = DynamicImage::ImageLuma16(picture.clone());
            expected.apply_orientation(turn);
            let found = upright(LabelPicture { width: 5, height: 3, values: values.clone() }, turn);
            assert_eq!((found.width, found.height), (expected.width(), expected.height()), "{turn:?}");
            assert_eq!(found.values, expected.to_luma16().iter().map(|v| u32::from(*v)).collect::<Vec<_>>(), "{turn:?}");
        }
    }

    #[test]
    fn a_palette_that_contradicts_the_label_map_is_read_by_its_colours() {
        let known = HashMap::from([(0, 0), (0xff_00_00, 1), (0x00_ff_00, 2)]);
        let read = |palette: &[u8]| {
            let mut values = vec![0, 1, 2, 1];
            by_palette(&mut values, palette, &known).map(|()| values)
        };
        let (black, red, green, grey) = ([0, 0, 0], [255, 0, 0], [0, 255, 0], [9, 9, 9]);
        for (palette, expected) in [
            ([black, red, green], Ok(vec![0, 1, 2, 1])),
            ([red, green, black], Ok(vec![1, 2, 0, 2])),
            // Of colours that the map does not know the indices are the labels.
            ([black, red, grey], Ok(vec![0, 1, 2, 1])),
            ([red, red, black], Ok(vec![0, 1, 2, 1])),
            ([green, red, grey], Err([9, 9, 9])),
        ] {
            assert_eq!(read(&palette.concat()), expected, "{palette:?}");
        }
        assert_eq!(read(&[0, 0, 0]), Ok(vec![0, 1, 2, 1]), "a palette that is too short");
    }

    #[test]
    fn labels_are_paired_with_the_other_picture_of_their_name() {
        let folder = tempfile::tempdir().unwrap();
        let (images, labels) = (folder.path().join("images"), folder.path().join("labels"));
        for path in ["images/a.jpg", "images/a.png", "images/b.png", "images/b.txt", "labels/b.png"] {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
        let found = |images: &Path, labels: &Path, only: &str| {
            let only = HashSet::from([only.to_owned()]);
            pairs(images, labels, Some(&only)).map(|mut pairs| {
                let pair = pairs.remove(0);
                [pair.image, pair.labels].map(|path| path.strip_prefix(folder.path()).unwrap().display().to_string())
            })
        };
        // Both in one folder, however it is written.
        for other in [images.clone(), images.join("../images")] {
            assert!(found(&images, &other, "a").unwrap()[0].ends_with("a.jpg"));
            assert!(found(&images, &other, "b").is_err(), "a picture is not its own label");
        }
        assert_eq!(found(&images, &labels, "b").unwrap(), ["images/b.png", "labels/b.png"]);
        // Roboflow's masks, beside photos of either ending.
        let set = folder.path().join("set");
        std::fs::create_dir(&set).unwrap();
        for name in ["c.jpg", "c_mask.png", "d.png", "d_mask.png", "_classes.csv"] {
            std::fs::write(set.join(name), b"").unwrap();
        }
        let masks = pairs(&set, &set, None).unwrap().into_iter().map(|pair| (pair.stem, pair.image, pair.labels));
        let expected = [("c", "c.jpg", "c_mask.png"), ("d", "d.png", "d_mask.png")];
        let expected = expected.map(|(stem, image, labels)| (stem.to_owned(), set.join(image), set.join(labels)));
        assert_eq!(masks.collect::<Vec<_>>(), expected);
        std::fs::write(labels.join("a.png"), b"").unwrap();
        let error = found(&images, &labels, "a").unwrap_err().to_string();
        assert!(error.contains("a.jpg") && error.contains("a.png") && error.contains("one picture"), "{error}");
    }
}
