//! Curves of logged values, as drawings that a page scales: paths in a square of 1000 by 1000, and the
//! ranges of its sides.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::output::number;

/// The side of the square in which paths are drawn.
const SIDE: f64 = 1000.0;
/// Maximum number of points of a path. Of more points, the least and the greatest of each stretch are kept,
/// so that no peak is lost.
const MOST_POINTS: usize = 800;
/// Maximum number of rows of the table with the values of the drawing.
const ROWS: usize = 12;
/// Minimum number of values for which the drawing opens on the central 98 %, if the rest are outliers.
const ENOUGH: usize = 50;

/// The group of names without a group.
const LOSSES: &str = "Losses";
/// Logged values that rise when losses fall, so that each needs a separate chart and heading.
const GAINS: [(&str, &str); 1] = [("reconstruction", "Reconstruction, log p(x | z): higher is better")];

/// A logged line: a step with its named values.
pub(crate) type Line = (u64, Map<String, Value>);

/// The values that were logged under one name: steps and values, `None` for a value that was not finite.
pub(crate) struct Curve {
    pub(crate) name: String,
    /// Number of its colour; there are eight.
    pub(crate) colour: usize,
    pub(crate) points: Vec<(u64, Option<f64>)>,
}

/// A drawing of several curves.
#[derive(Debug, Serialize)]
pub(crate) struct Chart {
    title: String,
    /// First and last step.
    steps: [f64; 2],
    /// Least and greatest value.
    values: [f64; 2],
    /// The part of the square to show first: left, top, width, height.
    window: [f64; 4],
    /// Where to label the sides of the window, in hundredths from the left and from the bottom.
    step_ticks: Vec<Tick>,
    value_ticks: Vec<Tick>,
    series: Vec<Series>,
    /// A description of the drawing in words.
    summary: String,
    /// Steps with the values of every series.
    table: Vec<Vec<String>>,
}

/// A number beside an axis.
#[derive(Debug, Serialize)]
pub(super) struct Tick {
    /// In hundredths of the axis.
    pub(super) at: f64,
    pub(super) label: String,
}

#[derive(Debug, Serialize)]
struct Series {
    name: String,
    colour: usize,
    /// Data of an SVG path.
    path: String,
    /// The same for points without neighbours, which are drawn as dots.
    dots: String,
}

/// The curves under each name, in the order in which names appear.
pub(crate) fn curves(lines: &[Line]) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for (step, values) in lines {
        for (name, value) in values {
            let point = (*step, value.as_f64().filter(|value| value.is_finite()));
            match curves.iter_mut().find(|curve| curve.name == *name) {
                Some(curve) => curve.points.push(point),
                None => curves.push(Curve { name: name.clone(), colour: 0, points: vec![point] }),
            }
        }
    }
    curves
}

/// Returns a chart for each group of names, the losses first. The part of a name before `/` is the group;
/// losses have none. A value that rises when losses fall gets a separate chart, because on the axis of the
/// losses it would look like one.
pub(crate) fn charts(lines: &[Line]) -> Vec<Chart> {
    let mut groups: Vec<(String, Vec<Curve>)> = Vec::new();
    for mut curve in curves(lines) {
        let gain = GAINS.iter().find(|(name, _)| *name == curve.name).map(|(_, heading)| *heading);
        let alone = (gain.unwrap_or(LOSSES), curve.name.as_str());
        let (group, name) = curve.name.split_once('/').unwrap_or(alone);
        let (group, name) = (titled(group), name.to_owned());
        curve.name = name;
        match groups.iter_mut().find(|(known, _)| *known == group) {
            Some((_, curves)) => {
                curve.colour = curves.len();
                curves.push(curve);
            }
            None => groups.push((group, vec![curve])),
        }
    }
    groups.sort_by_key(|(title, _)| title != LOSSES);
    groups.into_iter().filter_map(|(title, curves)| Chart::new(title, curves)).collect()
}

/// The heading of the curves of one name.
pub(crate) fn heading(name: &str) -> &str {
    GAINS.iter().find(|(gain, _)| *gain == name).map_or(name, |(_, heading)| *heading)
}

/// `grad_norm` as a heading.
fn titled(name: &str) -> String {
    let mut letters = name.chars();
    let first = letters.next().map(char::to_uppercase);
    first
        .into_iter()
        .flatten()
        .chain(letters)
        .map(|letter| if letter == '_' { ' ' } else { letter })
        .collect()
}

