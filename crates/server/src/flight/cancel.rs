//! Cancelling by what `GetFlightInfo` has returned: a ticket tells which statement runs for it, as long as it does.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_flight::{CancelStatus, FlightInfo};
use frazil_common::{Failure, StatementId};
use parking_lot::Mutex;
use prost::Message;
use uuid::Uuid;

use super::identity::Client;
use super::sealed::{Content, PollHandle};
use super::{Door, poll};

/// The statements that run for tickets: as many as there are open calls.
#[derive(Default)]
pub struct Streams {
    by_ticket: Mutex<HashMap<Uuid, StatementId>>,
}

/// As long as it lives, the ticket's statement is known.
pub struct Noted {
    streams: Arc<Streams>,
    ticket: Uuid,
    statement: StatementId,
}

impl Streams {
    pub fn note(self: &Arc<Self>, ticket: Uuid, statement: StatementId) -> Noted {
        self.by_ticket.lock().insert(ticket, statement);
        Noted { streams: self.clone(), ticket, statement }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let mut by_ticket = self.streams.by_ticket.lock();
        // Not that of another call with the same ticket.
        if by_ticket.get(&self.ticket) == Some(&self.statement) {
            by_ticket.remove(&self.ticket);
        }
    }
}

/// Stops whatever runs for the endpoints of an info. One that nothing runs for, or no longer, cannot be cancelled.
pub async fn cancel(door: &Door, client: &Client, info: &FlightInfo) -> Result<CancelStatus, Failure> {
    let principal = client.caller.principal();
    let mut found = Vec::new();
    for ticket in info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref()) {
        match door.sealer.open(&ticket.ticket, principal)? {
            Content::Statement(ticket) => {
                let id = Uuid::from_slice(&ticket.id).ok();
                found.extend(id.and_then(|id| door.streams.by_ticket.lock().get(&id).copied()));
            }
            Content::Kept(ticket) => found.extend(ticket.statement.parse::<StatementId>().ok()),
            Content::Command(_) | Content::Prepared(_) | Content::Poll(_) => {}
        }
    }
    // Of a statement that is polled, and has no endpoints yet.
    if let Some(descriptor) = &info.flight_descriptor
        && let Some(PollHandle { statement }) = poll::handle_in(door, client, &descriptor.cmd)?
    {
        found.extend(statement.parse::<StatementId>().ok());
    }
    let mut outcome = CancelStatus::NotCancellable;
    for id in found {
        let before = client.caller.status(id)?;
        if before.phase.is_terminal() {
            continue;
        }
        let after = client.caller.cancel(id).await?;
        outcome = if after.phase.is_terminal() { CancelStatus::Cancelled } else { CancelStatus::Cancelling };
    }
    Ok(outcome)
}

/// The info of a `CancelQuery`, which is bytes there.
pub fn decode_info(bytes: &[u8]) -> Result<FlightInfo, Failure> {
    FlightInfo::decode(bytes).map_err(|error| super::invalid(format!("the info to cancel cannot be read: {error}")))
}
