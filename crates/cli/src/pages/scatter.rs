//! Points of two values with a line through them, as drawings of 320 by 220, and the curves of quality and
//! diversity that are drawn so.

use std::fmt::Write;

use serde::Serialize;
use waxwork_eval::text::temperatures::{CURVES, at};
use waxwork_eval::{Metric, Report};

use super::curves::{range, ticks};
use crate::output::number;

/// The sides of the area between the axes: from left to right, and from bottom to top.
const ACROSS: [f64; 2] = [44.0, 308.0];
const UP: [f64; 2] = [184.0, 12.0];
/// The part of an axis before the least and after the greatest value.
const MARGIN: f64 = 0.08;

/// A drawing of points of two values.
#[derive(Debug, Serialize)]
pub(crate) struct Scatter {
    /// The names of the values.
    across: String,
    up: String,
    points: Vec<Dot>,
    /// The point of real data.
    real: Option<Dot>,
    /// Data of an SVG path through all points.
    path: String,
    across_ticks: Vec<Mark>,
    up_ticks: Vec<Mark>,
    /// A description of the drawing in words.
    summary: String,
}

#[derive(Debug, Serialize)]
struct Dot {
    x: String,
    y: String,
    label: String,
}

#[derive(Debug, Serialize)]
struct Mark {
    at: String,
    label: String,
}

impl Scatter {
    /// A drawing of labelled points, in the order of the line. Returns None if there are none, or a value is
    /// not finite.
    fn new(names: [&str; 2], points: &[(String, [f64; 2])], real: Option<[f64; 2]>) -> Option<Self> {
        let axis = |place: usize| -> Option<[f64; 2]> {
            let values = points.iter().map(|(_, values)| values).chain(&real).map(|values| values[place]);
            let [low, high] = range(values)?;
            let margin = MARGIN * (high - low);
            let sides = [low - margin, high + margin];
            (!points.is_empty() && sides.iter().all(|side| side.is_finite())).then_some(sides)
        };
        let sides = [axis(0)?, axis(1)?];
        let along = |place: usize, area: [f64; 2], value: f64| {
            let [low, high] = sides[place];
            format!("{:.1}", area[0] + (area[1] - area[0]) * (value - low) / (high - low))
        };
        let dot = |label: &str, [across, up]: [f64; 2]| Dot {
            x: along(0, ACROSS, across),
            y: along(1, UP, up),
            label: label.to_owned(),
        };
        let dots: Vec<Dot> = points.iter().map(|(label, values)| dot(label, *values)).collect();
        let mut path = String::new();
        for (place, Dot { x, y, .. }) in dots.iter().enumerate() {
            // Writing to a string cannot fail.
            _ = write!(path, "{}{x} {y}", if place == 0 { 'M' } else { 'L' });
        }
        let marks = |place: usize, area: [f64; 2]| -> Vec<Mark> {
            let at = |share: f64| format!("{:.1}", area[0] + (area[1] - area[0]) * share / 100.0);
            let found = ticks(sides[place]).into_iter();
            found.map(|tick| Mark { at: at(tick.at), label: tick.label }).collect()
        };
        let word = |label: &str, [across, up]: [f64; 2]| {
            format!("{label}: {} {}, {} {}", names[0], number(across), names[1], number(up))
        };
        let words = points.iter().map(|(label, values)| word(label, *values));
        let words = words.chain(real.map(|values| word("real data", values)));
        Some(Self {
            across: names[0].to_owned(),
            up: names[1].to_owned(),
            summary: words.collect::<Vec<_>>().join("; "),
            real: real.map(|values| dot("real data", values)),
            points: dots,
            path,
            across_ticks: marks(0, ACROSS),
            up_ticks: marks(1, UP),
        })
    }
}

