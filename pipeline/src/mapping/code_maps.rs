use std::collections::HashMap;

use mavis_fhir::functions::{Code, CodeMaps};

use super::shipped;
use crate::{context::Context, failure::Failure};

/// Every map: those that are shipped, and in their place or beside them those that were set.
pub(crate) async fn all(context: &Context) -> Result<CodeMaps, Failure> {
    let mut maps = shipped::maps().map_err(|error| Failure::permanent(error.to_string()))?;
    for name in context.catalog.code_maps().await? {
        let mut codes = HashMap::new();
        for row in context.catalog.code_map(&name).await? {
            let code = Code { code: row.target_code, system: row.target_system, display: row.target_display };
            codes.insert(row.source_code, code);
        }
        maps.insert(name, codes);
    }
    Ok(maps)
}
