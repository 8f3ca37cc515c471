//! Tables by the names that SQL gives them, in a plain session.

use std::sync::Arc;

use datafusion::{
    catalog::{CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, TableProvider},
    prelude::SessionContext,
};
use mavis_types::TableName;

use crate::failure::Failure;

/// Memory of one session of the pipeline, in bytes.
pub(crate) const SESSION_BYTES: usize = 512 << 20;

/// Makes a table visible as `zone.schema.table`.
pub(crate) fn register(
    session: &SessionContext,
    name: &TableName,
    provider: Arc<dyn TableProvider>,
) -> Result<(), Failure> {
    let zone = name.zone.as_str();
    let catalog: Arc<dyn CatalogProvider> = match session.catalog(zone) {
        Some(catalog) => catalog,
        None => {
            let catalog: Arc<dyn CatalogProvider> = Arc::new(MemoryCatalogProvider::new());
            session.register_catalog(zone, Arc::clone(&catalog));
            catalog
        }
    };
    let schema = match catalog.schema(&name.schema) {
        Some(schema) => schema,
        None => {
            let schema = Arc::new(MemorySchemaProvider::new());
            catalog.register_schema(&name.schema, schema)?;
            catalog.schema(&name.schema).ok_or_else(|| Failure::permanent("a schema could not be registered"))?
        }
    };
    schema.register_table(name.table.clone(), provider)?;
    Ok(())
}
