//! [`Portcullis`]: the handle of the library, and its builder.

use std::any::{Any, TypeId};
use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::future::{Future, pending};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::DatabaseConnection;
use tokio::task::JoinError;

use crate::base::clock::{Clock, SystemClock};
use crate::base::jwt::Jwt;
use crate::base::same_origin::{Origin, SameOrigin};
use crate::base::secret::{DigestKey, Purpose, Secret};
use crate::base::transaction::{Database, Fault, TimedPort, Transaction};
use crate::config::check::{ConfigError, ConfigErrors, Finding};
use crate::config::{Config, Registration};
pub(crate) use crate::context::PerInstance;
use crate::context::{Context, Parts};
use crate::message::template::{Own, Templates};
use crate::message::{MessageKind, Notifier, TextMessages};
use crate::port::{
    BreachedList, ExportedData, ExternalFactor, MembershipSource, OnSuspicion, RateLimiter,
    SessionInfo,
};

/// Accounts, sessions and authorization for one service. It is one `Arc`, so you can clone it
/// anywhere.
///
/// ```no_run
/// use portcullis::Portcullis;
///
/// # fn example(db: sea_orm::DatabaseConnection, secret: portcullis::Secret)
/// # -> Result<(), portcullis::ConfigErrors> {
/// let auth = Portcullis::builder(db).secret(secret).build()?;
/// let app: axum::Router = axum::Router::new()
///     .nest("/auth", auth.routes())
///     .layer(auth.layer());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Portcullis(Context);

/// What an instance has recorded about itself.
struct Notes {
    mounted: Mutex<BTreeSet<&'static str>>,
    findings: Mutex<Vec<Finding>>,
}

impl PerInstance for Notes {
    fn open(context: &Context) -> Self {
        let findings = Mutex::new(context.config.findings());
        Self { mounted: Mutex::default(), findings }
    }
}

impl Portcullis {
    /// Creates a builder with the database connection of the application.
    pub fn builder(database: DatabaseConnection) -> Builder {
        Builder {
            database,
            config: Config::default(),
            clock: Arc::new(SystemClock),
            notifier: None,
            state: HashMap::new(),
            text_messages: None,
            templates: Own::default(),
            session_info: None,
            exported_data: None,
            breached_list: None,
            rate_limiter: None,
            on_suspicion: None,
            membership_source: None,
            faults: Vec::new(),
            external_factor: None,
        }
    }

    /// Returns what an operator should know about this configuration, and what was found while it
    /// runs.
    pub fn audit(&self) -> Vec<Finding> {
        let notes = self.per_instance::<Notes>();
        notes.findings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs a flow of the application to its end, even if the client disconnects.
    ///
    /// The mounted routes do this themselves. In your own handler, the server drops the future when
    /// the client disconnects, at any `await`. Portcullis then rolls back what it has written. Your
    /// own statements may leave a connection with an open transaction in the pool, because the
    /// drivers count a transaction only after `BEGIN` was answered. This method runs the flow in a
    /// task, and the handler waits for it. If the client disconnects before a transaction was
    /// opened, with [`begin`](Self::begin) or by a flow of portcullis, the flow is dropped. After
    /// that it runs to its end.
    ///
    /// ```no_run
    /// # use portcullis::{Account, Portcullis};
    /// # async fn close_account(auth: Portcullis, account: Account)
    /// # -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// let flow = auth.clone();
    /// auth.run_to_end(async move {
    ///     let txn = flow.begin().await?;
    ///     flow.accounts().within(&txn).disable(account.id()).await?;
    ///     // … and your own tables, with `&*txn`.
    ///     txn.commit().await?;
    ///     Ok(())
    /// })
    /// .await
    /// # }
    /// ```
    ///
    /// Task-locals are not available in the task. The tracing span is.
    ///
    /// # Panics
    /// Panics if the flow does.
    pub async fn run_to_end<T: Send + 'static>(
        &self,
        flow: impl Future<Output = T> + Send + 'static,
    ) -> T {
        match self.context().database.run_to_end(flow).await.map_err(JoinError::try_into_panic) {
            Ok(result) => result,
            Err(Ok(panic)) => resume_unwind(panic),
            // The runtime shuts down and drops this future too.
            Err(Err(_)) => pending().await,
        }
    }

