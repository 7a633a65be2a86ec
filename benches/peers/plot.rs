//! `docs/performance.svg`: every figure with a bound, each proxy beside the best peer. Drawn by hand: no library, no font but the
//! reader's own, readable on a light and on a dark page.

use std::fmt::Write as _;

use lab::stats::median;

use crate::{
    contestant::Contestant,
    figure::{Book, Figure},
};

const SHOWN: [Contestant; 4] = [Contestant::Mainstay, Contestant::Haproxy, Contestant::Nginx, Contestant::Envoy];
/// Where the bars begin and how far apart 0 and 1 are.
const LEFT: f64 = 330.0;
const ONE: f64 = 170.0;
/// Longer bars are cut and say so.
const LONGEST: f64 = 3.0;
const BAR: f64 = 11.0;
const GROUP: f64 = 4.0 * BAR + 14.0;
const TOP: f64 = 58.0;
const WIDTH: f64 = LEFT + LONGEST * ONE + 70.0;

const STYLE: &str = "\
<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328; }
.small { font-size: 10px; }
.mainstay { fill: #0969da; } .haproxy { fill: #6e7781; } .nginx { fill: #8c959f; } .envoy { fill: #afb8c1; }
.one { stroke: #cf222e; stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3; }
.mainstay { fill: #58a6ff; } .haproxy { fill: #8b949e; } .nginx { fill: #6e7681; } .envoy { fill: #484f58; }
.one { stroke: #ff7b72; }
}
</style>
";

/// The whole picture.
pub(crate) fn svg(books: &[Book]) -> String {
    let figures = || books.iter().flat_map(|book| book.figures.iter().map(move |figure| (book, figure)));
    let groups: Vec<_> = figures().filter(|(book, figure)| book.verdict(figure).is_some()).collect();
    let height = TOP + GROUP * groups.len() as f64 + 10.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH:.0} {height:.0}\" width=\"{WIDTH:.0}\" \
         height=\"{height:.0}\" role=\"img\">\n<title>mainstay beside its peers</title>\n{STYLE}"
    );
    legend(&mut out, height);
    for (place, (book, figure)) in groups.into_iter().enumerate() {
        group(&mut out, book, figure, TOP + GROUP * place as f64);
    }
    out + "</svg>\n"
}

fn legend(out: &mut String, height: f64) {
    for (place, contestant) in SHOWN.into_iter().enumerate() {
        let (x, name) = (10.0 + 85.0 * place as f64, contestant.name());
        let _ = writeln!(out, "<rect class=\"{name}\" x=\"{x}\" y=\"10\" width=\"10\" height=\"10\"/>");
        let _ = writeln!(out, "<text x=\"{}\" y=\"19\">{name}</text>", x + 15.0);
    }
    let line = LEFT + ONE;
    let _ = writeln!(
        out,
        "<text x=\"10\" y=\"42\">Median ÷ median of the best peer; shorter is better unless a row says otherwise.</text>"
    );
    let _ = writeln!(out, "<text class=\"small\" x=\"{line}\" y=\"{}\" text-anchor=\"middle\">best peer</text>", TOP - 4.0);
    let _ = writeln!(out, "<line class=\"one\" x1=\"{line}\" x2=\"{line}\" y1=\"{TOP}\" y2=\"{}\"/>", height - 10.0);
}

fn group(out: &mut String, book: &Book, figure: &Figure, y: f64) {
    let Some(verdict) = book.verdict(figure) else { return };
    let _ = writeln!(out, "<text x=\"10\" y=\"{}\">{}</text>", y + 22.0, book.name);
    let longer = if figure.bound().contains('≥') { " (longer is better)" } else { "" };
    let _ = writeln!(out, "<text class=\"small\" x=\"10\" y=\"{}\">{}{longer}, {}</text>", y + 36.0, figure.what, figure.bound());
    for (place, contestant) in SHOWN.into_iter().enumerate() {
        let Some(ratio) = median(&book.compared(figure, contestant)).map(|middle| middle / verdict.best) else { continue };
        let top = y + 4.0 + BAR * place as f64;
        let width = ratio.clamp(0.0, LONGEST) * ONE;
        let name = contestant.name();
        let _ = writeln!(
            out,
            "<rect class=\"{name}\" x=\"{LEFT}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{:.1}\"><title>{name} {ratio:.2}</title></rect>",
            BAR - 1.5
        );
        let cut = if ratio > LONGEST { " (cut)" } else { "" };
        let _ =
            writeln!(out, "<text class=\"small\" x=\"{:.1}\" y=\"{:.1}\">{ratio:.2}{cut}</text>", LEFT + width + 4.0, top + 8.5);
    }
}
