//! Tests of the public interface, in one program: a program for each file would take minutes to link.

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
