//! When is a service idle?
//!
//! Two clocks: the last use (an open connection, a byte, a veto of IDLE_CMD), and IDLE_CMD's own
//! rhythm. Both are one deadline each; nothing is polled while somebody uses the service.

use std::time::Duration;

use crate::model::{CommandId, IdlePolicy, Timestamp};

/// Since when it is awake, and when it was last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Uptime {
    pub(super) since: Timestamp,
    pub(super) last_use: Timestamp,
}

/// IDLE_CMD's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inquiry {
    /// Not asked: there is no IDLE_CMD.
    None,
    /// Asked next then.
    At(Timestamp),
    /// Running.
    Running(CommandId),
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing before this moment; `None`: nothing until something happens.
    Later(Option<Timestamp>),
    /// IDLE_TIME has passed, as far as connections tell: bytes, or sleep.
    Expired,
    /// IDLE_CMD is due.
    Ask,
}

/// What the verdict depends on, beside the policy.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) uptime: Uptime,
    /// Whether a client is being served now. Which open connections count is for IDLE_ON to say; a
    /// held one, or a START under way, always does.
    pub(super) in_use: bool,
    /// Whether it can be put to sleep at all.
    pub(super) has_stop: bool,
    pub(super) inquiry: Inquiry,
}

impl Uptime {
    /// Just woken.
    pub(super) fn fresh(now: Timestamp) -> Self {
        Self {
            since: now,
            last_use: now,
        }
    }

    /// Somebody used it.
    pub(super) fn used(&mut self, at: Timestamp) {
        self.last_use = self.last_use.max(at);
    }
}

/// Whether IDLE_CMD has a say, given that there is one.
pub(super) fn asks(policy: &IdlePolicy) -> Option<Duration> {
    policy.check_interval.filter(|interval| !interval.is_zero())
}

/// The moment from which sleep is allowed, if nobody uses it until then.
pub(super) fn expiry(policy: &IdlePolicy, uptime: Uptime) -> Option<Timestamp> {
    let idle = uptime.last_use.plus(policy.after)?;
    Some(idle.max(uptime.since + policy.min_uptime))
}

/// What is to be done now, and if nothing, when to look again.
pub(super) fn judge(policy: &IdlePolicy, facts: Facts, now: Timestamp) -> Verdict {
    let Some(expiry) = expiry(policy, facts.uptime).filter(|_| facts.has_stop) else {
        return Verdict::Later(None);
    };
    if facts.in_use {
        return Verdict::Later(None);
    }
    match facts.inquiry {
        Inquiry::Running(_) => Verdict::Later(None),
        Inquiry::At(at) if at <= now => Verdict::Ask,
        Inquiry::At(at) => Verdict::Later(Some(at)),
        Inquiry::None if expiry <= now => Verdict::Expired,
        Inquiry::None => Verdict::Later(Some(expiry)),
    }
}
