//! Tests of the public interface, in one program, because each program links candle again.

mod codes;
#[expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]
mod gradients;
mod model;
mod pytorch;
mod pytorch_text;
