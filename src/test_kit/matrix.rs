//! The access matrix: every guarded route, requested by every kind of client.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use axum_core::body::Body;
use http::{Method, Request, Response, StatusCode};
use tower_service::Service;

use super::{TestAnswer, TestClient, TestKit, snapshot};
use crate::account::{Account, NewAccount};
use crate::base::clock::Timestamp;
use crate::base::factor::{Factor, PassedFactors};
use crate::base::problem::Rejection;
use crate::base::secret::random_array;
use crate::guard::route_table::GuardedRoute;
use crate::guard::shape::{Methods, Piece, parameters, pieces};
use crate::guard::stop::{Ask, Reached};
use crate::session::Stage;

/// A text table of which account may call which route, with which factors.
///
/// Equal columns are written as one, so it stays readable with many roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessMatrix {
    text: String,
}

impl AccessMatrix {
    /// Compares the matrix with a file, relative to the folder of the package. With
    /// `PORTCULLIS_TEST_UPDATE=1` in the environment it writes the file instead.
    ///
    /// # Panics
    /// If they differ, with the lines that differ; if the file does not exist.
    #[track_caller]
    pub fn check(&self, path: impl AsRef<Path>) {
        snapshot::check(&self.text, path.as_ref());
    }
}

impl fmt::Display for AccessMatrix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TestKit<'_> {
    /// Requests every route of the guarded router in `app` with every kind of client: nobody, a
    /// visitor, sign-ins that are not finished, an account without a role, one with each role, and
    /// a superuser. The last three are repeated with no factor, with each factor fresh and old, and
    /// with all of them.
    ///
    /// The requests and sessions are real and go through all layers and guards of the application,
    /// but no handler runs. An extractor in a handler's signature is part of the handler. So its
    /// refusals are not in the table. The routes of portcullis are listed separately, with what they
    /// say about their callers, and so are routes behind `danger_unguarded`. A route on an instance
    /// is requested for one that no role names, and for each one that a role names.
    ///
    /// The columns are people. A route that accepts only [API keys](crate::api_key) says so in its access, and is
    /// closed for each of them.
    ///
    /// It creates an account for each role. An account that must have a
    /// [second factor](crate::second_factor#roles-that-require-a-factor) gets the weakest one that is
    /// enough, so its column does not only say that it must set one up. Use a separate database for
    /// this test, which contains the roles of your service.
    ///
    /// ```no_run
    /// # async fn example(auth: portcullis::Portcullis, app: axum::Router) {
    /// auth.test().matrix(&app).await.check("tests/access.txt");
    /// # }
    /// ```
    ///
    /// # Panics
    /// If the application does not have the routes that it recorded, for example because its router
    /// was nested in a plain one; if the database fails.
    pub async fn matrix<A, R>(&self, app: &A) -> AccessMatrix
    where
        A: Service<Request<Body>, Response = Response<R>> + Clone,
        A::Error: fmt::Debug,
        R: http_body::Body,
        R::Error: fmt::Debug,
    {
        let (rows, others) = self.rows().await;
        assert!(!rows.is_empty(), "no guarded router with routes was finished with this instance");
        let mut columns: Vec<Column> = Vec::new();
        for person in self.people().await {
            for (at, client) in person.states.iter().enumerate() {
                let mut cells = Vec::with_capacity(rows.len());
                for row in &rows {
                    let request = client.request(row.method.clone(), &row.uri);
                    let answer = request.extension(Ask).send(app).await;
                    cells.push(cell(row, &answer));
                }
                client.end().await;
                let column = match columns.iter_mut().find(|column| column.cells == cells) {
                    Some(column) => column,
                    None => {
                        columns.push(Column { cells, who: Vec::new() });
                        columns.last_mut().expect("one was just pushed")
                    }
                };
                match column.who.last_mut() {
                    Some((name, states, _)) if *name == person.name => states.push(at),
                    _ => column.who.push((person.name.clone(), vec![at], person.states.len())),
                }
            }
        }
        AccessMatrix { text: write(&rows, &columns, &others) }
    }

    /// Returns the requests to make, and the routes that are not requested.
    async fn rows(&self) -> (Vec<Row>, Vec<GuardedRoute>) {
        let mut rows = Vec::new();
        let mut others = Vec::new();
        let granted = self.granted_instances().await;
        for route in &self.auth.guarded_routes() {
            if route.access().is_unguarded() || route.access().is_own() {
                others.push(route.clone());
                continue;
            }
            let mut instances = BTreeSet::new();
            if let (Some(requirement), Some(_)) =
                (route.access().requirement(), route.access().parameter())
            {
                let domains = requirement.domains();
                let named = granted.iter().filter(|(domain, _)| domains.contains(domain));
                instances.extend(named.map(|(_, id)| Some(id.clone())));
            }
            instances.insert(None);
            let methods = match route.methods() {
                Methods::Only(methods) => methods.clone(),
                _ => ANY.to_vec(),
            };
            for instance in instances {
                for method in &methods {
                    rows.push(Row::new(route, method, instance.as_deref()));
                }
            }
        }
        (rows, others)
    }

    /// Returns the instances that roles name, each with its domain.
    async fn granted_instances(&self) -> BTreeSet<(String, String)> {
        let roles = self.auth.roles().list().await.expect("the database answers");
        let mut found = BTreeSet::new();
        for permission in roles.iter().flat_map(|role| &role.permissions) {
            let parts: Vec<_> = permission.as_str().split(':').collect();
            let [domains, _, ids, ..] = *parts else { continue };
            for id in ids.split(',').filter(|id| *id != "*") {
                found.extend(domains.split(',').map(|domain| (domain.to_owned(), id.to_owned())));
            }
        }
        found
    }

    async fn people(&self) -> Vec<Person> {
        let config = &self.auth.context().config.factor;
        let unfinished = self.account(None, true).await;
        let mut people = vec![
            Person::alone("nobody", self.nobody()),
            Person::alone("a visitor", self.visitor()),
        ];
        for (stage, missing) in [
            (Stage::PendingSecondFactor, "second factor"),
            (Stage::MustChangePassword, "new password"),
            (Stage::MustEnrol, "enrolment"),
        ] {
            let client = self.login_as(&unfinished).at_stage(stage);
            let name = format!("superuser whose {missing} is missing");
            people.push(Person::alone(&name, client.into_client()));
        }
        people.push(self.person("no role", &self.account(None, false).await));
        for role in self.auth.roles().list().await.expect("the database answers") {
            let mut account = self.account(Some(&role.name), false).await;
            if role.requires_factor {
                account = self.with_second_factor(account).await;
            }
            people.push(self.person(&format!("role {}", role.name), &account));
        }
        let mut superuser = self.account(None, true).await;
        if config.superusers {
            superuser = self.with_second_factor(superuser).await;
        }
        people.push(self.person("superuser", &superuser));
        people
    }

    /// Sets up the weakest second factor that is enough. The account is read again, because this
    /// changes its epoch.
    async fn with_second_factor(&self, account: Account) -> Account {
        let (accounts, least) = (self.auth.accounts(), self.auth.context().config.factor.least);
        accounts.set_enrolled_factors(account.id(), [least]).await.expect("it gets a factor");
        accounts.find(account.id()).await.expect("the database answers").expect("it was just made")
    }

    async fn account(&self, role: Option<&str>, superuser: bool) -> Account {
        let name = data_encoding::HEXLOWER.encode(&random_array::<8>());
        let new = NewAccount::username(format!("matrix-{name}")).verified();
        let new = if superuser { new.superuser() } else { new };
        let account = self.auth.accounts().create(new).await.expect("an account is made");
        if let Some(role) = role {
            self.auth.roles().grant(account.id(), role).await.expect("the role is granted");
        }
        account
    }

    /// Returns an account that is signed in, once for each state of its factors.
    fn person(&self, name: &str, account: &Account) -> Person {
        let now = self.auth.context().now();
        let all = |at: Timestamp| {
            Factor::ALL.iter().fold(PassedFactors::default(), |all, factor| all.with(*factor, at))
        };
        let mut states = vec![PassedFactors::default()];
        // A time in the future counts as just now. So the table does not depend on how long the
        // test takes.
        for at in [now.minus(LONG_AGO), now.plus(AHEAD)] {
            states.extend(Factor::ALL.iter().map(|factor| PassedFactors::one(*factor, at)));
            states.push(all(at));
        }
        let login = self.login_as(account);
        let client = |factors| login.clone().passed(factors).into_client();
        Person { name: name.to_owned(), states: states.into_iter().map(client).collect() }
    }
}