impl Chart {
    /// Returns None if there is nothing to draw.
    pub(crate) fn new(title: impl Into<String>, mut curves: Vec<Curve>) -> Option<Self> {
        curves.retain(|curve| curve.points.iter().any(|(_, value)| value.is_some()));
        let steps = curves.iter().flat_map(|curve| curve.points.iter().map(|(step, _)| *step as f64));
        let steps = range(steps)?;
        let known = |curve: &Curve| curve.points.iter().filter_map(|(_, value)| *value).collect::<Vec<_>>();
        let mut sorted: Vec<f64> = curves.iter().flat_map(known).collect();
        sorted.sort_by(f64::total_cmp);
        let values = range(sorted.iter().copied())?;
        let usual = usual(&sorted, values);
        let y = |value: f64| SIDE * (values[1] - value) / (values[1] - values[0]);
        let x = |step: u64| SIDE * (step as f64 - steps[0]) / (steps[1] - steps[0]);
        let window = [0.0, y(usual[1]), SIDE, y(usual[0]) - y(usual[1])];
        let series = curves.iter().map(|curve| {
            let (path, dots) = paths(&thinned(&curve.points), x, y);
            Series { name: curve.name.clone(), colour: curve.colour % 8, path, dots }
        });
        let words = curves.iter().filter_map(|curve| {
            let mut known = curve.points.iter().filter_map(|(step, value)| Some((step, (*value)?)));
            let (first, from) = known.next()?;
            Some(match known.next_back() {
                Some((last, to)) => {
                    format!(
                        "{} goes from {} at step {first} to {} at step {last}",
                        curve.name,
                        number(from),
                        number(to)
                    )
                }
                None => format!("{} is {} at step {first}", curve.name, number(from)),
            })
        });
        Some(Self {
            title: title.into(),
            steps,
            values,
            window,
            step_ticks: ticks(steps),
            value_ticks: ticks(usual),
            series: series.collect(),
            summary: words.collect::<Vec<_>>().join("; "),
            table: table(&curves),
        })
    }
}

/// The range from the least to the greatest value; never empty.
pub(super) fn range(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    let [low, high] = values
        .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| [low.min(value), high.max(value)]);
    if low > high {
        return None;
    }
    let margin = if high > low { 0.0 } else { 0.5 * low.abs().max(1.0) };
    Some([low - margin, high + margin])
}

/// The range of nearly all of the sorted values, if a few outliers would flatten the rest, else of all
/// values. Includes a margin.
fn usual(sorted: &[f64], values: [f64; 2]) -> [f64; 2] {
    let whole = values[1] - values[0];
    let rank = |share: f64| sorted[(share * (sorted.len() - 1) as f64).round() as usize];
    let (low, high) = (rank(0.01), rank(0.99));
    let [low, high] =
        if sorted.len() >= ENOUGH && high > low && 2.0 * (high - low) < whole { [low, high] } else { values };
    let margin = 0.05 * (high - low);
    [low - margin, high + margin]
}

/// About five round numbers in a range.
pub(super) fn ticks([low, high]: [f64; 2]) -> Vec<Tick> {
    let rough = (high - low) / 5.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough);
    let step = step.unwrap_or(10.0 * power);
    if !step.is_normal() {
        // The range is close to nothing, or wider than any number.
        return Vec::new();
    }
    let digits = (-step.log10().floor()).max(0.0) as usize;
    let count = ((high - low) / step) as usize + 1;
    let values = (0..=count).map(|i| ((low / step).ceil() + i as f64) * step).filter(|value| *value <= high);
    let tick = |value: f64| Tick {
        at: 100.0 * (value - low) / (high - low),
        label: format!("{:.digits$}", value + 0.0),
    };
    values.map(tick).collect()
}

/// Reduces points to as many as a screen can show; a gap stays a gap.
fn thinned(points: &[(u64, Option<f64>)]) -> Vec<(u64, Option<f64>)> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let mut kept = Vec::new();
    for stretch in points.chunks(points.len().div_ceil(MOST_POINTS / 2)) {
        let known = || stretch.iter().enumerate().filter_map(|(place, (_, value))| Some((place, (*value)?)));
        let places = [known().min_by(|a, b| a.1.total_cmp(&b.1)), known().max_by(|a, b| a.1.total_cmp(&b.1))];
        let gap = stretch.iter().position(|(_, value)| value.is_none());
        let mut places: Vec<usize> =
            places.into_iter().flatten().map(|(place, _)| place).chain(gap).collect();
        places.sort_unstable();
        places.dedup();
        kept.extend(places.into_iter().map(|place| stretch[place]));
    }
    kept
}

/// The path through all points, and a path of dots for points whose neighbours are gaps.
fn paths(points: &[(u64, Option<f64>)], x: impl Fn(u64) -> f64, y: impl Fn(f64) -> f64) -> (String, String) {
    let (mut path, mut dots) = (String::new(), String::new());
    for (place, &(step, value)) in points.iter().enumerate() {
        let Some(value) = value else { continue };
        let known = |place: usize| points.get(place).is_some_and(|(_, value)| value.is_some());
        let starts = place == 0 || !known(place - 1);
        // Writing to a string cannot fail.
        _ = write!(path, "{}{:.3} {:.3}", if starts { 'M' } else { 'L' }, x(step), y(value));
        if starts && !known(place + 1) {
            // A line of zero length, which round line caps turn into a dot.
            _ = write!(dots, "M{:.3} {:.3}h0", x(step), y(value));
        }
    }
    (path, dots)
}

