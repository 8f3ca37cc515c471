//! What is left of a resource's own text, and of the references in its columns, where something is hidden.

use std::{collections::BTreeMap, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, AsArray, ListArray, StructArray, new_null_array},
    datatypes::{DataType, Field, Fields},
};
use datafusion::common::Result;
use mavis_fhir::{
    ResourceType,
    definitions::{self, TypeId, TypeKind},
    json::{self, Value},
};
use mavis_types::Mask;

use super::{
    kept::Kept,
    mask::{hashed, year_of},
    untold::Untold,
};

/// Members that a cut resource always keeps.
const KEPT: [&str; 3] = ["resourceType", "id", "meta"];
/// Members that repeat what other elements and resources say, in words or whole: gone from every cut resource.
const REPEATS: [&str; 2] = ["text", "contained"];
/// The type of such words, wherever they stand.
const WORDS: &str = "Narrative";

/// What is taken out of resources of one type.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Cut {
    /// `None`: nothing of them is shown.
    pub(super) resource: Option<ResourceType>,
    pub(super) kept: Kept,
    /// What is shown of resources within them; `None`: all of all.
    pub(super) within: Option<Arc<BTreeMap<ResourceType, Kept>>>,
    /// What references lose of what they point to.
    pub(super) untold: Untold,
    pub(super) key: Arc<[u8; 32]>,
}

impl Cut {
    /// The text that is shown in the place of a resource's; `None` where it is no JSON.
    pub(super) fn shown(&self, text: &str) -> Option<String> {
        let mut value = json::parse(text.as_bytes()).ok()?;
        value.as_object()?;
        self.keep(&mut value, self.resource?, &self.kept);
        Some(value.to_json())
    }

    fn keep(&self, value: &mut Value<'_>, resource: ResourceType, kept: &Kept) {
        let root = definitions::root(resource);
        let names: Vec<String> = value.members().map(|(name, _)| name.to_owned()).collect();
        for name in names {
            let element = name.strip_prefix('_').unwrap_or(&name);
            if KEPT.contains(&element) {
                continue;
            }
            let choice = definitions::element(root, element).and_then(|known| known.choice);
            if REPEATS.contains(&element) || !is_kept(kept, element, choice) {
                value.remove(&name);
            } else if let Some(mask) = mask_of(kept, element, choice) {
                let text = if name == element { value.get(&name).and_then(Value::as_str) } else { None };
                let shown = text.and_then(|text| match mask {
                    Mask::Null => None,
                    Mask::Hash => hashed(text, &self.key),
                    Mask::Year => year_of(text),
                });
                match shown {
                    Some(shown) => value.set(name, shown),
                    None => {
                        value.remove(&name);
                    }
                }
            }
        }
        self.forget(value, root);
    }

    /// Takes out what repeats others, however deep: narratives, resources of which something is hidden, names and identifiers in references.
    /// What R4 does not know may be any of them.
    fn forget(&self, value: &mut Value<'_>, of: TypeId) {
        match value {
            Value::Object(members) => {
                if of.is_reference() {
                    members.retain(|(name, _)| !self.untold.has(name));
                }
                members.retain_mut(|(name, member)| self.stays(of, name.as_ref(), member));
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.forget(item, of)),
            _ => {}
        }
    }

    fn stays(&self, of: TypeId, name: &str, member: &mut Value<'_>) -> bool {
        if name == "resourceType" {
            return member.as_str().is_some();
        }
        let Some(type_id) = member_type(of, name.strip_prefix('_').unwrap_or(name)) else { return false };
        match type_id.kind() {
            TypeKind::AnyResource | TypeKind::Resource(_) => self.stays_within(member),
            _ if type_id.name() == WORDS => false,
            _ => {
                self.forget(member, type_id);
                true
            }
        }
    }

    /// Cuts a resource that stands within another one as its own type is cut.
    fn stays_within(&self, member: &mut Value<'_>) -> bool {
        if let Value::Array(items) = member {
            items.retain_mut(|item| self.stays_within(item));
            return !items.is_empty();
        }
        let name = member.get_str("resourceType");
        let Some(resource) = name.and_then(|name| name.parse::<ResourceType>().ok()) else { return false };
        let whole = Kept::default();
        let kept = match &self.within {
            Some(within) => within.get(&resource),
            None => Some(&whole),
        };
        match kept {
            Some(kept) => self.keep(member, resource, kept),
            None => return false,
        }
        true
    }
}

fn is_kept(kept: &Kept, element: &str, choice: Option<&str>) -> bool {
    let elements = kept.elements.as_ref();
    elements.is_none_or(|known| known.contains(element) || choice.is_some_and(|choice| known.contains(choice)))
}

