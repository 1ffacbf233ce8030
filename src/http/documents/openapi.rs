//! The OpenAPI 3.1 document, made from the handlers and their types.
//!
//! Every operation gets the problems that it shares with others and the two ways to show
//! credentials. So a handler only says what is special about it.

use crate::http::assets::files::Asset;
use crate::http::request::cookies::CookieNames;
use crate::http::response::prepared;
use crate::http::response::problem::{PROBLEM_JSON, Problem};
use crate::http::routes::{
    access, analytics, analytics_export, analytics_latency, auth, blocks, conversations, health, invites, keys, me,
    members, messages, metrics, search, socket, tenant, users,
};
use crate::http::state::AppState;
use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
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
        keys::list, keys::create, keys::delete,
        me::show, me::update, me::change_password, blocks::list, blocks::create, blocks::delete,
        tenant::show, tenant::update, tenant::list_invites,
        tenant::withdraw_invites, tenant::withdraw_invite, users::list, users::show, users::update,
        conversations::list, conversations::create, conversations::leave, conversations::show, conversations::update, conversations::delete,
        messages::list, messages::create,
        messages::update, messages::delete, members::list, members::create, members::update, members::delete,
        invites::list, invites::create, invites::delete, invites::accept, search::search,
        analytics::summary, analytics::messages, analytics::active_users, analytics::top_users,
        analytics::top_conversations, analytics::heatmap, analytics_latency::latency, analytics_export::export, analytics::usage,
        socket::open, health::health, health::live, health::ready, metrics::metrics,
    ),
    components(schemas(Problem)),
    modifiers(&SharedParts),
    tags(
        (name = "auth", description = "Signing up, in and out"),
        (name = "keys", description = "Credentials of programs: `Authorization: Bearer pk_…`"),
        (name = "people", description = "The caller, their tenant and its users"),
        (name = "conversations", description = "Conversations of the caller"),
        (name = "messages", description = "History and changes, the same way as on the socket"),
        (name = "members", description = "Who is in a conversation"),
        (name = "invites", description = "Links by which people join"),
        (name = "analytics", description = "Numbers about the workspace, for its admins; and one's own"),
        (name = "socket", description = "The live connection; its frames are in asyncapi.json"),
        (name = "operations", description = "Health and metrics; never limited"),
    ),
)]
struct ApiDocument;

/// What all operations share.
struct SharedParts;

impl Modify for SharedParts {
    fn modify(&self, document: &mut Document) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some(
                "An access token, or an API key (`pk_…`) with the scope that the route needs.",
            ))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        for (path, item) in &mut document.paths.paths {
            complete(path, item.get.as_mut(), OperationKind::Reads);
            for operation in [&mut item.post, &mut item.patch, &mut item.delete] {
                complete(path, operation.as_mut(), OperationKind::Writes);
            }
        }
    }
}

/// What an operation does with the data.
#[derive(Clone, Copy, PartialEq)]
enum OperationKind {
    Reads,
    Writes,
}

/// Adds the credentials, and every problem that an operation may reply besides those its handler
/// names. There is no `default`, so that a response nobody has thought of is found by the tests
/// against this document.
fn complete(path: &str, operation: Option<&mut Operation>, kind: OperationKind) {
    let Some(operation) = operation else { return };
    let signs_in = path.starts_with("/auth/");
    let needs_credentials = path.starts_with("/api/") || signs_in || path == "/ws";
    for status in problems(path, operation, kind, needs_credentials) {
        let content = ContentBuilder::new()
            .schema(Some(Ref::from_schema_name("Problem")))
            .build();
        let problem = ResponseBuilder::new()
            .description(status.canonical_reason().unwrap_or_default())
            .content(PROBLEM_JSON, content)
            .build();
        let responses = &mut operation.responses.responses;
        responses.entry(status.as_str().to_owned()).or_insert(RefOr::T(problem));
    }
    for (status, response) in &mut operation.responses.responses {
        // OpenAPI wants a description of each.
        let words = StatusCode::from_bytes(status.as_bytes())
            .ok()
            .and_then(|status| status.canonical_reason());
        if let (RefOr::T(response), Some(words)) = (response, words)
            && response.description.is_empty()
        {
            words.clone_into(&mut response.description);
        }
    }
    if needs_credentials && operation.security.is_none() {
        let requirement = |name: &str| SecurityRequirement::new(name, Vec::<String>::new());
        operation.security = Some(vec![requirement("bearer"), requirement("session")]);
    }
}

