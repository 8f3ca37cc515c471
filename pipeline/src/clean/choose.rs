//! Which rules a table gets: what a person said, else what was chosen before, else what its profile suggests.

use std::collections::BTreeMap;

use mavis_types::normalize_name;

use super::{
    Action, Check, ColumnConfig, ColumnRule, Convert, TableConfig, TableRules,
    config::Target,
    dates::{DateFormat, Order},
};
use crate::{ColumnProfile, ReportColumn};

/// Share of a column's values that formats must read before the column becomes dates: less where its name says so too.
const DATES: f64 = 0.9;
const NAMED_DATES: f64 = 0.6;
/// Share of a column's values that must be numbers.
const NUMBERS: f64 = 0.95;

/// What choosing had to decide by convention; told in the run's log.
pub(crate) type Notes = Vec<String>;

/// Chooses the rules of a table.
///
/// `key`: names in the lake. `previous`: the rules so far; a conversion that was chosen stays, so that the type of a
/// column does not change with the sample.
pub(crate) fn choose(
    columns: &[ReportColumn],
    key: &[String],
    config: &TableConfig,
    day_first: bool,
    null_tokens: Option<&[String]>,
    previous: Option<&TableRules>,
    year: i32,
) -> (TableRules, Notes) {
    let mut notes = Notes::new();
    let mut rules = BTreeMap::new();
    let mut checks = Vec::new();
    for column in columns {
        let said = config.column(&column.lake_name, &column.name);
        let before = previous.and_then(|rules| rules.columns.get(&column.lake_name));
        let is_key = key.contains(&column.lake_name);
        let rule = column_rule(column, &said, is_key, day_first, null_tokens, before, &mut notes);
        checks.extend(range(&column.lake_name, &rule.convert, &column.data_type, &said));
        rules.insert(column.lake_name.clone(), rule);
    }
    checks.extend(config.checks.iter().cloned());
    let pivot_year = previous.map_or(year, |rules| rules.pivot_year);
    let mut chosen = TableRules { version: 1, columns: rules, checks, key: key.to_vec(), pivot_year };
    if let Some(previous) = previous {
        let same = previous.hash() == chosen.hash();
        chosen.version = previous.version + u32::from(!same);
    }
    (chosen, notes)
}

fn is_text(data_type: &str) -> bool {
    matches!(data_type, "Utf8" | "LargeUtf8" | "Utf8View")
}

fn column_rule(
    column: &ReportColumn,
    said: &ColumnConfig,
    is_key: bool,
    day_first: bool,
    null_tokens: Option<&[String]>,
    before: Option<&ColumnRule>,
    notes: &mut Notes,
) -> ColumnRule {
    let mut rule = ColumnRule::default();
    if let Some(tokens) = said.null_tokens.as_deref().or(null_tokens) {
        rule.null_tokens = tokens.iter().map(|token| token.to_lowercase()).collect();
    }
    if is_key && said.null_tokens.is_none() {
        // `-` may be a key; nothing but an empty one is none.
        rule.null_tokens = vec![String::new()];
    }
    rule.trim = said.trim.unwrap_or(true);
    rule.misfit = said.misfit.unwrap_or_default();
    rule.fill = said.fill.clone();
    if !is_text(&column.data_type) {
        rule.null_tokens.clear();
        return rule;
    }
    let profile = column.profile.clone().unwrap_or_default();
    rule.convert = match said.to {
        Some(target) => configured(target, said, &profile, day_first),
        None if is_key => Convert::Keep,
        None => match before {
            Some(before) if before.convert != Convert::Keep => widened(&before.convert, &profile, said),
            // The table was made with this column as text.
            Some(_) => Convert::Keep,
            None => suggested(column, &profile, day_first, notes),
        },
    };
    rule
}

