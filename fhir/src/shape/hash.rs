use xxhash_rust::xxh3::xxh3_128;

use crate::json::Value;

/// 128-bit hash of a resource's content: independent of member order and of `meta.versionId` and `meta.lastUpdated`, so
/// that identical content makes no new version.
///
/// XXH3 over a canonical form: members sorted by name, each value with a mark of its kind and its length, numbers as
/// written (`1.0` and `1.00` differ, as they do in FHIR). A `meta` that holds nothing else counts as none.
#[must_use]
pub fn content_hash(resource: &Value<'_>) -> [u8; 16] {
    let mut canonical = Canonical { out: Vec::with_capacity(2048), order: Vec::with_capacity(64) };
    canonical.object(resource, &|name, value| match name {
        "meta" if is_housekeeping(value) => Treatment::Skip,
        "meta" => Treatment::Meta,
        _ => Treatment::Whole,
    });
    xxh3_128(&canonical.out).to_be_bytes()
}

fn is_housekeeping(meta: &Value<'_>) -> bool {
    meta.as_object().is_some_and(|members| members.iter().all(|(name, _)| is_housekeeping_member(name)))
}

fn is_housekeeping_member(name: &str) -> bool {
    matches!(name, "versionId" | "lastUpdated")
}

enum Treatment {
    Whole,
    Skip,
    Meta,
}

struct Canonical {
    out: Vec<u8>,
    /// Sorted member numbers of the objects that are open, the innermost last.
    order: Vec<u32>,
}

impl Canonical {
    fn value(&mut self, value: &Value<'_>) {
        match value {
            Value::Null => self.out.push(b'z'),
            Value::Bool(true) => self.out.push(b't'),
            Value::Bool(false) => self.out.push(b'f'),
            Value::Number(text) => self.text(b'n', text),
            Value::String(text) => self.text(b's', text),
            Value::Array(items) => {
                self.out.push(b'[');
                for item in items {
                    self.value(item);
                }
                self.out.push(b']');
            }
            Value::Object(_) => self.object(value, &|_, _| Treatment::Whole),
        }
    }

    fn text(&mut self, mark: u8, text: &str) {
        self.out.push(mark);
        self.out.extend_from_slice(&(text.len() as u64).to_le_bytes());
        self.out.extend_from_slice(text.as_bytes());
    }

    fn object(&mut self, value: &Value<'_>, treatment: &dyn Fn(&str, &Value<'_>) -> Treatment) {
        let Some(members) = value.as_object() else { return self.value_at_root(value) };
        let start = self.order.len();
        self.order.extend((0..).take(members.len()));
        self.order[start..].sort_unstable_by(|a, b| members[*a as usize].0.cmp(&members[*b as usize].0));
        self.out.push(b'{');
        for place in start..start + members.len() {
            let (name, value) = &members[self.order[place] as usize];
            match treatment(name, value) {
                Treatment::Skip => {}
                Treatment::Whole => {
                    self.text(b'k', name);
                    self.value(value);
                }
                Treatment::Meta => {
                    self.text(b'k', name);
                    self.object(value, &|name, _| {
                        if is_housekeeping_member(name) { Treatment::Skip } else { Treatment::Whole }
                    });
                }
            }
        }
        self.out.push(b'}');
        self.order.truncate(start);
    }

    /// Something that is no object where a resource or its `meta` should be: its own value all the same.
    fn value_at_root(&mut self, value: &Value<'_>) {
        if !matches!(value, Value::Object(_)) {
            self.value(value);
        }
    }
}
