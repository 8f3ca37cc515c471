use super::Canonical;
use crate::json::Value;

/// A concept that another one is mapped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Translation {
    /// `relatedto`, `equivalent`, `equal`, `wider`, `subsumes`, `narrower`, `specializes`, `inexact`, `unmatched` or
    /// `disjoint`.
    pub equivalence: String,
    pub system: Option<String>,
    pub code: Option<String>,
    pub display: Option<String>,
    /// URL of the map.
    pub map: Option<String>,
}

impl Translation {
    /// Whether it says that there is a concept.
    #[must_use]
    pub fn is_match(&self) -> bool {
        !matches!(self.equivalence.as_str(), "unmatched" | "disjoint")
    }
}

/// What a ConceptMap maps a code to. `target`: only into this code system.
#[must_use]
pub fn translate(map: &Value<'_>, system: &str, code: &str, target: Option<&str>) -> Vec<Translation> {
    let text = |value: &Value<'_>, name: &str| value.get_str(name).map(str::to_owned);
    let url = text(map, "url");
    let mut found = Vec::new();
    for group in map.get("group").into_iter().flat_map(Value::items) {
        let source = group.get_str("source").map(|source| Canonical::read(source).url);
        let to = group.get_str("target").map(|target| Canonical::read(target).url);
        if source.is_some_and(|source| source != system) || target.is_some_and(|target| to != Some(target)) {
            continue;
        }
        let mut of_code = list(group, "element").filter(|element| element.get_str("code") == Some(code)).peekable();
        if of_code.peek().is_none() {
            found.extend(unmapped(group, code, to, url.as_deref()));
        }
        for element in of_code {
            for one in list(element, "target") {
                found.push(Translation {
                    equivalence: text(one, "equivalence").unwrap_or_else(|| "equivalent".to_owned()),
                    system: to.map(str::to_owned),
                    code: text(one, "code"),
                    display: text(one, "display"),
                    map: url.clone(),
                });
            }
        }
    }
    found
}

fn list<'v, 'a>(value: &'v Value<'a>, name: &str) -> impl Iterator<Item = &'v Value<'a>> {
    value.get(name).into_iter().flat_map(Value::items)
}

/// What a group says about codes that it does not name.
fn unmapped(group: &Value<'_>, code: &str, to: Option<&str>, url: Option<&str>) -> Option<Translation> {
    let rule = group.get("unmapped")?;
    let (code, display) = match rule.get_str("mode")? {
        "provided" => (code.to_owned(), None),
        "fixed" => (rule.get_str("code")?.to_owned(), rule.get_str("display").map(str::to_owned)),
        // Another map: the caller is told nothing rather than something wrong.
        _ => return None,
    };
    Some(Translation {
        equivalence: "inexact".to_owned(),
        system: to.map(str::to_owned),
        code: Some(code),
        display,
        map: url.map(str::to_owned),
    })
}
