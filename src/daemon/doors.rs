//! Which connection gets which slot, and who has to give his up (decisions 15, threats 10).
//!
//! Slots are for strangers up to the key `sessions`; beyond those, [`LOCAL_SLOTS`] are only for
//! loopback and Unix sockets, and one is spare. A stranger who comes when all are taken goes into
//! the spare slot, ungreeted, and is looked for another: the stranger who has done nothing useful
//! for longest, if that is `IDLE_MIN`, or `IDLE_MIN_CROWD` when one address (one /64) holds more
//! than half, gets 421. Others wait meanwhile where the kernel keeps them: most mails take less
//! time.
//!
//! If nobody gives way within `SPARE_MAX`, there is a crowd, for as long as it presses. Then nobody
//! waits any more, since behind a stranger may stand somebody for whom a slot is kept: whoever
//! comes gets the slot of one who has been idle for `IDLE_MIN_CROWD`, or 421 at once. And whoever
//! had to go is remembered (`laggards`): those get no more than half of the slots, so that
//! the others always find one.
//!
//! A load balancer has to tell first whom it speaks for. Until then its connection counts as a
//! stranger's, and once that is known it comes through the door again, as whoever was told.

use super::laggards::Laggards;
use crate::base::slots::{Handle, Slots};
use crate::base::time::Instant;
use crate::config::Config;
use crate::intake::peer::Source;
use crate::intake::session::{Session, Stand};
use crate::limits::{LOCAL_SLOTS, SPARE_SLOTS};
use crate::queue::Queue;
use crate::smtp::reply::Reply;
use core::time::Duration;

/// Without anything useful for this long, a stranger may have to go.
const IDLE_MIN: Duration = Duration::from_secs(5);
/// The same for those of an address that holds more than half of the slots.
const IDLE_MIN_CROWD: Duration = Duration::from_secs(1);
/// How long the newcomer waits for a slot.
const SPARE_MAX: Duration = Duration::from_secs(2);
/// A crowd is over when nobody has been turned away for this long.
const CROWD_MIN: Duration = Duration::from_secs(30);

/// See the module's head.
pub struct Doors {
    strangers_max: usize,
    /// Who waits ungreeted, and until when.
    spare: Option<(Handle, Instant)>,
    /// Somebody has waited in vain, or was turned away since: nobody waits until then.
    crowd_until: Option<Instant>,
    laggards: Laggards,
}

impl Doors {
    /// All slots of a daemon with this config.
    pub fn slots_max(config: &Config) -> u16 {
        config.sessions.saturating_add(LOCAL_SLOTS).saturating_add(SPARE_SLOTS)
    }

    /// Nobody waits.
    pub fn new(config: &Config) -> Doors {
        Doors {
            strangers_max: config.sessions.into(),
            spare: None,
            crowd_until: None,
            laggards: Laggards::new(),
        }
    }

    /// True while another connection may be taken: somebody who has to wait is one at a time.
    pub fn is_open(&self) -> bool {
        self.spare.is_none()
    }

    /// The same for one who is here already, and was told to be somebody else.
    pub fn is_open_to(&self, handle: Handle) -> bool {
        self.spare.is_none_or(|(spare, _)| spare == handle)
    }

    /// A connection has been taken, or it was told who it is: greets it, or lets it wait for a
    /// slot.
    pub fn enter(
        &mut self,
        handle: Handle,
        sessions: &mut Slots<Session>,
        queue: &mut Queue,
        config: &Config,
        now: Instant,
    ) {
        self.spare.take_if(|(spare, _)| *spare == handle);
        let strangers = strangers(sessions);
        let is_one_too_many = is_beyond_its_number(handle.index, sessions);
        let is_crowded = self.is_crowded(now);
        let Some(session) = sessions.get(handle) else { return };
        let is_laggard = source(session).is_some_and(|source| self.laggards.has(source, now));
        if is_one_too_many {
            session.turn_away(Reply::TOO_MANY_CONNECTIONS, config, queue);
        } else if !is_stranger(session) {
            session.greet(config, now);
        } else if is_laggard && strangers > self.strangers_max.div_ceil(2) {
            session.turn_away(Reply::BUSY, config, queue);
        } else if strangers <= self.strangers_max {
            session.greet(config, now);
        } else if !is_crowded {
            self.spare = Some((handle, now + SPARE_MAX));
        } else {
            self.crowd_until = Some(now + CROWD_MIN);
            self.spare = Some((handle, now));
            self.attend(sessions, queue, config, now);
        }
    }

