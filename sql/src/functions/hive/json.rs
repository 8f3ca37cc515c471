use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
    /// `[*]`: every item.
    All,
}

/// A path as `get_json_object` takes it: `$`, then `.name`, `['name']`, `[0]`, `[*]`.
#[derive(Debug)]
pub(super) struct Path(Vec<Step>);

impl Path {
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut rest = text.trim().strip_prefix('$')?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (name, left) = after.split_at(end);
                if name.is_empty() {
                    return None;
                }
                steps.push(if name == "*" { Step::All } else { Step::Name(name.to_owned()) });
                rest = left;
            } else {
                let (inside, left) = rest.strip_prefix('[')?.split_once(']')?;
                let quoted = inside.strip_prefix('\'').and_then(|inside| inside.strip_suffix('\''));
                steps.push(match (inside, quoted) {
                    ("*", _) => Step::All,
                    (_, Some(name)) => Step::Name(name.to_owned()),
                    (number, None) => Step::Index(number.parse().ok()?),
                });
                rest = left;
            }
        }
        Some(Self(steps))
    }

    /// What stands at the path, as text: a string without its quotes, anything else as the JSON has it, digit for digit. A
    /// list where several items were met on the way; `None` for nothing and for `null`.
    pub(super) fn of(&self, json: &str) -> Option<String> {
        let mut found: Vec<&RawValue> = vec![serde_json::from_str(json).ok()?];
        let mut several = false;
        for step in &self.0 {
            several |= *step == Step::All;
            found = found.into_iter().flat_map(|value| taken(value.get(), step)).collect();
        }
        match (several, found.as_slice()) {
            (_, []) => None,
            (false, [one, ..]) if one.get() == "null" => None,
            (false, [one, ..]) => Some(serde_json::from_str(one.get()).unwrap_or_else(|_| one.get().to_owned())),
            (true, all) => Some(format!("[{}]", all.iter().map(|one| one.get()).collect::<Vec<_>>().join(","))),
        }
    }
}

type Members<'a> = BTreeMap<String, &'a RawValue>;

fn items(json: &str) -> Vec<&RawValue> {
    serde_json::from_str(json).unwrap_or_default()
}

fn taken<'a>(json: &'a str, step: &Step) -> Vec<&'a RawValue> {
    let members = || serde_json::from_str::<Members<'a>>(json).ok();
    match (step, json.as_bytes().first()) {
        (Step::Name(name), Some(b'{')) => members().and_then(|mut members| members.remove(name)).into_iter().collect(),
        // Hive asks every item of a list for the name
        (Step::Name(_), Some(b'[')) => {
            let objects = items(json).into_iter().filter(|item| item.get().starts_with('{'));
            objects.flat_map(|item| taken(item.get(), step)).collect()
        }
        (Step::Index(index), Some(b'[')) => items(json).get(*index).copied().into_iter().collect(),
        (Step::All, Some(b'[')) => items(json),
        (Step::All, Some(b'{')) => members().map(|members| members.into_values().collect()).unwrap_or_default(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const JSON: &str = r#"{"a":{"b":[{"c":1.50},{"c":"x"}]},"n":null,"t":true,"odd name":"o","s":"text"}"#;

    #[rstest]
    #[case("$.s", Some("text"))]
    #[case("$.a.b[0].c", Some("1.50"))]
    #[case("$.a.b[1].c", Some("x"))]
    #[case("$.a.b[*].c", Some(r#"[1.50,"x"]"#))]
    #[case("$.a.b[7]", None)]
    #[case("$.n", None)]
    #[case("$.t", Some("true"))]
    #[case("$['odd name']", Some("o"))]
    #[case("$.missing", None)]
    #[case("$.a.b.c", Some("1.50"))]
    #[case("$.a.b[0]", Some(r#"{"c":1.50}"#))]
    fn a_path_takes(#[case] path: &str, #[case] expected: Option<&str>) {
        assert_eq!(Path::read(path).unwrap().of(JSON).as_deref(), expected);
    }

    #[rstest]
    #[case("a.b")]
    #[case("$..a")]
    #[case("$[x]")]
    #[case("$[1")]
    fn what_is_no_path_is_none(#[case] path: &str) {
        assert!(Path::read(path).is_none());
    }
}
