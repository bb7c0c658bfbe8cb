//! How exactly clips of `motions` move: the track of the shape's centre is compared with the nearest track of
//! the class, whose formula is known.

use std::f64::consts::TAU;

use waxwork_data::embedded::{
    Artist, MOTION_FRAMES, MOTION_GROWTHS, MOTION_ORBITS, MOTION_SIDE, MOTION_SIZES, MOTION_SPEEDS,
    MOTION_TURNS, Motion, MotionArtist,
};
use waxwork_data::{Dataset, Split};

use super::each;
use crate::Result;
use crate::report::{Metric, Protocol};

/// Number of classes.
const CLASSES: u32 = 10;
/// Values below this count as background, 0 to 1.
const DARK: f64 = 0.15;
/// A frame with less mass than this, in pixels, shows no shape.
const FAINT: f64 = 4.0;
/// Angular speeds that are tried for a circle.
const TURNS: usize = 81;

/// What a clip shows: per frame, the centre (column, row) in pixels and the size in pixels, each continued
/// across the ends of its range.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    centres: Vec<[f64; 2]>,
    /// The logarithm of the size, up to a constant, times the middle of the range of sizes.
    sizes: Vec<f64>,
}

/// The distance of a track from the nearest one of a class, as root mean squares over frames in pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Misfit {
    /// Of the centres.
    pub centre: f64,
    /// Of the sizes.
    pub size: f64,
}

impl Misfit {
    fn total(self) -> f64 {
        self.centre.powi(2) + self.size.powi(2)
    }
}

/// True if a data set's clips are motions.
pub fn are_motions(data: &Dataset) -> bool {
    data.info.name == MotionArtist::NAME && data.info.kind == MotionArtist::kind()
}

/// Measures where the shape is in each frame of a clip of `motions`, as stored. None if a frame shows no shape.
///
/// The centre is the phase of the first Fourier coefficient of the brightness along columns and rows, which
/// wrap around.
pub fn track(clip: &[u8]) -> Option<Track> {
    let plane = MOTION_SIDE * MOTION_SIDE;
    let side = MOTION_SIDE as f64;
    let (mut centres, mut sizes) = (Vec::new(), Vec::new());
    for frame in clip.chunks_exact(3 * plane) {
        let (mut mass, mut along, mut down) = (0.0, [0.0; 2], [0.0; 2]);
        for place in 0..plane {
            let brightest = (0..3).map(|channel| frame[channel * plane + place]).max().unwrap_or(0);
            let value = f64::from(brightest) / 255.0;
            if value < DARK {
                continue;
            }
            mass += value;
            for (sum, at) in [(&mut along, place % MOTION_SIDE), (&mut down, place / MOTION_SIDE)] {
                let turn = TAU * at as f64 / side;
                sum[0] += value * libm::cos(turn);
                sum[1] += value * libm::sin(turn);
            }
        }
        if mass < FAINT {
            return None;
        }
        centres.push([along, down].map(|[cos, sin]| libm::atan2(sin, cos) / TAU * side));
        sizes.push(middle() * 0.5 * libm::log(mass));
    }
    if centres.len() != MOTION_FRAMES {
        return None;
    }
    for axis in 0..2 {
        let mut values: Vec<f64> = centres.iter().map(|centre| centre[axis]).collect();
        continue_across(&mut values, side);
        centres.iter_mut().zip(values).for_each(|(centre, value)| centre[axis] = value);
    }
    continue_across(&mut sizes, period());
    Some(Track { centres, sizes })
}

/// The middle of the range of sizes, pixels.
fn middle() -> f64 {
    0.5 * f64::from(MOTION_SIZES[0] + MOTION_SIZES[1])
}

/// The length of the range of sizes on the scale of [`Track`], after which sizes start again.
fn period() -> f64 {
    middle() * libm::log(f64::from(MOTION_SIZES[1]) / f64::from(MOTION_SIZES[0]))
}

/// Adds multiples of `period`, so that no value is further than half of it from the one before.
fn continue_across(values: &mut [f64], period: f64) {
    for place in 1..values.len() {
        let turns = ((values[place - 1] - values[place]) / period).round();
        values[place] += turns * period;
    }
}