    /// Opens a transaction that writes, on the same pool. Use it with the methods that work
    /// `within` one.
    ///
    /// It opens as a writing transaction (SQLite: `BEGIN IMMEDIATE`) and waits for a permit of the
    /// [`writers`](crate::config::DatabaseConfig::writers). `BEGIN`, `COMMIT` and `ROLLBACK` are
    /// never dropped half-way. If you drop the transaction before its commit, it is rolled back.
    /// Nothing is retried, and only the wait for opening has a time limit. Statements that you drop
    /// half-way are your responsibility; see [`run_to_end`](Self::run_to_end).
    ///
    /// # Errors
    /// An outage, or no permit within [`timeout`](crate::config::DatabaseConfig::timeout).
    pub async fn begin(&self) -> Result<Transaction, Fault> {
        let context = self.context();
        let opening = context.database.begin();
        match tokio::time::timeout(context.config.database.timeout, opening).await {
            Ok(own) => Ok(Transaction::new(own?)),
            Err(_) => Err(Fault::Timeout),
        }
    }

    /// Waits until all work that was started for requests has finished.
    ///
    /// A request whose client disconnects leaves work behind: the statement that was sent must be
    /// answered, and the transaction must be ended. Call this after the server has stopped and
    /// before the process ends. Work that starts in the meantime is not refused, and this waits for
    /// it too. So this does not return while requests keep arriving.
    pub async fn drain(&self) {
        self.context().database.drained().await;
    }

    /// Returns the handle of an instance, for a flow that only has its context.
    pub(crate) fn of(context: &Context) -> Self {
        Self(context.clone())
    }

    pub(crate) fn context(&self) -> &Context {
        &self.0
    }

    /// Returns the state of one capability. Creates it at the first call.
    pub(crate) fn per_instance<S: PerInstance>(&self) -> Arc<S> {
        self.0.per_instance()
    }

    /// Records that the routes of a capability are mounted.
    #[cfg_attr(not(feature = "routes"), expect(dead_code, reason = "only routes are mounted"))]
    pub(crate) fn mount(&self, capability: &'static str) {
        let notes = self.per_instance::<Notes>();
        notes.mounted.lock().unwrap_or_else(PoisonError::into_inner).insert(capability);
    }

    /// True if the routes of a capability are mounted.
    pub(crate) fn is_mounted(&self, capability: &'static str) -> bool {
        let notes = self.per_instance::<Notes>();
        notes.mounted.lock().unwrap_or_else(PoisonError::into_inner).contains(capability)
    }

    /// Records a finding, once, and logs it as a warning.
    pub(crate) fn report_finding(&self, code: &'static str, text: &str) {
        let notes = self.per_instance::<Notes>();
        let mut findings = notes.findings.lock().unwrap_or_else(PoisonError::into_inner);
        if findings.iter().all(|finding| finding.code != code) {
            tracing::warn!(target: "portcullis", code, "{text}");
            findings.push(Finding { code, text: text.to_owned() });
        }
    }

    /// Records the present state of a finding, instead of an earlier one. `None` removes it.
    pub(crate) fn update_finding(&self, code: &'static str, text: Option<String>) {
        let notes = self.per_instance::<Notes>();
        let mut findings = notes.findings.lock().unwrap_or_else(PoisonError::into_inner);
        findings.retain(|finding| finding.code != code);
        if let Some(text) = text {
            tracing::warn!(target: "portcullis", code, "{text}");
            findings.push(Finding { code, text });
        }
    }

    /// True if both are handles of the same instance.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.is_same(&other.0)
    }
}

impl fmt::Debug for Portcullis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Portcullis").field(&self.0.config.issuer()).finish()
    }
}

/// Collects the parts of an instance. Nothing is checked before [`build`](Self::build).
#[must_use = "call build()"]
pub struct Builder {
    database: DatabaseConnection,
    config: Config,
    clock: Arc<dyn Clock>,
    notifier: Option<Arc<dyn Notifier>>,
    /// State from capabilities, see [`Builder::state`].
    state: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
    text_messages: Option<Arc<dyn TextMessages>>,
    templates: Own,
    session_info: Option<Arc<dyn SessionInfo>>,
    exported_data: Option<Arc<dyn ExportedData>>,
    breached_list: Option<Arc<dyn BreachedList>>,
    rate_limiter: Option<Arc<dyn RateLimiter>>,
    on_suspicion: Option<Arc<dyn OnSuspicion>>,
    membership_source: Option<Arc<dyn MembershipSource>>,
    /// What capabilities find wrong in what they were given. `build` refuses it.
    pub(crate) faults: Vec<ConfigError>,
    external_factor: Option<Arc<dyn ExternalFactor>>,
}

