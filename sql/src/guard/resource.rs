//! What is left of a resource's own text, and of the references in its columns, where something is hidden.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, StructArray, new_null_array},
    datatypes::DataType,
};
use datafusion::common::Result;
use mavis_fhir::json::{self, Value};
use mavis_types::Mask;

use super::mask::{hashed, year_of};

/// Members that a cut resource always keeps.
const KEPT: [&str; 3] = ["resourceType", "id", "meta"];
/// Members that repeat what other elements and resources say, in words or whole: gone from every cut resource.
const REPEATS: [&str; 2] = ["text", "contained"];

/// What is taken out of resources of one type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Cut {
    /// Elements that are kept; `None`: all.
    pub(super) elements: Option<BTreeSet<String>>,
    pub(super) masks: BTreeMap<String, Mask>,
    /// Names of the choices that elements belong to (`deceasedBoolean` to `deceased`).
    pub(super) choices: BTreeMap<String, String>,
    /// Whether references lose the names of what they point to.
    pub(super) nameless: bool,
    pub(super) key: Arc<[u8; 32]>,
}

impl Cut {
    /// The text that is shown in the place of a resource's; `None` where it is no JSON.
    pub(super) fn shown(&self, text: &str) -> Option<String> {
        let mut resource = json::parse(text.as_bytes()).ok()?;
        let names: Vec<String> = resource.as_object()?.iter().map(|(name, _)| name.to_string()).collect();
        for name in names {
            let element = name.strip_prefix('_').unwrap_or(&name);
            if KEPT.contains(&element) {
                continue;
            }
            if REPEATS.contains(&element) || !self.keeps(element) {
                resource.remove(&name);
            } else if let Some(mask) = self.mask(element) {
                let value = if name == element { resource.get(&name).and_then(Value::as_str) } else { None };
                let shown = value.and_then(|value| match mask {
                    Mask::Null => None,
                    Mask::Hash => hashed(value, &self.key),
                    Mask::Year => year_of(value),
                });
                match shown {
                    Some(shown) => resource.set(name, shown),
                    None => {
                        resource.remove(&name);
                    }
                }
            }
        }
        if self.nameless {
            forget_names(&mut resource);
        }
        Some(resource.to_json())
    }

    fn keeps(&self, element: &str) -> bool {
        self.elements.as_ref().is_none_or(|kept| {
            kept.contains(element) || self.choices.get(element).is_some_and(|choice| kept.contains(choice))
        })
    }

    fn mask(&self, element: &str) -> Option<Mask> {
        let of_choice = self.choices.get(element).and_then(|choice| self.masks.get(choice));
        self.masks.get(element).into_iter().chain(of_choice).min().copied()
    }
}

/// Takes `display` out of every reference.
fn forget_names(value: &mut Value<'_>) {
    match value {
        Value::Object(members) => {
            let is_reference = members.iter().any(|(name, _)| name == "reference" || name == "identifier");
            if is_reference {
                members.retain(|(name, _)| name != "display" && name != "_display");
            }
            members.iter_mut().for_each(|(_, member)| forget_names(member));
        }
        Value::Array(items) => items.iter_mut().for_each(forget_names),
        _ => {}
    }
}

/// Columns with `display` of every reference, however deep, as NULL.
pub(super) fn without_displays(values: &ArrayRef) -> Result<ArrayRef> {
    match values.data_type() {
        DataType::Struct(fields) => {
            let parts = values.as_struct();
            let is_reference = fields.iter().any(|field| field.name() == "reference");
            let columns = fields.iter().zip(parts.columns()).map(|(field, column)| {
                if is_reference && field.name() == "display" {
                    Ok(new_null_array(column.data_type(), column.len()))
                } else {
                    without_displays(column)
                }
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            Ok(Arc::new(StructArray::try_new(fields.clone(), columns, parts.nulls().cloned())?))
        }
        DataType::List(item) => {
            let lists = values.as_list::<i32>();
            let items = without_displays(lists.values())?;
            let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, items, nulls)?))
        }
        _ => Ok(Arc::clone(values)),
    }
}

/// Whether a type has references in it.
pub(super) fn has_references(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => {
            let named = |name: &str| fields.iter().any(|field| field.name() == name);
            (named("reference") && named("display")) || fields.iter().any(|field| has_references(field.data_type()))
        }
        DataType::List(item) => has_references(item.data_type()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const PATIENT: &str = r#"{"resourceType":"Patient","id":"a","meta":{"versionId":"1"},"text":{"div":"<p>Ana Durand</p>"},"name":[{"family":"Durand"}],"_name":[{"id":"x"}],"gender":"female","birthDate":"1961-03-04","deceasedBoolean":false,"managingOrganization":{"reference":"Organization/1","display":"North clinic"},"contained":[{"resourceType":"Person","name":[{"family":"Durand"}]}]}"#;

    fn cut(elements: Option<&[&str]>, masks: &[(&str, Mask)]) -> Cut {
        Cut {
            elements: elements.map(|elements| elements.iter().map(|element| (*element).to_owned()).collect()),
            masks: masks.iter().map(|(element, mask)| ((*element).to_owned(), *mask)).collect(),
            choices: [("deceasedBoolean".to_owned(), "deceased".to_owned())].into(),
            nameless: true,
            key: Arc::new([1; 32]),
        }
    }

    #[rstest]
    #[case(None, &[("name", Mask::Null), ("birthDate", Mask::Year)], r#"{"resourceType":"Patient","id":"a","meta":{"versionId":"1"},"gender":"female","birthDate":"1961","deceasedBoolean":false,"managingOrganization":{"reference":"Organization/1"}}"#)]
    #[case(Some(["gender", "deceased"].as_slice()), &[], r#"{"resourceType":"Patient","id":"a","meta":{"versionId":"1"},"gender":"female","deceasedBoolean":false}"#)]
    #[case(None, &[("name", Mask::Hash), ("gender", Mask::Null), ("birthDate", Mask::Null), ("deceased", Mask::Null), ("managingOrganization", Mask::Year)], r#"{"resourceType":"Patient","id":"a","meta":{"versionId":"1"}}"#)]
    fn a_cut_resource_keeps_only_what_may_be_seen(
        #[case] elements: Option<&[&str]>,
        #[case] masks: &[(&str, Mask)],
        #[case] left: &str,
    ) {
        assert_eq!(cut(elements, masks).shown(PATIENT).as_deref(), Some(left));
    }

    #[test]
    fn a_hashed_text_stays_a_text_and_what_is_no_json_is_not_shown() {
        let shown = cut(None, &[("gender", Mask::Hash)]).shown(PATIENT).unwrap();
        assert!(!shown.contains("female") && shown.contains("\"gender\":\""), "{shown}");
        assert_eq!(cut(None, &[]).shown("{\"name\":"), None);
    }
}