fn configured(target: Target, said: &ColumnConfig, profile: &ColumnProfile, day_first: bool) -> Convert {
    let formats = || {
        said.formats.clone().unwrap_or_else(|| {
            let found = found_formats(profile, day_first).0;
            if found.is_empty() { usual_formats(day_first) } else { found }
        })
    };
    let comma = said.decimal_comma.unwrap_or(profile.decimal_comma);
    match target {
        Target::Keep => Convert::Keep,
        Target::Date => Convert::Date { formats: formats() },
        Target::Timestamp => Convert::Timestamp { formats: formats() },
        Target::Integer => Convert::Integer { comma },
        Target::Float => Convert::Float { comma },
        Target::Decimal => Convert::Decimal { comma, scale: said.scale.unwrap_or(6) },
    }
}

fn usual_formats(day_first: bool) -> Vec<DateFormat> {
    let own = if day_first { "dd/mm/yyyy" } else { "mm/dd/yyyy" };
    ["yyyy-mm-dd", own].iter().filter_map(|text| text.parse().ok()).collect()
}

/// A conversion chosen before, with formats that were found since put behind.
fn widened(before: &Convert, profile: &ColumnProfile, said: &ColumnConfig) -> Convert {
    let add = |formats: &[DateFormat]| {
        if let Some(said) = &said.formats {
            return said.clone();
        }
        let mut formats = formats.to_vec();
        for found in parse_formats(profile) {
            let reads_otherwise = found.0.twin().is_some_and(|twin| formats.contains(&twin));
            if !formats.contains(&found.0) && !reads_otherwise {
                formats.push(found.0);
            }
        }
        formats
    };
    match before {
        Convert::Date { formats } => Convert::Date { formats: add(formats) },
        Convert::Timestamp { formats } => Convert::Timestamp { formats: add(formats) },
        other => other.clone(),
    }
}

fn parse_formats(profile: &ColumnProfile) -> Vec<(DateFormat, f64)> {
    profile.date_formats.iter().filter_map(|(text, share)| Some((text.parse().ok()?, *share))).collect()
}

/// The formats of a column, of day-first and month-first twins only one; whether a convention had to decide.
fn found_formats(profile: &ColumnProfile, day_first: bool) -> (Vec<DateFormat>, Option<DateFormat>) {
    let found = parse_formats(profile);
    let share = |format: DateFormat| found.iter().find(|(f, _)| *f == format).map_or(0.0, |(_, share)| *share);
    // All separators of a column speak for one order.
    let total = |order: Order| -> f64 { found.iter().filter(|(f, _)| f.order == order).map(|(_, share)| share).sum() };
    let (days, months) = (total(Order::DayFirst), total(Order::MonthFirst));
    let undecided = days > 0.0 && (days - months).abs() < 1e-9;
    let day_wins = if undecided { day_first } else { days > months };
    let mut by_convention = None;
    let mut formats = Vec::new();
    for (format, _) in &found {
        let loses = match format.order {
            Order::DayFirst => !day_wins,
            Order::MonthFirst => day_wins,
            _ => false,
        };
        if loses && format.twin().is_some_and(|twin| share(twin) > 0.0) {
            continue;
        }
        if undecided && matches!(format.order, Order::DayFirst | Order::MonthFirst) {
            by_convention = Some(*format);
        }
        formats.push(*format);
    }
    (formats, by_convention)
}

fn suggested(column: &ReportColumn, profile: &ColumnProfile, day_first: bool, notes: &mut Notes) -> Convert {
    let values = profile.sampled.saturating_sub(profile.nulls);
    if values == 0 {
        return Convert::Keep;
    }
    let (formats, by_convention) = found_formats(profile, day_first);
    let wanted = if named_like_a_date(&column.lake_name) { NAMED_DATES } else { DATES };
    let found = parse_formats(profile);
    let reads: f64 =
        formats.iter().filter_map(|format| found.iter().find(|(f, _)| f == format)).map(|(_, share)| share).sum();
    if !formats.is_empty() && reads >= wanted {
        if let Some(format) = by_convention {
            notes.push(format!(
                "column `{}`: every date found can be read day-first and month-first; read as {format}. To change it, set \
                 `day_first` or the column's `formats` in the source's `clean` parameter",
                column.name
            ));
        }
        return if profile.times > 0 { Convert::Timestamp { formats } } else { Convert::Date { formats } };
    }
    if profile.numeric >= NUMBERS && profile.zero_led == 0 && !looks_like_a_code(&column.lake_name) {
        if profile.open_comma {
            notes.push(format!(
                "column `{}`: nothing says whether the commas in its numbers are decimal signs or part thousands; kept as \
                 text. To read numbers, set the column's `to` and `decimal_comma` in the source's `clean` parameter",
                column.name
            ));
            return Convert::Keep;
        }
        let comma = profile.decimal_comma;
        return if profile.whole_numbers { Convert::Integer { comma } } else { Convert::Float { comma } };
    }
    Convert::Keep
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split('_')
}

