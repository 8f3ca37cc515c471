//! `COPY ... TO STDOUT`: rows as a file, in PostgreSQL's text, CSV and binary formats (manual of COPY, section "File
//! Formats").

use arrow::{array::RecordBatch, json::writer::EncoderOptions};
use bytes::{BufMut, BytesMut};

use super::{
    command::Words,
    failure::{Failure, state},
    lexer,
    output::{Wire, framed, sized},
    portal::{Running, Watch},
    settings::{is_utf8, quoted},
    values::{Format, Rows},
};

/// Bytes of rows that are gathered before they are sent.
const CHUNK: usize = 32 << 10;
/// How a binary file begins: the signature, no flags, no extension.
const BINARY_HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What is to be written, and how.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    pub(super) sql: String,
    kind: Kind,
    header: bool,
    delimiter: char,
    null: String,
    quote: char,
    escape: char,
    /// Every value in quotes, or those of these columns.
    quotes_all: bool,
    quoted: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Csv,
    Binary,
}

/// Reads what stands after COPY.
pub(super) fn read(mut words: Words<'_>) -> Result<Copy, Failure> {
    let sql = if words.takes_sign('(') {
        let begin = words.peek().map_or(0, |token| token.span.start);
        let mut depth = 0;
        loop {
            let token = words.peek().ok_or_else(|| words.incomplete(")"))?;
            words.at += 1;
            if token.is_sign('(') {
                depth += 1;
            } else if token.is_sign(')') && depth == 0 {
                break words.sql[begin..token.span.start].to_owned();
            } else if token.is_sign(')') {
                depth -= 1;
            }
        }
    } else {
        let mut name = quoted(&words.name()?);
        while words.takes_sign('.') {
            name = format!("{name}.{}", quoted(&words.name()?));
        }
        let columns = if words.takes_sign('(') { words.list()?.join(", ") } else { "*".to_owned() };
        format!("SELECT {columns} FROM {name}")
    };
    if words.takes("from") {
        return Err(Failure::error(state::UNSUPPORTED, "COPY FROM is not offered here")
            .with_hint("bring data in through a source, or with Flight SQL's bulk ingest"));
    }
    words.expect("to")?;
    if !words.takes("stdout") {
        return Err(Failure::error(state::FORBIDDEN, "COPY writes to STDOUT only, never to a file of the server"));
    }
    let mut read = Options::default();
    words.takes("with");
    if words.takes_sign('(') {
        while !words.takes_sign(')') {
            read.option(&mut words)?;
            words.takes_sign(',');
        }
    }
    while !words.is_at_end() {
        read.option(&mut words)?;
    }
    read.complete(sql)
}

#[derive(Default)]
struct Options {
    kind: Option<Kind>,
    header: bool,
    delimiter: Option<char>,
    null: Option<String>,
    quote: Option<char>,
    escape: Option<char>,
    quotes_all: bool,
    quoted: Vec<String>,
}

impl Options {
    fn option(&mut self, words: &mut Words<'_>) -> Result<(), Failure> {
        let name = words.name()?;
        match name.as_str() {
            "format" => {
                self.kind = Some(match words.value()?.to_lowercase().as_str() {
                    "text" => Kind::Text,
                    "csv" => Kind::Csv,
                    "binary" => Kind::Binary,
                    _ => return Err(Failure::error(state::BAD_SETTING, "COPY knows the formats text, csv and binary")),
                });
            }
            "csv" => self.kind = Some(Kind::Csv),
            "binary" => self.kind = Some(Kind::Binary),
            "header" => self.header = truth(words),
            "delimiter" | "delimiters" => self.delimiter = Some(letter(words, &name)?),
            "quote" => self.quote = Some(letter(words, &name)?),
            "escape" => self.escape = Some(letter(words, &name)?),
            "null" => {
                words.takes("as");
                self.null = Some(words.value()?);
            }
            "encoding" => {
                if !is_utf8(&words.value()?) {
                    return Err(Failure::error(state::BAD_SETTING, "texts are written in UTF8 only"));
                }
            }
            "force_quote" => self.force(words)?,
            "force" => {
                words.expect("quote")?;
                self.force(words)?;
            }
            _ => return Err(Failure::error(state::SYNTAX, format!("COPY has no option {name}"))),
        }
        Ok(())
    }

