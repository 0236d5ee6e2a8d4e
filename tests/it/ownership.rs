//! Who owns an account, after any actions in any order.
//!
//! Three persons each have mailboxes of their own, two browsers and one password. They do
//! everything that decides about the ownership of an account, at random. They use any address, and
//! any message that one of their mailboxes has received. The following must hold, however it is
//! implemented:
//!
//! 1. If someone has verified an address of an account, the account is open to nobody else. No
//!    session and no password of others works, whatever was sent to them.
//! 2. An account counts as verified if, and only if, this has happened.
//! 3. An address belongs to one account, and its row and its names are consistent.
//! 4. A person who has a mailbox gets an account with its address in a few steps. They keep it
//!    while all others use everything that they have ever received.
//! 5. No answer is a server error.
//!
//! They also sign in by mail, in any browser, with any mail that they received.
//!
//! A second test is about an account that has an owner. A thief with a live session changes
//! addresses, numbers, names and the password, on two nodes whose clocks differ by 30 s. After the
//! owner has changed the password and put the address back, nothing that the thief holds works.
//!
//! A failed walk prints what was done. Another seed gives other walks.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;
use std::time::Duration;

use portcullis::account::NewAccount;
use portcullis::base::clock::MockClock;
use portcullis::config::Registration;
use portcullis::message::RecordingNotifier;
use portcullis::{Account, AccountId, MessageId, MessageKind, Portcullis, Problem};
use serde_json::{Value, json};

use crate::on_every_database;
use crate::support::browser::Answer;
use crate::support::probe::{app, serve};
use crate::support::{Backend, Browser, Probe};

const SEED: u64 = 0x5eed;
const STEPS: usize = 32;
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The attacker, the victim and a third person.
const NAMES: [&str; 3] = ["mallory", "victim", "carol"];

/// The owner of each mailbox. The victim's mailboxes are used most often.
const MAILBOXES: [(&str, usize); 5] =
    [("mallory", 0), ("mallory2", 0), ("victim", 1), ("victim2", 1), ("carol", 2)];

/// Small pseudo-random numbers, which are the same for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((bits ^ (bits >> 31)) % count as u64).expect("it is below a usize")
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// A message that a mailbox received.
#[derive(Clone)]
struct Letter {
    kind: MessageKind,
    to: String,
    token: String,
}

struct Person {
    password: String,
    browsers: [Browser; 2],
    /// The addresses that the person has used to register.
    registered: Vec<String>,
    letters: Vec<Letter>,
}

/// One random walk through one instance, with addresses of its own.
struct Walk<'a> {
    probe: &'a Probe,
    auth: Portcullis,
    notifier: RecordingNotifier,
    /// Messages that were already put into the mailboxes.
    seen: HashSet<MessageId>,
    number: usize,
    open: bool,
    random: Random,
    stranger: Browser,
    people: Vec<Person>,
    /// Who first verified an address of each account.
    owners: BTreeMap<String, usize>,
    /// What succeeded, and how often.
    worked: BTreeMap<String, usize>,
    done: String,
}

impl<'a> Walk<'a> {
    async fn begin(probe: &'a Probe, number: usize) -> Self {
        let notifier = RecordingNotifier::default();
        let open = !number.is_multiple_of(3);
        let auth = probe.rebuilt(|builder| {
            builder.notifier(notifier.clone()).configure(|config| {
                config.login.registration =
                    if open { Registration::Open } else { Registration::Strict };
                config.login.require_verified = !open || number % 3 == 2;
                // Other tests cover the limits for strangers.
                config.attempts.limit = 100;
                config.attempts.delay_from = 100;
                config.attempts.first_delay = Duration::ZERO;
                config.attempts.source_limit = None;
                config.rate.per_source = None;
                config.rate.per_principal = None;
                config.mail.per_hour = 20;
            })
        });
        let stranger = Browser::new(serve(app(&auth)).await);
        let person = |name: &&str| Person {
            password: format!("the long password of {name}"),
            browsers: [stranger.clone(), stranger.clone()],
            registered: Vec::new(),
            letters: Vec::new(),
        };
        let people = NAMES.iter().map(person).collect();
        let random = Random(SEED + number as u64);
        Self {
            probe,
            auth,
            notifier,
            seen: HashSet::new(),
            number,
            open,
            random,
            stranger,
            people,
            owners: BTreeMap::new(),
            worked: BTreeMap::new(),
            done: String::new(),
        }
    }

    fn address(&self, mailbox: usize) -> String {
        format!("{}@w{}.example", MAILBOXES[mailbox].0, self.number)
    }

    /// Returns any address, most often the victim's.
    fn some_address(&mut self) -> String {
        let mailbox = if self.random.one_in(2) { 2 } else { self.random.below(MAILBOXES.len()) };
        self.address(mailbox)
    }

    fn own_address(&mut self, who: usize) -> String {
        let own = MAILBOXES.iter().enumerate().filter(|(_, (_, owner))| *owner == who);
        let own: Vec<_> = own.map(|(mailbox, _)| mailbox).collect();
        let mailbox = self.random.pick(&own);
        self.address(mailbox)
    }

    fn fail(&self, reason: &str) -> ! {
        panic!("walk {}: {reason}\nafter\n{}", self.number, self.done)
    }

