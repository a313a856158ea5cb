//! Reports of the two tasks on captions, in one file each.

use std::fmt::Write;

use super::captions::{CaptionResult, Drawn, KINDS, PIXEL, PictureCaptions, TagMeasures, caption_measures, tag_measures};
use super::plot::{bars, escape, lines};
use super::published;
use super::report::{document, figure};
use crate::Result;

/// Captions that are listed of either end.
const LISTED: usize = 8;
/// Pictures that are shown of either end.
const SHOWN: usize = 4;

/// Draws a caption of a picture.
pub type Draw<'a> = &'a dyn Fn(&str, &CaptionResult) -> Result<Drawn>;

fn percent(value: Option<f64>) -> String {
    value.map_or("–".into(), |v| format!("{v:.1}"))
}

fn row(body: &mut String, class: &str, name: &str, cells: &[Option<f64>]) {
    let _ = write!(body, "<tr{class}><td>{}</td>", escape(name));
    for cell in cells {
        let _ = write!(body, "<td>{}</td>", percent(*cell));
    }
    let _ = write!(body, "</tr>");
}

/// The pictures of both ends, with one caption each, under what it tells of and what was found.
fn pictures(body: &mut String, mut ranked: Vec<(f64, &str, &CaptionResult)>, measure: &str, threshold: f32, draw: Draw) -> Result<()> {
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| (a.1, &a.2.caption).cmp(&(b.1, &b.2.caption))));
    let mut left: Vec<_> = Vec::new();
    for one in ranked {
        // Captions of one picture share its faults: each is shown once, by its worst.
        if left.iter().all(|(_, picture, _)| *picture != one.1) {
            left.push(one);
        }
    }
    let worst = SHOWN.min(left.len().div_ceil(2));
    let best = SHOWN.min(left.len() - worst);
    for (title, of) in [("Worst pictures", &left[..worst]), ("Best pictures", &left[left.len() - best..])] {
        if !of.is_empty() {
            let _ = write!(
                body,
                "<h2>{title}</h2><p>By {measure} of the picture's worst caption; left what it tells of, right the words that the pixel score chooses.</p>"
            );
        }
        for (value, picture, result) in of {
            let drawn = draw(picture, result)?;
            let name = |(k, word): (usize, &super::captions::Word)| {
                let wrong = if word.shown { "" } else { ", not shown" };
                (k as u16 + 1, format!("{} {:.2}{wrong}", word.word, word.scores[PIXEL]))
            };
            let legend: Vec<(u16, String)> = result.chosen(threshold).enumerate().map(name).collect();
            let lost: Vec<String> = result
                .words
                .iter()
                .filter(|word| word.shown && word.scores[PIXEL] < threshold)
                .map(|word| format!("{} {:.2}", word.word, word.scores[PIXEL]))
                .collect();
            let lost = if lost.is_empty() { String::new() } else { format!(" · overlooked: {}", lost.join(", ")) };
            let title = format!("{picture} · {:.1} % · “{}”{lost}", 100.0 * value, result.caption);
            figure(body, &title, &drawn.frame.pixels, [&drawn.told, &drawn.found], &legend)?;
        }
    }
    Ok(())
}

fn captions_of(results: &[PictureCaptions]) -> impl Iterator<Item = (&str, &CaptionResult)> {
    results.iter().flat_map(|picture| picture.captions.iter().map(|caption| (picture.picture.as_str(), caption)))
}

