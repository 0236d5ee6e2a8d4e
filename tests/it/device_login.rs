//! Device logins: who may start, approve and fetch what, and what a request is worth in each state.

use std::time::Duration;

use axum::http::HeaderMap;
use portcullis::base::clock::MockClock;
use portcullis::config::{DeviceClient, DeviceCodeReuse};
use portcullis::device_login::{
    DeviceLoginError, DeviceRequest, DeviceRequestState as State, DeviceToken, DeviceTokenError,
    StartedDeviceLogin,
};
use portcullis::identity::owner::{AccountOwner, Devices};
use portcullis::message::MessageKind;
use portcullis::{
    Account, AccountId, ClientInfo, Config, Factor, Identity, Permission, Portcullis, Problem,
    Secret,
};

use crate::on_every_database;
use crate::support::call::{cookie_of, extracted};
use crate::support::probe::{app, serve};
use crate::support::{Browser, Probe};

mod approval;
mod outage;
mod race;
mod routes;
mod states;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Where the person is, and the device in the same network.
const HOME: &str = "192.0.2.7";
const SOFA: &str = "192.0.2.80";
const ABROAD: &str = "198.51.100.9";

pub(crate) fn clients(config: &mut Config) {
    config.service.bearer = true;
    config.service.public_url = Some("https://example.com".to_owned());
    config.device_login.starts_per_source = None;
    let lifetime = 10 * DAY;
    config.device_login.clients = vec![
        DeviceClient::new("tv", "The TV")
            .ceiling(["film:watch", "doc:read"])
            .session_lifetime(lifetime),
        DeviceClient::new("cli", "The program").ceiling(["*"]),
        DeviceClient::new("lock", "The door").ceiling(["door:open"]).with_confirmation(),
    ];
}

/// Approves a request of a device for this account. The device has not come yet.
pub(crate) async fn approved_for(probe: &Probe, id: AccountId) {
    let auth = probe.rebuilt(|builder| builder.configure(clients));
    let account = auth.accounts().find(id).await.expect("it answers").expect("it is there");
    let person = Person::of(&auth, &account).await;
    let device = Device::start(&auth, "tv").await;
    person.approve(&device).await.expect("it is approved");
}

/// The code of a device that has its token, and both codes of one that waits, with what the person of this
/// session was shown of it.
pub(crate) async fn proofs(auth: &Portcullis, cookie: &str) -> Vec<(&'static str, String)> {
    let person = Person::with(auth, cookie).await;
    let (has, waits) = (Device::start(auth, "tv").await, Device::start(auth, "tv").await);
    person.approve(&has).await.expect("it is approved");
    let _token = has.poll().await.expect("a token");
    vec![
        ("device_code", has.started.device_code().to_owned()),
        ("device_code waiting", waits.started.device_code().to_owned()),
        ("user_code", waits.code().to_owned()),
        ("device_view", person.view(waits.code()).await),
    ]
}

fn from(address: &str) -> ClientInfo {
    let address = address.parse().expect("an address");
    ClientInfo::resolve(Some(address), &HeaderMap::new(), &portcullis::TrustedProxies::default())
}

/// A device with its codes.
struct Device {
    auth: Portcullis,
    client: &'static str,
    started: StartedDeviceLogin,
}

impl Device {
    async fn start(auth: &Portcullis, client: &'static str) -> Self {
        let started =
            auth.device_login().start(client).begin(&from(SOFA)).await.expect("it starts");
        Self { auth: auth.clone(), client, started }
    }

    async fn asking(auth: &Portcullis, client: &'static str, scope: &str) -> Self {
        let started = auth.device_login().start(client).scope(scope).begin(&from(SOFA)).await;
        Self { auth: auth.clone(), client, started: started.expect("it starts") }
    }

    fn code(&self) -> &str {
        self.started.user_code()
    }

    async fn poll(&self) -> Result<DeviceToken, DeviceTokenError> {
        self.poll_as(self.client).await
    }

    async fn poll_as(&self, client: &str) -> Result<DeviceToken, DeviceTokenError> {
        self.auth.device_login().poll(client, self.started.device_code()).send(&from(SOFA)).await
    }

