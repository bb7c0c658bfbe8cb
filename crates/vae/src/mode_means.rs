//! A mean for each mode of a number.
//!
//! A table's number is encoded as its mode and the number within that mode. The two are independent given z.
//! Where modes overlap, a decoder with one mean per number can only fit one of them, and a draw of another mode
//! moves the number. Here the mean also depends on the mode that was drawn.
//!
//! Among the modes are those that leave the number undefined, such as a missing value. Nothing trains their means, and
//! nothing reads them.

use candle_core::{DType, Device, Tensor};

use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::sample::Range;
use waxwork_core::{Result, SampleSpec};
use waxwork_kernels::{SegmentKind, Segments, matmul};

use crate::posterior::columns;

/// What is added to the output for a number in each of its modes. The additions follow the outputs for a
/// sample, one for every mode.
#[derive(Clone, Debug)]
pub(crate) struct ModeMeans {
    /// Number of values of a sample.
    width: usize,
    /// 1 where a value of a sample is a mode, `(sample, modes)`.
    mode_selector: Tensor,
    /// 1 where a mode belongs to the number among the values of a sample, `(modes, sample)`.
    number_selector: Tensor,
}

/// The positions in a sample of each mode and of its number, in order.
fn modes(sample: &SampleSpec) -> Vec<(usize, usize)> {
    let (mut start, mut number, mut found) = (0, None, Vec::new());
    for segment in sample.segments() {
        if let (Range::OneHot, Some(number)) = (segment.range, number) {
            found.extend((start..start + segment.width).map(|place| (place, number)));
        }
        start += segment.width;
        number = (segment.range == Range::Signed).then_some(start - 1);
    }
    found
}

/// The number of modes of all numbers in a sample.
pub(crate) fn count(sample: &SampleSpec) -> usize {
    modes(sample).len()
}

impl ModeMeans {
    /// The modes of samples like `sample`; None if there are none.
    ///
    /// # Errors
    /// If a tensor cannot be created.
    pub(crate) fn new(sample: &SampleSpec, dtype: DType, device: &Device) -> Result<Option<Self>> {
        let (width, modes) = (sample.len(), modes(sample));
        if modes.is_empty() {
            return Ok(None);
        }
        let (mut of_modes, mut of_numbers) =
            (vec![0f32; width * modes.len()], vec![0f32; width * modes.len()]);
        for (mode, &(place, number)) in modes.iter().enumerate() {
            of_modes[place * modes.len() + mode] = 1.0;
            of_numbers[mode * width + number] = 1.0;
        }
        let matrix = |values: Vec<f32>, rows: usize, columns: usize| {
            Tensor::from_vec(values, (rows, columns), &Device::Cpu)?.to_dtype(dtype)?.to_device(device)
        };
        let mode_selector = matrix(of_modes, width, modes.len())?;
        let number_selector = matrix(of_numbers, modes.len(), width)?;
        Ok(Some(Self { width, mode_selector, number_selector }))
    }

    /// The outputs for a sample alone, as if nothing were added, `(N, width)`.
    pub(crate) fn without(&self, output: &Tensor) -> Result<Tensor> {
        Ok(columns(output, self.width)?.0)
    }

    /// The outputs `(N, width)` given the choices of samples `(N, width)`: for every number, its own output and the
    /// addition of its mode.
    pub(crate) fn given(&self, output: &Tensor, samples: &Tensor) -> Result<Tensor> {
        let (own, additions) = columns(output, self.width)?;
        let chosen = matmul(samples, &self.mode_selector)?.mul(&additions)?;
        Ok((own + matmul(&chosen, &self.number_selector)?)?)
    }

    /// The mean of a number in each of its modes, `(N, modes)`.
    pub(crate) fn means(&self, output: &Tensor) -> Result<Tensor> {
        let (own, additions) = columns(output, self.width)?;
        Ok((matmul(&own, &self.number_selector.t()?)? + additions)?.tanh()?)
    }