fn named_like_a_date(name: &str) -> bool {
    const WORDS: &[&str] = &[
        "date",
        "dt",
        "dob",
        "naissance",
        "birth",
        "birthdate",
        "entree",
        "sortie",
        "admission",
        "discharge",
        "deces",
        "death",
        "at",
        "debut",
        "fin",
        "datetime",
        "jour",
        "day",
        "ddn",
        "dtn",
    ];
    words(name).any(|word| WORDS.contains(&word)) || name.starts_with("date")
}

/// Whether a column's name says that its digits are a name, not an amount: identifiers, telephones, postal codes.
fn looks_like_a_code(name: &str) -> bool {
    const WORDS: &[&str] = &[
        "id",
        "ids",
        "code",
        "codes",
        "cd",
        "tel",
        "telephone",
        "phone",
        "fax",
        "mobile",
        "portable",
        "gsm",
        "cp",
        "zip",
        "zipcode",
        "postal",
        "postcode",
        "nir",
        "nss",
        "ssn",
        "ipp",
        "iep",
        "nda",
        "mrn",
        "num",
        "numero",
        "number",
        "no",
        "ref",
        "reference",
        "siret",
        "siren",
        "finess",
        "rpps",
        "adeli",
        "insee",
        "uuid",
        "key",
        "cle",
        "identifiant",
        "identifier",
        "matricule",
        "compte",
        "account",
        "version",
        "loinc",
        "snomed",
        "cim10",
        "icd10",
        "ccam",
        "atc",
    ];
    words(name).any(|word| WORDS.contains(&word)) || name.ends_with("id") && name.len() <= 8
}

