//! What a variant of a model loses against its float weights: mIoU, the direction of its embeddings, and where in the network it happens.

use std::borrow::Cow;
use std::path::Path;

use edge_seg_bundle::Bundle;
use edge_seg_bundle::{self as bundle, Manifest};
use edge_seg_model::{Background, Options, Session};
use rayon::prelude::*;
use serde::Serialize;

use super::classes::View;
use super::left_out::{LeftOut, split_left_out, unless_all};
use super::metric::Confusion;
use super::pictures::{Pair, read_pair};
use crate::bundle::{Release, write};
use crate::checkpoint::Model;
use crate::onnx::{Storage, TapPoint, with_layers};
use crate::{Error, Result};

/// How far directions lie apart, over patches: cosines between the float's and the variant's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Cosines {
    /// Their mean.
    pub mean: f64,
    /// The smallest.
    pub worst: f64,
    /// Rows compared.
    pub rows: u64,
}

/// Sums of cosines, to be merged.
#[derive(Debug, Clone, Copy)]
struct CosineSum {
    sum: f64,
    worst: f64,
    rows: u64,
}

/// A layer's cosines.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerLoss {
    /// The value's name in the graph: the stream after a block, or `patches`.
    pub layer: String,
    /// Between the float's and the variant's.
    #[serde(flatten)]
    pub cosines: Cosines,
}

/// What one variant loses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Loss {
    /// The variant, as its manifest names it.
    pub variant: String,
    /// Its size.
    pub bytes: usize,
    /// Its mIoU.
    pub miou: Option<f64>,
    /// Its mIoU less the float's.
    pub miou_difference: Option<f64>,
    /// Share of all pixels that it labels otherwise than the float.
    pub changed_share: f64,
    /// Of the patch embeddings.
    pub patches: Cosines,
    /// Of the classes' words.
    pub words: Cosines,
    /// Layer by layer, over the first pictures.
    pub layers: Vec<LayerLoss>,
}

impl CosineSum {
    const NONE: Self = Self { sum: 0.0, worst: 1.0, rows: 0 };

    fn add(&mut self, a: &[f32], b: &[f32]) {
        let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let norms = (dot(a, a) * dot(b, b)).sqrt();
        // Two zero rows have the same direction as much as any.
        let cosine = if norms > 0.0 { dot(a, b) / norms } else { f64::from(u8::from(dot(a, a) == dot(b, b))) };
        self.sum += cosine;
        self.worst = self.worst.min(cosine);
        self.rows += 1;
    }

    fn merge(self, other: Self) -> Self {
        Self { sum: self.sum + other.sum, worst: self.worst.min(other.worst), rows: self.rows + other.rows }
    }

    fn cosines(self) -> Cosines {
        Cosines { mean: self.sum / self.rows.max(1) as f64, worst: self.worst, rows: self.rows }
    }
}

/// A bundle made of a model folder, in memory alone.
///
/// # Errors
/// As [`write()`].
pub fn bundle_of(model: &Model, storage: Storage) -> Result<Bundle> {
    let scratch = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
    let path = scratch.path().join("model.esb");
    write(&path, model, storage, &Release::default())?;
    Ok(Bundle::open(&path)?)
}

/// How variants are compared.
#[derive(Debug, Clone)]
pub struct Way {
    /// What belongs to no class.
    pub background: Background,
    /// How many pictures, from the first, are compared layer by layer as well.
    pub layer_pictures: usize,
    /// Of every session.
    pub options: Options,
}

