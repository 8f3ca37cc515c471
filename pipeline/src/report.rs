use chrono::{DateTime, Utc};
use mavis_connectors::{ForeignKey, ReadMode, TableKind, TableRef};
use serde::{Deserialize, Serialize};

use crate::clean::TableRules;

/// What discovery found: the replaced system's `discovery_report.json`, with what it lacked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiscoveryReport {
    pub source: String,
    pub made_at: DateTime<Utc>,
    pub tables: Vec<ReportTable>,
    /// Tables that could not be described, with the reason.
    #[serde(default)]
    pub failures: Vec<(String, String)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReportTable {
    pub table: TableRef,
    /// Name in the lake, without zone: `(schema, table)`.
    pub lake_name: (String, String),
    pub kind: TableKind,
    pub mode: ReadMode,
    pub columns: Vec<ReportColumn>,
    pub key: Vec<String>,
    #[serde(default)]
    pub foreign_keys: Vec<ForeignKey>,
    pub comment: Option<String>,
    pub row_estimate: Option<u64>,
    /// How the table is cleaned on its way to the processed zone; `None`: by default rules.
    #[serde(default)]
    pub rules: Option<TableRules>,
    /// Changes that wait for somebody to accept them, in words: the table is not read until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
    /// Columns that wait for somebody to accept them: they are left out of the rows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_columns: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReportColumn {
    pub name: String,
    pub lake_name: String,
    /// Arrow type as text.
    pub data_type: String,
    pub source_type: String,
    pub nullable: bool,
    pub comment: Option<String>,
    pub profile: Option<ColumnProfile>,
}

/// What a sample of a column looks like. Formats and counts, never values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ColumnProfile {
    pub sampled: u64,
    pub nulls: u64,
    pub distinct: u64,
    /// Values with white space at an end.
    pub untrimmed: u64,
    /// Null tokens seen (`N/A`, `-`, ...), which are not values.
    pub null_tokens: Vec<String>,
    /// Date formats that fit, most frequent first, with the share of non-null values that each reads.
    pub date_formats: Vec<(String, f64)>,
    /// Share of non-null values that are numbers; with `decimal_comma` where a comma is the decimal sign.
    pub numeric: f64,
    pub decimal_comma: bool,
    /// Commas stand in numbers, and none says whether it is the decimal sign or parts thousands: `1,234`.
    pub open_comma: bool,
    /// Every number found is a whole one.
    pub whole_numbers: bool,
    /// Codes of digits with leading zeros, which numbers would spoil.
    pub zero_led: u64,
    /// Dates that have a time of day behind them.
    pub times: u64,
}
