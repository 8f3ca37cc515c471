//! `mavis.v1.TokenService`.

use chrono::{TimeDelta, Utc};
use mavis_catalog::NewToken;
use mavis_proto::v1::{self as pb, token_service_server::TokenService};
use mavis_types::{Role, SchemaGrant, Scope, Smart, is_like_marked, normalize_name, own_schema};
use tonic::{Request, Response, Status};

use super::{caller::admin, convert::timestamp, status};
use crate::{App, auth::Door};

#[derive(Debug, Clone)]
pub(super) struct Tokens {
    pub(super) app: App,
}

fn token(token: mavis_catalog::Token) -> pb::Token {
    let role = match token.role {
        Role::Admin => pb::Role::Admin,
        Role::Engineer => pb::Role::Engineer,
        Role::Analyst => pb::Role::Analyst,
        Role::Reader => pb::Role::Reader,
    };
    let granted_only = token.scope == Scope::Schemas(Vec::new());
    let schemas = match token.scope {
        Scope::All => Vec::new(),
        Scope::Schemas(grants) => grants.iter().map(|grant| format!("{}.{}", grant.zone, grant.schema)).collect(),
    };
    pb::Token {
        id: token.id.to_string(),
        name: token.name,
        role: role.into(),
        schemas,
        created_at: Some(timestamp(token.created_at)),
        expires_at: token.expires_at.map(timestamp),
        revoked_at: token.revoked_at.map(timestamp),
        granted_only,
        groups: token.groups,
        smart: token.smart.as_ref().map(Smart::to_text).unwrap_or_default(),
        patient: token.smart.and_then(|smart| smart.patient).unwrap_or_default(),
    }
}

fn new_token(request: pb::CreateTokenRequest) -> Result<NewToken, Status> {
    let role = match request.role() {
        pb::Role::Admin => Role::Admin,
        pb::Role::Engineer => Role::Engineer,
        pb::Role::Analyst => Role::Analyst,
        pb::Role::Reader => Role::Reader,
        pb::Role::Unspecified => {
            return Err(Status::invalid_argument("say the role: admin, engineer, analyst or reader"));
        }
    };
    let name = request.name.trim();
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Status::invalid_argument("a token needs a name, such as `dr_nadia` or `dashboard`"));
    }
    let expires_at = match request.lifetime_seconds {
        0 => None,
        seconds => {
            let end = i64::try_from(seconds).ok().and_then(TimeDelta::try_seconds);
            let end = end.and_then(|lifetime| Utc::now().checked_add_signed(lifetime));
            Some(end.ok_or_else(|| Status::invalid_argument("the lifetime is too long; 0 is for ever"))?)
        }
    };
    if request.granted_only && !request.schemas.is_empty() {
        return Err(Status::invalid_argument("a token that reads only what is granted to it names no schemas"));
    }
    let scope = if request.granted_only {
        Scope::Schemas(Vec::new())
    } else if request.schemas.is_empty() {
        Scope::All
    } else {
        Scope::Schemas(request.schemas.iter().map(|text| grant(text)).collect::<Result<_, _>>()?)
    };
    let groups: Vec<String> = request.groups.iter().map(|group| group.trim().to_lowercase()).collect();
    if let Some(group) = groups.iter().find(|group| Role::ALL.iter().any(|role| role.as_str() == group.as_str())) {
        return Err(Status::invalid_argument(format!("`{group}` is a role: it cannot be a group too")));
    }
    if let Some(group) = groups.iter().find(|group| normalize_name(group) != **group) {
        return Err(Status::invalid_argument(format!(
            "`{group}` is not a group: use lower-case letters, digits and `_`"
        )));
    }
    let smart = match (request.smart.trim(), request.patient.trim()) {
        ("", "") => None,
        ("", _) => {
            return Err(Status::invalid_argument("a patient without SMART scopes limits nothing: say which scopes"));
        }
        (scopes, patient) => {
            Some(Smart::parse(scopes, patient).map_err(|error| Status::invalid_argument(error.to_string()))?)
        }
    };
    Ok(NewToken { name: name.to_owned(), role, scope, groups, smart, expires_at })
}

fn grant(text: &str) -> Result<SchemaGrant, Status> {
    let (zone, schema) = text
        .split_once('.')
        .filter(|(_, schema)| !schema.is_empty() && normalize_name(schema) == *schema || schema.contains("__"))
        .ok_or_else(|| Status::invalid_argument(format!("`{text}` is not a schema: write zone.schema")))?;
    Ok(SchemaGrant { zone: zone.parse().map_err(status)?, schema: schema.to_owned() })
}

#[tonic::async_trait]
impl TokenService for Tokens {
    async fn create_token(
        &self,
        request: Request<pb::CreateTokenRequest>,
    ) -> Result<Response<pb::CreateTokenResponse>, Status> {
        let by = admin(&self.app, &request, "token.create").await?;
        let new = new_token(request.into_inner())?;
        if self.app.auth.is_of_issuer(&new.name) {
            return Err(Status::invalid_argument(
                "names that begin like this are those of an issuer's principals: take another",
            ));
        }
        // A person of an issuer, who is known only when it comes, may have the schema that such a name is.
        if is_like_marked(&new.name) {
            return Err(Status::invalid_argument(
                "a name that ends in `_` and 16 hexadecimal digits may be the schema of `work` of somebody else: take another",
            ));
        }
        let own = own_schema(&new.name);
        let tokens = self.app.catalog.tokens().await.map_err(status)?;
        if let Some(other) = tokens.iter().find(|token| token.name != new.name && own_schema(&token.name) == own) {
            return Err(Status::already_exists(format!(
                "`{}` has the schema `work.{own}` already: take another name",
                other.name
            )));
        }
        let (made, secret) = self.app.catalog.create_token(new).await.map_err(status)?;
        self.app.auth.audit(&by.name, "token.create", &made.name, true, Door::Grpc).await;
        Ok(Response::new(pb::CreateTokenResponse { token: Some(token(made)), secret }))
    }

    async fn list_tokens(
        &self,
        request: Request<pb::ListTokensRequest>,
    ) -> Result<Response<pb::ListTokensResponse>, Status> {
        admin(&self.app, &request, "token.list").await?;
        let tokens = self.app.catalog.tokens().await.map_err(status)?;
        Ok(Response::new(pb::ListTokensResponse { tokens: tokens.into_iter().map(token).collect() }))
    }

    async fn revoke_token(
        &self,
        request: Request<pb::RevokeTokenRequest>,
    ) -> Result<Response<pb::RevokeTokenResponse>, Status> {
        let by = admin(&self.app, &request, "token.revoke").await?;
        let name = request.into_inner().name_or_id;
        self.app.catalog.revoke_token(&name).await.map_err(status)?;
        self.app.auth.audit(&by.name, "token.revoke", &name, true, Door::Grpc).await;
        Ok(Response::new(pb::RevokeTokenResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("fhir.r4", true)]
    #[case("raw.hms__public", true)]
    #[case("fhir", false)]
    #[case("silver.r4", false)]
    #[case("raw.", false)]
    #[case("raw.My Schema", false)]
    fn a_grant_names_a_zone_and_a_schema(#[case] text: &str, #[case] good: bool) {
        assert_eq!(grant(text).is_ok(), good);
    }

    #[test]
    fn a_token_without_a_role_is_refused() {
        let request = pb::CreateTokenRequest { name: "a".to_owned(), ..Default::default() };
        assert!(new_token(request).unwrap_err().message().contains("role"));
    }
}