/// A time that is longer than any useful requirement.
const LONG_AGO: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

const AHEAD: Duration = Duration::from_secs(24 * 60 * 60);

/// The methods to request, for a route that accepts every method.
const ANY: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// An instance that no role names.
const NO_ONES: &str = "an-instance-of-the-access-matrix";

struct Person {
    name: String,
    /// One client for each state of factors, in the order of [`state_name`].
    states: Vec<TestClient>,
}

impl Person {
    fn alone(name: &str, client: TestClient) -> Self {
        Self { name: name.to_owned(), states: vec![client] }
    }
}

/// One request to make.
struct Row {
    route: GuardedRoute,
    method: Method,
    uri: String,
    /// The path, with the instance that is requested.
    path: String,
}

impl Row {
    fn new(route: &GuardedRoute, method: &Method, instance: Option<&str>) -> Self {
        let asked = route.access().parameter();
        let mut path = route.path().to_owned();
        let mut uri = String::new();
        for piece in pieces(route.path()) {
            match piece {
                Piece::Text(text) => uri.push_str(&escaped(text, true)),
                Piece::Parameter(name) => {
                    let id = instance.filter(|_| asked == Some(name));
                    uri.push_str(&escaped(id.unwrap_or(NO_ONES), false));
                    if let Some(id) = id {
                        path = path.replace(&format!("{name}}}"), &format!("{name}={id}}}"));
                    }
                }
            }
        }
        Self { route: route.clone(), method: method.clone(), uri, path }
    }
}