    fn force(&mut self, words: &mut Words<'_>) -> Result<(), Failure> {
        if words.takes_sign('*') {
            self.quotes_all = true;
        } else if words.takes_sign('(') {
            self.quoted.extend(words.list()?.into_iter().map(|name| name.trim_matches('"').to_owned()));
        } else {
            self.quoted.push(words.name()?);
        }
        Ok(())
    }

    fn complete(self, sql: String) -> Result<Copy, Failure> {
        let kind = self.kind.unwrap_or(Kind::Text);
        let csv = kind == Kind::Csv;
        if !csv && (self.quote.is_some() || self.escape.is_some() || self.quotes_all || !self.quoted.is_empty()) {
            return Err(Failure::error(state::UNSUPPORTED, "quotes are an option of the format csv"));
        }
        let quote = self.quote.unwrap_or('"');
        Ok(Copy {
            sql,
            kind,
            header: self.header,
            delimiter: self.delimiter.unwrap_or(if csv { ',' } else { '\t' }),
            null: self.null.unwrap_or_else(|| if csv { String::new() } else { "\\N".to_owned() }),
            quote,
            escape: self.escape.unwrap_or(quote),
            quotes_all: self.quotes_all,
            quoted: self.quoted,
        })
    }
}

/// The value of an option that is on or off, and on where none stands.
fn truth(words: &mut Words<'_>) -> bool {
    use lexer::Kind::{Number, Quoted, Text, Word};
    let Some(Word(value) | Quoted(value) | Text(value) | Number(value)) = words.peek().map(|token| &token.kind) else {
        return true;
    };
    let truth = match value.to_lowercase().as_str() {
        "true" | "on" | "1" | "match" => true,
        "false" | "off" | "0" => false,
        // The next option.
        _ => return true,
    };
    words.at += 1;
    truth
}

fn letter(words: &mut Words<'_>, name: &str) -> Result<char, Failure> {
    words.takes("as");
    let text = words.value()?;
    let mut letters = text.chars();
    match (letters.next(), letters.next()) {
        (Some(letter), None) if letter.is_ascii() && letter != '\n' && letter != '\r' => Ok(letter),
        _ => Err(Failure::error(state::BAD_SETTING, format!("{name} is a single character of one byte"))),
    }
}

impl Copy {
    /// Writes all rows; answers how many.
    pub(super) async fn send(&self, mut running: Running, wire: &mut Wire, watch: &Watch) -> Result<u64, Failure> {
        let width = running.schema.fields().len();
        let binary = self.kind == Kind::Binary;
        framed(&mut wire.out, b'H', |out| {
            out.put_u8(u8::from(binary));
            out.put_i16(i16::try_from(width).unwrap_or(i16::MAX));
            for _ in 0..width {
                out.put_i16(i16::from(binary));
            }
        });
        let names: Vec<String> = running
            .schema
            .fields()
            .iter()
            .map(|field| field.name().split('\0').next().unwrap_or_default().to_owned())
            .collect();
        let forced: Vec<bool> = names.iter().map(|name| self.quotes_all || self.quoted.contains(name)).collect();
        if self.header && !binary {
            framed(&mut wire.out, b'd', |out| {
                for (number, name) in names.iter().enumerate() {
                    self.between(number, out);
                    self.field(name.as_bytes(), false, out);
                }
                out.put_u8(b'\n');
            });
        }
        let mut count = 0;
        while let Some((batch, row)) = running.batch(watch, wire).await? {
            let head: &[u8] = if binary && count == 0 { BINARY_HEAD } else { &[] };
            let end = self.chunk(batch, *row, head, &forced, &mut wire.out)?;
            count += (end - *row) as u64;
            *row = end;
            wire.relieve().await.map_err(|_| Failure::fatal("08006", "the client went away"))?;
        }
        if binary {
            if count == 0 {
                framed(&mut wire.out, b'd', |out| out.put_slice(BINARY_HEAD));
            }
            framed(&mut wire.out, b'd', |out| out.put_i16(-1));
        }
        framed(&mut wire.out, b'c', |_| {});
        Ok(count)
    }