    async fn poll_with(&self, digits: &str) -> Result<DeviceToken, DeviceTokenError> {
        let poll = self.auth.device_login().poll(self.client, self.started.device_code());
        poll.confirmation(digits).send(&from(SOFA)).await
    }
}

/// A person with a session that has a recent password.
pub(crate) struct Person {
    auth: Portcullis,
    owner: AccountOwner<Devices>,
    client: ClientInfo,
}

impl Person {
    pub(crate) async fn of(auth: &Portcullis, account: &Account) -> Self {
        let start = auth.sessions().start(account, &from(HOME)).factor(Factor::Password);
        Self::with(auth, &cookie_of(&start.await.expect("a session"))).await
    }

    pub(crate) async fn with(auth: &Portcullis, cookie: &str) -> Self {
        let identity: Identity = extracted(auth, cookie).await;
        let owner = identity.owner().expect("it may decide");
        Self { auth: auth.clone(), owner, client: from(HOME) }
    }

    async fn look(&self, code: &str) -> Result<DeviceRequest, DeviceLoginError> {
        self.auth.device_login().look(&self.owner, code, &self.client).await
    }

    pub(crate) async fn view(&self, code: &str) -> String {
        self.look(code).await.expect("it is shown").view().unwrap_or_default().to_owned()
    }

    async fn approve(&self, device: &Device) -> Result<Option<String>, DeviceLoginError> {
        let view = self.view(device.code()).await;
        self.approve_seen(device.code(), &view, None).await
    }

    async fn narrow(
        &self,
        device: &Device,
        to: &[&str],
    ) -> Result<Option<String>, DeviceLoginError> {
        let view = self.view(device.code()).await;
        self.approve_seen(device.code(), &view, Some(to)).await
    }

    pub(crate) async fn approve_seen(
        &self,
        code: &str,
        view: &str,
        to: Option<&[&str]>,
    ) -> Result<Option<String>, DeviceLoginError> {
        let to: Option<Vec<String>> = to.map(|to| to.iter().map(|&one| one.to_owned()).collect());
        let flow = self.auth.device_login();
        let approved = flow.approve(&self.owner, code, view, to.as_deref(), &self.client).await?;
        Ok(approved.digits().map(str::to_owned))
    }

    async fn deny(&self, device: &Device) -> Result<(), DeviceLoginError> {
        let view = self.view(device.code()).await;
        self.auth.device_login().deny(&self.owner, device.code(), &view, &self.client).await
    }
}

/// The token of a device of this client that this account has signed in.
pub(crate) async fn token_for(
    auth: &Portcullis,
    account: &Account,
    client: &'static str,
) -> String {
    let (person, device) = (Person::of(auth, account).await, Device::start(auth, client).await);
    person.approve(&device).await.expect("it is approved");
    device.poll().await.expect("a token").token().to_owned()
}

/// The code of a refusal.
fn code<T, E: Problem>(result: Result<T, E>) -> &'static str {
    result.err().expect("it is refused").code()
}

async fn state(probe: &Probe, device: &Device) -> i64 {
    let id = device.started.request_id().to_string().replace('-', "");
    let hex = match probe.database.backend {
        crate::support::Backend::Postgres => "REPLACE(id::text, '-', '')".to_owned(),
        _ => "LOWER(HEX(id))".to_owned(),
    };
    probe
        .number(&format!(
            "SELECT CAST(state AS {}) FROM auth_device_request WHERE {hex} = '{id}'",
            big(probe)
        ))
        .await
}

fn big(probe: &Probe) -> &'static str {
    match probe.database.backend {
        crate::support::Backend::MySql => "SIGNED",
        _ => "BIGINT",
    }
}

async fn events(probe: &Probe) -> Vec<String> {
    let query = "SELECT kind FROM auth_event WHERE kind LIKE 'device_%' ORDER BY kind";
    probe.texts(query).await
}

