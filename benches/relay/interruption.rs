//! Ctrl-C and SIGTERM: the run ends by the way it came, so that nothing stays behind.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use nix::sys::signal::{SigSet, Signal};

use crate::Result;

static ASKED: AtomicBool = AtomicBool::new(false);

/// From now on these signals are heard here. To be called while there is one thread.
pub fn listen() -> Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block()?;
    thread::spawn(move || {
        if signals.wait().is_ok() {
            ASKED.store(true, Ordering::Relaxed);
        }
        // The second time they do what they always do.
        let _ = signals.thread_unblock();
        thread::park();
    });
    Ok(())
}

/// To be asked between two measurements.
pub fn check() -> Result<()> {
    if ASKED.load(Ordering::Relaxed) {
        return Err("interrupted".into());
    }
    Ok(())
}
