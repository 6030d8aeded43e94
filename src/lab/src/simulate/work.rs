//! What runs in a pod: a service with a queue, or threads that burn.

use std::collections::VecDeque;
use std::time::Duration;

use super::latency::Latency;
use super::load::{Arrivals, Request};
use super::time::{Nanos, Step};

/// A pod's work.
#[derive(Clone, Debug)]
pub enum Work {
    /// Answers requests.
    Service(Box<Service>),
    /// Computes for nothing.
    Burner(Burner),
}

/// What a pod could use in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Want {
    /// CPU time, were all of the machine's cores its own.
    pub cpu: Nanos,
    /// Time that its threads spend ready or running, summed: what a throttled
    /// group counts as throttled on every core that one of them waits for.
    pub ready: Nanos,
}

/// What a pod is given in one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// CPU time.
    pub cpu: Nanos,
    /// What it would have had without the others: the quota's rest or what it
    /// wanted. Its threads run at the speed `cpu / alone`.
    pub alone: Nanos,
}

/// Threads that always want to run.
#[derive(Clone, Copy, Debug)]
pub struct Burner {
    /// How many.
    pub threads: u32,
    /// From when on.
    pub wakes: Duration,
}

/// A first-come-first-served queue in front of some worker threads.
#[derive(Clone, Debug)]
pub struct Service {
    arrivals: Arrivals,
    workers: usize,
    queue: VecDeque<Request>,
    queued: Nanos,
    busy: Vec<Request>,
    /// What each busy worker could use in this step.
    shares: Vec<Nanos>,
    /// How long its requests took.
    pub latency: Latency,
}

impl Work {
    /// What it could use in `step` of a machine with `cores`. Requests that come meanwhile are taken in.
    pub fn want(&mut self, step: Step, cores: u64) -> Want {
        match self {
            Self::Service(service) => service.want(step, cores),
            Self::Burner(burner) if step.from >= burner.wakes.into() => {
                let cpu = Nanos::STEP.times(u64::from(burner.threads).min(cores));
                Want { cpu, ready: cpu }
            }
            Self::Burner(_) => Want::default(),
        }
    }

    /// Runs with what it is given, and tells how much of that it used.
    pub fn run(&mut self, step: Step, want: Want, given: Given) -> Nanos {
        match self {
            Self::Service(service) => service.run(step, want, given),
            Self::Burner(_) => given.cpu,
        }
    }

    /// Requests that wait for a worker, what an agent sees; a burner listens nowhere.
    pub fn waiting(&self) -> Option<u64> {
        match self {
            Self::Service(service) => Some(service.queue.len() as u64),
            Self::Burner(_) => None,
        }
    }

    /// CPU time that its requests still need, for a burner without an end.
    pub fn outstanding(&self) -> Nanos {
        match self {
            Self::Service(service) => {
                service.queued + service.busy.iter().map(|request| request.left).sum()
            }
            Self::Burner(burner) => Nanos::SECOND.times(u64::from(burner.threads)),
        }
    }

    /// How many threads it has.
    pub fn threads(&self) -> u64 {
        match self {
            Self::Service(service) => service.workers as u64,
            Self::Burner(burner) => u64::from(burner.threads),
        }
    }

    /// Closes the books at `end`.
    pub fn close(&mut self, end: Nanos) {
        if let Self::Service(service) = self {
            for request in service.queue.iter().chain(&service.busy) {
                service.latency.unanswered(request.arrived, end);
            }
        }
    }
}

impl Service {
    /// An idle one.
    pub fn new(arrivals: Arrivals, workers: usize, latency: Latency) -> Self {
        Self {
            arrivals,
            workers: workers.max(1),
            queue: VecDeque::new(),
            queued: Nanos::ZERO,
            busy: Vec::new(),
            shares: Vec::new(),
            latency,
        }
    }

    fn admit(&mut self, until: Nanos) {
        while let Some(request) = self.arrivals.before(until) {
            if self.busy.len() < self.workers {
                self.busy.push(request);
            } else {
                self.queued += request.left;
                self.queue.push_back(request);
            }
        }
    }

    fn want(&mut self, step: Step, cores: u64) -> Want {
        if self.arrivals.is_due(step.until) {
            self.admit(step.until);
        }
        let mut want = Want::default();
        self.shares.clear();
        let mut queued = self.queued;
        for request in &self.busy {
            let time = step.until - step.from.max(request.arrived);
            let own = time.min(request.left);
            let more = queued.min(time - own);
            queued -= more;
            self.shares.push(own + more);
            want.cpu += own + more;
            want.ready += time;
        }
        let most = Nanos::STEP.times(cores);
        Want {
            cpu: want.cpu.min(most),
            ready: want.ready.min(most),
        }
    }

    fn run(&mut self, step: Step, want: Want, given: Given) -> Nanos {
        let wanted: Nanos = self.shares.iter().copied().sum();
        debug_assert!(want.cpu <= wanted && given.cpu <= want.cpu);
        let mut used = Nanos::ZERO;
        let mut kept = 0;
        for worker in 0..self.busy.len() {
            let budget = self.shares[worker].scaled(given.cpu, wanted);
            let (spent, unfinished) = self.work_off(self.busy[worker], step, budget, given);
            used += spent;
            if let Some(request) = unfinished {
                self.busy[kept] = request;
                kept += 1;
            }
        }
        self.busy.truncate(kept);
        used
    }

    /// One worker, beginning with `request`: what it used of its `budget`, and what it is at in the end.
    fn work_off(
        &mut self,
        mut request: Request,
        step: Step,
        budget: Nanos,
        given: Given,
    ) -> (Nanos, Option<Request>) {
        let mut spent = Nanos::ZERO;
        let mut clock = step.from.max(request.arrived);
        loop {
            let part = request.left.min(budget - spent);
            request.left -= part;
            spent += part;
            clock += part.scaled(given.alone, given.cpu);
            if request.left > Nanos::ZERO {
                return (spent, Some(request));
            }
            self.latency
                .answered(request.arrived, clock.min(step.until));
            let Some(next) = self.queue.pop_front() else {
                return (spent, None);
            };
            self.queued -= next.left;
            clock = clock.max(next.arrived);
            request = next;
        }
    }
}
