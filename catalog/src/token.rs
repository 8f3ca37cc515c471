use chrono::{DateTime, Utc};
use mavis_types::{Principal, Role, Scope, TokenId};

use crate::{Catalog, Error};

/// A bearer token, without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    pub role: Role,
    pub scope: Scope,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone)]
pub struct NewToken {
    pub name: String,
    pub role: Role,
    pub scope: Scope,
    pub expires_at: Option<DateTime<Utc>>,
}

impl Catalog {
    /// Makes a token and returns its secret, which is shown this once and kept only as a hash.
    ///
    /// # Errors
    /// [`Error::Exists`] when a live token has that name.
    pub async fn create_token(&self, new: NewToken) -> Result<(Token, String), Error> {
        let _ = new;
        todo!()
    }

    /// Who a secret belongs to; `None` for an unknown, expired or revoked one. Looked up by hash.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn authenticate(&self, secret: &str) -> Result<Option<Principal>, Error> {
        let _ = secret;
        todo!()
    }

    /// # Errors
    /// [`Error::Database`].
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        todo!()
    }

    /// Revokes by name or id, at once.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn revoke_token(&self, name_or_id: &str) -> Result<(), Error> {
        let _ = name_or_id;
        todo!()
    }
}
