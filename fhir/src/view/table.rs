use arrow::{
    array::{Array, ArrayRef, UInt32Array},
    compute::{interleave, take},
    error::ArrowError,
};

use super::{ViewError, run::Run};

/// Rows with columns, made for the rows of a select: its focus rows. Columns are not copied while rows are multiplied and
/// moved outwards: what changes is only where each row finds its value.
#[derive(Debug)]
pub(super) struct Table {
    /// The focus row that each row belongs to, never going down; `None`: row and focus row are the same.
    pub(super) owners: Option<Vec<u32>>,
    pub(super) rows: usize,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    columns: Vec<ArrayRef>,
    /// Place of each row in the columns; `None`: the same.
    index: Option<Vec<u32>>,
}

/// A column, and the place of each row in it.
type Placed<'a> = (&'a ArrayRef, Option<&'a [u32]>);

fn place(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl Table {
    /// One row for each focus row.
    pub(super) fn of_columns(columns: Vec<ArrayRef>, rows: usize) -> Self {
        Self { owners: None, rows, groups: vec![Group { columns, index: None }] }
    }

    /// Rows of the iteration above: `owners` tells for each focus row of this table the one of that it comes from.
    pub(super) fn moved_out(mut self, owners: Vec<u32>) -> Self {
        self.owners = Some(match self.owners {
            None => owners,
            Some(inner) => inner.iter().map(|row| owners[*row as usize]).collect(),
        });
        self
    }

    /// For each focus row, every row of one with every row of the next; the first table's rows change slowest.
    pub(super) fn product(tables: Vec<Self>, count: usize, run: Run<'_>) -> Result<Self, ViewError> {
        let mut tables = tables.into_iter();
        let Some(mut product) = tables.next() else {
            return Ok(Self { owners: None, rows: count, groups: Vec::new() });
        };
        for next in tables {
            product = product.times(next, count, run)?;
        }
        Ok(product)
    }

    fn times(mut self, mut other: Self, count: usize, run: Run<'_>) -> Result<Self, ViewError> {
        let (owners, mine, theirs) = match (&self.owners, &other.owners) {
            (None, None) => (None, None, None),
            (Some(owners), None) => (Some(owners.clone()), None, Some(owners.clone())),
            (None, Some(owners)) => (Some(owners.clone()), Some(owners.clone()), None),
            (Some(one), Some(two)) => {
                let (one, two) = (offsets(one, count), offsets(two, count));
                let size = |offsets: &[u32], focus: usize| u64::from(offsets[focus + 1] - offsets[focus]);
                let total = (0..count).map(|focus| size(&one, focus) * size(&two, focus)).fold(0, u64::saturating_add);
                run.check(total)?;
                let (mut owners, mut mine, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
                for focus in 0..count {
                    for first in one[focus]..one[focus + 1] {
                        for second in two[focus]..two[focus + 1] {
                            owners.push(place(focus));
                            mine.push(first);
                            theirs.push(second);
                        }
                    }
                }
                (Some(owners), Some(mine), Some(theirs))
            }
        };
        self.pick(mine.as_deref());
        other.pick(theirs.as_deref());
        self.rows = owners.as_ref().map_or(self.rows, Vec::len);
        self.owners = owners;
        self.groups.extend(other.groups);
        Ok(self)
    }

    /// Rows become those at these places.
    fn pick(&mut self, places: Option<&[u32]>) {
        let Some(places) = places else { return };
        for group in &mut self.groups {
            group.index = Some(match &group.index {
                None => places.to_vec(),
                Some(index) => places.iter().map(|at| index[*at as usize]).collect(),
            });
        }
    }

    /// For each focus row, the rows of the first table, then those of the second, and so on. They have the same columns.
    pub(super) fn union(tables: &[Self], count: usize, run: Run<'_>) -> Result<Self, ViewError> {
        let total: usize = tables.iter().map(|table| table.rows).sum();
        run.check(total as u64)?;
        let offsets: Vec<Option<Vec<u32>>> =
            tables.iter().map(|table| table.owners.as_ref().map(|owners| offsets(owners, count))).collect();
        let (mut owners, mut from) = (Vec::with_capacity(total), Vec::with_capacity(total));
        for focus in 0..count {
            for (number, offsets) in offsets.iter().enumerate() {
                let range = match offsets {
                    None => focus..focus + 1,
                    Some(offsets) => offsets[focus] as usize..offsets[focus + 1] as usize,
                };
                for row in range {
                    owners.push(place(focus));
                    from.push((number, row));
                }
            }
        }
        let flat: Vec<Vec<Placed<'_>>> = tables.iter().map(Self::flat).collect();
        let width = flat.first().map_or(0, Vec::len);
        let column = |at: usize| {
            let arrays: Vec<&dyn Array> = flat.iter().map(|columns| columns[at].0.as_ref()).collect();
            let index = from.iter().map(|(table, row)| {
                let place = flat[*table][at].1.map_or(*row, |index| index[*row] as usize);
                (*table, place)
            });
            interleave(&arrays, &index.collect::<Vec<_>>())
        };
        let columns = (0..width).map(column).collect::<Result<Vec<_>, _>>()?;
        let rows = owners.len();
        Ok(Self { owners: Some(owners), rows, groups: vec![Group { columns, index: None }] })
    }

    fn flat(&self) -> Vec<Placed<'_>> {
        self.groups
            .iter()
            .flat_map(|group| group.columns.iter().map(|column| (column, group.index.as_deref())))
            .collect()
    }

    /// The columns, gathered.
    pub(super) fn columns(self) -> Result<Vec<ArrayRef>, ArrowError> {
        let mut columns = Vec::new();
        for group in self.groups {
            match group.index {
                None => columns.extend(group.columns),
                Some(index) => {
                    let index = UInt32Array::from(index);
                    for column in group.columns {
                        columns.push(take(&column, &index, None)?);
                    }
                }
            }
        }
        Ok(columns)
    }
}

/// Where the rows of each focus row begin, and where the last ones end.
fn offsets(owners: &[u32], count: usize) -> Vec<u32> {
    let mut offsets = Vec::with_capacity(count + 1);
    let mut at = 0;
    for focus in 0..place(count) {
        offsets.push(place(at));
        while owners.get(at) == Some(&focus) {
            at += 1;
        }
    }
    offsets.push(place(at));
    offsets
}
