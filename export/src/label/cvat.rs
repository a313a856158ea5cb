//! CVAT's own format, "CVAT for images 1.1": one XML file with masks or polygons, picture by picture.

use std::fmt::Write;

use super::PictureLabels;
use super::formats::{CocoMasks, file_name, outline, voc_colour};
use crate::Result;

/// The annotations of some pictures, their names as the task in CVAT must have them.
///
/// Exact masks are run lengths inside their boxes: row by row, zeros first.
///
/// # Errors
/// [`crate::Error::File`] if a region's run lengths do not fit its picture.
pub fn cvat(pictures: &[PictureLabels], classes: &[String], masks: CocoMasks) -> Result<String> {
    let mut xml =
        String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<annotations>\n  <version>1.1</version>\n  <meta>\n    <task>\n");
    let _ = write!(
        xml,
        "      <name>edge-seg</name>\n      <size>{}</size>\n      <mode>annotation</mode>\n      <overlap>0</overlap>\n      <labels>\n",
        pictures.len()
    );
    for (i, class) in classes.iter().enumerate() {
        let [r, g, b] = voc_colour(i + 1);
        let name = escape(class);
        let _ = writeln!(xml, "        <label><name>{name}</name><color>#{r:02x}{g:02x}{b:02x}</color><attributes></attributes></label>");
    }
    xml += "      </labels>\n    </task>\n  </meta>\n";
    for (id, picture) in pictures.iter().enumerate() {
        let name = escape(&file_name(picture));
        let _ = writeln!(xml, "  <image id=\"{id}\" name=\"{name}\" width=\"{}\" height=\"{}\">", picture.width, picture.height);
        for region in &picture.regions {
            let mask = region.mask(picture)?;
            let label = escape(&region.class);
            let common = format!("label=\"{label}\" source=\"auto\" occluded=\"0\"");
            match masks {
                CocoMasks::Rle => {
                    let [left, top, width, height] = mask.bounds_px();
                    let rle = mask.rows_rle().iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
                    let _ = writeln!(
                        xml,
                        "    <mask {common} rle=\"{rle}\" left=\"{left}\" top=\"{top}\" width=\"{width}\" height=\"{height}\" z_order=\"0\"></mask>"
                    );
                }
                CocoMasks::Polygon => {
                    let points: Vec<String> = outline(picture, region)?.iter().map(|[x, y]| format!("{x:.2},{y:.2}")).collect();
                    let _ = writeln!(xml, "    <polygon {common} points=\"{}\" z_order=\"0\"></polygon>", points.join(";"));
                }
            }
        }
        xml += "  </image>\n";
    }
    Ok(xml + "</annotations>\n")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::Region;
    use edge_seg_model::region::regions;

    #[test]
    fn masks_are_runs_of_their_boxes() {
        // 5 × 3: a ring open to the right.
        let labels: Vec<u16> = [0, 1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0].to_vec();
        let (_, mask) = regions(&labels, 5, 1).remove(0);
        assert_eq!(mask.rows_rle(), [0, 4, 2, 3]);
        let region =
            Region { class: "a \"<b>\"".into(), score: 0.5, counts: mask.counts(5, 3), bounds_px: mask.bounds_px(), area_px: mask.area() };
        let picture = PictureLabels { file: "x/p & q.jpg".into(), width: 5, height: 3, regions: vec![region] };
        let xml = cvat(std::slice::from_ref(&picture), &["a \"<b>\"".into()], CocoMasks::Rle).unwrap();
        for part in [
            "<image id=\"0\" name=\"p &amp; q.jpg\"",
            "label=\"a &quot;&lt;b&gt;&quot;\"",
            "rle=\"0, 4, 2, 3\" left=\"1\" top=\"0\" width=\"3\" height=\"3\"",
        ] {
            assert!(xml.contains(part), "{part}: {xml}");
        }
        let xml = cvat(&[picture], &["a \"<b>\"".into()], CocoMasks::Polygon).unwrap();
        assert!(xml.contains("<polygon") && xml.contains("1.50,0.10"), "{xml}");
    }
}