fn mask_of(kept: &Kept, element: &str, choice: Option<&str>) -> Option<Mask> {
    let of_choice = choice.and_then(|choice| kept.masks.get(choice));
    kept.masks.get(element).into_iter().chain(of_choice).min().copied()
}

/// The type of a member; of a primitive only what may stand beside its value.
fn member_type(of: TypeId, name: &str) -> Option<TypeId> {
    let element = definitions::element(of, name).map(|element| element.type_id);
    element.or_else(|| match name {
        "extension" => TypeId::from_name("Extension"),
        "id" => TypeId::from_name("string"),
        _ => None,
    })
}

/// Columns with what every reference, however deep, does not tell as NULL. `of`: the type of an element's values.
pub(super) fn without_untold(values: &ArrayRef, untold: Untold, of: Option<TypeId>) -> Result<ArrayRef> {
    match values.data_type() {
        DataType::Struct(fields) => {
            let parts = values.as_struct();
            let is_reference = is_reference(fields, of);
            let columns = fields.iter().zip(parts.columns()).map(|(field, column)| {
                if is_reference && untold.has(field.name()) {
                    Ok(new_null_array(column.data_type(), column.len()))
                } else {
                    without_untold(column, untold, of.and_then(|of| member_type(of, field.name())))
                }
            });
            let columns = columns.collect::<Result<Vec<_>>>()?;
            Ok(Arc::new(StructArray::try_new(fields.clone(), columns, parts.nulls().cloned())?))
        }
        DataType::List(item) => {
            let lists = values.as_list::<i32>();
            let items = without_untold(lists.values(), untold, of)?;
            let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
            Ok(Arc::new(ListArray::try_new(Arc::clone(item), offsets, items, nulls)?))
        }
        _ => Ok(Arc::clone(values)),
    }
}

/// Whether a type has references in it with something that they do not tell.
pub(super) fn has_untold(data_type: &DataType, untold: Untold, of: Option<TypeId>) -> bool {
    match data_type {
        _ if untold.is_nothing() => false,
        DataType::Struct(fields) => {
            let tells = is_reference(fields, of) && fields.iter().any(|field| untold.has(field.name()));
            let within = |field: &Arc<Field>| {
                has_untold(field.data_type(), untold, of.and_then(|of| member_type(of, field.name())))
            };
            tells || fields.iter().any(within)
        }
        DataType::List(item) => has_untold(item.data_type(), untold, of),
        _ => false,
    }
}

