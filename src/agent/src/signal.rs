//! The sources of urgency, and what they say at one moment.

use mbcas_core::demand::Breakdown;

/// A source of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// [`crate::sockets::AcceptQueue`].
    AcceptQueue,
    /// [`crate::sockets::ReceiveQueue`].
    ReceiveQueue,
    /// [`crate::app`], a queue.
    AppQueue,
    /// [`crate::app`], a latency.
    AppLatency,
    /// [`crate::cgroup`], periods in which the limit stopped the container.
    Throttling,
    /// [`crate::threads`].
    Threads,
    /// [`crate::cgroup`], time in which nothing in the container ran that could.
    Stalls,
    /// [`crate::node`], which is no urgency of this pod's and has no pressure.
    Node,
}

impl Source {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::AcceptQueue,
        Self::ReceiveQueue,
        Self::AppQueue,
        Self::AppLatency,
        Self::Throttling,
        Self::Threads,
        Self::Stalls,
        Self::Node,
    ];

    /// The name, as labels and logs show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcceptQueue => "accept_queue",
            Self::ReceiveQueue => "receive_queue",
            Self::AppQueue => "app_queue",
            Self::AppLatency => "app_latency",
            Self::Throttling => "throttling",
            Self::Threads => "threads",
            Self::Stalls => "stalls",
            Self::Node => "node",
        }
    }
}

/// The pressure of each source, from 0 to 1; absent where the source is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressures([Option<f64>; Source::ALL.len()]);

impl Pressures {
    /// The pressure of one source.
    pub const fn of(&self, source: Source) -> Option<f64> {
        self.0[source as usize]
    }

    /// Puts in the pressure of one source.
    pub const fn set(&mut self, source: Source, pressure: Option<f64>) {
        self.0[source as usize] = pressure;
    }

    /// These with the pressure of one source.
    #[must_use]
    pub const fn with(mut self, source: Source, pressure: Option<f64>) -> Self {
        self.set(source, pressure);
        self
    }

    /// The pressures by cause, as a report shows them.
    ///
    /// Of several queues the greatest counts and not their sum: they are of different age, and
    /// what has moved from one to the next in between would count twice. Threads say more exactly
    /// than stalls how long they waited, so stalls count only where threads cannot be seen.
    pub fn breakdown(&self) -> Breakdown {
        let queues = [Source::AcceptQueue, Source::ReceiveQueue, Source::AppQueue];
        Breakdown {
            latency: self.of(Source::AppLatency),
            queue: queues
                .into_iter()
                .filter_map(|queue| self.of(queue))
                .reduce(f64::max),
            throttling: self.of(Source::Throttling),
            waiting: self.of(Source::Threads).or_else(|| self.of(Source::Stalls)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_has_its_own_place_and_name() {
        for (number, source) in Source::ALL.into_iter().enumerate() {
            let pressures = Pressures::default().with(source, Some(0.5));
            for other in Source::ALL {
                assert_eq!(pressures.of(other).is_some(), other == source);
            }
            assert_eq!(source as usize, number);
            let same = Source::ALL.iter().filter(|s| s.name() == source.name());
            assert_eq!(same.count(), 1);
        }
    }

    #[test]
    fn each_cause_has_its_sources() {
        let none = Pressures::default();
        assert_eq!(none.breakdown(), Breakdown::default());
        for (source, other) in [
            (Source::AcceptQueue, Source::AppQueue),
            (Source::AppQueue, Source::ReceiveQueue),
            (Source::ReceiveQueue, Source::AcceptQueue),
        ] {
            let both = none.with(source, Some(0.6)).with(other, Some(0.2));
            let queue = Some(0.6);
            let expected = Breakdown {
                queue,
                ..Breakdown::default()
            };
            assert_eq!(both.breakdown(), expected);
        }
        let rest = none
            .with(Source::AppLatency, Some(0.1))
            .with(Source::Throttling, Some(0.2))
            .with(Source::Stalls, Some(0.3))
            .with(Source::Node, Some(0.9));
        let expected = Breakdown {
            latency: Some(0.1),
            queue: None,
            throttling: Some(0.2),
            waiting: Some(0.3),
        };
        assert_eq!(rest.breakdown(), expected);
        let seen = rest.with(Source::Threads, Some(0.0)).breakdown();
        assert_eq!(seen.waiting, Some(0.0));
    }
}
