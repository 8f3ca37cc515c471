//! Where on a sheet the table is: titles above it, headers of several rows, empty edges, notes below.

use arrow::datatypes::{DataType, TimeUnit};

use super::{
    grid::{Cell, Grid},
    head::NO_NAMES,
    header::{find_header, header_names, is_group_row, is_label_only, is_unit_row},
    records::distinct,
    values::{self, Texts},
};
use crate::{Error, SourceColumn};

/// A table found on a sheet.
#[derive(Debug)]
pub(super) struct Sheet {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Row>,
    /// Rows below the table: set apart from it by an empty row, or a legend that begins in another column.
    pub(super) notes: Vec<Row>,
    /// The titles above the table.
    pub(super) comment: Option<String>,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    data_type: DataType,
    /// The unit that stands between the header and the values.
    unit: Option<String>,
}

#[derive(Debug)]
pub(super) struct Row {
    /// On the sheet, counted from 1.
    pub(super) number: usize,
    pub(super) cells: Vec<Cell>,
}

impl Sheet {
    pub(super) fn source_columns(&self) -> Vec<SourceColumn> {
        self.columns
            .iter()
            .map(|column| SourceColumn {
                name: column.name.clone(),
                data_type: column.data_type.clone(),
                nullable: true,
                source_type: match column.data_type {
                    DataType::Utf8 => "text",
                    DataType::Boolean => "boolean",
                    DataType::Date32 => "date",
                    DataType::Timestamp(..) => "date and time",
                    _ => "number",
                }
                .to_owned(),
                comment: column.unit.as_ref().map(|unit| format!("unit: {unit}")),
            })
            .collect()
    }

    /// Adds the columns of the same sheet of another workbook; a column of two types becomes text.
    pub(super) fn join(&mut self, other: Sheet, file: &str) -> Result<(), Error> {
        let shared = other.columns.iter().any(|column| self.columns.iter().any(|known| known.name == column.name));
        if !shared {
            return Err(Error::Malformed {
                place: format!("file `{file}`"),
                reason: "its sheet shares no column with the workbooks before it".to_owned(),
            });
        }
        for column in other.columns {
            match self.columns.iter_mut().find(|known| known.name == column.name) {
                Some(known) => known.data_type = wider(&known.data_type, &column.data_type),
                None => self.columns.push(column),
            }
        }
        self.rows.extend(other.rows);
        Ok(())
    }
}

