//! Workbooks for tests: an uncompressed ZIP of the few XML parts that Excel needs.

use std::fmt::Write as _;

/// A sheet: its name and its XML body (`<sheetData>...`); `rows` makes one from cells.
pub(crate) struct SheetPart {
    pub(crate) name: String,
    pub(crate) xml: String,
}

/// A cell as a test writes it.
pub(crate) enum Value<'a> {
    None,
    Text(&'a str),
    Number(f64),
    /// A serial number with a date format.
    Date(f64),
    Error(&'a str),
    /// A formula whose value was never computed.
    Formula(&'a str),
}

pub(crate) fn sheet(name: &str, rows: &[Vec<Value<'_>>], merges: &[&str]) -> SheetPart {
    let mut xml = String::from("<sheetData>");
    for (row, cells) in rows.iter().enumerate() {
        write!(xml, "<row r=\"{}\">", row + 1).unwrap();
        for (column, value) in cells.iter().enumerate() {
            let place = format!("{}{}", char::from(b'A' + u8::try_from(column).unwrap()), row + 1);
            match value {
                Value::None => Ok(()),
                Value::Text(text) => write!(xml, "<c r=\"{place}\" t=\"inlineStr\"><is><t>{text}</t></is></c>"),
                Value::Number(number) => write!(xml, "<c r=\"{place}\"><v>{number}</v></c>"),
                Value::Date(serial) => write!(xml, "<c r=\"{place}\" s=\"1\"><v>{serial}</v></c>"),
                Value::Formula(text) => write!(xml, "<c r=\"{place}\"><f>{text}</f><v></v></c>"),
                Value::Error(text) => write!(xml, "<c r=\"{place}\" t=\"e\"><v>{text}</v></c>"),
            }
            .unwrap();
        }
        xml.push_str("</row>");
    }
    xml.push_str("</sheetData>");
    if !merges.is_empty() {
        let cells: String = merges.iter().map(|merge| format!("<mergeCell ref=\"{merge}\"/>")).collect();
        write!(xml, "<mergeCells count=\"{}\">{cells}</mergeCells>", merges.len()).unwrap();
    }
    SheetPart { name: name.to_owned(), xml }
}

pub(crate) fn workbook(sheets: &[SheetPart]) -> Vec<u8> {
    const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
    let mut list = String::new();
    let mut relations = String::new();
    let mut parts = Vec::new();
    for (number, sheet) in (1..).zip(sheets) {
        write!(list, "<sheet name=\"{}\" sheetId=\"{number}\" r:id=\"rId{number}\"/>", sheet.name).unwrap();
        write!(
            relations,
            "<Relationship Id=\"rId{number}\" Type=\"{RELATIONS}/worksheet\" Target=\"worksheets/sheet{number}.xml\"/>"
        )
        .unwrap();
        parts.push((
            format!("xl/worksheets/sheet{number}.xml"),
            format!("<?xml version=\"1.0\"?><worksheet xmlns=\"{MAIN}\">{}</worksheet>", sheet.xml),
        ));
    }
    write!(relations, "<Relationship Id=\"rId99\" Type=\"{RELATIONS}/styles\" Target=\"styles.xml\"/>").unwrap();
    parts.push((
        "xl/styles.xml".to_owned(),
        format!("<?xml version=\"1.0\"?><styleSheet xmlns=\"{MAIN}\"><cellXfs count=\"2\"><xf numFmtId=\"0\"/><xf numFmtId=\"14\"/></cellXfs></styleSheet>"),
    ));
    parts.push((
        "xl/workbook.xml".to_owned(),
        format!("<?xml version=\"1.0\"?><workbook xmlns=\"{MAIN}\" xmlns:r=\"{RELATIONS}\"><sheets>{list}</sheets></workbook>"),
    ));
    parts.push((
        "xl/_rels/workbook.xml.rels".to_owned(),
        format!("<?xml version=\"1.0\"?><Relationships xmlns=\"{PACKAGE}/relationships\">{relations}</Relationships>"),
    ));
    parts.push((
        "_rels/.rels".to_owned(),
        format!("<?xml version=\"1.0\"?><Relationships xmlns=\"{PACKAGE}/relationships\"><Relationship Id=\"rId1\" Type=\"{RELATIONS}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"),
    ));
    parts.push((
        "[Content_Types].xml".to_owned(),
        format!("<?xml version=\"1.0\"?><Types xmlns=\"{PACKAGE}/content-types\"><Default Extension=\"xml\" ContentType=\"application/xml\"/></Types>"),
    ));
    zip(&parts)
}

fn zip(parts: &[(String, String)]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, content) in parts {
        let mut checksum = flate2::Crc::new();
        checksum.update(content.as_bytes());
        let offset = u32::try_from(file.len()).unwrap();
        let length = u32::try_from(content.len()).unwrap().to_le_bytes();
        let mut header = Vec::new();
        header.extend_from_slice(&[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0]);
        header.extend_from_slice(&checksum.sum().to_le_bytes());
        header.extend_from_slice(&length);
        header.extend_from_slice(&length);
        header.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
        header.extend_from_slice(&[0, 0]);
        file.extend_from_slice(b"PK\x03\x04");
        file.extend_from_slice(&header);
        file.extend_from_slice(name.as_bytes());
        file.extend_from_slice(content.as_bytes());
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&header);
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(name.as_bytes());
    }
    let (start, size) = (u32::try_from(file.len()).unwrap(), u32::try_from(directory.len()).unwrap());
    let count = u16::try_from(parts.len()).unwrap().to_le_bytes();
    file.extend_from_slice(&directory);
    file.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    file.extend_from_slice(&count);
    file.extend_from_slice(&count);
    file.extend_from_slice(&size.to_le_bytes());
    file.extend_from_slice(&start.to_le_bytes());
    file.extend_from_slice(&[0, 0]);
    file
}
