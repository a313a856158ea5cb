//! Reports of the two tasks on captions, in one file each.

use std::fmt::Write;

use super::captions::{CaptionResult, KINDS, TagMeasures, caption_measures, tag_measures};
use super::plot::{bars, escape, lines};
use super::published;
use super::report::document;

/// Captions that are listed of either end.
const LISTED: usize = 8;

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

/// The report of `eval tags`: `rows` are the table's.
pub fn tags(results: &[CaptionResult], rows: &[(&str, TagMeasures)], threshold: f32) -> String {
    let mut body = format!(
        "<h1>Which words does the picture show?</h1><p>{} captions, words chosen from {threshold}; percent.</p>\
         <table><tr><th>chosen by</th><th>precision</th><th>recall</th><th>F1</th><th>accuracy</th><th>mAP</th></tr>",
        results.len()
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
        let pairs: Vec<(bool, f32)> = results.iter().flat_map(|r| r.words.iter().map(|w| (w.shown, w.scores[kind]))).collect();
        let f1 = |t: f32| tag_measures(&pairs, t).f1.unwrap_or(0.0);
        (1..50u8).map(|i| f32::from(i) / 50.0).map(|t| (f64::from(t), f1(t))).collect()
    };
    let series: Vec<_> = KINDS.iter().enumerate().map(|(k, (name, _))| (name.to_string(), curve(k))).collect();
    body += &lines("F1 by threshold", "threshold", "F1, percent", &series);
    let _ = write!(body, "<h2>Captions</h2><p>Words that are shown and their pixel score, then the highest of the others.</p><table>");
    let pixel = KINDS.len() - 1;
    for result in results.iter().step_by((results.len() / 20).max(1)).take(20) {
        let shown: Vec<String> = result.words.iter().filter(|w| w.shown).map(|w| format!("{} {:.2}", w.word, w.scores[pixel])).collect();
        let other = result.words.iter().filter(|w| !w.shown).max_by(|a, b| a.scores[pixel].total_cmp(&b.scores[pixel]));
        let other = other.map_or(String::new(), |w| format!("{} {:.2}", w.word, w.scores[pixel]));
        let _ = write!(
            body,
            "<tr><td>{}</td><td class=\"text\">{}</td><td class=\"text\">{}</td></tr>",
            escape(&result.caption),
            escape(&shown.join(", ")),
            escape(&other)
        );
    }
    document("Tag selection", &(body + "</table>"))
}

/// The report of `eval caption`.
pub fn captions(results: &[CaptionResult], threshold: f32) -> String {
    let mut body = format!(
        "<h1>Where are the things that a caption tells of?</h1><p>Words chosen from {threshold}; percent.</p>\
         <table><tr><th>chosen by</th><th>CaptionIoU</th><th>mFPR</th><th>mFNR</th><th>captions</th></tr>"
    );
    let mut shares = Vec::new();
    for (k, name) in KINDS.iter().map(|(name, _)| *name).chain(["all words"]).enumerate() {
        let pixels: Vec<[u64; 3]> = results.iter().filter_map(|r| r.pixels.map(|p| p[k])).collect();
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
    let pixel = KINDS.len() - 1;
    let iou = |[both, found, lost]: [u64; 3]| both as f64 / (both + found + lost).max(1) as f64;
    let mut ranked: Vec<(f64, &str)> = results.iter().filter_map(|r| Some((iou(r.pixels?[pixel]), r.caption.as_str()))).collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(b.1)));
    let ends =
        [("Worst captions", ranked.iter().take(LISTED).collect::<Vec<_>>()), ("Best captions", ranked.iter().rev().take(LISTED).collect())];
    for (title, of) in ends {
        let _ = write!(body, "<h2>{title}</h2><table><tr><th>caption</th><th>IoU, by pixel score</th></tr>");
        of.into_iter().for_each(|(iou, caption)| row(&mut body, "", caption, &[Some(100.0 * iou)]));
        let _ = write!(body, "</table>");
    }
    document("Text-level masks", &body)
}
