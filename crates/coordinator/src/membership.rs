//! Which executors are there. A pure state machine ([`Members`]) behind the gRPC service that executors call.
//!
//! Every removal, whatever its cause, is one [`Change::Lost`]; whoever runs tasks on executors listens for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use frazil_common::{BootId, ErrorCode, ExecutorId, Failure};
use frazil_proto::convert::{boot_id_from_bytes, failure_to_status};
use frazil_proto::secret::ShowSecret;
use frazil_proto::tls::ClusterTls;
use frazil_proto::v1::membership_server::Membership;
use frazil_proto::v1::tasks_client::TasksClient;
use frazil_proto::{transport, v1};
use parking_lot::Mutex;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

use crate::statement::ExecutorStatus;

/// Changes that a slow listener may be behind; listeners check membership anew when they missed some.
const CHANGES_MAX: usize = 1024;
const EXECUTORS_MAX: usize = 1000;

pub type TasksChannel = TasksClient<InterceptedService<Channel, ShowSecret>>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    pub id: ExecutorId,
    pub boot: BootId,
    pub slots: u32,
    pub rpc_address: String,
    pub data_address: String,
    pub memory_bytes: u64,
}

#[derive(Clone, Debug)]
struct Member {
    announced: Announced,
    last_heard: Duration,
    draining: bool,
    running_tasks: u32,
    memory_used_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Joined(ExecutorId),
    Lost { id: ExecutorId, boot: BootId, why: String },
}

/// Registered executors. Times are since some fixed moment and come in with each event.
#[derive(Debug)]
pub struct Members {
    members: BTreeMap<ExecutorId, Member>,
    heartbeat_limit: Duration,
    /// Without a word for this long, an executor gets no new tasks.
    suspect_after: Duration,
}

impl Members {
    pub fn new(heartbeat_interval: Duration, heartbeat_limit: Duration) -> Self {
        let suspect_after = (heartbeat_interval * 2 + heartbeat_interval / 2).min(heartbeat_limit);
        Self { members: BTreeMap::new(), heartbeat_limit, suspect_after }
    }

    /// Takes an executor in. Another one of that name is in the way while it is alive; at the same address it cannot be.
    pub fn register(&mut self, announced: Announced, now: Duration) -> Result<Vec<Change>, Failure> {
        let mut changes = Vec::new();
        if let Some(existing) = self.members.get(&announced.id) {
            let same_boot = existing.announced.boot == announced.boot;
            let same_address = existing.announced.rpc_address == announced.rpc_address;
            if !same_boot && !same_address && now.saturating_sub(existing.last_heard) <= self.suspect_after {
                let message =
                    format!("executor {} is registered already, at {}", announced.id, existing.announced.rpc_address);
                return Err(Failure::new(ErrorCode::InvalidArgument, message));
            }
            if !same_boot {
                changes.extend(self.remove(&announced.id.clone(), "was replaced by a new start of itself"));
            }
        } else if self.members.len() >= EXECUTORS_MAX {
            let message = format!("{EXECUTORS_MAX} executors are registered already");
            return Err(Failure::new(ErrorCode::ResourcesExhausted, message));
        }
        changes.push(Change::Joined(announced.id.clone()));
        let member = Member { last_heard: now, draining: false, running_tasks: 0, memory_used_bytes: 0, announced };
        self.members.insert(member.announced.id.clone(), member);
        Ok(changes)
    }

    /// False: this boot is not registered.
    pub fn heartbeat(
        &mut self,
        id: &ExecutorId,
        boot: BootId,
        draining: bool,
        running_tasks: u32,
        memory_used_bytes: u64,
        now: Duration,
    ) -> bool {
        match self.members.get_mut(id) {
            Some(member) if member.announced.boot == boot => {
                member.last_heard = now;
                member.draining |= draining;
                member.running_tasks = running_tasks;
                member.memory_used_bytes = memory_used_bytes;
                true
            }
            _ => false,
        }
    }

