use std::{
    fmt,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{Stream, StreamExt};
use mavis_sql::{Error, QueryStream};
use mavis_types::Principal;
use secrecy::{ExposeSecret, SecretString};

use super::{Auth, Denied};

/// Pause between two looks at a token while its caller reads.
const LOOK: Duration = Duration::from_secs(1);

/// The token of a request whose answer may take long. The layers before the services put it into the request's extensions.
///
/// Whoever reads an answer reads what the token could see when the answer began. Every second at most the token is looked at
/// again: one that was revoked, or from which something was taken or hidden since, gets no more rows. One that only expired
/// meanwhile reads to the end, as one does to which more was granted; and a catalog that does not answer ends no answer.
#[derive(Clone)]
pub(crate) struct Lasting {
    auth: Auth,
    token: Arc<SecretString>,
    principal: Principal,
}

impl fmt::Debug for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lasting").field("principal", &self.principal.name).finish_non_exhaustive()
    }
}

impl Lasting {
    pub(super) fn new(auth: &Auth, token: &str, principal: &Principal) -> Self {
        let token = Arc::new(SecretString::from(token.to_owned()));
        Self { auth: auth.clone(), token, principal: principal.clone() }
    }

    /// Whether the token still gives what it gave.
    async fn look(&self) -> Result<(), Denied> {
        match self.auth.still(self.token.expose_secret(), self.principal.token).await {
            Ok(Some(now)) if !self.principal.is_kept_by(&now) => Err(Denied::Changed),
            Ok(_) => Ok(()),
            Err(denied) if denied.is_passing() => Ok(()),
            Err(denied) => Err(denied),
        }
    }

    /// The items of a stream for as long as the token gives what it gave. `told`: what is said when it does not.
    pub(crate) fn watch<T, E>(
        self,
        items: impl Stream<Item = Result<T, E>> + Send,
        told: impl Fn(Denied) -> E + Send,
    ) -> impl Stream<Item = Result<T, E>> + Send
    where
        T: Send,
        E: Send,
    {
        async_stream::stream! {
            let mut items = pin!(items);
            let mut looked = Instant::now();
            while let Some(item) = items.next().await {
                if looked.elapsed() >= LOOK {
                    if let Err(denied) = self.look().await {
                        yield Err(told(denied));
                        return;
                    }
                    looked = Instant::now();
                }
                yield item;
            }
        }
    }

    /// A query whose rows end when the token does not give what it gave.
    pub(crate) fn over(self, mut query: QueryStream) -> QueryStream {
        let told = |denied: Denied| Error::Refused { reason: denied.to_string() };
        query.batches = self.watch(query.batches, told).boxed();
        query
    }
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use futures::stream;
    use mavis_catalog::{Catalog, NewToken};
    use mavis_types::{Role, Scope};

    use super::*;

    /// An item, a pause in which something happens, and an item.
    async fn read(lasting: Lasting, between: impl Future<Output = ()> + Send) -> Vec<Result<u8, Denied>> {
        let second = async {
            between.await;
            tokio::time::sleep(LOOK + Duration::from_millis(50)).await;
            Ok(2)
        };
        let items = stream::iter([Ok(1)]).chain(stream::once(second)).chain(stream::iter([Ok(3)]));
        lasting.watch(items, |denied| denied).collect().await
    }

    #[tokio::test]
    async fn nobody_reads_on_with_a_token_that_was_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&format!("sqlite://{}", folder.path().join("c.db").display())).await.unwrap();
        let (_, token) = catalog.create_token(NewToken::new("ana", Role::Reader, Scope::All)).await.unwrap();
        let auth = Auth::new(catalog.clone(), crate::auth::oidc::Issuers::default());
        let principal = auth.principal(&token).await.unwrap();
        let lasting = Lasting::new(&auth, &token, &principal);
        assert_eq!(read(lasting.clone(), async {}).await, [Ok(1), Ok(2), Ok(3)]);
        let short = NewToken {
            expires_at: Some(Utc::now() + Duration::from_millis(500)),
            ..NewToken::new("bo", Role::Reader, Scope::All)
        };
        let (_, expiring) = catalog.create_token(short).await.unwrap();
        let bo = Lasting::new(&auth, &expiring, &auth.principal(&expiring).await.unwrap());
        assert_eq!(read(bo.clone(), async {}).await, [Ok(1), Ok(2), Ok(3)], "it only expired");
        assert_eq!(auth.principal(&expiring).await, Err(Denied::Unknown));
        let revoked = async { catalog.revoke_token("bo").await.unwrap() };
        assert_eq!(read(bo, revoked).await, [Ok(1), Err(Denied::Unknown)]);
        let other = Principal { scope: Scope::Schemas(Vec::new()), ..principal };
        let changed = Lasting::new(&auth, &token, &other);
        assert_eq!(read(changed, async {}).await, [Ok(1), Err(Denied::Changed)]);
        let revoked = async { catalog.revoke_token("ana").await.unwrap() };
        assert_eq!(read(lasting, revoked).await, [Ok(1), Err(Denied::Unknown)]);
    }
}
