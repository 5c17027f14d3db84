//! Every maximum and every time-out that is not a config key, checked against each other when
//! this compiles.

use core::time::Duration;

/// The largest image: `spool-size` allows no more, and a file whose size nothing else tells is not
/// taken for a larger one.
pub const SPOOL_BYTES_MAX: u64 = 64 << 30;

/// A command line with its CRLF. RFC 5321 §4.5.3.1.4 asks for 512, and for more with extensions;
/// AUTH= and ORCPT= in xtext may each need 500.
pub const LINE_BYTES_MAX: usize = 2048;
/// What a session reads into. RFC 2920 pipelines are answered from it; DATA streams through it: a
/// quarter of this takes four times the system calls, and a sixth more time for a large mail. A
/// session that never reads that much at one time never touches the pages behind.
pub const INPUT_BYTES: usize = 16 * 1024;
/// A decoded response of a client that logs in: what a line can hold in base64. RFC 4954 §4 asks
/// for what the longest mechanism needs: by RFC 4616 that is PLAIN, with 767.
pub const SASL_RESPONSE_BYTES_MAX: usize = LINE_BYTES_MAX / 4 * 3;
/// A challenge of ours, before base64.
pub const SASL_CHALLENGE_BYTES_MAX: usize = 372;
/// A password or a token for a next hop. Those of Microsoft are the longest, with some two
/// thousand.
pub const KEY_BYTES_MAX: usize = 4096;
/// The name to log in with at a next hop.
pub const KEY_NAME_BYTES_MAX: usize = 254;
/// A message of ours to a next hop where we log in, before base64: OAUTHBEARER's, in which a name
/// may become three times as long.
pub const SASL_MESSAGE_BYTES_MAX: usize =
    KEY_BYTES_MAX + 3 * KEY_NAME_BYTES_MAX + DOMAIN_BYTES_MAX + 64;