    fn is_crowded(&self, now: Instant) -> bool {
        self.crowd_until.is_some_and(|until| now < until)
    }

    /// Looks for a slot for the one who waits.
    pub fn attend(
        &mut self,
        sessions: &mut Slots<Session>,
        queue: &mut Queue,
        config: &Config,
        now: Instant,
    ) {
        let Some((spare, until)) = self.spare else { return };
        if sessions.get(spare).is_none() {
            self.spare = None;
            return;
        }
        if strangers(sessions) <= self.strangers_max {
            self.spare = None;
            if let Some(session) = sessions.get(spare) {
                session.greet(config, now);
            }
            return;
        }
        let is_crowded = self.is_crowded(now);
        let victim = slowest(spare.index, sessions, self.strangers_max, is_crowded, now);
        if let Some((_, session)) = victim.and_then(|victim| sessions.at(victim)) {
            if let Some(source) = source(session) {
                self.laggards.note(source, now);
            }
            session.turn_away(Reply::BUSY, config, queue);
            self.attend(sessions, queue, config, now);
        } else if now >= until {
            self.spare = None;
            self.crowd_until = Some(now + CROWD_MIN);
            if let Some(session) = sessions.get(spare) {
                session.turn_away(Reply::BUSY, config, queue);
            }
        }
    }

    /// When to call [`Doors::attend`] though nothing has happened.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let (_, until) = self.spare?;
        Some(until.min(now + Duration::from_millis(250)))
    }
}

/// True when the address (the /64) of the newcomer `index` has more connections than its range
/// allows. Sessions are counted where they are, so there is no table that could be full or wrong.
pub(super) fn is_beyond_its_number(index: u16, sessions: &Slots<Session>) -> bool {
    let found = sessions.iter().find(|(other, _)| *other == index);
    let Some((_, newcomer)) = found else { return false };
    let most = usize::from(newcomer.admission().connections_max);
    let may_be = most < sessions.taken();
    source(newcomer).filter(|_| may_be).is_some_and(|source| number_of(source, sessions) > most)
}

/// How many have a slot, those not counted who are on their way out.
fn strangers(sessions: &Slots<Session>) -> usize {
    let stays = |session: &Session| is_stranger(session) && session.stand() != Stand::Closing;
    sessions.iter().filter(|(_, session)| stays(session)).count()
}

fn is_stranger(session: &Session) -> bool {
    !session.peer().is_local() || is_untold(session)
}

/// It is not known yet whom it speaks for.
fn is_untold(session: &Session) -> bool {
    session.stand() == Stand::AwaitHeader
}

/// Where it counts; a load balancer, which speaks for many, nowhere until it has told.
fn source(session: &Session) -> Option<Source> {
    session.peer().source().filter(|_| !is_untold(session))
}

fn number_of(whose: Source, sessions: &Slots<Session>) -> usize {
    sessions.iter().filter(|(_, session)| source(session) == Some(whose)).count()
}

