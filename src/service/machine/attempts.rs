//! Where START decides for each connection: a wake of its own for each held client.

use std::sync::Arc;

use super::Service;
use crate::model::{ConnId, Mode};
use crate::service::generation::Cx;
use crate::service::port::{Cause, Refusal, Report};
use crate::service::wake;
use crate::service::wake::{Beginning, Wake};

impl Service {
    pub(super) fn attempt(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let Some(held) = self.held.get_mut(conn) else {
            return;
        };
        let (wake, progress) = Wake::begin(
            Beginning {
                cause: Cause::Client(held.client),
                client: Some((held.client, held.local.clone())),
                mode: Mode::PerConnection,
                recipe: Arc::clone(&cx.definition.recipe),
                destinations: Vec::new(),
                known_down: None,
                recorded: false,
            },
            cx,
        );
        held.attempt = Some(Box::new(wake));
        self.attempt_progress(conn, progress, cx);
    }

    pub(super) fn advance(
        &mut self,
        conn: ConnId,
        step: impl FnOnce(&mut Wake, &mut Cx<'_>) -> wake::Progress,
        cx: &mut Cx<'_>,
    ) {
        let Some(wake) = self
            .held
            .get_mut(conn)
            .and_then(|held| held.attempt.as_mut())
        else {
            return;
        };
        let progress = step(wake, cx);
        self.attempt_progress(conn, progress, cx);
    }

    pub(super) fn give_up(&mut self, conn: ConnId, reason: &str, cx: &mut Cx<'_>) {
        self.advance(conn, |wake, cx| wake.give_up(reason, cx), cx);
    }

    pub(super) fn attempt_progress(
        &mut self,
        conn: ConnId,
        progress: wake::Progress,
        cx: &mut Cx<'_>,
    ) {
        let why = match progress {
            wake::Progress::Going => return,
            wake::Progress::Ready => return self.attempt_succeeded(conn, cx),
            wake::Progress::Failed(why) => why,
        };
        let Some(held) = self.held.get_mut(conn) else {
            return;
        };
        let client = held.present.then_some(held.client);
        let left_something = held.attempt.take().is_some_and(|wake| wake.started);
        cx.report(Report::StartFailed { client, why });
        self.refuse(conn, Refusal::WakeFailed, cx);
        // A client that had left is only dropped now.
        self.held.remove(conn);
        if self.held.attempts() == 0 {
            self.current.attempts_failed(left_something, cx);
        }
    }

    pub(super) fn attempt_succeeded(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let Some(held) = self.held.get_mut(conn) else {
            return;
        };
        let Some(wake) = held.attempt.take() else {
            return;
        };
        let present = held.present;
        self.current.woken_by_attempt(&wake, cx);
        self.current.settled = !wake.started;
        if present {
            // In the order START named them: it has decided.
            self.connect(conn, wake.destinations, cx);
        } else {
            self.held.remove(conn);
        }
    }
}