    async fn account(&self, login: &str) -> Option<Account> {
        self.auth.accounts().find_by_login(login).await.expect("it answers")
    }

    /// Returns a message of this kind, most often the latest.
    fn letter(&mut self, who: usize, kind: MessageKind) -> Option<Letter> {
        let letters = self.people[who].letters.iter().filter(|letter| letter.kind == kind);
        let letters: Vec<_> = letters.cloned().collect();
        match letters.len() {
            0 => None,
            _ if self.random.below(4) > 0 => letters.last().cloned(),
            _ => Some(self.random.pick(&letters)),
        }
    }

    /// Sends a request and records the result.
    async fn send(
        &mut self,
        who: usize,
        at: usize,
        method: &str,
        path: &str,
        body: Value,
    ) -> Answer {
        let browser = &mut self.people[who].browsers[at];
        let answer = match method {
            "PUT" => browser.put(path, body.clone()).await,
            _ => browser.post(path, body.clone()).await,
        };
        let code = answer.text.chars().take(60).collect::<String>();
        let name = NAMES[who];
        let _ = writeln!(self.done, "{name}/{at} {path} {body}: {} {code}", answer.status);
        if answer.status >= 500 {
            self.fail("a failure of the server");
        }
        if answer.status < 300 {
            let handed_over = answer.text.contains("password_change_required");
            let elsewhere = answer.text.contains("other_browser");
            let result = match (handed_over, elsewhere) {
                (true, _) => " and must set a password",
                (_, true) => " in another browser",
                _ => "",
            };
            *self.worked.entry(format!("{path}{result}")).or_default() += 1;
        }
        self.sort().await;
        answer
    }

    /// Delivers the sent messages to the owners of the mailboxes.
    async fn sort(&mut self) {
        self.auth.outbox().deliver_due().await.expect("the outbox is read");
        // A message that is written in parallel to an answer may be older than messages that were
        // sorted before it.
        let mut new = self.notifier.sent();
        new.retain(|message| self.seen.insert(message.id));
        // Several messages may be sent at once. Sorting makes each walk the same every time.
        new.sort_by_key(|message| (message.to.as_str().to_owned(), message.kind));
        for message in new.iter() {
            if message.kind == MessageKind::NewDeviceDigest {
                // A digest is about an earlier walk, a day before.
                continue;
            }
            let to = message.to.as_str().to_owned();
            let owner = MAILBOXES.iter().enumerate().find(|(at, _)| self.address(*at) == to);
            let Some((_, (_, owner))) = owner else { self.fail(&format!("mail to {to}")) };
            let _ = writeln!(self.done, "    mail to {to}: {:?}", message.kind);
            if let Some((_, token)) = message.text.split_once("#token=") {
                let token = token.split_whitespace().next().expect("a token").to_owned();
                self.people[*owner].letters.push(Letter { kind: message.kind, to, token });
            }
        }
    }

    /// Records that a message verified the address to which it was sent.
    async fn proved(&mut self, who: usize, letter: &Letter) {
        let Some(account) = self.account(&letter.to).await else {
            self.fail(&format!("{} was proved and is nobody's", letter.to))
        };
        let owner = *self.owners.entry(account.id().to_string()).or_insert(who);
        if owner != who {
            self.fail(&format!("{} proved an address of {}'s", NAMES[who], NAMES[owner]));
        }
    }

    /// Does something that is possible at the moment.
    async fn step(&mut self) {
        loop {
            let who = self.random.below(NAMES.len()).min(self.random.below(NAMES.len()));
            let at = self.random.below(2);
            let done = match self.random.below(23) {
                0..3 => self.register(who, at).await,
                3..5 => self.login(who, at).await,
                5..8 => self.confirm(who, at).await,
                8 | 9 => self.ask_for_change(who, at).await,
                10..15 if self.people[who].browsers[at].cookie.is_none() => false,
                10 => {
                    let body = json!({ "new_password": self.people[who].password });
                    self.send(who, at, "PUT", "/auth/password", body).await;
                    true
                }
                11..14 => self.change(who, at).await,
                14 | 15 => self.undo(who, at).await,
                16 => {
                    let body = json!({ "login": self.some_address() });
                    self.send(who, at, "POST", "/auth/password/forgot", body).await;
                    true
                }
                17 => match self.letter(who, MessageKind::PasswordReset) {
                    Some(letter) => {
                        self.reset(who, at, &letter).await;
                        true
                    }
                    None => false,
                },
                18 => {
                    let body = json!({ "email": self.some_address() });
                    self.send(who, at, "POST", "/auth/verification", body).await;
                    true
                }
                20 | 21 => self.ask_by_mail(who, at).await,
                22 => self.sign_in_by_mail(who, at).await,
                _ => self.random.one_in(2) && self.switch_off_and_on().await,
            };
            if done {
                return;
            }
        }
    }

    async fn register(&mut self, who: usize, at: usize) -> bool {
        let address = self.some_address();
        let mut body = json!({ "email": address, "password": self.people[who].password });
        if self.random.one_in(3) {
            let name = self.random.pick(&NAMES);
            body["username"] = format!("{name}{}", self.number).into();
        }
        if self.open && self.random.one_in(4) {
            body["phone"] = format!("+4915{:07}{}", self.number, self.random.below(2)).into();
        }
        self.people[who].registered.push(address);
        self.send(who, at, "POST", "/auth/register", body).await;
        true
    }