impl Track {
    /// The distance from the nearest track of a class, within the class's ranges of speeds and radii.
    pub fn misfit(&self, class: u32) -> Misfit {
        let still = |values: &[f64]| line(values, [0.0, 0.0]);
        let along = |axis: usize| self.centres.iter().map(|centre| centre[axis]).collect::<Vec<f64>>();
        let wide = |[low, high]: [f32; 2]| [f64::from(low), f64::from(high)];
        let (centre, size) = match Motion::of_class(class) {
            Motion::Line(right, down) => {
                let (right, down) = (f64::from(right), f64::from(down));
                let turned =
                    |a: f64, b: f64| self.centres.iter().map(|[x, y]| a * x + b * y).collect::<Vec<_>>();
                let way = line(&turned(right, down), wide(MOTION_SPEEDS));
                (way + still(&turned(-down, right)), still(&self.sizes))
            }
            Motion::Circle(sense) => (self.circle(f64::from(sense)), still(&self.sizes)),
            Motion::Growth(sense) => {
                let [low, high] = wide(MOTION_GROWTHS).map(|rate| f64::from(sense) * rate * period());
                (still(&along(0)) + still(&along(1)), line(&self.sizes, [low.min(high), low.max(high)]))
            }
        };
        Misfit { centre: centre.sqrt(), size: size.sqrt() }
    }

    /// The mean squared distance from the nearest circle: p(t) = c + w exp(iωt). For each ω, the best w is that
    /// of least squares; the best one with a radius within bounds has the same angle.
    fn circle(&self, sense: f64) -> f64 {
        let count = self.centres.len() as f64;
        let mean = |axis: usize| self.centres.iter().map(|centre| centre[axis]).sum::<f64>() / count;
        let middle = [mean(0), mean(1)];
        let [slow, fast] = MOTION_TURNS.map(f64::from);
        let tried = (0..TURNS).map(|step| {
            let turn = sense * (slow + (fast - slow) * step as f64 / (TURNS - 1) as f64);
            let mut waves: Vec<[f64; 2]> = (0..self.centres.len())
                .map(|time| [libm::cos(turn * time as f64), libm::sin(turn * time as f64)])
                .collect();
            let centre = [0, 1].map(|axis| waves.iter().map(|wave| wave[axis]).sum::<f64>() / count);
            waves.iter_mut().for_each(|wave| *wave = [wave[0] - centre[0], wave[1] - centre[1]]);
            let (mut weight, mut power) = ([0.0; 2], 0.0);
            for (wave, at) in waves.iter().zip(&self.centres) {
                let [x, y] = [at[0] - middle[0], at[1] - middle[1]];
                weight[0] += wave[0] * x + wave[1] * y;
                weight[1] += wave[0] * y - wave[1] * x;
                power += wave[0] * wave[0] + wave[1] * wave[1];
            }
            let weight = weight.map(|part| part / power);
            let radius = libm::hypot(weight[0], weight[1]);
            let [least, most] = MOTION_ORBITS.map(f64::from);
            let scale = if radius > 0.0 { radius.clamp(least, most) / radius } else { 0.0 };
            let [re, im] = weight.map(|part| part * scale);
            let square = |(wave, at): (&[f64; 2], &[f64; 2])| {
                let x = at[0] - middle[0] - (re * wave[0] - im * wave[1]);
                let y = at[1] - middle[1] - (re * wave[1] + im * wave[0]);
                x * x + y * y
            };
            waves.iter().zip(&self.centres).map(square).sum::<f64>() / count
        });
        tried.fold(f64::INFINITY, f64::min)
    }

    /// The distance from standing still.
    fn still(&self) -> Misfit {
        let along = |axis: usize| self.centres.iter().map(|centre| centre[axis]).collect::<Vec<f64>>();
        let still = |values: &[f64]| line(values, [0.0, 0.0]);
        Misfit { centre: (still(&along(0)) + still(&along(1))).sqrt(), size: still(&self.sizes).sqrt() }
    }

    /// False if the shape stands still: a constant place and size is nearer than the tracks of all classes.
    /// For lines and sizes, that means less than half the slowest rate.
    pub fn moves(&self) -> bool {
        self.still().total() > self.misfit(self.nearest()).total()
    }

    /// The class whose tracks are nearest.
    pub fn nearest(&self) -> u32 {
        let misfits = (0..CLASSES).map(|class| (class, self.misfit(class).total()));
        misfits.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(class, _)| class)
    }
}

