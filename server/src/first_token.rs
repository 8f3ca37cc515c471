//! The admin token that a new server makes for its owner.

use anyhow::Context;
use mavis_catalog::{Catalog, Error, NewToken};
use mavis_types::{Role, Scope};
use tracing::{info, warn};

use crate::data_dir::{DataDir, write_private};

/// Writes `admin.token` (mode 0600) where there is none that works: at the first start, or beside a new catalog. A token
/// that was revoked on purpose is not made again while there is another administrator.
///
/// # Errors
/// When the catalog cannot be asked or the file cannot be written.
pub(crate) async fn ensure(catalog: &Catalog, data: &DataDir) -> anyhow::Result<()> {
    let file = data.token_file();
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    if !kept.trim().is_empty() && catalog.authenticate(kept.trim()).await?.is_some() {
        return Ok(());
    }
    let now = chrono::Utc::now();
    let live: Vec<_> = catalog
        .tokens()
        .await?
        .into_iter()
        .filter(|token| token.revoked_at.is_none() && token.expires_at.is_none_or(|end| end > now))
        .collect();
    if file.exists() && live.iter().any(|token| token.role == Role::Admin) {
        warn!("the token in {} is no longer good; another administrator's is needed", file.display());
        return Ok(());
    }
    let mut number = 1_u32;
    let secret = loop {
        let name = if number == 1 { "admin".to_owned() } else { format!("admin_{number}") };
        let new = NewToken::new(name, Role::Admin, Scope::All);
        match catalog.create_token(new).await {
            Ok((_, secret)) => break secret,
            // The file was lost but its token lives on in the catalog.
            Err(Error::Exists { .. }) if number < 1000 => number += 1,
            Err(error) => return Err(error).context("cannot make the admin token"),
        }
    };
    write_private(&file, &secret)?;
    info!("wrote the admin token to {}", file.display());
    Ok(())
}
