//! What the beginning of a CSV file says about the rest: the delimiter, titles above the table, the column names.

use std::collections::BTreeMap;

use tokio::runtime::Handle;

use super::{
    Shared,
    records::{Found, Records, distinct, split},
    text::{TextLines, decode, text_lines},
    values::{self, Texts},
};
use crate::{
    Error,
    objects::{FileEntry, unreadable},
};

/// Lines looked at to tell the delimiter, records to tell the names.
const SAMPLE: usize = 50;
/// Records above which no titles are looked for.
const TITLES: usize = 20;

/// What the beginning of a file says about the rest.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) delimiter: u8,
    pub(crate) names: Vec<String>,
    /// The line of the column names, or the last one above the rows where there are none; 0 where nothing is above them.
    pub(crate) header_line: u64,
    /// The columns at the end that have no name: a row may be shorter by so many.
    unnamed: usize,
    /// Titles above the table, and that it has no names.
    pub(crate) comment: Option<String>,
}

impl Head {
    /// The least and the greatest number of fields of a row.
    pub(crate) fn width(&self) -> (usize, usize) {
        (self.names.len() - self.unnamed, self.names.len())
    }
}

pub(super) fn head(shared: &Shared, runtime: &Handle, entry: &FileEntry) -> Result<Head, Error> {
    let open = || text_lines(shared, runtime, entry, 0, 0);
    head_of(&open, shared.delimiter, shared.params.header_row, entry)
}

/// What the beginning of a text says, with what was declared of it.
pub(crate) fn head_of(
    open: &dyn Fn() -> Result<TextLines, Error>,
    delimiter: Option<u8>,
    header_row: Option<u64>,
    entry: &FileEntry,
) -> Result<Head, Error> {
    let lines = sample_lines(open()?, entry)?;
    // Excel's own way to tell the delimiter.
    let told = lines.first().and_then(|(number, line)| Some((*number, told_delimiter(line)?)));
    let delimiter = delimiter.or(told.map(|(_, delimiter)| delimiter)).unwrap_or_else(|| {
        let sample: Vec<&[u8]> = lines.iter().map(|(_, line)| line.as_slice()).collect();
        detect(&sample)
    });
    let first_line = told.filter(|(_, told)| *told == delimiter).map_or(0, |(number, _)| number);
    let mut records = Records::new(open()?, delimiter, entry);
    let wanted = header_row;
    let mut found: Vec<Found> = Vec::new();
    while found.len() < SAMPLE
        && let Some(record) = records.next(None)?
    {
        let is_above = record.line <= first_line || wanted.is_some_and(|row| record.line < row);
        if !is_above {
            found.push(record);
        }
    }
    let no_names = || Error::Malformed {
        place: format!("file `{}`", entry.shown()),
        reason: "it has no line of column names".to_owned(),
    };
    let Some(first) = found.first() else { return Err(no_names()) };
    let encoding = records.text.encoding;
    let texts = |found: &Found| -> Option<Texts> {
        let decoded = |field: &Option<Vec<u8>>| match field {
            None => Some(None),
            Some(bytes) => decode(encoding, bytes).map(Some),
        };
        found.outcome.as_ref().ok()?.iter().map(decoded).collect()
    };
    let below = |place: usize| found[place + 1..].iter().filter_map(texts).collect::<Vec<Texts>>();
    let place = match wanted {
        None => header_of(&found),
        Some(_) => 0,
    };
    // What is below a first line of few names may be a row: better a title taken for names than a row lost.
    let is_row = |place: usize| texts(&found[place]).is_some_and(|names| values::is_row(&names, &below(place)));
    let place = if place > 0 && (is_row(place) || below(place).is_empty()) { 0 } else { place };
    let record = found.get(place).ok_or_else(no_names)?;
    let Ok(fields) = &record.outcome else {
        return Err(Error::Malformed {
            place: format!("file `{}` line {}", entry.shown(), record.line),
            reason: "the line of the column names cannot be read".to_owned(),
        });
    };
    let above = if place == 0 { first.line.saturating_sub(1) } else { found[place - 1].last_line };
    if wanted == Some(0) {
        let names = distinct(&vec![String::new(); fields.len()]);
        return Ok(Head { delimiter, names, header_line: first_line, unnamed: 0, comment: None });
    }
    let names = texts(record).ok_or_else(|| Error::Malformed {
        place: format!("file `{}` line {}", entry.shown(), record.line),
        reason: format!("the column names are not valid {}: set `encoding`", encoding.name()),
    })?;
    let mut said: Vec<String> = found[..place]
        .iter()
        .filter_map(texts)
        .map(|row| row.into_iter().flatten().collect::<Vec<_>>().join(" "))
        .collect();
    let (texts, header_line, unnamed) = if wanted.is_none() && is_row(place) {
        said.push(NO_NAMES.to_owned());
        (vec![String::new(); names.len()], above.max(first_line), 0)
    } else {
        let unnamed =
            names.iter().rev().take_while(|name| name.as_deref().unwrap_or_default().trim().is_empty()).count();
        let unnamed = if unnamed == names.len() { 0 } else { unnamed };
        (names.into_iter().map(Option::unwrap_or_default).collect(), record.last_line, unnamed)
    };
    let comment = (!said.is_empty()).then(|| said.join("; "));
    Ok(Head { delimiter, names: distinct(&texts), header_line, unnamed, comment })
}

