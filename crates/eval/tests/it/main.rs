//! Tests of the public interface, in one program, because each program links candle again.

mod choosing;
mod disentanglement;
mod distances;
mod doubts;
mod inception;
mod language_model;
mod stacked;
#[expect(clippy::unwrap_used, reason = "a helper of a test may panic as a test may")]
mod support;
mod table_adult;
mod table_golden;
mod table_models;
mod table_report;