    async fn login(&mut self, who: usize, at: usize) -> bool {
        let registered = self.people[who].registered.clone();
        // Most often the latest address, as real users do.
        let address = match registered.last() {
            Some(last) if !self.random.one_in(3) => last.clone(),
            Some(_) => self.random.pick(&registered),
            None => self.own_address(who),
        };
        let body = json!({ "login": address, "password": self.people[who].password });
        self.send(who, at, "POST", "/auth/login", body).await;
        true
    }

    /// Asks for a sign-in by mail. With their own address, people often follow the link at once.
    async fn ask_by_mail(&mut self, who: usize, at: usize) -> bool {
        let own = !self.random.one_in(3);
        let login = if own { self.own_address(who) } else { self.some_address() };
        self.send(who, at, "POST", "/auth/login/mail", json!({ "login": login })).await;
        if own && !self.random.one_in(3) {
            self.sign_in_by_mail(who, at).await;
        }
        true
    }

    async fn sign_in_by_mail(&mut self, who: usize, at: usize) -> bool {
        let Some(letter) = self.letter(who, MessageKind::MailLogin) else { return false };
        self.follow(who, at, &letter).await;
        true
    }

    /// Follows a link of a sign-in by mail. In another browser this must not sign in.
    async fn follow(&mut self, who: usize, at: usize, letter: &Letter) {
        let body = json!({ "token": letter.token });
        let answer = self.send(who, at, "POST", "/auth/login/mail/confirm", body).await;
        if answer.status != 200 {
            return;
        }
        if answer.json()["result"] == "other_browser" {
            if answer.cookie().is_some() {
                self.fail("another browser got a session");
            }
            return;
        }
        self.proved(who, letter).await;
        if answer.json()["result"] == "password_change_required" && !self.random.one_in(3) {
            let body = json!({ "new_password": self.people[who].password });
            self.send(who, at, "PUT", "/auth/password", body).await;
        }
    }

    async fn confirm(&mut self, who: usize, at: usize) -> bool {
        let Some(letter) = self.letter(who, MessageKind::VerifyAddress) else { return false };
        let mut body = json!({ "token": letter.token });
        if self.random.one_in(3) {
            body["password"] = self.people[who].password.clone().into();
        }
        let answer = self.send(who, at, "POST", "/auth/verification/confirm", body).await;
        if answer.status == 200 {
            self.proved(who, &letter).await;
        }
        true
    }

    /// Signs in, because a recent factor is required, and requests another address. It is most
    /// often an own one.
    async fn ask_for_change(&mut self, who: usize, at: usize) -> bool {
        self.login(who, at).await;
        if self.people[who].browsers[at].cookie.is_none() {
            return true;
        }
        let own = !self.random.one_in(3);
        let new = if own { self.own_address(who) } else { self.some_address() };
        self.send(who, at, "POST", "/auth/email", json!({ "email": new })).await;
        if own && self.random.one_in(2) {
            self.people[who].registered.push(new);
            self.change(who, at).await;
        }
        true
    }

    async fn change(&mut self, who: usize, at: usize) -> bool {
        let Some(letter) = self.letter(who, MessageKind::EmailChangeConfirm) else { return false };
        let body = json!({ "token": letter.token });
        let answer = self.send(who, at, "POST", "/auth/email/confirm", body).await;
        if answer.status == 200 {
            self.proved(who, &letter).await;
        }
        true
    }

    async fn undo(&mut self, who: usize, at: usize) -> bool {
        let Some(letter) = self.letter(who, MessageKind::EmailChangedUndo) else { return false };
        let body = json!({ "token": letter.token });
        let answer = self.send(who, at, "POST", "/auth/email/undo", body).await;
        if answer.status == 204 {
            self.proved(who, &letter).await;
        }
        true
    }

    async fn reset(&mut self, who: usize, at: usize, letter: &Letter) -> bool {
        let password = self.people[who].password.clone();
        let body = json!({ "token": letter.token, "password": password });
        let answer = self.send(who, at, "POST", "/auth/password/reset", body).await;
        if answer.status == 204 {
            self.proved(who, letter).await;
        }
        answer.status == 204
    }

    /// Does what an operator can do to the account that has an address.
    async fn switch_off_and_on(&mut self) -> bool {
        let address = self.some_address();
        let Some(account) = self.account(&address).await else { return false };
        let what = self.random.below(5);
        let _ = writeln!(self.done, "the account of {address} is switched off and on ({what})");
        let accounts = self.auth.accounts();
        let (id, nobodys) = (account.id(), !account.is_verified());
        let result = match what {
            0 => accounts.require_password_change(id).await,
            // These two are not undone. They are only done to accounts without an owner, because a
            // disabled owner may stay locked out.
            1 if nobodys && self.open => accounts.disable(id).await,
            2 if nobodys => accounts.delete(id).await,
            3 => {
                let date = self.probe.auth_now().plus(MINUTE);
                let _ = accounts.disable_from(id, date).await;
                self.probe.clock.advance(2 * MINUTE);
                accounts.enable(id).await
            }
            _ => {
                let _ = accounts.disable(id).await;
                accounts.enable(id).await
            }
        };
        if let Err(error) = result {
            assert_eq!(error.code(), "account_not_found", "it was deleted before");
        }
        true
    }

