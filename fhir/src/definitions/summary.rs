use std::{collections::HashMap, sync::LazyLock};

const SUMMARY: &str = include_str!("../../definitions/summary.txt");

static NAMES: LazyLock<HashMap<&'static str, Vec<&'static str>>> = LazyLock::new(|| {
    let lines = SUMMARY.lines().filter(|line| !line.starts_with('#'));
    let entry = |line: &'static str| {
        let (type_name, names) = line.split_once(' ')?;
        Some((type_name, names.split(' ').map(|name| name.trim_end_matches("[x]")).collect()))
    };
    lines.filter_map(entry).collect()
});

/// Names of the elements of a resource type, or of one of its structures (`Patient.link`), that belong to its summary
/// (`ElementDefinition.isSummary`); of a choice the group's name (`value`).
#[must_use]
pub fn summary(type_name: &str) -> &'static [&'static str] {
    NAMES.get(type_name).map_or(&[], Vec::as_slice)
}
