//! Values of dictionaries that were given up, written out.
//!
//! A writer begins a column chunk with a dictionary of its values and gives it up when that grows too large: the pages after it
//! hold the values themselves. Parquet's reader decodes the whole dictionary before any page, up to a megabyte for one row. So a
//! chunk of that kind is kept with all of its pages as they are after the dictionary (Parquet, "Encodings": `PLAIN`, and
//! `RLE_DICTIONARY` over the RLE / bit-packing hybrid).

use std::ops::Range;

use bytes::Bytes;
use parquet::{
    basic::{Encoding, Type},
    column::page::Page,
    file::metadata::ColumnChunkMetaData,
};

/// The values of a chunk's dictionary.
#[derive(Debug)]
struct Dictionary<'a> {
    bytes: &'a [u8],
    /// Where each value is, as a `PLAIN` page has it: text and bytes with their length before.
    values: Vec<Range<usize>>,
}

/// The pages of values without the dictionary, where these are of a chunk that gave it up and do not get much larger so. `pages`
/// are all of the chunk, decompressed.
pub(super) fn written_out(column: &ColumnChunkMetaData, pages: &[Page]) -> Option<Vec<Page>> {
    let (first, rest) = pages.split_first()?;
    let by_dictionary = |page: &Page| matches!(page.encoding(), Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY);
    if first.is_data_page() || !rest.iter().all(Page::is_data_page) || rest.iter().all(by_dictionary) {
        return None;
    }
    let dictionary = Dictionary::of(column, first)?;
    let mut room_bytes = pages.iter().map(|page| page.buffer().len()).sum::<usize>() / 2 * 3;
    let mut all = Vec::with_capacity(rest.len());
    for page in rest {
        let page = if by_dictionary(page) { dictionary.write_out(column, page, room_bytes)? } else { page.clone() };
        room_bytes = room_bytes.checked_sub(page.buffer().len())?;
        all.push(page);
    }
    Some(all)
}

impl<'a> Dictionary<'a> {
    fn of(column: &ColumnChunkMetaData, page: &'a Page) -> Option<Self> {
        let Page::DictionaryPage { buf, num_values, encoding: Encoding::PLAIN | Encoding::PLAIN_DICTIONARY, .. } = page
        else {
            return None;
        };
        let fixed = match column.column_type() {
            Type::INT32 | Type::FLOAT => Some(4),
            Type::INT64 | Type::DOUBLE => Some(8),
            Type::INT96 => Some(12),
            Type::FIXED_LEN_BYTE_ARRAY => {
                Some(usize::try_from(column.column_descr().type_length()).ok().filter(|length| *length > 0)?)
            }
            Type::BYTE_ARRAY => None,
            Type::BOOLEAN => return None,
        };
        let mut values = Vec::with_capacity(usize::try_from(*num_values).ok()?.min(buf.len()));
        let mut at = 0_usize;
        for _ in 0..*num_values {
            let length = match fixed {
                Some(length) => length,
                None => little(buf.get(at..at.checked_add(4)?)?).checked_add(4)?,
            };
            let end = at.checked_add(length).filter(|end| *end <= buf.len())?;
            values.push(at..end);
            at = end;
        }
        Some(Self { bytes: buf, values })
    }

    /// A page with its values in the place of their numbers; `None` for what is not as the format has it, or takes more than
    /// `room_bytes`.
    fn write_out(&self, column: &ColumnChunkMetaData, page: &Page, room_bytes: usize) -> Option<Page> {
        let buffer = page.buffer();
        let (levels, present) = levels(column, page)?;
        let mut out = Vec::with_capacity(buffer.len().max(levels.len()));
        out.extend_from_slice(levels);
        let (width, numbers) = buffer.get(levels.len()..)?.split_first()?;
        hybrid(numbers, u32::from(*width), present, |number| {
            let value = self.bytes.get(self.values.get(number)?.clone())?;
            out.extend_from_slice(value);
            (out.len() <= room_bytes).then_some(())
        })?;
        let mut page = page.clone();
        match &mut page {
            Page::DataPage { buf, encoding, .. } | Page::DataPageV2 { buf, encoding, .. } => {
                (*buf, *encoding) = (Bytes::from(out), Encoding::PLAIN);
            }
            Page::DictionaryPage { .. } => return None,
        }
        Some(page)
    }
}

