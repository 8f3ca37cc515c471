use std::collections::BTreeMap;

use serde_json::value::RawValue;

/// A step of a path.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    /// `[0]`, `[*]` and several of them in a row: `None` is every item.
    Items(Vec<Option<usize>>),
}

/// A path as `get_json_object` takes it: `$`, then `.name`, `['name']`, `[0]`, `[*]`.
#[derive(Debug)]
pub(super) struct Path(Vec<Step>);

impl Path {
    pub(super) fn read(text: &str) -> Option<Self> {
        let mut rest = text.trim().strip_prefix('$')?;
        let mut steps: Vec<Step> = Vec::new();
        // (`$.[0]` is `$[0]`.)
        if rest.starts_with(".[") {
            rest = rest.get(1..)?;
        }
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix('.') {
                let end = after.find(['.', '[']).unwrap_or(after.len());
                let (name, left) = after.split_at(end);
                if name.is_empty() {
                    return None;
                }
                steps.push(Step::Name(name.to_owned()));
                rest = left;
            } else {
                let (inside, left) = rest.strip_prefix('[')?.split_once(']')?;
                let quoted = inside.strip_prefix('\'').and_then(|inside| inside.strip_suffix('\''));
                let item = match (inside, quoted) {
                    (_, Some(name)) => Err(name.to_owned()),
                    ("*", _) => Ok(None),
                    (number, None) => Ok(Some(number.parse().ok()?)),
                };
                match (item, steps.last_mut()) {
                    (Err(name), _) => steps.push(Step::Name(name)),
                    (Ok(item), Some(Step::Items(items))) => items.push(item),
                    (Ok(item), _) => steps.push(Step::Items(vec![item])),
                }
                rest = left;
            }
        }
        Some(Self(steps))
    }

    /// What stands at the path, as text: a string without its quotes, a number digit for digit, objects and lists as JSON
    /// without blanks. `None` for nothing, for `null`, and for a text that is one value alone.
    pub(super) fn of(&self, json: &str) -> Option<String> {
        let whole = serde_json::from_str::<&RawValue>(json).ok()?;
        // Hive asks a list of the text itself only for items.
        let is_list = whole.get().starts_with('[');
        if !is_list && !whole.get().starts_with('{') || is_list && matches!(self.0.first(), Some(Step::Name(_))) {
            return None;
        }
        let mut found = Found::One(whole);
        for step in &self.0 {
            found = match step {
                Step::Name(name) => found.member(name)?,
                Step::Items(items) => found.items(items)?,
            };
        }
        match found {
            Found::One(value) => told(value.get()),
            Found::List(values) => {
                let values: Vec<String> = values.iter().map(|value| compact(value.get())).collect();
                Some(format!("[{}]", values.join(",")))
            }
        }
    }
}

/// What a path has come to.
enum Found<'a> {
    One(&'a RawValue),
    /// A list that does not stand in the text as such: of members of several objects, of items of several lists.
    List(Vec<&'a RawValue>),
}

impl<'a> Found<'a> {
    /// Of a list: what each object of it has under the name, lists among it put together.
    fn member(&self, name: &str) -> Option<Found<'a>> {
        let elements = match self {
            Found::One(value) if value.get().starts_with('{') => return member(value, name).map(Found::One),
            Found::One(value) => list(value)?,
            Found::List(values) => values.clone(),
        };
        let mut members = Vec::new();
        for value in elements.into_iter().filter_map(|element| member(element, name)) {
            match list(value) {
                Some(items) => members.extend(items),
                None if value.get() == "null" => {}
                None => members.push(value),
            }
        }
        (!members.is_empty()).then_some(Found::List(members))
    }

    /// One item that was found is itself; several are a list.
    fn items(self, wanted: &[Option<usize>]) -> Option<Found<'a>> {
        let mut found = vec![self];
        for wanted in wanted {
            let lists = found.into_iter().filter_map(|value| match value {
                Found::One(value) => list(value),
                Found::List(values) => Some(values),
            });
            let items: Vec<&'a RawValue> = match wanted {
                None => lists.flatten().collect(),
                Some(place) => lists.filter_map(|list| list.get(*place).copied()).collect(),
            };
            found = items.into_iter().map(Found::One).collect();
        }
        if found.len() < 2 {
            return found.pop();
        }
        let values =
            found.into_iter().filter_map(|value| if let Found::One(value) = value { Some(value) } else { None });
        Some(Found::List(values.collect()))
    }
}