/// The mean squared distance of values, one per frame, from the nearest straight line with a slope in
/// `slopes`.
fn line(values: &[f64], [low, high]: [f64; 2]) -> f64 {
    let count = values.len() as f64;
    let (time, mean) = (0.5 * (count - 1.0), values.iter().sum::<f64>() / count);
    let (mut both, mut own) = (0.0, 0.0);
    for (place, value) in values.iter().enumerate() {
        both += (place as f64 - time) * (value - mean);
        own += (place as f64 - time).powi(2);
    }
    let slope = (both / own).clamp(low, high);
    let away = |(place, value): (usize, &f64)| (value - mean - slope * (place as f64 - time)).powi(2);
    values.iter().enumerate().map(away).sum::<f64>() / count
}

/// The metrics of clips that a model of `motions` made, next to those of real clips: `motion_rms`,
/// `motion_rms_median` and `motion_size_rms` in pixels, `motion_agreement`, and `motion_lost`. Without
/// labels, a clip is compared with the tracks of the nearest class. A clip that stands still is lost.
/// Otherwise its centre would follow the tracks of the classes that only change their size, without any
/// error.
pub(super) fn metrics(
    made: &Split,
    conditional: bool,
    real: &Split,
    protocol: &Protocol,
) -> Result<Vec<Metric>> {
    let of_made = Measured::of(made, conditional)?;
    let of_real = Measured::of(real, conditional)?;
    let mut protocol = protocol.clone();
    let against = if conditional { "requested" } else { "nearest" };
    protocol.insert(
        "track".into(),
        format!("of the shape's centre, against the tracks of the {against} class; a shape that stands still has none"),
    );
    let metric = |name: &str, value: f64, floor: f64| Metric::new(name, value, &protocol).floor(floor);
    let mut metrics = vec![metric("motion_lost", of_made.lost, of_real.lost).lower()];
    if conditional {
        metrics.push(metric("motion_agreement", of_made.agreement, of_real.agreement).higher());
    }
    if let (Some(made), Some(real)) = (&of_made.sums, &of_real.sums) {
        metrics.push(metric("motion_rms", made.rms, real.rms).lower());
        metrics.push(metric("motion_rms_median", made.median, real.median).lower());
        metrics.push(metric("motion_size_rms", made.size_rms, real.size_rms).lower());
    }
    Ok(metrics)
}

struct Measured {
    /// Share of clips that have a frame without a shape, or whose shape stands still.
    lost: f64,
    /// Share of all clips that move as asked; a lost clip does not.
    agreement: f64,
    /// None if all are lost.
    sums: Option<Sums>,
}

struct Sums {
    rms: f64,
    median: f64,
    size_rms: f64,
}

