//! The cells of a sheet, as a reader of it sees them.

use calamine::{Data, ExcelDateTime};
use chrono::{NaiveDate, NaiveDateTime, NaiveTime};

/// The cells of a sheet, from its first used row and column on.
#[derive(Debug, Default)]
pub(super) struct Grid {
    pub(super) rows: Vec<Vec<Cell>>,
    pub(super) merges: Vec<Merge>,
    /// The number, on the sheet, of the first row here.
    pub(super) first_row: usize,
}

/// Cells that are one: first and last row, first and last column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Merge {
    pub(super) rows: (usize, usize),
    pub(super) columns: (usize, usize),
}

/// A cell's value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Empty,
    Text(String),
    Number(f64),
    Boolean(bool),
    Date(NaiveDate),
    Time(NaiveDateTime),
}

impl Cell {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Cell::Empty)
    }

    pub(super) fn is_text(&self) -> bool {
        matches!(self, Cell::Text(_))
    }

    /// What a reader of the sheet sees, dates as ISO 8601.
    pub(super) fn text(&self) -> Option<String> {
        Some(match self {
            Cell::Empty => return None,
            Cell::Text(text) => text.clone(),
            Cell::Number(number) => number_text(*number),
            Cell::Boolean(flag) => flag.to_string(),
            Cell::Date(date) => date.to_string(),
            Cell::Time(time) => time.format("%Y-%m-%dT%H:%M:%S%.f").to_string(),
        })
    }

    pub(super) fn of(data: &Data) -> Self {
        match data {
            Data::Empty => Cell::Empty,
            Data::String(text) if text.trim().is_empty() => Cell::Empty,
            Data::String(text) => Cell::Text(text.clone()),
            Data::Int(number) => Cell::Number(*number as f64),
            Data::Float(number) => Cell::Number(*number),
            Data::Bool(flag) => Cell::Boolean(*flag),
            Data::DateTime(value) => of_serial(value),
            Data::DateTimeIso(text) => of_iso(text),
            Data::DurationIso(text) => Cell::Text(clock(text).unwrap_or_else(|| text.clone())),
            // An error is what the cell says: `#N/A` stays `#N/A`.
            Data::Error(error) => Cell::Text(error.to_string()),
        }
    }
}

/// `PT08H30M00S`, as OpenDocument has times of day and durations, as Excel's are written here: `08:30:00`.
fn clock(text: &str) -> Option<String> {
    let mut rest = text.strip_prefix("PT")?;
    let mut part = |unit: char| -> Option<&str> {
        let Some((digits, after)) = rest.split_once(unit) else { return Some("0") };
        rest = after;
        digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.').then_some(digits)
    };
    let (hours, minutes, seconds) = (part('H')?, part('M')?, part('S')?);
    let (whole, fraction) = seconds.split_once(['.', ',']).unwrap_or((seconds, ""));
    let (hours, minutes, whole): (u64, u64, u64) = (hours.parse().ok()?, minutes.parse().ok()?, whole.parse().ok()?);
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    (rest.is_empty() && minutes < 60 && whole < 60)
        .then(|| format!("{hours:02}:{minutes:02}:{whole:02}{point}{fraction}"))
}

/// A number as it was typed: no `.0`, and no digits that only the binary form has (`129.2`, not `129.19999999999999`).
fn number_text(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
        return format!("{number:.0}");
    }
    // A sheet shows 15 significant digits.
    let rounded: f64 = format!("{number:.14e}").parse().unwrap_or(number);
    rounded.to_string()
}

fn of_serial(value: &ExcelDateTime) -> Cell {
    let serial = value.as_f64();
    let (year, month, day, hour, minute, second, milli) = value.to_ymd_hms_milli();
    let date = NaiveDate::from_ymd_opt(i32::from(year), u32::from(month), u32::from(day));
    let time = NaiveTime::from_hms_milli_opt(hour.into(), minute.into(), second.into(), milli.into());
    match (date, time) {
        // A time of day or a duration has no date of its own.
        (_, Some(time)) if value.is_duration() || (0.0..1.0).contains(&serial) => {
            if value.is_duration() && serial >= 1.0 {
                let seconds = (serial * 86_400.0).round() as i64;
                return Cell::Text(format!("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60));
            }
            Cell::Text(time.format("%H:%M:%S%.f").to_string())
        }
        (Some(date), Some(_)) if serial.fract() == 0.0 => Cell::Date(date),
        (Some(date), Some(time)) => Cell::Time(NaiveDateTime::new(date, time)),
        // 29 February 1900, which Excel has and the calendar has not.
        _ => Cell::Text(number_text(serial)),
    }
}

fn of_iso(text: &str) -> Cell {
    if let Ok(date) = NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        return Cell::Date(date);
    }
    match NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f") {
        Ok(time) if time.time() == NaiveTime::MIN => Cell::Date(time.date()),
        Ok(time) => Cell::Time(time),
        Err(_) => Cell::Text(text.to_owned()),
    }
}

impl Grid {
    pub(super) fn is_empty(&self) -> bool {
        self.rows.iter().flatten().all(Cell::is_empty)
    }

    pub(super) fn width(&self, row: usize) -> usize {
        self.rows[row].iter().filter(|cell| !cell.is_empty()).count()
    }

    pub(super) fn is_text_row(&self, row: usize) -> bool {
        self.rows[row].iter().all(|cell| cell.is_empty() || cell.is_text())
    }

    pub(super) fn last_column(&self) -> usize {
        self.rows.iter().map(Vec::len).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use calamine::{CellErrorType, ExcelDateTimeType};
    use rstest::rstest;

    fn serial(value: f64) -> Data {
        Data::DateTime(ExcelDateTime::new(value, ExcelDateTimeType::DateTime, false))
    }

    #[rstest]
    #[case(Data::Float(12.0), "12")]
    #[case(Data::Float(0.1 + 0.2), "0.3")]
    #[case(Data::Float(-0.5), "-0.5")]
    #[case(Data::Float(9007199254740991.0), "9007199254740991")]
    #[case(Data::DurationIso("PT08H30M00S".to_owned()), "08:30:00")]
    #[case(Data::DurationIso("PT30H05M01.50S".to_owned()), "30:05:01.5")]
    #[case(Data::DurationIso("P1D".to_owned()), "P1D")]
    #[case(Data::String("007".to_owned()), "007")]
    #[case(Data::Bool(true), "true")]
    #[case(serial(25991.0), "1971-02-27")]
    #[case(serial(45943.5), "2025-10-13T12:00:00")]
    #[case(serial(0.25), "06:00:00")]
    #[case(Data::DateTimeIso("2021-03-04".to_owned()), "2021-03-04")]
    #[case(Data::Error(CellErrorType::NA), "#N/A")]
    fn a_cell_reads_as_the_sheet_shows_it(#[case] data: Data, #[case] text: &str) {
        assert_eq!(Cell::of(&data).text().as_deref(), Some(text));
    }
}
