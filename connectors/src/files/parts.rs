//! Tables that stand one below the other on a sheet.
//!
//! A table of its own begins after an empty row, with names: a row of texts where the table above has numbers or dates,
//! with numbers or dates below it again. Anything less is a row like the others, or a note.

use std::{collections::BTreeSet, ops::Range};

use super::grid::{Cell, Grid, Merge};

static EMPTY: Cell = Cell::Empty;

/// The rows of each table; one range where there is only one.
pub(super) fn parts(grid: &Grid) -> Vec<Range<usize>> {
    let mut starts = vec![0];
    // Titles set apart from the table below them by an empty row.
    let mut title: Option<usize> = None;
    for block in blocks(grid).into_iter().skip(1) {
        let start = title.unwrap_or(block.start);
        let above = starts.last().copied().unwrap_or_default()..start;
        if is_table(grid, above, &block) {
            starts.push(start);
            title = None;
        } else if block.clone().all(|row| grid.width(row) == 1) {
            title = title.or(Some(block.start));
        } else {
            title = None;
        }
    }
    let ends = starts.iter().skip(1).copied().chain([grid.rows.len()]);
    starts.iter().copied().zip(ends).map(|(start, end)| start..end).collect()
}

/// Some rows of a grid, as a grid.
pub(super) fn part(grid: &Grid, rows: &Range<usize>) -> Grid {
    let merges = grid
        .merges
        .iter()
        .filter(|merge| merge.rows.0 >= rows.start && merge.rows.1 < rows.end)
        .map(|merge| Merge { rows: (merge.rows.0 - rows.start, merge.rows.1 - rows.start), columns: merge.columns })
        .collect();
    Grid { rows: grid.rows[rows.clone()].to_vec(), merges, first_row: grid.first_row + rows.start }
}

/// Runs of rows that are not empty.
fn blocks(grid: &Grid) -> Vec<Range<usize>> {
    let mut blocks: Vec<Range<usize>> = Vec::new();
    for row in (0..grid.rows.len()).filter(|row| grid.width(*row) > 0) {
        match blocks.last_mut() {
            Some(block) if block.end == row => block.end = row + 1,
            _ => blocks.push(row..row + 1),
        }
    }
    blocks
}

fn is_table(grid: &Grid, above: Range<usize>, block: &Range<usize>) -> bool {
    // A title may stand right above the names.
    let Some(names) = block.clone().find(|row| grid.width(*row) > 1) else { return false };
    let is_typed = |cell: &Cell| !cell.is_empty() && !cell.is_text();
    let cell = |row: usize, column: usize| grid.rows[row].get(column).unwrap_or(&EMPTY);
    let texts: Vec<String> = grid.rows[names].iter().filter_map(Cell::text).collect();
    let distinct: BTreeSet<&String> = texts.iter().collect();
    grid.is_text_row(names)
        && distinct.len() == texts.len()
        // Names may come again, page by page.
        && above.clone().all(|row| grid.rows[row].iter().filter_map(Cell::text).collect::<Vec<_>>() != texts)
        && (names + 1..block.end).any(|row| grid.rows[row].iter().any(is_typed))
        && (0..grid.rows[names].len()).any(|column| {
            // From the first value on, names and titles above it left out.
            let values: Vec<bool> = above
                .clone()
                .filter(|row| !cell(*row, column).is_empty())
                .map(|row| is_typed(cell(row, column)))
                .skip_while(|typed| !typed)
                .collect();
            let typed = values.iter().filter(|typed| **typed).count();
            !cell(names, column).is_empty() && typed > 0 && typed * 2 >= values.len()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn grid(text: &str) -> Grid {
        let cell = |cell: &str| match cell.trim() {
            "" => Cell::Empty,
            cell => cell.parse().map_or_else(|_| Cell::Text(cell.to_owned()), Cell::Number),
        };
        let rows = text.lines().map(|line| line.split('|').map(cell).collect()).collect();
        Grid { rows, merges: Vec::new(), first_row: 1 }
    }

    #[rstest]
    #[case::one("id|nom\n1|A\n2|B", &[(0, 3)])]
    #[case::two("Patients\nid|nom\n1|A\n2|B\n\nSejours\nsid|pid\n10|1", &[(0, 5), (5, 8)])]
    #[case::a_title_set_apart("id|nom\n1|A\n\nSejours\n\nsid|pid\n10|1", &[(0, 3), (3, 7)])]
    #[case::three("a|b\n1|2\n\nc|d\n3|4\n\ne|f\n5|6", &[(0, 3), (3, 6), (6, 8)])]
    #[case::a_gap_in_the_rows("id|nom\n1|A\n\n2|B", &[(0, 4)])]
    #[case::names_on_every_page("id|nom\n1|A\n\nid|nom\n2|B", &[(0, 5)])]
    #[case::a_legend("id|sexe\n1|2\n\nsexe|1 = F\n|2 = M", &[(0, 5)])]
    #[case::texts_alone("nom|ville\nA|B\n\nC|D\nE|F", &[(0, 5)])]
    fn tables_one_below_the_other_are_told_apart(#[case] text: &str, #[case] wanted: &[(usize, usize)]) {
        let found: Vec<(usize, usize)> = parts(&grid(text)).into_iter().map(|rows| (rows.start, rows.end)).collect();
        assert_eq!(found, wanted);
    }
}