/// Measures what each of `variants` loses against `float`, on the same pictures, by the model's own scores. The first answer is the float's
/// mIoU, the last the pictures that are left out, since they or their labels cannot be read.
///
/// # Errors
/// As [`Session::segment`]; the first picture's if none can be read; [`Error::Option`] if a variant is of another architecture.
pub fn measure(
    float: &Bundle,
    variants: &[Bundle],
    view: &View,
    pairs: &[Pair],
    way: &Way,
    done: impl Fn() + Sync,
) -> Result<(Option<f64>, Vec<Loss>, Vec<LeftOut>)> {
    let Way { background, layer_pictures, ref options } = *way;
    let session = |bundle: &Bundle| Ok(Session::new(bundle.clone(), options)?);
    let reference = session(float)?;
    let others = variants.iter().map(session).collect::<Result<Vec<_>>>()?;
    for other in variants {
        let shape = |m: &Manifest| (m.embedding_dim, m.image.patch_px, m.image.input_px, m.image.positions.width);
        if shape(other.manifest()) != shape(float.manifest()) {
            return Err(Error::Option {
                option: "variants".into(),
                expected: "the float model's architecture and input".into(),
                found: other.place().into(),
            });
        }
    }
    let banks = [&reference].into_iter().chain(&others).map(|s| Ok(s.word_bank(&view.classes, &[])?)).collect::<Result<Vec<_>>>()?;
    let words: Vec<CosineSum> = banks[1..]
        .iter()
        .map(|bank| {
            let mut sum = CosineSum::NONE;
            (0..bank.words().rows()).for_each(|row| sum.add(banks[0].words().row(row), bank.words().row(row)));
            sum
        })
        .collect();

    struct Picture<'a> {
        pair: &'a Pair,
        tables: Vec<Confusion>,
        changed: Vec<(u64, u64)>,
        cosines: Vec<CosineSum>,
    }
    let pictures: Vec<Result<Picture, LeftOut>> = pairs
        .par_iter()
        .map(|pair| {
            let (frame, truth) = match read_pair(pair, view) {
                Ok(read) => read,
                Err(left_out) => {
                    done();
                    return Ok(Err(left_out));
                }
            };
            let encoded = reference.encode(&frame)?;
            let drawn = reference.masks(&frame, &encoded, &banks[0], background)?.labels.labels;
            let table = |found: &[u16]| {
                let mut table = Confusion::new(view.classes.len());
                truth.iter().zip(found).for_each(|(t, f)| {
                    if let Some(t) = t {
                        table.add(usize::from(*t), usize::from(*f), 1);
                    }
                });
                table
            };
            let mut picture = Picture { pair, tables: vec![table(&drawn)], changed: Vec::new(), cosines: Vec::new() };
            for (other, bank) in others.iter().zip(&banks[1..]) {
                let seen = other.encode(&frame)?;
                let found = other.masks(&frame, &seen, bank, background)?.labels.labels;
                picture.tables.push(table(&found));
                picture.changed.push((drawn.iter().zip(&found).filter(|(a, b)| a != b).count() as u64, drawn.len() as u64));
                let mut sum = CosineSum::NONE;
                (0..seen.grid.patches().rows()).for_each(|row| sum.add(encoded.grid.patches().row(row), seen.grid.patches().row(row)));
                picture.cosines.push(sum);
            }
            done();
            Ok(Ok(picture))
        })
        .collect::<Result<_>>()?;
    let (pictures, left_out) = split_left_out(pictures);
    let left_out = unless_all(&pictures, left_out)?;

    let miou = |at: usize| {
        let mut whole = Confusion::new(view.classes.len());
        pictures.iter().for_each(|p| whole.merge(&p.tables[at]));
        whole.measures(view.background).miou
    };
    let own = miou(0);
    let looked_into: Vec<&Pair> = pictures.iter().take(layer_pictures).map(|picture| picture.pair).collect();
    let layers = layers(float, variants, &looked_into, options)?;
    let loss = |(i, layers): (usize, Vec<LayerLoss>)| {
        let miou = miou(i + 1);
        let (changed, all) = pictures.iter().fold((0, 0), |(c, n), p| (c + p.changed[i].0, n + p.changed[i].1));
        Loss {
            variant: variants[i].manifest().variant.clone(),
            bytes: variants[i].size_bytes(),
            miou,
            miou_difference: miou.zip(own).map(|(a, b)| a - b),
            changed_share: changed as f64 / all.max(1) as f64,
            patches: pictures.iter().fold(CosineSum::NONE, |sum, p| sum.merge(p.cosines[i])).cosines(),
            words: words[i].cosines(),
            layers,
        }
    };
    Ok((own, layers.into_iter().enumerate().map(loss).collect(), left_out))
}

