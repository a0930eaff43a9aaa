//! The rate budget: how many calls may go out, over several rolling windows at once.
//!
//! CertCentral counts the requests of an API key in two rolling windows, 100 in 5 seconds and 1000 in 3 minutes (API page
//! "Rate limits"), and answers 429 to everything beyond. The server counts arrivals, and we know only when a request left
//! and when its answer came. A call therefore counts from its departure until a whole window after its *answer*: whatever
//! the network does, no window of the server ever holds more than its limit. A small [margin](MARGIN) on top is for what this
//! does not cover: clocks that do not run alike, and calls that were given up with bytes still on their way.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

/// How much longer than its window a call counts. A clock that is being set right may run 0.05 % wrong, which is 90 ms in
/// the longest window.
pub(crate) const MARGIN: Duration = Duration::from_millis(100);

/// At most `calls` in any stretch of `length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many calls; at least 1.
    pub calls: usize,
    /// Length of the window.
    pub length: Duration,
}

/// Calls that count in each window at this moment, beside the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// One entry for each window: calls that count, and the window.
    pub windows: Vec<(usize, Window)>,
}

/// Lets calls through, first come first served, as fast as the windows allow. Clones share the budget.
#[derive(Clone, Debug)]
pub struct Budget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    windows: Vec<Window>,
    /// Calls at the same time. The vendor advises to send one after the other.
    in_flight: Arc<Semaphore>,
    /// Held by whoever is next; Tokio's mutexes are fair.
    turn: tokio::sync::Mutex<()>,
    counted: Mutex<Counted>,
    answered: Notify,
}

#[derive(Debug, Default)]
struct Counted {
    waiting_for_answer: usize,
    /// When answers came, oldest first.
    answers: VecDeque<Instant>,
    paused_until: Option<Instant>,
}

/// When a call may go out.
#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Now,
    At(Instant),
    AfterAnAnswer,
}

impl Default for Budget {
    /// The documented limits, and one call at a time.
    fn default() -> Self {
        let windows = [(100, 5), (1000, 180)];
        let windows = windows.map(|(calls, seconds)| Window { calls, length: Duration::from_secs(seconds) });
        Self::new(windows.to_vec(), 1)
    }
}

impl Budget {
    /// A budget of these windows, with at most `in_flight` calls (at least 1) on their way at the same time. Without
    /// windows only that limit holds.
    pub fn new(windows: Vec<Window>, in_flight: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                windows,
                in_flight: Arc::new(Semaphore::new(in_flight.max(1))),
                turn: tokio::sync::Mutex::default(),
                counted: Mutex::default(),
                answered: Notify::new(),
            }),
        }
    }

    /// Waits until a call may go out. The call has been answered, or given up, when the permit is dropped.
    pub(crate) async fn acquire(&self) -> Permit {
        let flight = Arc::clone(&self.inner.in_flight).acquire_owned().await.ok();
        let _turn = self.inner.turn.lock().await;
        loop {
            let answered = self.inner.answered.notified();
            let admission = self.inner.counted().admit(&self.inner.windows, Instant::now());
            match admission {
                Admission::Now => return Permit { inner: Arc::clone(&self.inner), _flight: flight },
                Admission::At(instant) => sleep_until(instant).await,
                Admission::AfterAnAnswer => answered.await,
            }
        }
    }

    /// Holds all calls back for a while: the server has said 429.
    pub(crate) fn pause(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut counted = self.inner.counted();
        counted.paused_until = counted.paused_until.max(Some(until));
    }

    /// How much of the budget is used, for metrics.
    pub fn usage(&self) -> Usage {
        let counted = self.inner.counted();
        let now = Instant::now();
        let windows = self.inner.windows.iter();
        Usage { windows: windows.map(|window| (counted.in_window(window, now), *window)).collect() }
    }
}

impl Inner {
    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    /// Answers that came less than a window ago.
    fn recent(&self, window: &Window, now: Instant) -> usize {
        let first = self.answers.partition_point(|answer| *answer + window.length + MARGIN <= now);
        self.answers.len() - first
    }

    fn in_window(&self, window: &Window, now: Instant) -> usize {
        self.waiting_for_answer + self.recent(window, now)
    }

    /// Counts a call in, or says what it has to wait for.
    fn admit(&mut self, windows: &[Window], now: Instant) -> Admission {
        if let Some(until) = self.paused_until.filter(|until| *until > now) {
            return Admission::At(until);
        }
        let mut earliest = now;
        for window in windows {
            let recent = self.recent(window, now);
            let surplus = (self.waiting_for_answer + recent + 1).saturating_sub(window.calls.max(1));
            if surplus > recent {
                return Admission::AfterAnAnswer;
            }
            if surplus > 0 {
                let leaver = self.answers[self.answers.len() - recent + surplus - 1];
                earliest = earliest.max(leaver + window.length + MARGIN);
            }
        }
        if earliest > now {
            return Admission::At(earliest);
        }
        self.waiting_for_answer += 1;
        if let Some(longest) = windows.iter().map(|window| window.length).max() {
            let outdated = self.answers.partition_point(|answer| *answer + longest + MARGIN <= now);
            self.answers.drain(..outdated);
        }
        Admission::Now
    }
}

/// The right to one call.
#[derive(Debug)]
pub(crate) struct Permit {
    inner: Arc<Inner>,
    _flight: Option<OwnedSemaphorePermit>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counted = self.inner.counted();
        counted.waiting_for_answer -= 1;
        if !self.inner.windows.is_empty() {
            counted.answers.push_back(Instant::now());
        }
        drop(counted);
        self.inner.answered.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(calls: usize, millis: u64) -> Window {
        Window { calls, length: Duration::from_millis(millis) }
    }

