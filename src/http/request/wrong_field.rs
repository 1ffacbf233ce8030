//! What serde says about wrong input, as a problem that names the field.

use crate::error::Code;
use crate::http::response::error::Error;

/// The field is the path, or for a missing or unknown one the name in the message.
pub(crate) fn wrong_field(path: &str, message: &str) -> Error {
    let message = message.split(" at line ").next().unwrap_or(message);
    let named = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix)?.split('`').next());
    let field = match (path, named) {
        ("." | "", Some(named)) => named.to_owned(),
        // The path of an unknown field ends with that field already.
        (path, Some(named)) if path == named || path.ends_with(&format!(".{named}")) => path.to_owned(),
        (path, Some(named)) => format!("{path}.{named}"),
        ("." | "", None) => return Error::with_detail(Code::BadRequest, format!("The input is wrong: {message}.")),
        (path, None) => path.to_owned(),
    };
    Error::field(field, message.to_owned())
}
