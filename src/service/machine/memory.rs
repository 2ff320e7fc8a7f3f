//! What is written down for the next daemon, and when.

use super::{PERSIST_DELAY, Service};
use crate::model::Timestamp;
use crate::service::cx::Cx;
use crate::service::generation::Backend;
use crate::service::idle::Uptime;
use crate::service::lifecycle::State;
use crate::service::port::Output;
use crate::service::record::Record;

impl Service {
    pub(super) fn record(&self) -> Option<Record> {
        let own = self.current.backend.as_ref();
        if own.is_some_and(|own| !own.is_known()) {
            // Without its process it would be taken for what others have woken.
            return None;
        }
        let backend = own.and_then(Backend::record);
        // A COMMAND that is not ready yet is nobody's but ours, too.
        let uptime = match (self.current.uptime, &backend) {
            (Some(uptime), _) => uptime,
            (None, Some(backend)) => Uptime::fresh(backend.since),
            (None, None) => return None,
        };
        Some(Record {
            service: self.definition.name.clone(),
            since: uptime.since,
            last_use: uptime.last_use,
            in_use: self.current.uptime.is_none() || self.current.in_use() || self.in_use_by_held(),
            destinations: self.current.destinations.clone(),
            backend,
        })
    }

    /// When a use that has ended is to be written down.
    pub(super) fn persist_due(&self) -> Option<Timestamp> {
        let record = self.record()?;
        let written = self.persisted.as_ref()?;
        let stale = !record.in_use && (written.in_use || written.last_use != record.last_use);
        stale.then(|| record.last_use + PERSIST_DELAY)
    }

    pub(super) fn persist(&mut self, cx: &mut Cx<'_>) {
        let record = self.record();
        if !self.worth_writing(record.as_ref(), cx.now) {
            return;
        }
        cx.out.push(Output::Persist(record.clone().map(Box::new)));
        self.persisted = record;
    }

    pub(super) fn worth_writing(&self, record: Option<&Record>, now: Timestamp) -> bool {
        let (Some(record), Some(written)) = (record, &self.persisted) else {
            return record.is_some() != self.persisted.is_some();
        };
        let elsewhere =
            record.since != written.since || record.destinations != written.destinations;
        let elsewhere = elsewhere || record.backend != written.backend;
        if elsewhere || (record.in_use && !written.in_use) {
            return true;
        }
        // The last one there will be is written at once.
        let last = self.retiring.is_some_and(|r| r.keep) && self.current.state() == State::Gone;
        !record.in_use
            && (written.in_use || record.last_use != written.last_use)
            && (last || now >= record.last_use + PERSIST_DELAY)
    }
}