fn wider(one: &DataType, two: &DataType) -> DataType {
    match (one, two) {
        _ if one == two => one.clone(),
        (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => DataType::Float64,
        _ => DataType::Utf8,
    }
}

/// Finds the table of a sheet; `header_row` (counted from 1, 0: none) says where its names stand, if that is known.
pub(super) fn find_table(grid: &Grid, header_row: Option<u64>) -> Option<Sheet> {
    if grid.is_empty() {
        return None;
    }
    let header = match header_row {
        Some(0) => None,
        Some(row) => {
            let row = usize::try_from(row).ok()?.checked_sub(grid.first_row)?;
            (row < grid.rows.len()).then_some((row, row))
        }
        None => find_header(grid).filter(|header| !is_row_of_values(grid, *header)),
    };
    let names = header.map_or_else(
        || vec![String::new(); grid.last_column()],
        |header| header_names(grid, header, header_row.is_some()),
    );
    let mut first = header.map_or(0, |(_, last)| last + 1);
    let units = (header.is_some() && is_unit_row(grid, first)).then(|| {
        first += 1;
        grid.rows[first - 1].iter().map(Cell::text).collect::<Vec<_>>()
    });
    let (rows, notes) = body(grid, first, names.iter().filter(|name| !name.is_empty()).count());
    // A column is one if it has a name or a value in the table itself; notes beside or below make none.
    let kept: Vec<usize> = (0..grid.last_column())
        .filter(|place| {
            let is_named = names.get(*place).is_some_and(|name| !name.is_empty());
            let has_values = rows.iter().any(|row| row.cells.get(*place).is_some_and(|cell| !cell.is_empty()));
            has_values || (is_named && !is_label_only(grid, header, *place))
        })
        .collect();
    let texts: Vec<String> = kept.iter().map(|place| names.get(*place).cloned().unwrap_or_default()).collect();
    let keep = |rows: Vec<Row>| -> Vec<Row> {
        rows.into_iter()
            .map(|row| Row {
                number: row.number,
                cells: kept.iter().map(|place| row.cells.get(*place).cloned().unwrap_or(Cell::Empty)).collect(),
            })
            .collect()
    };
    let rows = keep(rows);
    let columns = distinct(&texts)
        .into_iter()
        .enumerate()
        .map(|(place, name)| Column {
            name,
            data_type: type_of(rows.iter().map(|row| &row.cells[place])),
            unit: units.as_ref().and_then(|units| units.get(kept[place]).cloned().flatten()),
        })
        .collect();
    let titles = header.map_or(0, |(first, _)| first);
    let comment = titles_above(grid, titles);
    let comment = if header.is_none() && header_row.is_none() { Some(NO_NAMES.to_owned()) } else { comment };
    Some(Sheet { columns, rows, notes, comment })
}

/// Whether what was taken for the names is the first row of the table: a row of texts, like those below it.
fn is_row_of_values(grid: &Grid, (first, last): (usize, usize)) -> bool {
    let texts = |row: &Vec<Cell>| row.iter().map(Cell::text).collect::<Texts>();
    // What has titles above it is no first row.
    first == last
        && (0..first).all(|row| grid.width(row) == 0)
        && values::is_row(
            &texts(&grid.rows[first]),
            &grid.rows[first + 1..].iter().take(values::ROWS).map(texts).collect::<Vec<_>>(),
        )
}

/// Whether a row begins with the word that sums stand behind.
pub(super) fn is_total(row: &Row) -> bool {
    const WORDS: [&str; 11] = [
        "total",
        "totaux",
        "total général",
        "total general",
        "grand total",
        "sous-total",
        "sous total",
        "subtotal",
        "somme",
        "sum",
        "totals",
    ];
    let first = row.cells.iter().find_map(Cell::text).unwrap_or_default().to_lowercase();
    WORDS.contains(&first.trim().trim_end_matches(':').trim())
}

/// The rows of the table, and the notes below it.
fn body(grid: &Grid, first: usize, named: usize) -> (Vec<Row>, Vec<Row>) {
    let narrow = (named * 2 / 5).max(if named > 2 { 2 } else { 0 }).min(named.saturating_sub(1));
    // The table ends at the first empty row below which every row is narrow.
    let end = (first..grid.rows.len())
        .find(|row| {
            grid.width(*row) == 0
                && *row > first
                && (*row + 1..grid.rows.len()).all(|below| grid.width(below) <= narrow)
        })
        .unwrap_or(grid.rows.len());
    let row = |place: usize| Row {
        number: grid.first_row + place,
        cells: (0..grid.rows[place].len()).map(|column| merged_value(grid, place, column, first)).collect(),
    };
    let present =
        |from: usize, to: usize| (from..to).filter(|place| grid.width(*place) > 0).map(row).collect::<Vec<Row>>();
    let mut rows = present(first, end);
    let legend = rows.split_off(rows.len() - legend_rows(&rows, narrow));
    // Sums are no rows: who adds up the column would count everything twice.
    let totals = rows.iter().skip(1).rev().take_while(|row| is_total(row)).count();
    let totals = rows.split_off(rows.len() - totals);
    (rows, totals.into_iter().chain(legend).chain(present(end, grid.rows.len())).collect())
}

/// How many of the last rows are a legend right below the table: narrow, and without what every row above them begins
/// with.
fn legend_rows(rows: &[Row], narrow: usize) -> usize {
    let Some(start) = rows.first().and_then(|row| row.cells.iter().position(|cell| !cell.is_empty())) else { return 0 };
    let begins = |row: &Row| row.cells.get(start).is_some_and(|cell| !cell.is_empty());
    let is_narrow = |row: &Row| row.cells.iter().filter(|cell| !cell.is_empty()).count() <= narrow;
    let legend = rows.iter().rev().take_while(|row| is_narrow(row) && !begins(row)).count();
    if rows[..rows.len() - legend].iter().all(begins) { legend } else { 0 }
}

/// A cell's value, or that of the merged cell (within the table, over several rows) it belongs to.
fn merged_value(grid: &Grid, row: usize, column: usize, first: usize) -> Cell {
    let cell = &grid.rows[row][column];
    if !cell.is_empty() {
        return cell.clone();
    }
    grid.merges
        .iter()
        .find(|merge| {
            merge.rows.0 >= first
                && merge.columns.0 == merge.columns.1
                && merge.columns.0 == column
                && (merge.rows.0..=merge.rows.1).contains(&row)
        })
        .and_then(|merge| grid.rows[merge.rows.0].get(merge.columns.0).cloned())
        .unwrap_or(Cell::Empty)
}

fn titles_above(grid: &Grid, first: usize) -> Option<String> {
    let titles: Vec<String> = (0..first)
        .filter(|row| !is_group_row(grid, *row))
        .flat_map(|row| grid.rows[row].iter().filter_map(Cell::text))
        .collect();
    (!titles.is_empty()).then(|| titles.join("; "))
}

/// The type that every cell has; text where they differ.
fn type_of<'a>(cells: impl Iterator<Item = &'a Cell>) -> DataType {
    let mut found: Option<DataType> = None;
    for cell in cells {
        let data_type = match cell {
            Cell::Empty => continue,
            Cell::Text(_) => DataType::Utf8,
            Cell::Number(number) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => DataType::Int64,
            Cell::Number(_) => DataType::Float64,
            Cell::Boolean(_) => DataType::Boolean,
            Cell::Date(_) => DataType::Date32,
            Cell::Time(_) => DataType::Timestamp(TimeUnit::Microsecond, None),
        };
        found = Some(match found {
            None => data_type,
            Some(known) => match (&known, &data_type) {
                (DataType::Date32, DataType::Timestamp(..)) | (DataType::Timestamp(..), DataType::Date32) => {
                    DataType::Timestamp(TimeUnit::Microsecond, None)
                }
                _ => wider(&known, &data_type),
            },
        });
    }
    found.unwrap_or(DataType::Utf8)
}

