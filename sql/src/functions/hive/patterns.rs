//! Date patterns of Java's SimpleDateFormat, as Hive takes them, put as chrono writes them.

/// The pattern for chrono. A pattern with `%` is taken to be chrono's already; `None`: a letter that is not known.
pub(super) fn chrono(java: &str) -> Option<String> {
    if java.contains('%') {
        let known = chrono::format::StrftimeItems::new(java);
        return (!known.clone().any(|item| matches!(item, chrono::format::Item::Error))).then(|| java.to_owned());
    }
    let mut out = String::with_capacity(java.len() + 8);
    let mut rest = java.chars().peekable();
    while let Some(first) = rest.next() {
        if first == '\'' {
            quoted(&mut rest, &mut out);
            continue;
        }
        if !first.is_ascii_alphabetic() {
            out.push(first);
            continue;
        }
        let mut count = 1;
        while rest.next_if_eq(&first).is_some() {
            count += 1;
        }
        out.push_str(field(first, count)?);
    }
    Some(out)
}

/// Text in single quotes stands for itself; two quotes are one.
fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, out: &mut String) {
    if rest.next_if_eq(&'\'').is_some() {
        out.push('\'');
        return;
    }
    while let Some(next) = rest.next() {
        match next {
            '\'' if rest.next_if_eq(&'\'').is_some() => out.push('\''),
            '\'' => return,
            other => out.push(other),
        }
    }
}

fn field(letter: char, count: usize) -> Option<&'static str> {
    Some(match (letter, count) {
        ('y' | 'u' | 'Y', 2) => "%y",
        ('y' | 'u' | 'Y', _) => "%Y",
        ('M' | 'L', 1) => "%-m",
        ('M' | 'L', 2) => "%m",
        ('M' | 'L', 3) => "%b",
        ('M' | 'L', _) => "%B",
        ('d', 1) => "%-d",
        ('d', _) => "%d",
        ('D', _) => "%j",
        ('E', 1..=3) => "%a",
        ('E', _) => "%A",
        ('H', 1) => "%-H",
        ('H', _) => "%H",
        ('h', 1) => "%-I",
        ('h', _) => "%I",
        ('m', 1) => "%-M",
        ('m', _) => "%M",
        ('s', 1) => "%-S",
        ('s', _) => "%S",
        ('S', 1..=3) => "%3f",
        ('S', 4..=6) => "%6f",
        ('S', _) => "%9f",
        ('a', _) => "%p",
        ('w', _) => "%V",
        ('z' | 'Z' | 'X' | 'x', _) => "%z",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("yyyy-MM-dd HH:mm:ss", Some("%Y-%m-%d %H:%M:%S"))]
    #[case("dd/MM/yy", Some("%d/%m/%y"))]
    #[case("yyyy-MM-dd'T'HH:mm:ss.SSS", Some("%Y-%m-%dT%H:%M:%S.%3f"))]
    #[case("d MMM yyyy", Some("%-d %b %Y"))]
    #[case("hh 'o''clock' a", Some("%I o'clock %p"))]
    #[case("%Y", Some("%Y"))]
    #[case("yyyyQ", None)]
    fn a_pattern_of_java_is_one_of_chrono(#[case] java: &str, #[case] expected: Option<&str>) {
        assert_eq!(chrono(java).as_deref(), expected);
    }
}