/// Where no resource has an element's `reference`, its column has none: the type is asked first.
fn is_reference(fields: &Fields, of: Option<TypeId>) -> bool {
    of.map_or_else(|| fields.iter().any(|field| field.name() == "reference"), TypeId::is_reference)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const PATIENT: &str = r#"{"resourceType":"Patient","id":"a","meta":{"versionId":"1"},"text":{"div":"<p>Ana Durand</p>"},"name":[{"family":"Durand"}],"_name":[{"id":"x"}],"gender":"female","birthDate":"1961-03-04","deceasedBoolean":false,"managingOrganization":{"reference":"Organization/1","display":"North clinic"},"contained":[{"resourceType":"Person","name":[{"family":"Durand"}]}]}"#;

    fn kept(elements: Option<&[&str]>, masks: &[(&str, Mask)]) -> Kept {
        Kept {
            elements: elements.map(|elements| elements.iter().map(|element| (*element).to_owned()).collect()),
            masks: masks.iter().map(|(element, mask)| ((*element).to_owned(), *mask)).collect(),
        }
    }

    fn cut(elements: Option<&[&str]>, masks: &[(&str, Mask)]) -> Cut {
        Cut {
            resource: "Patient".parse().ok(),
            kept: kept(elements, masks),
            within: None,
            untold: Untold::of(|element| element == "name"),
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

    #[rstest]
    #[case(
        "Observation",
        r#"{"resourceType":"Observation","status":"final","code":{"coding":[{"code":"1","display":"Weight"}]},"subject":{"display":"Ana Durand"},"performer":[{"type":"Patient","display":"Ana Durand","_display":{"id":"d"}}]}"#,
        r#"{"resourceType":"Observation","status":"final","code":{"coding":[{"code":"1","display":"Weight"}]},"subject":{},"performer":[{"type":"Patient"}]}"#
    )]
    #[case(
        "Composition",
        r#"{"resourceType":"Composition","section":[{"title":"History","text":{"div":"<p>Ana Durand</p>"},"section":[{"text":{"div":"<p>Durand</p>"}}]}]}"#,
        r#"{"resourceType":"Composition","section":[{"title":"History","section":[{}]}]}"#
    )]
    #[case(
        "Observation",
        r#"{"resourceType":"Observation","extension":[{"url":"u","valueReference":{"display":"Ana Durand"}}],"_status":{"extension":[{"url":"u","valueCoding":{"display":"Weight"}}]},"who":"Ana Durand"}"#,
        r#"{"resourceType":"Observation","extension":[{"url":"u","valueReference":{}}],"_status":{"extension":[{"url":"u","valueCoding":{"display":"Weight"}}]}}"#
    )]
    fn names_are_gone_wherever_a_resource_repeats_them(#[case] of: &str, #[case] text: &str, #[case] left: &str) {
        let cut = Cut { resource: of.parse().ok(), ..cut(None, &[]) };
        assert_eq!(cut.shown(text).as_deref(), Some(left));
    }

    #[rstest]
    #[case(
        "Observation",
        r#"{"resourceType":"Observation","identifier":[{"value":"own"}],"subject":{"reference":"Patient/a","identifier":{"system":"urn:mrn","value":"4711"},"display":"Ana Durand"},"extension":[{"url":"u","valueReference":{"identifier":{"value":"4711"}}}],"device":{"extension":[{"url":"v","valueIdentifier":{"value":"d"}}]}}"#,
        r#"{"resourceType":"Observation","identifier":[{"value":"own"}],"subject":{"reference":"Patient/a","display":"Ana Durand"},"extension":[{"url":"u","valueReference":{}}],"device":{"extension":[{"url":"v","valueIdentifier":{"value":"d"}}]}}"#
    )]
    #[case(
        "Patient",
        r#"{"resourceType":"Patient","link":[{"other":{"identifier":{"value":"4711"}},"type":"seealso"}]}"#,
        r#"{"resourceType":"Patient","link":[{"other":{},"type":"seealso"}]}"#
    )]
    fn identifiers_are_gone_where_a_reference_repeats_them(#[case] of: &str, #[case] text: &str, #[case] left: &str) {
        let untold = Untold::of(|element| element == "identifier");
        let cut = Cut { resource: of.parse().ok(), untold, ..cut(None, &[]) };
        assert_eq!(cut.shown(text).as_deref(), Some(left));
    }

    /// What a bundle shows of a patient, where this is known of patients.
    #[rstest]
    #[case(
        Some(kept(None, &[("name", Mask::Null)])),
        r#"{"fullUrl":"urn:a","resource":{"resourceType":"Patient","gender":"female"}}"#
    )]
    #[case(
        Some(kept(Some(&["name"]), &[])),
        r#"{"fullUrl":"urn:a","resource":{"resourceType":"Patient","name":[{"family":"Durand"}]}}"#
    )]
    #[case(None, r#"{"fullUrl":"urn:a"}"#)]
    fn a_resource_within_another_is_cut_as_its_own_type_is(#[case] patients: Option<Kept>, #[case] left: &str) {
        let patient: ResourceType = "Patient".parse().unwrap();
        let within: BTreeMap<ResourceType, Kept> = patients.into_iter().map(|kept| (patient, kept)).collect();
        let bundle = |entry: &str| format!(r#"{{"resourceType":"Bundle","type":"document","entry":[{entry}]}}"#);
        let cut = Cut { resource: "Bundle".parse().ok(), within: Some(Arc::new(within)), ..cut(None, &[]) };
        let text = bundle(
            r#"{"fullUrl":"urn:a","resource":{"resourceType":"Patient","text":{"div":"<p>Durand</p>"},"name":[{"family":"Durand"}],"gender":"female"}}"#,
        );
        assert_eq!(cut.shown(&text), Some(bundle(left)));
    }

    #[test]
    fn a_reference_of_a_column_is_known_by_its_type_where_none_of_them_refers() {
        let subject = definitions::element(definitions::root("Observation".parse().unwrap()), "subject").unwrap();
        let display: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["Ana Durand"]));
        let field = Arc::new(Field::new("display", DataType::Utf8, true));
        let column: ArrayRef = Arc::new(StructArray::from(vec![(field, display)]));
        let names = Untold::of(|element| element == "name");
        assert!(has_untold(column.data_type(), names, Some(subject.type_id)));
        let shown = without_untold(&column, names, Some(subject.type_id)).unwrap();
        assert_eq!(shown.as_struct().column(0).null_count(), 1);
        let coding = TypeId::from_name("Coding");
        assert!(!has_untold(column.data_type(), names, coding));
        let identifiers = Untold::of(|element| element == "identifier");
        assert!(!has_untold(column.data_type(), identifiers, Some(subject.type_id)));
    }
}