impl Measured {
    fn of(split: &Split, conditional: bool) -> Result<Self> {
        let labels = split.labels().filter(|_| conditional);
        let tracks = each(split, |clip, _| track(clip))?;
        let all = tracks.len().max(1) as f64;
        let mut found = Vec::new();
        for (place, track) in tracks.iter().enumerate() {
            let Some(track) = track.as_ref().filter(|track| track.moves()) else { continue };
            let nearest = track.nearest();
            let asked = labels.as_ref().and_then(|labels| labels.get(place).copied()).unwrap_or(nearest);
            found.push((track.misfit(asked), asked == nearest));
        }
        let count = found.len() as f64;
        let mean = |value: &dyn Fn(&(Misfit, bool)) -> f64| found.iter().map(value).sum::<f64>() / count;
        let mut centres: Vec<f64> = found.iter().map(|(misfit, _)| misfit.centre).collect();
        centres.sort_by(f64::total_cmp);
        let sums = centres.get(centres.len() / 2).map(|&median| Sums {
            rms: mean(&|(misfit, _)| misfit.centre.powi(2)).sqrt(),
            median,
            size_rms: mean(&|(misfit, _)| misfit.size.powi(2)).sqrt(),
        });
        let agreeing = found.iter().filter(|(_, agrees)| *agrees).count() as f64;
        Ok(Self { lost: 1.0 - count / all, agreement: agreeing / all, sums })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use waxwork_data::embedded::{Motions, Part};
    use waxwork_data::{InMemory, Source};

    use super::*;

    fn clip(source: &Motions, index: usize) -> Vec<u8> {
        let mut bytes = vec![0; MotionArtist::kind().bytes()];
        source.write_sample(index, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn real_clips_follow_the_tracks_of_their_class() {
        let source = Motions::new(0, Part::Test);
        for index in 0..100 {
            let (factors, track) = (source.factors(index).unwrap(), track(&clip(&source, index)).unwrap());
            let misfit = track.misfit(factors.class);
            assert!(misfit.centre < 0.1 && misfit.size < 0.5, "{factors:?}: {misfit:?}");
            assert_eq!(track.nearest(), factors.class, "{factors:?}");
            assert!(track.moves(), "{factors:?}: {:?}", track.still());
        }
    }

    /// A clip with its frames in reverse order is one of the opposite class; one that stands still is of none;
    /// one whose centre is off by two pixels in every second frame has an RMS of one.
    #[test]
    fn wrong_motions_are_far_from_the_tracks() {
        let source = Motions::new(0, Part::Test);
        for class in 0..10 {
            let mut bytes = clip(&source, class);
            let frame = bytes.len() / MOTION_FRAMES;
            let reversed: Vec<u8> = bytes.chunks_exact(frame).rev().flatten().copied().collect();
            let opposite = [1, 0, 3, 2, 4, 5, 7, 6, 9, 8][class];
            let back = track(&reversed).unwrap();
            if !(4..6).contains(&class) {
                assert_eq!(back.nearest(), opposite);
            }
            let first = bytes[..frame].to_vec();
            bytes.chunks_exact_mut(frame).for_each(|frame| frame.copy_from_slice(&first));
            let still = track(&bytes).unwrap().misfit(class as u32);
            assert!(still.centre > 1.0 || still.size > 0.5, "class {class}: {still:?}");
        }
        let shaken = Track {
            centres: (0..MOTION_FRAMES).map(|time| [time as f64, 2.0 * (time % 2) as f64]).collect(),
            sizes: vec![0.0; MOTION_FRAMES],
        };
        assert!((shaken.misfit(0).centre - 1.0).abs() < 1e-3, "{:?}", shaken.misfit(0));
        assert!(track(&vec![0; MotionArtist::kind().bytes()]).is_none());
    }

    /// A clip that stands still is lost, with labels and without, for every class. Without labels, it would
    /// otherwise follow the track of the slowest growth, with its centre exactly there.
    #[test]
    fn a_clip_that_stands_still_is_lost() {
        let source = Motions::new(0, Part::Test);
        let frame = MotionArtist::kind().bytes() / MOTION_FRAMES;
        let real: Vec<Vec<u8>> = (0..20).map(|index| clip(&source, index)).collect();
        let still: Vec<Vec<u8>> = real.iter().map(|clip| clip[..frame].repeat(MOTION_FRAMES)).collect();
        assert!(still.iter().all(|clip| {
            let track = track(clip).unwrap();
            !track.moves() && track.misfit(track.nearest()).centre < 1e-9
        }));
        let labels: Vec<u32> = (0..20).map(|index| source.factors(index).unwrap().class).collect();
        let measured = |clips: &[Vec<u8>], conditional: bool| {
            let labels = labels.iter().copied().cycle().take(clips.len()).collect();
            let clips = InMemory::new(MotionArtist::kind(), clips.concat(), Some(labels)).unwrap();
            Measured::of(&Split::all(Arc::new(clips)).unwrap(), conditional).unwrap()
        };
        for conditional in [false, true] {
            let all = measured(&still, conditional);
            assert_eq!((all.lost, all.agreement), (1.0, 0.0));
            assert!(all.sums.is_none());
            let none = measured(&real, conditional);
            assert_eq!((none.lost, none.agreement), (0.0, 1.0));
            let half = measured(&[real.clone(), still.clone()].concat(), conditional);
            assert_eq!((half.lost, half.agreement), (0.5, 0.5));
            // Lost clips do not improve the metrics of the others.
            assert_eq!(half.sums.unwrap().rms, none.sums.unwrap().rms);
        }
    }

    /// Half the slowest rate is the limit.
    #[test]
    fn slow_clips_move_and_trembling_ones_do_not() {
        let track = |rate: f64, tremble: f64| Track {
            centres: (0..MOTION_FRAMES)
                .map(|time| [rate * time as f64, tremble * (time % 2) as f64])
                .collect(),
            sizes: vec![0.0; MOTION_FRAMES],
        };
        let half = 0.5 * f64::from(MOTION_SPEEDS[0]);
        assert!(track(1.05 * half, 0.0).moves() && !track(0.95 * half, 0.0).moves());
        assert!(!track(0.0, 2.0).moves());
    }
}
