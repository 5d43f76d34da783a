//! Time lines of the last hour, as SVG.

use std::fmt::Write;

use maud::{Markup, html};

use super::samples::POINTS;

const WIDTH: f64 = 240.0;
const HEIGHT: f64 = 56.0;

/// One line of a chart.
pub(super) struct Line {
    pub(super) name: &'static str,
    /// Oldest first; `None`: nothing is known of that time.
    pub(super) points: Vec<Option<f64>>,
}

/// A chart with its scale. `id` is unique on the page; `axis` is
/// where it begins and ends; `format` writes a value.
pub(super) fn chart(
    id: &str,
    title: &str,
    description: &str,
    lines: &[Line],
    axis: [&str; 2],
    format: fn(f64) -> String,
) -> Markup {
    let values = || lines.iter().flat_map(|line| line.points.iter().flatten());
    let top = values().copied().fold(0.0, f64::max);
    let scale = if top > 0.0 { top } else { 1.0 };
    html! {
        div.chart {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img"
                aria-labelledby={ (id) "-title " (id) "-text" } {
                title id={ (id) "-title" } { (title) }
                desc id={ (id) "-text" } { (description) }
                line.grid x1="0" y1="0.5" x2=(WIDTH) y2="0.5" {}
                line.grid x1="0" y1=(HEIGHT / 2.0) x2=(WIDTH) y2=(HEIGHT / 2.0) {}
                line.base x1="0" y1=(HEIGHT - 0.5) x2=(WIDTH) y2=(HEIGHT - 0.5) {}
                @for (n, line) in lines.iter().enumerate() {
                    @if n == 0 { path class="area" d=(area(&line.points, scale)) {} }
                    path class={ "line line-" (n + 1) } d=(path(&line.points, scale)) {}
                }
            }
            div.axis aria-hidden="true" { span { (axis[0]) } span { "↑ " (format(top)) } span { (axis[1]) } }
        }
    }
}

/// The names of the lines, where there are several.
pub(super) fn legend(lines: &[Line]) -> Markup {
    html! {
        @if lines.len() > 1 {
            @for (n, line) in lines.iter().enumerate() {
                span class={ "legend legend-" (n + 1) } { (line.name) }
            }
        }
    }
}

/// The known points in runs, each as one polyline.
fn path(points: &[Option<f64>], scale: f64) -> String {
    let mut out = String::new();
    let mut is_open = false;
    for (n, point) in points.iter().enumerate() {
        match point {
            Some(value) => {
                let command = if is_open { 'L' } else { 'M' };
                // A point alone is a dot: the line cap draws it.
                let dot = if is_open { "" } else { "h0" };
                // Writing to memory cannot fail.
                let _ = write!(out, "{command}{:.1} {:.1}{dot}", x(n), y(*value, scale));
                is_open = true;
            }
            None => is_open = false,
        }
    }
    out
}

/// What is below the line.
fn area(points: &[Option<f64>], scale: f64) -> String {
    let mut out = String::new();
    let mut last = None;
    for (n, point) in points.iter().enumerate() {
        match (point, last) {
            (Some(value), None) => {
                let _ = write!(out, "M{:.1} {HEIGHT}V{:.1}", x(n), y(*value, scale));
                last = Some(n);
            }
            (Some(value), Some(_)) => {
                let _ = write!(out, "L{:.1} {:.1}", x(n), y(*value, scale));
                last = Some(n);
            }
            (None, Some(_)) => {
                let _ = write!(out, "V{HEIGHT}Z");
                last = None;
            }
            (None, None) => {}
        }
    }
    if last.is_some() {
        let _ = write!(out, "V{HEIGHT}Z");
    }
    out
}

fn x(point: usize) -> f64 {
    // Few enough to be exact.
    #[expect(clippy::cast_precision_loss)]
    let share = point as f64 / (POINTS - 1) as f64;
    share * WIDTH
}

fn y(value: f64, scale: f64) -> f64 {
    // Room for the width of the line at both ends.
    (HEIGHT - 2.0) * (1.0 - value / scale) + 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_gap_where_nothing_is_known() {
        let mut points = vec![None; POINTS];
        assert_eq!(
            (path(&points, 1.0), area(&points, 1.0)),
            (String::new(), String::new())
        );
        (points[0], points[1], points[119]) = (Some(1.0), Some(0.0), Some(0.5));
        assert_eq!(path(&points, 1.0), "M0.0 1.0h0L2.0 55.0M240.0 28.0h0");
        assert_eq!(
            area(&points, 1.0),
            "M0.0 56V1.0L2.0 55.0V56ZM240.0 56V28.0V56Z"
        );
    }
}
