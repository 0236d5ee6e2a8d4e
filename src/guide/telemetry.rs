//! Telemetry: what portcullis writes to the log, what it counts, and which alerts to set.
//!
//! Portcullis uses `tracing`, and with the feature `metrics` also the `metrics` facade. It installs no
//! subscriber and no recorder. Your service does:
//!
//! ```no_run
//! # // The subscriber is a dependency of your service.
//! tracing_subscriber::fmt()
//!     .json()
//!     .with_env_filter("info,portcullis=info,sea_orm=warn,sqlx=warn")
//!     .init();
//! ```
//!
//! The example needs two features of `tracing-subscriber` that are off by default:
//!
//! ```toml
//! tracing-subscriber = { version = "0.3", features = ["env-filter", "json"] }
//! ```
//!
//! | call | feature |
//! |---|---|
//! | `fmt()`, `init()` | `fmt`, on by default |
//! | `json()` | `json` |
//! | `with_env_filter(..)` | `env-filter` |
//! | colours in a terminal, without `json()` | `ansi`, on by default |
//!
//! # Targets of `tracing`
//!
//! | target | level | what |
//! |---|---|---|
//! | `portcullis::event` | info | one line for each event, after its commit: `event`, `account`, `session`, `address`, `succeeded`, `detail`. Also denials (`authz_fail`, with `rule`), and refused API keys and proofs of keys (`api_key_refused`, `dpop_proof_refused`, with `reason`) |
//! | `portcullis::event::uncommitted` | info | the same, in a transaction of yours whose end portcullis does not see; open it with [`auth.begin()`](crate::Portcullis::begin) to avoid this |
//! | `portcullis` | error, warn | something failed or is set up wrong; each text is explained on the page [`operating`](super::operating) |
//! | `portcullis` | debug | why a request was denied, rotations |
//!
//! Portcullis opens no spans. Its lines belong to the span of *your* request, also those of its
//! background tasks for the request. So add a span with a request id, for example with
//! `tower_http::trace::TraceLayer`, outside of `auth.layer()`.
//!
//! To find everything about one account, search for lines with `event` whose `account` is its id.
//! The same lines are in the table `auth_event`, without rotations, denials, and refused API keys and proofs; see
//! [`audit_log`](crate::audit_log).
//!
//! # Counters
//!
//! There is one counter, `portcullis_events_total`. Its label `event` is the name of an event of
//! [`EventKind`](crate::EventKind), or one of these:
//!
//! | label | counts |
//! |---|---|
//! | `session_rotated` | tokens that were replaced |
//! | `api_key_refused` | well-formed API keys that were refused: unknown, revoked, expired. One that was given up and is still used may have leaked |
//! | `dpop_proof_refused` | proofs of [keys](crate::dpop) that were refused, except for their nonce, and bound tokens that were sent as `Bearer`. A token that is used without its key may have been copied |
//! | `authz_fail` | requirements that were not met |
//! | `hash_queue_full` | sign-ins refused with 503, because too many passwords waited to be hashed |
//! | `attempts_overloaded` | attempts refused with 503, because they waited too long for other attempts with the same name |
//!
//! No label contains an account, an address or a name. So the number of time series is small.
//! Portcullis does not measure durations. Your HTTP layer can do this for each route.
//!
//! # Which alerts to set
//!
//! | signal | threshold to start with | meaning |
//! |---|---|---|
//! | `authn_login_fail` against `authn_login_success` | three times the usual share in ten minutes | guessing, or a broken client |
//! | `authn_spraying_suspected`, `session_theft_suspected` | any | see [`operating`](super::operating#events-to-watch) |
//! | `api_key_refused`, `dpop_proof_refused` | more than usual | a key or a token may have been copied, or a program is set up wrong. For the second, see [`dpop`](crate::dpop#if-proofs-are-refused) |
//! | `administrator_bootstrapped`, `backup_restored` | any that you did not do | someone else has access |
//! | `authz_granted`, `permission_granted` for roles of administrators | any | a new administrator |
//! | `message_failed` | more than usual | people wait for links |
//! | `hash_queue_full`, `attempts_overloaded` | any for minutes | too few cores, a slow database, or a flood |
//! | answers with 503 | any for a minute | the database |
//! | a line of the target `portcullis` with the level error | any | read its text |
//! | findings | any new one | see the next section |
//!
//! # Findings
//!
//! A finding is a problem of the set-up or the traffic that does not stop the service. It is logged once, as a
//! warning with a `code`, and stays in a list of this process. Most findings stay until the process ends; see [which of
//! them go away](super::operating#findings).
//!
//! ```no_run
//! # fn example(auth: &portcullis::Portcullis) {
//! for finding in auth.audit() {
//!     println!("{}: {}", finding.code, finding.text);
//! }
//! # }
//! ```
//!
//! Show the list on a page for operators, for example behind the permission `admin:read`. Do not
//! use it as a health check: a restart empties the list, but does not solve a finding.
//!
//! # What never appears in a log
//!
//! Passwords, tokens, cookies, codes, links, secrets, the bodies of requests, and the names and addresses of
//! accounts. Events contain ids, a client address and a short fixed word. Texts from a request, such as the
//! compared origins of a refused request, are shortened and escaped, so nobody can forge a line.
//!
//! Other libraries may log such data. Turn the statement log of the database off
//! (`sqlx_logging(false)`, `record_stmt_in_spans(false)`), and do not log the headers `Cookie`,
//! `Set-Cookie`, `Authorization`, `DPoP`, those that begin with `Portcullis-`, and the one of `api_key.header`. [`ConsoleNotifier`](crate::message::ConsoleNotifier) prints
//! whole mails with their links: use it only on your own machine.
//!
//! The client address is personal data. If your rules require it, shorten it in your log pipeline.
