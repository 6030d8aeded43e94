//! Who gives way to whom.
//!
//! Nobody knows which addresses the API servers have, but they have few
//! connections each. So what counts is how many connections an address has, and
//! how many the newcomer's has already. In this order there go:
//!
//! 1. of a crowd, which is an address that has more than a few connections and
//!    twice as many as the newcomer's will have: the largest crowd first, and in
//!    it who does nothing first;
//! 2. who does nothing: who never asked although there was time, then who has not
//!    for longest;
//! 3. who is busy, of an address that has twice as many as the newcomer's will have.
//!
//! Who has only just come from an address that asks all the time is no stranger: an
//! API server that opens one connection more does not have to begin anew.
//!
//! So whoever opens thousands, or has a hundred from each of several addresses,
//! keeps only himself out, also if he is asking all the time. No address takes a
//! place from one that has less and uses it. After each change the newcomer's address
//! has no more than the other one, so no two of them can send each other away in turns.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::{Connection, Use};

/// As many connections as an API server has on HTTP/2, or a few of them behind one proxy.
pub(super) const FEW: usize = 8;

/// How many connections each address has, without those that were asked to leave.
pub(super) struct Turns {
    sizes: HashMap<IpAddr, usize>,
    /// From where somebody asks all the time.
    regular: HashSet<IpAddr>,
    /// How many the newcomer's has.
    own: usize,
    now: u64,
}

impl Turns {
    /// The turns at the sweep `now`, when somebody comes from `newcomer`.
    pub(super) fn of(open: &BTreeMap<u64, Arc<Connection>>, newcomer: IpAddr, now: u64) -> Self {
        let staying = || open.values().filter(|c| !c.leave.is_cancelled());
        let regular = staying().filter(|c| c.is_regular(now)).map(|c| c.peer);
        let (sizes, regular) = (sizes(staying()), regular.collect());
        let own = sizes.get(&newcomer).copied().unwrap_or_default();
        Self {
            sizes,
            regular,
            own,
            now,
        }
    }

    pub(super) fn newcomer_has_few(&self) -> bool {
        self.own <= FEW
    }

    pub(super) fn is_crowd(&self, peer: IpAddr) -> bool {
        self.size(peer) > FEW && self.has_far_more(peer)
    }

    /// Which of them has to go.
    pub(super) fn first<'a>(
        &self,
        connections: impl Iterator<Item = (&'a u64, &'a Arc<Connection>)>,
    ) -> Option<&'a Arc<Connection>> {
        let in_turn = connections.filter_map(|(number, c)| Some((self.turn(*number, c)?, c)));
        let first = in_turn.min_by_key(|(turn, _)| *turn);
        first.map(|(_, connection)| connection)
    }

    /// Which has to go of those that were asked to leave: they had their time.
    pub(super) fn first_of_leaving<'a>(
        &self,
        open: &'a BTreeMap<u64, Arc<Connection>>,
    ) -> Option<&'a Arc<Connection>> {
        let sizes = sizes(open.values().filter(|c| !c.life.is_ended()));
        open.values()
            .filter(|c| c.leave.is_cancelled() && !c.life.is_ended())
            .filter(|c| self.newcomer_has_few() || sizes[&c.peer] >= self.own)
            .min_by_key(|c| (Reverse(sizes[&c.peer]), c.is_busy(), self.rank(c)))
    }

    /// The lowest goes first; whoever has none stays.
    fn turn(&self, number: u64, connection: &Connection) -> Option<impl Ord + Copy + use<>> {
        let (peer, is_busy) = (connection.peer, connection.is_busy());
        let size = Reverse(self.size(peer));
        // Of two who are busy it is who came last; of two who are not it is who came
        // first, because the other one may be about to ask.
        let age = if is_busy { u64::MAX - number } else { number };
        let rank = self.rank(connection);
        let (used, ..) = rank;
        let tail = (is_busy, rank, age);
        if self.is_crowd(peer) {
            Some((1, size, tail))
        } else if !is_busy && (used == Use::Never || self.size(peer) >= self.own) {
            Some((2, Reverse(0), tail))
        } else if is_busy && self.has_far_more(peer) {
            Some((3, size, tail))
        } else {
            None
        }
    }

    /// Who has to go first of two alike.
    fn rank(&self, connection: &Connection) -> (Use, u64, u64) {
        match connection.rank(self.now) {
            (Use::Seldom | Use::NotYet, since, read)
                if since + 1 >= self.now && self.regular.contains(&connection.peer) =>
            {
                (Use::Kin, since, read)
            }
            rank => rank,
        }
    }

    fn has_far_more(&self, peer: IpAddr) -> bool {
        self.size(peer) >= 2 * (self.own + 1)
    }

    fn size(&self, peer: IpAddr) -> usize {
        self.sizes.get(&peer).copied().unwrap_or_default()
    }
}

fn sizes<'a>(connections: impl Iterator<Item = &'a Arc<Connection>>) -> HashMap<IpAddr, usize> {
    let mut sizes = HashMap::new();
    for connection in connections {
        *sizes.entry(connection.peer).or_insert(0) += 1;
    }
    sizes
}