fn problems(path: &str, operation: &Operation, kind: OperationKind, needs_credentials: bool) -> Vec<StatusCode> {
    let mut statuses = vec![
        StatusCode::BAD_REQUEST,
        StatusCode::URI_TOO_LONG,
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
        StatusCode::SERVICE_UNAVAILABLE,
    ];
    if needs_credentials {
        statuses.extend([StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN]);
    }
    if operation.request_body.is_some() {
        statuses.extend([StatusCode::REQUEST_TIMEOUT, StatusCode::PAYLOAD_TOO_LARGE]);
    }
    if !path.starts_with("/health") {
        statuses.push(StatusCode::MISDIRECTED_REQUEST);
    }
    if path == "/ws" {
        statuses.push(StatusCode::UPGRADE_REQUIRED);
    }
    // An invitation that is unknown, an address that is taken, a quantity that is used up.
    let makes_somebody = matches!(path, "/auth/register" | "/auth/guest");
    // What the body names may not be there either.
    let may_name_others = matches!(path, "/api/conversations" | "/api/me/blocks");
    let names_others = makes_somebody || (may_name_others && kind == OperationKind::Writes);
    // So may what a search is confined to.
    if path.contains('{') || names_others || path == "/api/search" {
        statuses.push(StatusCode::NOT_FOUND);
    }
    let is_api = path.starts_with("/api/");
    if kind == OperationKind::Writes && (is_api || makes_somebody || path == "/auth/ticket") {
        statuses.push(StatusCode::CONFLICT);
    }
    if !access::is_health(path) {
        statuses.push(StatusCode::TOO_MANY_REQUESTS);
    }
    statuses
}

/// The document as JSON of a server whose people come by TLS, and of another; each made once.
static SECURE: LazyLock<Asset> = LazyLock::new(|| Asset::of_text(text(CookieNames::of(true)), "application/json"));
static PLAIN: LazyLock<Asset> = LazyLock::new(|| Asset::of_text(text(CookieNames::of(false)), "application/json"));

fn text(names: CookieNames) -> String {
    let cookie = |name: &str| SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::new(name)));
    let mut document = ApiDocument::openapi();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("session", cookie(names.session));
    components.add_security_scheme("refresh", cookie(names.refresh));
    document.to_json().unwrap_or_default()
}

/// `GET /openapi.json`.
pub(crate) async fn show(request: HttpRequest, state: web::Data<AppState>) -> HttpResponse {
    let document = if state.config.http.secure_cookies {
        &SECURE
    } else {
        &PLAIN
    };
    prepared::respond(&request, document, "no-cache").await
}

