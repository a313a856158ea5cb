//! A report in one file: tables, plots, and the best and worst pictures, for light and dark screens, with nothing from outside.

use std::collections::BTreeMap;
use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use edge_seg_model::LabelMap;
use edge_seg_model::render::{OverlayOptions, class_colour, draw_overlay};
use image::RgbImage;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{FilterType, resize};

use super::pictures::Pair;
use super::plot::{bars, escape, lines};
use super::published;
use super::segmentation::{PictureCounts, Protocol};
use super::summary::Summary;
use crate::{Error, Result};

/// Pictures that are shown of either end.
const SHOWN: usize = 4;
/// Longest side of a shown picture.
const SIDE_PX: u32 = 480;
const QUALITY: u8 = 82;

const STYLE: &str = include_str!("report.css");

/// The report of a run. Details are those of its best variant; the pictures of both ends, by their share of right pixels, are drawn again.
///
/// # Errors
/// As [`Protocol::draw`].
pub fn page(summary: &Summary, protocol: &Protocol, pairs: &[Pair], counts: &[PictureCounts]) -> Result<String> {
    let title = format!("{} on {}", summary.model, summary.view);
    let mut body = format!("<h1>{}</h1>", escape(&title));
    facts(&mut body, summary);
    runs(&mut body, summary);
    curves(&mut body, summary);
    by_class(&mut body, summary);
    confused(&mut body, summary);
    let best_run = summary.best();
    let mut ranked: Vec<(f64, &Pair)> = counts
        .iter()
        .filter(|c| !c.runs[best_run].is_empty())
        .filter_map(|c| Some((c.pixel_accuracy(best_run), pairs.iter().find(|p| p.stem == c.picture)?)))
        .collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.stem.cmp(&b.1.stem)));
    let worst = SHOWN.min(ranked.len().div_ceil(2));
    let best = SHOWN.min(ranked.len() - worst);
    for (title, of) in [("Worst pictures", &ranked[..worst]), ("Best pictures", &ranked[ranked.len() - best..])] {
        if !of.is_empty() {
            let _ = write!(body, "<h2>{title}</h2><p>By the share of right pixels; left the labels, right what was found.</p>");
        }
        for (accuracy, pair) in of {
            shown(&mut body, summary, protocol, pair, *accuracy)?;
        }
    }
    Ok(document(&title, &body))
}

/// A whole page around a body.
pub fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <link rel=\"icon\" href=\"data:,\"><title>{}</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n",
        escape(title)
    )
}

fn percent(value: Option<f64>) -> String {
    value.map_or("–".into(), |v| format!("{:.2}", 100.0 * v))
}