    /// Writes rows from `begin`, each as a message of its own as clients expect it, until they are enough for one go;
    /// `head` stands before the first of them in its message. Answers the next row.
    fn chunk(
        &self,
        batch: &RecordBatch,
        begin: usize,
        head: &[u8],
        forced: &[bool],
        out: &mut BytesMut,
    ) -> Result<usize, Failure> {
        let binary = self.kind == Kind::Binary;
        let formats = vec![if binary { Format::Binary } else { Format::Text }; batch.num_columns()];
        let options = EncoderOptions::default();
        let mut rows = Rows::new(batch, &formats, &options)?;
        let start = out.len();
        let mut value = BytesMut::new();
        let mut row = begin;
        while row < batch.num_rows() && out.len() - start < CHUNK {
            framed(out, b'd', |out| {
                if row == begin {
                    out.put_slice(head);
                }
                if binary {
                    out.put_i16(i16::try_from(rows.width()).unwrap_or(i16::MAX));
                }
                for column in 0..rows.width() {
                    value.clear();
                    let there = rows.value(column, row, &mut value);
                    match (binary, there) {
                        (true, true) => sized(out, false, |out| out.put_slice(&value)),
                        (true, false) => out.put_i32(-1),
                        (false, true) => {
                            self.between(column, out);
                            self.field(&value, forced.get(column).copied().unwrap_or_default(), out);
                        }
                        (false, false) => {
                            self.between(column, out);
                            out.put_slice(self.null.as_bytes());
                        }
                    }
                }
                if !binary {
                    out.put_u8(b'\n');
                }
            });
            row += 1;
        }
        Ok(row)
    }

    fn between(&self, column: usize, out: &mut BytesMut) {
        if column > 0 {
            out.put_u8(self.delimiter as u8);
        }
    }

