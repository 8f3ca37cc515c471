//! Pages, one after the other: fetched whole, passed over once to see that they are what they should be, and only then used.
//!
//! A page that is cut is asked for again, and so is one that has come before: some servers, and what stands between, answer
//! from a memory of their own. One that comes back the same twice means that the server does not page, and ends the reading
//! instead of going round for ever.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use url::Url;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    format::{Item, Layout, Passed, pass},
    paging::{Place, Said},
    table::Table,
};
use crate::{
    Error, Stage,
    json::{Shape, members},
    reading::Halt,
    web::{Answer, Net, Request, shown},
};

/// The shapes of columns, as records show them.
#[derive(Debug, Clone, Default)]
pub(super) struct Learned {
    pub(super) columns: Vec<(String, Shape)>,
    places: HashMap<String, usize>,
}

impl Learned {
    pub(super) fn add(&mut self, name: &str, shape: Shape) {
        match self.places.get(name) {
            Some(place) => self.columns[*place].1 = self.columns[*place].1.and(shape),
            None => {
                self.places.insert(name.to_owned(), self.columns.len());
                self.columns.push((name.to_owned(), shape));
            }
        }
    }

    fn learn(&mut self, text: &str) {
        if let Ok(members) = members(text) {
            for (name, value) in members.0 {
                self.add(&name, Shape::of(value.get()));
            }
        }
    }

    pub(super) fn join(&mut self, other: &Learned) {
        for (name, shape) in &other.columns {
            self.add(name, *shape);
        }
    }
}

/// A page that is what it should be.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) number: u64,
    pub(super) answer: Answer,
    pub(super) layout: Layout,
    pub(super) learned: Learned,
    pub(super) said: Said,
    pub(super) is_complete: bool,
    /// Records and what should have been some.
    pub(super) count: u64,
    /// The first records, which were on the page before.
    pub(super) skip: u64,
    /// The hash of each record, where there are several pages.
    pub(super) hashes: Vec<u128>,
}

/// Walks over the pages of a table.
#[derive(Debug, Clone)]
pub(super) struct Walker {
    place: Option<Place>,
    pages: u64,
    layout: Option<Layout>,
    /// Places that were asked for.
    asked: HashSet<String>,
    /// What the pages before held, by the hash of their records' hashes.
    seen: HashMap<u128, u64>,
    /// The last records of the page before.
    last: Vec<u128>,
    /// Records so far, each once.
    fresh: u64,
    /// How many the server says there are.
    total: Option<u64>,
}

impl Walker {
    pub(super) fn new() -> Self {
        Self {
            place: Some(Place::Start),
            pages: 0,
            layout: None,
            asked: HashSet::new(),
            seen: HashMap::new(),
            last: Vec::new(),
            fresh: 0,
            total: None,
        }
    }

    pub(super) fn total(&self) -> Option<u64> {
        self.total
    }

    /// The next page; `None` after the last. `learns`: the shapes of its columns are wanted.
    pub(super) fn next(
        &mut self,
        net: &Net<'_>,
        table: &Table,
        since: Option<&str>,
        learns: bool,
    ) -> Result<Option<Arc<Page>>, Halt> {
        let Some(place) = self.place.take() else { return Ok(None) };
        let request = table.request(net.client, &place, since)?;
        let Some(page) = self.page(net, table, &request, learns)? else {
            self.check_total(&request.url)?;
            return Ok(None);
        };
        self.pages = page.number;
        self.layout = Some(page.layout.clone());
        let fresh = page.count - page.skip;
        self.fresh += fresh;
        self.total = table.pager.total(&page.said).or(self.total);
        self.last = page.hashes.clone();
        let next = table.pager.next(net.client, &place, fresh, &page.said, &page.answer.url)?;
        if let Some(next) = &next
            && !self.asked.insert(next.mark())
        {
            return Err(
                endless(&page.answer.url, format!("page {} leads back to a page that was read", page.number)).into()
            );
        }
        self.place = next;
        if self.place.is_none() {
            self.check_total(&request.url)?;
        }
        Ok(Some(Arc::new(page)))
    }