    fn pass(&mut self, time: Duration) {
        self.probe.clock.advance(time);
        let _ = writeln!(self.done, "{} s pass", time.as_secs());
    }

    /// Checks what must hold after each step.
    async fn check(&mut self, thoroughly: bool) {
        for (who, name) in NAMES.iter().enumerate() {
            for at in 0..2 {
                if self.people[who].browsers[at].cookie.is_none() {
                    continue;
                }
                let answer = self.people[who].browsers[at].get("/me").await;
                let owner = self.owners.get(&answer.text).filter(|_| answer.status == 200);
                if owner.is_some_and(|owner| *owner != who) {
                    self.fail(&format!("a session of {name} opens an account of another"));
                }
            }
        }
        for (mailbox, (_, holder)) in MAILBOXES.iter().enumerate() {
            let address = self.address(mailbox);
            let Some(account) = self.account(&address).await else { continue };
            let owner = self.owners.get(&account.id().to_string()).copied();
            if account.is_verified() != owner.is_some() {
                self.fail(&format!("{address}: verified is {}", account.is_verified()));
            }
            let Some(owner) = owner.filter(|_| thoroughly) else { continue };
            if owner != *holder {
                self.fail(&format!(
                    "{} has {address}, which they cannot have proved",
                    NAMES[owner]
                ));
            }
            let login = [account.username(), Some(&address)];
            for (who, login) in (0..3).flat_map(|who| login.map(|login| (who, login))) {
                let Some(login) = login.filter(|_| who != owner) else { continue };
                let password = &self.people[who].password;
                let status = self.stranger.clone().login(login, password).await.status;
                // A username that is still unverified may be another person's name.
                let same =
                    self.account(login).await.is_some_and(|found| found.id() == account.id());
                if same && status != 401 {
                    self.fail(&format!("the password of {} opens {login}", NAMES[who]));
                }
            }
        }
        if self.probe.number(DISAGREEMENTS).await > 0 {
            self.fail("rows and names do not agree");
        }
    }

    /// Returns the newest message of this kind that came after the first `before` messages.
    fn came(&self, who: usize, before: usize, kind: MessageKind) -> Option<Letter> {
        self.people[who].letters[before..].iter().rfind(|letter| letter.kind == kind).cloned()
    }

    /// Gets an account with the address of the own mailbox, after any walk.
    async fn recover(&mut self, mailbox: usize) -> AccountId {
        let (address, who) = (self.address(mailbox), MAILBOXES[mailbox].1);
        let _ = writeln!(self.done, "-- {} wants {address}", NAMES[who]);
        self.pass(2 * HOUR);
        self.people[who].browsers[1] = self.stranger.clone();
        let before = self.people[who].letters.len();
        let body = json!({ "login": address });
        self.send(who, 1, "POST", "/auth/password/forgot", body).await;
        // A verification mail that a sign-in requested in parallel to its answer may arrive in
        // between.
        match self.came(who, before, MessageKind::PasswordReset) {
            Some(letter) => {
                if !self.reset(who, 1, &letter).await {
                    self.fail("a link that was sent just now sets no password");
                }
            }
            None => {
                let password = self.people[who].password.clone();
                let body = json!({ "email": address, "password": password });
                self.send(who, 1, "POST", "/auth/register", body).await;
                let letter = self.came(who, before, MessageKind::VerifyAddress);
                let Some(letter) = letter else { self.fail("nothing was sent") };
                let body = json!({ "token": letter.token });
                let answer = self.send(who, 1, "POST", "/auth/verification/confirm", body).await;
                if answer.status != 200 {
                    self.fail("a link that was sent just now proves nothing");
                }
                self.proved(who, &letter).await;
                if answer.json()["result"] == "password_change_required" {
                    let body = json!({ "new_password": password });
                    self.send(who, 1, "PUT", "/auth/password", body).await;
                }
            }
        }
        self.keeps(mailbox, None).await
    }

    /// Checks that the owner of the mailbox can sign in with its address.
    async fn keeps(&mut self, mailbox: usize, account: Option<AccountId>) -> AccountId {
        let (address, who) = (self.address(mailbox), MAILBOXES[mailbox].1);
        let body = json!({ "login": address, "password": self.people[who].password });
        let answer = self.send(who, 1, "POST", "/auth/login", body).await;
        let found = self.account(&address).await;
        let Some(found) = found.filter(|_| answer.status == 200) else {
            self.fail(&format!("{} cannot sign in with {address}", NAMES[who]))
        };
        let session = self.people[who].browsers[1].get("/me").await;
        let id = found.id();
        let whole = found.email() == Some(&address) && found.is_verified();
        if session.text != id.to_string() || !whole || account.is_some_and(|account| account != id)
        {
            self.fail(&format!("{} has not got {address}", NAMES[who]));
        }
        id
    }