    /// Removes executors that were not heard of for too long.
    pub fn tick(&mut self, now: Duration) -> Vec<Change> {
        let late = |member: &&Member| now.saturating_sub(member.last_heard) > self.heartbeat_limit;
        let late: Vec<ExecutorId> = self.members.values().filter(late).map(|m| m.announced.id.clone()).collect();
        let why = format!("sent no heartbeat for {} ms", self.heartbeat_limit.as_millis());
        late.into_iter().flat_map(|id| self.remove(&id, &why)).collect()
    }

    /// Someone found out that this boot of an executor is gone.
    pub fn report_lost(&mut self, id: &ExecutorId, boot: BootId, why: &str) -> Vec<Change> {
        match self.members.get(id) {
            Some(member) if member.announced.boot == boot => self.remove(id, why).into_iter().collect(),
            _ => vec![],
        }
    }

    fn remove(&mut self, id: &ExecutorId, why: &str) -> Option<Change> {
        let member = self.members.remove(id)?;
        Some(Change::Lost { id: id.clone(), boot: member.announced.boot, why: why.to_owned() })
    }

    /// Executors that may get tasks, those with the fewest running tasks first.
    pub fn usable(&self, now: Duration) -> Vec<Announced> {
        let usable = self
            .members
            .values()
            .filter(|member| !member.draining && now.saturating_sub(member.last_heard) <= self.suspect_after);
        let mut usable: Vec<&Member> = usable.collect();
        usable.sort_by_key(|member| (member.running_tasks, member.announced.id.clone()));
        usable.into_iter().map(|member| member.announced.clone()).collect()
    }

    fn status(&self, now: Duration) -> Vec<ExecutorStatus> {
        let status = self.members.values().map(|member| {
            let age = now.saturating_sub(member.last_heard);
            let state = match (member.draining, age > self.suspect_after) {
                (true, _) => "draining",
                (false, true) => "suspect",
                (false, false) => "live",
            };
            ExecutorStatus {
                id: member.announced.id.0.clone(),
                boot_id: member.announced.boot.to_string(),
                state,
                slots: member.announced.slots,
                rpc_address: member.announced.rpc_address.clone(),
                data_address: member.announced.data_address.clone(),
                memory_bytes: member.announced.memory_bytes,
                memory_used_bytes: member.memory_used_bytes,
                running_tasks: member.running_tasks,
                heartbeat_age_ms: age.as_millis() as u64,
            }
        });
        status.collect()
    }
}

/// An executor that takes part in a query, and the channel to it.
#[derive(Clone)]
pub struct Participant {
    pub announced: Announced,
    pub tasks: TasksChannel,
}

/// The members, with a clock and channels. Shared by the gRPC service and the queries.
pub struct Registry {
    members: Mutex<Members>,
    channels: Mutex<BTreeMap<BootKey, TasksChannel>>,
    changes: broadcast::Sender<Change>,
    count: watch::Sender<usize>,
    start: Instant,
    secret: ShowSecret,
    tls: Option<ClusterTls>,
    heartbeat_interval: Duration,
}

/// Boot ids in an order, to be a key.
type BootKey = [u8; 16];