#[cfg(test)]
mod tests {
    use super::{super::grid::Merge, *};

    /// First and last row, first and last column.
    type Span = ((usize, usize), (usize, usize));

    /// A grid from text: cells by `|`, numbers as numbers.
    fn grid(text: &str, merges: &[Span]) -> Grid {
        let rows: Vec<Vec<Cell>> = text
            .lines()
            .map(|line| {
                line.split('|')
                    .map(|cell| match cell.trim() {
                        "" => Cell::Empty,
                        cell => cell.parse().map_or_else(|_| Cell::Text(cell.to_owned()), Cell::Number),
                    })
                    .collect()
            })
            .collect();
        let width = rows.iter().map(Vec::len).max().unwrap_or_default();
        let rows = rows
            .into_iter()
            .map(|mut row| {
                row.resize(width, Cell::Empty);
                row
            })
            .collect();
        let merges = merges.iter().map(|(rows, columns)| Merge { rows: *rows, columns: *columns }).collect();
        Grid { rows, merges, first_row: 1 }
    }

    fn names(sheet: &Sheet) -> Vec<&str> {
        sheet.columns.iter().map(|column| column.name.as_str()).collect()
    }

    #[test]
    fn titles_above_and_groups_over_the_header_are_told_apart() {
        let grid = grid(
            "STOP Study\n\n | |Visit 1| |Visit 2\nid|sex|BP|HR|BP|HR\n1|F|1/2|3|1/2|3\n2|M|1/2|3|1/2|3",
            &[((2, 2), (2, 3)), ((2, 2), (4, 5))],
        );
        let sheet = find_table(&grid, None).unwrap();
        assert_eq!(names(&sheet), ["id", "sex", "Visit 1_BP", "Visit 1_HR", "Visit 2_BP", "Visit 2_HR"]);
        assert_eq!(sheet.comment.as_deref(), Some("STOP Study"));
        assert_eq!(sheet.rows.iter().map(|row| row.number).collect::<Vec<_>>(), [5, 6]);
        assert_eq!(sheet.columns[0].data_type, DataType::Int64);
        assert_eq!(sheet.columns[2].data_type, DataType::Utf8);
    }

    #[test]
    fn a_header_spread_over_rows_is_put_together() {
        let grid = grid(
            " | | |Arm|Yes| |No\n | | |Infarct|Yes|No|Yes|No\nRace|Hisp|Sex\nWhite|No|M| |1|2|3|4\n | |F| |5|6|7|8",
            &[],
        );
        let sheet = find_table(&grid, None).unwrap();
        assert_eq!(names(&sheet), ["Race", "Hisp", "Sex", "Yes", "Yes_No", "No_Yes", "No"]);
        assert_eq!(sheet.rows.len(), 2);
    }

    #[test]
    fn a_merged_header_over_two_rows_gives_group_and_name() {
        let grid = grid(
            "Patient| |Contact\nNom|Prénom|Ville|Tel\nDupont|Anne|Lyon|01\nPetit|Luc|Nice|02",
            &[((0, 0), (0, 1)), ((0, 0), (2, 3))],
        );
        let sheet = find_table(&grid, None).unwrap();
        assert_eq!(names(&sheet), ["Patient_Nom", "Patient_Prénom", "Contact_Ville", "Contact_Tel"]);
        assert_eq!(sheet.rows.len(), 2);
    }

