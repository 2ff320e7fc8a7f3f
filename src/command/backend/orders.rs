//! What a COMMAND is told, from both ends.

use std::future::pending;

use tokio::sync::{mpsc, oneshot, watch};

use crate::model::{StopPlan, StopSignal};

/// What a COMMAND is told. Dropped, it lets the process go on.
#[derive(Debug)]
pub struct BackendControl {
    newest: watch::Sender<Order>,
    signals: mpsc::UnboundedSender<PassedOn>,
}

/// The other end.
#[derive(Debug)]
pub(super) struct Orders {
    newest: watch::Receiver<Order>,
    signals: mpsc::UnboundedReceiver<PassedOn>,
}

/// The newest order counts: nobody takes one back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Run,
    Stop(StopPlan),
    Kill,
}

/// What comes next.
pub(super) enum Heard {
    Order(Order),
    /// Dropped, the second says that it has been passed on.
    Signal(StopSignal, oneshot::Sender<()>),
}

/// Every signal that is passed on counts, and whoever does so may wait until it has been.
type PassedOn = (StopSignal, oneshot::Sender<()>);

pub(super) fn orders() -> (BackendControl, Orders) {
    let (to, newest) = watch::channel(Order::Run);
    // As many as there are signals from a terminal.
    let (signals, from) = mpsc::unbounded_channel();
    let control = BackendControl {
        newest: to,
        signals,
    };
    let orders = Orders {
        newest,
        signals: from,
    };
    (control, orders)
}

// === impl BackendControl ===

impl BackendControl {
    /// Ends it in this way; its end is told.
    pub fn stop(&self, plan: StopPlan) {
        self.order(Order::Stop(plan));
    }

    /// The same, unless that is what it has been told already.
    pub fn stop_once(&self, plan: StopPlan) {
        let order = Order::Stop(plan);
        // One that has ended needs no order.
        self.newest
            .send_if_modified(|newest| std::mem::replace(newest, order) != order);
    }

    /// Kills it, and all that it has started; its end is told.
    pub fn kill(&self) {
        self.order(Order::Kill);
    }

    /// Passes a signal on that means it no more than us. `done` is dropped when it has been.
    pub fn pass_on(&self, signal: StopSignal, done: oneshot::Sender<()>) {
        // One that has ended needs no signal.
        let _ = self.signals.send((signal, done));
    }

    fn order(&self, order: Order) {
        // One that has ended needs no order.
        let _ = self.newest.send(order);
    }
}

// === impl Orders ===

impl Orders {
    /// The next order; never, once nobody can give one.
    async fn next(&mut self) -> Order {
        match self.newest.changed().await {
            Ok(()) => *self.newest.borrow_and_update(),
            Err(_) => pending().await,
        }
    }

    /// The next order, or signal to be passed on; never, once nobody can give one.
    pub(super) async fn heard(&mut self) -> Heard {
        let signal = async {
            match self.signals.recv().await {
                Some((signal, done)) => Heard::Signal(signal, done),
                None => pending().await,
            }
        };
        let order = async {
            match self.newest.changed().await {
                Ok(()) => Heard::Order(*self.newest.borrow_and_update()),
                Err(_) => pending().await,
            }
        };
        tokio::select! {
            heard = signal => heard,
            heard = order => heard,
        }
    }

    pub(super) fn newest(&self) -> Order {
        *self.newest.borrow()
    }

    /// The newest one is still to be done.
    pub(super) fn again(&mut self) {
        self.newest.mark_changed();
    }

    /// Until it is to be killed.
    pub(super) async fn killed(&mut self) {
        while self.next().await != Order::Kill {}
    }

    /// Until it is no longer wanted. Whoever may say so and is gone lets it go on.
    pub(super) async fn unwanted(&mut self) {
        let unwanted = self.newest.wait_for(|order| *order != Order::Run);
        if unwanted.await.is_err() {
            pending::<()>().await;
        }
    }
}
