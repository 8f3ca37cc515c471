//! Code maps: two-column CSV files, or ConceptMaps.

use std::collections::HashMap;

use mavis_catalog::CodeMapRow;
use serde_json::Value;

use crate::Error;

/// Reads a map: a ConceptMap where the text is a JSON object, else CSV with a header.
///
/// # Errors
/// What is wrong, with the line.
pub(crate) fn parse(text: &str) -> Result<Vec<CodeMapRow>, Error> {
    let text = text.trim_start_matches('\u{feff}');
    let rows = if text.trim_start().starts_with('{') { concept_map(text)? } else { csv(text)? };
    let mut known = HashMap::new();
    for row in &rows {
        if let Some(before) = known.insert(&row.source_code, &row.target_code)
            && *before != row.target_code
        {
            return Err(invalid("a source code stands twice, with different targets"));
        }
    }
    if rows.is_empty() { Err(invalid("it has no code")) } else { Ok(rows) }
}

fn invalid(reason: &str) -> Error {
    Error::Invalid { reason: format!("the code map cannot be read: {reason}") }
}

fn csv(text: &str) -> Result<Vec<CodeMapRow>, Error> {
    let header = text.lines().next().unwrap_or_default();
    let delimiter =
        [b',', b';', b'\t'].into_iter().max_by_key(|d| header.bytes().filter(|b| b == d).count()).unwrap_or(b',');
    let mut reader =
        ::csv::ReaderBuilder::new().delimiter(delimiter).trim(::csv::Trim::All).from_reader(text.as_bytes());
    let header: Vec<String> =
        reader.headers().map_err(|error| invalid(&error.to_string()))?.iter().map(str::to_lowercase).collect();
    let find = |names: &[&str]| header.iter().position(|name| names.contains(&name.as_str()));
    let source = find(&["source_code", "source", "code"]);
    let target = find(&["target_code", "target"]);
    let (Some(source), Some(target)) = (source, target) else {
        return Err(invalid("the header must be source_code,target_code[,target_system,target_display]"));
    };
    let (system, display) = (find(&["target_system", "system"]), find(&["target_display", "display"]));
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| invalid(&error.to_string()))?;
        let cell =
            |at: Option<usize>| at.and_then(|at| record.get(at)).filter(|cell| !cell.is_empty()).map(str::to_owned);
        let line = record.position().map_or(0, ::csv::Position::line);
        let (Some(source_code), Some(target_code)) = (cell(Some(source)), cell(Some(target))) else {
            return Err(invalid(&format!("line {line} lacks a code")));
        };
        rows.push(CodeMapRow { source_code, target_code, target_system: cell(system), target_display: cell(display) });
    }
    Ok(rows)
}

/// ConceptMap (R4): `group[].element[].code` and the first target that is not `unmatched` or `disjoint`.
fn concept_map(text: &str) -> Result<Vec<CodeMapRow>, Error> {
    let value: Value = serde_json::from_str(text).map_err(|error| invalid(&error.to_string()))?;
    if value["resourceType"] != "ConceptMap" {
        return Err(invalid("the JSON is no ConceptMap"));
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut rows = Vec::new();
    for group in list(&value["group"]) {
        let system = group["target"].as_str().map(str::to_owned);
        for element in list(&group["element"]) {
            let usable = |target: &Value| !matches!(target["equivalence"].as_str(), Some("unmatched" | "disjoint"));
            let target = list(&element["target"]).into_iter().find(usable);
            if let (Some(source), Some(target)) = (element["code"].as_str(), target)
                && let Some(code) = target["code"].as_str()
            {
                rows.push(CodeMapRow {
                    source_code: source.to_owned(),
                    target_code: code.to_owned(),
                    target_system: system.clone(),
                    target_display: target["display"].as_str().map(str::to_owned),
                });
            }
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const CONCEPT_MAP: &str = r#"{"resourceType": "ConceptMap", "group": [{"target": "s", "element": [
        {"code": "H", "target": [{"code": "male", "equivalence": "equal", "display": "Male"}]},
        {"code": "X", "target": [{"equivalence": "unmatched"}]}]}]}"#;

    #[rstest]
    #[case("source_code,target_code,target_system,target_display\nH,male,s,Male\n")]
    #[case("source_code;target_code;target_system;target_display\n H ;male;s;Male")]
    #[case(CONCEPT_MAP)]
    fn a_map_is_read_from_csv_and_from_a_concept_map(#[case] text: &str) {
        let row = CodeMapRow {
            source_code: "H".to_owned(),
            target_code: "male".to_owned(),
            target_system: Some("s".to_owned()),
            target_display: Some("Male".to_owned()),
        };
        assert_eq!(parse(text).unwrap(), [row]);
    }

    #[rstest]
    #[case("a,b\n1,2\n", "header")]
    #[case("source_code,target_code\nH,male\nH,female\n", "twice")]
    #[case("source_code,target_code\nH,\n", "line 2")]
    #[case("source_code,target_code\n", "no code")]
    #[case("{}", "ConceptMap")]
    fn a_map_that_is_wrong_is_refused(#[case] text: &str, #[case] word: &str) {
        assert!(parse(text).unwrap_err().to_string().contains(word));
    }
}