    #[test]
    fn notes_below_and_far_cells_are_no_rows_and_no_columns() {
        let grid = grid("a|b|c\n1|2|3\n4|5|6\n\nx = 1\ny = 2\n | | | | |7", &[]);
        let sheet = find_table(&grid, None).unwrap();
        assert_eq!(names(&sheet), ["a", "b", "c"]);
        assert_eq!((sheet.rows.len(), sheet.notes.len()), (2, 3));
    }

    #[test]
    fn a_legend_right_below_the_table_is_no_row() {
        let grid = grid("id|race|sex|v\n1|1|2|5\n\n2|2|1|6\n |Code|Code\n |1 = White|1 = Male\n |2 = Black", &[]);
        let sheet = find_table(&grid, None).unwrap();
        assert_eq!((sheet.rows.len(), sheet.notes.len()), (2, 3));
        assert_eq!(sheet.columns[1].data_type, DataType::Int64);
    }

    #[test]
    fn an_empty_row_inside_the_table_ends_nothing() {
        let grid = grid("a|b|c\n1|2|3\n\n4|5|6", &[]);
        let sheet = find_table(&grid, None).unwrap();
        assert_eq!(sheet.rows.iter().map(|row| row.number).collect::<Vec<_>>(), [2, 4]);
    }

    #[test]
    fn units_under_the_header_are_kept_as_units() {
        let grid = grid("id|weight|pressure\n |(kg)|mmHg\n1|80|120\n2|75|130", &[]);
        let sheet = find_table(&grid, None).unwrap();
        assert_eq!(sheet.rows.len(), 2);
        assert_eq!(sheet.source_columns()[1].comment.as_deref(), Some("unit: (kg)"));
        assert_eq!(sheet.columns[2].data_type, DataType::Int64);
    }

    #[test]
    fn a_table_of_text_only_keeps_its_first_row() {
        let grid = grid("name|city|sex\nAnne|Lyon|F\nLuc||M\nZoe|Nice|", &[]);
        let sheet = find_table(&grid, None).unwrap();
        assert_eq!(names(&sheet), ["name", "city", "sex"]);
        assert_eq!(sheet.rows.len(), 3);
    }

    #[test]
    fn one_column_of_mixed_cells_is_text_and_loses_nothing() {
        let grid = grid("id|v\n1|2\n2|N/A\n3|2.5", &[]);
        let sheet = find_table(&grid, None).unwrap();
        let values: Vec<Option<String>> = sheet.rows.iter().map(|row| row.cells[1].text()).collect();
        assert_eq!(sheet.columns[1].data_type, DataType::Utf8);
        assert_eq!(values, [Some("2".to_owned()), Some("N/A".to_owned()), Some("2.5".to_owned())]);
    }

    #[test]
    fn sums_below_the_table_are_no_rows() {
        let grid = grid("nom|lits|total\nA|2|3\nTotal|4|1\nB|5|6\nSous-total|7|9\nTotal :|9|10", &[]);
        let sheet = find_table(&grid, None).unwrap();
        assert_eq!(sheet.rows.iter().map(|row| row.number).collect::<Vec<_>>(), [2, 3, 4]);
        assert_eq!(sheet.notes.iter().map(|row| row.number).collect::<Vec<_>>(), [5, 6]);
    }

    #[test]
    fn years_are_names_of_columns() {
        let sheet = find_table(&grid("service|2021|2022|2023\nA|1|2|3\nB|4|5|6", &[]), None).unwrap();
        assert_eq!(names(&sheet), ["service", "2021", "2022", "2023"]);
        assert_eq!(sheet.rows.len(), 2);
    }

    #[test]
    fn a_sheet_of_texts_without_names_keeps_its_first_row() {
        let sheet = find_table(&grid("A1|Anne|1950-01-02\nA2|Luc|1961-03-04\nA3|Zoe|1972-05-06", &[]), None).unwrap();
        assert_eq!(names(&sheet), ["column_1", "column_2", "column_3"]);
        assert_eq!(sheet.rows.len(), 3);
        assert!(sheet.comment.unwrap().contains("header_row"));
    }

    #[test]
    fn a_header_row_that_is_given_is_taken() {
        let grid = grid("x|y\nid|v\n1|2", &[]);
        assert_eq!(names(&find_table(&grid, Some(2)).unwrap()), ["id", "v"]);
        assert_eq!(names(&find_table(&grid, Some(0)).unwrap()), ["column_1", "column_2"]);
    }
}
