use utoipa::openapi::{
    Info, License, OpenApi,
    security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
};

/// Name of the way to authenticate.
const TOKEN: &str = "token";

/// Says of every operation that it wants a token.
pub(super) fn guarded(mut api: OpenApi) -> OpenApi {
    for item in api.paths.paths.values_mut() {
        for operation in
            [&mut item.get, &mut item.post, &mut item.put, &mut item.patch, &mut item.delete].into_iter().flatten()
        {
            operation.security = Some(vec![SecurityRequirement::new(TOKEN, Vec::<String>::new())]);
        }
    }
    let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    api.components.get_or_insert_default().add_security_scheme(TOKEN, scheme);
    api
}

/// Puts title, version and licence on the description.
pub(super) fn titled(mut api: OpenApi) -> OpenApi {
    let mut info = Info::new("Mavis", env!("CARGO_PKG_VERSION"));
    info.description =
        Some("A data-lakehouse server for health data: SQL over HTTP, and what there is and what ran.".to_owned());
    info.license = Some(License::new("Apache-2.0"));
    api.info = info;
    api
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_description_is_the_one_that_was_reviewed() {
        let (_, _, mut api) = crate::http::described();
        api.info.version = "VERSION".to_owned();
        insta::assert_json_snapshot!("openapi", api);
    }
}
