//! How a generation is put to sleep, and how it ends.

use std::sync::Arc;

use super::{Backend, Cx, Generation, Phase, Retire};
use crate::model::{End, Mode, Recipe};
use crate::service::lifecycle::Event;
use crate::service::port::{Output, Report};
use crate::service::stop;
use crate::service::stop::Stop;

impl Generation {
    pub(super) fn begin_stop(&mut self, thorough: bool, cx: &mut Cx<'_>) -> (Stop, stop::Progress) {
        if let Some(backend) = &self.backend {
            let hurried = self.retire.is_some_and(|retire| retire.hurried);
            return Stop::of_backend(backend, hurried, cx);
        }
        let destination = self.destinations.first().cloned();
        let runs = self.uptime.is_some();
        let none = Arc::new(Recipe::default());
        let recipe = if runs { &self.recipe } else { &none };
        Stop::begin(recipe, &self.targets, destination, thorough, cx)
    }

    pub(super) fn stop_progress(&mut self, progress: stop::Progress, cx: &mut Cx<'_>) {
        let (Phase::Stopping(stop) | Phase::Ending(stop)) = &self.phase else {
            return;
        };
        let began = stop.began;
        match progress {
            stop::Progress::Going => {}
            stop::Progress::Stopped => {
                if let Some(failure) = stop.failure() {
                    cx.report(Report::StopFailed(failure.to_owned()));
                }
                if let Some(uptime) = self.uptime.take() {
                    cx.report(Report::Asleep {
                        took: cx.now.since(began),
                        awake: began.since(uptime.since),
                    });
                }
                // With IDLE_ON=bytes or command there may be some; their backend is gone.
                self.cut_relays(End::PutToSleep, cx);
                if self.mode != Mode::Fixed {
                    self.destinations.clear();
                }
                self.fire(Event::Stopped, cx);
            }
            stop::Progress::StillUp(why) => {
                cx.report(Report::StillUp(why));
                self.used(cx.now, cx);
                self.fire(Event::StillUp, cx);
            }
        }
    }

    // === ending ===

    /// Ends it as soon as it is Asleep or Awake.
    pub(in crate::service) fn retire(&mut self, retire: Retire, cx: &mut Cx<'_>) {
        self.retire = Some(retire);
        if retire.replaced {
            return;
        }
        // A shutdown does not wait until a stopped backend is gone: no client will come.
        if let Phase::Stopping(stop) = &mut self.phase {
            let progress = stop.hurry();
            self.stop_progress(progress, cx);
        }
    }

    /// Its drain is over, and a stop that goes on is given up.
    pub(in crate::service) fn hurry(&mut self, cx: &mut Cx<'_>) {
        if let Some(retire) = &mut self.retire {
            retire.deadline = Some(cx.now);
            retire.hurried = true;
        }
        if let Phase::Stopping(stop) | Phase::Ending(stop) = &mut self.phase {
            let progress = stop.give_up(cx);
            self.stop_progress(progress, cx);
        }
    }

    /// Follows the arrow that [`Self::retire`] has put off, if it is time. Held clients have been
    /// released by then.
    pub(in crate::service) fn retire_if_due(&mut self, cx: &mut Cx<'_>) {
        if self.retire.is_some() && matches!(self.phase, Phase::Asleep | Phase::Awake(_)) {
            self.fire(Event::Retire, cx);
        }
    }

    pub(in crate::service) fn check_drained(&mut self, cx: &mut Cx<'_>) {
        if !matches!(self.phase, Phase::Draining)
            || !self.relays.is_empty()
            || !self.connecting.is_empty()
        {
            return;
        }
        let keep = self.retire.is_some_and(|retire| retire.keep);
        let in_time = self.retire.is_some_and(|retire| !retire.expired);
        let known = self.backend.as_ref().is_none_or(Backend::is_known);
        match (keep, known) {
            (true, true) => self.fire(Event::Kept, cx),
            // The next daemon would take it for a stray, and end it however busy it is: whether it
            // runs, and as which process, is about to be said.
            (true, false) if in_time => {}
            // What nobody could find again is not left running.
            _ => self.fire(Event::Drained, cx),
        }
    }

    /// DRAIN_TIMEOUT is over.
    pub(super) fn cut_drained(&mut self, cx: &mut Cx<'_>) {
        let cut = self.cut_relays(End::DrainTimeout, cx);
        if cut > 0 {
            cx.report(Report::DrainTimedOut(cut));
        }
        self.check_drained(cx);
    }

    /// Says how many there were; their ends are reported later.
    pub(super) fn cut_relays(&self, why: End, cx: &mut Cx<'_>) -> usize {
        cx.out
            .extend(self.relays.keys().map(|conn| Output::Cut(*conn, why)));
        self.relays.len()
    }
}
