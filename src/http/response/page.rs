//! The page of a list, cut from what was read: one item more than asked for tells that there is a
//! next page.

/// The first `limit` items, and where the next page begins if there were more.
#[must_use]
pub(crate) fn cut_page<T>(
    mut items: Vec<T>,
    limit: i64,
    cursor: impl FnOnce(&T) -> String,
) -> (Vec<T>, Option<String>) {
    let size = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > size;
    items.truncate(size);
    let next = items.last().filter(|_| more).map(cursor);
    (items, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_item_more_is_a_next_page() {
        assert_eq!(
            cut_page(vec![1, 2, 3], 2, ToString::to_string),
            (vec![1, 2], Some("2".to_owned()))
        );
        assert_eq!(cut_page(vec![1, 2], 2, ToString::to_string), (vec![1, 2], None));
    }
}
