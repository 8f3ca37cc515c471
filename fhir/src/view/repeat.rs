use super::{
    ViewError,
    plan::Place,
    rows::Rows,
    run::{Run, data},
};
use crate::{
    json,
    path::eval::{Around, Items, Part, Scope, evaluate},
};

/// Everything that the paths lead to from each focus, from what they led to, and so on: each value before what lies below it,
/// the first path's values first.
///
/// It goes down level by level, all foci at once; the order is made at the end.
pub(super) fn repeat(places: &[Place], rows: &Rows, run: Run<'_>) -> Result<Items, ViewError> {
    let mut found = Found { parts: Vec::new(), values: Vec::new(), below: vec![Vec::new(); rows.count] };
    let mut level = found.step(places, &rows.scope(run.resources), 0, run)?;
    let mut resource: Vec<u32> = level.owners.iter().map(|row| rows.resource[*row as usize]).collect();
    let mut depth = 0;
    while level.items.len() > 0 {
        depth += 1;
        if depth > json::MAX_DEPTH {
            let reason = format!("it does not end within {} levels", json::MAX_DEPTH);
            return Err(ViewError::Data {
                place: places.first().map_or_else(String::new, |at| at.place.clone()),
                reason,
            });
        }
        let inner = Scope {
            foci: level.items.as_foci(),
            count: level.items.len(),
            around: Around::Rows { row_index: None, resources: run.resources, resource: &resource },
        };
        let next = found.step(places, &inner, level.first, run)?;
        resource = next.owners.iter().map(|at| resource[*at as usize]).collect();
        level = next;
    }
    Ok(found.ordered(rows.count))
}

/// Everything that was found, on all levels.
struct Found {
    parts: Vec<Part>,
    /// Part and place in it.
    values: Vec<(u16, u32)>,
    /// The values right below each row, and then below each value.
    below: Vec<Vec<u32>>,
}

struct Level {
    items: Items,
    /// The focus of the level above that each item comes from.
    owners: Vec<u32>,
    /// Place of the first item in `below`.
    first: usize,
}

impl Found {
    /// One level down. `first`: the place in `below` of the first focus.
    fn step(&mut self, places: &[Place], scope: &Scope<'_>, first: usize, run: Run<'_>) -> Result<Level, ViewError> {
        let mut items = Items::default();
        for (number, Place { place, expr, .. }) in places.iter().enumerate() {
            let more = evaluate(expr, scope).map_err(|error| data(place, error))?;
            items = if number == 0 { more } else { items.and(&more, scope.count) };
        }
        run.check((self.values.len() + items.len()) as u64)?;
        let shift = u16::try_from(self.parts.len()).unwrap_or(u16::MAX);
        self.parts.extend(items.parts.iter().cloned());
        let next = self.below.len();
        for item in 0..items.len() {
            let part = shift + items.part.as_ref().map_or(0, |part| part[item]);
            self.below[first + items.owners[item] as usize].push(u32::try_from(self.values.len()).unwrap_or(u32::MAX));
            self.values.push((part, items.index[item]));
            self.below.push(Vec::new());
        }
        let owners = items.owners.clone();
        Ok(Level { items, owners, first: next })
    }

    fn ordered(self, rows: usize) -> Items {
        let mut items = Items { parts: self.parts, ..Items::default() };
        let mut part = Vec::with_capacity(self.values.len());
        let mut waiting: Vec<u32> = Vec::new();
        for row in 0..rows {
            waiting.extend(self.below[row].iter().rev());
            while let Some(at) = waiting.pop() {
                let (of_part, index) = self.values[at as usize];
                items.owners.push(u32::try_from(row).unwrap_or(u32::MAX));
                items.index.push(index);
                part.push(of_part);
                waiting.extend(self.below[rows + at as usize].iter().rev());
            }
        }
        items.part = Some(part);
        items
    }
}
