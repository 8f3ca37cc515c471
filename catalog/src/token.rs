use std::sync::Arc;

use chrono::{DateTime, Utc};
use mavis_types::{Principal, Role, Scope, Smart, TokenId};
use rand::RngCore;
use sha2::{Digest, Sha256};

use crate::{
    Catalog, Error,
    engine::Durability,
    value::{Row, json, values, word},
};

/// Tells a secret from other text, to people and to scanners that look for leaked secrets.
const SECRET_PREFIX: &str = "mvs_";

/// A bearer token, without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub id: TokenId,
    pub name: String,
    pub role: Role,
    pub scope: Scope,
    /// Roles beside the built-in one.
    pub groups: Vec<String>,
    /// SMART scopes; nothing beyond them is there for the token.
    pub smart: Option<Smart>,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone)]
pub struct NewToken {
    pub name: String,
    pub role: Role,
    pub scope: Scope,
    pub groups: Vec<String>,
    pub smart: Option<Smart>,
    pub expires_at: Option<DateTime<Utc>>,
}

impl NewToken {
    /// One without groups and SMART scopes that does not expire.
    #[must_use]
    pub fn new(name: impl Into<String>, role: Role, scope: Scope) -> Self {
        Self { name: name.into(), role, scope, groups: Vec::new(), smart: None, expires_at: None }
    }
}

impl Catalog {
    /// Makes a token and returns its secret, which is shown this once and kept only as a hash.
    ///
    /// # Errors
    /// [`Error::Exists`] when a live token has that name.
    pub async fn create_token(&self, new: NewToken) -> Result<(Token, String), Error> {
        let mut bytes = [0_u8; 32];
        rand::rng().fill_bytes(&mut bytes);
        let secret = format!("{SECRET_PREFIX}{}", hex::encode(bytes));
        let mut tx = self.engine.begin(Durability::Disk).await?;
        // An expired token no longer holds its name.
        tx.all(
            "UPDATE tokens SET revoked_at = expires_at
             WHERE name = $1 AND revoked_at IS NULL AND expires_at <= NOW_MICROS",
            values![&new.name],
        )
        .await?;
        let row = tx
            .one(
                "INSERT INTO tokens (id, name, role, scope, groups, smart, secret_hash, created_at, expires_at)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, NOW_MICROS, $8)
                 ON CONFLICT DO NOTHING
                 RETURNING *",
                values![
                    TokenId::new().to_string(),
                    &new.name,
                    word(&new.role, "tokens.role")?,
                    json(&new.scope, "tokens.scope")?,
                    json(&new.groups, "tokens.groups")?,
                    new.smart.as_ref().map(|smart| json(smart, "tokens.smart")).transpose()?,
                    hash(&secret),
                    new.expires_at,
                ],
            )
            .await?
            .ok_or_else(|| Error::Exists { what: "token", name: new.name.clone() })?;
        let token = read_token(&row)?;
        tx.commit().await?;
        Ok((token, secret))
    }

    /// Who a secret belongs to; `None` for an unknown, expired or revoked one. Looked up by hash, in memory where nothing was
    /// committed since the last time.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn authenticate(&self, secret: &str) -> Result<Option<Principal>, Error> {
        let hash = hash(secret);
        let (known, stamp) = self.kept(|kept| kept.principal(&hash));
        if known.is_some() {
            return Ok(known);
        }
        let row = self
            .engine
            .one(
                "SELECT * FROM tokens
                 WHERE secret_hash = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > NOW_MICROS)",
                values![&hash],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let Token { id, name, role, scope, groups, smart, expires_at, .. } = read_token(&row)?;
        let mut principal = Principal::new(id, name, role, scope);
        principal.groups = groups;
        principal.smart = smart.map(Arc::new);
        let rights_until = self.put_rights(&mut principal).await?;
        let until = expires_at.into_iter().chain(rights_until).min();
        self.keep(stamp, |kept| kept.keep_principal(hash, principal.clone(), until));
        Ok(Some(principal))
    }

    /// Somebody who signed in elsewhere, with what was granted here. Kept in memory as tokens are.
    ///
    /// `known`: without rights.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn signed_in(&self, known: Principal) -> Result<Principal, Error> {
        // No hash of a secret has blanks.
        let key =
            format!("{} {} {} {:?} {:?}", known.token, known.role.as_str(), known.name, known.groups, known.scope);
        let (kept, stamp) = self.kept(|kept| kept.principal(&key));
        if let Some(kept) = kept {
            return Ok(Principal { smart: known.smart, ..kept });
        }
        let mut principal = Principal { smart: None, ..known };
        let until = self.put_rights(&mut principal).await?;
        self.keep(stamp, |kept| kept.keep_principal(key, principal.clone(), until));
        Ok(Principal { smart: known.smart, ..principal })
    }

    /// All of them, revoked and expired ones too, by name.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn tokens(&self) -> Result<Vec<Token>, Error> {
        let rows = self.engine.all("SELECT * FROM tokens ORDER BY name, created_at, id", values![]).await?;
        rows.iter().map(read_token).collect()
    }

    /// Revokes by name or id, at once.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn revoke_token(&self, name_or_id: &str) -> Result<(), Error> {
        // By id where it is one: a token whose name looks like another one's id is not taken for it.
        for column in ["id", "name"] {
            let revoked = self
                .engine
                .write(
                    Durability::Disk,
                    format!(
                        "UPDATE tokens SET revoked_at = NOW_MICROS WHERE {column} = $1 AND revoked_at IS NULL
                         RETURNING id"
                    ),
                    values![name_or_id],
                )
                .await?;
            if !revoked.is_empty() {
                return Ok(());
            }
        }
        Err(Error::NotFound { what: "token", name: name_or_id.to_owned() })
    }
}

/// A secret has 256 random bits, so one round of SHA-256 is enough: there is nothing to guess.
fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

fn read_token(row: &Row) -> Result<Token, Error> {
    Ok(Token {
        id: row.parse("tokens.id")?,
        name: row.text("tokens.name")?,
        role: row.word("tokens.role")?,
        scope: row.json("tokens.scope")?,
        groups: row.json("tokens.groups")?,
        smart: row.opt_json("tokens.smart")?,
        created_at: row.time("tokens.created_at")?,
        expires_at: row.opt_time("tokens.expires_at")?,
        revoked_at: row.opt_time("tokens.revoked_at")?,
    })
}
