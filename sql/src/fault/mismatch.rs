//! A function that was given what it does not take: which types it was given, and which it takes, as SQL calls them.

/// How many forms of a function are listed.
const LISTED: usize = 8;

/// Names of types of the engine, and of SQL. The engine tells texts of several layouts apart, the caller does not.
const TYPES: [(&str, &str); 24] = [
    ("Utf8", "TEXT"),
    ("Utf8View", "TEXT"),
    ("LargeUtf8", "TEXT"),
    ("String", "TEXT"),
    ("Binary", "BYTEA"),
    ("BinaryView", "BYTEA"),
    ("LargeBinary", "BYTEA"),
    ("Boolean", "BOOLEAN"),
    ("Int8", "TINYINT"),
    ("Int16", "SMALLINT"),
    ("Int32", "INTEGER"),
    ("Int64", "BIGINT"),
    ("UInt8", "TINYINT UNSIGNED"),
    ("UInt16", "SMALLINT UNSIGNED"),
    ("UInt32", "INTEGER UNSIGNED"),
    ("UInt64", "BIGINT UNSIGNED"),
    ("Float16", "REAL"),
    ("Float32", "REAL"),
    ("Float64", "DOUBLE"),
    ("Decimal128", "DECIMAL"),
    ("Decimal256", "DECIMAL"),
    ("Date32", "DATE"),
    ("Date64", "DATE"),
    ("Null", "NULL"),
];

/// What the engine's `message` says of such a call, shortly; none where it is about something else.
pub(super) fn mismatch(message: &str) -> Option<String> {
    const GIVEN: &str = "No function matches the given name and argument types '";
    let (before, rest) = message.split_once(GIVEN)?;
    let (call, rest) = rest.split_once("'. You might need")?;
    let (name, given) = call.split_once('(')?;
    let given = in_words(given.strip_suffix(')')?);
    let mut forms: Vec<String> = Vec::new();
    let listed = rest.split_once("Candidate functions:").map_or("", |(_, listed)| listed);
    for form in listed.lines() {
        let form = form.trim().strip_prefix(name).and_then(|form| form.strip_prefix('(')?.strip_suffix(')'));
        // (Some functions do not say what they take.)
        let form = form.filter(|form| *form != "UserDefined").map(in_words);
        if let Some(form) = form.filter(|form| !forms.contains(form)) {
            forms.push(form);
        }
    }
    let more = forms.len() > LISTED;
    forms.truncate(LISTED);
    let mut forms: Vec<String> = forms.iter().map(|form| format!("{name}({form})")).collect();
    if more {
        forms.push("others".to_owned());
    }
    let takes = match forms.split_last() {
        None => {
            let reason = before.split_once("coercion failed with: ").map_or("", |(_, reason)| reason);
            let reason = reason.trim().trim_end_matches('.');
            if reason.is_empty() { String::new() } else { format!(": {reason}") }
        }
        Some((only, [])) => format!("; there is {only}"),
        Some((last, before)) => format!("; there are {} and {last}", before.join(", ")),
    };
    Some(format!("there is no function {name}({given}){takes}"))
}

/// `types`, each word of it that is one of [`TYPES`] in SQL's words.
fn in_words(types: &str) -> String {
    let mut told = String::with_capacity(types.len());
    let mut rest = types;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len()).max(first.len_utf8());
        let (word, after) = rest.split_at(end);
        let known = TYPES.iter().find(|(name, _)| *name == word);
        told.push_str(match known {
            Some((_, sql)) => sql,
            None => word,
        });
        rest = after;
    }
    zoned(&told)
}

/// Time stamps of every unit are SQL's one; a zone is a zone.
fn zoned(types: &str) -> String {
    let mut told = types.to_owned();
    for unit in ["s", "ms", "µs", "us", "ns"] {
        told = told.replace(&format!("Timestamp({unit})"), "TIMESTAMP");
        told = told.replace(&format!("Time32({unit})"), "TIME").replace(&format!("Time64({unit})"), "TIME");
        let zoned = format!("Timestamp({unit}, \"");
        while let Some(start) = told.find(&zoned) {
            let end = told[start..].find(')').map_or(told.len(), |at| start + at + 1);
            told.replace_range(start..end, "TIMESTAMP WITH TIME ZONE");
        }
    }
    told.replace("Interval(MonthDayNano)", "INTERVAL").replace("Numeric(1)", "number")
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::prelude::SessionContext;
    use rstest::rstest;

    #[rstest]
    #[case("lpad(1)", "there is no function lpad(BIGINT); there are lpad(TEXT, BIGINT) and lpad(TEXT, BIGINT, TEXT)")]
    #[case("abs(DATE '2024-01-01')", "there is no function abs(DATE); there is abs(number)")]
    #[case(
        "date_trunc(1, now())",
        "there is no function date_trunc(BIGINT, TIMESTAMP); there are date_trunc(TEXT, Timestamp) and"
    )]
    #[case(
        "sum('a')",
        "there is no function sum(TEXT); there are sum(Decimal), sum(BIGINT UNSIGNED), sum(BIGINT), sum(DOUBLE)"
    )]
    #[tokio::test]
    async fn what_a_function_takes_is_told_shortly(#[case] expr: &str, #[case] expected: &str) {
        let error = SessionContext::new().sql(&format!("SELECT {expr}")).await.unwrap_err();
        let told = super::super::planning(&error).to_string();
        assert!(told.contains(expected) && !told.contains('\n') && told.len() < 300, "{told}");
    }

    #[rstest]
    #[case("Invalid function 'x'")]
    #[case("No function matches the given name and argument types 'x")]
    fn other_messages_are_left(#[case] message: &str) {
        assert_eq!(mismatch(message), None);
    }
}