/// One drawing for each quality metric that a report contains at several temperatures, plotted against a
/// diversity metric at the same temperatures.
pub(crate) fn of_temperatures(report: &Report) -> Vec<Scatter> {
    let asked = report.metrics.iter().filter_map(|metric| metric.protocol.get("temperature")?.parse().ok());
    let mut temperatures: Vec<f64> = asked.collect();
    temperatures.sort_by(f64::total_cmp);
    temperatures.dedup();
    let find = |name: &str, temperature: f64| -> Option<&Metric> {
        let name = at(name, temperature);
        report.metrics.iter().find(|metric| metric.name == name)
    };
    let of = |[quality, diversity]: [&str; 2]| {
        let mut points = Vec::new();
        let mut real = None;
        for &temperature in &temperatures {
            let Some((good, diverse)) = find(quality, temperature).zip(find(diversity, temperature)) else {
                continue;
            };
            points.push((temperature.to_string(), [good.value, diverse.value]));
            real = good.floor.zip(diverse.floor).map(|(good, diverse)| [good, diverse]);
        }
        Scatter::new([quality, diversity], &points, real)
    };
    CURVES.into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use waxwork_eval::Protocol;
    use waxwork_eval::text::temperatures::DIVERSITY;

    use super::*;

    fn report(metrics: Vec<Metric>) -> Report {
        Report {
            version: "1".into(),
            subject: "runs/a".into(),
            training_seed: None,
            sample_seed: None,
            metrics,
        }
    }

    #[test]
    fn temperatures_become_points_in_their_order() {
        let mut metrics = vec![Metric::new("self_bleu_4", 0.3, &Protocol::new())];
        for (temperature, score, diversity) in [(1.0, 2.0, 0.4), (0.5, 1.0, 0.8)] {
            let protocol = Protocol::from([("temperature".to_owned(), temperature.to_string())]);
            metrics.push(Metric::new(at("lm_score", temperature), score, &protocol).floor(1.5));
            metrics.push(Metric::new(at(DIVERSITY, temperature), diversity, &protocol).floor(0.6));
        }
        let drawn = of_temperatures(&report(metrics));
        assert_eq!(drawn.len(), 1);
        let [scatter] = &drawn[..] else { panic!("{drawn:?}") };
        assert_eq!((scatter.across.as_str(), scatter.up.as_str()), ("lm_score", "self_bleu_4"));
        let labels: Vec<&str> = scatter.points.iter().map(|dot| dot.label.as_str()).collect();
        assert_eq!(labels, ["0.5", "1"]);
        // A lower score is further left, and a greater self-BLEU further up, where y is smaller.
        let x = |dot: &Dot| dot.x.parse::<f64>().unwrap();
        let y = |dot: &Dot| dot.y.parse::<f64>().unwrap();
        let [cold, warm] = &scatter.points[..] else { panic!("{scatter:?}") };
        assert!(x(cold) < x(warm) && y(cold) < y(warm));
        // Real data is in the middle of both.
        let real = scatter.real.as_ref().unwrap();
        assert!((x(real) - 0.5 * (x(cold) + x(warm))).abs() < 0.2, "{scatter:?}");
        assert!((y(real) - 0.5 * (y(cold) + y(warm))).abs() < 0.2, "{scatter:?}");
        assert_eq!(scatter.path, format!("M{} {}L{} {}", cold.x, cold.y, warm.x, warm.y));
        assert!(scatter.summary.starts_with("0.5: lm_score 1.000"), "{}", scatter.summary);
    }

    #[test]
    fn two_likelihoods_form_the_curve_of_the_oracle() {
        let mut metrics = Vec::new();
        for (temperature, oracle, test) in [(0.5, 7.0, 9.0), (1.0, 9.0, 7.6)] {
            let protocol = Protocol::from([("temperature".to_owned(), temperature.to_string())]);
            metrics.push(Metric::new(at("nll_oracle", temperature), oracle, &protocol).floor(5.9));
            metrics.push(Metric::new(at("nll_test", temperature), test, &protocol).floor(5.9));
        }
        let drawn = of_temperatures(&report(metrics));
        let [scatter] = &drawn[..] else { panic!("{drawn:?}") };
        assert_eq!((scatter.across.as_str(), scatter.up.as_str()), ("nll_oracle", "nll_test"));
        assert_eq!((scatter.points.len(), scatter.real.is_some()), (2, true));
    }

    #[test]
    fn nothing_is_drawn_without_temperatures() {
        let metrics = ["self_bleu_4", "lm_score"].map(|name| Metric::new(name, 0.5, &Protocol::new()));
        assert!(of_temperatures(&report(metrics.into())).is_empty());
    }
}
