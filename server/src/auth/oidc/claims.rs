use serde::Deserialize;
use serde_json::{Map, Value};

use super::header::part;

/// What a verified token says.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    pub(super) sub: String,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Claims {
    /// A claim by its name; `a.b` is `b` inside `a` where no claim is called `a.b`.
    fn claim(&self, name: &str) -> Option<&Value> {
        if let Some(found) = self.others.get(name) {
            return Some(found);
        }
        let mut steps = name.split('.');
        let first = self.others.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    }

    /// A claim that is one text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match name {
            "sub" => Some(&self.sub),
            "iss" => Some(&self.iss),
            _ => self.claim(name)?.as_str(),
        }
    }

    /// A claim that is a text or a list of texts; empty where it is neither.
    pub(super) fn texts(&self, name: &str) -> Vec<&str> {
        match self.claim(name) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        }
    }

    /// What the token may be used for: `scope` (RFC 9068), or `scp` as some issuers write it.
    pub(super) fn scopes(&self) -> Vec<&str> {
        let lists = ["scope", "scp"].into_iter().flat_map(|name| self.texts(name));
        lists.flat_map(str::split_ascii_whitespace).collect()
    }

    /// The name of the principal, by a claim that the issuer vouches for; `None` where it is missing or cannot be a name.
    pub(super) fn name(&self, claim: &str) -> Option<&str> {
        // An address that was never verified may be somebody else's (OpenID Connect Core, section 5.1).
        let is_unverified = claim == "email" && self.claim("email_verified").is_some_and(|is| is != &Value::Bool(true));
        let name = self.text(claim).filter(|_| !is_unverified)?;
        let is_name = (1..=200).contains(&name.len()) && name.trim() == name && !name.chars().any(char::is_control);
        is_name.then_some(name)
    }
}

/// The issuer that a token names, before anything is verified: it only says whose keys are asked.
pub(super) fn unverified_issuer(token: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Said {
        iss: String,
    }
    part::<Said>(token, 1).map(|said| said.iss)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;
    use serde_json::json;

    use super::*;

    fn claims(others: Value) -> Claims {
        let mut all = json!({ "iss": "https://a", "sub": "7" });
        all.as_object_mut().unwrap().extend(others.as_object().unwrap().clone());
        serde_json::from_value(all).unwrap()
    }

    #[rstest]
    #[case(json!({ "groups": ["a", 1, "b"] }), "groups", &["a", "b"])]
    #[case(json!({ "groups": "a" }), "groups", &["a"])]
    #[case(json!({ "realm_access": { "roles": ["a"] } }), "realm_access.roles", &["a"])]
    #[case(json!({ "https://x.org/groups": ["a"] }), "https://x.org/groups", &["a"])]
    #[case(json!({ "groups": { "a": true } }), "groups", &[])]
    #[case(json!({}), "groups", &[])]
    fn groups_are_found_where_the_configuration_says(
        #[case] said: Value,
        #[case] claim: &str,
        #[case] groups: &[&str],
    ) {
        assert_eq!(claims(said).texts(claim), groups);
    }

    #[rstest]
    #[case(json!({}), "sub", Some("7"))]
    #[case(json!({ "email": "a@b", "email_verified": true }), "email", Some("a@b"))]
    #[case(json!({ "email": "a@b" }), "email", Some("a@b"))]
    #[case(json!({ "email": "a@b", "email_verified": false }), "email", None)]
    #[case(json!({ "email": "a@b", "email_verified": "true" }), "email", None)]
    #[case(json!({ "preferred_username": "a\nb" }), "preferred_username", None)]
    #[case(json!({ "preferred_username": "" }), "preferred_username", None)]
    #[case(json!({ "preferred_username": 7 }), "preferred_username", None)]
    fn a_name_is_one_that_the_issuer_vouches_for(#[case] said: Value, #[case] claim: &str, #[case] name: Option<&str>) {
        assert_eq!(claims(said).name(claim), name);
    }

    #[rstest]
    #[case(json!({ "scope": "openid patient/*.rs" }), &["openid", "patient/*.rs"])]
    #[case(json!({ "scp": ["user/*.rs"] }), &["user/*.rs"])]
    #[case(json!({}), &[])]
    fn scopes_are_words(#[case] said: Value, #[case] scopes: &[&str]) {
        assert_eq!(claims(said).scopes(), scopes);
    }
}