/// The routes of the document as path and method, for tests that go through all of them.
#[must_use]
pub fn routes() -> Vec<(String, &'static str)> {
    let mut routes = Vec::new();
    for (path, item) in ApiDocument::openapi().paths.paths {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::middleware::compression;
    use serde_json::Value;
    use std::collections::BTreeSet;

    fn document() -> Value {
        serde_json::from_slice(&PLAIN.body).unwrap()
    }

    #[test]
    fn it_is_openapi_3_1_and_names_credentials_and_problems() {
        let document = document();
        assert_eq!(document["openapi"], "3.1.0");
        for name in ["bearer", "session", "refresh"] {
            assert!(document["components"]["securitySchemes"][name].is_object(), "{name}");
        }
        assert_eq!(
            document["paths"]["/api/me"]["get"]["security"][0]["bearer"],
            serde_json::json!([])
        );
        let problem = &document["paths"]["/api/me"]["get"]["responses"]["401"]["content"]["application/problem+json"];
        assert_eq!(problem["schema"]["$ref"], "#/components/schemas/Problem");
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        let references: BTreeSet<_> = text
            .split("\"$ref\":\"#")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(!references.is_empty());
        for reference in references {
            assert!(document.pointer(reference).is_some(), "{reference}");
        }
    }

    /// The routes of the table in `routes/table.rs`, read from its source.
    fn routes_in_source() -> BTreeSet<(String, &'static str)> {
        // Without white space, so that it does not matter how the lines are broken.
        let source: String = include_str!("../routes/table.rs").split_whitespace().collect();
        let table = source.split_once("fnroutes()").unwrap().1;
        let mut routes = BTreeSet::new();
        for service in table.split(".service(to(\"").skip(1) {
            let (path, rest) = service.split_once('"').unwrap();
            for (call, method) in [
                (".get(", "GET"),
                (".post(", "POST"),
                (".patch(", "PATCH"),
                (".delete(", "DELETE"),
            ] {
                if rest.contains(call) {
                    routes.insert((path.to_owned(), method));
                }
            }
        }
        routes
    }

    #[test]
    fn every_route_of_the_document_has_a_row() {
        for (path, method) in routes() {
            assert!(access::find(method, &path).is_some(), "no row for {method} {path}");
        }
    }

    #[test]
    fn it_has_exactly_the_routes_of_the_table() {
        let undocumented = [
            "/",
            "/analytics",
            "/i/{code}",
            "/i/{code}/{rest:.*}",
            "/static/{hash}/{path:.*}",
            "/docs",
            "/docs/socket",
            "/openapi.json",
            "/asyncapi.json",
        ];
        let mut expected = routes_in_source();
        expected.retain(|(path, _)| !undocumented.contains(&path.as_str()));
        assert!(expected.len() >= 17);
        assert_eq!(routes().into_iter().collect::<BTreeSet<_>>(), expected);
    }

    /// Whether a schema of the document, or what it is made of, has a member that is a credential.
    fn holds_a_credential(document: &Value, schema: &Value) -> bool {
        const CREDENTIALS: [&str; 4] = ["access_token", "ticket", "secret", "code"];
        match schema {
            Value::Object(members) => {
                let target = members.get("$ref").and_then(Value::as_str);
                let target = target.and_then(|target| document.pointer(target.strip_prefix('#')?));
                let properties = members.get("properties").and_then(Value::as_object);
                // The code of an error is for everybody.
                let is_error_code = |schema: &Value| schema.to_string().contains("schemas/Code\"");
                let is_credential = |names: &serde_json::Map<String, Value>, name: &str| {
                    names.get(name).is_some_and(|schema| !is_error_code(schema))
                };
                properties.is_some_and(|names| CREDENTIALS.iter().any(|name| is_credential(names, name)))
                    || target.is_some_and(|target| holds_a_credential(document, target))
                    || members.values().any(|inner| holds_a_credential(document, inner))
            }
            Value::Array(items) => items.iter().any(|item| holds_a_credential(document, item)),
            _ => false,
        }
    }

    #[test]
    fn the_document_has_no_other_routes_with_credentials() {
        let document: Value = serde_json::from_slice(&PLAIN.body).unwrap();
        let mut found = 0;
        for (path, operations) in document["paths"].as_object().unwrap() {
            for operation in operations.as_object().unwrap().values() {
                let responses = operation["responses"].as_object().unwrap().iter();
                let secret = responses
                    .filter(|(status, _)| status.starts_with('2'))
                    .any(|(_, response)| holds_a_credential(&document, response));
                found += usize::from(secret);
                assert!(!secret || compression::is_secret(path), "{path} holds a credential");
            }
        }
        assert!(found >= 6, "the document was not understood");
    }
}
