use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use mavis_sql::Home;
use mavis_types::Principal;
use prost::Message;
use tonic::{
    Status,
    metadata::{MetadataMap, MetadataValue},
};
use uuid::Uuid;

use super::options::{Compression, ENDPOINTS};
use crate::flight::handle::{Handles, in_seconds};

/// Name of the cookie, as Flight's own documents have it.
const COOKIE: &str = "arrow_flight_session_id";
/// What its signature is for.
const PURPOSE: &[u8] = b"flight-session:";
/// Seconds after which a session is over, whatever was done with it.
const LIFE: u64 = 7 * 24 * 3600;

/// What a session holds, and what is asked for by a request's own headers.
#[derive(Clone, PartialEq, Eq, Message)]
pub(in crate::flight) struct Kept {
    /// Empty: there is no session, these are the defaults.
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    /// The token that it belongs to.
    #[prost(string, tag = "2")]
    owner: String,
    /// Seconds since 1970.
    #[prost(uint64, tag = "3")]
    until: u64,
    #[prost(string, optional, tag = "4")]
    catalog: Option<String>,
    #[prost(string, optional, tag = "5")]
    schema: Option<String>,
    #[prost(string, optional, tag = "6")]
    compression: Option<String>,
    #[prost(uint32, optional, tag = "7")]
    pub(super) endpoints: Option<u32>,
}

impl Kept {
    pub(in crate::flight) fn home(&self) -> Home {
        Home { catalog: self.catalog.clone(), schema: self.schema.clone() }
    }

    pub(in crate::flight) fn at(mut self, home: Home) -> Self {
        Home { catalog: self.catalog, schema: self.schema } = home;
        self
    }

    pub(in crate::flight) fn compressed(&self) -> Compression {
        self.compression.as_deref().and_then(Compression::read).unwrap_or_default()
    }

    pub(super) fn compress(&mut self, compression: Option<Compression>) {
        self.compression = compression.map(|compression| compression.as_str().to_owned());
    }

    /// Endpoints that the caller wants of a query; `None`: as the server sees fit.
    pub(in crate::flight) fn wanted_endpoints(&self) -> Option<u32> {
        self.endpoints
    }
}

/// Reads and writes the cookies of sessions.
#[derive(Debug, Clone)]
pub(in crate::flight) struct Sessions {
    handles: Handles,
    /// Sessions that were closed here, until nobody could bring their cookie any more.
    closed: Arc<Mutex<HashMap<Vec<u8>, Instant>>>,
}

impl Sessions {
    pub(in crate::flight) fn new(handles: Handles) -> Self {
        Self { handles, closed: Arc::default() }
    }

    /// The session of a request, with the wishes of its headers over it.
    pub(in crate::flight) fn of(&self, metadata: &MetadataMap, principal: &Principal) -> Result<Kept, Status> {
        let cookies = metadata.get_all("cookie").iter().filter_map(|value| value.to_str().ok());
        let cookie = cookies.flat_map(|line| line.split(';')).find_map(|pair| {
            let (name, value) = pair.trim().split_once('=')?;
            (name == COOKIE).then(|| value.trim_matches('"').to_owned())
        });
        let mut kept = match cookie {
            None => Kept::default(),
            Some(cookie) => self.read(&cookie, principal)?,
        };
        if let Some(word) = metadata.get("x-mavis-compression") {
            let compression = word.to_str().ok().and_then(Compression::read);
            kept.compress(Some(compression.ok_or_else(|| {
                Status::invalid_argument("the header x-mavis-compression is not one of none, lz4 and zstd")
            })?));
        }
        if let Some(word) = metadata.get("x-mavis-endpoints") {
            let number = word.to_str().ok().and_then(|word| word.parse().ok()).filter(|n| ENDPOINTS.contains(n));
            kept.endpoints = Some(number.ok_or_else(|| {
                Status::invalid_argument(format!(
                    "the header x-mavis-endpoints is not a number from {} to {}",
                    ENDPOINTS.start(),
                    ENDPOINTS.end()
                ))
            })?);
        }
        Ok(kept)
    }

    fn read(&self, cookie: &str, principal: &Principal) -> Result<Kept, Status> {
        let over = || {
            Status::unauthenticated(
                "the session is over: forget its cookie (arrow_flight_session_id) and set its options again",
            )
        };
        let bytes = URL_SAFE_NO_PAD.decode(cookie).map_err(|_| over())?;
        let content = self.handles.verify(PURPOSE, &bytes).ok_or_else(over)?;
        let kept = Kept::decode(content).map_err(|_| over())?;
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&kept.id);
        if closed || kept.owner != principal.token.to_string() || kept.until < in_seconds(0) {
            return Err(over());
        }
        Ok(kept)
    }

    /// The header that makes a client keep the session.
    pub(in crate::flight) fn keep(
        &self,
        mut kept: Kept,
        principal: &Principal,
    ) -> Result<MetadataValue<tonic::metadata::Ascii>, Status> {
        if kept.id.is_empty() {
            kept.id = Uuid::now_v7().as_bytes().to_vec();
            kept.owner = principal.token.to_string();
            kept.until = in_seconds(LIFE);
        }
        let bytes = self.handles.sign(PURPOSE, &kept.encode_to_vec())?;
        let text = format!("{COOKIE}={}; Path=/; HttpOnly", URL_SAFE_NO_PAD.encode(bytes));
        MetadataValue::try_from(text).map_err(|_| Status::internal("the session could not be written"))
    }

    /// The header that makes a client forget the session.
    pub(in crate::flight) fn forget() -> MetadataValue<tonic::metadata::Ascii> {
        MetadataValue::from_static("arrow_flight_session_id=; Path=/; Max-Age=0")
    }

    pub(super) fn close(&self, kept: &Kept) {
        if kept.id.is_empty() {
            return;
        }
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        closed.retain(|_, at| at.elapsed() < Duration::from_secs(LIFE));
        closed.insert(kept.id.clone(), Instant::now());
    }
}