/// The name of somebody who logs in.
pub const LOGIN_NAME_BYTES_MAX: usize = 64;
/// A password of theirs.
pub const PASSWORD_BYTES_MAX: usize = 256;
/// A users file. With hashes of 150 bytes it holds [`USERS_MAX`] and their senders.
pub const USERS_FILE_BYTES_MAX: usize = 128 * 1024;
/// Users in one file.
pub const USERS_MAX: usize = 500;
/// A file of aliases, and one that it includes.
pub const ALIASES_FILE_BYTES_MAX: usize = 128 * 1024;
/// Names that have aliases.
pub const ALIASES_MAX: usize = 1000;
/// Aliases that lead to each other (threats 15).
pub const ALIAS_DEPTH_MAX: usize = 10;
/// Addresses that one alias leads to (threats 15): no more than one message can have.
pub const ALIAS_TARGETS_MAX: usize = 100;
/// Addresses that all aliases together lead to.
pub const ALIASES_TARGETS_MAX: usize = 4096;
/// Lines of `[rewrite]`: every address that goes out is compared with each.
pub const REWRITES_MAX: usize = 256;
/// How often the files of aliases are looked at, if there is anything to do at all.
pub const ALIASES_LOOK: Duration = Duration::from_secs(1);
/// How often a file is looked at with which a next hop has not let us in.
pub const KEY_LOOK: Duration = Duration::from_secs(5);
/// How often it is looked whether the name servers are others, while mail waits for the network.
pub const NETWORK_LOOK: Duration = Duration::from_secs(5);
/// Failed logins in one session; with the last it is closed.
pub const LOGIN_FAILURES_MAX: u32 = 5;
/// Addresses whose failed logins are remembered.
pub const LOGIN_SOURCES_MAX: usize = 128;
/// Replies of a session that wait to be written.
pub const REPLIES_BYTES: usize = 1536;
/// Room that must be free among the replies before the next command is read: the longest reply,
/// which is the one to EHLO.
pub const REPLY_BYTES_MAX: usize = 768;
/// What a sending slot writes from. It holds the longest step of a login.
pub const OUTPUT_BYTES: usize = 8192;
/// A mailbox: RFC 5321 §4.5.3.1.3 allows a path of 256 with its angle brackets.
pub const ADDRESS_BYTES_MAX: usize = 254;
/// RFC 5321 §4.5.3.1.1 asks for 64 at least; senders made by VERP and SRS are longer.
pub const LOCAL_PART_BYTES_MAX: usize = 192;
/// RFC 5321 §4.5.3.1.2, less the dot of the root.
pub const DOMAIN_BYTES_MAX: usize = 253;
/// Recipients of one message that a state entry has bits for.
pub const RECIPIENTS_MAX: usize = 112;
/// A line of a message, without CRLF: RFC 5321 §4.5.3.1.6.
pub const TEXT_LINE_BYTES_MAX: usize = 998;
/// A reply line of a next hop (threats 25).
pub const REMOTE_LINE_BYTES_MAX: usize = 512;
/// Lines of one reply of a next hop.
pub const REMOTE_REPLY_LINES_MAX: u8 = 100;
/// What is kept of a next hop's reply for logs and reports.
pub const REMOTE_TEXT_BYTES_MAX: usize = 200;
/// One log line.
pub const LOG_LINE_BYTES_MAX: usize = 300;
/// Bad commands in one session before it is closed with 421.
pub const BAD_COMMANDS_MAX: u8 = 20;
/// Commands that bring no mail on (NOOP, RSET, VRFY, HELP, a refused RCPT …), from one mail to the
/// next, before a session is closed with 421: whoever guesses at addresses does not go on for ever.
pub const IDLE_COMMANDS_MAX: u16 = 1000;
/// A whole session of a stranger.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(2 * 60 * 60);
/// Body bytes a second, averaged from the 354 on, that a sender must keep up (threats 10).
pub const DATA_RATE_FLOOR: u64 = 64;
/// How long the rate of a body is not looked at.
pub const DATA_RATE_GRACE: Duration = Duration::from_secs(60);
/// The shortest time in which a delivery is promised (DELIVERBY): with one attempt more than the
/// first, by the default of `retry`.
pub const DELIVER_BY_SECONDS_MIN: u32 = 60;
/// Bytes read from one connection before the others get their turn.
pub const TURN_BYTES_MAX: usize = 64 * 1024;
/// One name, from question to answer.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(15);
/// Listeners, submit and control sockets included.
pub const LISTENERS_MAX: usize = 16;
/// Connections to the control socket at one time.
pub const CONTROL_SLOTS: u16 = 2;
/// Slots kept for loopback and the submit socket.
pub const LOCAL_SLOTS: u16 = 2;
/// The slot into which the connection after the last goes while it is looked for another
/// (decisions 15).
pub const SPARE_SLOTS: u16 = 1;
/// Addresses whose messages are counted at one time, where `[clients RANGE]` has a rate.
pub const RATED_SOURCES_MAX: usize = 256;
/// Addresses that are remembered for having kept a slot without using it (threats 10).
pub const LAGGARDS_MAX: usize = 1024;
/// Devices that `status` tells of.
pub const DEVICES_MAX: usize = 32;
/// A PROXY header with everything in it. Load balancers add some hundred bytes; with a client's
/// certificate it may be two thousand.
pub const PROXY_BYTES_MAX: usize = 4096;
/// How long a load balancer may take for its PROXY header: it is the first thing that it sends.
pub const PROXY_TIMEOUT: Duration = Duration::from_secs(10);
/// Sockets that wait in the kernel to be accepted.
pub const LISTEN_BACKLOG: i32 = 1024;

const _: () = assert!(LINE_BYTES_MAX <= INPUT_BYTES);
const _: () = assert!(PROXY_BYTES_MAX <= INPUT_BYTES);
const _: () = assert!(2 * REPLY_BYTES_MAX <= REPLIES_BYTES);
const _: () = assert!(6 + SASL_CHALLENGE_BYTES_MAX.div_ceil(3) * 4 <= REPLY_BYTES_MAX);
const _: () = assert!(2 * LOGIN_NAME_BYTES_MAX + PASSWORD_BYTES_MAX + 2 <= SASL_RESPONSE_BYTES_MAX);
const _: () = assert!(ADDRESS_BYTES_MAX + 2 <= 256);
const _: () = assert!(ALIAS_TARGETS_MAX <= RECIPIENTS_MAX);
const _: () = assert!(TEXT_LINE_BYTES_MAX + 3 <= OUTPUT_BYTES);
const _: () = assert!(SASL_MESSAGE_BYTES_MAX.div_ceil(3) * 4 + 2 <= OUTPUT_BYTES);
const _: () = assert!(REMOTE_TEXT_BYTES_MAX <= REMOTE_LINE_BYTES_MAX);