    /// Runs calls that arrive after these gaps and take this long; returns when each left and was answered.
    async fn run(budget: Budget, calls: Vec<(u64, u64)>) -> Vec<(Instant, Instant)> {
        let mut tasks = Vec::new();
        for (gap, latency) in calls {
            tokio::time::sleep(Duration::from_millis(gap)).await;
            let budget = budget.clone();
            tasks.push(tokio::spawn(async move {
                let permit = budget.acquire().await;
                let left = Instant::now();
                tokio::time::sleep(Duration::from_millis(latency)).await;
                drop(permit);
                (left, Instant::now())
            }));
        }
        let mut times = Vec::new();
        for task in tasks {
            times.push(task.await.expect("a call does not panic"));
        }
        times
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_window_of_the_server_holds_more_than_its_limit(
            calls in prop::collection::vec((0u64..40, 0u64..60), 1..80),
            in_flight in 1usize..6,
            arrival in 0.0f64..=1.0,
        ) {
            let windows = vec![window(5, 200), window(12, 1000)];
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let budget = Budget::new(windows.clone(), in_flight);
            let count = calls.len();
            let times = runtime.block_on(run(budget, calls));
            prop_assert_eq!(times.len(), count);
            // The server sees a request at any moment between departure and answer.
            let mut arrivals: Vec<Instant> = times.iter().map(|(left, back)| *left + (*back - *left).mul_f64(arrival)).collect();
            arrivals.sort();
            for window in windows {
                for group in arrivals.windows(window.calls + 1) {
                    prop_assert!(group[window.calls] - group[0] >= window.length);
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn calls_go_as_fast_as_the_windows_allow() {
        let start = Instant::now();
        let times = run(Budget::new(vec![window(10, 1000)], 1), vec![(0, 0); 30]).await;
        let last = times.last().expect("there are calls").0;
        assert_eq!(last - start, 2 * (Duration::from_secs(1) + MARGIN), "of 30 calls at 10 a second the last ten");
    }

    #[tokio::test(start_paused = true)]
    async fn the_documented_limits_hold_and_are_used_up() {
        let start = Instant::now();
        let left: Vec<Instant> = run(Budget::default(), vec![(0, 0); 2100]).await.into_iter().map(|(l, _)| l).collect();
        for (calls, seconds) in [(100, 5), (1000, 180)] {
            for group in left.windows(calls + 1) {
                assert!(group[calls] - group[0] > Duration::from_secs(seconds), "{calls} in {seconds} s");
            }
        }
        // A thousand take nine pauses of 5 s; the next thousand may begin 180 s after the first began.
        let round = Duration::from_secs(180) + MARGIN;
        assert_eq!(left[999] - start, 9 * (Duration::from_secs(5) + MARGIN));
        assert_eq!((left[1000] - start, left[2000] - start), (round, 2 * round));
    }

    /// Sixteen orders at a time, five calls each, answered after 20 to 160 ms: two and a half hours by a clock that is simulated.
    #[tokio::test(start_paused = true)]
    async fn ten_thousand_orders_stay_within_the_limits_and_use_them() {
        const ORDERS: usize = 10_000;
        const CALLS: usize = 5;
        let (budget, next) = (Budget::default(), Arc::new(Mutex::new(0..ORDERS)));
        let arrivals = Arc::new(Mutex::new(Vec::with_capacity(ORDERS * CALLS)));
        let start = Instant::now();
        let workers = (0..16u64).map(|worker| {
            let (budget, next, arrivals) = (budget.clone(), Arc::clone(&next), Arc::clone(&arrivals));
            tokio::spawn(async move {
                let mut lot = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(worker);
                while next.lock().expect("whole").next().is_some() {
                    for _ in 0..CALLS {
                        let permit = budget.acquire().await;
                        let [there, back] = [(); 2].map(|()| rand::Rng::random_range(&mut lot, 10..80));
                        tokio::time::sleep(Duration::from_millis(there)).await;
                        arrivals.lock().expect("whole").push(Instant::now());
                        tokio::time::sleep(Duration::from_millis(back)).await;
                        drop(permit);
                    }
                }
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await.expect("it works");
        }
        let arrivals = arrivals.lock().expect("whole").clone();
        assert_eq!(arrivals.len(), ORDERS * CALLS);
        for (calls, seconds) in [(100, 5), (1000, 180)] {
            let refused =
                arrivals.windows(calls + 1).filter(|group| group[calls] - group[0] < Duration::from_secs(seconds));
            assert_eq!(refused.count(), 0, "{calls} in {seconds} s");
        }
        // A thousand in each window: no earlier can the last one have gone.
        let floor = Duration::from_secs(180 * ((arrivals.len() as u64 - 1) / 1000));
        let used = floor.as_secs_f64() / (arrivals[arrivals.len() - 1] - start).as_secs_f64();
        assert!(used >= 0.95, "{used} of what the limits allow");
    }

    #[tokio::test(start_paused = true)]
    async fn first_come_first_served() {
        let times = run(Budget::new(vec![window(2, 1000)], 3), vec![(1, 30); 9]).await;
        assert!(times.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{times:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_everybody() {
        let budget = Budget::default();
        budget.pause(Duration::from_secs(7));
        let start = Instant::now();
        let times = run(budget.clone(), vec![(0, 0); 3]).await;
        assert!(times.iter().all(|(left, _)| *left - start >= Duration::from_secs(7)));
        assert_eq!(budget.usage().windows[0].0, 3);
    }
}