fn range(name: &str, convert: &Convert, data_type: &str, said: &ColumnConfig) -> Option<Check> {
    if said.min.is_none() && said.max.is_none() {
        return None;
    }
    let literal = |text: &str| {
        let quoted = format!("'{}'", text.replace('\'', "''"));
        match convert {
            Convert::Date { .. } => format!("CAST({quoted} AS DATE)"),
            Convert::Timestamp { .. } => format!("CAST({quoted} AS TIMESTAMP)"),
            Convert::Keep if data_type.starts_with("Date") => format!("CAST({quoted} AS DATE)"),
            Convert::Keep if data_type.starts_with("Timestamp") => format!("CAST({quoted} AS TIMESTAMP)"),
            Convert::Keep if is_text(data_type) => quoted,
            _ => format!("CAST({quoted} AS DOUBLE)"),
        }
    };
    let column = format!("\"{name}\"");
    let least = said.min.as_deref().map(|min| format!("{column} >= {}", literal(min)));
    let most = said.max.as_deref().map(|max| format!("{column} <= {}", literal(max)));
    let rule = least.into_iter().chain(most).collect::<Vec<_>>().join(" AND ");
    Some(Check {
        name: format!("{name}: out of range"),
        rule,
        action: said.out_of_range.unwrap_or(Action::Warn),
        columns: vec![normalize_name(name)],
    })
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn column(name: &str, profile: ColumnProfile) -> ReportColumn {
        ReportColumn {
            name: name.to_owned(),
            lake_name: name.to_owned(),
            data_type: "Utf8".to_owned(),
            source_type: "TEXT".to_owned(),
            nullable: true,
            comment: None,
            profile: Some(profile),
        }
    }

    fn profile(texts: &[&str]) -> ColumnProfile {
        crate::discover::text_profile(texts.iter().map(|text| Some(*text)), 2026)
    }

    fn chosen(name: &str, texts: &[&str]) -> (Convert, Notes) {
        let columns = [column(name, profile(texts))];
        let (rules, notes) = choose(&columns, &[], &TableConfig::default(), true, None, None, 2026);
        (rules.column(name).convert, notes)
    }

    #[rstest]
    #[case("v", &["14/03/2024", "03/04/2024"], "date dd/mm/yyyy")]
    #[case("v", &["03/14/2024", "03/04/2024"], "date mm/dd/yyyy")]
    #[case("v", &["03/04/2024", "2024-03-14", "14 mars 2024"], "date d month yyyy, dd/mm/yyyy, yyyy-mm-dd")]
    #[case("v", &["2024-03-14 08:00", "2024-03-15"], "timestamp yyyy-mm-dd")]
    #[case("v", &["1,5", "2", "N/A"], "float comma")]
    #[case("v", &["15", "2"], "integer")]
    #[case("v", &["1,234", "2,456"], "keep")]
    #[case("v", &["1,234", "2,456.5"], "float")]
    #[case("v", &["abc", "2"], "keep")]
    #[case("code_postal", &["75001", "69002"], "keep")]
    #[case("v", &["007", "12"], "keep")]
    #[case("date_naissance", &["14/03/2024", "15/03/2024", "inconnue"], "date dd/mm/yyyy")]
    #[case("v", &["14/03/2024", "15/03/2024", "inconnue"], "keep")]
    #[case("v", &["N/A", ""], "keep")]
    fn a_column_becomes_what_its_values_are(#[case] name: &str, #[case] texts: &[&str], #[case] wanted: &str) {
        let list = |formats: &[DateFormat]| {
            let mut names: Vec<String> = formats.iter().map(ToString::to_string).collect();
            names.sort();
            names.join(", ")
        };
        let got = match chosen(name, texts).0 {
            Convert::Keep => "keep".to_owned(),
            Convert::Date { formats } => format!("date {}", list(&formats)),
            Convert::Timestamp { formats } => format!("timestamp {}", list(&formats)),
            Convert::Integer { comma } => format!("integer{}", if comma { " comma" } else { "" }),
            Convert::Float { comma } => format!("float{}", if comma { " comma" } else { "" }),
            Convert::Decimal { .. } => "decimal".to_owned(),
        };
        assert_eq!(got, wanted);
    }

    #[test]
    fn a_convention_that_decides_is_told() {
        let (convert, notes) = chosen("v", &["03/04/2024", "05/06/2024"]);
        assert_eq!(convert, Convert::Date { formats: vec!["dd/mm/yyyy".parse().unwrap()] });
        assert!(notes[0].contains("day-first"), "{notes:?}");
    }

    #[test]
    fn rules_keep_their_version_and_hash_until_something_changes() {
        let columns = [column("v", profile(&["15", "2"]))];
        let none = TableConfig::default();
        let (first, _) = choose(&columns, &[], &none, true, None, None, 2026);
        let (again, _) = choose(&columns, &[], &none, true, None, Some(&first), 2027);
        assert_eq!((again.hash(), again.version), (first.hash(), 1));
        let mut said = TableConfig::default();
        said.columns.insert("v".to_owned(), ColumnConfig { max: Some("10".to_owned()), ..ColumnConfig::default() });
        let (changed, _) = choose(&columns, &[], &said, true, None, Some(&first), 2027);
        assert_eq!(changed.version, 2);
        assert_ne!(changed.hash(), first.hash());
    }

    #[test]
    fn a_type_once_chosen_does_not_follow_the_sample() {
        let (first, _) = choose(&[column("v", profile(&["15"]))], &[], &TableConfig::default(), true, None, None, 2026);
        let (then, _) =
            choose(&[column("v", profile(&["a", "b"]))], &[], &TableConfig::default(), true, None, Some(&first), 2026);
        assert_eq!(then.column("v").convert, Convert::Integer { comma: false });
    }
}