/// The report of `eval tags`: `rows` are the table's.
///
/// # Errors
/// What `draw` answers.
pub fn tags(results: &[PictureCaptions], rows: &[(&str, TagMeasures)], threshold: f32, draw: Draw) -> Result<String> {
    let all: Vec<&CaptionResult> = captions_of(results).map(|(_, caption)| caption).collect();
    let mut body = format!(
        "<h1>Which words does the picture show?</h1><p>{} captions, words chosen from {threshold}; percent.</p>\
         <table><tr><th>chosen by</th><th>precision</th><th>recall</th><th>F1</th><th>accuracy</th><th>mAP</th></tr>",
        all.len()
    );
    for (name, m) in rows {
        let cells = [m.precision, m.recall, m.f1, m.accuracy, m.average_precision].map(|v| v.map(|v| 100.0 * v));
        row(&mut body, "", name, &cells);
    }
    for (name, cells) in published::TAGS {
        row(&mut body, " class=\"published\"", &format!("{name}, published"), &cells);
    }
    let _ = write!(body, "</table><p>Published for CC3M-TagMask: Jo et al., ECCV 2024.</p><h2>Threshold</h2>");
    let curve = |kind: usize| -> Vec<(f64, f64)> {
        let pairs: Vec<(bool, f32)> = all.iter().flat_map(|r| r.words.iter().map(|w| (w.shown, w.scores[kind]))).collect();
        let f1 = |t: f32| tag_measures(&pairs, t).f1.unwrap_or(0.0);
        (1..50u8).map(|i| f32::from(i) / 50.0).map(|t| (f64::from(t), f1(t))).collect()
    };
    let series: Vec<_> = KINDS.iter().enumerate().map(|(k, (name, _))| (name.to_string(), curve(k))).collect();
    body += &lines("F1 by threshold", "threshold", "F1, percent", &series);
    let _ = write!(body, "<h2>Captions</h2><p>Words that are shown and their pixel score, then the highest of the others.</p><table>");
    for result in all.iter().step_by((all.len() / 20).max(1)).take(20) {
        let shown: Vec<String> = result.words.iter().filter(|w| w.shown).map(|w| format!("{} {:.2}", w.word, w.scores[PIXEL])).collect();
        let other = result.words.iter().filter(|w| !w.shown).max_by(|a, b| a.scores[PIXEL].total_cmp(&b.scores[PIXEL]));
        let other = other.map_or(String::new(), |w| format!("{} {:.2}", w.word, w.scores[PIXEL]));
        let _ = write!(
            body,
            "<tr><td>{}</td><td class=\"text\">{}</td><td class=\"text\">{}</td></tr>",
            escape(&result.caption),
            escape(&shown.join(", ")),
            escape(&other)
        );
    }
    body += "</table>";
    let f1 = |result: &CaptionResult| {
        let pairs: Vec<(bool, f32)> = result.words.iter().map(|w| (w.shown, w.scores[PIXEL])).collect();
        tag_measures(&pairs, threshold).f1.unwrap_or(0.0)
    };
    let telling = captions_of(results).filter(|(_, caption)| caption.words.iter().any(|w| w.shown));
    pictures(&mut body, telling.map(|(picture, caption)| (f1(caption), picture, caption)).collect(), "F1", threshold, draw)?;
    Ok(document("Tag selection", &body))
}

/// The report of `eval caption`.
///
/// # Errors
/// What `draw` answers.
pub fn captions(results: &[PictureCaptions], threshold: f32, draw: Draw) -> Result<String> {
    let mut body = format!(
        "<h1>Where are the things that a caption tells of?</h1><p>Words chosen from {threshold}; percent.</p>\
         <table><tr><th>chosen by</th><th>CaptionIoU</th><th>mFPR</th><th>mFNR</th><th>captions</th></tr>"
    );
    let mut shares = Vec::new();
    for (k, name) in KINDS.iter().map(|(name, _)| *name).chain(["all words"]).enumerate() {
        let pixels: Vec<[u64; 3]> = captions_of(results).filter_map(|(_, r)| r.pixels.map(|p| p[k])).collect();
        if let Some(m) = caption_measures(&pixels) {
            let [iou, fpr, fnr] = [m.caption_iou, m.mfpr, m.mfnr].map(|v| format!("{:.1}", 100.0 * v));
            let _ = write!(body, "<tr><td>{name}</td><td>{iou}</td><td>{fpr}</td><td>{fnr}</td><td>{}</td></tr>", m.captions);
            shares.push((name.to_string(), m.caption_iou));
        }
    }
    for (name, cells) in published::CAPTIONS {
        row(&mut body, " class=\"published\"", &format!("{name}, published"), &cells.map(Some));
    }
    let _ = write!(body, "</table><p>Published for CC3M-TagMask: Jo et al., ECCV 2024.</p>{}", bars("CaptionIoU", &shares));
    let iou = |[both, found, lost]: [u64; 3]| both as f64 / (both + found + lost).max(1) as f64;
    let mut ranked: Vec<(f64, &str, &CaptionResult)> =
        captions_of(results).filter_map(|(picture, r)| Some((iou(r.pixels?[PIXEL]), picture, r))).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.2.caption.cmp(&b.2.caption)));
    let ends =
        [("Worst captions", ranked.iter().take(LISTED).collect::<Vec<_>>()), ("Best captions", ranked.iter().rev().take(LISTED).collect())];
    for (title, of) in ends {
        let _ = write!(body, "<h2>{title}</h2><table><tr><th>caption</th><th>IoU, by pixel score</th></tr>");
        of.into_iter().for_each(|(iou, _, result)| row(&mut body, "", &result.caption, &[Some(100.0 * iou)]));
        let _ = write!(body, "</table>");
    }
    pictures(&mut body, ranked, "IoU", threshold, draw)?;
    Ok(document("Text-level masks", &body))
}
