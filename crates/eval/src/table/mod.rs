//! Evaluation of generated table rows: their similarity to real rows, their utility, and their distance to
//! the training rows.
//!
//! All results are deterministic: the same bits for any number of threads. Every random choice (folds,
//! bootstrap, initial weights) is a draw from a named stream of the seed.
//!
//! | file | question |
//! |---|---|
//! | `shapes`, `trends`, `quality` | do columns, and pairs of columns, have the real distribution? (SDMetrics' report) |
//! | `diagnostic` | are ranges, categories and nulls those of the real table? |
//! | `efficacy` | does a classifier learn from the rows what it learns from real ones? |
//! | `c2st` | can a classifier tell the rows from real ones? |
//! | `nearest` | are the rows nearer to the training rows than to others? |
//! | `manifold` | α-precision, β-recall, authenticity |
//! | `density` | how likely are real rows under a model, in the table's own units? |
//! | `condition` | do conditional rows obey, and are the other columns right given the condition? |
//! | `report` | all of it, with protocol and floor |
//!
//! The classifiers are implemented here too (`cart`, `forest`, `boosting` and `adaboost`, all grown by
//! `trees`; `linear` and `mlp`), so that results do not change with a dependency.

pub mod adaboost;
pub mod bins;
pub mod boosting;
pub mod c2st;
pub mod cart;
pub mod columns;
pub mod condition;
pub mod density;
pub mod diagnostic;
pub mod efficacy;
mod error;
pub mod features;
pub mod forest;
pub mod frame;
mod lbfgs;
pub mod linear;
pub mod manifold;
pub mod mlp;
pub mod nearest;
mod neighbours;
pub mod quality;
pub mod report;
pub mod scores;
pub mod shapes;
mod splits;
pub mod trees;
pub mod trends;

pub use columns::{TableColumns, frames};
pub use error::{Error, Result};
pub use frame::{ColumnView, Frame, TableView, align};
pub use report::TableReport;
