//! The generator's cross-entropy on the requested columns (CTGAN, Xu et al. 2019, section 4.3).

use waxwork_core::{ConditionSpec, Device, Result, SampleSpec, Tensor};
use waxwork_kernels::{SegmentKind, Segments, matmul, segment_log_likelihood};

/// The places of a condition's columns in a sample.
#[derive(Clone, Debug)]
pub(crate) struct ConditionLoss {
    /// 1 where a value of a sample stands for a value of the condition, `(sample, condition)`.
    selection: Tensor,
    /// One choice per column.
    columns: Segments,
}

impl ConditionLoss {
    /// The places of the columns of `condition` in samples like `sample`; None if the
    /// condition has no columns.
    ///
    /// # Errors
    /// If the tensor cannot be created.
    pub(crate) fn new(
        condition: &ConditionSpec,
        sample: &SampleSpec,
        device: &Device,
    ) -> Result<Option<Self>> {
        let ConditionSpec::Columns { columns } = condition else { return Ok(None) };
        let (rows, width) = (sample.len(), condition.width());
        let mut selection = vec![0f32; rows * width];
        let places = columns.iter().flat_map(|column| column.start..column.start + column.counts.len());
        for (value, place) in places.enumerate() {
            if let Some(entry) = selection.get_mut(place * width + value) {
                *entry = 1.0;
            }
        }
        let selection = Tensor::from_vec(selection, (rows, width), device)?;
        let columns = columns.iter().map(|column| (SegmentKind::Choice, column.counts.len()));
        Ok(Some(Self { selection, columns: Segments::new(columns) }))
    }

    /// Mean cross-entropy in nats of the generator's logits `(N, ..)` against the requested columns,
    /// `(N, width)`. Columns without a request do not count.
    pub(crate) fn loss(&self, outputs: &Tensor, requested: &Tensor) -> Result<Tensor> {
        let logits = matmul(outputs, &self.selection.to_dtype(outputs.dtype())?)?;
        let none = Tensor::zeros(0, outputs.dtype(), outputs.device())?;
        Ok(segment_log_likelihood(&logits, requested, &none, &self.columns)?.mean_all()?.neg()?)
    }
}

#[cfg(test)]
mod tests {
    use waxwork_core::sample::{Range, Segment};
    use waxwork_core::{ColumnSpec, DType};

    use super::*;

    #[test]
    fn only_requested_columns_count() {
        let part = |width, range| Segment { width, range };
        let parts = vec![part(2, Range::OneHot), part(1, Range::Signed), part(3, Range::OneHot)];
        let sample = SampleSpec::new(vec![6], parts).unwrap();
        let column = |start, width: usize| ColumnSpec { start, counts: vec![1; width] };
        let condition = ConditionSpec::Columns { columns: vec![column(0, 2), column(3, 3)] };
        let condition_loss = ConditionLoss::new(&condition, &sample, &Device::Cpu).unwrap().unwrap();
        let outputs = Tensor::new(&[[0.5f64, -0.5, 9.0, 1.0, 2.0, 3.0]; 3], &Device::Cpu).unwrap();
        let asked = [[1f64, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0, 1.0]];
        let asked = Tensor::new(&asked, &Device::Cpu).unwrap();
        let loss = condition_loss.loss(&outputs, &asked).unwrap().to_scalar::<f64>().unwrap();
        let two = |i: f64| i - (0.5f64.exp() + (-0.5f64).exp()).ln();
        let three = |i: f64| i - (1f64.exp() + 2f64.exp() + 3f64.exp()).ln();
        let want = -(two(0.5) + three(2.0) + two(-0.5) + three(3.0)) / 3.0;
        assert!((loss - want).abs() < 1e-12, "{loss} for {want}");
        let nothing = Tensor::zeros((3, 5), DType::F64, &Device::Cpu).unwrap();
        assert_eq!(condition_loss.loss(&outputs, &nothing).unwrap().to_scalar::<f64>().unwrap(), 0.0);
        assert!(ConditionLoss::new(&ConditionSpec::classes(3), &sample, &Device::Cpu).unwrap().is_none());
    }
}