/// Escapes a text as a part of a path.
fn escaped(text: &str, slashes: bool) -> String {
    let plain = |byte: u8| {
        byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || slashes && byte == b'/'
    };
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Equal answers, and the clients that got them: a name, its states, and the number of all its
/// states.
struct Column {
    cells: Vec<String>,
    who: Vec<(String, Vec<usize>, usize)>,
}

fn cell(row: &Row, answer: &TestAnswer) -> String {
    let Row { method, uri, route, .. } = row;
    if let Some(Reached(path)) = answer.extensions().get::<Reached>() {
        let fallback = path.is_none() && parameters(route.path()).any(|name| name == "fallback");
        assert!(
            fallback || path.as_deref() == Some(route.path()),
            "`{method} {uri}` of the route `{}` came to the route `{}`",
            route.path(),
            path.as_deref().unwrap_or_default(),
        );
        return "yes".to_owned();
    }
    let status = answer.status();
    let code = answer.rejection().map(|rejection: &Rejection| rejection.problem().code());
    assert!(
        !status.is_server_error(),
        "`{method} {uri}` failed with {status} {}",
        code.unwrap_or_default()
    );
    match code {
        Some("denied") => "no".to_owned(),
        Some("insufficient_user_authentication") => "step up".to_owned(),
        Some("wrong_stage") => "stage".to_owned(),
        Some("action_proof_required") => CONSENT.to_owned(),
        Some(_) if status == StatusCode::UNAUTHORIZED || status.is_redirection() => {
            "sign in".to_owned()
        }
        Some(code) => code.to_owned(),
        None => {
            let not_there = [StatusCode::NOT_FOUND, StatusCode::METHOD_NOT_ALLOWED];
            assert!(
                status.is_client_error() && !not_there.contains(&status),
                "`{method} {uri}` was answered with {status} and asked of no guard: the router is \
                 not in this application, or nested in a plain one, or a layer answered"
            );
            status.as_u16().to_string()
        }
    }
}

const LEGEND: &str = "\
Who may call what, as the guards of the service decided.

yes      may call it
no       403, with any factor
step up  401 until a factor is proved, or proved again
sign in  401 without a session, or until signed in
stage    401 for a session at another stage
";

const LEGEND_OF_FACTORS: &str = "
A fresh factor was passed just now. A stale factor was passed ten years ago.
";

/// The answer to a client that may call the route with a consent to its action. No client of the matrix has
/// one.
const CONSENT: &str = "consent";

const LEGEND_OF_CONSENT: &str = "\
consent  401 until the person consents to this one action
";

fn write(rows: &[Row], columns: &[Column], others: &[GuardedRoute]) -> String {
    let mut text = LEGEND.to_owned();
    if columns.iter().any(|column| column.cells.iter().any(|cell| cell == CONSENT)) {
        text.push_str(LEGEND_OF_CONSENT);
    }
    text.push_str(LEGEND_OF_FACTORS);
    text.push('\n');
    let label_width = label(columns.len().saturating_sub(1)).len();
    for (at, column) in columns.iter().enumerate() {
        for (line, who) in column.who.iter().enumerate() {
            let mark = if line == 0 { label(at) } else { String::new() };
            text.push_str(&format!("{mark:label_width$}  {}\n", named(who)));
        }
    }
    text.push('\n');
    let mut table = vec![vec!["method".to_owned(), "path".to_owned(), "asks for".to_owned()]];
    table[0].extend((0..columns.len()).map(label));
    for lines in same(rows, columns) {
        let (row, at) = (&rows[lines[0]], lines[0]);
        let methods: Vec<_> = lines.iter().map(|line| rows[*line].method.clone()).collect();
        let methods = match row.route.methods() {
            Methods::Any if methods.len() == ANY.len() => Methods::Any,
            _ => Methods::Only(methods),
        };
        let mut cells = vec![methods.to_string(), row.path.clone(), row.route.access().to_string()];
        cells.extend(columns.iter().map(|column| column.cells[at].clone()));
        table.push(cells);
    }
    align(&mut text, &table);
    let (own, unguarded): (Vec<_>, Vec<_>) =
        others.iter().partition(|route| route.access().is_own());
    for (routes, title) in [
        (own, "Routes of portcullis. They decide themselves who may call them."),
        (unguarded, "Unguarded: anyone may call these, unless the handler refuses the request."),
    ] {
        let line = |route: &&GuardedRoute| {
            vec![route.methods().to_string(), route.path().to_owned(), route.access().to_string()]
        };
        if !routes.is_empty() {
            text.push_str(&format!("\n{title}\n\n"));
            align(&mut text, &routes.iter().map(line).collect::<Vec<_>>());
        }
    }
    text
}

/// Groups the rows of one route and instance that have the same answers. They are written as one
/// row.
fn same(rows: &[Row], columns: &[Column]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let alike = groups.iter_mut().find(|group| {
            let first = &rows[group[0]];
            first.path == row.path
                && first.route.methods() == row.route.methods()
                && columns.iter().all(|column| column.cells[group[0]] == column.cells[at])
        });
        match alike {
            Some(group) => group.push(at),
            None => groups.push(vec![at]),
        }
    }
    groups
}

