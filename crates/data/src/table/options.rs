//! What a recipe may say of a table and its columns.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::CATEGORIES;

/// What a recipe may say of a table: `[data.table]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TableOptions {
    /// The column that is to be predicted from the others, where utility is measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// A file of rows that are held out; default: a fifth of the rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<PathBuf>,
    /// Categories of a column beyond which the rarest become `other`: 500 by default.
    pub max_categories: usize,
    /// What is known of single columns, by name.
    pub columns: BTreeMap<String, ColumnOverride>,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self { label: None, test: None, max_categories: CATEGORIES, columns: BTreeMap::new() }
    }
}

/// What a recipe says of one column: `[data.table.columns.NAME]`. What it leaves out is inferred.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ColumnOverride {
    /// Kind of the column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<KindName>,
    /// Texts that stand for a missing value, instead of the usual ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub null: Option<Vec<String>>,
    /// Decimals that numbers are rounded to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decimals: Option<u8>,
    /// Format of dates, in the notation of `strftime`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Categories beyond which the rarest become `other`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_categories: Option<usize>,
}

/// The kinds by name.
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
