//! Statistics of a data file as the Delta log keeps them: row count, nulls, and bounds of the flat columns asked for.
//!
//! Bounds may be wider than the values, never narrower: long text is cut (and its upper end raised) by the Parquet
//! writer, instants are widened to whole milliseconds. A bound that JSON cannot hold exactly (decimals, NaN) is left out.

use std::collections::HashSet;

use arrow::datatypes::{DataType, Schema};
use chrono::{DateTime, NaiveDate, TimeDelta};
use parquet::file::{metadata::ParquetMetaData, statistics::Statistics};
use serde_json::{Map, Value, json};

/// The `stats` text of an `add` action.
pub(crate) fn delta_stats(metadata: &ParquetMetaData, schema: &Schema, columns: &HashSet<String>) -> String {
    let (mut lows, mut highs, mut nulls) = (Map::new(), Map::new(), Map::new());
    let descriptor = metadata.file_metadata().schema_descr();
    for leaf in 0..descriptor.num_columns() {
        let path = descriptor.column(leaf).path().parts().to_vec();
        let [name] = &path[..] else { continue };
        let Ok(field) = schema.field_with_name(name) else { continue };
        if !columns.contains(name) || field.data_type().is_nested() {
            continue;
        }
        let groups: Option<Vec<&Statistics>> =
            metadata.row_groups().iter().map(|group| group.column(leaf).statistics()).collect();
        let Some(groups) = groups else { continue };
        let counts: Option<Vec<u64>> = groups.iter().map(|group| group.null_count_opt()).collect();
        let Some(counts) = counts else { continue };
        let null_count: u64 = counts.iter().sum();
        nulls.insert(name.clone(), json!(null_count));
        // A group of nulls has no bounds and needs none.
        let filled: Vec<&Statistics> = groups
            .iter()
            .zip(metadata.row_groups())
            .zip(&counts)
            .filter(|((_, group), count)| u64::try_from(group.num_rows()).ok() != Some(**count))
            .map(|((group, _), _)| *group)
            .collect();
        if let (Some(low), Some(high)) =
            (bound(&filled, field.data_type(), false), bound(&filled, field.data_type(), true))
        {
            lows.insert(name.clone(), low);
            highs.insert(name.clone(), high);
        }
    }
    json!({
        "numRecords": metadata.file_metadata().num_rows(),
        "minValues": lows,
        "maxValues": highs,
        "nullCount": nulls,
    })
    .to_string()
}

/// The lowest or the highest of the groups' bounds as JSON; `None` where one is missing or cannot be said.
fn bound(groups: &[&Statistics], data_type: &DataType, high: bool) -> Option<Value> {
    if groups.is_empty() {
        return None;
    }
    macro_rules! extreme {
        ($variant:path) => {{
            let mut values = groups
                .iter()
                .map(|group| match group {
                    $variant(values) => if high { values.max_opt() } else { values.min_opt() }.copied(),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>()?
                .into_iter();
            let first = values.next()?;
            values.fold(first, |a, b| if (b > a) == high { b } else { a })
        }};
    }
    match data_type {
        DataType::Int8 | DataType::Int16 | DataType::Int32 => Some(json!(extreme!(Statistics::Int32))),
        DataType::Int64 => Some(json!(extreme!(Statistics::Int64))),
        DataType::Date32 => date(extreme!(Statistics::Int32)),
        DataType::Timestamp(_, zone) => instant(extreme!(Statistics::Int64), zone.is_some(), high),
        DataType::Float32 => finite(f64::from(extreme!(Statistics::Float))),
        DataType::Float64 => finite(extreme!(Statistics::Double)),
        DataType::Utf8 => text(groups, high),
        _ => None,
    }
}

fn finite(value: f64) -> Option<Value> {
    value.is_finite().then(|| json!(value))
}

fn date(days: i32) -> Option<Value> {
    let epoch = NaiveDate::from_ymd_opt(1970, 1, 1)?;
    let date = epoch.checked_add_signed(TimeDelta::try_days(i64::from(days))?)?;
    // Beyond four digits the text form is not the one that readers parse.
    (0..=9999).contains(&chrono::Datelike::year(&date)).then(|| json!(date.format("%Y-%m-%d").to_string()))
}

fn instant(micros: i64, zoned: bool, high: bool) -> Option<Value> {
    let millis = micros.div_euclid(1000) + i64::from(high && micros.rem_euclid(1000) != 0);
    let time = DateTime::from_timestamp_millis(millis)?.naive_utc();
    if !(0..=9999).contains(&chrono::Datelike::year(&time)) {
        return None;
    }
    let form = if zoned { "%Y-%m-%dT%H:%M:%S%.3fZ" } else { "%Y-%m-%d %H:%M:%S%.3f" };
    Some(json!(time.format(form).to_string()))
}

fn text(groups: &[&Statistics], high: bool) -> Option<Value> {
    let mut values = groups
        .iter()
        .map(|group| if high { group.max_bytes_opt() } else { group.min_bytes_opt() })
        .collect::<Option<Vec<&[u8]>>>()?
        .into_iter();
    let first = values.next()?;
    let extreme = values.fold(first, |a, b| if (b > a) == high { b } else { a });
    std::str::from_utf8(extreme).ok().map(|text| json!(text))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn stats_of(columns: Vec<(&str, ArrayRef)>, wanted: &[&str]) -> Value {
        let batch = RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let metadata = writer.finish().unwrap();
        let wanted = wanted.iter().map(|name| (*name).to_owned()).collect();
        serde_json::from_str(&delta_stats(&metadata, batch.schema_ref(), &wanted)).unwrap()
    }

    #[test]
    fn bounds_and_nulls_are_those_of_the_columns_asked_for() {
        let stats = stats_of(
            vec![
                ("n", Arc::new(Int64Array::from(vec![Some(3), None, Some(-2)]))),
                ("other", Arc::new(Int64Array::from(vec![1, 2, 3]))),
                ("empty", Arc::new(Int64Array::from(vec![None::<i64>, None, None]))),
            ],
            &["n", "empty"],
        );
        assert_eq!(
            stats,
            json!({"numRecords": 3, "minValues": {"n": -2}, "maxValues": {"n": 3}, "nullCount": {"n": 1, "empty": 3}})
        );
    }

    #[test]
    fn instants_are_widened_to_whole_milliseconds() {
        let array = TimestampMicrosecondArray::from(vec![1_500, 2_001]).with_timezone("UTC");
        let stats = stats_of(vec![("t", Arc::new(array))], &["t"]);
        assert_eq!(stats["minValues"]["t"], "1970-01-01T00:00:00.001Z");
        assert_eq!(stats["maxValues"]["t"], "1970-01-01T00:00:00.003Z");
    }

    #[test]
    fn long_text_has_an_upper_bound_that_is_not_below_it() {
        let long = "z".repeat(100);
        let stats = stats_of(vec![("s", Arc::new(StringArray::from(vec!["a", &long])))], &["s"]);
        let high = stats["maxValues"]["s"].as_str().unwrap();
        assert!(high > long.as_str(), "{high}");
        assert!(high.len() <= 64);
    }

    #[test]
    fn bounds_that_json_cannot_hold_are_left_out() {
        let stats = stats_of(vec![("f", Arc::new(Float64Array::from(vec![1.0, f64::INFINITY])))], &["f"]);
        assert!(stats["maxValues"].as_object().unwrap().is_empty());
        assert_eq!(stats["nullCount"]["f"], 0);
    }
}
