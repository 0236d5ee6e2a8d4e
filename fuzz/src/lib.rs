//! The checks of the fuzz targets. The integration tests run the same checks on random input
//! (`tests/it/fuzz.rs`), so every test run keeps them correct.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};
use portcullis::account::NewAccount;
use portcullis::base::clock::MockClock;
use portcullis::login::{Credentials, LoginOutcome};
use portcullis::{Account, ClientInfo, Permission, PermissionSet, Portcullis, Secret, Transport};
use portcullis_migration::{Migrator, MigratorTrait};

/// The start of a `Cookie` pair of portcullis.
pub const START: &str = "__Host-session=";

/// An instance, one valid session token and one valid device token.
pub struct World {
    auth: Portcullis,
    /// The valid token of a visitor's session.
    pub token: String,
    /// The account that knows the device.
    account: Account,
    /// The device token of that account.
    pub device: String,
}

impl World {
    /// Builds an instance on a database in memory, with one visitor and one account that is signed
    /// in.
    pub async fn new() -> Self {
        let mut options = sea_orm::ConnectOptions::new("sqlite::memory:");
        options.max_connections(1).sqlx_logging(false);
        let db = sea_orm::Database::connect(options).await.expect("a database in memory");
        Migrator::up(&db, None).await.expect("the migrations run");
        let auth = Portcullis::builder(db)
            .secret(Secret::generate())
            .clock(MockClock::default())
            .configure(|config| {
                config.password.danger_cheap_hashing = true;
                config.service.bearer = true;
            })
            .build()
            .expect("the configuration is right");
        let visitor = auth.sessions().start_anonymous(&ClientInfo::default());
        let issued = visitor.transport(Transport::Bearer).await.expect("a session starts");
        let token = issued.token().expect("a bearer token is shown").to_owned();
        let password = "correct horse battery staple";
        let account = auth.registration().create(NewAccount::username("alice"), password).await;
        let account = account.expect("an account");
        let credentials = Credentials::password("alice", password).transport(Transport::Bearer);
        let outcome = auth.login().with_password(credentials, &ClientInfo::default()).await;
        let Ok(LoginOutcome::Session(issued)) = outcome else { panic!("{outcome:?}") };
        let device = issued.device_token().expect("a device token is shown").to_owned();
        Self { auth, token, account, device }
    }

    fn reads(&self, headers: &HeaderMap) -> bool {
        self.auth.peek(headers).is_some()
    }
}

/// Checks that a token is accepted only if it is the signed one, byte for byte.
pub fn token(world: &World, value: &[u8]) {
    // These bytes end or surround the value of a cookie. `cookie_header` tests them.
    if value.iter().any(|byte| b"; \t".contains(byte)) {
        return;
    }
    let Ok(line) = HeaderValue::from_bytes(&[START.as_bytes(), value].concat()) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(COOKIE, line);
    assert_eq!(world.reads(&headers), value == world.token.as_bytes(), "{headers:?}");
}

/// Checks that a device is known only if it shows the signed token, byte for byte. A device token
/// is no session token, and a session token is no device token.
pub fn device_token(world: &World, value: &[u8]) {
    let Ok(text) = std::str::from_utf8(value) else { return };
    let client = ClientInfo::default().with_device_token(text);
    let known = world.auth.sessions().knows_device(&world.account, &client);
    assert_eq!(known, text == world.device, "{text}");
    if text == world.device {
        token(world, value);
    }
}

/// Checks that a cookie is accepted only if exactly one pair in all `Cookie` headers has the exact
/// name and the valid token. Other pairs with the same name do not matter. In the input, line feeds
/// separate the header lines, byte 1 means the valid token, and byte 2 means the name and its `=`.
pub fn cookie_header(world: &World, input: &[u8]) {
    let mut headers = HeaderMap::new();
    let mut values = Vec::new();
    for line in input.split(|byte| *byte == b'\n') {
        let mut written = Vec::new();
        for byte in line {
            match byte {
                1 => written.extend_from_slice(world.token.as_bytes()),
                2 => written.extend_from_slice(START.as_bytes()),
                byte => written.push(*byte),
            }
        }
        let Ok(value) = HeaderValue::from_bytes(&written) else { return };
        headers.append(COOKIE, value);
        let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
        for pair in written.split(|byte| *byte == b';') {
            let from = pair.iter().position(|byte| !blank(byte)).unwrap_or(pair.len());
            let to = pair.iter().rposition(|byte| !blank(byte)).map_or(from, |at| at + 1);
            if let Some(value) = pair[from..to].strip_prefix(START.as_bytes()) {
                values.push(value.to_vec());
            }
        }
    }
    // At most eight signatures are verified per request, so more cookies are not compared here.
    if values.len() > 8 {
        return;
    }
    let good = values.iter().filter(|value| *value == world.token.as_bytes()).count();
    let expected = good == 1;
    assert_eq!(world.reads(&headers), expected, "{headers:?}");
}

/// Checks that an attestation object has one form: nothing is missing in it, and nothing follows.
pub fn attestation(object: &[u8]) {
    use portcullis::test_kit::reads_attestation;

    if reads_attestation(object) {
        assert!(!reads_attestation(&[object, &[0]].concat()), "something follows");
        for at in 0..object.len() {
            assert!(!reads_attestation(&object[..at]), "it is cut at {at}");
        }
    }
}

/// Checks that nothing that a provider sends without a signature counts, and that nothing panics.
pub fn provider(answer: &[u8]) {
    portcullis::test_kit::reads_provider(answer);
}

/// Checks up to three permissions, one per line. A permission that parses is printed as it was
/// written. It implies itself and every narrower permission, and implication is transitive.
pub fn permission(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let parsed: Vec<Permission> = text
        .split('\n')
        .take(3)
        .filter_map(|line| {
            let permission = Permission::parse(line).ok()?;
            assert_eq!(permission.as_str(), line);
            assert!(line.len() <= Permission::MAX_BYTES);
            assert!(!line.split([':', ',']).any(str::is_empty), "{line}");
            Some(permission)
        })
        .collect();
    for one in &parsed {
        let again = Permission::parse(&one.to_string()).expect("what was printed parses");
        assert_eq!(*one, again);
        assert!(one.implies(one) && one.covers(one), "{one}");
        if let Ok(below) = one.on("42") {
            assert!(one.implies(&below), "{one} and {below}");
        }
        assert!(one.on("*").is_err() && one.on("a,b").is_err() && one.on("a:b").is_err());
        let set: PermissionSet = [one.clone()].into_iter().collect();
        for other in &parsed {
            let Ok(atoms) = other.atoms() else { continue };
            if one.implies(other) {
                assert!(set.allows(&atoms), "{one} and {other}");
            }
        }
    }
    if let [a, b, c] = &*parsed
        && a.implies(b)
        && b.implies(c)
    {
        assert!(a.implies(c), "{a}, {b}, {c}");
    }
}