/// The stranger who has done nothing useful for longest, if that is too long.
fn slowest(
    spare: u16,
    sessions: &Slots<Session>,
    strangers_max: usize,
    is_crowded: bool,
    now: Instant,
) -> Option<u16> {
    let is_crowd = |session: &Session| {
        source(session).is_some_and(|source| number_of(source, sessions) > strangers_max / 2)
    };
    let candidates = sessions.iter().filter(|(index, session)| {
        let may_go = session.is_open() && is_stranger(session);
        may_go && *index != spare
    });
    let (index, session) = candidates.min_by_key(|(_, session)| session.last_useful)?;
    let least = if is_crowded || is_crowd(session) { IDLE_MIN_CROWD } else { IDLE_MIN };
    (now.since(session.last_useful) >= least).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Host, parse};
    use crate::intake::admission::Admission;
    use crate::intake::peer::Peer;
    use crate::queue::memory_disk::MemoryDisk;
    use crate::queue::recovery::{format, recover};
    use core::net::SocketAddr;

    struct House {
        doors: Doors,
        sessions: Slots<Session>,
        queue: Queue,
        config: Config,
        now: Instant,
    }

    impl House {
        /// Three slots, and three more: two for those of the house, one spare.
        fn new() -> House {
            House::with("relay = hold\nsessions = 3\n")
        }

        fn with(text: &str) -> House {
            let host = Host { hostname: "pi.test", home: "/home", is_embedded: false, run: None };
            let config = parse(text.as_bytes(), &host).unwrap();
            let mut disk = MemoryDisk::new(64);
            let now = Instant::from_millis(0);
            format(&mut disk, [9; 24], 0).unwrap();
            let (queue, _) = recover(&mut disk, now, 16, None).unwrap();
            let sessions = Slots::new(Doors::slots_max(&config), Session::new);
            House { doors: Doors::new(&config), sessions, queue, config, now }
        }

        /// Somebody comes in; what he is told, first and last.
        fn enter(&mut self, address: &str) -> (u16, String) {
            self.enter_by(0, address)
        }

        fn enter_by(&mut self, listener: u8, address: &str) -> (u16, String) {
            let House { doors, sessions, queue, config, now } = self;
            let (handle, session) = sessions.take(|_| true).unwrap();
            let address: SocketAddr = address.parse().unwrap();
            let admission = Admission::new(config, config.client(address.ip()));
            session.open(Peer::Tcp(address), listener, admission, 0, *now);
            doors.enter(handle, sessions, queue, config, *now);
            (handle.index, self.told(handle.index))
        }

        fn told(&mut self, index: u16) -> String {
            let (_, session) = self.sessions.at(index).unwrap();
            String::from_utf8(session.output().to_vec()).unwrap()
        }

        fn attend(&mut self) {
            let House { doors, sessions, queue, config, now } = self;
            doors.attend(sessions, queue, config, *now);
        }

        fn pass(&mut self, time: Duration) {
            self.now = self.now + time;
            self.attend();
        }

        fn is_useful(&mut self, index: u16) {
            self.sessions.at(index).unwrap().1.last_useful = self.now;
        }

        /// Somebody comes in, if that is possible; whether he is greeted. Who is sent away is gone.
        fn come(&mut self, address: &str) -> bool {
            let is_greeted = self.doors.is_open() && self.enter(address).1.starts_with("220");
            let going = |(index, session): (u16, &Session)| {
                (session.stand() == Stand::Closing).then_some(index)
            };
            let going: Vec<u16> = self.sessions.iter().filter_map(going).collect();
            going.iter().for_each(|index| self.leave(*index));
            is_greeted
        }

        fn is_full(&self) -> bool {
            strangers(&self.sessions) >= self.doors.strangers_max
        }

        fn leave(&mut self, index: u16) {
            self.sessions.at(index).unwrap().1.close(&mut self.queue);
            self.sessions.free(index);
        }
    }

    /// One stranger after the other had two seconds in the spare slot, and whoever of the house
    /// stood behind them in the backlog had to wait for them all.
    #[test]
    fn a_crowd_outside_keeps_nobody_of_the_house_waiting() {
        let mut house = House::new();
        for number in 1..=3 {
            assert!(house.enter(&format!("203.0.113.{number}:1")).1.starts_with("220"));
        }
        let (spare, told) = house.enter("203.0.113.9:1");
        assert!(told.is_empty() && !house.doors.is_open());
        house.pass(Duration::from_millis(500));
        assert!(house.told(spare).is_empty());
        // Nobody is slow enough to go.
        (0..3).for_each(|index| house.is_useful(index));
        house.pass(SPARE_MAX);
        assert!(house.told(spare).starts_with("421"));
        house.leave(spare);
        for _ in 0..50 {
            (0..3).for_each(|index| house.is_useful(index));
            assert!(house.doors.is_open());
            let (index, told) = house.enter("203.0.113.9:1");
            assert!(told.starts_with("421"));
            house.leave(index);
        }
        assert!(house.enter("127.0.0.1:1").1.starts_with("220"));
        house.pass(CROWD_MIN);
        (0..3).for_each(|index| house.is_useful(index));
        let (spare, told) = house.enter("203.0.113.9:1");
        assert!(told.is_empty());
        house.leave(spare);
    }

    /// A thousand clients at a byte a second, from many addresses, came back as soon as they were
    /// sent away, and no stranger with mail was ever served; those of the house waited for seconds.
    #[test]
    fn a_crowd_that_was_slow_leaves_half_of_the_slots_to_others() {
        let mut house = House::with("relay = hold\nsessions = 4\n");
        let crowd = |house: &mut House| {
            for number in 0..40 {
                house.come(&format!("198.51.100.{number}:1"));
            }
        };
        crowd(&mut house);
        house.pass(SPARE_MAX);
        assert!(house.is_full());
        // Each of them is let in once.
        for _ in 0..20 {
            house.pass(Duration::from_secs(1));
            crowd(&mut house);
        }
        for number in 2..9 {
            crowd(&mut house);
            assert!(house.come(&format!("203.0.113.{number}:1")));
            house.pass(Duration::from_secs(2));
        }
    }

    /// One who has to go but does not even read stayed, and each turn another had to go.
    #[test]
    fn who_does_not_read_goes_at_once() {
        let mut house = House::new();
        for number in 1..=3 {
            house.enter(&format!("203.0.113.{number}:1"));
        }
        let (_, deaf) = house.sessions.at(0).unwrap();
        deaf.sent(0, house.now);
        house.enter("203.0.113.9:1");
        house.now = house.now + IDLE_MIN;
        house.attend();
        assert!(house.sessions.at(0).unwrap().1.is_over());
        assert!(!house.sessions.at(1).unwrap().1.is_over());
    }

    #[test]
    fn an_address_has_so_many_connections() {
        let mut house = House::with(
            "sessions = 9\n[clients 203.0.113.0/24]\nconnections = 2\n\
             [clients 2001:db8::/32]\nconnections = 1\n[clients 127.0.0.1]\nconnections = 1\n",
        );
        let expected = "421 4.7.0 Too many connections from there\r\n";
        let mut first = None;
        for (address, is_taken) in [
            ("203.0.113.1:1", true),
            ("203.0.113.1:2", true),
            ("203.0.113.1:3", false),
            ("203.0.113.2:3", true),
            ("[2001:db8::1]:1", true),
            ("[2001:db8::ffff:0:0:1]:1", false),
            ("[2001:db8:0:1::1]:1", true),
            ("127.0.0.1:1", true),
            ("127.0.0.1:2", false),
        ] {
            let (index, told) = house.enter(address);
            first.get_or_insert(index);
            assert_eq!(told == expected, !is_taken, "{address}: {told}");
            if !is_taken {
                house.leave(index);
            }
        }
        house.leave(first.unwrap());
        assert!(house.enter("203.0.113.1:4").1.starts_with("220"));
        assert_eq!(house.enter("203.0.113.1:5").1, expected);
    }

    /// A handshake that is not brought forward holds a slot no better than silence does, and there
    /// is no way to say a word in it.
    #[test]
    fn who_stands_in_a_handshake_may_have_to_go() {
        let mut house = House::with(
            "relay = hold\nsessions = 3\n\
             [listen tls]\naddress = ::1\ntls = implicit\ncert = /c\nkey = /k\n",
        );
        for number in 1..=3 {
            let (index, told) = house.enter_by(1, &format!("203.0.113.{number}:1"));
            let (_, session) = house.sessions.at(index).unwrap();
            assert!(told.is_empty() && !session.wants_read());
            assert!(session.deadline(&house.config).is_some());
            assert!(session.begins_tls().is_some());
            session.securing();
            assert!(session.wants_read() && session.begins_tls().is_none());
        }
        let (spare, told) = house.enter_by(1, "203.0.113.9:1");
        assert!(told.is_empty() && house.sessions.at(spare).unwrap().1.begins_tls().is_none());
        house.now = house.now + IDLE_MIN;
        house.attend();
        let (_, session) = house.sessions.at(0).unwrap();
        assert!(session.is_over() && session.output().is_empty());
        house.leave(0);
        house.attend();
        assert!(house.sessions.at(spare).unwrap().1.begins_tls().is_some());
    }

    /// Load balancers hold slots like anybody else before they have told for whom, also those on
    /// this machine, and come through the door again when they have.
    #[test]
    fn who_speaks_for_others_is_counted_before_and_after() {
        let mut house = House::with(
            "relay = hold\nsessions = 3\n[clients 127.0.0.9]\nproxy = yes\n\
             [clients 203.0.113.0/24]\nconnections = 1\n",
        );
        let tell = |house: &mut House, index: u16, source: &str| {
            let header = format!("PROXY TCP4 {source} 127.0.0.1 1 25\r\n");
            let House { doors, sessions, queue, config, now } = house;
            let (handle, session) = sessions.at(index).unwrap();
            for byte in header.bytes() {
                session.input_mut()[0] = byte;
                session.received(1, *now);
            }
            session.take_header(config, queue);
            assert!(doors.is_open_to(handle));
            assert!(session.take_new_face() && !session.take_new_face());
            doors.enter(handle, sessions, queue, config, *now);
            house.told(index)
        };
        let untold: Vec<u16> = (1..=3).map(|_| house.enter("127.0.0.9:1").0).collect();
        assert!(house.is_full());
        // One more waits for a slot, and for its header too; nobody else may wait meanwhile.
        let (fourth, told) = house.enter("127.0.0.9:1");
        assert!(told.is_empty() && !house.doors.is_open());
        assert!(tell(&mut house, fourth, "192.0.2.4").is_empty());
        assert!(!house.doors.is_open() && house.doors.deadline(house.now).is_some());
        let (handle, _) = house.sessions.at(untold[0]).unwrap();
        assert!(!house.doors.is_open_to(handle));
        house.leave(untold[0]);
        house.attend();
        assert!(house.told(fourth).starts_with("220 "));
        assert!(tell(&mut house, untold[1], "203.0.113.1").starts_with("220 "));
        let expected = "421 4.7.0 Too many connections from there\r\n";
        assert_eq!(tell(&mut house, untold[2], "203.0.113.1"), expected);
        // Who is of this machine finds a slot that is kept.
        house.leave(untold[2]);
        assert!(house.enter("192.0.2.5:1").1.starts_with("220 "));
        let (local, told) = house.enter("127.0.0.9:1");
        assert!(told.is_empty());
        assert!(tell(&mut house, local, "127.0.0.1").starts_with("220 "));
        assert!(house.doors.is_open());
    }

    /// Whoever has an IPv6 /64 has all its addresses (threats 7); they were counted one by one.
    #[test]
    fn a_crowd_from_one_64_is_a_crowd() {
        let v6 = ["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1"];
        for addresses in [["203.0.113.1:1"; 3], v6] {
            let mut house = House::new();
            for address in addresses {
                assert!(house.enter(address).1.starts_with("220"));
            }
            let (spare, told) = house.enter("192.0.2.9:1");
            assert!(told.is_empty());
            house.pass(IDLE_MIN_CROWD);
            assert!(house.told(0).contains("421"), "{addresses:?}: {}", house.told(0));
            assert!(house.told(spare).starts_with("220"), "{addresses:?}");
        }
    }

    /// A load balancer whose connection was slow to tell was remembered as if it were a client.
    #[test]
    fn who_has_not_told_yet_is_no_laggard() {
        let mut house =
            House::with("relay = hold\nsessions = 3\n[clients 192.0.2.1]\nproxy = yes\n");
        for _ in 0..3 {
            assert!(house.enter("192.0.2.1:1").1.is_empty());
        }
        house.enter("203.0.113.9:1");
        house.pass(IDLE_MIN);
        let balancer = Peer::Tcp("192.0.2.1:1".parse().unwrap()).source().unwrap();
        assert!(!house.doors.laggards.has(balancer, house.now));
    }
}