    /// Uses everything that was ever sent to this person, in all of their browsers.
    async fn use_everything_up(&mut self, who: usize) {
        let _ = writeln!(self.done, "-- {} uses up everything", NAMES[who]);
        for letter in self.people[who].letters.clone() {
            if letter.kind == MessageKind::MailLogin {
                for at in 0..2 {
                    self.follow(who, at, &letter).await;
                }
                continue;
            }
            let password = self.people[who].password.clone();
            let mut body = json!({ "token": letter.token });
            let path = match letter.kind {
                MessageKind::VerifyAddress => "/auth/verification/confirm",
                MessageKind::EmailChangeConfirm => "/auth/email/confirm",
                MessageKind::EmailChangedUndo => "/auth/email/undo",
                _ => {
                    body["password"] = password.into();
                    "/auth/password/reset"
                }
            };
            let at = self.random.below(2);
            let answer = self.send(who, at, "POST", path, body).await;
            if matches!(answer.status, 200 | 204) {
                self.proved(who, &letter).await;
            }
        }
        for at in 0..2 {
            let body = json!({ "new_password": self.people[who].password });
            self.send(who, at, "PUT", "/auth/password", body).await;
        }
    }
}

/// Counts the differences between the rows of accounts and their login names.
const DISAGREEMENTS: &str = "\
    SELECT (SELECT COUNT(*) FROM auth_account a \
      WHERE a.email IS NOT NULL AND a.deleted_at IS NULL AND NOT EXISTS \
      (SELECT 1 FROM auth_login_name n WHERE n.account_id = a.id AND n.normal = LOWER(a.email))) \
    + (SELECT COUNT(*) FROM auth_account a \
      WHERE a.phone IS NOT NULL AND a.deleted_at IS NULL AND NOT EXISTS \
      (SELECT 1 FROM auth_login_name n WHERE n.account_id = a.id AND n.normal = a.phone)) \
    + (SELECT COUNT(*) FROM auth_login_name n JOIN auth_account a ON a.id = n.account_id \
      WHERE n.normal NOT IN (LOWER(COALESCE(a.email, '')), COALESCE(a.phone, ''), \
      LOWER(COALESCE(a.username, '')))) \
    + (SELECT COUNT(*) FROM auth_login_name n JOIN auth_account a ON a.id = n.account_id \
      WHERE n.kind = 2 AND (n.verified_at IS NULL) <> (a.verified_at IS NULL))";

/// A thief with a live session of the victim's account, and the ways in which the victim gets it
/// back. Two nodes serve the account. Their clocks differ by 30 s.
struct Siege<'a> {
    probe: &'a Probe,
    number: usize,
    nodes: [Portcullis; 2],
    clocks: [MockClock; 2],
    notifier: RecordingNotifier,
    /// Messages that were already put into the mailboxes.
    seen: HashSet<MessageId>,
    random: Random,
    victim: Browser,
    thief: Browser,
    addresses: [std::net::SocketAddr; 2],
    /// The present password of the account. `thiefs_password` is true if the thief set it.
    password: String,
    thiefs_password: bool,
    /// True if the thief also knows the victim's password. Then they stay signed in and do not
    /// change it.
    knows: bool,
    /// Every session that the thief ever had. `thiefs` contains every message to the thief.
    sessions: Vec<Browser>,
    thiefs: Vec<Letter>,
    victims: Vec<Letter>,
    mailboxes: Vec<String>,
    worked: BTreeMap<String, usize>,
    done: String,
}

