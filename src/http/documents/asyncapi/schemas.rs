//! Schemas of frames, derived from types.

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, schema::Schema};
use utoipa::{PartialSchema, ToSchema};

/// One frame.
pub(super) struct FrameSchema {
    /// Its `type`.
    pub(super) word: &'static str,
    /// What it is for.
    pub(super) summary: String,
    /// Its fields.
    pub(super) schema: Value,
    pub(super) examples: Vec<Value>,
}

/// The schemas that frames refer to, collected on the way.
#[derive(Default)]
pub(super) struct SharedSchemas(pub(super) Map<String, Value>);

impl SharedSchemas {
    fn add(&mut self, schemas: Vec<(String, RefOr<Schema>)>) {
        for (name, schema) in schemas {
            self.0.insert(name, value(&schema));
        }
    }

    /// The schema of `T` in place, and what it refers to into the collection.
    fn of<T: ToSchema>(&mut self) -> Value {
        let mut schemas = Vec::new();
        T::schemas(&mut schemas);
        self.add(schemas);
        value(&<T as PartialSchema>::schema())
    }
}

/// Schemas of derived types always serialize.
fn value(schema: &RefOr<Schema>) -> Value {
    serde_json::to_value(schema).unwrap_or_default()
}

/// Adds the `type` field that every frame begins with.
fn with_type(mut schema: Value, word: &str) -> Value {
    schema["properties"]["type"] = json!({"type": "string", "const": word});
    if let Some(required) = schema["required"].as_array_mut() {
        required.insert(0, json!("type"));
    } else {
        schema["required"] = json!(["type"]);
    }
    schema
}

/// The schema of a frame, without examples.
pub(super) fn frame<T: ToSchema>(schemas: &mut SharedSchemas, word: &'static str) -> FrameSchema {
    let schema = schemas.of::<T>();
    let summary = schema["description"].as_str().unwrap_or_default().to_owned();
    FrameSchema {
        word,
        summary,
        schema: with_type(schema, word),
        examples: Vec::new(),
    }
}
