//! Code maps that are there from the first day, so that a suggested mapping runs as it is; one that is set under the same name
//! takes its place.

use std::collections::HashMap;

use mavis_fhir::functions::{Code, CodeMaps};

use super::code_map::parse;
use crate::Error;

const SHIPPED: [(&str, &str); 3] = [
    ("administrative-gender", include_str!("../../code_maps/administrative-gender.csv")),
    ("encounter-status", include_str!("../../code_maps/encounter-status.csv")),
    ("encounter-class", include_str!("../../code_maps/encounter-class.csv")),
];

/// The maps, each code in lower case, in capitals, and with a capital first letter.
///
/// # Errors
/// As [`parse`].
pub(super) fn maps() -> Result<CodeMaps, Error> {
    let mut maps = CodeMaps::new();
    for (name, text) in SHIPPED {
        let mut codes = HashMap::new();
        for row in parse(text)? {
            let code = Code { code: row.target_code, system: row.target_system, display: row.target_display };
            for written in cases(&row.source_code) {
                codes.insert(written, code.clone());
            }
        }
        maps.insert(name.to_owned(), codes);
    }
    Ok(maps)
}

fn cases(code: &str) -> [String; 3] {
    let mut letters = code.chars();
    let capital = letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default();
    [code.to_owned(), code.to_uppercase(), capital]
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("administrative-gender", "F", "female")]
    #[case("administrative-gender", "Homme", "male")]
    #[case("administrative-gender", "FÉMININ", "female")]
    #[case("encounter-status", "Terminé", "finished")]
    #[case("encounter-class", "URGENCES", "EMER")]
    fn codes_are_found_as_hospitals_write_them(#[case] map: &str, #[case] code: &str, #[case] target: &str) {
        assert_eq!(maps().unwrap()[map][code].code, target);
    }
}