    fn field(&self, value: &[u8], forced: bool, out: &mut BytesMut) {
        let (delimiter, quote, escape) = (self.delimiter as u8, self.quote as u8, self.escape as u8);
        if self.kind == Kind::Csv {
            let special = |byte: &u8| *byte == delimiter || *byte == quote || *byte == b'\n' || *byte == b'\r';
            if !forced && value != self.null.as_bytes() && !value.iter().any(special) && value != b"\\." {
                out.put_slice(value);
                return;
            }
            out.put_u8(quote);
            for byte in value {
                if *byte == quote || *byte == escape {
                    out.put_u8(escape);
                }
                out.put_u8(*byte);
            }
            out.put_u8(quote);
            return;
        }
        for byte in value {
            let letter = match byte {
                b'\\' => b'\\',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                8 => b'b',
                11 => b'v',
                12 => b'f',
                byte if *byte == delimiter => delimiter,
                byte => {
                    out.put_u8(*byte);
                    continue;
                }
            };
            out.put_u8(b'\\');
            out.put_u8(letter);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::{
        array::{Int64Array, StringArray},
        datatypes::{DataType, Field, Schema},
    };
    use rstest::rstest;

    use super::*;
    use crate::pgwire::{command, command::Command, lexer::tokens};

    fn copy(sql: &str) -> Result<Copy, Failure> {
        match command::read(sql, &tokens(sql).unwrap())? {
            Command::Copy(copy) => Ok(*copy),
            other => panic!("{other:?}"),
        }
    }

    /// The bodies of the messages that the rows are written in.
    fn messages(sql: &str, head: &[u8]) -> Vec<Vec<u8>> {
        let mut out = BytesMut::new();
        assert_eq!(copy(sql).unwrap().chunk(&batch(), 0, head, &[], &mut out).unwrap(), 4);
        let mut bodies = Vec::new();
        while !out.is_empty() {
            let length = u32::from_be_bytes(out[1..5].try_into().unwrap()) as usize;
            bodies.push(out.split_to(length + 1)[5..].to_vec());
        }
        bodies
    }

    fn batch() -> RecordBatch {
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, true), Field::new("t", DataType::Utf8, true)]);
        let texts = StringArray::from(vec![Some("a,\"b\""), None, Some("x\ty\\\n"), Some("")]);
        let numbers = Int64Array::from(vec![Some(1), Some(2), None, Some(4)]);
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(numbers), Arc::new(texts)]).unwrap()
    }

    #[rstest]
    #[case("COPY t TO STDOUT", "1\ta,\"b\"\n2\t\\N\n\\N\tx\\ty\\\\\\n\n4\t\n")]
    #[case("COPY t TO STDOUT WITH (FORMAT csv, NULL 'nil')", "1,\"a,\"\"b\"\"\"\n2,nil\nnil,\"x\ty\\\n\"\n4,\n")]
    #[case("COPY t TO STDOUT CSV DELIMITER ';'", "1;\"a,\"\"b\"\"\"\n2;\n;\"x\ty\\\n\"\n4;\"\"\n")]
    fn rows_are_written_as_copy_writes_them(#[case] sql: &str, #[case] expected: &str) {
        let rows = messages(sql, &[]);
        assert_eq!(rows.len(), 4);
        assert_eq!(String::from_utf8(rows.concat()).unwrap(), expected);
    }

    #[test]
    fn a_binary_file_begins_in_the_message_of_its_first_row() {
        let rows = messages("COPY t TO STDOUT (FORMAT binary)", BINARY_HEAD);
        assert_eq!(rows.len(), 4);
        assert!(rows[0].starts_with(BINARY_HEAD));
        assert_eq!(rows[1], b"\0\x02\0\0\0\x08\0\0\0\0\0\0\0\x02\xff\xff\xff\xff");
    }

    #[rstest]
    #[case("COPY t TO STDOUT CSV HEADER", true)]
    #[case("COPY t TO STDOUT CSV HEADER DELIMITER ';'", true)]
    #[case("COPY t TO STDOUT (FORMAT csv, HEADER true)", true)]
    #[case("COPY t TO STDOUT (HEADER on, FORMAT csv)", true)]
    #[case("COPY t TO STDOUT (FORMAT csv, HEADER 1)", true)]
    #[case("COPY t TO STDOUT (FORMAT csv, HEADER match)", true)]
    #[case("COPY t TO STDOUT (FORMAT csv, HEADER)", true)]
    #[case("COPY t TO STDOUT (HEADER off, FORMAT csv)", false)]
    #[case("COPY t TO STDOUT (FORMAT csv, HEADER 'false')", false)]
    #[case("COPY t TO STDOUT (FORMAT csv, HEADER 0)", false)]
    #[case("COPY t TO STDOUT (FORMAT csv)", false)]
    fn a_header_is_written_where_it_is_asked_for(#[case] sql: &str, #[case] header: bool) {
        assert_eq!(copy(sql).unwrap().header, header);
    }

    #[rstest]
    #[case("COPY raw.\"A\".t (a, b) TO STDOUT", "SELECT a, b FROM raw.\"A\".t")]
    #[case("copy (select (1) as x) to stdout (format binary)", "select (1) as x")]
    fn what_is_copied_is_a_query(#[case] sql: &str, #[case] query: &str) {
        assert_eq!(copy(sql).unwrap().sql, query);
    }

    #[rstest]
    #[case("COPY t TO '/tmp/x'")]
    #[case("COPY t FROM STDIN")]
    #[case("COPY t TO PROGRAM 'rm'")]
    #[case("COPY t TO STDOUT (FORMAT parquet)")]
    #[case("COPY t TO STDOUT (DELIMITER 'ab')")]
    fn what_copy_does_not_do_is_refused(#[case] sql: &str) {
        assert!(copy(sql).is_err());
    }
}