/// For each variant, each layer's cosines with the float's.
fn layers(float: &Bundle, variants: &[Bundle], pairs: &[&Pair], options: &Options) -> Result<Vec<Vec<LayerLoss>>> {
    if pairs.is_empty() {
        return Ok(vec![Vec::new(); variants.len()]);
    }
    let (reference, points) = tapped(float, options)?;
    let others = variants.iter().map(|bundle| Ok(tapped(bundle, options)?.0)).collect::<Result<Vec<_>>>()?;
    let mut sums = vec![vec![CosineSum::NONE; points.len()]; variants.len()];
    for pair in pairs {
        let frame = edge_seg_model::read_picture(&pair.image)?;
        let float = reference.encode(&frame)?;
        for (other, sums) in others.iter().zip(&mut sums) {
            let seen = other.encode(&frame)?;
            for row in 0..seen.grid.patches().rows() {
                let (a, b) = (float.grid.patches().row(row), seen.grid.patches().row(row));
                let mut start = 0;
                for (point, sum) in points.iter().zip(sums.iter_mut()) {
                    sum.add(&a[start..start + point.width], &b[start..start + point.width]);
                    start += point.width;
                }
            }
        }
    }
    let loss = |(point, sum): (&TapPoint, CosineSum)| LayerLoss { layer: point.name.clone(), cosines: sum.cosines() };
    Ok(sums.into_iter().map(|sums| points.iter().zip(sums).map(loss).collect()).collect())
}

/// A session whose patch embeddings are those of every layer, side by side.
fn tapped(bundle: &Bundle, options: &Options) -> Result<(Session, Vec<TapPoint>)> {
    let manifest = bundle.manifest();
    let place = format!("{}: {}", bundle.place(), manifest.image.blob);
    let (image, points) = with_layers(&place, &bundle.blob(&manifest.image.blob)?, manifest.image.positions.width, manifest.embedding_dim)?;
    let blobs = manifest
        .blobs
        .iter()
        .map(|blob| {
            Ok((blob.name.as_str(), if blob.name == manifest.image.blob { image.as_slice().into() } else { bundle.blob(&blob.name)? }))
        })
        .collect::<Result<Vec<(_, Cow<[u8]>)>>>()?;
    let blobs: Vec<_> = blobs.iter().map(|(name, bytes)| (*name, &**bytes)).collect();
    let embedding_dim = points.iter().map(|p| p.width).sum();
    let scratch = tempfile::tempdir().map_err(Error::io(std::env::temp_dir()))?;
    let path = scratch.path().join("layers.esb");
    let mut manifest = manifest.clone();
    (manifest.embedding_dim, manifest.blobs) = (embedding_dim, Vec::new());
    bundle::write(&path, manifest, &blobs)?;
    Ok((Session::new(Bundle::open(&path)?, options)?, points))
}

/// A model folder or a bundle, as the float reference.
///
/// # Errors
/// As [`Model::read`] or [`Bundle::open`].
pub fn float_of(path: &Path) -> Result<Bundle> {
    if path.is_dir() { bundle_of(&Model::read(path)?, Storage::F32) } else { Ok(Bundle::open(path)?) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_do_not_depend_on_length() {
        let mut sum = CosineSum::NONE;
        sum.add(&[3.0, 4.0], &[6.0, 8.0]);
        sum.add(&[1.0, 0.0], &[0.0, 5.0]);
        sum.add(&[0.0, 0.0], &[0.0, 0.0]);
        let found = sum.cosines();
        assert!((found.mean - 2.0 / 3.0).abs() < 1e-12 && found.worst.abs() < 1e-12 && found.rows == 3, "{found:?}");
    }
}
