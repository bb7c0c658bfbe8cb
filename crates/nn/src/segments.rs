//! The segments of a sample, for the kernels and in a graph.

use waxwork_core::onnx::{Attribute, GraphScope, Value};
use waxwork_core::sample::Range;
use waxwork_core::{Result, SampleSpec};
use waxwork_kernels::{Activation, SegmentKind, Segments};

/// The segments of samples like `sample`. Numbers in [0, 1] stay as they are.
///
/// # Errors
/// If the sample declares a position silent at which there is no number.
pub fn of(sample: &SampleSpec) -> Result<Segments> {
    let parts = sample.segments().iter().map(|segment| {
        let kind = match segment.range {
            Range::OneHot => SegmentKind::Choice,
            Range::Signed => SegmentKind::Signed,
            _ => SegmentKind::Real,
        };
        (kind, segment.width)
    });
    let silences = sample.silences().iter().map(|silence| (silence.value, silence.places.clone()));
    Ok(Segments::new(parts).silenced(silences)?)
}

/// [`waxwork_kernels::activate_segments`] as nodes of a graph: `(N, width)` → the same shape.
///
/// # Errors
/// If a constant cannot be stored.
pub fn export(mut scope: GraphScope<'_>, segments: &Segments, x: &Value, temperature: f64) -> Result<Value> {
    let mut parts = Vec::with_capacity(segments.parts().len());
    let mut start = 0;
    for &(kind, width) in segments.parts() {
        let values = scope.columns(x, start, width);
        start += width;
        parts.push(match kind {
            SegmentKind::Real => values,
            SegmentKind::Signed => scope.activate(values, Activation::Tanh),
            SegmentKind::Choice => {
                let values = scope.affine(&values, temperature.recip(), 0.0)?;
                scope.node("Softmax", &[&values], &[("axis", Attribute::Int(1))])
            }
        });
    }
    let parts: Vec<&Value> = parts.iter().collect();
    Ok(scope.node("Concat", &parts, &[("axis", Attribute::Int(1))]))
}
