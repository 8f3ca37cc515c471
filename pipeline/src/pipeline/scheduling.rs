//! Schedules as doors see them.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use chrono::{DateTime, Utc};
use mavis_catalog::{Schedule, ScheduleState, Source};
use mavis_types::{Principal, SourceName};

use super::{Pipeline, refused};
use crate::{
    Error, ScheduleSpec, TableFreshness, Teller, Telling, Ticked, alert,
    import::IMPORT_KIND,
    schedule::{self, Scheduler},
};

impl Pipeline {
    /// Follows the schedules from now on, until [`Pipeline::stop`]: looks at them so often, and whenever a run ends. Call it
    /// once.
    pub fn follow_schedules(&self, every: Duration) {
        let context = Arc::clone(&self.inner.context);
        let scheduler = Scheduler::new(Arc::clone(&context), Arc::clone(&self.inner.workers));
        self.inner.workers.spawn_aside(async move {
            loop {
                let looked = async {
                    let now = context.catalog.now().await?;
                    Box::pin(scheduler.tick(now)).await
                };
                if let Err(failure) = looked.await {
                    tracing::warn!(%failure, "the schedules could not be looked at; trying again");
                }
                tokio::select! {
                    () = tokio::time::sleep(every) => {}
                    () = context.wake.notified() => {}
                }
            }
        });
    }

    /// Has somebody told of schedules that are disabled and of tables that are late, until [`Pipeline::stop`]. Call it once,
    /// before [`Pipeline::follow_schedules`].
    pub fn tell(&self, teller: Arc<dyn Teller>, telling: Telling) {
        let context = Arc::clone(&self.inner.context);
        context.alerts.store(true, Ordering::Relaxed);
        self.inner.workers.spawn_aside(alert::keep_telling(context, teller, telling));
    }

    /// One look at the schedules as if it were `now`.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn look_at_schedules(&self, now: DateTime<Utc>) -> Result<Ticked, Error> {
        let scheduler = Scheduler::new(Arc::clone(&self.inner.context), Arc::clone(&self.inner.workers));
        Box::pin(scheduler.tick(now)).await.map_err(refused)
    }

    /// Gives a source a schedule, in the place of the one that it has. It begins anew: enabled, without failures.
    ///
    /// # Errors
    /// [`Error::Invalid`] with what is wrong in the declaration, [`Error::NotFound`].
    pub async fn set_schedule(
        &self,
        by: &Principal,
        name: &SourceName,
        spec: &ScheduleSpec,
    ) -> Result<Schedule, Error> {
        let source = self.source(name).await?;
        if source.kind == IMPORT_KIND {
            return Err(Error::Invalid {
                reason: format!("source `{name}` was made by an import: nothing can be read by itself"),
            });
        }
        spec.check()?;
        let schedule = self.put(&source, spec).await?;
        self.context().audit(by, "schedule.set", name.as_str()).await;
        self.context().wake.notify_one();
        Ok(schedule)
    }

    async fn put(&self, source: &Source, spec: &ScheduleSpec) -> Result<Schedule, Error> {
        let now = self.catalog().now().await.map_err(Error::Catalog)?;
        let fresh = schedule::begin(spec, source.id, now).map_err(|reason| Error::Invalid { reason })?;
        // A run that goes on stays the schedule's, and what began within the hour stays counted.
        let state = match self.catalog().schedule(source.id).await.map_err(Error::Catalog)? {
            Some(Schedule { state, .. }) => ScheduleState {
                last_run: state.last_run,
                fired_at: state.fired_at,
                settled: state.settled,
                recent: state.recent,
                ..fresh
            },
            None => fresh,
        };
        let json = serde_json::to_value(spec).map_err(|error| Error::Invalid { reason: error.to_string() })?;
        self.catalog().put_schedule(source.id, &json, &state).await.map_err(Error::Catalog)
    }

    /// Enables a schedule that was disabled, or disables it.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the source or its schedule is not there.
    pub async fn enable_schedule(&self, by: &Principal, name: &SourceName, enabled: bool) -> Result<Schedule, Error> {
        let source = self.source(name).await?;
        let known =
            self.catalog().schedule(source.id).await.map_err(Error::Catalog)?.ok_or_else(|| no_schedule(name))?;
        let spec: ScheduleSpec = serde_json::from_value(known.spec.clone()).map_err(|error| Error::Invalid {
            reason: format!("the schedule cannot be read ({error}); set it again"),
        })?;
        let schedule = if enabled {
            self.put(&source, &spec).await?
        } else {
            let now = self.catalog().now().await.map_err(Error::Catalog)?;
            let reason = format!("disabled by {}", by.name);
            let state = ScheduleState { disabled_at: Some(now), disabled_reason: Some(reason), ..known.state };
            self.catalog().put_schedule(source.id, &known.spec, &state).await.map_err(Error::Catalog)?
        };
        self.context().audit(by, if enabled { "schedule.enable" } else { "schedule.disable" }, name.as_str()).await;
        self.context().wake.notify_one();
        Ok(schedule)
    }

    /// Takes a source's schedule away. A run that goes on goes on.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the source or its schedule is not there.
    pub async fn remove_schedule(&self, by: &Principal, name: &SourceName) -> Result<(), Error> {
        let source = self.source(name).await?;
        if !self.catalog().remove_schedule(source.id).await.map_err(Error::Catalog)? {
            return Err(no_schedule(name));
        }
        self.context().audit(by, "schedule.remove", name.as_str()).await;
        Ok(())
    }

    /// Every schedule with its source, by name.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn schedules(&self) -> Result<Vec<(Source, Schedule)>, Error> {
        let mut all = Vec::new();
        for schedule in self.catalog().schedules().await.map_err(Error::Catalog)? {
            all.push((self.catalog().source_by_id(schedule.source).await.map_err(Error::Catalog)?, schedule));
        }
        Ok(all)
    }

    /// How old the tables are that something is expected of.
    ///
    /// # Errors
    /// When the catalog cannot be read.
    pub async fn freshness(&self) -> Result<Vec<TableFreshness>, Error> {
        let now = self.catalog().now().await.map_err(Error::Catalog)?;
        schedule::freshness(self.context(), now).await.map_err(refused)
    }
}

fn no_schedule(name: &SourceName) -> Error {
    Error::NotFound {
        what: "schedule of source",
        name: name.to_string(),
        hint: format!("; `mavis schedule set {name}` makes one"),
    }
}
