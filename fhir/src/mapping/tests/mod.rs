#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod checking;
mod replaced;
mod running;
mod suggesting;

use super::*;

const PATIENT: &str = r#"
version  = 1
resource = "Patient"
from     = "processed.mavis_test.hms_patient p"
key      = "p.patient_id"

[set]
"identifier[0].system" = "'urn:mavis:mavis_test:patient'"
"identifier[0].value"  = "p.patient_id"
"name[0].family"       = "p.last_name"
"name[0].given[0]"     = "p.first_name"
"gender"               = "code_map('administrative-gender', p.sex)"
"birthDate"            = "p.birth_date"
"managingOrganization" = "reference('Organization', p.clinic_id)"
"#;

fn patient() -> Mapping {
    Mapping::parse_checked(PATIENT).unwrap()
}