fn facts(body: &mut String, summary: &Summary) {
    let _ = write!(body, "<dl>");
    let digest: String = summary.digest.chars().take(16).collect();
    for (name, value) in [
        ("Model", format!("{} ({}), {digest}", summary.model, summary.variant)),
        ("Pictures", format!("{}, {} labelled pixels, {}", summary.told_pictures(), summary.runs[0].measures.labelled_px, summary.layout)),
        ("Classes", format!("{} in the labels, {} offered", summary.runs[0].measures.classes_present, summary.labels.len() - 1)),
        ("Protocol", summary.protocol.to_string()),
        ("Encoder", format!("{}, {:.1} ms a picture (median)", summary.backend, summary.encode_ms_median)),
    ] {
        let _ = write!(body, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
    }
    let _ = write!(body, "</dl>");
}

fn runs(body: &mut String, summary: &Summary) {
    let clip = summary.runs.iter().any(|r| r.flicker.is_some());
    let flicker = if clip { "<th>flicker</th>" } else { "" };
    let _ = write!(
        body,
        "<h2>Results</h2><p>Percent. mIoU is over the classes that the labels hold; “any” counts classes that are only found as 0.</p>\
         <table><tr><th>run</th><th>mIoU</th><th>any</th><th>pixels</th><th>mFPR</th><th>mFNR</th>{flicker}</tr>"
    );
    for run in &summary.runs {
        let m = &run.measures;
        let _ = write!(body, "<tr><td>{}</td>", escape(&run.run));
        for value in [m.miou, m.miou_any, m.pixel_accuracy, m.mfpr, m.mfnr] {
            let _ = write!(body, "<td>{}</td>", percent(value));
        }
        let _ = write!(body, "{}</tr>", if clip { format!("<td>{}</td>", percent(run.flicker)) } else { String::new() });
    }
    for halves in &summary.halves {
        let [a, b] = halves.chosen;
        let _ = write!(
            body,
            "<tr><td>{}; background {a} and {b}, each chosen on the other half of the pictures</td><td>{}</td><td></td><td>{}</td><td></td><td></td></tr>",
            escape(&halves.name),
            percent(halves.miou),
            percent(halves.pixel_accuracy)
        );
    }
    if let Some(column) = summary.published {
        for (name, figures) in published::SEGMENTATION {
            let set = published::SETS[column];
            let _ = write!(body, "<tr class=\"published\"><td>{name}, published, {set}</td><td>{:.1}</td></tr>", figures[column]);
        }
    }
    let _ = write!(body, "</table>");
    if summary.published.is_some() {
        let _ = write!(body, "<p>Published: Jo et al., ECCV 2024, on whole validation sets and by their own protocol.</p>");
    }
}

fn curves(body: &mut String, summary: &Summary) {
    let series: Vec<(String, Vec<(f64, f64)>)> =
        summary.halves.iter().map(|h| (h.name.clone(), h.curve.iter().filter_map(|(t, miou)| Some((*t, (*miou)?))).collect())).collect();
    if !series.is_empty() {
        let plot = lines("mIoU by background threshold", "background threshold", "mIoU, percent", &series);
        let _ = write!(body, "<h2>Background threshold</h2>{plot}");
    }
}

fn by_class(body: &mut String, summary: &Summary) {
    let run = &summary.runs[summary.best()];
    let mut rows: Vec<(String, f64)> =
        run.measures.per_class.iter().filter(|c| c.truth_px > 0).filter_map(|c| Some((summary.labels[c.label].clone(), c.iou?))).collect();
    rows.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let _ = write!(body, "<h2>IoU by class</h2><p>{}, percent.</p>{}", escape(&run.run), bars("IoU by class", &rows));
}

/// The pairs of classes that take most pixels from each other.
fn confused(body: &mut String, summary: &Summary) {
    let run = &summary.runs[summary.best()];
    let mut cells: Vec<(usize, usize, u64)> =
        run.table.cells().filter(|(t, p, _)| t != p && (summary.background_class || (*t > 0 && *p > 0))).collect();
    cells.sort_by_key(|(t, p, n)| (std::cmp::Reverse(*n), *t, *p));
    let _ = write!(body, "<h2>Most confused</h2><table><tr><th>is</th><th>found as</th><th>% of its pixels</th></tr>");
    for (truth, found, pixels) in cells.into_iter().take(12) {
        let all: u64 = (0..run.table.labels()).map(|p| run.table.count(truth, p)).sum();
        let _ = write!(
            body,
            "<tr><td>{}</td><td class=\"text\">{}</td><td>{:.1}</td></tr>",
            escape(&summary.labels[truth]),
            escape(&summary.labels[found]),
            100.0 * pixels as f64 / all as f64
        );
    }
    let _ = write!(body, "</table>");
}

fn shown(body: &mut String, summary: &Summary, protocol: &Protocol, pair: &Pair, accuracy: f64) -> Result<()> {
    let drawn = protocol.draw(pair)?;
    let predicted = &drawn.predicted[summary.best()];
    let picture = &drawn.frame.pixels;
    let truth: Vec<u16> = drawn.truth.iter().map(|t| t.unwrap_or(0)).collect();
    let mut areas: BTreeMap<u16, usize> = BTreeMap::new();
    truth.iter().chain(predicted).filter(|l| **l > 0).for_each(|l| *areas.entry(*l).or_default() += 1);
    let mut labels: Vec<(u16, usize)> = areas.into_iter().collect();
    labels.sort_by_key(|(label, area)| (std::cmp::Reverse(*area), *label));
    let legend: Vec<(u16, String)> =
        labels.into_iter().take(14).map(|(label, _)| (label, summary.labels[usize::from(label)].clone())).collect();
    figure(body, &format!("{} · {:.1} % right", pair.stem, 100.0 * accuracy), picture, [&truth, predicted], &legend)
}

/// A picture under its labels and under what was found, side by side. Maps are `[height, width]`; colours of labels without a name in the
/// legend stay unexplained.
pub(super) fn figure(body: &mut String, title: &str, picture: &RgbImage, maps: [&[u16]; 2], legend: &[(u16, String)]) -> Result<()> {
    let _ = write!(body, "<figure><figcaption>{}</figcaption><div class=\"pair\">", escape(title));
    for (what, map) in ["labels", "found"].into_iter().zip(maps) {
        let _ = write!(body, "<img alt=\"{what}\" src=\"{}\">", overlay(picture, map)?);
    }
    let _ = write!(body, "</div><p class=\"legend\">");
    for (label, name) in legend {
        let [r, g, b] = class_colour(usize::from(*label));
        let _ = write!(body, "<span><i style=\"background:rgb({r},{g},{b})\"></i>{}</span>", escape(name));
    }
    let _ = write!(body, "</p></figure>");
    Ok(())
}

/// A picture under its labels as a data URI. `labels` is `[height, width]`
fn overlay(picture: &RgbImage, labels: &[u16]) -> Result<String> {
    let (width, height) = picture.dimensions();
    let scale = (f64::from(SIDE_PX) / f64::from(width.max(height))).min(1.0);
    let side = |px: u32| ((f64::from(px) * scale).round() as u32).max(1);
    let (small_width, small_height) = (side(width), side(height));
    let pick = |i: u32, out: u32, whole: u32| ((f64::from(i) + 0.5) * f64::from(whole) / f64::from(out)) as usize;
    let picked = (0..small_height)
        .flat_map(|y| (0..small_width).map(move |x| (x, y)))
        .map(|(x, y)| labels[pick(y, small_height, height) * width as usize + pick(x, small_width, width)])
        .collect();
    let map = LabelMap { width: small_width, height: small_height, labels: picked };
    let small = resize(picture, small_width, small_height, FilterType::Triangle);
    let options = OverlayOptions::default().with_legend(false);
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(&mut bytes, QUALITY)
        .encode_image(&draw_overlay(&small, &map, &[], options))
        .map_err(|e| Error::file("report", "picture", "one that can be written as JPEG", e.to_string()))?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes)))
}
