//! What is done to the columns of a table between raw and processed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::dates::DateFormat;

/// The rules of one table. Their hash names the hop from raw to processed: rules that stay the same do no work twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TableRules {
    /// Grows by one each time the rules change.
    pub version: u32,
    /// By the column's name in the lake; a column that is not named is trimmed and freed of null tokens.
    pub columns: BTreeMap<String, ColumnRule>,
    #[serde(default)]
    pub checks: Vec<Check>,
    /// Key of the processed table; empty: the whole cleaned row.
    #[serde(default)]
    pub key: Vec<String>,
    /// Years of two digits are the latest year not after this one that ends so.
    pub pivot_year: i32,
}

/// What is done to a column, in this order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ColumnRule {
    /// White space at both ends is taken away.
    pub trim: bool,
    /// Texts that stand for no value, in lower case.
    pub null_tokens: Vec<String>,
    pub convert: Convert,
    /// What happens to a value that the conversion cannot read.
    pub misfit: Action,
    /// Put where there is no value; as text.
    pub fill: Option<String>,
}

impl Default for ColumnRule {
    fn default() -> Self {
        Self {
            trim: true,
            null_tokens: super::NULL_TOKENS.iter().map(|token| (*token).to_owned()).collect(),
            convert: Convert::Keep,
            misfit: Action::Quarantine,
            fill: None,
        }
    }
}

impl ColumnRule {
    /// The column as the source has it.
    #[must_use]
    pub fn untouched() -> Self {
        Self { trim: false, null_tokens: Vec::new(), ..Self::default() }
    }
}

/// What a text becomes. Columns that are no text are left as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum Convert {
    #[default]
    Keep,
    /// A date; the first format that reads the text counts.
    Date {
        formats: Vec<DateFormat>,
    },
    /// An instant in UTC; a date alone is its midnight.
    Timestamp {
        formats: Vec<DateFormat>,
    },
    Integer {
        comma: bool,
    },
    Float {
        comma: bool,
    },
    /// Up to 38 digits, `scale` of them behind the point.
    Decimal {
        comma: bool,
        scale: i8,
    },
}

/// What happens to a row or a value that breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The row is kept and counted in the run's log; a text that does not fit its type becomes null.
    Warn,
    /// The value becomes null, and the log counts it.
    Null,
    /// The row is set aside with the reason.
    #[default]
    Quarantine,
}

/// A rule over a whole row, such as `discharge >= admission`. Where it is null, it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Told in logs and reasons.
    pub name: String,
    /// A SQL condition over the cleaned columns.
    pub rule: String,
    #[serde(default)]
    pub action: Action,
    /// Columns that [`Action::Null`] empties; none: all that the rule names.
    #[serde(default)]
    pub columns: Vec<String>,
}

impl TableRules {
    /// A name for what these rules do; their version plays no part.
    #[must_use]
    pub fn hash(&self) -> String {
        let same = Self { version: 0, ..self.clone() };
        // A map of strings and numbers always serialises.
        let text = serde_json::to_string(&same).unwrap_or_default();
        format!("clean-{:032x}", xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
    }

    /// The rule of a column.
    #[must_use]
    pub fn column(&self, name: &str) -> ColumnRule {
        self.columns.get(name).cloned().unwrap_or_default()
    }
}
