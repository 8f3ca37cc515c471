use mavis_types::SourceId;

use crate::ResourceType;

/// The id of a resource that a source's row becomes: UUID version 5 over the length-prefixed source id, resource type
/// and key parts, so that no two different inputs run together.
#[must_use]
pub fn resource_id(source: SourceId, resource: ResourceType, key: &[&str]) -> String {
    let _ = (source, resource, key);
    todo!()
}