impl Registry {
    pub fn new(
        secret: ShowSecret,
        tls: Option<ClusterTls>,
        heartbeat_interval: Duration,
        heartbeat_limit: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            members: Mutex::new(Members::new(heartbeat_interval, heartbeat_limit)),
            channels: Mutex::default(),
            changes: broadcast::Sender::new(CHANGES_MAX),
            count: watch::Sender::new(0),
            start: Instant::now(),
            secret,
            tls,
            heartbeat_interval,
        })
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// To be called as long as the coordinator lives: finds executors that have gone silent.
    pub async fn watch_heartbeats(self: Arc<Self>) {
        let mut interval = tokio::time::interval(self.heartbeat_interval / 2);
        loop {
            interval.tick().await;
            let changes = self.members.lock().tick(self.now());
            self.publish(changes);
        }
    }

    fn publish(&self, changes: Vec<Change>) {
        for change in changes {
            match &change {
                Change::Joined(id) => tracing::info!(executor = %id, "executor registered"),
                Change::Lost { id, boot, why } => {
                    tracing::warn!(executor = %id, why, "executor lost");
                    self.channels.lock().remove(boot.0.as_bytes());
                }
            }
            // Nobody listens while no query runs.
            let _ = self.changes.send(change);
        }
        let usable = self.members.lock().usable(self.now()).len();
        self.count.send_replace(usable);
    }

    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    pub fn report_lost(&self, executor: &Announced, why: &str) {
        let changes = self.members.lock().report_lost(&executor.id, executor.boot, why);
        self.publish(changes);
    }

    pub fn is_member(&self, executor: &Announced) -> bool {
        let members = self.members.lock();
        members.members.get(&executor.id).is_some_and(|member| member.announced.boot == executor.boot)
    }

    pub fn status(&self) -> Vec<ExecutorStatus> {
        self.members.lock().status(self.now())
    }

    /// Executors that may get tasks now.
    pub fn usable(&self) -> Vec<Announced> {
        self.members.lock().usable(self.now())
    }

    pub fn slots(&self) -> usize {
        self.usable().iter().map(|executor| executor.slots as usize).sum()
    }

    pub fn executors(&self) -> usize {
        self.usable().len()
    }

    /// Executors for a query; waits for the first one to register.
    pub async fn participants(&self, limit: Duration) -> Result<Vec<Participant>, Failure> {
        let deadline = Instant::now() + limit;
        let mut count = self.count.subscribe();
        loop {
            count.borrow_and_update();
            let usable = self.members.lock().usable(self.now());
            if !usable.is_empty() {
                return usable.into_iter().map(|announced| self.participant(announced)).collect();
            }
            // Suspects become usable by a heartbeat, which is not announced: look again from time to time.
            let again = (Instant::now() + self.heartbeat_interval).min(deadline);
            let _ = tokio::time::timeout_at(again, count.changed()).await;
            if Instant::now() >= deadline {
                let message = format!("no executor was there to run the query within {} s", limit.as_secs());
                return Err(Failure::new(ErrorCode::NoExecutors, message));
            }
        }
    }

    fn participant(&self, announced: Announced) -> Result<Participant, Failure> {
        let mut channels = self.channels.lock();
        if let Some(tasks) = channels.get(announced.boot.0.as_bytes()) {
            return Ok(Participant { announced, tasks: tasks.clone() });
        }
        let channel = transport::channel_over(&announced.rpc_address, self.tls.as_ref())
            .map_err(|message| Failure::new(ErrorCode::ExecutorLost, message))?;
        let tasks = TasksClient::with_interceptor(channel, self.secret.clone())
            .max_decoding_message_size(transport::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(transport::MESSAGE_BYTES_MAX);
        channels.insert(*announced.boot.0.as_bytes(), tasks.clone());
        Ok(Participant { announced, tasks })
    }
}

/// What executors call.
pub struct MembershipService(pub Arc<Registry>);

