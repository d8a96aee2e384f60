//! The routes of a service and their OpenAPI document, made together: an operation is its handler
//! (whose attributes and types describe the request and the answer) and the errors that it may be
//! refused with (whose real bodies are the document's examples).

use std::collections::BTreeMap;

use axum::{
    Router,
    http::{StatusCode, header},
    routing::get,
};
use utoipa::openapi::{
    ComponentsBuilder, ContentBuilder, HeaderBuilder, InfoBuilder, ObjectBuilder, OneOfBuilder,
    OpenApiBuilder, Ref, RefOr, Response, ResponseBuilder, Schema, Type,
    example::ExampleBuilder,
    path::{Operation, ParameterIn, PathItem},
    schema::{AnyOfBuilder, SchemaType},
    security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::{ErrorKey, HttpSettings, Problem, wrap};

/// The name of the bearer scheme in the `security` of operations.
const BEARER: &str = "bearer";
const JSON: &str = "application/json";
const MULTIPART: &str = "multipart/form-data";
/// The errors of requests that reach no operation.
const REFUSED_BEFORE: &str = "In addition to the errors that each operation lists, any request may be refused before it reaches an operation: \
400 `bad_request` (not HTTP/1.1) or `invalid_host`, 404 `not_found` (no such path), 414 `uri_too_long`, \
431 `headers_too_large`. Every refusal has a text and a `code`.";

/// A service's operations.
pub struct Api<S> {
    name: &'static str,
    key: ErrorKey,
    routes: OpenApiRouter<S>,
}

impl<S: Clone + Send + Sync + 'static> Api<S> {
    /// The document is served at `/api/openapi/<name>.json`.
    pub fn new(name: &'static str, title: &str, description: &str, key: ErrorKey) -> Self {
        let bearer = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .bearer_format("JWT")
            .description(Some("An access token, from `POST /api/users/login/`."))
            .build();
        let components =
            ComponentsBuilder::new().security_scheme(BEARER, SecurityScheme::Http(bearer));
        let description = format!("{description}\n\n{REFUSED_BEFORE}");
        let document = OpenApiBuilder::new()
            .info(
                InfoBuilder::new()
                    .title(title)
                    .description(Some(description))
                    .version(env!("CARGO_PKG_VERSION")),
            )
            .components(Some(components.build()))
            .build();
        Self {
            name,
            key,
            routes: OpenApiRouter::with_openapi(document),
        }
    }

    /// Adds an operation with what it may be refused with, beside what every operation of its
    /// kind may.
    pub fn operation<E: Into<Problem>>(
        mut self,
        (mut schemas, mut paths, methods): UtoipaMethodRouter<S>,
        refusals: impl IntoIterator<Item = E>,
    ) -> Self {
        let refusals: Vec<Problem> = refusals.into_iter().map(Into::into).collect();
        for operation in paths.paths.values_mut().filter_map(only_operation) {
            document(operation, self.key, &refusals);
            split_files(operation, &mut schemas);
        }
        self.routes = self.routes.routes((schemas, paths, methods));
        self
    }

    /// The OpenAPI 3.1 document, as it is served.
    pub fn document(&self) -> String {
        let mut json = serde_json::to_string_pretty(self.routes.get_openapi()).unwrap_or_default();
        json.push('\n');
        json
    }

    /// The routes with the document beside them, and the contract's rules for every endpoint
    /// around both.
    pub fn serve(self, state: S, settings: &HttpSettings) -> Router {
        let document = self.document();
        let served = get(|| async { ([(header::CONTENT_TYPE, JSON)], document) });
        let path = format!("/api/openapi/{}.json", self.name);
        let routes: Router<S> = self.routes.into();
        let routes = routes.route(&path, served);
        wrap(routes.with_state(state), self.key, settings)
    }
}

/// The schema of a number from 0, however large.
pub fn from_zero() -> RefOr<Schema> {
    let number = ObjectBuilder::new().schema_type(Type::Integer);
    number.minimum(Some(0)).into()
}

/// The schema of a number from 1, however large.
pub fn from_one() -> RefOr<Schema> {
    let number = ObjectBuilder::new().schema_type(Type::Integer);
    number.minimum(Some(1)).into()
}

/// The schema of a file in a form.
pub fn file() -> RefOr<Schema> {
    let any = ObjectBuilder::new().schema_type(SchemaType::AnyValue);
    any.content_media_type("application/octet-stream").into()
}

/// The schema of a file in a form that may be left out: empty, or null.
pub fn file_or_none(description: &str) -> RefOr<Schema> {
    let none = ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .max_length(Some(0));
    let either = AnyOfBuilder::new().item(file()).item(none);
    either.description(Some(description)).into()
}

/// Each route is given to [`Api::operation`] on its own.
fn only_operation(item: &mut PathItem) -> Option<&mut Operation> {
    [
        &mut item.get,
        &mut item.post,
        &mut item.put,
        &mut item.patch,
        &mut item.delete,
    ]
    .into_iter()
    .find_map(Option::as_mut)
}