impl Builder {
    /// Adds a secret. The first one is used for everything new. Later ones are older and only
    /// verify.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.config.keys.secrets.push(secret);
        self
    }

    /// Sets the address at which users see the service, such as `https://example.com`. It has a
    /// path (`https://example.com/app`) if a proxy removes this path.
    pub fn public_url(mut self, url: impl Into<String>) -> Self {
        self.config.service.public_url = Some(url.into());
        self
    }

    /// Sets the whole configuration, for example from [`Config::from_env`]. Call it first: it replaces
    /// everything that was set in the configuration before, also the secret and the public address.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Changes single settings.
    pub fn configure(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    /// Sets another clock than the system's.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Sets what sends mail. It needs a public URL (or `mail.link_origin`), because messages
    /// contain links.
    pub fn notifier(mut self, notifier: impl Notifier) -> Self {
        self.notifier = Some(Arc::new(notifier));
        self
    }

    /// Sets what sends text messages to phones.
    pub fn text_messages(mut self, text_messages: impl TextMessages) -> Self {
        self.text_messages = Some(Arc::new(text_messages));
        self
    }

    /// Replaces the template of one kind of message. The text begins with a line `Subject: …` and
    /// an empty line. The HTML may extend `layout.html`. For a [`MessageKind::Own`] this also
    /// declares the kind. See [`guide::mail`](crate::guide::mail).
    pub fn template(
        mut self,
        kind: MessageKind,
        text: impl Into<String>,
        html: impl Into<String>,
    ) -> Self {
        if let MessageKind::Own(name) = kind {
            self.templates.kinds.insert(name);
        }
        let (file, sources) = (kind.file(), &mut self.templates.sources);
        sources.insert(format!("{file}.txt"), text.into());
        sources.insert(format!("{file}.html"), html.into());
        self
    }

    /// Reads templates from a folder, once, in [`build`](Self::build). The files are `<kind>.txt`
    /// and `<kind>.html`, with the names of [`MessageKind::as_str`] (`app-<kind>.txt` for a kind of
    /// your own), and `layout.html` for all HTML. The default is used for each file that is missing.
    pub fn template_folder(mut self, folder: impl Into<std::path::PathBuf>) -> Self {
        self.templates.folder = Some(folder.into());
        self
    }

    /// Adds members of your application to the answer of `GET /session`.
    pub fn session_info(mut self, info: impl SessionInfo) -> Self {
        self.session_info = Some(Arc::new(info));
        self
    }

    /// Adds your application's data about a person to the export of their account.
    pub fn exported_data(mut self, data: impl ExportedData) -> Self {
        self.exported_data = Some(Arc::new(data));
        self
    }

    /// Refuses new passwords that are known from breaches of other services.
    pub fn breached_list(mut self, list: impl BreachedList) -> Self {
        self.breached_list = Some(Arc::new(list));
        self
    }

    /// Sets the levels that a user can have on a resource of this domain, lowest first. See
    /// [`Memberships`](crate::permission::Memberships).
    pub fn levels<L: Into<String>>(
        mut self,
        resource: impl Into<String>,
        levels: impl IntoIterator<Item = L>,
    ) -> Self {
        let levels = levels.into_iter().map(Into::into).collect();
        self.config.permission.levels.insert(resource.into(), levels);
        self
    }

    /// Computes memberships from your own tables at each sign-in. See
    /// [`membership`](crate::membership).
    pub fn membership_source(mut self, source: impl MembershipSource) -> Self {
        self.membership_source = Some(Arc::new(source));
        self
    }

    /// Stores rates outside of this process, so that all nodes count together.
    pub fn rate_limiter(mut self, limiter: impl RateLimiter) -> Self {
        self.rate_limiter = Some(Arc::new(limiter));
        self
    }

    /// Sets what is called when many sign-ins together are suspicious. See
    /// [`attempt`](crate::attempt).
    pub fn on_suspicion(mut self, hook: impl OnSuspicion) -> Self {
        self.on_suspicion = Some(Arc::new(hook));
        self
    }

    /// Sets a second factor that your application checks. See
    /// [`second_factor`](crate::second_factor#a-factor-of-your-own).
    pub fn external_factor(mut self, factor: impl ExternalFactor) -> Self {
        self.external_factor = Some(Arc::new(factor));
        self
    }

    /// Returns the state of a capability, for a builder method that is declared there.
    pub(crate) fn state<S: PerInstance + Default>(&mut self) -> &mut S {
        let state = self.state.entry(TypeId::of::<S>()).or_insert_with(|| Arc::new(S::default()));
        let state = Arc::get_mut(state).expect("nobody else has it before `build`");
        state.downcast_mut().expect("state is kept under its own type")
    }

    /// Checks everything and creates the instance. Runs no statement.
    ///
    /// # Errors
    /// Names all errors in the configuration at once.
    pub fn build(self) -> Result<Portcullis, ConfigErrors> {
        let Self {
            database,
            mut config,
            clock,
            notifier,
            text_messages,
            templates,
            state,
            session_info,
            exported_data,
            breached_list,
            rate_limiter,
            on_suspicion,
            membership_source,
            faults,
            external_factor,
        } = self;
        let mut errors = config.faults();
        errors.extend(faults);
        let login = &mut config.login;
        match login.registration {
            Registration::Automatic if login.require_verified && notifier.is_some() => {
                login.registration = Registration::Strict;
            }
            Registration::Automatic => login.registration = Registration::Open,
            Registration::Strict if notifier.is_none() => {
                let reason = "strict registration needs a notifier, because it sends mail";
                let knob = "login.registration";
                errors.push(ConfigError::Knob { knob, reason: reason.to_owned() });
            }
            _ => {}
        }
        if let Some(notifier) = &notifier {
            errors.extend(notifier_faults(&config, &**notifier));
        }
        let service_url = config.link_base().map(|base| base.to_string());
        let templates =
            Templates::new(config.service_name(), service_url.unwrap_or_default(), &templates)
                .map_err(|faults| errors.extend(faults));
        let keys = &config.keys;
        let jwt = Jwt::new(&keys.signing, &keys.secrets, config.issuer(), config.issuer());
        let (jwt, templates) = match (jwt, templates) {
            (Ok(jwt), Ok(templates)) if errors.is_empty() => (jwt, templates),
            (jwt, _) => {
                if let Err(error) = jwt {
                    let knob = "keys.signing";
                    errors.push(ConfigError::Knob { knob, reason: error.to_string() });
                }
                return Err(ConfigErrors(errors));
            }
        };
        let session_digests =
            keys.secrets.iter().map(|s| DigestKey::new(s, Purpose::SessionDigest)).collect();
        let same_origin = same_origin(&config);
        for finding in &config.findings() {
            tracing::warn!(target: "portcullis", code = finding.code, "{}", finding.text);
        }
        let database = Database::new(database, config.database.writers);
        let session_info = session_info.map(|port| TimedPort::new(port, &database));
        let exported_data = exported_data.map(|port| TimedPort::new(port, &database));
        let breached_list = breached_list.map(|port| Arc::new(TimedPort::new(port, &database)));
        let rate_limiter = rate_limiter.map(|port| Arc::new(TimedPort::new(port, &database)));
        let on_suspicion = on_suspicion.map(|port| TimedPort::new(port, &database));
        let membership_source = membership_source.map(|port| TimedPort::new(port, &database));
        let external_factor = external_factor.map(|port| TimedPort::new(port, &database));
        let context = Context::new(Parts {
            database,
            config,
            jwt,
            session_digests,
            same_origin,
            clock,
            templates,
            notifier,
            text_messages,
            session_info,
            exported_data,
            breached_list,
            rate_limiter,
            on_suspicion,
            membership_source,
            external_factor,
            per_instance: Mutex::new(state),
        });
        Ok(Portcullis(context))
    }
}

/// Returns what is missing in the configuration for this notifier.
fn notifier_faults(config: &Config, notifier: &dyn Notifier) -> Vec<ConfigError> {
    let mut faults = Vec::new();
    if config.link_base().is_none() {
        let reason = "a notifier sends links, and they are never built from a request's Host: \
            set the public URL (or mail.link_origin)";
        faults.push(ConfigError::Knob { knob: "service.public_url", reason: reason.to_owned() });
    }
    if let Some(reason) = notifier.refuses(config.sender().as_deref()) {
        faults.push(ConfigError::Knob { knob: "mail.sender", reason });
    }
    faults
}

/// Creates the same-origin rule. The origins were checked before.
fn same_origin(config: &Config) -> SameOrigin {
    let service = &config.service;
    let trusted = service.trusted_origins.iter().filter_map(|text| Origin::parse(text).ok());
    let mut rule = trusted.fold(SameOrigin::new(), SameOrigin::trust);
    if let Some(public) = config.public_url() {
        rule = rule.public(public.origin);
    }
    if service.strict_origin { rule.strict() } else { rule }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("config", &self.config).finish_non_exhaustive()
    }
}
