//! Where START decides for each connection: a wake of its own for each held client.

use std::sync::Arc;

use super::Service;
use crate::model::{ConnId, Mode};
use crate::service::cx::Cx;
use crate::service::port::{Cause, Refusal, Report};
use crate::service::wake;
use crate::service::wake::{Beginning, Wake};

impl Service {
    pub(super) fn attempt(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let Some(held) = self.held.get(conn) else {
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
                runs: false,
            },
            cx,
        );
        let wake = Box::new(wake);
        self.held.change(conn, |held| held.attempt = Some(wake));
        self.attempt_progress(conn, progress, cx);
    }

    pub(super) fn advance(
        &mut self,
        conn: ConnId,
        step: impl FnOnce(&mut Wake, &mut Cx<'_>) -> wake::Progress,
        cx: &mut Cx<'_>,
    ) {
        let stepped = self
            .held
            .change(conn, |held| Some(step(held.attempt.as_mut()?, cx)));
        if let Some(progress) = stepped.flatten() {
            self.attempt_progress(conn, progress, cx);
        }
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
            // The parser refuses it: a COMMAND's place is its TARGET.
            wake::Progress::Launch => "COMMAND needs a TARGET".to_owned(),
            wake::Progress::Failed(why) => why,
        };
        let ended = self.held.change(conn, |held| {
            let client = held.present.then_some(held.client);
            (client, held.attempt.take())
        });
        let Some((client, attempt)) = ended else {
            return;
        };
        let left_something = attempt.is_some_and(|wake| wake.started);
        cx.report(Report::StartFailed { client, why });
        self.refuse(conn, Refusal::WakeFailed, cx);
        // A client that had left is only dropped now.
        self.held.remove(conn);
        if !self.held.has_attempts() {
            self.current.attempts_failed(left_something, cx);
        }
    }

    pub(super) fn attempt_succeeded(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let ended = self
            .held
            .change(conn, |held| Some((held.attempt.take()?, held.present)));
        let Some((wake, present)) = ended.flatten() else {
            return;
        };
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
