//! Plans between `GetFlightInfo` and `DoGet`, by the ids of their tickets: clients do both in turn, and need not wait for planning twice.
//!
//! A plan is used once. Whoever shows a ticket that has none any more has it planned anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use frazil_coordinator::describe::KeptPlan;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

/// With more, new ones are not kept.
const PLANS_MAX: usize = 64;
/// Most clients come at once. Until then a plan keeps what it would read from being removed, and `now()` stands still.
const KEPT: Duration = Duration::from_secs(10);

#[derive(Default)]
pub struct KeptPlans(Mutex<Plans>);

#[derive(Default)]
struct Plans {
    by_ticket: HashMap<Uuid, (Instant, KeptPlan)>,
    /// A task looks for those whose time is up, as long as there are any.
    is_watched: bool,
}

impl KeptPlans {
    pub fn keep(self: &Arc<Self>, ticket: Uuid, plan: KeptPlan) {
        let mut plans = self.0.lock();
        if plans.by_ticket.len() >= PLANS_MAX {
            return;
        }
        plans.by_ticket.insert(ticket, (Instant::now(), plan));
        if !std::mem::replace(&mut plans.is_watched, true) {
            tokio::spawn(self.clone().watch());
        }
    }

    pub fn take(&self, ticket: Uuid) -> Option<KeptPlan> {
        let taken = self.0.lock().by_ticket.remove(&ticket);
        taken.filter(|(since, _)| since.elapsed() <= KEPT).map(|(_, plan)| plan)
    }

    async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(KEPT).await;
            let mut plans = self.0.lock();
            plans.by_ticket.retain(|_, (since, _)| since.elapsed() < KEPT);
            if plans.by_ticket.is_empty() {
                plans.is_watched = false;
                return;
            }
        }
    }
}
