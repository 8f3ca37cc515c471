//! Where the header of a sheet's table is, and what it calls each column.

use super::grid::{Cell, Grid, Merge};

/// Rows above a table in which its header is looked for.
const HEADER_SEARCH_ROWS: usize = 40;

/// The first and last row of the header; `None` where the sheet begins with values.
pub(super) fn find_header(grid: &Grid) -> Option<(usize, usize)> {
    let search = grid.rows.len().min(HEADER_SEARCH_ROWS);
    // Notes may be wide in one row; what counts is how wide the rows of the table are.
    let widest = (0..grid.rows.len()).map(|row| grid.width(row)).max().unwrap_or_default();
    // A title is one cell: the header of a table of two columns is not.
    let enough = widest.div_ceil(2).max(widest.min(2));
    let first = (0..search).find(|row| grid.width(*row) >= enough)?;
    let text_cells = grid.rows[first].iter().filter(|cell| cell.is_text()).count();
    // Names may be years, but a row of values is mostly not text.
    if text_cells * 2 < grid.width(first) && !has_years(grid, first) {
        let above = first.checked_sub(1).filter(|row| grid.is_text_row(*row) && grid.width(*row) >= 2);
        return above.map(|row| (row, row));
    }
    let mut last = first;
    while last + 1 < grid.rows.len() && continues_header(grid, first, last + 1) {
        last += 1;
    }
    Some((first, last))
}

/// Whether the numbers of a row are years that rise one by one, behind a text: `service, 2021, 2022, 2023`.
fn has_years(grid: &Grid, row: usize) -> bool {
    let cells: Vec<&Cell> = grid.rows[row].iter().filter(|cell| !cell.is_empty()).collect();
    let mut years = Vec::new();
    for cell in &cells {
        match cell {
            Cell::Number(year) => years.push(*year),
            Cell::Text(_) if years.is_empty() => {}
            _ => return false,
        }
    }
    years.len() >= 2
        && years.len() < cells.len()
        && years.iter().all(|year| (1900.0..2200.0).contains(year) && year.fract() == 0.0)
        && years.windows(2).all(|pair| pair[1] - pair[0] == 1.0)
}

/// Whether a row gives names to columns that the header has none for yet, and to no other.
fn continues_header(grid: &Grid, first: usize, row: usize) -> bool {
    if grid.width(row) == 0 || !grid.is_text_row(row) || row + 1 >= grid.rows.len() {
        return false;
    }
    let is_named =
        |place: usize| (first..row).any(|above| grid.rows[above].get(place).is_some_and(|cell| !cell.is_empty()));
    let complements = grid.rows[row].iter().enumerate().all(|(place, cell)| cell.is_empty() || !is_named(place));
    // A header cell merged over several rows has its columns named already.
    let under_a_merge = grid.merges.iter().any(|merge| {
        merge.rows.0 >= first && merge.rows.0 < row && merge.rows.1 >= row && merge.columns.0 < grid.rows[row].len()
    });
    let under_a_group = grid.merges.iter().any(|merge| {
        merge.rows == (row - 1, row - 1)
            && row > first
            && merge.columns.1 > merge.columns.0
            && grid.rows[row - 1].get(merge.columns.0).is_some_and(|cell| !cell.is_empty())
    });
    complements || under_a_merge || under_a_group
}

/// One name per column: what stands over it, from the outermost group to its own cell, joined by `_`.
///
/// Over a header row that is given, only merged cells are groups.
pub(super) fn header_names(grid: &Grid, (first, last): (usize, usize), is_given: bool) -> Vec<String> {
    let is_group =
        |row: &usize| is_group_row(grid, *row) && (!is_given || grid.merges.iter().any(|merge| merge.rows.0 == *row));
    let groups = (first.saturating_sub(2)..first).rev().take_while(is_group).last().unwrap_or(first);
    let columns = grid.last_column();
    let mut names: Vec<Vec<String>> = vec![Vec::new(); columns];
    for row in groups..=last {
        let spread = spread_labels(grid, row, row < first, columns);
        for (name, label) in names.iter_mut().zip(spread) {
            if let Some(label) = label
                && name.last() != Some(&label)
            {
                name.push(label);
            }
        }
    }
    let own = |place: usize| {
        (first..=last).any(|row| grid.rows[row].get(place).is_some_and(|cell| !cell.is_empty()))
            || grid.merges.iter().any(|merge| {
                merge.rows.0 <= last && merge.rows.1 >= first && (merge.columns.0..=merge.columns.1).contains(&place)
            })
    };
    names
        .into_iter()
        .enumerate()
        .map(|(place, parts)| if own(place) { parts.join("_") } else { String::new() })
        .collect()
}

