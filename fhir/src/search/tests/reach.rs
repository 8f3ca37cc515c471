//! What of the definitions is reached.

use super::*;
use crate::{
    definitions::{ParameterKind, search_parameters},
    path::{self, Selection},
    search::condition::fits,
};

/// Every type of value that an expression names is compared, but for those that the kind of the parameter says nothing of.
#[test]
fn values_that_parameters_lead_to_are_compared() {
    let mut passed_over: BTreeMap<String, String> = BTreeMap::new();
    for resource in ResourceType::all() {
        for parameter in search_parameters(resource).iter().filter(|one| one.kind != ParameterKind::Composite) {
            let Ok(Selection::Elements(paths)) = path::compile(resource, parameter.expression) else { continue };
            for path in paths.iter().filter(|path| !fits(parameter, path)) {
                let what = format!("{:?} {}", parameter.kind, path.element.type_id.name());
                passed_over.entry(what).or_insert_with(|| format!("{resource}.{}", parameter.code));
            }
        }
    }
    // an age or a text is no date, and an attachment no reference
    let expected = ["Date Age", "Date Range", "Date string", "Reference Attachment"];
    assert_eq!(passed_over.keys().collect::<Vec<_>>(), expected, "{passed_over:?}");
}
