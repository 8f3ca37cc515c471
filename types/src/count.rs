use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// What became of the rows of one step. Every row read is in exactly one of the outcomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Rows that the step was given.
    pub read: u64,
    /// Extra rows that a mapping made by fanning one row out into several.
    pub fanned_out: u64,
    pub inserted: u64,
    pub updated: u64,
    pub unchanged: u64,
    /// Rows left out because an equal row, or a newer row of the same key, was kept, or because the source deleted them again.
    pub deduplicated: u64,
    pub quarantined: u64,
    /// Rows of the target that the source no longer has. They were not read, so they do not enter the balance.
    pub deleted: u64,
}

impl Counts {
    /// Whether every row read is accounted for:
    /// `read + fanned_out = inserted + updated + unchanged + deduplicated + quarantined`.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.read + self.fanned_out
            == self.inserted + self.updated + self.unchanged + self.deduplicated + self.quarantined
    }

    /// Whether the step changed its target.
    #[must_use]
    pub fn changed(&self) -> bool {
        self.inserted + self.updated + self.deleted > 0
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.read += other.read;
        self.fanned_out += other.fanned_out;
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.unchanged += other.unchanged;
        self.deduplicated += other.deduplicated;
        self.quarantined += other.quarantined;
        self.deleted += other.deleted;
    }
}
