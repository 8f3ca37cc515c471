//! Forms about times and patterns as the planner has them.

use datafusion::sql::sqlparser::ast::{DataType, Expr, TimezoneInfo};

use super::{
    ast::{call, text},
    interval, like, moment,
    path::text_of,
    zone,
};

/// Puts a form that PostgreSQL reads in another way than the planner; all others stay.
pub(super) fn put(expr: &mut Expr) {
    let put = match &*expr {
        Expr::Interval(written) => interval::literal(written),
        Expr::TypedString(typed) => {
            typed.value.clone().into_string().and_then(|value| moment::cast(&text(&value), &typed.data_type))
        }
        Expr::AtTimeZone { timestamp, time_zone } => {
            // A text that may be either has a zone.
            let zoned = DataType::Timestamp(None, TimezoneInfo::Tz);
            let time = text_of(timestamp).and_then(|time| moment::literal(&time, &zoned)).map(|time| text(&time));
            let time = time.unwrap_or_else(|| (**timestamp).clone());
            Some(call(zone::NAME, vec![(**time_zone).clone(), time]))
        }
        Expr::SimilarTo { negated, expr, pattern, escape_char } => {
            Some(like::similar(expr, pattern, escape_char.as_ref(), *negated))
        }
        _ => None,
    };
    if let Some(put) = put {
        *expr = put;
    }
}
