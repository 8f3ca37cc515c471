use std::borrow::Cow;

use proptest::prelude::*;
use rstest::rstest;

use super::*;

fn reason(text: &str) -> &'static str {
    parse(text.as_bytes()).unwrap_err().reason
}

/// The same value for serde_json, numbers as serde_json reads them.
fn theirs(value: &Value<'_>) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => serde_json::Value::Bool(*value),
        Value::Number(text) => serde_json::from_str(text).unwrap(),
        Value::String(text) => serde_json::Value::String(text.to_string()),
        Value::Array(items) => serde_json::Value::Array(items.iter().map(theirs).collect()),
        Value::Object(members) => {
            serde_json::Value::Object(members.iter().map(|(name, value)| (name.to_string(), theirs(value))).collect())
        }
    }
}

#[rstest]
#[case("0")]
#[case("-0")]
#[case("1.10")]
#[case("-12.50e+03")]
#[case("123456789012345678901234567890.000000001")]
#[case("1E-400")]
fn numbers_stay_as_written(#[case] text: &str) {
    assert_eq!(parse(text.as_bytes()).unwrap(), Value::Number(text));
    assert_eq!(parse(text.as_bytes()).unwrap().to_json(), text);
}

#[rstest]
#[case("01", "a number starts with a zero too many")]
#[case("1.", "a digit was expected")]
#[case(".5", "a value was expected")]
#[case("-", "a digit was expected")]
#[case("1e", "a digit was expected")]
#[case("+1", "a value was expected")]
#[case("NaN", "a value was expected")]
#[case("", "the text ends where a value was expected")]
#[case("nul", "a value was expected")]
#[case("[1,]", "a value was expected")]
#[case("[1", "the text ends within an array or an object")]
#[case("[1 2]", "a comma or the end of the array was expected")]
#[case("{\"a\"}", "a colon was expected")]
#[case("{\"a\":1,}", "a member's name was expected")]
#[case("{a:1}", "a member's name was expected")]
#[case("\"a", "the text ends within a string")]
#[case("\"a\nb\"", "a control character stands unescaped in a string")]
#[case("\"\\x\"", "there is no such escape")]
#[case("\"\\u12g4\"", "four hexadecimal digits were expected")]
#[case("\"\\ud800\"", "half of a surrogate pair stands alone")]
#[case("\"\\udc00\"", "half of a surrogate pair stands alone")]
#[case("\"\\ud800\\u0041\"", "half of a surrogate pair stands alone")]
#[case("1 2", "there is text after the end of the value")]
#[case("{\"a\":1,\"b\":2,\"a\":3}", "an object has two members of one name")]
#[case("{\"a\":1,\"\\u0061\":3}", "an object has two members of one name")]
fn what_is_not_json_is_refused_with_its_reason(#[case] text: &str, #[case] expected: &str) {
    assert_eq!(reason(text), expected);
}

#[test]
fn an_error_says_where() {
    assert_eq!(parse(b"{\"a\": tru}").unwrap_err().offset, 6);
    assert_eq!(parse(b"\"\xff\"").unwrap_err(), ParseError { offset: 1, reason: "the text is not valid UTF-8" });
}

#[test]
fn nesting_ends_at_64_levels() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(64).as_bytes()).is_ok());
    assert_eq!(reason(&nested(65)), "arrays and objects nest deeper than 64 levels");
    assert_eq!(reason(&"[".repeat(1_000_000)), "arrays and objects nest deeper than 64 levels");
}

#[test]
fn an_object_of_very_many_members_is_read_and_its_duplicate_found() {
    let member = |number: usize| format!("\"name {number}\":{number}");
    let mut members: Vec<_> = (0..100_000).map(member).collect();
    let parsed = format!("{{{}}}", members.join(","));
    assert_eq!(parse(parsed.as_bytes()).unwrap().get("name 99999"), Some(&Value::Number("99999")));
    members.push(member(7));
    assert_eq!(reason(&format!("{{{}}}", members.join(","))), "an object has two members of one name");
}

