use crate::path::eval::{Around, Items, Part, Scope};

/// The rows of a select before its columns are made: one focus each.
#[derive(Debug)]
pub(super) struct Rows {
    /// The focus of each row; a row that owns none stands for nothing (`forEachOrNull`).
    pub(super) foci: Items,
    pub(super) count: usize,
    /// Place of each row among those of its iteration; `None`: they are resources.
    pub(super) row_index: Option<Vec<u32>>,
    /// Which resource each row is of.
    pub(super) resource: Vec<u32>,
}

impl Rows {
    pub(super) fn scope<'a>(&'a self, resources: &'a Part) -> Scope<'a> {
        Scope {
            foci: self.foci.clone(),
            count: self.count,
            around: Around::Rows { row_index: self.row_index.as_deref(), resources, resource: &self.resource },
        }
    }

    /// A row for each value that was found; `or_nothing`: and one of nothing for a row without a value. With the row that
    /// each new one comes from.
    pub(super) fn opened(&self, found: &Items, or_nothing: bool) -> (Self, Vec<u32>) {
        let mut owners = Vec::with_capacity(found.len());
        let mut row_index = Vec::with_capacity(found.len());
        let mut foci = found.as_foci();
        if or_nothing {
            let offsets = found.offsets(self.count);
            foci.owners.clear();
            for (row, pair) in (0_u32..).zip(offsets.windows(2)) {
                for place in 0..pair[1] - pair[0] {
                    foci.owners.push(u32::try_from(owners.len()).unwrap_or(u32::MAX));
                    owners.push(row);
                    row_index.push(place);
                }
                if pair[0] == pair[1] {
                    owners.push(row);
                    row_index.push(0);
                }
            }
        } else {
            owners.clone_from(&found.owners);
            for (at, owner) in owners.iter().enumerate() {
                let is_first = at == 0 || owners[at - 1] != *owner;
                row_index.push(if is_first { 0 } else { row_index[at - 1] + 1 });
            }
        }
        let resource = owners.iter().map(|row| self.resource[*row as usize]).collect();
        (Self { foci, count: owners.len(), row_index: Some(row_index), resource }, owners)
    }
}