impl<'a> Siege<'a> {
    async fn begin(probe: &'a Probe, number: usize) -> Self {
        let notifier = RecordingNotifier::default();
        let clocks = [probe.clock.clone(), MockClock::at(probe.auth_now())];
        if number.is_multiple_of(2) {
            clocks[1].advance(Duration::from_secs(30));
        } else {
            clocks[1].step_back(Duration::from_secs(30));
        }
        let node = |clock: &MockClock| {
            probe.rebuilt(|builder| {
                let builder = builder.clock(clock.clone()).text_messages(notifier.clone());
                builder.notifier(notifier.clone()).configure(|config| {
                    config.attempts.limit = 100;
                    config.attempts.delay_from = 100;
                    config.attempts.first_delay = Duration::ZERO;
                    config.attempts.source_limit = None;
                    config.rate.per_source = None;
                    config.rate.per_principal = None;
                    config.mail.per_hour = 100;
                })
            })
        };
        let nodes = [node(&clocks[0]), node(&clocks[1])];
        let addresses = [serve(app(&nodes[0])).await, serve(app(&nodes[1])).await];
        let browser = Browser::new(addresses[0]);
        let mut siege = Self {
            probe,
            number,
            nodes,
            clocks,
            notifier,
            seen: HashSet::new(),
            random: Random(SEED + 1_000 + number as u64),
            victim: browser.clone(),
            thief: browser,
            addresses,
            password: format!("the long password of victim {number}"),
            thiefs_password: false,
            knows: number % 3 == 2,
            sessions: Vec::new(),
            thiefs: Vec::new(),
            victims: Vec::new(),
            mailboxes: Vec::new(),
            worked: BTreeMap::new(),
            done: String::new(),
        };
        let account = NewAccount::username(siege.name()).with_email(siege.own()).verified();
        let made = siege.nodes[0].registration().create(account, &*siege.password).await;
        made.expect("the account is made");
        let answer = siege.victim.login(&siege.name(), &siege.password.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        siege.thief.cookie = siege.victim.cookie.clone();
        siege.sessions.push(siege.thief.clone());
        siege
    }

    fn name(&self) -> String {
        format!("besieged{}", self.number)
    }

    fn own(&self) -> String {
        format!("victim@s{}.example", self.number)
    }

    fn fail(&self, reason: &str) -> ! {
        panic!("siege {}: {reason}\nafter\n{}", self.number, self.done)
    }

    fn pass(&mut self, time: Duration) {
        for clock in &self.clocks {
            clock.advance(time);
        }
        let _ = writeln!(self.done, "{} s pass", time.as_secs());
    }

    /// Sends a request of the thief or of the victim to one of the nodes.
    async fn send(&mut self, thief: bool, method: &str, path: &str, body: Value) -> Answer {
        let node = self.random.below(2);
        let browser = if thief { &mut self.thief } else { &mut self.victim };
        browser.address = self.addresses[node];
        let answer = match method {
            "PUT" => browser.put(path, body.clone()).await,
            "DELETE" => browser.delete(path).await,
            _ => browser.post(path, body.clone()).await,
        };
        let who = if thief { "thief" } else { "victim" };
        let text: String = answer.text.chars().take(60).collect();
        let _ = writeln!(self.done, "{who}/{node} {path} {body}: {} {text}", answer.status);
        if answer.status >= 500 {
            self.fail("a failure of the server");
        }
        if answer.status < 300 {
            *self.worked.entry(format!("{who} {path}")).or_default() += 1;
        }
        if thief && answer.cookie().is_some() {
            self.sessions.push(self.thief.clone());
        }
        self.sort().await;
        answer
    }

    async fn sort(&mut self) {
        for node in &self.nodes {
            node.outbox().deliver_due().await.expect("the outbox is read");
        }
        let sent = self.notifier.sent();
        for message in &sent {
            // The clocks differ, so the latest message is not always at the end.
            if !self.seen.insert(message.id) {
                continue;
            }
            let to = message.to.as_str().to_owned();
            let _ = writeln!(self.done, "    mail to {to}: {:?}", message.kind);
            let token = match (message.text.split_once("#token="), message.text.split_once(" is: "))
            {
                (Some((_, rest)), _) => {
                    rest.split_whitespace().next().unwrap_or_default().to_owned()
                }
                (None, Some((_, rest))) => rest.chars().take_while(char::is_ascii_digit).collect(),
                _ => continue,
            };
            let letter = Letter { kind: message.kind, to: to.clone(), token };
            if to == self.own() { self.victims.push(letter) } else { self.thiefs.push(letter) }
        }
    }

    fn last(letters: &[Letter], kind: MessageKind) -> Option<Letter> {
        letters.iter().rfind(|letter| letter.kind == kind).cloned()
    }

    /// Returns a mailbox or number that nobody had before.
    fn fresh(&mut self, phone: bool) -> String {
        let at = self.mailboxes.len();
        let new = match phone {
            true => format!("+49151{:05}{at:03}", self.number),
            false => format!("thief{at}@s{}.example", self.number),
        };
        self.mailboxes.push(new.clone());
        new
    }

    /// Does something that a thief can do.
    async fn strike(&mut self) {
        self.pass(MINUTE);
        // If the thief knows the password, it makes a factor recent again.
        if self.thiefs_password || self.knows {
            let (name, password) = (self.name(), self.password.clone());
            let body = json!({ "login": name, "password": password });
            self.send(true, "POST", "/auth/login", body).await;
        }
        match self.random.below(10) {
            0..3 => {
                // A new address, or one that the thief had before.
                let mails: Vec<_> =
                    self.mailboxes.iter().filter(|one| one.contains('@')).cloned().collect();
                let new = match mails.is_empty() || self.random.one_in(2) {
                    true => self.fresh(false),
                    false => self.random.pick(&mails),
                };
                self.send(true, "POST", "/auth/email", json!({ "email": new })).await;
                if let Some(letter) = Self::last(&self.thiefs, MessageKind::EmailChangeConfirm) {
                    let body = json!({ "token": letter.token });
                    self.send(true, "POST", "/auth/email/confirm", body).await;
                }
            }
            3 => {
                let new = self.fresh(false);
                self.send(true, "POST", "/auth/login-names", json!({ "email": new })).await;
                if let Some(letter) = Self::last(&self.thiefs, MessageKind::LoginNameConfirm) {
                    let body = json!({ "token": letter.token });
                    self.send(true, "POST", "/auth/login-names/confirm", body).await;
                }
            }
            4 => {
                let name = format!("thief{}x{}", self.number, self.random.below(3));
                self.send(true, "POST", "/auth/login-names", json!({ "username": name })).await;
            }
            5 => {
                let new = self.fresh(true);
                self.send(true, "POST", "/auth/phone", json!({ "phone": new })).await;
                if let Some(letter) = Self::last(&self.thiefs, MessageKind::PhoneChangeConfirm) {
                    let body = json!({ "code": letter.token });
                    self.send(true, "POST", "/auth/phone/confirm", body).await;
                }
            }
            6 if !self.thiefs_password && !self.knows => {
                let new = format!("the long password of the thief {}", self.number);
                let body = json!({ "new_password": new });
                if self.send(true, "PUT", "/auth/password", body).await.status == 200 {
                    self.password = new;
                    self.thiefs_password = true;
                }
            }
            7 => {
                self.send(true, "DELETE", "/auth/sessions", Value::Null).await;
            }
            8 => {
                // The mail goes to the present address, which may be the thief's or the victim's.
                let name = self.name();
                self.send(true, "POST", "/auth/login/mail", json!({ "login": name })).await;
            }
            _ => {
                let letters = self.thiefs.clone();
                if !letters.is_empty() {
                    let letter = self.random.pick(&letters);
                    self.spend(&letter).await;
                }
            }
        }
    }

    /// Uses a message of the thief in every possible way.
    async fn spend(&mut self, letter: &Letter) {
        let token = &letter.token;
        for path in [
            "/auth/email/undo",
            "/auth/phone/undo",
            "/auth/login-names/undo",
            "/auth/email/confirm",
            "/auth/login-names/confirm",
            "/auth/login/mail/confirm",
        ] {
            self.send(true, "POST", path, json!({ "token": token })).await;
        }
        let password = format!("the reset password of the thief {}", self.number);
        let body = json!({ "token": token, "password": password });
        if self.send(true, "POST", "/auth/password/reset", body).await.status == 204 {
            self.password = password;
            self.thiefs_password = true;
        }
    }

    async fn email(&self) -> Option<String> {
        let query = format!("SELECT email FROM auth_account WHERE username = '{}'", self.name());
        self.probe.text(&query).await
    }

    async fn sign_in(&mut self) -> bool {
        let body = json!({ "login": self.own(), "password": self.password });
        let own = self.send(false, "POST", "/auth/login", body).await.status == 200;
        let body = json!({ "login": self.name(), "password": self.password });
        own || self.send(false, "POST", "/auth/login", body).await.status == 200
    }

    /// Puts the victim's address back: by the link in the mail, or in a session. In a session it is
    /// changed at once, or added as a further name first.
    async fn put_back(&mut self) {
        if self.email().await == Some(self.own()) {
            return;
        }
        let link = Self::last(&self.victims, MessageKind::EmailChangedUndo);
        let by_link = self.thiefs_password || self.random.one_in(2);
        if let Some(link) = link.filter(|_| by_link) {
            let body = json!({ "token": link.token });
            if self.send(false, "POST", "/auth/email/undo", body).await.status == 204 {
                return;
            }
        }
        if !self.sign_in().await {
            self.fail("the victim cannot come back");
        }
        self.pass(2 * MINUTE);
        let body = json!({ "email": self.own() });
        if self.random.one_in(2) {
            let before = self.victims.len();
            self.send(false, "POST", "/auth/login-names", body.clone()).await;
            let letter = Self::last(&self.victims[before..], MessageKind::LoginNameConfirm);
            if let Some(letter) = letter {
                let body = json!({ "token": letter.token });
                self.send(false, "POST", "/auth/login-names/confirm", body).await;
                self.pass(2 * MINUTE);
            }
        }
        self.send(false, "POST", "/auth/email", body).await;
        let letter = Self::last(&self.victims, MessageKind::EmailChangeConfirm);
        let token = letter.map(|letter| letter.token);
        let answer =
            self.send(false, "POST", "/auth/email/confirm", json!({ "token": token })).await;
        if answer.status != 200 {
            self.fail("the address cannot be put back");
        }
    }

    /// Sets a new password of the victim: with the old password, or by mail.
    async fn new_password(&mut self) {
        let new = format!("the new password of victim {}", self.number);
        if !self.thiefs_password && self.sign_in().await {
            let body = json!({ "current_password": self.password, "new_password": new });
            if self.send(false, "PUT", "/auth/password", body).await.status != 200 {
                self.fail("the password cannot be changed");
            }
        } else {
            self.pass(2 * MINUTE);
            let body = json!({ "login": self.own() });
            self.send(false, "POST", "/auth/password/forgot", body).await;
            let letter = Self::last(&self.victims, MessageKind::PasswordReset);
            let Some(letter) = letter else { self.fail("no link for a forgotten password") };
            let body = json!({ "token": letter.token, "password": new });
            if self.send(false, "POST", "/auth/password/reset", body).await.status != 204 {
                self.fail("the link for a forgotten password is no good");
            }
        }
        self.password = new;
        self.thiefs_password = false;
    }

    /// Does what the victim does when they notice the theft, in either order, and then removes
    /// unknown names.
    async fn come_back(&mut self) {
        let _ = writeln!(self.done, "-- the victim comes back");
        // A reset link goes to the present address of the account.
        if self.thiefs_password || self.random.one_in(2) {
            self.put_back().await;
            self.new_password().await;
        } else {
            self.new_password().await;
            self.put_back().await;
        }
        if !self.sign_in().await {
            self.fail("the victim cannot sign in");
        }
        let listed = self.victim.get("/auth/login-names").await.json();
        for name in listed["names"].as_array().expect("names") {
            let theirs = name["name"].as_str().unwrap_or_default().to_owned();
            if name["own"] == false && theirs.contains("thief") {
                let path = format!("/auth/login-names/{}", theirs.replace('@', "%40"));
                self.send(false, "DELETE", &path, Value::Null).await;
            }
        }
    }

    /// Checks that nothing that the thief holds works on either node.
    async fn hold(&mut self) {
        let _ = writeln!(self.done, "-- the thief uses everything up");
        let before = self.password.clone();
        let guesses = [
            format!("the long password of victim {}", self.number),
            format!("the long password of the thief {}", self.number),
            format!("the reset password of the thief {}", self.number),
        ];
        let names: Vec<_> =
            self.mailboxes.iter().cloned().chain([self.own(), self.name()]).collect();
        for session in self.sessions.clone() {
            for address in self.addresses {
                if session.at(address).get("/me").await.status == 200 {
                    self.fail("a session of the thief still opens the account");
                }
            }
        }
        for letter in self.thiefs.clone() {
            self.spend(&letter).await;
        }
        for name in &names {
            for password in &guesses {
                if self.thief.stranger().login(name, password).await.status == 200 {
                    self.fail(&format!("{name} and {password} still open the account"));
                }
            }
        }
        self.pass(HOUR);
        let letters = self.thiefs.len();
        for name in self.mailboxes.clone() {
            self.send(true, "POST", "/auth/password/forgot", json!({ "login": name })).await;
            self.send(true, "POST", "/auth/login/mail", json!({ "login": name })).await;
        }
        if self.thiefs.len() > letters {
            self.fail("a link for a forgotten password or a sign-in goes to the thief");
        }
        if self.thief.clone().get("/me").await.status == 200 {
            self.fail("a mail of the thief has signed in");
        }
        if self.password != before || self.email().await != Some(self.own()) {
            self.fail("the account is the thief's again");
        }
        if !self.sign_in().await {
            self.fail("the victim has lost the account");
        }
    }
}

on_every_database! {
    async fn an_account_is_whose_address_it_proves_in_whatever_order_things_happen(probe: Probe) {
        let walks = if probe.database.backend == Backend::Sqlite { 40 } else { 9 };
        let mut worked = BTreeMap::<String, usize>::new();
        for number in 0..walks {
            let mut walk = Walk::begin(&probe, number).await;
            for step in 0..STEPS {
                walk.step().await;
                walk.check(step % 8 == 7).await;
                match walk.random.below(12) {
                    0..6 => walk.pass(MINUTE),
                    6 => walk.pass(HOUR),
                    7 if walk.random.one_in(4) => walk.pass(DAY),
                    _ => {}
                }
            }
            // The results of the steps alone.
            for (what, times) in std::mem::take(&mut walk.worked) {
                *worked.entry(what).or_default() += times;
            }
            let account = walk.recover(2).await;
            walk.check(true).await;
            walk.use_everything_up(0).await;
            walk.check(true).await;
            walk.keeps(2, Some(account)).await;
            probe.forget_attempts().await;
        }
        let all = [
            "/auth/verification/confirm",
            "/auth/verification/confirm and must set a password",
            "/auth/password/reset",
            "/auth/password",
            "/auth/email/confirm",
            "/auth/email/undo",
            "/auth/login/mail/confirm",
            "/auth/login/mail/confirm and must set a password",
            "/auth/login/mail/confirm in another browser",
        ];
        let all = if probe.database.backend == Backend::Sqlite { &all[..] } else { &all[..2] };
        let never: Vec<_> = all.iter().filter(|what| !worked.contains_key(**what)).collect();
        assert!(never.is_empty(), "no walk came to {never:?}: {worked:?}");
    }

    async fn nothing_that_a_thief_holds_works_once_the_owner_is_back(probe: Probe) {
        let sieges = if probe.database.backend == Backend::Sqlite { 40 } else { 8 };
        let mut worked = BTreeMap::<String, usize>::new();
        for number in 0..sieges {
            let mut siege = Siege::begin(&probe, number).await;
            for _ in 0..8 {
                siege.strike().await;
                match siege.random.below(8) {
                    // A thief who knows the password has time: up to the 30 days for which former
                    // addresses are remembered.
                    0 | 1 if siege.knows => siege.pass(3 * DAY),
                    2 if siege.knows => siege.pass(HOUR),
                    _ => {}
                }
            }
            siege.come_back().await;
            siege.hold().await;
            siege.pass(6 * DAY);
            siege.hold().await;
            for (what, times) in siege.worked {
                *worked.entry(what).or_default() += times;
            }
            probe.forget_attempts().await;
        }
        let all = [
            "thief /auth/email/confirm",
            "thief /auth/login-names/confirm",
            "thief /auth/phone/confirm",
            "thief /auth/password",
            "victim /auth/email/undo",
            "victim /auth/email/confirm",
            "victim /auth/login-names/confirm",
            "victim /auth/password",
            "victim /auth/password/reset",
        ];
        let all = if probe.database.backend == Backend::Sqlite { &all[..] } else { &all[..1] };
        let never: Vec<_> = all.iter().filter(|what| !worked.contains_key(**what)).collect();
        assert!(never.is_empty(), "no siege came to {never:?}: {worked:?}");
    }
}
