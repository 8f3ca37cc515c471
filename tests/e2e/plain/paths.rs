//! Where search parameters look, as the pages of R4 list them for each resource type; choices with the types that occur.

use serde_json::Value;

use super::value::at;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Token,
    Text,
    Date,
    Quantity,
    Reference,
    Uri,
}

#[derive(Debug)]
pub(crate) struct Parameter {
    /// Resource type; `*`: every one.
    pub(crate) of: &'static str,
    pub(crate) code: &'static str,
    pub(crate) kind: Kind,
    paths: &'static [&'static str],
}

impl Parameter {
    pub(crate) fn values<'r>(&self, resource: &'r Value) -> Vec<&'r Value> {
        let all = self.paths.iter().flat_map(|path| at(resource, path));
        // `phone` and `email` are telecoms of that system
        let of = |value: &&Value| !matches!(self.code, "phone" | "email") || value["system"] == self.code;
        let patient = |value: &&Value| {
            self.code != "patient" || value["reference"].as_str().is_none_or(|text| text.starts_with("Patient/"))
        };
        all.filter(of).filter(patient).collect()
    }
}

const fn p(of: &'static str, code: &'static str, kind: Kind, paths: &'static [&'static str]) -> Parameter {
    Parameter { of, code, kind, paths }
}

use Kind::{Date, Quantity, Reference, Text, Token, Uri};

pub(crate) const PARAMETERS: &[Parameter] = &[
    p("*", "_profile", Uri, &["meta.profile"]),
    p("AllergyIntolerance", "category", Token, &["category"]),
    p("AllergyIntolerance", "clinical-status", Token, &["clinicalStatus"]),
    p("AllergyIntolerance", "code", Token, &["code", "reaction.substance"]),
    p("AllergyIntolerance", "criticality", Token, &["criticality"]),
    p("AllergyIntolerance", "date", Date, &["recordedDate"]),
    p("AllergyIntolerance", "patient", Reference, &["patient"]),
    p("CarePlan", "activity-code", Token, &["activity.detail.code"]),
    p("CarePlan", "category", Token, &["category"]),
    p("CarePlan", "condition", Reference, &["addresses"]),
    p("CarePlan", "date", Date, &["period"]),
    p("CarePlan", "status", Token, &["status"]),
    p("CarePlan", "subject", Reference, &["subject"]),
    p("Claim", "created", Date, &["created"]),
    p("Claim", "patient", Reference, &["patient"]),
    p("Claim", "priority", Token, &["priority"]),
    p("Claim", "provider", Reference, &["provider"]),
    p("Claim", "use", Token, &["use"]),
    p("Condition", "abatement-date", Date, &["abatementDateTime", "abatementPeriod"]),
    p("Condition", "clinical-status", Token, &["clinicalStatus"]),
    p("Condition", "code", Token, &["code"]),
    p("Condition", "encounter", Reference, &["encounter"]),
    p("Condition", "onset-date", Date, &["onsetDateTime", "onsetPeriod"]),
    p("Condition", "patient", Reference, &["subject"]),
    p("Condition", "recorded-date", Date, &["recordedDate"]),
    p("Device", "manufacturer", Text, &["manufacturer"]),
    p("Device", "type", Token, &["type"]),
    p("Device", "udi-di", Text, &["udiCarrier.deviceIdentifier"]),
    p("DiagnosticReport", "category", Token, &["category"]),
    p("DiagnosticReport", "code", Token, &["code"]),
    p("DiagnosticReport", "date", Date, &["effectiveDateTime", "effectivePeriod"]),
    p("DiagnosticReport", "issued", Date, &["issued"]),
    p("DiagnosticReport", "result", Reference, &["result"]),
    p("DiagnosticReport", "status", Token, &["status"]),
    p("DiagnosticReport", "subject", Reference, &["subject"]),
    p("DocumentReference", "contenttype", Token, &["content.attachment.contentType"]),
    p("DocumentReference", "date", Date, &["date"]),
    p("DocumentReference", "period", Date, &["context.period"]),
    p("DocumentReference", "type", Token, &["type"]),
    p("Encounter", "class", Token, &["class"]),
    p("Encounter", "date", Date, &["period"]),
    p("Encounter", "location", Reference, &["location.location"]),
    p("Encounter", "participant", Reference, &["participant.individual"]),
    p("Encounter", "reason-code", Token, &["reasonCode"]),
    p("Encounter", "service-provider", Reference, &["serviceProvider"]),
    p("Encounter", "status", Token, &["status"]),
    p("Encounter", "subject", Reference, &["subject"]),
    p("Encounter", "type", Token, &["type"]),
    p("ImagingStudy", "bodysite", Token, &["series.bodySite"]),
    p("ImagingStudy", "modality", Token, &["series.modality"]),
    p("ImagingStudy", "started", Date, &["started"]),
    p("Immunization", "date", Date, &["occurrenceDateTime"]),
    p("Immunization", "patient", Reference, &["patient"]),
    p("Immunization", "status", Token, &["status"]),
    p("Immunization", "vaccine-code", Token, &["vaccineCode"]),
    p("Location", "address", Text, &["address"]),
    p("Location", "address-city", Text, &["address.city"]),
    p("Location", "identifier", Token, &["identifier"]),
    p("Location", "name", Text, &["name", "alias"]),
    p("MedicationRequest", "authoredon", Date, &["authoredOn"]),
    p("MedicationRequest", "code", Token, &["medicationCodeableConcept"]),
    p("MedicationRequest", "intent", Token, &["intent"]),
    p("MedicationRequest", "requester", Reference, &["requester"]),
    p("MedicationRequest", "status", Token, &["status"]),
    p("MedicationRequest", "subject", Reference, &["subject"]),
    p("Observation", "category", Token, &["category"]),
    p("Observation", "code", Token, &["code"]),
    p("Observation", "combo-code", Token, &["code", "component.code"]),
    p("Observation", "combo-value-quantity", Quantity, &["valueQuantity", "component.valueQuantity"]),
    p("Observation", "component-code", Token, &["component.code"]),
    p("Observation", "component-value-quantity", Quantity, &["component.valueQuantity"]),
    p("Observation", "date", Date, &["effectiveDateTime", "effectivePeriod"]),
    p("Observation", "encounter", Reference, &["encounter"]),
    p("Observation", "patient", Reference, &["subject"]),
    p("Observation", "status", Token, &["status"]),
    p("Observation", "subject", Reference, &["subject"]),
    p("Observation", "value-concept", Token, &["valueCodeableConcept"]),
    p("Observation", "value-quantity", Quantity, &["valueQuantity"]),
    p("Observation", "value-string", Text, &["valueString", "valueCodeableConcept.text"]),
    p("Organization", "active", Token, &["active"]),
    p("Organization", "address-state", Text, &["address.state"]),
    p("Organization", "name", Text, &["name", "alias"]),
    p("Organization", "type", Token, &["type"]),
    p("Patient", "address", Text, &["address"]),
    p("Patient", "address-postalcode", Text, &["address.postalCode"]),
    p("Patient", "birthdate", Date, &["birthDate"]),
    p("Patient", "death-date", Date, &["deceasedDateTime"]),
    p("Patient", "family", Text, &["name.family"]),
    p("Patient", "gender", Token, &["gender"]),
    p("Patient", "given", Text, &["name.given"]),
    p("Patient", "identifier", Token, &["identifier"]),
    p("Patient", "language", Token, &["communication.language"]),
    p("Patient", "name", Text, &["name"]),
    p("Patient", "phone", Token, &["telecom"]),
    p("Patient", "telecom", Token, &["telecom"]),
    p("Practitioner", "active", Token, &["active"]),
    p("Practitioner", "email", Token, &["telecom"]),
    p("Practitioner", "gender", Token, &["gender"]),
    p("Practitioner", "name", Text, &["name"]),
    p("PractitionerRole", "specialty", Token, &["specialty"]),
    p("Procedure", "code", Token, &["code"]),
    p("Procedure", "date", Date, &["performedDateTime", "performedPeriod"]),
    p("Procedure", "patient", Reference, &["subject"]),
    p("Procedure", "reason-reference", Reference, &["reasonReference"]),
    p("Procedure", "status", Token, &["status"]),
    p("Provenance", "recorded", Date, &["recorded"]),
    p("Provenance", "target", Reference, &["target"]),
];