#[test]
fn unescaped_strings_are_borrowed_and_escaped_ones_read() {
    let value = parse(r#"{"é":"plain","b":"a\"\\\/\b\f\n\r\té\ud83d\ude00"}"#.as_bytes()).unwrap();
    assert!(matches!(value.get("é"), Some(Value::String(Cow::Borrowed("plain")))));
    assert_eq!(value.get_str("b"), Some("a\"\\/\u{8}\u{c}\n\r\té😀"));
}

#[test]
fn members_are_set_found_and_removed() {
    let mut value = parse(br#"{"a":{"b":[1,2]},"c":null}"#).unwrap();
    assert_eq!(value.at(&["a", "b"]).unwrap().items().count(), 2);
    value.set("c", "text");
    value.set("d", true);
    assert_eq!(value.remove("a").map(|value| value.to_json()), Some(r#"{"b":[1,2]}"#.to_owned()));
    assert_eq!(value.to_json(), r#"{"c":"text","d":true}"#);
}

fn any_json() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        "[a-z]{0,20}".prop_map(|text| format!("\"{text}\"")),
        prop::char::any().prop_map(|c| {
            let units: Vec<_> = c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect();
            format!("\"{}\"", units.concat())
        }),
    ];
    let number = "-?(0|[1-9][0-9]{0,12})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,2})?";
    let leaf =
        prop_oneof![Just("null".to_owned()), Just("true".to_owned()), Just("false".to_owned()), number, string.clone()];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        let items = prop::collection::vec(inner.clone(), 0..8).prop_map(|items| format!("[ {}]", items.join("\n,")));
        let members = prop::collection::vec((string.clone(), inner), 0..8).prop_map(|members| {
            let members: Vec<_> = members.into_iter().map(|(name, value)| format!("{name} :\t{value}")).collect();
            format!("{{{}}}", members.join(" , "))
        });
        prop_oneof![items, members]
    })
}

#[test]
fn skimming_finds_members_and_what_is_watched_however_deep() {
    let text =
        br#"{"a":1.10,"b\u0061" : [ {"reference":"x"}, {"reference":{"reference":"y\n"}} ],"reference":"z","c":null}"#;
    let mut seen = Vec::new();
    let outline = skim(text, "reference", &mut |text| seen.push(text.to_owned())).unwrap();
    let found: Vec<(&str, &str)> = outline.iter().map(|(name, text)| (name.as_ref(), *text)).collect();
    let list = r#"[ {"reference":"x"}, {"reference":{"reference":"y\n"}} ]"#;
    assert_eq!(found, [("a", "1.10"), ("ba", list), ("reference", r#""z""#), ("c", "null")]);
    assert_eq!(seen, ["x", "y\n", "z"]);
    assert!(skim(b" [1]", "reference", &mut |_| {}).unwrap().is_empty());
}

proptest! {
    #[test]
    fn what_is_skimmed_is_what_is_parsed(
        text in any_json(), place in any::<prop::sample::Index>(), byte in prop::sample::select(b"\"\\{}[]:,0-.eE1tn \x01\xff".to_vec()), change in any::<bool>(),
    ) {
        let mut bytes = text.into_bytes();
        let place = place.index(bytes.len());
        if change { bytes[place] = byte }
        match (parse(&bytes), skim(&bytes, "a", &mut |_| {})) {
            (Ok(value), Ok(outline)) => {
                let members: Vec<(String, Value<'_>)> =
                    value.members().map(|(name, value)| (name.to_owned(), value.clone())).collect();
                let skimmed: Vec<(String, Value<'_>)> = outline
                    .iter()
                    .map(|(name, text)| (name.to_string(), parse(text.as_bytes()).unwrap()))
                    .collect();
                prop_assert_eq!(members, skimmed);
            }
            (parsed, skimmed) => prop_assert_eq!(parsed.map(drop), skimmed.map(drop)),
        }
    }

    #[test]
    fn what_serde_json_reads_is_read_alike(text in any_json()) {
        let reference: serde_json::Value = serde_json::from_str(&text).unwrap();
        match parse(text.as_bytes()) {
            Ok(value) => {
                prop_assert_eq!(theirs(&value), reference);
                let written = value.to_json();
                prop_assert_eq!(parse(written.as_bytes()).unwrap(), value);
            }
            Err(error) => prop_assert_eq!(error.reason, "an object has two members of one name"),
        }
    }

    #[test]
    fn a_damaged_text_is_refused_exactly_when_serde_json_refuses_it(
        text in any_json(), place in any::<prop::sample::Index>(), byte in prop::sample::select(b"\"\\{}[]:,0-.eE1tn \x01\xff".to_vec()), cut in any::<bool>(),
    ) {
        let mut bytes = text.into_bytes();
        let place = place.index(bytes.len());
        if cut { bytes.truncate(place) } else { bytes[place] = byte }
        let reference = serde_json::from_slice::<serde_json::Value>(&bytes);
        match (parse(&bytes), reference) {
            (Ok(value), Ok(reference)) => prop_assert_eq!(theirs(&value), reference),
            (Ok(_), Err(error)) => prop_assert!(error.to_string().starts_with("number out of range"), "{error}"),
            (Err(error), Ok(_)) => prop_assert_eq!(error.reason, "an object has two members of one name"),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn the_scan_finds_what_a_plain_loop_finds(bytes in prop::collection::vec(any::<u8>(), 0..40), from in 0_usize..40) {
        let from = from.min(bytes.len());
        let plain = (from..bytes.len()).find(|at| matches!(bytes[*at], b'"' | b'\\' | 0..0x20)).unwrap_or(bytes.len());
        prop_assert_eq!(scan::string_end(&bytes, from), plain);
    }
}
