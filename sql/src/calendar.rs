//! What months and days are called, and where days are counted from.

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
/// From Sunday.
pub(crate) const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Microseconds.
pub(crate) const DAY: i64 = 86_400_000_000;
/// Days from the first of the year 1, which is day 1, to 1970.
pub(crate) const EPOCH: i64 = 719_163;
/// The Julian day of the first of January 1970.
pub(crate) const JULIAN: i64 = 2_440_588;