/// A header, then one row for each of some steps, with the value of every curve there.
fn table(curves: &[Curve]) -> Vec<Vec<String>> {
    let mut steps: Vec<u64> =
        curves.iter().flat_map(|curve| curve.points.iter().map(|(step, _)| *step)).collect();
    steps.sort_unstable();
    steps.dedup();
    let count = steps.len().min(ROWS);
    let chosen =
        (0..count).map(|row| steps[if count < 2 { 0 } else { row * (steps.len() - 1) / (count - 1) }]);
    let header =
        std::iter::once("step".to_owned()).chain(curves.iter().map(|curve| curve.name.clone())).collect();
    let row = |step: u64| {
        let cell = |curve: &Curve| {
            let found = curve.points.iter().find(|(known, _)| *known == step);
            found.and_then(|(_, value)| *value).map_or_else(|| "–".to_owned(), number)
        };
        std::iter::once(step.to_string()).chain(curves.iter().map(cell)).collect()
    };
    std::iter::once(header).chain(chosen.map(row)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(name: &str, points: &[(u64, Option<f64>)]) -> Curve {
        Curve { name: name.into(), colour: 0, points: points.to_vec() }
    }

    #[test]
    fn a_path_goes_through_its_points_and_stops_at_gaps() {
        let points = [(10, Some(4.0)), (20, Some(2.0)), (30, None), (40, Some(0.0))];
        let chart = Chart::new("x", vec![curve("loss", &points)]).unwrap();
        assert_eq!(chart.series[0].path, "M0.000 0.000L333.333 500.000M1000.000 1000.000");
        assert_eq!(chart.series[0].dots, "M1000.000 1000.000h0");
        assert_eq!((chart.steps, chart.values), ([10.0, 40.0], [0.0, 4.0]));
        assert_eq!(chart.summary, "loss goes from 4.000 at step 10 to 0.000 at step 40");
        assert_eq!(chart.table[3], ["30", "–"]);
        assert!(Chart::new("x", vec![curve("loss", &[(1, None)])]).is_none());
    }

    #[test]
    fn one_point_is_drawn() {
        let chart = Chart::new("x", vec![curve("loss", &[(7, Some(3.0))])]).unwrap();
        assert_eq!(chart.series[0].dots, "M500.000 500.000h0");
        assert_eq!(chart.table.len(), 2);
    }

    #[test]
    fn values_that_no_training_logs_are_drawn_too() {
        for values in [[0.0, 5e-324], [-f64::MAX, f64::MAX], [f64::MAX, f64::MAX], [1e300, 1.000_000_1e300]] {
            let points = [(1, Some(values[0])), (u64::MAX, Some(values[1]))];
            assert!(Chart::new("x", vec![curve("loss", &points)]).is_some(), "{values:?}");
        }
    }

    #[test]
    fn outliers_do_not_press_the_rest_into_a_line() {
        let points: Vec<_> =
            (1..=200).map(|step| (step, Some(if step == 1 { 1e6 } else { step as f64 }))).collect();
        let chart = Chart::new("x", vec![curve("loss", &points)]).unwrap();
        // The window shows the lowest five thousandth of the values, and all values can still be reached.
        assert!(chart.window[3] < 1.0 && chart.values[1] == 1e6, "{:?}", chart.window);
        assert!(chart.value_ticks.iter().all(|tick| (0.0..=100.0).contains(&tick.at)));
        let labels: Vec<&str> = chart.value_ticks.iter().map(|tick| tick.label.as_str()).collect();
        assert_eq!(labels, ["0", "50", "100", "150", "200"]);
    }

    #[test]
    fn thinning_keeps_peaks_and_gaps() {
        let mut points: Vec<_> = (0..10_000).map(|step| (step, Some((step % 7) as f64))).collect();
        (points[5003].1, points[7000].1) = (Some(99.0), None);
        let kept = thinned(&points);
        assert!(kept.len() <= MOST_POINTS + 1, "{}", kept.len());
        assert!(kept.contains(&(5003, Some(99.0))) && kept.contains(&(7000, None)));
        assert!(kept.is_sorted_by_key(|(step, _)| *step));
    }

    #[test]
    fn groups_names_by_the_part_before_the_slash() {
        let line =
            serde_json::json!({"loss": 1.0, "kl": 2.0, "grad_norm/encoder": 3.0, "grad_norm/decoder": null});
        let lines = [(1, line.as_object().unwrap().clone())];
        let charts = charts(&lines);
        let titles: Vec<_> = charts.iter().map(|chart| (chart.title.as_str(), chart.series.len())).collect();
        assert_eq!(titles, [("Losses", 2), ("Grad norm", 1)]);
        let line = serde_json::json!({"loss": 120.0, "reconstruction": -100.0, "kl": 20.0});
        let charts = super::charts(&[(1, line.as_object().unwrap().clone())]);
        let shown: Vec<(&str, Vec<&str>)> = charts
            .iter()
            .map(|chart| {
                (chart.title.as_str(), chart.series.iter().map(|series| series.name.as_str()).collect())
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("Losses", vec!["loss", "kl"]),
                ("Reconstruction, log p(x | z): higher is better", vec!["reconstruction"]),
            ]
        );
        assert_eq!((heading("reconstruction"), heading("kl")), (GAINS[0].1, "kl"));
    }
}
