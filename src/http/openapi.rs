//! The OpenAPI 3.1 document, made from the handlers and their types.
//!
//! Every operation gets the problem document as its default answer and the two ways to show credentials; so a handler
//! only says what is special about it.

use super::error::Problem;
use super::{auth, me, ops, tenant, users};
use actix_web::HttpResponse;
use std::sync::LazyLock;
use utoipa::openapi::path::Operation;
use utoipa::openapi::security::{
    ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
};
use utoipa::openapi::{ContentBuilder, OpenApi as Document, Ref, RefOr, ResponseBuilder};
use utoipa::{Modify, OpenApi};

#[derive(OpenApi)]
#[openapi(
    info(title = "Parlance", description = "Conversations over REST; the socket is in asyncapi.json.",
         license(name = "GPL-3.0-or-later", identifier = "GPL-3.0-or-later")),
    paths(
        auth::register, auth::login, auth::refresh, auth::logout, auth::logout_all, auth::guest, auth::ticket,
        me::show, me::update, tenant::show, tenant::update, users::list, users::show, users::update,
        ops::health, ops::live, ops::ready,
    ),
    components(schemas(Problem)),
    modifiers(&Common),
    tags(
        (name = "auth", description = "Signing up, in and out"),
        (name = "people", description = "The caller, their tenant and its users"),
        (name = "operations", description = "Health; never limited"),
    ),
)]
struct Api;

/// What all operations share.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut Document) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .build();
        let cookie = |name: &str| SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(name)));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        components.add_security_scheme("session", cookie("session"));
        components.add_security_scheme("refresh", cookie("refresh"));
        for (path, item) in &mut document.paths.paths {
            let needs_credentials = path.starts_with("/api/") || path.starts_with("/auth/");
            for operation in [&mut item.get, &mut item.post, &mut item.patch, &mut item.delete]
                .into_iter()
                .flatten()
            {
                complete(operation, needs_credentials);
            }
        }
    }
}

fn complete(operation: &mut Operation, needs_credentials: bool) {
    let content = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("Problem")))
        .build();
    let problem = ResponseBuilder::new()
        .description("What went wrong, as a problem document (RFC 9457)")
        .content(super::error::PROBLEM_JSON, content)
        .build();
    operation
        .responses
        .responses
        .insert("default".to_owned(), RefOr::T(problem));
    if needs_credentials && operation.security.is_none() {
        let requirement = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
        operation.security = Some(vec![requirement("bearer"), requirement("session")]);
    }
}

/// The document as JSON; made once.
static TEXT: LazyLock<String> = LazyLock::new(|| Api::openapi().to_json().unwrap_or_default());

/// `GET /openapi.json`.
pub async fn show() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(TEXT.as_str())
}

/// The routes of the document, for the test that compares it with the route table.
#[must_use]
pub fn routes() -> Vec<(String, &'static str)> {
    let mut routes = Vec::new();
    for (path, item) in Api::openapi().paths.paths {
        for (method, operation) in [
            ("GET", item.get),
            ("POST", item.post),
            ("PATCH", item.patch),
            ("DELETE", item.delete),
        ] {
            if operation.is_some() {
                routes.push((path.clone(), method));
            }
        }
    }
    routes
}
