//! Just enough of an Office Open XML workbook (ECMA-376, part 1) for one sheet of texts and dates.

use std::io::{Cursor, Write};

use chrono::NaiveDate;
use zip::{ZipWriter, write::SimpleFileOptions};

#[derive(Debug, Clone)]
pub(super) enum Cell {
    Empty,
    Text(String),
    Date(NaiveDate),
}

/// A sheet that is written row by row.
#[derive(Debug)]
pub(super) struct Sheet {
    name: String,
    columns: usize,
    rows: Vec<Vec<Cell>>,
    merged: Vec<String>,
}

const CONTENT_TYPES: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Default Extension="xml" ContentType="application/xml"/><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/><Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/><Override PartName="/xl/styles.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/></Types>"#;
const PACKAGE: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#;
const PARTS: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>"#;
/// Style 1 is the built-in short date (number format 14).
const STYLES: &str = r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><fonts count="1"><font/></fonts><fills count="1"><fill/></fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="14" applyNumberFormat="1"/></cellXfs></styleSheet>"#;

impl Sheet {
    pub(super) fn new(name: &str, columns: usize) -> Self {
        Self { name: name.to_owned(), columns, rows: Vec::new(), merged: Vec::new() }
    }

    /// A row of one text over all columns.
    pub(super) fn merged(&mut self, text: &str) {
        self.row(vec![Cell::Text(text.to_owned())]);
        let row = self.rows.len();
        self.merged.push(format!("A{row}:{}{row}", column(self.columns.saturating_sub(1))));
    }

    pub(super) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The workbook's bytes.
    pub(super) fn finish(self) -> anyhow::Result<Vec<u8>> {
        let workbook = format!(
            r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><sheets><sheet name="{}" sheetId="1" r:id="rId1"/></sheets></workbook>"#,
            escaped(&self.name)
        );
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, content) in [
            ("[Content_Types].xml", CONTENT_TYPES),
            ("_rels/.rels", PACKAGE),
            ("xl/workbook.xml", &workbook),
            ("xl/_rels/workbook.xml.rels", PARTS),
            ("xl/styles.xml", STYLES),
            ("xl/worksheets/sheet1.xml", &self.sheet()),
        ] {
            // The default time stamp is fixed, so that the same content gives the same bytes.
            zip.start_file(name, SimpleFileOptions::default().last_modified_time(zip::DateTime::default()))?;
            zip.write_all(content.as_bytes())?;
        }
        Ok(zip.finish()?.into_inner())
    }

    fn sheet(&self) -> String {
        let mut xml = String::from(
            r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetData>"#,
        );
        for (row, cells) in self.rows.iter().enumerate() {
            let row = row + 1;
            xml.push_str(&format!(r#"<row r="{row}">"#));
            for (index, cell) in cells.iter().enumerate() {
                let place = format!("{}{row}", column(index));
                match cell {
                    Cell::Empty => {}
                    Cell::Text(text) => xml.push_str(&format!(
                        r#"<c r="{place}" t="inlineStr"><is><t xml:space="preserve">{}</t></is></c>"#,
                        escaped(text)
                    )),
                    Cell::Date(day) => xml.push_str(&format!(r#"<c r="{place}" s="1"><v>{}</v></c>"#, serial(*day))),
                }
            }
            xml.push_str("</row>");
        }
        xml.push_str("</sheetData>");
        if !self.merged.is_empty() {
            xml.push_str(&format!(r#"<mergeCells count="{}">"#, self.merged.len()));
            for range in &self.merged {
                xml.push_str(&format!(r#"<mergeCell ref="{range}"/>"#));
            }
            xml.push_str("</mergeCells>");
        }
        xml.push_str("</worksheet>");
        xml
    }
}

/// The column's letters, from 0: A, B, ..., Z, AA, ...
fn column(mut index: usize) -> String {
    let mut letters = Vec::new();
    loop {
        letters.push(char::from(b'A' + u8::try_from(index % 26).unwrap_or(0)));
        if index < 26 {
            break;
        }
        index = index / 26 - 1;
    }
    letters.iter().rev().collect()
}

/// Days since 1899-12-30, which is how workbooks count from March 1900 on.
fn serial(day: NaiveDate) -> i64 {
    let start = NaiveDate::from_ymd_opt(1899, 12, 30).unwrap_or_default();
    day.signed_duration_since(start).num_days()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_lettered_as_workbooks_letter_them() {
        assert_eq!([0, 25, 26, 27, 51, 52].map(column), ["A", "Z", "AA", "AB", "AZ", "BA"]);
    }

    #[test]
    fn dates_are_counted_as_workbooks_count_them() {
        // 2024-01-01 is 45292 in every spreadsheet program.
        assert_eq!(serial(NaiveDate::from_ymd_opt(2024, 1, 1).unwrap()), 45292);
    }
}
