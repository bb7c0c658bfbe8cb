//! Tests of the public interface, in one program, because each program links candle again.

mod adversarial;
mod devices;
mod factors;
#[expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]
mod gradients;
mod memory;
mod papers;
mod rows;
mod schema;
mod sizes;
#[expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]
mod steps;
mod text;
mod together;
mod waves;
