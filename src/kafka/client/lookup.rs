//! Short questions to a broker (offsets, single fetches) on connections of their own, a few of them, shared by the core's tasks.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use kafka_protocol::protocol::Request;

use super::Client;
use crate::kafka::connection::{Connection, ConnectionFault};
use crate::runtime::notify::Notify;
use crate::runtime::{self, with_deadline};

/// Connections for look-ups that one core keeps to one broker.
const CONNECTIONS_MAX: usize = 4;

/// Why a question has no answer.
#[derive(Debug)]
pub enum LookupFault {
    /// The broker's address is not known, or it cannot be reached, or the connection broke.
    Connection(Option<ConnectionFault>),
    /// All connections were busy for too long.
    Busy,
}

impl fmt::Display for LookupFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(Some(fault)) => fault.fmt(formatter),
            Self::Connection(None) => write!(formatter, "the broker's address is not known"),
            Self::Busy => write!(formatter, "all look-up connections to the broker are busy"),
        }
    }
}

impl std::error::Error for LookupFault {}

/// The look-up connections to one broker.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: RefCell<Vec<Connection>>,
    open: Cell<usize>,
    waiting: RefCell<VecDeque<Rc<Notify>>>,
}

/// A place among the open connections, given back on every way out.
struct Place {
    pool: Rc<Pool>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.open.set(self.pool.open.get() - 1);
        // Whoever gave up waiting holds its turn no more: the place goes to the first who still does.
        let mut waiting = self.pool.waiting.borrow_mut();
        while let Some(next) = waiting.pop_front() {
            if Rc::strong_count(&next) > 1 {
                next.notify();
                break;
            }
        }
    }
}

impl Client {
    /// Asks `broker` and waits for its answer, at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`LookupFault`]; a connection that failed is not used again.
    pub async fn lookup<R: Request>(
        &self,
        broker: i32,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, LookupFault> {
        let pool = self
            .inner
            .lookups
            .borrow_mut()
            .entry(broker)
            .or_default()
            .clone();
        let deadline = self.inner.deadlines.deadline();
        let until = runtime::now() + timeout;
        let place = with_deadline(&deadline, until, take_place(&pool))
            .await
            .map_err(|_| LookupFault::Busy)?;
        let idle = pool.idle.borrow_mut().pop();
        let mut connection = match idle {
            Some(mut idle) => {
                if idle.is_closed_by_peer().await {
                    self.connect(broker)
                        .await
                        .map_err(LookupFault::Connection)?
                } else {
                    idle
                }
            }
            None => self
                .connect(broker)
                .await
                .map_err(LookupFault::Connection)?,
        };
        let response = connection
            .call(request, timeout)
            .await
            .map_err(|fault| LookupFault::Connection(Some(fault)))?;
        pool.idle.borrow_mut().push(connection);
        drop(place);
        Ok(response)
    }
}

async fn take_place(pool: &Rc<Pool>) -> Place {
    while pool.open.get() >= CONNECTIONS_MAX {
        let turn = Rc::new(Notify::default());
        pool.waiting.borrow_mut().push_back(turn.clone());
        turn.notified().await;
    }
    pool.open.set(pool.open.get() + 1);
    Place { pool: pool.clone() }
}