/// What every operation of this kind may be refused with.
fn usual(operation: &Operation) -> Vec<Problem> {
    let mut problems = vec![
        Problem::method_not_allowed(),
        Problem::unavailable(),
        Problem::internal(),
    ];
    if operation.security.is_some() {
        problems.push(Problem::not_authenticated());
        problems.push(Problem::token_not_valid());
    }
    if operation.request_body.is_some() {
        problems.push(Problem::malformed_body(
            "The request body is not a JSON object.",
        ));
        problems.push(Problem::body_too_slow());
        problems.push(Problem::body_too_large());
        problems.push(Problem::unsupported_media_type());
        problems.push(Problem::unsupported_encoding());
    }
    let parameters = operation.parameters.iter().flatten();
    let mut queried = parameters.filter(|parameter| {
        matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == ParameterIn::Query)
    });
    if queried.next().is_some() {
        problems.push(Problem::invalid_query());
    }
    problems
}

/// Removes the alternative `null`, which the macro adds to a body that may be missing.
fn without_null(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else {
        return;
    };
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content
            && let Some(RefOr::T(Schema::OneOf(either))) = &content.schema
            && let [schema @ RefOr::Ref(_), RefOr::T(_)] = either.items.as_slice()
        {
            content.schema = Some(schema.clone());
        }
    }
}

/// Only a form can carry files: a body that may be JSON or a form gets a schema for each.
fn split_files(operation: &mut Operation, schemas: &mut Vec<(String, RefOr<Schema>)>) {
    let Some(RefOr::T(body)) = &mut operation.request_body else {
        return;
    };
    if !body.content.contains_key(JSON) {
        return;
    }
    let Some(RefOr::T(form)) = body.content.get_mut(MULTIPART) else {
        return;
    };
    let Some(RefOr::Ref(whole)) = &form.schema else {
        return;
    };
    let name = whole.ref_location.rsplit('/').next().unwrap_or_default();
    let mut with_files = None;
    // The list has the schema twice, once for JSON and once for the form.
    for (_, schema) in schemas.iter_mut().filter(|(known, _)| known == name) {
        let whole = schema.clone();
        if let RefOr::T(json) = schema
            && take_files(json)
        {
            with_files = Some(whole);
        }
    }
    if let Some(whole) = with_files {
        let name = format!("{name}Form");
        form.schema = Some(Ref::from_schema_name(&name).into());
        schemas.push((name, whole));
    }
}

/// Replaces the schema of each file by that of its absence (null, or empty), as JSON has it;
/// returns whether there was a file.
fn take_files(schema: &mut Schema) -> bool {
    let mut had_files = false;
    let schema = match schema {
        Schema::Object(schema) => schema,
        // Of structs that are read as one body.
        Schema::AllOf(parts) => {
            for part in &mut parts.items {
                if let RefOr::T(part) = part {
                    had_files |= take_files(part);
                }
            }
            return had_files;
        }
        _ => return false,
    };
    for property in schema.properties.values_mut() {
        if let RefOr::T(Schema::AnyOf(either)) = property
            && either.items.first() == Some(&file())
            && let Some(RefOr::T(Schema::Object(mut none))) = either.items.pop()
        {
            none.description = either.description.take();
            *property = none.into();
            had_files = true;
        }
    }
    had_files
}

fn document(operation: &mut Operation, key: ErrorKey, refusals: &[Problem]) {
    without_null(operation);
    let mut by_status: BTreeMap<StatusCode, Vec<Problem>> = BTreeMap::new();
    for problem in refusals.iter().cloned().chain(usual(operation)) {
        by_status.entry(problem.status).or_default().push(problem);
    }
    for (status, problems) in by_status {
        let response = response(status, key, &problems);
        let responses = &mut operation.responses.responses;
        responses.insert(status.as_str().to_owned(), response.into());
    }
}

fn response(status: StatusCode, key: ErrorKey, problems: &[Problem]) -> Response {
    let examples = problems.iter().map(|problem| {
        let body = problem.json(key);
        (problem.code, ExampleBuilder::new().value(Some(body)))
    });
    let content = ContentBuilder::new()
        .schema(Some(schema(key, problems)))
        .examples_from_iter(examples);
    let header = |text: &str, kind| {
        let schema = ObjectBuilder::new().schema_type(kind).build();
        HeaderBuilder::new()
            .schema(Some(schema))
            .description(Some(text))
            .build()
    };
    let mut response = ResponseBuilder::new()
        .description(status.canonical_reason().unwrap_or_default())
        .content(JSON, content.build());
    if problems.iter().any(Problem::says_when_to_retry) {
        response = response.header("Retry-After", header("Seconds", Type::Integer));
    }
    if status == StatusCode::UNAUTHORIZED {
        response = response.header("WWW-Authenticate", header("The challenge", Type::String));
    }
    response.build()
}

/// The schema of error bodies: the key of the text, and the possible codes.
fn schema(key: ErrorKey, problems: &[Problem]) -> RefOr<Schema> {
    let mut codes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for problem in problems {
        let codes = codes.entry(problem.key(key).as_str()).or_default();
        if !codes.contains(&problem.code) {
            codes.push(problem.code);
        }
    }
    let mut shapes: Vec<Schema> = codes.into_iter().map(shape).collect();
    match shapes.len() {
        1 => shapes.remove(0).into(),
        _ => {
            let one_of = shapes
                .into_iter()
                .fold(OneOfBuilder::new(), OneOfBuilder::item);
            one_of.into()
        }
    }
}

fn shape((text, codes): (&str, Vec<&str>)) -> Schema {
    let string = || ObjectBuilder::new().schema_type(Type::String);
    ObjectBuilder::new()
        .property(text, string())
        .property("code", string().enum_values(Some(codes)))
        .required(text)
        .required("code")
        .into()
}