/// The levels that a page begins with, and how many of its values are there.
fn levels<'a>(column: &ColumnChunkMetaData, page: &'a Page) -> Option<(&'a [u8], usize)> {
    let descriptor = column.column_descr();
    match page {
        Page::DataPage { buf, num_values, def_level_encoding, rep_level_encoding, .. } => {
            let mut at = 0_usize;
            // Each as long as the four bytes before it say.
            let mut next = |encoding: &Encoding| {
                let length = little(buf.get(at..at + 4)?);
                let found = buf.get(at + 4..(at + 4).checked_add(length)?)?;
                at += 4 + length;
                (*encoding == Encoding::RLE).then_some(found)
            };
            if descriptor.max_rep_level() > 0 {
                next(rep_level_encoding)?;
            }
            let mut present = usize::try_from(*num_values).ok()?;
            if descriptor.max_def_level() > 0 {
                let highest = usize::try_from(descriptor.max_def_level()).ok()?;
                let defined = next(def_level_encoding)?;
                let (values, mut there) = (present, 0);
                hybrid(defined, usize::BITS - highest.leading_zeros(), values, |level| {
                    there += usize::from(level == highest);
                    Some(())
                })?;
                present = there;
            }
            Some((buf.get(..at)?, present))
        }
        Page::DataPageV2 { buf, num_values, num_nulls, def_levels_byte_len, rep_levels_byte_len, .. } => {
            let length = def_levels_byte_len.checked_add(*rep_levels_byte_len)?;
            let present = usize::try_from(num_values.checked_sub(*num_nulls)?).ok()?;
            Some((buf.get(..usize::try_from(length).ok()?)?, present))
        }
        Page::DictionaryPage { .. } => None,
    }
}

/// Reads `count` numbers of `width` bits (Parquet, "Run Length Encoding / Bit-Packing Hybrid"); `None` where there are fewer, or
/// one is not taken.
fn hybrid(mut bytes: &[u8], width: u32, count: usize, mut take: impl FnMut(usize) -> Option<()>) -> Option<()> {
    if width > 32 {
        return None;
    }
    let mut left = count;
    while left > 0 {
        let (header, length) = varint(bytes)?;
        bytes = bytes.get(length..)?;
        let run = usize::try_from(header >> 1).ok().filter(|run| *run > 0)?;
        if header & 1 == 0 {
            let value = bytes.get(..width.div_ceil(8) as usize)?;
            bytes = bytes.get(value.len()..)?;
            let (value, times) = (little(value), run.min(left));
            (0..times).try_for_each(|_| take(value))?;
            left -= times;
        } else {
            let packed = bytes.get(..run.checked_mul(width as usize)?)?;
            bytes = bytes.get(packed.len()..)?;
            let times = run.checked_mul(8)?.min(left);
            for number in 0..times {
                take(bits(packed, number * width as usize, width))?;
            }
            left -= times;
        }
    }
    Some(())
}

/// `width` bits from the bit `at`, the lowest first.
fn bits(bytes: &[u8], at: usize, width: u32) -> usize {
    let mut window = [0_u8; 8];
    let rest = bytes.get(at / 8..).unwrap_or_default();
    let rest = rest.get(..8).unwrap_or(rest);
    window.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    let value = (u64::from_le_bytes(window) >> (at % 8)) & ((1 << width) - 1);
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn varint(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut value = 0;
    for (place, byte) in bytes.iter().enumerate().take(9) {
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some((value, place + 1));
        }
    }
    None
}

/// Up to eight bytes as a number, the lowest first.
fn little(bytes: &[u8]) -> usize {
    bytes.iter().rev().fold(0, |value, byte| (value << 8) | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    // The examples of the format's own text: 0 to 7 in three bits are 10001000 11000110 11111010.
    #[rstest]
    #[case(&[0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010], 3, 8, Some(vec![0, 1, 2, 3, 4, 5, 6, 7]))]
    #[case(&[0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010], 3, 5, Some(vec![0, 1, 2, 3, 4]))]
    #[case(&[0b11, 0b1000_1000, 0b1100_0110, 0b1111_1010], 3, 9, None)]
    #[case(&[10, 7], 3, 5, Some(vec![7; 5]))]
    #[case(&[4, 1, 2, 6, 9, 0], 12, 5, Some(vec![513, 513, 9, 9, 9]))]
    #[case(&[8], 0, 4, Some(vec![0; 4]))]
    #[case(&[3], 0, 4, Some(vec![0; 4]))]
    #[case(&[0, 0, 0], 3, 1, None)]
    #[case(&[10], 3, 5, None)]
    #[case(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 3, 5, None)]
    #[case(&[], 3, 0, Some(vec![]))]
    fn numbers_are_read_as_the_format_has_them(
        #[case] bytes: &[u8],
        #[case] width: u32,
        #[case] count: usize,
        #[case] expected: Option<Vec<usize>>,
    ) {
        let mut read = Vec::new();
        let whole = hybrid(bytes, width, count, |value| {
            read.push(value);
            Some(())
        });
        assert_eq!(whole.map(|()| read), expected);
    }
}
