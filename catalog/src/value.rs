//! What goes into a statement and what comes out of it, the same on both backends.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::{Serialize, de::DeserializeOwned, de::IntoDeserializer};
use sqlx::{
    ColumnIndex, Database, Decode, Postgres, Sqlite, Type,
    postgres::{PgArguments, PgRow},
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

use crate::Error;

/// An argument. Text with a NUL character is stored with U+FFFD in its place, for PostgreSQL has no NUL in text; what
/// must come back byte for byte goes as [`Value::Bytes`].
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Real(f64),
    Bytes(Vec<u8>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Int(Some(value.into()))
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(Some(value.into()))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Bytes(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(storable(value)))
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::from(value.as_str())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::from(value.as_str())
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(storable))
    }
}

impl From<&Option<String>> for Value {
    fn from(value: &Option<String>) -> Self {
        Self::from(value.as_deref())
    }
}

impl From<Option<String>> for Value {
    fn from(value: Option<String>) -> Self {
        Self::from(value.as_deref())
    }
}

impl From<DateTime<Utc>> for Value {
    fn from(value: DateTime<Utc>) -> Self {
        Self::Int(Some(value.timestamp_micros()))
    }
}

impl From<Option<DateTime<Utc>>> for Value {
    fn from(value: Option<DateTime<Utc>>) -> Self {
        Self::Int(value.map(|at| at.timestamp_micros()))
    }
}

fn storable(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}

/// Arguments of different types as one list.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::value::Value::from($value)),*] };
}
pub(crate) use values;

/// `10` for a count that a database keeps as a signed number.
pub(crate) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The one word that serde writes for a unit variant.
pub(crate) fn word<T: Serialize>(value: &T, place: &'static str) -> Result<String, Error> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        _ => Err(Error::Corrupt { place }),
    }
}

pub(crate) fn json<T: Serialize>(value: &T, place: &'static str) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|_| Error::Corrupt { place })
}

pub(crate) fn bind_sqlite<'q>(
    mut query: Query<'q, Sqlite, SqliteArguments>,
    args: Vec<Value>,
) -> Query<'q, Sqlite, SqliteArguments> {
    for arg in args {
        query = match arg {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
            Value::Real(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value),
        };
    }
    query
}

pub(crate) fn bind_postgres<'q>(
    mut query: Query<'q, Postgres, PgArguments>,
    args: Vec<Value>,
) -> Query<'q, Postgres, PgArguments> {
    for arg in args {
        query = match arg {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
            Value::Real(value) => query.bind(value),
            Value::Bytes(value) => query.bind(value),
        };
    }
    query
}

/// A row of either backend. A value is asked for by its place, `table.column`; the column's name is the part after the
/// dot. Whatever cannot be read is [`Error::Corrupt`], never a default.
#[derive(Debug)]
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    fn get<T>(&self, place: &'static str) -> Result<T, Error>
    where
        T: for<'r> Decode<'r, Sqlite> + Type<Sqlite> + for<'r> Decode<'r, Postgres> + Type<Postgres>,
    {
        let column = place.rsplit_once('.').map_or(place, |(_, column)| column);
        match self {
            Self::Sqlite(row) => get_from(row, column),
            Self::Postgres(row) => get_from(row, column),
        }
        .map_err(|error| match error {
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Error::Corrupt { place },
            other => Error::Database(other),
        })
    }

    pub(crate) fn int(&self, place: &'static str) -> Result<i64, Error> {
        self.get(place)
    }

    pub(crate) fn opt_int(&self, place: &'static str) -> Result<Option<i64>, Error> {
        self.get(place)
    }

    pub(crate) fn real(&self, place: &'static str) -> Result<f64, Error> {
        self.get(place)
    }

    pub(crate) fn bytes(&self, place: &'static str) -> Result<Vec<u8>, Error> {
        self.get(place)
    }

    pub(crate) fn text(&self, place: &'static str) -> Result<String, Error> {
        self.get(place)
    }

    pub(crate) fn opt_text(&self, place: &'static str) -> Result<Option<String>, Error> {
        self.get(place)
    }

    /// A count, which is never negative.
    pub(crate) fn opt_count(&self, place: &'static str) -> Result<Option<u64>, Error> {
        self.opt_int(place)?.map(|n| u64::try_from(n).map_err(|_| Error::Corrupt { place })).transpose()
    }

    pub(crate) fn small(&self, place: &'static str) -> Result<u32, Error> {
        u32::try_from(self.int(place)?).map_err(|_| Error::Corrupt { place })
    }

    pub(crate) fn flag(&self, place: &'static str) -> Result<bool, Error> {
        match self.int(place)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::Corrupt { place }),
        }
    }

    pub(crate) fn time(&self, place: &'static str) -> Result<DateTime<Utc>, Error> {
        DateTime::from_timestamp_micros(self.int(place)?).ok_or(Error::Corrupt { place })
    }

    pub(crate) fn opt_time(&self, place: &'static str) -> Result<Option<DateTime<Utc>>, Error> {
        self.opt_int(place)?
            .map(|micros| DateTime::from_timestamp_micros(micros).ok_or(Error::Corrupt { place }))
            .transpose()
    }

    pub(crate) fn parse<T: FromStr>(&self, place: &'static str) -> Result<T, Error> {
        self.text(place)?.parse().map_err(|_| Error::Corrupt { place })
    }

    pub(crate) fn opt_parse<T: FromStr>(&self, place: &'static str) -> Result<Option<T>, Error> {
        self.opt_text(place)?.map(|text| text.parse().map_err(|_| Error::Corrupt { place })).transpose()
    }

    /// The variant that serde writes as this word.
    pub(crate) fn word<T: DeserializeOwned>(&self, place: &'static str) -> Result<T, Error> {
        let text = self.text(place)?;
        let word: serde::de::value::StrDeserializer<'_, serde::de::value::Error> = text.as_str().into_deserializer();
        T::deserialize(word).map_err(|_| Error::Corrupt { place })
    }

    pub(crate) fn json<T: DeserializeOwned>(&self, place: &'static str) -> Result<T, Error> {
        serde_json::from_str(&self.text(place)?).map_err(|_| Error::Corrupt { place })
    }

    pub(crate) fn opt_json<T: DeserializeOwned>(&self, place: &'static str) -> Result<Option<T>, Error> {
        self.opt_text(place)?.map(|text| serde_json::from_str(&text).map_err(|_| Error::Corrupt { place })).transpose()
    }
}

fn get_from<'r, R, T>(row: &'r R, column: &str) -> Result<T, sqlx::Error>
where
    R: sqlx::Row,
    T: Decode<'r, R::Database> + Type<R::Database>,
    R::Database: Database,
    for<'c> &'c str: ColumnIndex<R>,
{
    row.try_get(column)
}