fn member<'a>(object: &'a RawValue, name: &str) -> Option<&'a RawValue> {
    serde_json::from_str::<BTreeMap<String, &'a RawValue>>(object.get()).ok()?.remove(name)
}

fn list(value: &RawValue) -> Option<Vec<&RawValue>> {
    if value.get().starts_with('[') { serde_json::from_str(value.get()).ok() } else { None }
}

fn told(json: &str) -> Option<String> {
    match json.as_bytes().first()? {
        b'"' => serde_json::from_str(json).ok(),
        _ if json == "null" => None,
        _ => Some(compact(json)),
    }
}

/// JSON without the blanks between its parts, and with the letters that its texts write as `\u` numbers.
fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(first) = rest.chars().next() {
        if first == '"' {
            let end = end_of_text(rest);
            let (text, left) = rest.split_at(end);
            let read = serde_json::from_str::<String>(text).and_then(|text| serde_json::to_string(&text));
            out.push_str(read.as_deref().unwrap_or(text));
            rest = left;
            continue;
        }
        if !first.is_ascii_whitespace() {
            out.push(first);
        }
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    out
}

/// The place after the quote that ends the text with which `json` begins.
fn end_of_text(json: &str) -> usize {
    let mut is_escaped = false;
    for (at, byte) in json.bytes().enumerate().skip(1) {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const JSON: &str = r#"{"a":{"b":[{"c":1.50},{"c":"x"}]},"n":null,"t":true,"odd name":"o","s":"text",
        "list":[{"b":[1,2]},{"b":[3]}],"lists":[[1,2],[3]],"one":["x"],"mixed":[{"b":null},{"b":1},{"c":2}],
        "e":[],"u":{"k" : "\u00e9\"/"}}"#;

    // What Hive's own class answers, but for digits (1.50) and quoted names.
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
    #[case("$.a.b.c", Some(r#"[1.50,"x"]"#))]
    #[case("$.a.b[0]", Some(r#"{"c":1.50}"#))]
    #[case("$.list[*].b", Some("[1,2,3]"))]
    #[case("$.list[*].b[0]", Some("1"))]
    #[case("$.lists[*]", Some("[[1,2],[3]]"))]
    #[case("$.lists[*][0]", Some("[1,3]"))]
    #[case("$.lists[*][1]", Some("2"))]
    #[case("$.lists[0][1]", Some("2"))]
    #[case("$.one", Some(r#"["x"]"#))]
    #[case("$.one[*]", Some("x"))]
    #[case("$.mixed[*].b", Some("[1]"))]
    #[case("$.mixed.missing", None)]
    #[case("$.e", Some("[]"))]
    #[case("$.e[*]", None)]
    #[case("$.s[0]", None)]
    #[case("$.a.*", None)]
    #[case("$.u", Some("{\"k\":\"é\\\"/\"}"))]
    fn a_path_takes(#[case] path: &str, #[case] expected: Option<&str>) {
        assert_eq!(Path::read(path).unwrap().of(JSON).as_deref(), expected);
    }

    #[rstest]
    #[case("[10,20]", "$[1]", Some("20"))]
    #[case("[10, 20]", "$", Some("[10,20]"))]
    #[case("[10,20]", "$.[0]", Some("10"))]
    #[case(r#"[{"a":1},{"a":2}]"#, "$[*].a", Some("[1,2]"))]
    #[case(r#"[{"a":"x"}]"#, "$[*].a", Some("x"))]
    #[case(r#"[{"a":1},{"a":2}]"#, "$.a", None)]
    #[case("5", "$", None)]
    #[case("\"x\"", "$", None)]
    #[case(r#"{"a":1"#, "$.a", None)]
    #[case(r#"{"a":1,"a":2}"#, "$.a", Some("2"))]
    fn a_text_is_asked_as_a_whole(#[case] json: &str, #[case] path: &str, #[case] expected: Option<&str>) {
        assert_eq!(Path::read(path).unwrap().of(json).as_deref(), expected);
    }

    #[rstest]
    #[case("a.b")]
    #[case("$..a")]
    #[case("$[x]")]
    #[case("$[-1]")]
    #[case("$[1")]
    fn what_is_no_path_is_none(#[case] path: &str) {
        assert!(Path::read(path).is_none());
    }
}
