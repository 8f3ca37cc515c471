use std::collections::BTreeMap;

use async_stream::try_stream;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use mavis_catalog::{Fresh, Schedule};

use crate::system::{
    Definition, Lines, Request,
    sheet::{Sheet, number},
};

pub(in crate::system) const FRESHNESS: Definition = Definition {
    schema: "ops",
    table: "freshness",
    comment: "How old the rows of each table are, how old they may be by its source's schedule, and by how much it is late.",
    for_admins: false,
    columns: || sheet(&[], DateTime::UNIX_EPOCH).schema(),
    read,
};

struct Line {
    source: String,
    fresh: Fresh,
    expected_seconds: Option<u64>,
}

impl Line {
    fn age(&self, now: DateTime<Utc>) -> Option<i64> {
        Some((now - self.fresh.fresh_at?).num_seconds().max(0))
    }

    /// Of a table that was never read, since it was first heard of.
    fn late(&self, now: DateTime<Utc>) -> Option<i64> {
        let since = self.fresh.fresh_at.unwrap_or(self.fresh.known_at);
        let expected = number(self.expected_seconds?);
        Some(((now - since).num_seconds() - expected).max(0))
    }
}

fn sheet(lines: &[Line], now: DateTime<Utc>) -> Sheet {
    Sheet::default()
        .text("source", lines.iter().map(|line| line.source.as_str()))
        .text("table_schema", lines.iter().map(|line| line.fresh.name.schema.as_str()))
        .text("table_name", lines.iter().map(|line| line.fresh.name.table.as_str()))
        .maybe_time("fresh_at", lines.iter().map(|line| line.fresh.fresh_at))
        .maybe_number("age_seconds", lines.iter().map(|line| line.age(now)))
        .maybe_number("expected_seconds", lines.iter().map(|line| line.expected_seconds.map(number)))
        .flag("late", lines.iter().map(|line| line.late(now).is_some_and(|late| late > 0)))
        .maybe_number("late_seconds", lines.iter().map(|line| line.late(now)))
}

fn read(request: Request) -> Lines {
    try_stream! {
        let mut sources: Vec<_> = request.sources().await?.into_iter().collect();
        sources.sort_by(|one, other| one.1.cmp(&other.1));
        let now = request.catalog.now().await?;
        for (id, source) in sources {
            if request.equal("source").is_some_and(|wanted| wanted != source) {
                continue;
            }
            let expected = expected(request.catalog.schedule(id).await?.as_ref());
            let mut lines = Vec::new();
            for fresh in request.catalog.fresh(id).await? {
                if request.principal.may_read(&fresh.name) {
                    let expected_seconds = expected.of(&fresh);
                    lines.push(Line { source: source.clone(), fresh, expected_seconds });
                }
            }
            yield sheet(&lines, now).batch()?;
        }
    }
    .boxed()
}

/// What a schedule expects of its tables.
#[derive(Default)]
struct Expected {
    seconds: Option<u64>,
    tables: BTreeMap<String, u64>,
}

fn expected(schedule: Option<&Schedule>) -> Expected {
    let Some(declared) = schedule.and_then(|schedule| schedule.spec.get("freshness")) else {
        return Expected::default();
    };
    let tables = declared.get("tables").and_then(|tables| tables.as_object());
    Expected {
        seconds: declared.get("seconds").and_then(serde_json::Value::as_u64),
        tables: tables
            .into_iter()
            .flatten()
            .filter_map(|(pattern, seconds)| Some((pattern.to_lowercase(), seconds.as_u64()?)))
            .collect(),
    }
}

impl Expected {
    /// The shortest of what is said of the table by name or pattern, else what is said of all.
    fn of(&self, fresh: &Fresh) -> Option<u64> {
        let name = fresh.source_table.to_lowercase();
        let whole = fresh.source_schema.as_ref().map(|schema| format!("{}.{name}", schema.to_lowercase()));
        let fits = |pattern: &str| like(pattern, &name) || whole.as_deref().is_some_and(|whole| like(pattern, whole));
        let named = self.tables.iter().filter(|(pattern, _)| fits(pattern)).map(|(_, seconds)| *seconds).min();
        named.or(self.seconds)
    }
}

/// Whether a text is like a pattern with `*` and `?`.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            text.char_indices().map(|(at, _)| &text[at..]).chain([""]).any(|tail| like(rest, tail))
        }
        Some(first) => {
            let mut letters = text.chars();
            let fits = letters.next().is_some_and(|letter| first == '?' || first == letter);
            fits && like(&pattern[first.len_utf8()..], letters.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::like;

    #[rstest]
    #[case("lab_*", "lab_result", true)]
    #[case("lab_?", "lab_result", false)]
    #[case("*.visit", "public.visit", true)]
    #[case("*", "", true)]
    #[case("visit", "visits", false)]
    fn patterns(#[case] pattern: &str, #[case] text: &str, #[case] fits: bool) {
        assert_eq!(like(pattern, text), fits);
    }
}
