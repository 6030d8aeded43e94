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
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Connection, Use};

/// As many connections as an API server has on HTTP/2, or a few of them behind one proxy.
pub(super) const FEW: usize = 8;

/// Whose turn it is to go when somebody comes.
pub(super) struct Turns {
    peers: BTreeMap<IpAddr, Peer>,
    /// How many the newcomer's address has.
    own: usize,
    now: u64,
}

/// What is known about one address.
#[derive(Clone, Copy, Debug, Default)]
struct Peer {
    /// How many connections it has, without those that were asked to leave.
    staying: usize,
    /// The same with those that have not left yet.
    there: usize,
    /// Somebody asks all the time.
    is_regular: bool,
}

impl Turns {
    /// The turns at the sweep `now`, when somebody comes from `newcomer`.
    pub(super) fn of(open: &BTreeMap<u64, Arc<Connection>>, newcomer: IpAddr, now: u64) -> Self {
        let mut peers: BTreeMap<_, Peer> = BTreeMap::new();
        for connection in open.values().filter(|c| !c.life.is_ended()) {
            let peer = peers.entry(connection.peer).or_default();
            peer.there += 1;
            if !connection.is_leaving() {
                peer.staying += 1;
                peer.is_regular |= connection.is_regular(now);
            }
        }
        let own = peers.get(&newcomer).map_or(0, |peer| peer.staying);
        Self { peers, own, now }
    }

    pub(super) fn newcomer_has_few(&self) -> bool {
        self.own <= FEW
    }

    pub(super) fn is_crowd(&self, peer: IpAddr) -> bool {
        self.crowds(self.peer(peer))
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
        let leaving = open
            .values()
            .filter(|c| c.is_leaving() && !c.life.is_ended())
            .map(|c| (self.peer(c.peer), c));
        leaving
            .filter(|(peer, _)| self.newcomer_has_few() || peer.there >= self.own)
            .min_by_key(|(peer, c)| (Reverse(peer.there), c.is_busy(), self.rank(*peer, c)))
            .map(|(_, connection)| connection)
    }

    /// The lowest goes first; whoever has none stays.
    fn turn(&self, number: u64, connection: &Connection) -> Option<impl Ord + Copy + use<>> {
        let (peer, is_busy) = (self.peer(connection.peer), connection.is_busy());
        let size = Reverse(peer.staying);
        // Of two who are busy it is who came last; of two who are not it is who came
        // first, because the other one may be about to ask.
        let age = if is_busy { u64::MAX - number } else { number };
        let rank = self.rank(peer, connection);
        let (used, ..) = rank;
        let tail = (is_busy, rank, age);
        if self.crowds(peer) {
            Some((1, size, tail))
        } else if !is_busy && (used == Use::Never || peer.staying >= self.own) {
            Some((2, Reverse(0), tail))
        } else if is_busy && self.has_far_more(peer) {
            Some((3, size, tail))
        } else {
            None
        }
    }

    /// Who has to go first of two alike.
    fn rank(&self, peer: Peer, connection: &Connection) -> (Use, u64, u64) {
        match connection.rank(self.now) {
            (Use::Seldom | Use::NotYet, since, read)
                if peer.is_regular && since + 1 >= self.now =>
            {
                (Use::Kin, since, read)
            }
            rank => rank,
        }
    }

    fn crowds(&self, peer: Peer) -> bool {
        peer.staying > FEW && self.has_far_more(peer)
    }

    fn has_far_more(&self, peer: Peer) -> bool {
        peer.staying >= 2 * (self.own + 1)
    }

    fn peer(&self, address: IpAddr) -> Peer {
        self.peers.get(&address).copied().unwrap_or_default()
    }
}
