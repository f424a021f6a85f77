//! What a client may ask of a list.

use serde::Deserialize;

use crate::cached::ListKey;
use crate::domain::cursor::Cursor;
use crate::error::{Error, Result};

/// Longest search, in characters.
pub const SEARCH_CHARACTERS_MAX: usize = 200;
/// Products on a page, at most and if nothing is said.
pub const LIMIT_MAX: i64 = 100;
pub const LIMIT_DEFAULT: i64 = 24;

/// `?category=&q=&cursor=&limit=` of a list.
#[derive(Debug, Default, Deserialize)]
pub struct ListQuery {
    pub category: Option<String>,
    pub q: Option<String>,
    pub cursor: Option<String>,
    pub limit: Option<i64>,
}

impl ListQuery {
    /// The list that is meant. Empty fields of a form mean nothing; a limit is brought into its bounds.
    pub fn parse(self) -> Result<ListKey> {
        let given = |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let category = given(self.category);
        if let Some(slug) = &category
            && !is_slug(slug)
        {
            return Err(Error::UnknownCategory(slug.clone()));
        }
        let words = given(self.q);
        if let Some(words) = &words
            && words.chars().count() > SEARCH_CHARACTERS_MAX
        {
            return Err(Error::SearchTooLong(SEARCH_CHARACTERS_MAX));
        }
        let cursor = match given(self.cursor) {
            Some(text) => Some(text.parse().map_err(|_| Error::InvalidCursor)?),
            None => None,
        };
        // A search goes on by rank, any other list by id: the cursor of one means nothing in the other.
        let is_ranked = matches!(cursor, Some(Cursor::Ranked { .. }));
        if cursor.is_some() && is_ranked != words.is_some() {
            return Err(Error::InvalidCursor);
        }
        Ok(ListKey {
            category,
            // Postgres takes no text with a zero byte in it, and nobody looks for one.
            words: words.map(|words| words.replace('\0', " ")),
            cursor,
            limit: self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX),
        })
    }
}

/// The address of the page that follows: the same list, from a cursor on.
pub fn next_page(path: &str, key: &ListKey, cursor: &str) -> String {
    let limit = (key.limit != LIMIT_DEFAULT).then(|| key.limit.to_string());
    let fields = [
        ("q", key.words.as_deref()),
        ("category", key.category.as_deref()),
        ("limit", limit.as_deref()),
        ("cursor", Some(cursor)),
    ];
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields.iter().filter_map(|(name, value)| Some((name, (*value)?))))
        .finish();
    format!("{path}?{query}")
}

/// Whether a text can be a category's slug, so that no other reaches cache or database.
pub fn is_slug(text: &str) -> bool {
    (1..=40).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_fields_of_a_form_mean_nothing() {
        let key = ListQuery {
            category: Some(String::new()),
            q: Some("  ".to_owned()),
            cursor: Some(String::new()),
            limit: None,
        }
        .parse()
        .expect("a list of everything");
        assert_eq!(
            key,
            ListKey {
                category: None,
                words: None,
                cursor: None,
                limit: LIMIT_DEFAULT
            }
        );
    }

    #[test]
    fn the_next_page_is_of_the_same_list() {
        let key = ListQuery {
            category: Some("strata".to_owned()),
            q: Some("sea & sky".to_owned()),
            cursor: None,
            limit: Some(2),
        }
        .parse()
        .expect("a good query");
        assert_eq!(
            next_page("/search", &key, "r-3f4ccccd-120"),
            "/search?q=sea+%26+sky&category=strata&limit=2&cursor=r-3f4ccccd-120"
        );
        let everything = ListQuery::default().parse().expect("a good query");
        assert_eq!(next_page("/", &everything, "p-24"), "/?cursor=p-24");
    }

    #[test]
    fn limits_are_brought_into_their_bounds() {
        for (asked, given) in [(-1, 1), (0, 1), (7, 7), (i64::MAX, LIMIT_MAX)] {
            let query = ListQuery {
                limit: Some(asked),
                ..ListQuery::default()
            };
            assert_eq!(query.parse().expect("a good query").limit, given);
        }
    }

    #[test]
    fn what_can_not_be_a_list_is_refused() {
        let query = |field: fn(&mut ListQuery)| {
            let mut query = ListQuery::default();
            field(&mut query);
            query.parse()
        };
        assert!(matches!(
            query(|q| q.category = Some("../x".to_owned())),
            Err(Error::UnknownCategory(_))
        ));
        assert!(matches!(
            query(|q| q.q = Some("x".repeat(201))),
            Err(Error::SearchTooLong(_))
        ));
        assert!(matches!(
            query(|q| q.cursor = Some("x".to_owned())),
            Err(Error::InvalidCursor)
        ));
        assert!(matches!(
            query(|q| q.cursor = Some("r-00000000-1".to_owned())),
            Err(Error::InvalidCursor)
        ));
    }
}