#[tonic::async_trait]
impl Membership for MembershipService {
    async fn register(&self, request: Request<v1::RegisterRequest>) -> Result<Response<v1::RegisterResponse>, Status> {
        let request = request.into_inner();
        if request.version != frazil_proto::VERSION {
            let (theirs, ours) = (request.version, frazil_proto::VERSION);
            let message = format!("executor {} has version {theirs}, the coordinator {ours}", request.executor_id);
            return Err(Status::failed_precondition(message));
        }
        let boot = boot_id_from_bytes(&request.boot_id).map_err(|failure| failure_to_status(&failure))?;
        let announced = Announced {
            id: ExecutorId(request.executor_id),
            boot,
            slots: request.slots.clamp(1, 1024),
            rpc_address: request.rpc_address,
            data_address: request.data_address,
            memory_bytes: request.memory_bytes,
        };
        let registered = self.0.members.lock().register(announced, self.0.now());
        match registered {
            Ok(changes) => self.0.publish(changes),
            Err(failure) => return Err(Status::already_exists(failure.message)),
        }
        let heartbeat_interval_ms = self.0.heartbeat_interval.as_millis() as u64;
        Ok(Response::new(v1::RegisterResponse { heartbeat_interval_ms }))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let request = request.into_inner();
        let boot = boot_id_from_bytes(&request.boot_id).map_err(|failure| failure_to_status(&failure))?;
        let known = self.0.members.lock().heartbeat(
            &ExecutorId(request.executor_id),
            boot,
            request.draining,
            request.running_tasks,
            request.memory_used_bytes,
            self.0.now(),
        );
        Ok(Response::new(v1::HeartbeatResponse { known }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    fn announced(name: &str, boot: BootId, address: &str) -> Announced {
        Announced {
            id: ExecutorId(name.to_owned()),
            boot,
            slots: 1,
            rpc_address: address.to_owned(),
            data_address: String::new(),
            memory_bytes: 0,
        }
    }

    #[test]
    fn a_live_namesake_is_in_the_way_and_a_dead_one_is_not() {
        let ms = Duration::from_millis;
        let mut members = Members::new(ms(1000), ms(6000));
        let (first, second) = (BootId::mint(), BootId::mint());
        members.register(announced("e", first, "a"), ms(0)).unwrap();
        assert!(members.register(announced("e", second, "b"), ms(1000)).is_err());
        let changes = members.register(announced("e", second, "b"), ms(4000)).unwrap();
        assert!(matches!(&changes[0], Change::Lost { boot, .. } if *boot == first));
        assert!(!members.heartbeat(&ExecutorId("e".into()), first, false, 0, 0, ms(4100)));
        // The same address cannot be two processes.
        assert!(members.register(announced("e", first, "b"), ms(4200)).is_ok());
    }

    /// Whatever happens, no executor is used that was silent for too long, and each boot is lost at most once.
    #[test]
    fn simulated_members_are_lost_once() {
        let seed = std::env::var("FRAZIL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let limit = Duration::from_millis(6000);
        let mut members = Members::new(Duration::from_millis(1000), limit);
        let mut heard: BTreeMap<ExecutorId, (BootId, Duration)> = BTreeMap::new();
        let (mut now, mut lost) = (Duration::ZERO, Vec::new());
        for _ in 0..20_000 {
            now += Duration::from_millis(random.random_range(0..800));
            let name = format!("e{}", random.random_range(0..4));
            let id = ExecutorId(name.clone());
            let changes = match random.random_range(0..10) {
                0 => {
                    let boot = BootId::mint();
                    let changes = members.register(announced(&name, boot, &boot.to_string()), now);
                    if changes.is_ok() {
                        heard.insert(id, (boot, now));
                    }
                    changes.unwrap_or_default()
                }
                1..=7 => {
                    if let Some((boot, last)) = heard.get_mut(&id)
                        && members.heartbeat(&id, *boot, false, 0, 0, now)
                    {
                        *last = now;
                    }
                    vec![]
                }
                8 => heard.get(&id).map(|(boot, _)| members.report_lost(&id, *boot, "broken")).unwrap_or_default(),
                _ => members.tick(now),
            };
            for change in changes {
                if let Change::Lost { boot, .. } = change {
                    assert!(!lost.contains(&boot), "lost twice");
                    lost.push(boot);
                }
            }
            for usable in members.usable(now) {
                let (boot, last) = heard[&usable.id];
                assert_eq!(boot, usable.boot);
                assert!(now - last <= limit && !lost.contains(&boot));
            }
        }
        assert!(lost.len() > 10);
    }
}
