//! Whether what stands in the place of column names is a row of values: then the table has no names.
//!
//! Taking a row for names loses it, taking names for a row loses nothing: but names that look like values exist (years,
//! numbers of questions, days), so that a column counts only where what stands below it is of the same kind.

/// Rows below that are looked at.
pub(super) const ROWS: usize = 50;
/// A text that comes again in its own column is short: a code, not a sentence.
const CODE_BYTES: usize = 12;

/// A row's texts by column; `None` where there is none.
pub(super) type Texts = Vec<Option<String>>;

/// Whether `names` is a row like those below it.
pub(super) fn is_row(names: &[Option<String>], below: &[Texts]) -> bool {
    let below = &below[..below.len().min(ROWS)];
    // A line of names may come again, page by page.
    let below: Vec<&Texts> = below.iter().filter(|row| row.as_slice() != names).collect();
    names.iter().enumerate().any(|(column, name)| {
        let Some(name) = name.as_deref().map(str::trim).filter(|name| !name.is_empty()) else { return false };
        let values: Vec<&str> = below
            .iter()
            .filter_map(|row| row.get(column)?.as_deref())
            .map(str::trim)
            .filter(|v| !v.is_empty())
            .collect();
        is_date(name) && mostly(&values, is_date)
            || is_amount(name) && mostly(&values, is_amount)
            || is_code(name) && values.len() >= 2 && values.iter().all(|v| is_code(v) && v.len() == name.len())
            || column == 0 && counts_on(name, &values)
            || column > 0 && comes_again(name, &values)
    })
}

fn mostly(values: &[&str], is: impl Fn(&str) -> bool) -> bool {
    !values.is_empty() && values.iter().filter(|value| is(value)).count() * 5 >= values.len() * 4
}

/// Three numbers, one of them a year of four digits or all of two digits, and maybe a time.
fn is_date(text: &str) -> bool {
    let day = text.split([' ', 'T']).next().unwrap_or_default();
    let parts: Vec<&str> = day.split(['-', '/', '.']).collect();
    let digits = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    parts.len() == 3
        && parts.iter().all(digits)
        && matches!((parts[0].len(), parts[1].len(), parts[2].len()), (4, 1..=2, 1..=2) | (1..=2, 1..=2, 4) | (2, 2, 2))
}

/// A number with a fraction.
fn is_amount(text: &str) -> bool {
    let text = text.strip_prefix('-').unwrap_or(text);
    let Some((whole, fraction)) = text.split_once(['.', ',']) else { return false };
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    digits(whole) && digits(fraction)
}

/// Digits that are no count: five or more, or with a zero before them.
fn is_code(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() >= 5 || text.len() > 1 && text.starts_with('0'))
}

/// A row number or a key that goes on below: 1, then 2, then 3.
fn counts_on(name: &str, values: &[&str]) -> bool {
    let Ok(first) = name.parse::<i64>() else { return false };
    values.len() >= 2
        && (1_i64..).zip(values.iter().take(3)).all(|(step, value)| value.parse() == Ok(first.saturating_add(step)))
}

/// A code such as `F` or `Lyon` that other rows have too. Small numbers may be names: pandas writes `0`, `1`, `2`.
fn comes_again(name: &str, values: &[&str]) -> bool {
    let again = values.iter().filter(|value| **value == name).count();
    name.len() <= CODE_BYTES && name.parse::<i64>().is_err() && again >= 2 && again * 10 >= values.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn texts(line: &str) -> Texts {
        line.split(';').map(|text| (!text.is_empty()).then(|| text.to_owned())).collect()
    }

    #[rstest]
    #[case::dates(&["1;Durand;1950-01-02", "7;Petit;1961-03-04"], true)]
    #[case::amounts(&["A;72,5", "B;80,25"], true)]
    #[case::codes(&["00123;x", "00124;y", "00200;z"], true)]
    #[case::row_numbers(&["1;Durand;Lyon", "2;Petit;Nice", "3;Roux;Nantes"], true)]
    #[case::sexes(&["12;F;a", "40;M;b", "7;F;c", "9;F;d"], true)]
    #[case::names(&["id;nom;date", "1;Durand;2024-01-02", "2;Petit;2024-01-03"], false)]
    #[case::years(&["service;2021;2022", "Cardio;1;2", "Neuro;3;4"], false)]
    #[case::days(&["patient;2024-01-01;2024-01-02", "A;3;4", "B;5;6"], false)]
    #[case::numbered(&["0;1;2", "5;1;2", "6;1;2", "7;1;2"], false)]
    #[case::names_on_every_page(&["id;sexe", "1;F", "id;sexe", "2;M", "id;sexe"], false)]
    #[case::postal_codes(&["mois;75001;75002", "1;12;40", "2;15;30"], false)]
    #[case::names_alone(&["id;nom"], false)]
    fn names_are_a_row_where_the_rows_below_are_like_them(#[case] lines: &[&str], #[case] wanted: bool) {
        let below: Vec<Texts> = lines[1..].iter().map(|line| texts(line)).collect();
        assert_eq!(is_row(&texts(lines[0]), &below), wanted);
    }
}