    /// [`ModeMeans::given`] for the most likely choices, as nodes of a graph.
    ///
    /// # Errors
    /// If a constant cannot be stored.
    pub(crate) fn export(
        &self,
        mut scope: GraphScope<'_>,
        segments: &Segments,
        output: &Value,
    ) -> Result<Value> {
        let (mut start, mut chosen) = (0, Vec::with_capacity(segments.parts().len()));
        for &(kind, width) in segments.parts() {
            let values = scope.columns(output, start, width);
            start += width;
            // A number is no mode: its row in the selector is zero.
            chosen.push(match kind {
                SegmentKind::Choice => scope.node("Hardmax", &[&values], &[("axis", Attribute::Int(1))]),
                _ => values,
            });
        }
        let chosen: Vec<&Value> = chosen.iter().collect();
        let chosen = scope.node("Concat", &chosen, &[("axis", Attribute::Int(1))]);
        let modes = self.mode_selector.dims()[1];
        let (outputs, additions) =
            (scope.columns(output, 0, self.width), scope.columns(output, self.width, modes));
        let modes = scope.tensor("modes", &self.mode_selector)?;
        let numbers = scope.tensor("numbers", &self.number_selector)?;
        let chosen = scope.node("MatMul", &[&chosen, &modes], &[]);
        let chosen = scope.node("Mul", &[&chosen, &additions], &[]);
        let added = scope.node("MatMul", &[&chosen, &numbers], &[]);
        Ok(scope.node("Add", &[&outputs, &added], &[]))
    }
}

#[cfg(test)]
mod tests {
    use waxwork_core::rng::Stream;
    use waxwork_core::sample::Segment;
    use waxwork_core::{Drawing, ParamSet};

    use super::*;
    use crate::likelihood::{Likelihood, LikelihoodConfig};

    /// A category, a number with three modes, a number with two modes, and another category.
    fn sample() -> SampleSpec {
        let widths = [(2, Range::OneHot), (1, Range::Signed), (3, Range::OneHot), (1, Range::Signed)];
        let widths = widths.into_iter().chain([(2, Range::OneHot), (2, Range::OneHot)]);
        let segments: Vec<Segment> = widths.map(|(width, range)| Segment { width, range }).collect();
        SampleSpec::new(vec![11], segments).unwrap()
    }

    #[test]
    fn only_the_mode_of_a_number_moves_its_mean() {
        assert_eq!(modes(&sample()), [(3, 2), (4, 2), (5, 2), (7, 6), (8, 6)]);
        let means = ModeMeans::new(&sample(), DType::F64, &Device::Cpu).unwrap().unwrap();
        let own: Vec<f64> = (0..11).map(|i| 0.1 * f64::from(i)).collect();
        let added = [1.0, 2.0, 3.0, 10.0, 20.0];
        let output = Tensor::new([&own[..], &added].concat(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
        let row = [1.0, 0.0, -0.7, 0.0, 1.0, 0.0, 0.3, 1.0, 0.0, 0.0, 1.0];
        let given = means.given(&output, &Tensor::new(&[row], &Device::Cpu).unwrap()).unwrap();
        let mut expected = own.clone();
        (expected[2], expected[6]) = (own[2] + 2.0, own[6] + 10.0);
        assert_eq!(given.to_vec2::<f64>().unwrap()[0], expected);
        assert_eq!(means.without(&output).unwrap().to_vec2::<f64>().unwrap()[0], own);
        let each = means.means(&output).unwrap().to_vec2::<f64>().unwrap();
        let sums = [0.2 + 1.0, 0.2 + 2.0, 0.2 + 3.0, 0.6 + 10.0, 0.6 + 20.0f64];
        for (found, sum) in each[0].iter().zip(sums) {
            assert!((found - sum.tanh()).abs() < 1e-12);
        }
    }

    /// The standard deviation is 0.01, so the number shows which mean it was drawn around.
    #[test]
    fn a_drawn_number_lies_at_the_mean_of_the_drawn_mode() {
        let mut params = ParamSet::fresh(0, &Device::Cpu);
        let config = LikelihoodConfig::Rows { scale: 0.01, mode_means: true };
        let likelihood = Likelihood::new(params.root(), config, &sample()).unwrap();
        let added = [-1.0, 0.0, 1.0, 0.5, -0.5f32];
        let output: Vec<f32> = [[0.0; 11].as_slice(), &added].concat().repeat(60);
        let output = Tensor::from_vec(output, (60, 16), &Device::Cpu).unwrap();
        let numbers: Vec<u64> = (0..60).collect();
        let drawing = Drawing { numbers: &numbers, stream: Stream::new(1, "draws", 0), temperature: 1.0 };
        let mut counts = [0; 5];
        for row in likelihood.draw(&output, &drawing).unwrap().to_vec2::<f32>().unwrap() {
            for (mode, (place, number)) in modes(&sample()).into_iter().enumerate() {
                if row[place] == 1.0 {
                    counts[mode] += 1;
                    assert!((row[number] - added[mode].tanh()).abs() < 0.06, "{row:?}");
                }
            }
        }
        assert!(counts.iter().all(|count| *count > 8) && counts.iter().sum::<i32>() == 120, "{counts:?}");
    }
}
