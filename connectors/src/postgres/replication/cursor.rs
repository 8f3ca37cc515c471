//! Where a table stands in the log, and what it looked like there.

use mavis_types::Cursor;
use serde::{Deserialize, Serialize};

use super::{message::Lsn, table::Shape};

/// Which log a place belongs to: places of another server, or of the same one after it was restored or failed over, mean
/// nothing here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Log {
    pub(super) slot: String,
    /// The identifier that a cluster gets when it is made.
    pub(super) system: String,
    /// Grows with each restore and failover.
    pub(super) timeline: String,
}

/// What the catalog keeps of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    #[serde(flatten)]
    pub(super) log: Log,
    /// Transactions whose commit stands before this are done.
    pub(super) lsn: Lsn,
    pub(super) shape: Shape,
    /// Of a table that was read whole: transactions that its rows contain already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) seen: Option<Seen>,
}

/// The transactions that one reading of the whole table saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Seen {
    /// `xmin:xmax:xip,xip`, as PostgreSQL writes a snapshot.
    pub(super) snapshot: String,
    /// Every transaction that the snapshot saw was committed before this.
    pub(super) until: Lsn,
}

impl Place {
    pub(super) fn from_cursor(cursor: &Cursor) -> Option<Self> {
        serde_json::from_value(cursor.0.clone()).ok()
    }

    pub(super) fn to_cursor(&self) -> Option<Cursor> {
        serde_json::to_value(self).ok().map(Cursor)
    }

    /// Whether the table lacks a transaction.
    pub(super) fn lacks(&self, commit: Lsn, xid: u32) -> bool {
        commit >= self.lsn
            && !self.seen.as_ref().is_some_and(|seen| commit < seen.until && visible(&seen.snapshot, xid) == Some(true))
    }
}

/// What the catalog keeps of a source as a whole: the slot was told to forget what is before `lsn`, since of every table
/// named here nothing changed between the place that it has and `lsn`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    #[serde(flatten)]
    pub(super) log: Log,
    pub(super) lsn: Lsn,
    /// Tables that stand before `lsn`, as `schema.name`.
    pub(super) tables: std::collections::BTreeMap<String, Lsn>,
}

impl Kept {
    pub(super) fn from_cursor(cursor: &Cursor) -> Option<Self> {
        serde_json::from_value(cursor.0.clone()).ok()
    }

    pub(super) fn to_cursor(&self) -> Option<Cursor> {
        serde_json::to_value(self).ok().map(Cursor)
    }
}

/// Whether a snapshot sees a transaction that is committed by now; of its number only the lower 32 bits are known, and it is
/// within 2^31 of the snapshot.
fn visible(snapshot: &str, xid: u32) -> Option<bool> {
    let mut parts = snapshot.splitn(3, ':');
    let xmin: u64 = parts.next()?.parse().ok()?;
    let xmax: u64 = parts.next()?.parse().ok()?;
    let running = parts.next().unwrap_or_default();
    // The distance from xmax, on the circle of 32 bits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, reason = "arithmetic modulo 2^32")]
    let distance = i64::from(xid.wrapping_sub(xmax as u32) as i32);
    if distance >= 0 {
        return Some(false);
    }
    let xid = xmax.checked_add_signed(distance)?;
    if xid < xmin {
        return Some(true);
    }
    let mut running = running.split(',').filter(|text| !text.is_empty()).map(str::parse::<u64>);
    Some(!running.any(|one| one == Ok(xid)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("100:110:103,105", 99, true)]
    #[case("100:110:103,105", 102, true)]
    #[case("100:110:103,105", 103, false)]
    #[case("100:110:103,105", 110, false)]
    #[case("100:110:103,105", 200, false)]
    #[case("100:100:", 99, true)]
    // Around the end of 32 bits: 4294967290 to 4294967306.
    #[case("4294967290:4294967306:4294967300", 4_294_967_295, true)]
    #[case("4294967290:4294967306:4294967300", 4, false)]
    #[case("4294967290:4294967306:4294967300", 5, true)]
    #[case("4294967290:4294967306:4294967300", 10, false)]
    #[case("4294967290:4294967306:4294967300", 4_294_967_000, true)]
    fn a_snapshot_sees_what_was_committed_when_it_was_taken(
        #[case] snapshot: &str,
        #[case] xid: u32,
        #[case] seen: bool,
    ) {
        assert_eq!(visible(snapshot, xid), Some(seen));
    }
}
