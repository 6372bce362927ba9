//! Curves of shares over counts as an SVG: a page of our own, as nothing else here draws.

use std::fmt::Write as _;

/// A curve: a count, doubled again and again, and a share of one.
pub(crate) struct Curve {
    name: &'static str,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Curve {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, points: Vec::new() }
    }
}

/// A plot.
pub(crate) struct Plot<'a> {
    pub(crate) title: &'a str,
    pub(crate) across: &'a str,
    pub(crate) curves: &'a [Curve],
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 360.0;
const LEFT: f64 = 48.0;
const TOP: f64 = 32.0;
/// Blue, orange, green of Okabe and Ito: told apart by all eyes.
const COLOURS: [&str; 3] = ["#0072b2", "#d55e00", "#009e73"];

impl Plot<'_> {
    pub(crate) fn svg(&self) -> String {
        let across = self.curves.iter().flat_map(|curve| &curve.points).map(|(x, _)| x.log2());
        let (low, high) = across.fold((f64::MAX, f64::MIN), |(low, high), x| (low.min(x), high.max(x)));
        let x = |count: f64| LEFT + (count.log2() - low) / (high - low).max(1.0) * (WIDTH - LEFT - 24.0);
        let y = |share: f64| TOP + (1.0 - share) * (HEIGHT - TOP - 48.0);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n",
            self.title
        );
        for step in 0..=5u8 {
            let share = f64::from(step) / 5.0;
            let (at, right) = (y(share), WIDTH - 24.0);
            let _ = writeln!(
                svg,
                "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#ddd\"/>\
                 <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>",
                LEFT - 6.0,
                at + 4.0,
                share * 100.0
            );
        }
        for (count, _) in self.curves.first().map_or(&[][..], |curve| &curve.points) {
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{count}</text>",
                x(*count),
                HEIGHT - 28.0
            );
        }
        let middle = WIDTH / 2.0;
        let _ = writeln!(
            svg,
            "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - 8.0,
            self.across
        );
        for ((at, curve), colour) in self.curves.iter().enumerate().zip(COLOURS) {
            let points: Vec<String> = curve
                .points
                .iter()
                .map(|(count, share)| format!("{:.1},{:.1}", x(*count), y(*share)))
                .collect();
            let legend = HEIGHT - 64.0 - 18.0 * f64::from(u8::try_from(at).unwrap_or(0));
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
                 <text x=\"{:.0}\" y=\"{legend}\" text-anchor=\"end\" fill=\"{colour}\">{}</text>",
                points.join(" "),
                WIDTH - 32.0,
                curve.name
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}