/// Returns A, B, …, Z, AA, AB, …
fn label(at: usize) -> String {
    let letter = char::from(b'A' + u8::try_from(at % 26).unwrap_or_default());
    match at / 26 {
        0 => letter.to_string(),
        more => format!("{}{letter}", label(more - 1)),
    }
}

/// Names the clients of a column, with as few words as possible for their states of factors.
fn named((name, states, all): &(String, Vec<usize>, usize)) -> String {
    if states.len() == *all {
        return name.clone();
    }
    let per_age = Factor::ALL.len() + 1;
    let (stale, fresh): (Vec<usize>, Vec<usize>) =
        states.iter().copied().partition(|state| *state <= per_age);
    let singles = Factor::ALL.len();
    let all_fresh = fresh.contains(&(2 * per_age));
    let mut words = Vec::new();
    if stale.len() == per_age + 1 {
        words.push("no fresh factor".to_owned());
    } else {
        words.extend(stale.into_iter().map(state_name));
    }
    // The one factor that is not among the fresh ones, if it is exactly one.
    let mut others = (0..singles).filter(|one| !fresh.contains(&(per_age + 1 + one)));
    let other = others.next().filter(|_| others.next().is_none()).map(|one| Factor::ALL[one]);
    match (fresh.len(), all_fresh, other) {
        (count, true, _) if count == per_age => words.push("any factor fresh".to_owned()),
        (count, false, _) if count == singles => words.push("one factor fresh".to_owned()),
        (_, true, Some(other)) => {
            words.push(format!("any factor fresh, except {}", other.as_str()));
        }
        (_, false, Some(other)) => {
            words.push(format!("one factor fresh, except {}", other.as_str()));
        }
        _ => words.extend(fresh.into_iter().map(state_name)),
    }
    format!("{name}: {}", words.join(", "))
}

/// Returns the name of a state by its position.
fn state_name(state: usize) -> String {
    let per_age = Factor::ALL.len() + 1;
    if state == 0 {
        return "no factor".to_owned();
    }
    let age = if state <= per_age { "stale" } else { "fresh" };
    match Factor::ALL.get((state - 1) % per_age) {
        Some(factor) => format!("{} {age}", factor.as_str()),
        None => format!("all factors {age}"),
    }
}

fn align(text: &mut String, table: &[Vec<String>]) {
    let columns = table.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        table.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or_default()).collect();
    for row in table {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}