    /// A list that is shorter than the server says was cut, or moved while it was read.
    fn check_total(&self, url: &Url) -> Result<(), Error> {
        match self.total {
            Some(total) if total > self.fresh => Err(Error::Interrupted {
                place: format!("`{}`", shown(url)),
                reason: format!("the server says {total} records and gave {}", self.fresh),
            }),
            _ => Ok(()),
        }
    }

    /// Fetches a page until it is one, and a new one; `None` where there is none (404, as declared).
    fn page(&mut self, net: &Net<'_>, table: &Table, request: &Request, learns: bool) -> Result<Option<Page>, Halt> {
        let (mut tries, mut was_repeated) = (0, false);
        loop {
            let answer = net.wait(net.client.fetch(request))?;
            if answer.status.as_u16() == 404 {
                return Ok(None);
            }
            let url = answer.url.clone();
            let page = match self.digest(table, answer, learns) {
                Ok(page) => page,
                Err(Halt::Failed(error @ Error::Interrupted { .. })) => {
                    if tries >= net.client.settings().max_retries {
                        return Err(Halt::Failed(error));
                    }
                    net.wait(net.client.pause(tries, None, &url))?;
                    tries += 1;
                    continue;
                }
                Err(halt) => return Err(halt),
            };
            if !table.pager.is_paged() || page.count == 0 {
                return Ok(Some(page));
            }
            let digest = digest_of(&page.hashes);
            match self.seen.get(&digest) {
                None => {
                    self.seen.insert(digest, page.number);
                    return Ok(Some(page));
                }
                Some(earlier) if was_repeated => {
                    let (number, parameter) = (page.number, table.pager.parameter());
                    let reason = format!(
                        "page {number} came back the same as page {earlier}, twice: the server does not go by {parameter}; check `paging`"
                    );
                    return Err(endless(&url, reason).into());
                }
                Some(_) => {
                    was_repeated = true;
                    net.wait(net.client.pause(0, None, &url))?;
                }
            }
        }
    }

    /// Passes over an answer once.
    fn digest(&self, table: &Table, answer: Answer, learns: bool) -> Result<Page, Halt> {
        let layout = match &self.layout {
            Some(layout) => layout.clone(),
            None => Layout::of(&answer, table)?,
        };
        let is_paged = table.pager.is_paged();
        let (mut learned, mut hashes, mut count) = (Learned::default(), Vec::new(), 0_u64);
        let passed = pass(&answer, table, &layout, &mut |item| {
            count += 1;
            let text = match &item {
                Item::Record(text) => *text,
                Item::Bad { payload, .. } => payload,
            };
            if is_paged {
                hashes.push(xxh3_128(text.as_bytes()));
            }
            if learns && matches!(item, Item::Record(_)) {
                learned.learn(text);
            }
            Ok(())
        })?;
        let Passed { values, is_complete } = passed;
        let skip = self.overlap(table, &answer, &hashes)?;
        let said = Said { values, headers: answer.headers.clone() };
        Ok(Page { number: self.pages + 1, answer, layout, learned, said, is_complete, count, skip, hashes })
    }

    /// How many of the first records were on the page before, where that was asked for.
    fn overlap(&self, table: &Table, answer: &Answer, hashes: &[u128]) -> Result<u64, Error> {
        let wanted = table.pager.overlap().min(self.last.len());
        if wanted == 0 || self.pages == 0 {
            return Ok(0);
        }
        if hashes.starts_with(&self.last[self.last.len() - wanted..]) {
            return Ok(wanted as u64);
        }
        Err(Error::Interrupted {
            place: format!("`{}`", shown(&answer.url)),
            reason: format!(
                "the list moved while it was read: page {} does not go on where the one before ended",
                self.pages + 1
            ),
        })
    }
}

fn digest_of(hashes: &[u128]) -> u128 {
    let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_le_bytes()).collect();
    xxh3_128(&bytes)
}

fn endless(url: &Url, reason: String) -> Error {
    Error::Refused { endpoint: shown(url), stage: Stage::Read, reason }
}