/// Reference parameters with the types that they lead to in these data: type, code, target.
pub(crate) const REFERENCES: &[(&str, &str, &str)] = &[
    ("Observation", "subject", "Patient"),
    ("Observation", "encounter", "Encounter"),
    ("Condition", "patient", "Patient"),
    ("Condition", "encounter", "Encounter"),
    ("Encounter", "subject", "Patient"),
    ("Encounter", "participant", "Practitioner"),
    ("Encounter", "service-provider", "Organization"),
    ("Encounter", "location", "Location"),
    ("DiagnosticReport", "result", "Observation"),
    ("MedicationRequest", "requester", "Practitioner"),
    ("CarePlan", "condition", "Condition"),
    ("Procedure", "reason-reference", "Condition"),
    ("Immunization", "patient", "Patient"),
];

/// A composite parameter: type, code, the elements that have the parts, the parts. An empty path is the resource.
pub(crate) type Composite = (&'static str, &'static str, &'static [&'static str], [(Kind, &'static str); 2]);

pub(crate) const COMPOSITES: &[Composite] = &[
    ("Observation", "code-value-quantity", &[""], [(Token, "code"), (Quantity, "valueQuantity")]),
    ("Observation", "code-value-concept", &[""], [(Token, "code"), (Token, "valueCodeableConcept")]),
    ("Observation", "component-code-value-quantity", &["component"], [(Token, "code"), (Quantity, "valueQuantity")]),
    ("Observation", "combo-code-value-quantity", &["", "component"], [(Token, "code"), (Quantity, "valueQuantity")]),
];
