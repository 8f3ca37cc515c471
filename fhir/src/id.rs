use mavis_types::SourceId;
use uuid::Uuid;

use crate::ResourceType;

/// The id of a resource that a source's row becomes: UUID version 5 over the length-prefixed source id, resource type
/// and key parts, so that no two different inputs run together.
///
/// The name space of version 5 is the source id; the name is the type and each part, each after its length in bytes (64
/// bits, big end first).
#[must_use]
pub fn resource_id(source: SourceId, resource: ResourceType, key: &[&str]) -> String {
    let parts = std::iter::once(resource.name()).chain(key.iter().copied());
    let mut name = Vec::with_capacity(64);
    for part in parts {
        name.extend_from_slice(&(part.len() as u64).to_be_bytes());
        name.extend_from_slice(part.as_bytes());
    }
    Uuid::new_v5(source.as_uuid(), &name).hyphenated().to_string()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn an_id_is_the_same_for_the_same_input_and_for_no_other() {
        let source = SourceId::from_uuid(Uuid::from_u128(7));
        let other = SourceId::from_uuid(Uuid::from_u128(8));
        let (patient, encounter) = ("Patient".parse().unwrap(), "Encounter".parse().unwrap());
        let ids = [
            resource_id(source, patient, &["ab", "c"]),
            resource_id(source, patient, &["a", "bc"]),
            resource_id(source, patient, &["abc"]),
            resource_id(source, patient, &["abc", ""]),
            resource_id(source, patient, &[]),
            resource_id(source, encounter, &["abc"]),
            resource_id(other, patient, &["abc"]),
        ];
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
        assert_eq!(resource_id(source, patient, &["ab", "c"]), ids[0]);
    }

    #[test]
    fn ids_stay_what_they_are_between_releases() {
        let source = SourceId::from_uuid(Uuid::from_u128(7));
        assert_eq!(resource_id(source, "Patient".parse().unwrap(), &["1234"]), "ab1a7984-f1a5-5528-b420-5ee073643006");
    }
}
