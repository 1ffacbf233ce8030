//! Which page of a list a request asks for. A page has at most [`ITEMS_MAX`] items: nothing lists
//! everything.

use crate::http::response::error::Error;
use serde::Deserialize;
use utoipa::IntoParams;

/// Items of a page unless asked otherwise.
const ITEMS_DEFAULT: i64 = 50;
/// Most items of a page.
const ITEMS_MAX: i64 = 100;

/// Which page of a list that goes by cursor.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// 1–100, default 50.
    #[param(minimum = 1, maximum = 100)]
    pub(crate) limit: Option<i64>,
    /// `next` of the page before.
    pub(crate) cursor: Option<String>,
}

/// The size of a page, from the `limit` parameter.
///
/// # Errors
/// `bad_request` outside of 1–100.
pub(crate) fn page_limit(limit: Option<i64>) -> Result<i64, Error> {
    match limit.unwrap_or(ITEMS_DEFAULT) {
        limit @ 1..=ITEMS_MAX => Ok(limit),
        _ => Err(Error::field("limit", format!("1 to {ITEMS_MAX}."))),
    }
}

/// The start of a page, from the `offset` parameter.
///
/// # Errors
/// `bad_request` for a negative one.
pub(crate) fn page_offset(offset: Option<i64>) -> Result<i64, Error> {
    match offset.unwrap_or(0) {
        offset @ 0.. => Ok(offset),
        _ => Err(Error::field("offset", "Not negative.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded() {
        assert_eq!(page_limit(None).unwrap(), 50);
        assert_eq!(page_limit(Some(100)).unwrap(), 100);
        for bad in [0, -1, 101, i64::MAX] {
            assert!(page_limit(Some(bad)).is_err());
        }
        assert_eq!(page_offset(None).unwrap(), 0);
        assert!(page_offset(Some(-1)).is_err());
    }
}
