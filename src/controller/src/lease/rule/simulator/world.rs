//! Machines, a network, an API server, and what happens when.

use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::chaos::{Fault, Weather};
use super::machine::Machine;
use super::mutant::Mutant;
use super::queue::{Entry, Event, Queue};
use super::server::Server;
use super::witness::{Breach, Witness};
use super::{Answer, Ask, Candidacy, Micros, REQUEST, SECOND, Step, WRITE};

pub(super) struct World {
    mutant: Mutant,
    random: SmallRng,
    weather: Weather,
    now: Micros,
    processes: usize,
    events: Queue,
    machines: Vec<Machine>,
    server: Server,
    witness: Witness,
}

impl World {
    /// The schedule `seed`, with nothing happened yet.
    pub(super) fn new(seed: u64, mutant: Mutant) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let weather = Weather::new(&mut random);
        let count = random.random_range(2..=4);
        let machines = (0..count).map(|_| Machine::new(&mut random)).collect();
        let mut server = Server::new();
        server.compares = mutant != Mutant::ReplacesBlindly;
        let faults = weather.faults(&mut random);
        let mut world = Self {
            mutant,
            random,
            weather,
            now: 0,
            processes: 0,
            events: Queue::default(),
            machines,
            server,
            witness: Witness::default(),
        };
        for machine in 0..count {
            let at = world.random.random_range(0..5 * SECOND);
            world.push(at, machine, Event::Start);
        }
        for (at, fault, at_leader) in faults {
            world.push(at, 0, Event::Fault(fault, at_leader));
        }
        world
    }

    /// Lets everything go wrong, then nothing, then the leader go in one of two ways.
    pub(super) fn verdict(mut self) -> Result<(), Breach> {
        self.run_until(self.weather.ends + 17 * SECOND);
        let Some(leader) = self.leader() else {
            self.witness
                .blame(Breach::Vacant("17 s after the last fault"));
            return self.close();
        };
        let peace = self.random.random_range(0..4 * SECOND);
        self.run_until(self.now + peace);
        if self.leader() != Some(leader) {
            self.witness.blame(Breach::Vacant("in peace"));
            return self.close();
        }
        let never = 1_000 * SECOND;
        let (fault, bound, text) = if self.random.random_bool(0.5) {
            let writes = self.random.random_range(0..SECOND / 20);
            (
                Fault::Terminate(writes, never),
                2,
                "2 s after it was given back",
            )
        } else {
            (Fault::Crash(never), 17, "17 s after a crash")
        };
        self.strike(fault, leader);
        self.run_until(self.now + bound * SECOND);
        if self.leader().is_none() {
            self.witness.blame(Breach::Vacant(text));
        }
        self.close()
    }

    fn close(mut self) -> Result<(), Breach> {
        for machine in &mut self.machines {
            machine.account(self.now, self.mutant, &mut self.witness);
        }
        self.witness.verdict()
    }

    fn leader(&self) -> Option<usize> {
        self.machines
            .iter()
            .position(|machine| machine.leads(self.now))
    }

    fn push(&mut self, at: Micros, machine: usize, event: Event) {
        let turn = self.machines[machine].turn;
        self.events.push(at, machine, turn, event);
    }

    fn run_until(&mut self, end: Micros) {
        while let Some(entry) = self.events.pop_until(end) {
            self.now = entry.at;
            self.happen(entry);
        }
        self.now = end;
    }

    fn happen(&mut self, entry: Entry) {
        let Entry {
            machine: at,
            turn,
            event,
            ..
        } = entry;
        let is_meant = turn == self.machines[at].turn;
        match event {
            Event::Fault(fault, at_leader) => {
                let anybody = self.random.random_range(0..self.machines.len());
                let leader = self.leader().filter(|_| at_leader);
                self.strike(fault, leader.unwrap_or(anybody));
            }
            // On its way nothing can stop it.
            Event::Arrive(ask, deadline) => self.arrive((at, turn), ask, deadline),
            event if self.machines[at].stalled > self.now => {
                // Both the answer and the end of waiting for it may be there when it wakes.
                let event = match event {
                    Event::Hear(_) if self.random.random_bool(0.3) => Event::Hear(Answer::Lost),
                    event => event,
                };
                let wakes = self.machines[at].stalled;
                self.events.push(wakes, at, turn, event);
            }
            Event::Start if self.machines[at].candidacy.is_none() => {
                self.processes += 1;
                self.machines[at].start(self.processes, self.now);
                self.turn(at);
            }
            Event::Turn if is_meant => self.turn(at),
            Event::Depart(ask) if is_meant => self.depart(at, ask),
            Event::Hear(answer) if is_meant => self.hear(at, &answer),
            _ => {}
        }
    }

    /// The process decides what to do next.
    fn turn(&mut self, at: usize) {
        let (now, mutant) = (self.now, self.mutant);
        let machine = &mut self.machines[at];
        machine.account(now, mutant, &mut self.witness);
        let (own, wall) = (machine.now(now), machine.wall(now));
        machine.turn += 1; // whatever else would have woken it is void
        let Some(rule) = &mut machine.candidacy else {
            return;
        };
        mutant.before_deciding(rule, own, wall);
        if rule.leaves && now < machine.settles {
            let then = machine.settles;
            return self.push(then, at, Event::Turn);
        }
        let mut step = rule.next(own, wall);
        mutant.spoil(rule, &mut step, wall);
        let gives_up = rule.leaves && now > machine.settles + WRITE;
        machine.is_asking = matches!(step, Step::Send(_));
        match if gives_up { Step::Done } else { step } {
            Step::Sleep(until) => {
                let then = machine.when(until).max(now + 1);
                self.push(then, at, Event::Turn);
            }
            Step::Send(ask) => match self.weather.hesitation(now, &mut self.random) {
                Some(length) => {
                    machine.stall(now, length, false);
                    self.push(now, at, Event::Depart(ask));
                }
                None => self.depart(at, ask),
            },
            Step::Done => {
                machine.candidacy = None;
                let then = machine.returns.max(now);
                self.push(then, at, Event::Start);
            }
        }
    }

    fn depart(&mut self, at: usize, ask: Ask) {
        let cut = self.machines[at].cut[0];
        let deadline = self.now + REQUEST;
        let passes = self.weather.passes(self.now, cut, &mut self.random);
        let arrives = passes.map(|takes| self.now + takes);
        if let Some(then) = arrives {
            self.push(then, at, Event::Arrive(ask, deadline));
        }
        if arrives.is_none_or(|then| then > deadline) {
            self.push(deadline, at, Event::Hear(Answer::Lost));
        }
    }

    fn arrive(&mut self, (at, turn): (usize, u64), ask: Ask, deadline: Micros) {
        let answer = self.server.handle(ask);
        let cut = self.machines[at].cut[1];
        let passes = self.weather.passes(self.now, cut, &mut self.random);
        if turn != self.machines[at].turn || self.now > deadline {
            return;
        }
        let back = passes.map(|takes| self.now + takes);
        match back.filter(|then| *then <= deadline) {
            Some(then) => self.push(then, at, Event::Hear(answer)),
            None => self.push(deadline, at, Event::Hear(Answer::Lost)),
        }
    }

    fn hear(&mut self, at: usize, answer: &Answer) {
        let (now, mutant) = (self.now, self.mutant);
        let machine = &mut self.machines[at];
        machine.account(now, mutant, &mut self.witness);
        machine.turn += 1; // whatever else was to come for this request is void
        machine.is_asking = false;
        let own = machine.now(now);
        if let Some(rule) = &mut machine.candidacy {
            rule.heard(answer.clone(), own);
            mutant.after_hearing(rule, answer, own);
        }
        if machine.leads(now) {
            let term = machine.candidacy.as_ref().and_then(Candidacy::term);
            let epoch = term.map_or(0, |term| term.epoch);
            self.witness
                .term(machine.process, epoch, self.server.forgot);
        }
        self.turn(at);
    }

    fn strike(&mut self, fault: Fault, at: usize) {
        let (now, mutant) = (self.now, self.mutant);
        let machine = &mut self.machines[at];
        machine.account(now, mutant, &mut self.witness);
        match fault {
            Fault::Stall(length) => machine.stall(now, length, false),
            Fault::Sleep(length) => {
                machine.stall(now, length, mutant == Mutant::SleepsThroughItsTerm);
            }
            Fault::Crash(down) => {
                machine.candidacy = None;
                machine.turn += 1;
                self.push(now + down, at, Event::Start);
            }
            Fault::Terminate(writes, down) => self.terminate(at, writes, down),
            Fault::Cut(ways, length) => {
                for (until, is_cut) in machine.cut.iter_mut().zip(ways) {
                    *until = (*until).max(if is_cut { now + length } else { 0 });
                }
            }
            Fault::StandingWall(length) => machine.wall_stands = now + length,
            Fault::Edit(edit) => {
                let names = self.machines.iter().map(|m| Arc::clone(&m.identity));
                let names: Vec<_> = names.collect();
                self.server.edit(edit, &names, &mut self.random);
            }
        }
    }

    /// Told to end: no write is begun any more, those on their way have their
    /// effect, and then the Lease is given back.
    fn terminate(&mut self, at: usize, writes: Micros, down: Micros) {
        let now = self.now;
        let machine = &mut self.machines[at];
        let own = machine.now(now);
        let Some(rule) = &mut machine.candidacy else {
            return;
        };
        if rule.leaves || machine.stalled > now {
            return;
        }
        let permitted = rule.term().is_some_and(|term| term.permits(own));
        rule.leave(own);
        machine.settles = now + if permitted { writes } else { WRITE };
        if self.mutant == Mutant::ReleasesTooSoon {
            machine.settles = now;
        } else {
            self.witness.settled(machine.process, machine.settles);
        }
        machine.returns = now + down;
        if !machine.is_asking {
            self.push(now, at, Event::Turn);
        }
    }
}