/// A row of group names: several cells, or one that is merged over several columns. A single cell is a title.
pub(super) fn is_group_row(grid: &Grid, row: usize) -> bool {
    let width = grid.width(row);
    let merged = grid.merges.iter().filter(|merge| {
        merge.rows.0 == row
            && merge.columns.1 > merge.columns.0
            && grid.rows[row].get(merge.columns.0).is_some_and(|cell| !cell.is_empty())
    });
    let spans_all = |merge: &Merge| merge.columns.1 - merge.columns.0 + 1 >= grid.last_column();
    grid.is_text_row(row)
        && (width >= 2 || (width == 1 && merged.clone().count() == 1 && !merged.clone().any(spans_all)))
}

/// The label over each column in a row: its own, that of the merged cell it belongs to, or (in a row of groups without
/// merged cells) the nearest to its left.
fn spread_labels(grid: &Grid, row: usize, is_group: bool, columns: usize) -> Vec<Option<String>> {
    let label = |cell: &Cell| cell.text().map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let mut labels: Vec<Option<String>> = (0..columns).map(|place| grid.rows[row].get(place).and_then(label)).collect();
    let mut has_merges = false;
    for merge in grid.merges.iter().filter(|merge| (merge.rows.0..=merge.rows.1).contains(&row)) {
        has_merges |= merge.columns.1 > merge.columns.0;
        let text = grid.rows[merge.rows.0].get(merge.columns.0).and_then(label);
        let span = merge.columns.1.saturating_sub(merge.columns.0) + 1;
        for place in labels.iter_mut().skip(merge.columns.0).take(span) {
            place.clone_from(&text);
        }
    }
    if is_group && !has_merges {
        let mut current = None;
        for place in labels.iter_mut() {
            match place {
                Some(_) => current.clone_from(place),
                None => place.clone_from(&current),
            }
        }
    }
    labels
}

/// A column that holds nothing but the header's own labels.
pub(super) fn is_label_only(grid: &Grid, header: Option<(usize, usize)>, place: usize) -> bool {
    header.is_some_and(|(first, last)| last > first && grid.rows[last].get(place).is_none_or(Cell::is_empty))
}

/// A row right under the header whose every cell is a unit: `(kg)`, `[mmHg]`, `mg/dL`.
pub(super) fn is_unit_row(grid: &Grid, row: usize) -> bool {
    let Some(cells) = grid.rows.get(row) else { return false };
    let texts: Vec<&str> = cells
        .iter()
        .filter_map(|cell| match cell {
            Cell::Text(text) => Some(text.trim()),
            _ => None,
        })
        .collect();
    let bracketed =
        |text: &str| (text.starts_with('(') && text.ends_with(')')) || (text.starts_with('[') && text.ends_with(']'));
    let unit = |text: &str| {
        const UNITS: [&str; 22] = [
            "kg", "g", "mg", "cm", "m", "mm", "mmhg", "mm hg", "bpm", "%", "years", "ans", "days", "jours", "°c", "c",
            "ml", "l", "h", "min", "kg/m2", "kg/m²",
        ];
        UNITS.contains(&text.to_lowercase().as_str())
            || (text.contains('/') && text.len() <= 10 && !text.contains(char::is_numeric))
    };
    !texts.is_empty()
        && texts.len() == grid.width(row)
        && texts.iter().all(|text| bracketed(text) || unit(text))
        && grid.rows.len() > row + 1
}
