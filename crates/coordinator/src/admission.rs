//! How many queries run at the same time, and how many wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use frazil_common::{ErrorCode, Failure};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A bounded queue before a bounded number of running queries; first come, first served.
pub struct Admission {
    running: Arc<Semaphore>,
    running_max: usize,
    queued: AtomicUsize,
    queued_max: usize,
    queue_limit: Duration,
}

/// The right to run; given back when it is dropped.
pub struct Permit {
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    pub fn new(running_max: usize, queued_max: usize, queue_limit: Duration) -> Self {
        let running_max = running_max.max(1);
        let running = Arc::new(Semaphore::new(running_max));
        Self { running, running_max, queued: AtomicUsize::new(0), queued_max, queue_limit }
    }

    /// Waits for a place. `on_queued` is called when there is none at once.
    pub async fn admit(&self, on_queued: impl FnOnce()) -> Result<Permit, Failure> {
        if let Ok(permit) = self.running.clone().try_acquire_owned() {
            return Ok(Permit { _permit: permit });
        }
        let _place = self.take_place()?;
        on_queued();
        match tokio::time::timeout(self.queue_limit, self.running.clone().acquire_owned()).await {
            Ok(permit) => Ok(Permit { _permit: permit.expect("the semaphore is never closed") }),
            Err(_) => {
                let message = format!("the statement waited {} s in the queue", self.queue_limit.as_secs());
                Err(Failure::new(ErrorCode::TooManyStatements, message))
            }
        }
    }

    fn take_place(&self) -> Result<Place<'_>, Failure> {
        let taken = self.queued.fetch_add(1, Ordering::Relaxed);
        let place = Place(&self.queued);
        if taken >= self.queued_max {
            let message = format!("{} statements are waiting already", self.queued_max);
            return Err(Failure::new(ErrorCode::TooManyStatements, message));
        }
        Ok(place)
    }

    pub fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub fn running(&self) -> usize {
        self.running_max - self.running.available_permits().min(self.running_max)
    }
}

struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_queue_is_bounded_in_number_and_time() {
        let admission = Admission::new(1, 1, Duration::from_secs(5));
        let first = admission.admit(|| {}).await.unwrap();
        let (waited, refused) = tokio::join!(admission.admit(|| {}), admission.admit(|| {}));
        assert_eq!(refused.err().map(|failure| failure.code), Some(ErrorCode::TooManyStatements));
        assert!(waited.is_err(), "its time ran out");
        assert_eq!((admission.queued(), admission.running()), (0, 1));
        drop(first);
        assert!(admission.admit(|| panic!("there is a place")).await.is_ok());
    }
}
