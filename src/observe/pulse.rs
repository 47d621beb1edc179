//! Whether a stage still works. Each stage says when it begins to work and when it rests (waits
//! for mail, for a channel, for a timer; a task rests whenever it is not polled), so that one that
//! is stuck can be told from one that has nothing to do. What feeds the watchdog asks for it.
//!
//! A thread that the kernel keeps waiting for a disk or a file server is not stuck: ending the
//! process would mend nothing, and the other flows go on.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::time::Instant;

/// What the times of all pulses count from.
static BEGINNING: LazyLock<Instant> = LazyLock::new(Instant::now);

thread_local! {
    static OF_THREAD: RefCell<Option<Arc<Pulse>>> = const { RefCell::new(None) };
}

#[derive(Debug, Default)]
pub struct Pulse {
    /// Milliseconds at which the last step began, and one; 0 while it rests.
    since: AtomicU64,
    /// The thread that does nothing else, if there is one.
    thread: AtomicI32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// It waits for something to do, or for whoever comes after it.
    Resting,
    /// It has worked on one thing for so long.
    Working(Duration),
    /// The kernel has kept it waiting for so long.
    InKernel(Duration),
}

impl Pulse {
    /// A step begins, or goes on and has made progress.
    pub fn works(&self) {
        let millis = u64::try_from(BEGINNING.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.since.store(millis + 1, Ordering::Relaxed);
    }

    pub fn rests(&self) {
        self.since.store(0, Ordering::Relaxed);
    }

    pub fn beat(&self) -> Beat {
        let Some(since) = self.since.load(Ordering::Relaxed).checked_sub(1) else { return Beat::Resting };
        let time = BEGINNING.elapsed().saturating_sub(Duration::from_millis(since));
        match self.thread.load(Ordering::Relaxed) {
            thread if thread != 0 && waits_in_kernel(thread) => Beat::InKernel(time),
            _ => Beat::Working(time),
        }
    }

    /// The task works whenever it is polled, and rests in between.
    pub async fn of_task<T>(self: Arc<Self>, task: impl Future<Output = T>) -> T {
        let mut task = pin!(task);
        poll_fn(|context| {
            self.works();
            let polled = task.as_mut().poll(context);
            self.rests();
            polled
        })
        .await
    }

    /// This thread does nothing but the work of this pulse, until it ends.
    pub fn is_of_this_thread(self: &Arc<Self>) {
        self.thread.store(rustix::thread::gettid().as_raw_nonzero().get(), Ordering::Relaxed);
        OF_THREAD.set(Some(self.clone()));
    }
}

/// The thread that calls this makes progress in a long step. Cheap; for other threads nothing.
pub fn beat() {
    OF_THREAD.with_borrow(|pulse| {
        if let Some(pulse) = pulse {
            pulse.works();
        }
    });
}

/// The number of futex(2), in which a thread waits for another one.
const FUTEX: Option<i64> = match () {
    () if cfg!(target_arch = "x86_64") => Some(202),
    () if cfg!(target_arch = "aarch64") => Some(98),
    () => None,
};

/// Whether the thread is in an uninterruptible wait (proc(5), `state` is `D`), or sleeps in a
/// system call that is no wait for another thread: file systems in user space, such as sshfs or a
/// mounted bucket, are waited for in that way.
fn waits_in_kernel(thread: i32) -> bool {
    let of_thread = |file| std::fs::read_to_string(format!("/proc/self/task/{thread}/{file}"));
    let stat = of_thread("stat").unwrap_or_default();
    match stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next()) {
        Some('D') => true,
        Some('S') => {
            // It is the word `running` if the thread has woken up meanwhile.
            let call = of_thread("syscall").unwrap_or_default();
            let number = call.split(' ').next().and_then(|number| number.parse().ok());
            number.is_some_and(|number: i64| number >= 0 && FUTEX.is_some_and(|futex| number != futex))
        }
        _ => false,
    }
}

/// The pulses of one flow's stages.
#[derive(Debug, Default)]
pub struct Pulses {
    pub reading: Arc<Pulse>,
    pub recording: Arc<Pulse>,
    pub sending: Arc<Pulse>,
}

impl Pulses {
    /// Each with what its stage does.
    pub fn all(&self) -> [(&'static str, &Pulse); 3] {
        [("reads the files", &self.reading), ("makes records", &self.recording), ("sends", &self.sending)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn works_for(pulse: &Pulse) -> Duration {
        match pulse.beat() {
            Beat::Working(time) => time,
            other => panic!("{other:?}"),
        }
    }

    fn pass(time: Duration) {
        let began = Instant::now();
        while began.elapsed() < time {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_stage_that_rests_is_never_stuck_and_progress_begins_anew() {
        let pulse = Pulse::default();
        assert_eq!(pulse.beat(), Beat::Resting);
        pulse.works();
        pass(Duration::from_millis(20));
        let before = works_for(&pulse);
        assert!(before >= Duration::from_millis(19));
        pulse.rests();
        assert_eq!(pulse.beat(), Beat::Resting);
    }

    /// Opening a pipe that nobody writes to waits as the files of a dead FUSE server do.
    #[test]
    fn a_thread_that_a_file_keeps_waiting_is_not_stuck_and_one_that_waits_for_a_thread_is() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        let (reading, waiting) = (Arc::new(Pulse::default()), Arc::new(Pulse::default()));
        let (release, released) = std::sync::mpsc::channel::<()>();
        let threads = [
            std::thread::spawn({
                let (pulse, pipe) = (reading.clone(), pipe.clone());
                move || {
                    pulse.is_of_this_thread();
                    pulse.works();
                    std::fs::File::open(pipe).map(drop).unwrap();
                }
            }),
            std::thread::spawn({
                let pulse = waiting.clone();
                move || {
                    pulse.is_of_this_thread();
                    pulse.works();
                    let _ = released.recv();
                }
            }),
        ];
        let until = Instant::now() + Duration::from_secs(10);
        while !matches!((reading.beat(), waiting.beat()), (Beat::InKernel(_), Beat::Working(_))) {
            assert!(Instant::now() < until, "{:?} {:?}", reading.beat(), waiting.beat());
            std::thread::yield_now();
        }
        pass(Duration::from_millis(20));
        assert!(matches!(waiting.beat(), Beat::Working(_)), "{:?}", waiting.beat());
        drop((std::fs::OpenOptions::new().write(true).open(&pipe).unwrap(), release));
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_works_while_it_is_polled_and_rests_while_it_waits() {
        let pulse = Arc::new(Pulse::default());
        let seen = pulse.clone();
        let task = pulse.clone().of_task(async move {
            assert!(matches!(seen.beat(), Beat::Working(_)));
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert!(matches!(seen.beat(), Beat::Working(_)));
        });
        let task = tokio::spawn(task);
        tokio::time::sleep(Duration::from_secs(30)).await;
        assert_eq!(pulse.beat(), Beat::Resting);
        task.await.unwrap();
        assert_eq!(pulse.beat(), Beat::Resting);
    }

    #[test]
    fn only_the_pulse_of_the_own_thread_beats() {
        let (own, other) = (Arc::new(Pulse::default()), Arc::new(Pulse::default()));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                own.is_of_this_thread();
                other.rests();
                beat();
                assert!(
                    matches!(own.beat(), Beat::Working(_)),
                    "a running thread does not wait in the kernel"
                );
            });
        });
        assert_eq!(other.beat(), Beat::Resting);
        beat();
    }
}