/// Told of a table whose first row is one of values.
pub(super) const NO_NAMES: &str =
    "no row of column names was found; set `header_row` if one is there (1 for the first)";

fn sample_lines(mut text: TextLines, entry: &FileEntry) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    let mut sample = Vec::new();
    while sample.len() < SAMPLE {
        match text.lines.next_line().map_err(|error| unreadable(entry, &error))? {
            Some(line) if line.bytes.trim_ascii().is_empty() => {}
            Some(line) => sample.push((line.number, line.bytes)),
            None => break,
        }
    }
    Ok(sample)
}

/// The delimiter of a line `sep=;`.
fn told_delimiter(line: &[u8]) -> Option<u8> {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    let line = line.strip_prefix(b"\"").unwrap_or(line);
    let line = line.strip_suffix(b"\"").unwrap_or(line);
    let after = line.get(..4).filter(|start| start.eq_ignore_ascii_case(b"sep=")).and_then(|_| line.get(4..))?;
    match after {
        [delimiter] => Some(*delimiter),
        _ => None,
    }
}

/// Which record has the names: the first that has about as many texts as the fullest one. Titles have fewer.
fn header_of(found: &[Found]) -> usize {
    let texts = |found: &Found| found.outcome.as_ref().map_or(0, |fields| fields.iter().flatten().count());
    let widest = found.iter().map(texts).max().unwrap_or_default();
    let has_enough = |found: &Found| match &found.outcome {
        // Of two columns one may have no name; only a line without the delimiter is a title.
        Ok(fields) if widest <= 2 => fields.len() >= widest,
        // The first column of a table with row labels often has no name.
        Ok(fields) => texts(found) + usize::from(fields[0].is_none()) >= widest.div_ceil(2).max(2),
        Err(_) => false,
    };
    found.iter().take(TITLES).position(|found| has_enough(found) && texts(found) > 0).unwrap_or_default()
}

/// The delimiter that cuts the most lines evenly: into as many fields as the first line has, or (where titles stand above
/// the table) as most lines have.
fn detect(sample: &[&[u8]]) -> u8 {
    let score = |delimiter: u8| {
        let counts: Vec<usize> = sample.iter().map(|line| split(line, delimiter).0.len()).collect();
        let first = counts.first().copied().unwrap_or_default();
        let agreeing = counts.iter().filter(|count| **count == first).count();
        let by_first = if first < 2 { (0, 0) } else { (agreeing, first) };
        let mut widths: BTreeMap<usize, usize> = BTreeMap::new();
        for count in counts.iter().filter(|count| **count >= 2) {
            *widths.entry(*count).or_default() += 1;
        }
        // A comma in the sentences of a single column cuts them, too.
        let least = if delimiter == b',' { 3 } else { 2 };
        let by_most = widths
            .into_iter()
            .map(|(width, lines)| (lines, width))
            .max()
            .filter(|(lines, width)| *width >= least && *lines >= 2 && lines * 2 > counts.len());
        by_first.max(by_most.unwrap_or_default())
    };
    [b',', b';', b'\t', b'|'].into_iter().rev().max_by_key(|delimiter| score(*delimiter)).unwrap_or(b',')
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(&["a,b,c", "1,2,3"], b',')]
    #[case(&["a;b;c", "1,5;2,5;3", "2,5;3;4,5"], b';')]
    #[case(&["a\tb", "1\t2"], b'\t')]
    #[case(&["a|b|c", "x, y|2|3"], b'|')]
    #[case(&["only", "one"], b',')]
    #[case::titles(&["Export, service X", "le 12/01", "id;nom;ville", "1;A;Lyon", "2;B;Nice"], b';')]
    #[case::sentences(&["note", "hello, you", "well, then"], b',')]
    fn the_delimiter_is_the_one_that_cuts_evenly(#[case] lines: &[&str], #[case] delimiter: u8) {
        let sample: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        assert_eq!(detect(&sample), delimiter);
    }

    #[rstest]
    #[case("sep=;", Some(b';'))]
    #[case("SEP=\t", Some(b'\t'))]
    #[case("\"sep=,\"", Some(b','))]
    #[case("sepsis;1", None)]
    fn excels_line_tells_the_delimiter(#[case] line: &str, #[case] delimiter: Option<u8>) {
        assert_eq!(told_delimiter(line.as_bytes()), delimiter);
    }
}
