//! The settings of a table and its columns in a recipe.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::CATEGORIES;

/// Settings of a table: `[data.table]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TableOptions {
    /// The column to predict from the others when utility is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// A file of held-out rows; default: a fifth of the rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// Maximum number of categories of a column, beyond which the rarest become `other`; default: 500.
    pub max_categories: usize,
    /// Settings of single columns, by name.
    pub columns: BTreeMap<String, ColumnOverride>,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { label: None, test: None, max_categories: CATEGORIES, columns: BTreeMap::new() }
    }
}

/// Settings of one column: `[data.table.columns.NAME]`. Omitted settings are inferred.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnOverride {
    /// Kind of the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<KindName>,
    /// Texts that mean a missing value; they replace the usual ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null: Option<Vec<String>>,
    /// Decimals that numbers are rounded to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimals: Option<u8>,
    /// Format of dates, in the notation of `strftime`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Maximum number of categories, beyond which the rarest become `other`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_categories: Option<usize>,
}

/// The kinds of columns, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "`Kind` says what they are")]
pub enum KindName {
    Number,
    Integer,
    Category,
    Boolean,
    Date,
    Identifier,
    Constant,
}
