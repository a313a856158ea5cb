//! Plots as SVG, in the colours of the page that holds them: text and axes in `currentColor`, marks in the class `mark`.

use std::fmt::Write;

/// Text as it may be in HTML and SVG.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Horizontal bars of shares in 0..1, one a row, with their values in percent.
pub fn bars(title: &str, rows: &[(String, f64)]) -> String {
    const LINE: usize = 20;
    const LEFT: f64 = 190.0;
    const WIDTH: f64 = 460.0;
    let height = rows.len() * LINE + 8;
    let mut svg =
        format!("<svg role=\"img\" aria-label=\"{}\" viewBox=\"0 0 720 {height}\" width=\"720\" height=\"{height}\">", escape(title));
    for tick in 0..=4 {
        let x = LEFT + WIDTH * f64::from(tick) / 4.0;
        let _ = write!(svg, "<line class=\"grid\" x1=\"{x}\" y1=\"0\" x2=\"{x}\" y2=\"{height}\"/>");
    }
    for (i, (name, share)) in rows.iter().enumerate() {
        let y = i * LINE + 4;
        let length = (share.clamp(0.0, 1.0) * WIDTH).max(1.0);
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect class=\"mark\" x=\"{LEFT}\" y=\"{y}\" width=\"{length:.1}\" height=\"14\" rx=\"2\"/>\
             <text x=\"{:.1}\" y=\"{}\">{:.1}</text>",
            LEFT - 8.0,
            y + 12,
            escape(name),
            LEFT + length + 6.0,
            y + 12,
            100.0 * share
        );
    }
    svg + "</svg>"
}

/// Lines: each a name and points (x in 0..1, y in 0..1), the highest point of each marked with its values.
pub fn lines(title: &str, x_name: &str, y_name: &str, series: &[(String, Vec<(f64, f64)>)]) -> String {
    const LEFT: f64 = 60.0;
    const TOP: f64 = 16.0;
    const WIDTH: f64 = 600.0;
    const HEIGHT: f64 = 240.0;
    let points = || series.iter().flat_map(|(_, points)| points);
    let (low, high) = points().fold((1.0f64, 0.0f64), |(low, high), p| (low.min(p.0), high.max(p.0)));
    let top = nice(points().fold(0.01, |top: f64, p| top.max(p.1)));
    let x = |value: f64| LEFT + WIDTH * if high > low { (value - low) / (high - low) } else { 0.5 };
    let y = |value: f64| TOP + HEIGHT * (1.0 - value / top);
    let height = TOP + HEIGHT + 48.0 + 18.0 * series.len() as f64;
    let mut svg =
        format!("<svg role=\"img\" aria-label=\"{}\" viewBox=\"0 0 720 {height}\" width=\"720\" height=\"{height}\">", escape(title));
    for tick in 0..=4 {
        let share = f64::from(tick) / 4.0;
        let (value, at) = (top * share, y(top * share));
        let _ = write!(svg, "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{}\" y2=\"{at:.1}\"/>", LEFT + WIDTH);
        let _ = write!(svg, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.1}</text>", LEFT - 8.0, at + 4.0, 100.0 * value);
        let value = low + (high - low) * share;
        let _ = write!(svg, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{value:.2}</text>", x(value), TOP + HEIGHT + 18.0);
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text><text x=\"{LEFT}\" y=\"11\">{}</text>",
        LEFT + WIDTH / 2.0,
        TOP + HEIGHT + 36.0,
        escape(x_name),
        escape(y_name)
    );
    for (i, (name, points)) in series.iter().enumerate() {
        let path: Vec<String> = points.iter().map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
        let _ = write!(svg, "<polyline class=\"line s{}\" points=\"{}\"/>", i % 6, path.join(" "));
        if let Some(best) = points.iter().max_by(|a, b| a.1.total_cmp(&b.1)) {
            let _ = write!(svg, "<circle class=\"dot s{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/>", i % 6, x(best.0), y(best.1));
            let line = TOP + HEIGHT + 58.0 + 18.0 * i as f64;
            let _ = write!(
                svg,
                "<circle class=\"dot s{}\" cx=\"{LEFT}\" cy=\"{:.1}\" r=\"4\"/><text x=\"{}\" y=\"{line:.1}\">{}: {:.1} at {:.2}</text>",
                i % 6,
                line - 4.0,
                LEFT + 10.0,
                escape(name),
                100.0 * best.1,
                best.0
            );
        }
    }
    svg + "</svg>"
}

/// The next of 1, 2, 2.5, 5 times a power of ten.
fn nice(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|n| *n >= value).unwrap_or(10.0 * power).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        for (value, end) in [(0.17, 0.2), (0.21, 0.25), (0.3, 0.5), (0.51, 1.0), (1.0, 1.0), (0.012, 0.02)] {
            assert!((nice(value) - end).abs() < 1e-12, "{value}: {}", nice(value));
        }
    }

    #[test]
    fn names_cannot_break_out() {
        let svg = bars("t", &[("<script>\"&".into(), 0.5)]);
        assert!(!svg.contains("<script>") && svg.contains("&lt;script&gt;&quot;&amp;"), "{svg}");
        assert!(lines("t", "x", "y", &[("a".into(), vec![(0.1, 0.2), (0.3, 0.1)])]).contains("20.0 at 0.10"));
    }
}
