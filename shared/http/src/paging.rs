//! Numbered pages: `page` from 1, `page_size` 1 to 100.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{StatusCode, Uri, request::Parts},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{BaseUrl, Number, Params, Problem, from_one};

const DEFAULT_PAGE_SIZE: u64 = 10;
const MAX_PAGE_SIZE: u64 = 100;

/// The page that a request asks for, and what its links are made of.
#[derive(Debug)]
pub struct Page {
    number: u64,
    size: u64,
    base: Arc<str>,
    uri: Uri,
    params: Params,
}

/// The query of a paged operation, which [`Page`] reads.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// From 1; one past the end is a 404.
    #[param(schema_with = from_one)]
    page: Option<Number>,
    /// How many results a page has at most, 10 by default; more than 100 is taken as 100.
    #[param(schema_with = from_one)]
    page_size: Option<Number>,
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Paged<T> {
    pub count: u64,
    pub next: Option<String>,
    pub previous: Option<String>,
    pub results: Vec<T>,
}

impl Page {
    /// How many rows come before this page. Saturates: such a page is past any end.
    pub fn offset(&self) -> u64 {
        (self.number - 1).saturating_mul(self.size)
    }

    /// How many rows it has at most.
    pub fn limit(&self) -> u64 {
        self.size
    }

    /// Refuses a page past the end of `count` rows. Page 1 of nothing is fine.
    pub fn check(&self, count: u64) -> Result<(), Problem> {
        if self.number > 1 && self.offset() >= count {
            return Err(Self::past_the_end());
        }
        Ok(())
    }

    pub fn past_the_end() -> Problem {
        Problem::new(StatusCode::NOT_FOUND, "invalid_page", "Invalid page.")
    }

    pub fn of<T>(self, count: u64, results: Vec<T>) -> Paged<T> {
        let more = self.offset().saturating_add(self.size) < count;
        Paged {
            count,
            next: more.then(|| self.link(self.number + 1)),
            previous: (self.number > 1).then(|| self.link(self.number - 1)),
            results,
        }
    }

    /// This request with another `page`; every other parameter stays.
    fn link(&self, number: u64) -> String {
        let mut pairs: Vec<(&str, String)> = self
            .params
            .0
            .iter()
            .filter(|(key, _)| key != "page")
            .map(|(key, value)| (key.as_str(), value.clone()))
            .collect();
        pairs.push(("page", number.to_string()));
        let query = serde_urlencoded::to_string(pairs).unwrap_or_default();
        format!("{}{}?{query}", self.base, self.uri.path())
    }
}

impl<S: Sync> FromRequestParts<S> for Page {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = Params::from_request_parts(parts, state).await?;
        let sent: PageParams = params.read()?;
        let Ok(BaseUrl(base)) = BaseUrl::from_request_parts(parts, state).await;
        Ok(Self {
            number: positive(sent.page, 1)?,
            size: positive(sent.page_size, DEFAULT_PAGE_SIZE)?.min(MAX_PAGE_SIZE),
            base,
            uri: parts.uri.clone(),
            params,
        })
    }
}

/// The number that was sent, which must be at least 1, or the default.
fn positive(number: Option<Number>, default: u64) -> Result<u64, Problem> {
    match number.map(|number| number.0) {
        None => Ok(default),
        Some(0) => Err(Problem::invalid_query()),
        Some(number) => Ok(number.min(u64::MAX - 1)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(number: u64, size: u64, query: &str) -> Page {
        Page {
            number,
            size,
            base: "http://chat.example".into(),
            uri: format!("/api/users/?{query}").parse().expect("a uri"),
            params: Params(serde_urlencoded::from_str(query).expect("a query")),
        }
    }

    #[test]
    fn links_keep_every_other_parameter() {
        let paged = page(2, 10, "username=a%20b&page=2").of(21, vec![(); 10]);
        assert_eq!(
            paged.next.as_deref(),
            Some("http://chat.example/api/users/?username=a+b&page=3")
        );
        assert_eq!(
            paged.previous.as_deref(),
            Some("http://chat.example/api/users/?username=a+b&page=1")
        );
    }

    #[test]
    fn the_last_full_page_has_no_next() {
        let paged = page(2, 10, "").of(20, vec![(); 10]);
        assert_eq!(paged.next, None);
    }

    #[test]
    fn only_page_one_of_nothing_exists() {
        assert!(page(1, 10, "").check(0).is_ok());
        assert!(page(2, 10, "").check(10).is_err());
        assert!(page(2, 10, "").check(11).is_ok());
        assert!(page(u64::MAX - 1, 100, "").check(u64::MAX - 1).is_err());
    }

    #[test]
    fn numbers_are_decimal_and_from_one() {
        let read = |query: &str| {
            let params = Params::of(query)?.read::<PageParams>()?;
            positive(params.page, 10)
        };
        for bad in ["", "0", "-1", "1.5", "x", "%2b1", "%201"] {
            assert!(read(&format!("page={bad}")).is_err(), "{bad:?}");
        }
        assert_eq!(read("page=007").ok(), Some(7));
        assert_eq!(read("page=x&page=2").ok(), Some(2));
        assert!(read("page=99999999999999999999999").is_ok());
        assert_eq!(read("").ok(), Some(10));
    }

    proptest! {
        #[test]
        fn following_next_visits_every_row_once(count in 0_u64..500, size in 1_u64..120) {
            let rows: Vec<u64> = (0..count).collect();
            let (mut number, mut visited) = (1, Vec::new());
            loop {
                let page = page(number, size, "");
                prop_assert!(page.check(count).is_ok());
                let from = page.offset() as usize;
                let to = (from + page.limit() as usize).min(rows.len());
                let paged = page.of(count, rows[from..to].to_vec());
                prop_assert_eq!(paged.count, count);
                prop_assert_eq!(paged.previous.is_some(), number > 1);
                visited.extend(paged.results);
                if paged.next.is_none() {
                    break;
                }
                number += 1;
            }
            prop_assert_eq!(visited, rows);
            prop_assert_eq!(self::page(number + 1, size, "").check(count).is_err(), true);
        }

        #[test]
        fn no_number_is_too_large_to_be_asked_for(number in 1_u64.., size in 1_u64..=100, count: u64) {
            let page = page(number, size, "");
            let is_there = page.check(count).is_ok();
            prop_assert_eq!(is_there, number == 1 || (number - 1).checked_mul(size).is_some_and(|before| before < count));
            prop_assert!(page.of(count, Vec::<()>::new()).next.is_none() || count > size);
        }
    }
}
