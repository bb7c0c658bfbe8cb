//! What happens to samples that are longer than their kind allows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens to texts with too many tokens, and to clips with too many frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Longer {
    /// They are an error.
    #[default]
    Refuse,
    /// Their end is left out.
    Cut,
}