/// The requests of the device's session, as a client with its token makes them.
async fn with_token(auth: &Portcullis, token: &str, path: &str) -> u16 {
    let browser = Browser::new(serve(app(auth)).await);
    let request = browser.raw(reqwest::Method::GET, path).bearer_auth(token);
    crate::support::browser::send(request).await.status
}

/// A change of the configuration, and the setting that is then refused.
type Change = (&'static str, fn(&mut Config), fn(&mut Config));

#[test]
fn a_configuration_with_which_no_device_could_sign_in_is_refused() {
    fn one(config: &mut Config) -> &mut DeviceClient {
        &mut config.device_login.clients[0]
    }
    let table: [Change; 21] = [
        ("device_login.clients", |c| c.service.bearer = false, |_| {}),
        ("device_login.clients", |c| c.service.public_url = None, |_| {}),
        ("device_login.clients", |c| one(c).id = String::new(), |c| one(c).id = "x".repeat(64)),
        ("device_login.clients", |c| one(c).id = "x".repeat(65), |c| one(c).id = "A-1_2.3".into()),
        ("device_login.clients", |c| one(c).id = "a b".into(), |_| {}),
        ("device_login.clients", |c| one(c).id = "cli".into(), |_| {}),
        ("device_login.clients", |c| one(c).name = " ".into(), |c| one(c).name = "TV".into()),
        ("device_login.clients", |c| one(c).name = "a\nb".into(), |c| one(c).name = "é".into()),
        ("device_login.clients", |c| one(c).ceiling.clear(), |_| {}),
        (
            "device_login.clients",
            |c| one(c).ceiling.push("a b".into()),
            |c| one(c).ceiling.push("a:b".into()),
        ),
        (
            "device_login.clients",
            |c| one(c).session_lifetime = 59 * SECOND,
            |c| one(c).session_lifetime = MINUTE,
        ),
        (
            "device_login.clients",
            |c| one(c).session_lifetime = 401 * DAY,
            |c| one(c).session_lifetime = 400 * DAY,
        ),
        (
            "device_login.page",
            |c| c.device_login.page = "https://evil.example".into(),
            |c| c.device_login.page = "/tv".into(),
        ),
        ("device_login.page", |c| c.device_login.page = "/tv?a=b".into(), |_| {}),
        ("device_login.routes_at", |c| c.device_login.routes_at = "auth".into(), |_| {}),
        (
            "device_login.lifetime",
            |c| c.device_login.lifetime = 59 * SECOND,
            |c| c.device_login.lifetime = MINUTE,
        ),
        (
            "device_login.lifetime",
            |c| c.device_login.lifetime = 31 * MINUTE,
            |c| c.device_login.lifetime = 30 * MINUTE,
        ),
        (
            "device_login.interval",
            |c| c.device_login.interval = 61 * SECOND,
            |c| c.device_login.interval = SECOND,
        ),
        (
            "device_login.redeem_within",
            |c| c.device_login.redeem_within = 9 * SECOND,
            |c| c.device_login.redeem_within = 10 * SECOND,
        ),
        (
            "device_login.redeem_within",
            |c| c.device_login.interval = MINUTE + SECOND / 2,
            |c| c.device_login.interval = MINUTE,
        ),
        (
            "device_login",
            |c| c.device_login.wrong_codes.count = 0,
            |c| c.device_login.wrong_codes.count = 1,
        ),
    ];
    let build = |change: fn(&mut Config)| {
        let builder = Portcullis::builder(sea_orm::DatabaseConnection::default());
        builder.secret(Secret::generate()).configure(clients).configure(change).build()
    };
    for (knob, wrong, right) in table {
        let errors = build(wrong).err().unwrap_or_else(|| panic!("{knob} is accepted"));
        assert!(errors.to_string().contains(&format!("- {knob}: ")), "{knob}: {errors}");
        assert!(build(right).is_ok(), "{knob}");
    }
    assert!(
        std::panic::catch_unwind(|| {
            let auth =
                build(|config| one(config).ceiling = vec!["a::b".to_owned()]).expect("built");
            let _routes: axum::Router = portcullis::device_login::routes(&auth);
        })
        .is_err()
    );
}

async fn alice(probe: &Probe) -> Account {
    let account =
        portcullis::account::NewAccount::username("alice").with_email("alice@example.com");
    let account = account.verified();
    probe.auth.registration().create(account, crate::support::PASSWORD).await.expect("it is made")
}

on_every_database! {
    async fn a_person_signs_in_a_device(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let person = Person::of(&auth, &account).await;
        let before = probe.dump("auth_account").await;
        let start = auth.device_login().start("tv").device_name("Living room").message("Film night");
        let (started, cost) = probe.statements(start.begin(&from(SOFA))).await;
        let device = Device { auth: auth.clone(), client: "tv", started: started.expect("it starts") };
        assert_eq!(cost, 2, "the row and the event");
        let started = &device.started;
        assert_eq!(started.verification_uri(), "https://example.com/device");
        let complete = format!("https://example.com/device?user_code={}", started.user_code());
        assert_eq!(started.verification_uri_complete(), complete);
        assert_eq!((started.expires_in(), started.interval()), (10 * MINUTE, 5 * SECOND));
        assert!(!started.confirms());
        assert_eq!(started.phrase().split(' ').count(), 3);

        let (result, cost) = probe.statements(device.poll()).await;
        assert_eq!((code(result), cost), ("authorization_pending", 1));
        // What is shown, and what of it is a claim.
        let typed = started.user_code().to_lowercase().replace('-', " ");
        let (request, cost) = probe.statements(person.look(&typed)).await;
        assert_eq!(cost, 1, "looking writes nothing");
        let request = request.expect("it is shown");
        assert_eq!((request.state, &*request.client_name), (State::Pending, "The TV"));
        assert_eq!(request.phrase, started.phrase());
        assert_eq!(request.claimed_name.as_deref(), Some("Living room"));
        assert_eq!(request.claimed_message.as_deref(), Some("Film night"));
        assert_eq!(request.address.map(|address| address.to_string()).as_deref(), Some(SOFA));
        assert_eq!(request.permissions, ["film:watch", "doc:read"]);
        assert_eq!(request.networks.as_str(), "same");
        assert_eq!(request.created_at, probe.auth_now());

        let view = person.view(started.user_code()).await;
        let approve = person.approve_seen(started.user_code(), &view, None);
        let (approved, cost) = probe.statements(approve).await;
        assert_eq!(approved.expect("it is approved"), None, "no digits");
        assert_eq!(cost, 1 + 2 + 5, "find; is it locked; lock, account, session, row, event");
        probe.clock.advance(5 * SECOND);
        let (token, cost) = probe.statements(device.poll()).await;
        let token = token.expect("it is signed in");
        assert_eq!(cost, 1 + 2 + 8, "find; is it locked; the session with its event and its mail");
        assert_eq!((token.account_id(), token.scope()), (account.id(), None));
        assert_eq!(with_token(&auth, token.token(), "/me").await, 200);
        assert_eq!(with_token(&auth, token.token(), "/docs/7").await, 403, "alice may not");

        // The session: no factor, the ceiling, the lifetime of its client, and who has approved it.
        let query = "SELECT factors FROM auth_session WHERE ceiling = 'film:watch doc:read'";
        assert_eq!(probe.text(query).await.as_deref(), Some(""));
        let listed = auth.sessions().list(&account).await.expect("a list");
        let listed = listed.iter().find(|one| one.id == token.session_id()).expect("it is listed");
        assert_eq!(listed.approved_in, Some(person.owner.session().id()));
        assert_eq!(listed.expires_at, probe.auth_now().plus(10 * DAY));
        // It is no sign-in of the account.
        assert_eq!(probe.dump("auth_account").await, before);
        let mail = probe.mail().await;
        let mail: Vec<_> = mail.iter().filter(|mail| mail.kind == MessageKind::DeviceLogin).collect();
        assert_eq!(mail.len(), 1);
        assert_eq!(mail[0].to.as_str(), "alice@example.com");
        assert_eq!((mail[0].value("client"), mail[0].value("address")), (Some("The TV"), Some(SOFA)));
        let told = ["device_login_approved", "device_login_requested", "device_login_success"];
        assert_eq!(events(&probe).await, told);
        // Times and people survive a reload, on another node too.
        let other = probe.rebuilt(|builder| builder.configure(clients));
        let seen = Person { auth: other, ..person };
        let request = seen.look(device.code()).await.expect("it is shown");
        assert_eq!(request.state, State::Redeemed);
        assert_eq!(request.decided_in, Some(seen.owner.session().id()));
        assert_eq!(request.session_id, Some(token.session_id()));
        assert!(request.decided_at < request.redeemed_at);
    }

    async fn a_lost_answer_is_given_again_for_thirty_seconds(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let person = Person::of(&auth, &alice(&probe).await).await;
        let marks = probe.rebuilt(|builder| builder.configure(|config| {
            clients(config);
            config.device_login.on_reuse = DeviceCodeReuse::MarkSuspicious;
        }));
        let device = Device::start(&auth, "tv").await;
        person.approve(&device).await.expect("it is approved");
        let first = device.poll().await.expect("a token");
        let sessions = probe.number("SELECT COUNT(*) FROM auth_session").await;
        for (wait, node) in [(0, &auth), (15, &marks), (14, &auth)] {
            probe.clock.advance(wait * SECOND);
            let poll = node.device_login().poll("tv", device.started.device_code());
            let again = poll.send(&from(SOFA)).await.expect("again");
            assert_eq!(again.session_id(), first.session_id());
            assert_eq!(with_token(&auth, again.token(), "/me").await, 200);
        }
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_session").await, sessions);
        probe.clock.advance(SECOND);
        assert_eq!(code(device.poll().await), "invalid_grant");
        assert_eq!(with_token(&auth, first.token(), "/me").await, 200, "the default only refuses");
        let poll = marks.device_login().poll("tv", device.started.device_code());
        assert_eq!(code(poll.send(&from(ABROAD)).await), "invalid_grant");
        assert_eq!(with_token(&auth, first.token(), "/me").await, 401);
        // A session that was signed out does not come back with the code.
        let device = Device::start(&auth, "tv").await;
        person.approve(&device).await.expect("it is approved");
        let token = device.poll().await.expect("a token");
        let _out = auth.sessions().end(token.session_id()).await.expect("it ends");
        assert_eq!(code(device.poll().await), "invalid_grant");
    }

    async fn only_the_client_that_asked_gets_an_answer(probe: Probe) {
        let probe = probe.configured(clients);
        let person = Person::of(&probe.auth, &alice(&probe).await).await;
        let device = Device::start(&probe.auth, "tv").await;
        person.approve(&device).await.expect("it is approved");
        for (client, refusal, costs) in [("cli", "invalid_grant", 1), ("nobody", "invalid_client", 0), ("TV", "invalid_client", 0), ("", "invalid_client", 0)] {
            let (result, cost) = probe.statements(device.poll_as(client)).await;
            assert_eq!((code(result), cost), (refusal, costs), "{client}");
        }
        let end = probe.auth.device_login();
        assert_eq!(code(end.end("cli", device.started.device_code(), &from(SOFA)).await), "invalid_grant");
        // What is no code of a device costs nothing, the digest in the table is no code, and neither is
        // the code of the person.
        let digest = probe.hex_dump("auth_device_request").await;
        let digest = digest.iter().find(|value| value.len() == 64).expect("a digest").clone();
        let code_of_person = device.code().to_owned();
        for wrong in ["", "x", &code_of_person, &"A".repeat(42), &"A".repeat(100_000), &digest, "ü"] {
            let poll = probe.auth.device_login().poll("tv", wrong);
            let (result, cost) = probe.statements(poll.send(&from(SOFA))).await;
            assert_eq!((code(result), cost), ("invalid_grant", 0), "{wrong:.50}");
        }
        let unknown = "A".repeat(43);
        let (result, cost) = probe.statements(probe.auth.device_login().poll("tv", unknown).send(&from(SOFA))).await;
        assert_eq!((code(result), cost), ("invalid_grant", 1));
        // All of this used nothing up.
        assert!(device.poll().await.is_ok());
        // The table has neither code.
        let (long, short) = (device.started.device_code().to_owned(), device.code().to_owned());
        for text in [long.clone(), short.clone(), short.replace('-', "")] {
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            for table in crate::support::database::TABLES {
                let dump = probe.hex_dump(table).await;
                assert!(!dump.iter().any(|value| value.contains(&hex)), "{table} has {text}");
            }
        }
    }

    async fn a_device_that_waits_writes_nothing_and_one_that_hurries_waits_longer(probe: Probe) {
        let probe = probe.configured(clients);
        let device = Device::start(&probe.auth, "tv").await;
        let other = Device::start(&probe.auth, "tv").await;
        let before = probe.dump("auth_device_request").await;
        assert_eq!(code(device.poll().await), "authorization_pending");
        probe.clock.advance(4 * SECOND);
        let (result, cost) = probe.statements(device.poll()).await;
        assert_eq!((code(result), cost), ("slow_down", 0));
        assert_eq!(code(other.poll().await), "authorization_pending", "another device");
        assert_eq!(code(device.poll_as("cli").await), "invalid_grant", "nor another client");
        probe.clock.advance(9 * SECOND);
        assert_eq!(code(device.poll().await), "slow_down", "ten seconds now");
        probe.clock.advance(15 * SECOND);
        assert_eq!(code(device.poll().await), "authorization_pending");
        assert_eq!(probe.dump("auth_device_request").await, before);
    }

    async fn a_scope_is_narrowed_and_never_widened(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let person = Person::of(&auth, &account).await;
        for scope in ["film:watch doc:edit", "*", "doc:*", "doc:read,edit", "doc", "doc:read ", " ", "auth-account:manage"] {
            let start = auth.device_login().start("tv").scope(scope);
            assert_eq!(code(start.begin(&from(SOFA)).await), "invalid_scope", "{scope:?}");
        }
        let device = Device::asking(&auth, "tv", "doc:read:7 film:watch").await;
        let wide: [&[&str]; 7] = [&["doc:read"], &["doc:read:8"], &["film:watch", "doc:edit:7"], &["*"], &["film:*"], &[], &["film:watch", ""]];
        for wide in wide {
            assert_eq!(code(person.narrow(&device, wide).await), "device_scope_refused", "{wide:?}");
        }
        person.narrow(&device, &["doc:read:7"]).await.expect("it is narrower");
        let token = device.poll().await.expect("a token");
        assert_eq!(token.scope(), Some("doc:read:7"));
        // The account gets the right, and loses it.
        let read = Permission::parse("doc:read").expect("a permission");
        let admin = Permission::parse("admin:read").expect("a permission");
        auth.permissions().grant(account.id(), &admin).await.expect("it is granted");
        assert_eq!(with_token(&auth, token.token(), "/docs/7").await, 403);
        auth.permissions().grant(account.id(), &read).await.expect("it is granted");
        assert_eq!(with_token(&auth, token.token(), "/docs/7").await, 200);
        assert_eq!(with_token(&auth, token.token(), "/docs/8").await, 403, "above the ceiling");
        assert_eq!(with_token(&auth, token.token(), "/admin").await, 403, "above the ceiling");
        auth.permissions().revoke(account.id(), &read).await.expect("it is revoked");
        assert_eq!(with_token(&auth, token.token(), "/docs/7").await, 403);
        // All that was asked for needs no scope in the answer.
        let device = Device::asking(&auth, "tv", "film:watch").await;
        person.approve(&device).await.expect("it is approved");
        assert_eq!(device.poll().await.expect("a token").scope(), None);
        // The ceiling of the client is lower when the device comes.
        let device = Device::asking(&auth, "tv", "film:watch doc:read").await;
        person.approve(&device).await.expect("it is approved");
        let lower = |ceiling: &'static str| probe.rebuilt(|builder| builder.configure(|config| {
            clients(config);
            config.device_login.clients[0].ceiling = vec![ceiling.to_owned()];
        }));
        let poll = lower("film:watch").device_login().poll("tv", device.started.device_code()).send(&from(SOFA)).await;
        assert_eq!(poll.expect("a token").scope(), Some("film:watch"));
        let device = Device::asking(&auth, "tv", "doc:read").await;
        person.approve(&device).await.expect("it is approved");
        let poll = lower("film:watch").device_login().poll("tv", device.started.device_code()).send(&from(SOFA)).await;
        assert_eq!(code(poll), "access_denied", "nothing is left");
    }

    async fn a_confirmation_has_two_digits_and_three_attempts(probe: Probe) {
        let probe = probe.configured(clients);
        let auth = probe.auth.clone();
        let person = Person::of(&auth, &alice(&probe).await).await;
        let next = async |device: &Device, digits: Option<&str>| {
            probe.clock.advance(5 * SECOND);
            match digits {
                Some(digits) => device.poll_with(digits).await,
                None => device.poll().await,
            }
        };
        let device = Device::start(&auth, "lock").await;
        assert!(device.started.confirms());
        let digits = person.approve(&device).await.expect("it is approved").expect("two digits");
        assert!(digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{digits}");
        let wrong = if digits == "00" { "01" } else { "00" };
        // Without digits no attempt is used up.
        for _ in 0..4 {
            assert_eq!(code(next(&device, None).await), "confirmation_required");
        }
        assert_eq!(code(next(&device, Some(wrong)).await), "confirmation_required");
        assert_eq!(code(next(&device, Some(&format!("{digits} "))).await), "confirmation_required");
        assert!(next(&device, Some(&digits)).await.is_ok(), "the third attempt");
        // Three wrong ones end it.
        let device = Device::start(&auth, "lock").await;
        let digits = person.approve(&device).await.expect("it is approved").expect("two digits");
        for wrong in ["", "100", "x"] {
            assert_eq!(code(next(&device, Some(wrong)).await), "confirmation_required");
        }
        assert_eq!(code(next(&device, Some(&digits)).await), "access_denied");
        assert_eq!(state(&probe, &device).await, 3);
        // A client without it ignores digits.
        let device = Device::start(&auth, "tv").await;
        assert_eq!(person.approve(&device).await.expect("it is approved"), None);
        assert!(device.poll_with("77").await.is_ok());
    }

    async fn starts_and_wrong_codes_are_limited(probe: Probe) {
        let probe = probe.configured(|config| {
            clients(config);
            config.device_login.starts_per_source = Config::default().device_login.starts_per_source;
        });
        let auth = probe.auth.clone();
        let device = Device::start(&auth, "tv").await;
        let account = alice(&probe).await;
        for number in 1..10 {
            let other = Device::start(&auth, "tv").await;
            if number == 5 {
                // Success resets no count. Otherwise one account would be enough to start without a limit.
                Person::of(&auth, &account).await.approve(&other).await.expect("it is approved");
                let _token = other.poll().await.expect("a token");
            }
        }
        assert_eq!(code(auth.device_login().start("tv").begin(&from(SOFA)).await), "rate_limited");
        assert!(auth.device_login().start("tv").begin(&from(ABROAD)).await.is_ok(), "another source");
        // Wrong codes: of an account from many sources, and of a source with many accounts.
        let mut person = Person::of(&auth, &account).await;
        for number in 0..10 {
            person.client = from(&format!("203.0.113.{number}"));
            assert_eq!(code(person.look("BCDF-GHJK").await), "device_request_not_found");
            // A right one counts nothing, and takes nothing back.
            if number < 9 {
                person.look(device.code()).await.expect("it is shown");
            }
        }
        person.client = from(ABROAD);
        assert_eq!(code(person.look("BCDF-GHJK").await), "rate_limited");
        assert_eq!(code(person.look(device.code()).await), "rate_limited", "the right one too");
        for number in 0..10 {
            let bob = probe.register(&format!("bob{number}")).await;
            let bob = Person { client: from("203.0.113.200"), ..Person::of(&auth, &bob).await };
            assert_eq!(code(bob.look("no code").await), "device_request_not_found");
            if number < 9 {
                bob.look(device.code()).await.expect("it is shown, and takes nothing back");
            }
        }
        let carol = Person::of(&auth, &probe.register("carol").await).await;
        let there = Person { client: from("203.0.113.200"), ..Person::with_owner(&carol) };
        assert_eq!(code(there.look(device.code()).await), "rate_limited");
        carol.look(device.code()).await.expect("from elsewhere");
        probe.clock.advance(MINUTE);
        there.look(device.code()).await.expect("one a minute comes back");
    }

    async fn a_code_that_is_taken_is_drawn_again(probe: Probe) {
        let probe = probe.configured(clients);
        let first = Device::start(&probe.auth, "tv").await;
        let start = probe.auth.device_login().start("tv").drawing([first.code(), first.code(), "BCDF-GHJK"]);
        let second = start.begin(&from(SOFA)).await.expect("it starts");
        assert_eq!(second.user_code(), "BCDF-GHJK");
        let start = probe.auth.device_login().start("tv").drawing([first.code(); 5]);
        assert_eq!(code(start.begin(&from(SOFA)).await), "unavailable");
        assert_eq!(probe.number("SELECT COUNT(*) FROM auth_device_request").await, 2);
    }

    async fn a_new_secret_and_another_clock_do_not_end_a_request(probe: Probe) {
        let probe = probe.configured(clients);
        let account = alice(&probe).await;
        let device = Device::start(&probe.auth, "tv").await;
        let newer = Secret::generate();
        let node = |clock: MockClock| {
            let builder = crate::support::probe::builder(probe.db.clone(), &clock, &probe.notifier);
            let secrets = vec![newer.clone(), probe.secret.clone()];
            builder.configure(|config| {
                clients(config);
                config.keys.secrets = secrets;
            }).build().expect("it is right")
        };
        let rotated = node(probe.clock.clone());
        let person = Person::of(&rotated, &account).await;
        person.approve(&device).await.expect("it is approved");
        let first = device.poll().await.expect("a token from the old node");
        let poll = rotated.device_login().poll("tv", device.started.device_code());
        let again = poll.send(&from(SOFA)).await.expect("a token from the new node");
        assert_eq!(again.session_id(), first.session_id());
        assert_eq!(with_token(&rotated, again.token(), "/me").await, 200);
        // A node whose clock is behind gives the token out, and does not think that it is old.
        let device = Device::start(&rotated, "tv").await;
        person.approve(&device).await.expect("it is approved");
        let late = node(MockClock::at(probe.auth_now().minus(30 * SECOND)));
        let poll = late.device_login().poll("tv", device.started.device_code());
        assert!(poll.send(&from(SOFA)).await.is_ok());
        // Another service has other keys.
        let other = probe.rebuilt(|builder| builder.configure(clients).configure(|config| config.keys.secrets = vec![Secret::generate()]));
        let device = Device::start(&rotated, "tv").await;
        let poll = other.device_login().poll("tv", device.started.device_code());
        assert_eq!(code(poll.send(&from(SOFA)).await), "invalid_grant");
    }

    async fn a_session_that_fits_no_more_is_refused_and_the_approval_stays(probe: Probe) {
        use portcullis::config::AtLimit;
        let probe = probe.configured(|config| {
            clients(config);
            config.session.max_per_account = Some(1);
            config.session.at_limit = AtLimit::Refuse;
        });
        let account = alice(&probe).await;
        let person = Person::of(&probe.auth, &account).await;
        let device = Device::start(&probe.auth, "tv").await;
        person.approve(&device).await.expect("it is approved");
        assert_eq!(code(device.poll().await), "session_limit");
        assert_eq!(state(&probe, &device).await, 1);
        let more = probe.rebuilt(|builder| builder.configure(clients));
        let poll = more.device_login().poll("tv", device.started.device_code());
        assert!(poll.send(&from(SOFA)).await.is_ok());
    }

}

impl Person {
    /// The same person, to change where they are.
    fn with_owner(other: &Self) -> Self {
        Self { auth: other.auth.clone(), owner: other.owner.clone(), client: other.client.clone() }
    }
}
