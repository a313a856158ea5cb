use std::io::{Result, Write};

use edge_seg_export::eval::published;
use edge_seg_export::eval::summary::Summary;

pub fn percent(x: Option<f64>) -> String {
    x.map_or("-".into(), |x| format!("{:.2}", 100.0 * x))
}

pub fn segmentation(out: &mut impl Write, summary: &Summary) -> Result<()> {
    writeln!(out, "model      {} ({})", summary.model, summary.variant)?;
    writeln!(out, "protocol   {}", summary.protocol)?;
    writeln!(out, "pictures   {}, {} labelled pixels, {}", summary.told_pictures(), summary.runs[0].measures.labelled_px, summary.layout)?;
    writeln!(out, "view       {}, {} classes in the labels", summary.view, summary.runs[0].measures.classes_present)?;
    writeln!(out, "encoder    {:.1} ms a picture (median)\n", summary.encode_ms_median)?;
    let clip = summary.runs[0].flicker.is_some();
    let width = summary.runs.iter().map(|r| r.run.chars().count()).max().unwrap_or(0).max(20);
    let flicker = if clip { " flicker" } else { "" };
    writeln!(out, "{:<width$} {:>7} {:>7} {:>7} {:>7} {:>7}{flicker}", "percent", "mIoU", "any", "pixels", "mFPR", "mFNR")?;
    for run in &summary.runs {
        let m = &run.measures;
        let cells = [m.miou, m.miou_any, m.pixel_accuracy, m.mfpr, m.mfnr].map(percent);
        write!(out, "{:<width$} {:>7} {:>7} {:>7} {:>7} {:>7}", run.run, cells[0], cells[1], cells[2], cells[3], cells[4])?;
        writeln!(out, "{}", if clip { format!(" {:>7}", percent(run.flicker)) } else { String::new() })?;
    }
    for halves in &summary.halves {
        let [first, second] = halves.chosen;
        let name = format!("{}; background {first} and {second}, each from the other half", halves.name);
        writeln!(out, "{name:<width$} {:>7} {:>7} {:>7}", percent(halves.miou), "", percent(halves.pixel_accuracy))?;
    }
    if let Some(column) = summary.published {
        writeln!(out, "\n{:<width$} {:>7}", format!("published, {}", published::SETS[column]), "mIoU")?;
        for (name, figures) in published::SEGMENTATION {
            writeln!(out, "{name:<width$} {:>7.1}", figures[column])?;
        }
        writeln!(out, "(Jo et al. 2024, on the whole validation set, by their protocol)")?;
    }
    let run = &summary.runs[summary.best()];
    writeln!(out, "\nby class, {}", run.run)?;
    writeln!(out, "{:<28} {:>7} {:>7} {:>7} {:>12} {:>12}", "class", "IoU", "FPR", "FNR", "true px", "found px")?;
    for class in run.measures.per_class.iter().filter(|c| c.iou.is_some()) {
        let shares = [class.iou, class.fpr, class.fnr].map(percent);
        let name = &summary.labels[class.label];
        writeln!(out, "{name:<28} {:>7} {:>7} {:>7} {:>12} {:>12}", shares[0], shares[1], shares[2], class.truth_px, class.predicted_px)?;
    }
    Ok(())
}
