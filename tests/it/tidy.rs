//! Rules of this repository that a reader could otherwise not verify. They read the source as text.
//! Comments are left out, and so are the test modules at the end of a file. The contents of string
//! literals are left out too, unless a rule needs them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

/// The floors from the lowest to the highest. A module imports only from lower floors. Modules on
/// one floor do not import each other.
const FLOORS: [&[&str]; 28] = [
    &["base"],
    &["config", "webauthn"],
    &["message", "oidc"],
    &["port"],
    &["context"],
    &["handle"],
    &["audit_log"],
    &["upkeep"],
    &["rate_limit"],
    &["outbox"],
    &["outstanding"],
    &["account"],
    &["hook"],
    &["permission"],
    &["api_key", "dpop"],
    &["attempt", "password", "session"],
    &["new_device", "one_time"],
    &["identity"],
    &["guard"],
    &["flow"],
    &["confirmation", "page"],
    &["route"],
    &["captcha"],
    &["passkey", "recovery_code", "sent_code", "totp", "trusted_device"],
    &["second_factor"],
    LEAVES,
    &["maintenance"],
    &["schema", "test_kit", "guide", "lib"],
];

const LEAVES: &[&str] = &[
    "account_import",
    "account_recovery",
    "action_proof",
    "anonymous",
    "bootstrap",
    "challenge",
    "contact",
    "device_login",
    "federation",
    "login",
    "login_name",
    "mail_login",
    "membership",
    "own_account",
    "own_api_key",
    "own_session",
    "password_change",
    "password_reset",
    "registration",
    "session_data",
    "verification",
];

/// Types that must never be printed, each with the file that defines it.
const SECRETS: [(&str, &str); 46] = [
    ("api_key/token.rs", "NewKey"),
    ("config/federation.rs", "AppleKey"),
    ("federation/browser.rs", "ProviderBrowser"),
    ("federation/tokens.rs", "ProviderTokens"),
    ("port.rs", "ProviderRequest"),
    ("identity/credential.rs", "ShownKey"),
    ("own_api_key/mod.rs", "IssuedApiKey"),
    ("base/jwt.rs", "SigningKey"),
    ("base/jwt.rs", "Jwt"),
    ("base/secret.rs", "Secret"),
    ("base/secret.rs", "DigestKey"),
    ("base/seal.rs", "Sealer"),
    ("message/mod.rs", "Message"),
    ("message/own.rs", "OwnMessage"),
    ("account/stored_password.rs", "StoredPassword"),
    ("password/typed.rs", "Password"),
    ("session/device.rs", "KnownDevice"),
    ("session/issue.rs", "Issued"),
    ("session/issue.rs", "Minted"),
    ("session/trusted.rs", "Token"),
    ("session/trusted.rs", "TrustedToken"),
    ("one_time/start.rs", "Started"),
    ("page/link.rs", "LinkToken"),
    ("action_proof/mod.rs", "IssuedProof"),
    ("challenge/mod.rs", "PreparedChallenge"),
    ("challenge/mod.rs", "StartChallenge"),
    ("login/mod.rs", "Credentials"),
    ("login/basic.rs", "BasicCredentials"),
    ("registration/mod.rs", "Application"),
    ("verification/mod.rs", "Confirmation"),
    ("mail_login/mod.rs", "Confirmation"),
    ("mail_login/mod.rs", "CodeToType"),
    ("mail_login/browser.rs", "AskingBrowser"),
    ("totp/mod.rs", "NewTotp"),
    ("recovery_code/mod.rs", "NewRecoveryCodes"),
    ("second_factor/code.rs", "FactorCode"),
    ("port.rs", "ExternalChallenge"),
    ("captcha/hosted.rs", "HostedCaptcha"),
    ("captcha/kind.rs", "CaptchaResponse"),
    ("dpop/mod.rs", "ShownProof"),
    ("device_login/code.rs", "DeviceCode"),
    ("device_login/start.rs", "StartedDeviceLogin"),
    ("device_login/poll.rs", "PollDevice"),
    ("device_login/poll.rs", "DeviceToken"),
    ("device_login/view.rs", "DeviceRequest"),
    ("device_login/decide.rs", "ApprovedDevice"),
];

const MOST_LINES: usize = 900;

/// Files that may be longer, each with the reason.
const LONG_FILES: [(&str, &str); 2] = [
    ("permission/language.rs", "the language, its manual page and its tables are one thought"),
    ("password/hash.rs", "half of it are tests against hashes of other implementations"),
];

/// A source file below `src`.
struct File {
    /// The path below `src`, such as `session/cookie.rs`.
    path: String,
    /// The source without comments, contents of literals and test modules.
    code: String,
    /// The same, with the contents of literals.
    text: String,
    lines: usize,
}

impl File {
    fn new(path: &str, source: &str) -> Self {
        let body = source.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        Self {
            path: path.to_owned(),
            code: strip(body, Literals::Empty),
            text: strip(body, Literals::Keep),
            lines: source.lines().count(),
        }
    }

    /// Returns the module to which the file belongs: the name of its folder, or of the file itself.
    fn module(&self) -> &str {
        self.path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Literals {
    Keep,
    Empty,
}

/// Returns the source without comments and, if requested, without the contents of strings.
fn strip(source: &str, literals: Literals) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let hashes =
            rest.strip_prefix('r').map(|tail| tail.len() - tail.trim_start_matches('#').len());
        let after_word = out.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let (open, close) = if rest.starts_with("//") {
            rest = &rest[rest.find('\n').unwrap_or(rest.len())..];
            continue;
        } else if rest.starts_with("/*") {
            rest = rest.find("*/").map_or("", |end| &rest[end + 2..]);
            continue;
        } else if let Some(hashes) = hashes
            && !after_word
            && rest[1 + hashes..].starts_with('"')
        {
            (2 + hashes, format!("\"{}", "#".repeat(hashes)))
        } else if first == '"' {
            (1, "\"".to_owned())
        } else if rest.starts_with("'\"'") || rest.starts_with("'\\'") {
            // A quote in a character literal does not start a string.
            let end = rest[2..].find('\'').map_or(rest.len(), |at| at + 3);
            rest = &rest[end..];
            continue;
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        let body = &rest[open..];
        let end = end_of_literal(body, &close, open == 1);
        if literals == Literals::Keep {
            out.push_str(&rest[..open + end]);
        } else {
            out.push_str("\"\"");
        }
        rest = &body[end..];
    }
    out
}

/// Returns the position after the closing quote of a literal.
fn end_of_literal(body: &str, close: &str, escapes: bool) -> usize {
    let mut at = 0;
    while at < body.len() {
        if escapes && body[at..].starts_with('\\') {
            at += 1 + body[at + 1..].chars().next().map_or(0, char::len_utf8);
        } else if body[at..].starts_with(close) {
            return at + close.len();
        } else {
            at += body[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    body.len()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).expect("a folder is read");
    for path in entries.map(|entry| entry.expect("an entry is read").path()) {
        if path.is_dir() && !path.ends_with("target") {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources() -> &'static [File] {
    static SOURCES: LazyLock<Vec<File>> = LazyLock::new(read_sources);
    &SOURCES
}

fn read_sources() -> Vec<File> {
    let src = root().join("src");
    let files: Vec<_> = rust_files(&src)
        .iter()
        // The pages of the guide show code of an application, in folders of their own.
        .filter(|path| {
            path.parent() == Some(&src.join("guide")) || !path.starts_with(src.join("guide"))
        })
        .map(|path| {
            let source = fs::read_to_string(path).expect("a source is read");
            let path = path.strip_prefix(&src).expect("it is below src").display().to_string();
            File::new(&path, &source)
        })
        .collect();
    assert!(files.len() > 30, "only {} sources were found", files.len());
    files
}

/// Applies a rule to all sources, and to an example that breaks it. If a rule finds nothing in the
/// example, it would never find anything.
fn check(rule: impl Fn(&File) -> Vec<String>, path: &str, broken: &str) {
    let example = File::new(path, broken);
    assert!(!rule(&example).is_empty(), "the rule does not see: {broken}");
    let faults: Vec<_> = sources().iter().flat_map(rule).collect();
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Returns whether `word` is in the code as a separate word, and not as part of a longer name.
fn has(code: &str, word: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back().is_some_and(part_of_name);
        let after = word.ends_with(part_of_name)
            && code[at + word.len()..].chars().next().is_some_and(part_of_name);
        let starts_name = word.starts_with(part_of_name);
        !(before && starts_name || after)
    })
}

/// Refuses these words outside of the files that may use them. A name that starts with `/` stands
/// for all files of this name.
fn only_in<'a>(allowed: &'a [&'a str], words: &'a [&'a str]) -> impl Fn(&File) -> Vec<String> + 'a {
    move |file| {
        let all_of_name = |name: &str| name.starts_with('/') && file.path.ends_with(name);
        if allowed.iter().any(|allowed| file.path == *allowed || all_of_name(allowed)) {
            return Vec::new();
        }
        let found = words.iter().filter(|word| has(&file.code, word));
        found.map(|word| format!("{}: `{word}` belongs into {allowed:?}", file.path)).collect()
    }
}

/// Returns the first names of all `crate::…` paths. It leaves out `$crate::` in a macro, because
/// that is the public interface, as the macro's user sees it.
fn imports(code: &str) -> Vec<String> {
    names_after(code, "crate::")
}

/// Returns the names that follow this start of a path, including each name of a group.
fn names_after(code: &str, root: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, root) in code.match_indices(root) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c == '$' || c == ':' || c == '_' || c.is_alphanumeric()) {
            continue;
        }
        let rest = &code[at + root.len()..];
        let name = |text: &str| {
            text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>()
        };
        let Some(group) = rest.strip_prefix('{') else {
            names.push(name(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = 0;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' | ',' if depth == 0 => {
                    names.push(name(&group[start..at]));
                    start = at + 1;
                    if c == '}' {
                        break;
                    }
                }
                '}' => depth -= 1,
                _ => {}
            }
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// Returns the folder and the part of it to which a file belongs. A part is a file, or a folder
/// inside. A file and the folder with its name are one part.
fn part(file: &File) -> (&str, &str) {
    let (folder, rest) = file.path.split_once('/').unwrap_or(("", &file.path));
    let part = rest.split('/').next().unwrap_or_default();
    (folder, part.trim_end_matches(".rs"))
}

/// Returns for each part of a folder the parts that it imports. A re-export (`pub use`, `pub(crate)
/// use`) does not count.
fn imports_inside(files: &[File], folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let files: Vec<_> = files.iter().filter(|file| part(file).0 == folder).collect();
    let parts: BTreeSet<_> = files.iter().map(|file| part(file).1).collect();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let own = part(file).1;
        let lines = file.code.split_inclusive(';');
        let code: String = lines
            .filter(|line| {
                let own = line.lines().map(str::trim);
                let mut own = own.filter(|line| !line.is_empty() && !line.starts_with("#["));
                let first = own.next().unwrap_or_default();
                !(first.starts_with("pub use ") || first.starts_with("pub(crate) use "))
            })
            .collect();
        let mut names = names_after(&code, &format!("crate::{folder}::"));
        let deep = file.path.matches('/').count() > 1;
        if own == "mod" {
            let used = |part: &str| !names_after(&code, &format!("{part}::")).is_empty();
            let below = parts.iter().filter(|part| used(part));
            names.extend(below.map(|part| (*part).to_owned()));
        } else if !deep {
            names.extend(names_after(&code, "super::"));
        }
        for name in names {
            // A module in the same file, such as one of several tables.
            if has(&code, &format!("mod {name}")) && own != "mod" {
                continue;
            }
            let target = if parts.contains(&*name) { name } else { "mod".to_owned() };
            if target != own {
                found.entry(own.to_owned()).or_default().insert(target);
            }
        }
    }
    found
}

/// Returns a path from a part back to itself, if there is one.
fn circle(imports: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        at: &str,
        imports: &BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> bool {
        if way.iter().any(|part| part == at) {
            way.push(at.to_owned());
            return true;
        }
        if done.contains(at) {
            return false;
        }
        way.push(at.to_owned());
        for next in imports.get(at).into_iter().flatten() {
            if visit(next, imports, way, done) {
                return true;
            }
        }
        way.pop();
        done.insert(at.to_owned());
        false
    }
    let mut done = BTreeSet::new();
    imports.keys().find_map(|start| {
        let mut way = Vec::new();
        visit(start, imports, &mut way, &mut done).then_some(way)
    })
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

fn climbs(file: &File) -> Vec<String> {
    let module = file.module();
    let Some(own) = floor(module) else { return Vec::new() };
    imports(&file.code)
        .iter()
        .filter(|import| *import != module && floor(import).is_some_and(|floor| floor >= own))
        .map(|import| format!("{} imports `{import}`, which is not below it", file.path))
        .collect()
}

#[test]
fn imports_run_down_only_and_never_across_a_floor() {
    check(climbs, "session/store.rs", "use crate::login::Login;");
    check(climbs, "login/mod.rs", "use crate::{account::Account, registration::{Application}};");
    check(climbs, "base/clock.rs", "fn now() -> crate::config::Config {}");
}

#[test]
fn imports_inside_a_folder_have_an_order() {
    let example = |path: &str, source: &str| File::new(path, source);
    let page = example("lift/mod.rs", "mod cabin; mod rope; pub use cabin::Cabin; use rope::Rope;");
    let rope = example("lift/rope.rs", "pub struct Rope;");
    let cabin = example("lift/cabin.rs", "use super::rope::Rope; pub struct Cabin(Rope);");
    let files = [page, rope, cabin];
    assert_eq!(circle(&imports_inside(&files, "lift")), None);
    for back in ["use super::cabin::Cabin;", "use crate::lift::{cabin::Cabin};", "use super::Lift;"]
    {
        let rope = example("lift/rope.rs", back);
        let files = [example("lift/mod.rs", "use rope::Rope;"), rope];
        let cabin = example("lift/cabin.rs", "use super::rope::Rope;");
        let files: Vec<_> = files.into_iter().chain([cabin]).collect();
        assert!(circle(&imports_inside(&files, "lift")).is_some(), "{back}");
    }
    let folders: BTreeSet<_> = sources().iter().map(|file| part(file).0).collect();
    assert!(folders.len() > 20, "{folders:?}");
    for folder in folders.into_iter().filter(|folder| !folder.is_empty()) {
        let imports = imports_inside(sources(), folder);
        assert_eq!(circle(&imports), None, "{folder}");
    }
}

#[test]
fn every_module_stands_on_a_floor() {
    let homeless = |file: &File| match floor(file.module()) {
        Some(_) => Vec::new(),
        None => vec![format!("{} stands on no floor", file.path)],
    };
    check(homeless, "attic/mod.rs", "");
    for module in FLOORS.concat() {
        let there = sources().iter().any(|file| file.module() == module);
        assert!(there, "`{module}` has a floor and no file");
    }
}

#[test]
fn things_are_imported_from_where_they_are_defined() {
    let around = |file: &File| {
        if file.module() == "lib" {
            return Vec::new();
        }
        let through_lib = imports(&file.code).into_iter().filter(|import| floor(import).is_none());
        let mut faults: Vec<_> = through_lib
            .map(|name| format!("{}: `crate::{name}` is not a module", file.path))
            .collect();
        let top = !file.path.contains('/')
            || file.path.matches('/').count() == 1 && file.path.ends_with("/mod.rs");
        if file.code.contains("super::super::") || top && has(&file.code, "super::") {
            faults.push(format!("{}: `super::` leaves the module", file.path));
        }
        faults
    };
    check(around, "login/mod.rs", "use crate::Fault;");
    check(around, "login/mod.rs", "use super::registration::Application;");
    check(around, "login/routes.rs", "use super::super::registration::Application;");
}

#[test]
fn every_leaf_has_a_test_file_of_its_name() {
    for leaf in LEAVES {
        let path = root().join("tests/it").join(format!("{leaf}.rs"));
        assert!(path.exists(), "{} is missing", path.display());
    }
}

/// A file outside of `src` is not in the package. The README is.
#[test]
fn the_sources_include_only_files_of_the_package() {
    let check_file = |file: &File| {
        let included = file.text.split("include_str!(\"").skip(1);
        let included = included.chain(file.text.split("include_bytes!(\"").skip(1));
        let depth = file.path.matches('/').count();
        let leaves = included.filter(|rest| {
            let path = rest.split('"').next().unwrap_or_default();
            path.matches("../").count() > depth && path != "../README.md"
        });
        leaves.map(|_| format!("{}: it includes a file outside of src", file.path)).collect()
    };
    check(check_file, "guide/nodes.rs", "#![doc = include_str!(\"../../tests/it/a.rs\")]");
}

#[test]
fn only_the_clock_reads_the_time() {
    let words = ["SystemTime::now", "Instant::now", "now_utc", "now_local", "Utc::now"];
    check(only_in(&["base/clock.rs"], &words), "login/mod.rs", "let now = SystemTime::now();");
}

#[test]
fn only_the_ground_floor_draws_randomness() {
    let words = ["getrandom", "rand::", "OsRng", "thread_rng", "new_v4", "now_v7", "generate_salt"];
    check(only_in(&["base/secret.rs"], &words), "session/issue.rs", "getrandom::fill(&mut sid)");
}

#[test]
fn only_config_env_reads_the_environment() {
    let words = ["env::var", "env::vars", "env::var_os", "env!", "option_env!"];
    check(only_in(&["config/env.rs"], &words), "config/mod.rs", "std::env::var(name)");
}

#[test]
fn only_stores_build_queries() {
    let words = [
        "::find()",
        "find_by_id",
        "find_related",
        "update_many",
        "delete_many",
        "delete_by_id",
        "Entity::insert",
        "insert_many",
        "Statement::",
        "from_sql_and_values",
        "from_string",
        "execute_unprepared",
        "execute_raw",
        "query_one",
        "query_all",
        "query_one_raw",
        "query_all_raw",
    ];
    // The last two send statements, and ask for the connection on which they run.
    let stores =
        ["/store.rs", "audit_log/mod.rs", "base/transaction/txn.rs", "base/transaction/server.rs"];
    let broken = "account::Entity::find().one(db)";
    check(only_in(&stores, &words), "login/mod.rs", broken);
}

#[test]
fn changes_of_accounts_and_sessions_go_through_the_function_that_moves_the_version() {
    // Cached data of a row is used as long as its version stays the same.
    let homes = ["account/store.rs"];
    let rule = only_in(&homes, &["account::Entity::update_many"]);
    check(rule, "login/store.rs", "account::Entity::update_many().exec(db)");
    let twice = |file: &File| {
        let most = match file.path.as_str() {
            // One replaces the version, the other one records what no request reads.
            "account/store.rs" => 2,
            "session/store.rs" => 1,
            _ => return Vec::new(),
        };
        let entity =
            if most == 2 { "account::Entity::update_many" } else { " Entity::update_many" };
        let found = file.code.matches(entity).count();
        (found != most)
            .then(|| format!("{} updates rows directly", file.path))
            .into_iter()
            .collect()
    };
    check(
        twice,
        "session/store.rs",
        "let updated = Entity::update_many().exec(db).await?;\n Entity::update_many()",
    );
}

#[test]
fn one_function_makes_the_session_of_a_sign_in() {
    // The first says that someone has signed in. The second decides the stage of the sign-in.
    let words = ["EventKind::LoginSucceeded", "at_stage"];
    let homes = ["flow/sign_in.rs", "session/issue.rs", "test_kit/client.rs", "test_kit/matrix.rs"];
    check(only_in(&homes, &words), "login/mod.rs", "start.event(EventKind::LoginSucceeded)");
    // Only one place inserts the row of a session, of any kind.
    let inserts = |file: &File| {
        let there = file.module() == "session" && has(&file.code, "store::insert");
        let misplaced = there && file.path != "session/issue.rs";
        misplaced.then(|| format!("{} inserts a session", file.path)).into_iter().collect()
    };
    check(inserts, "session/mod.rs", "store::insert(txn, row).await?;");
    let entity = only_in(&["session/store.rs"], &["session::entity::ActiveModel"]);
    check(entity, "login/mod.rs", "session::entity::ActiveModel::from(row)");
    // The store's function cannot be called from elsewhere under another name.
    let store = sources().iter().find(|file| file.path == "session/store.rs").expect("the store");
    assert!(
        store.code.contains("pub(super) async fn insert<"),
        "other modules can insert sessions"
    );
}

#[test]
fn few_files_start_a_session_and_each_has_a_reason() {
    let homes = [
        // Sign-ins.
        "flow/sign_in.rs",
        // What the application starts itself.
        "session/mod.rs",
        // A person has approved it in another session. No factor is passed, so it is no sign-in.
        "device_login/poll.rs",
        // The session goes on, under a new epoch or after a step-up.
        "flow/address.rs",
        "flow/enrolling.rs",
        "flow/factors.rs",
        "password_change/mod.rs",
    ];
    let rule = only_in(&homes, &["StartSession::new"]);
    check(&rule, "login/mod.rs", "StartSession::new(context, context.db(), client)");
    check(&rule, "mail_login/mod.rs", "crate::session::StartSession::new(context, db, client)");
    // These flows change the row of the account first, and so lock it themselves.
    let homes = [
        "federation/sign_in.rs",
        "flow/enrolling.rs",
        "flow/sign_in.rs",
        "mail_login/create.rs",
        "mail_login/mod.rs",
        "password_change/mod.rs",
        "registration/mod.rs",
        "verification/mod.rs",
    ];
    let rule = only_in(&homes, &["by_the_flow"]);
    check(rule, "login/mod.rs", "session.make(txn, Locked::by_the_flow()).await?");
}

/// Returns the arms for "everything else" that end in a session.
fn wildcard_sessions(file: &File) -> Vec<String> {
    let words = ["LoginOutcome::Session", "SignedIn", ".make(", ".issue()", "Stage::Full"];
    let arms = file.code.match_indices("_ =>").filter(|(at, _)| {
        let before = file.code[..*at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    });
    let ends = |(at, start): (usize, &str)| {
        let mut depth = 0_i32;
        let rest = &file.code[at + start.len()..];
        let end = rest.find(|c: char| {
            depth += i32::from("({[".contains(c)) - i32::from(")}]".contains(c));
            depth < 0 || depth == 0 && c == ','
        });
        let arm = &rest[..end.unwrap_or(rest.len())];
        let word = words.iter().find(|word| arm.contains(**word))?;
        Some(format!("{}: an arm `_ =>` ends in `{word}`", file.path))
    };
    arms.filter_map(ends).collect()
}

#[test]
fn no_arm_for_everything_else_ends_in_a_session() {
    let outcome = "match stage { Stage::MustEnrol => wait(), _ => LoginOutcome::Session(issued) }";
    check(wildcard_sessions, "flow/sign_in.rs", outcome);
    let block = "match outcome { Outcome::Wrong => refuse(), _ => { let made = session.make(txn, locked).await?; } }";
    check(wildcard_sessions, "login/mod.rs", block);
    // What follows the match is not part of the arm.
    let after = File::new("a.rs", "match a { B => 1, _ => 2 }; start.issue()");
    assert!(wildcard_sessions(&after).is_empty());
    let sign_in = fs::read_to_string(root().join("src/flow/sign_in.rs")).expect("it is read");
    assert!(sign_in.contains("#![deny(clippy::wildcard_enum_match_arm)]"));
}

#[test]
fn only_a_transaction_tells_of_what_was_recorded() {
    // The last three report things without a row: a session that moved, and two events that
    // happened but could not be written.
    let homes = [
        "base/event.rs",
        "audit_log/mod.rs",
        "identity/request_identity/turn.rs",
        "rate_limit/mod.rs",
        "attempt/watch.rs",
    ];
    check(only_in(&homes, &["trace()", "trace_uncommitted"]), "login/mod.rs", "event.trace();");
    // What is announced or counted has happened. Only the end of a transaction knows that.
    let homes = ["base/announcement.rs", "base/event.rs", "session/issue.rs"];
    check(only_in(&homes, &["announce("]), "login/mod.rs", "announce(None, Some(session));");
    let outbox = ["outbox/mod.rs", "outbox/deliver.rs"];
    check(only_in(&outbox, &["deliver_soon"]), "login/mod.rs", "outbox::deliver_soon(context);");
}

#[test]
fn few_files_count_without_an_event() {
    let homes = [
        // Requests and attempts that were refused, which change no row.
        "attempt/mod.rs",
        "attempt/queue.rs",
        "audit_log/mod.rs",
        "password/mod.rs",
        "rate_limit/mod.rs",
        // A refused attempt without a row of its own, after the commit.
        "attempt/ticket.rs",
        // A proof of a key that is refused.
        "dpop/mod.rs",
        // An API key that is refused.
        "identity/request_identity/api_key.rs",
        // A rotation, after the statement that is its own transaction.
        "identity/request_identity/turn.rs",
    ];
    let rule = |file: &File| {
        let imports = names_after(&file.code, "crate::base::event::");
        let counts = imports.iter().any(|name| name == "count");
        let misplaced = counts && !homes.contains(&&*file.path);
        misplaced.then(|| format!("{} counts by itself", file.path)).into_iter().collect()
    };
    check(rule, "login/mod.rs", "use crate::base::event::{DENIED, Event, count};");
    check(rule, "login/mod.rs", "crate::base::event::count(DENIED);");
    for home in homes {
        let file = sources().iter().find(|file| file.path == home).expect("the file is there");
        let counts = names_after(&file.code, "crate::base::event::").contains(&"count".to_owned());
        assert!(counts, "{home} counts nothing any more");
    }
}

#[test]
fn routes_ask_no_store_and_open_no_transaction() {
    let rules = |file: &File| {
        let words = ["store::", "transaction!", "sea_orm", "audit_log"];
        if !file.path.ends_with("routes.rs") {
            return Vec::new();
        }
        let found = words.iter().filter(|word| has(&file.code, word));
        found.map(|word| format!("{}: `{word}` belongs into the flow", file.path)).collect()
    };
    check(rules, "login/routes.rs", "let row = store::find(db, id).await?;");
}

#[test]
fn only_problem_rs_builds_error_answers() {
    let words = ["status_mut", "WWW_AUTHENTICATE", "RETRY_AFTER", "Response::builder"];
    let rule = only_in(&["base/problem.rs"], &words);
    check(rule, "login/routes.rs", "*response.status_mut() = StatusCode::FORBIDDEN;");
    let bodies = only_in(&["base/problem.rs", "route/mod.rs"], &["Response::new"]);
    check(bodies, "guard/require.rs", "Response::new(Body::empty())");
    let problem_json = |file: &File| {
        let there = file.text.contains("application/problem+json");
        let misplaced = there && file.path != "base/problem.rs";
        misplaced.then(|| format!("{} writes problem+json", file.path)).into_iter().collect()
    };
    check(problem_json, "route.rs", r#"const TYPE: &str = "application/problem+json";"#);
    // A tuple with its own status is an answer. Only successes may be built in this way.
    let tuples = |file: &File| {
        let answers = file.code.match_indices("(StatusCode::").filter_map(|(at, start)| {
            let name = file.code[at + start.len()..]
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()?;
            let success = ["OK", "CREATED", "ACCEPTED", "NO_CONTENT"].contains(&name);
            (!success).then(|| format!("{} answers {name} by itself", file.path))
        });
        answers.collect()
    };
    check(tuples, "login/routes.rs", "(StatusCode::FORBIDDEN, json(&body)).into_response()");
}

#[test]
fn only_the_session_cookie_file_writes_set_cookie() {
    let rule = |file: &File| {
        let names =
            has(&file.code, "SET_COOKIE") || file.text.to_lowercase().contains("\"set-cookie\"");
        let misplaced = names && file.path != "session/cookie.rs";
        misplaced.then(|| format!("{} writes Set-Cookie", file.path)).into_iter().collect()
    };
    check(rule, "login/routes.rs", "headers.append(SET_COOKIE, value);");
    check(rule, "login/routes.rs", r#"headers.append("Set-Cookie", value);"#);
}

/// Returns what would print a secret: a derived or written `Display` or `Serialize`, or a derived
/// `Debug`.
fn shown(file: &File) -> Vec<String> {
    let mut faults = Vec::new();
    for (_, secret) in SECRETS {
        for shows in ["Display", "Serialize", "LowerHex", "UpperHex"] {
            if has(&file.code, &format!("{shows} for {secret}")) {
                faults.push(format!("{}: {secret} has {shows}", file.path));
            }
        }
        let Some(at) = ["struct", "enum"].iter().find_map(|kind| {
            let name = format!("{kind} {secret}");
            file.code.match_indices(&name).map(|(at, _)| at).find(|at| {
                let next = file.code[at + name.len()..].chars().next();
                !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
            })
        }) else {
            continue;
        };
        let item = file.code[..at].rfind(['}', ';']).map_or(0, |end| end + 1);
        for shows in ["Debug", "Serialize", "Display"] {
            if has(&file.code[item..at], shows) {
                faults.push(format!("{}: {secret} derives {shows}", file.path));
            }
        }
    }
    faults
}

#[test]
fn no_secret_is_printed_or_serialized() {
    check(shown, "base/secret.rs", "impl fmt::Display for Secret {}");
    check(
        shown,
        "base/secret.rs",
        "use a::b;\n#[derive(Clone, Debug)]\npub struct Secret(Vec<u8>);",
    );
    for (path, secret) in SECRETS {
        let there = sources()
            .iter()
            .any(|file| file.path == path && has(&file.code, &format!("struct {secret}")));
        assert!(there, "{secret} is not in {path} any more");
    }
}

/// Returns the texts between quotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('"').skip(1).step_by(2)
}

#[test]
fn the_guide_knows_every_error_code_and_no_other() {
    let guide = fs::read_to_string(root().join("src/guide/errors.rs")).expect("a page is read");
    let mut codes = Vec::new();
    for file in sources() {
        for body in file.text.split("fn code(&self) -> &'static str {").skip(1) {
            let body = body.split("\n    }").next().unwrap_or_default();
            codes.extend(quoted(body).map(str::to_owned));
        }
        // The tables of `problem!`: `Self::NotFound => NOT_FOUND, "account_not_found";`
        for table in file.text.split("problem! {").skip(1) {
            let rows = table.split("passes on").next().unwrap_or_default();
            codes.extend(quoted(rows).map(str::to_owned));
        }
        // The codes of invalid fields have a separate table and a separate test.
        codes.extend(field_codes(file).0);
    }
    assert!(codes.len() > 30, "only {} codes were found", codes.len());
    for code in &codes {
        assert!(guide.contains(&format!("`{code}`")), "`{code}` is not in the guide");
    }
    for row in guide.lines().filter_map(|line| line.strip_prefix("//! | `")) {
        let cell = row.split(" | ").next().unwrap_or_default();
        for code in cell.split(", ").map(|code| code.trim_matches('`')) {
            assert!(codes.iter().any(|known| known == code), "the guide makes up `{code}`");
        }
    }
}

/// Returns the codes of invalid fields in a file, and the places where a code is not a literal.
fn field_codes(file: &File) -> (Vec<String>, Vec<String>) {
    let (mut codes, mut hidden) = (Vec::new(), Vec::new());
    for call in file.text.split("InvalidField::new(").skip(1) {
        // The field is the first argument. It is a literal, a constant, or a call without a comma.
        let code = call.split_once(',').map_or("", |(_, rest)| rest.trim_start());
        match code.strip_prefix('"').and_then(|code| code.split_once('"')) {
            Some((code, _)) => codes.push(code.to_owned()),
            None => {
                hidden.push(format!("{}: the code of a field is behind `{code:.40}`", file.path));
            }
        }
    }
    (codes, hidden)
}

#[test]
fn the_guide_knows_every_code_of_an_invalid_field_and_no_other() {
    let hidden = |file: &File| field_codes(file).1;
    check(hidden, "contact/mod.rs", "InvalidField::new(channel.field(), code, \"is no address\")");
    let guide = fs::read_to_string(root().join("src/guide/errors.rs")).expect("a page is read");
    let table = guide.split("//! | code of a field |").nth(1).expect("the table of fields");
    let table = table.split("//!\n").next().unwrap_or_default();
    let cells = table.lines().filter_map(|line| line.strip_prefix("//! | `"));
    let known: BTreeSet<&str> = cells
        .flat_map(|row| row.split(" | ").next().unwrap_or_default().split(", "))
        .map(|code| code.trim_matches('`'))
        .collect();
    let made: Vec<String> = sources().iter().flat_map(|file| field_codes(file).0).collect();
    let made: BTreeSet<&str> = made.iter().map(String::as_str).collect();
    assert!(made.len() > 20, "only {} codes were found", made.len());
    assert_eq!(made, known, "codes that the source makes, and codes in the guide");
    for code in made {
        let snake = code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        assert!(snake, "{code} is not in snake_case");
    }
}

/// The calls that report a finding. The first argument is its code.
const NOTES_FINDING: [&str; 2] = ["report_finding(", ".update_finding("];

/// Returns the codes of findings in a file: the first arguments of calls that report one, and
/// constants whose names say so.
fn finding_codes(file: &File) -> Vec<String> {
    let word = |text: &str| {
        let literal = text.trim_start().strip_prefix('"')?;
        let (code, rest) = literal.split_once('"')?;
        let plain = code.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        // A single word is a code of another kind.
        let ends = rest.trim_start().starts_with([',', ';']);
        (plain && ends && code.contains('_')).then(|| code.to_owned())
    };
    let starts = NOTES_FINDING.iter().chain(&["find(", "const FINDING: &str ="]);
    let found = starts.flat_map(|start| file.text.split(start).skip(1));
    let lists = file.text.split("const FINDINGS: ").skip(1);
    let listed = lists.flat_map(|list| quoted(list.split(';').nth(1).unwrap_or_default()));
    found.filter_map(word).chain(listed.map(str::to_owned)).collect()
}

/// Returns codes of findings that are not literals at the call. This test could not see them.
fn hidden_finding_codes(file: &File) -> Vec<String> {
    let noted = NOTES_FINDING.iter().flat_map(|start| file.text.split(start).skip(1));
    let first = noted.map(|rest| rest.split([',', ')']).next().unwrap_or_default().trim());
    let seen = |code: &str| code.starts_with('"') || code.starts_with("FINDING") || code == "&self";
    let hidden = first.filter(|code| !seen(code));
    hidden.map(|code| format!("{}: the code of a finding is behind `{code}`", file.path)).collect()
}

/// Returns the names of events, as the table and the log contain them.
fn event_names() -> Vec<String> {
    let file = sources().iter().find(|file| file.path == "base/event.rs").expect("it is there");
    let kinds = file.text.split("\nevent_kinds! {").nth(1).expect("the list of kinds");
    let kinds = kinds.split("\n}").next().unwrap_or_default();
    quoted(kinds).map(str::to_owned).collect()
}

/// Returns the texts of the warnings and errors that a file logs as literals.
fn warnings(file: &File) -> Vec<String> {
    let mut texts = Vec::new();
    for start in ["tracing::warn!(", "tracing::error!("] {
        for call in file.text.split(start).skip(1) {
            let call = call.split(");").next().unwrap_or_default();
            let text = call.rsplit('"').nth(1).unwrap_or_default();
            // A warning with a code is found by the code.
            let code = call.split("code = \"").nth(1).and_then(|rest| rest.split('"').next());
            if let Some(code) = code {
                texts.push(code.to_owned());
                continue;
            }
            // A literal can continue on the next line.
            let lines: Vec<_> = text.split("\\\n").map(str::trim_start).collect();
            let text = lines.concat();
            if !text.is_empty() && text != "{text}" && text != "{}" {
                texts.push(text);
            }
        }
    }
    texts
}

#[test]
fn an_operator_can_look_up_every_finding_and_every_warning() {
    let page = fs::read_to_string(root().join("src/guide/operating.rs")).expect("a page is read");
    let missing_finding = |file: &File| {
        let codes = finding_codes(file).into_iter();
        let missing = codes.filter(|code| !page.contains(&format!("//! | `{code}`")));
        missing.map(|code| format!("{}: the finding `{code}` has no row", file.path)).collect()
    };
    check(missing_finding, "login/mod.rs", r#"auth.find("moon_is_full", "beware")"#);
    check(missing_finding, "upkeep/mod.rs", r#"const FINDING: &str = "moon_is_full";"#);
    let listed = r#"const FINDINGS: [&str; 2] = ["clock_skew", "moon_is_full"];"#;
    check(missing_finding, "identity/refused.rs", listed);
    check(
        hidden_finding_codes,
        "login/mod.rs",
        "let code = moon(); auth.report_finding(code, text);",
    );
    let missing_warning = |file: &File| {
        let missing = warnings(file).into_iter().filter(|text| {
            !page.contains(&format!("\"{text}\"")) && !page.contains(&format!("//! | `{text}`"))
        });
        missing.map(|text| format!("{}: \"{text}\" has no row", file.path)).collect()
    };
    check(
        missing_warning,
        "login/mod.rs",
        r#"tracing::warn!(target: "portcullis", %error, "the moon is full");"#,
    );
    // The page contains no others.
    let codes: Vec<_> = sources().iter().flat_map(finding_codes).collect();
    let texts: Vec<_> = sources().iter().flat_map(warnings).collect();
    assert!(codes.len() >= 12 && texts.len() >= 15, "{codes:?} {texts:?}");
    for row in page.lines().filter_map(|line| line.strip_prefix("//! | ")) {
        let cell = row.split(" | ").next().unwrap_or_default();
        let known = |name: &String| cell.contains(name.as_str());
        let quoted = cell.split('`').nth(1).map(|code| format!("\"{code}\""));
        let quoted = quoted.unwrap_or_else(|| cell.to_owned());
        let written = || sources().iter().any(|file| file.text.contains(&quoted));
        let heading = ["code", "event", "text"].contains(&cell) || cell.starts_with("---");
        assert!(
            heading || codes.iter().any(known) || texts.iter().any(known) || written(),
            "the page makes up {cell}"
        );
    }
    // Each section contains only what its heading says.
    let section = |heading: &str| {
        let section = page.split(&format!("//! # {heading}\n")).nth(1).expect("a section");
        let section = section.split("//! # ").next().unwrap_or_default();
        let rows = section.lines().filter_map(|line| line.strip_prefix("//! | "));
        rows.skip(1).map(|row| row.split(" | ").next().unwrap_or_default()).collect::<Vec<_>>()
    };
    let texts = section("Warnings and errors in the log");
    assert!(texts.iter().all(|cell| cell.starts_with('"')), "{texts:?}");
    let known = event_names();
    let named = section("Events to watch");
    let named: Vec<_> = named.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(known.len() > 50 && named.len() > 10, "{known:?} {named:?}");
    for name in named {
        assert!(known.iter().any(|known| known == name), "there is no event `{name}`");
    }
    let findings = section("Findings");
    let is_event = |cell: &str| known.iter().any(|name| cell.starts_with(&format!("`{name}`")));
    let no_finding = findings.iter().find(|cell| is_event(cell));
    assert!(no_finding.is_none(), "{no_finding:?} is an event");
}

/// Returns the labels under which a file counts something that is not an event.
fn counted(file: &File) -> Vec<String> {
    let calls = file.text.match_indices("count(\"").filter(|(at, _)| {
        let before = file.text[..*at].chars().next_back();
        !before.is_some_and(|c| c == '.' || c == '_' || c.is_alphanumeric())
    });
    let label = |rest: &str| rest.split('"').next().unwrap_or_default().to_owned();
    let mut labels: Vec<_> = calls.map(|(at, call)| label(&file.text[at + call.len()..])).collect();
    if file.path == "base/event.rs" {
        let names = file.text.split("pub(crate) const ").skip(1);
        labels.extend(
            names.filter_map(|rest| rest.split_once("&str = \"")).map(|(_, rest)| label(rest)),
        );
    }
    labels
}

#[test]
fn the_guide_knows_every_counter_and_no_other() {
    let page = fs::read_to_string(root().join("src/guide/telemetry.rs")).expect("a page is read");
    let table = page.split("//! | label | counts |").nth(1).expect("the table of labels");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with("//! | `"));
    let known: BTreeSet<_> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    let missing = |file: &File| {
        let labels = counted(file).into_iter().filter(|label| !known.contains(&**label));
        labels.map(|label| format!("{}: `{label}` has no row", file.path)).collect()
    };
    check(missing, "login/mod.rs", r#"count("moon_is_full");"#);
    check(missing, "base/event.rs", r#"pub(crate) const MOON: &str = "moon_is_full";"#);
    let made: BTreeSet<_> = sources().iter().flat_map(counted).collect();
    let made: BTreeSet<_> = made.iter().map(String::as_str).collect();
    assert_eq!(made, known, "labels that the source counts, and labels in the guide");
}

#[test]
fn every_file_the_guide_names_is_there() {
    let page = fs::read_to_string(root().join("src/guide/threats.rs")).expect("a page is read");
    let named = page.split('`').filter(|word| {
        (word.starts_with("tests/") || word.starts_with("src/")) && word.ends_with(".rs")
    });
    let mut count = 0;
    for name in named {
        assert!(root().join(name).exists(), "{name} is not there");
        count += 1;
    }
    assert!(count > 20, "only {count} files are named");
}

/// Returns the lines of a text without the white space around them.
fn trimmed(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect()
}

/// The code needs macros of sqlx and the files of its own migrations. So it cannot be compiled in the
/// guide, and the guide prints what the example compiles.
#[test]
fn the_page_about_sqlx_prints_the_code_of_its_example() {
    let page = fs::read_to_string(root().join("src/guide/sqlx.rs")).expect("a page is read");
    let page: Vec<_> = page.lines().map(|line| line.trim_start_matches("//!")).collect();
    let page = page.join("\n");
    let example = fs::read_to_string(root().join("examples/sqlx-host/src/main.rs"));
    let example = trimmed(&example.expect("the example is read")).join("\n");
    let blocks: Vec<_> = page.split("```ignore\n").skip(1).collect();
    assert_eq!(blocks.len(), 1, "each one is compared");
    for block in blocks {
        let (code, _) = block.split_once("```").expect("its end");
        assert!(example.contains(&trimmed(code).join("\n")), "not in the example:\n{code}");
    }
}

/// Code that is not compiled can be wrong.
#[test]
fn the_code_of_the_guide_is_compiled() {
    for path in rust_files(&root().join("src/guide")) {
        let page = fs::read_to_string(&path).expect("a page is read");
        // Compared with its example by the test above.
        let expected = usize::from(path.ends_with("sqlx.rs"));
        let ignored = page.lines().filter(|line| line.contains("```") && line.contains("ignore"));
        assert_eq!(ignored.count(), expected, "{}", path.display());
    }
    for page in ["README.md", "migration/README.md"] {
        let text = fs::read_to_string(root().join(page)).expect("a page is read");
        assert!(!text.contains("```rust,ignore"), "{page}");
    }
}

#[test]
fn the_guide_asks_for_this_version() {
    let version = env!("CARGO_PKG_VERSION").split('.').take(2).collect::<Vec<_>>().join(".");
    let asked = [format!("\"{version}\""), format!("version = \"{version}\"")];
    for (page, names) in [
        ("start.rs", &["portcullis = ", "portcullis-migration = "][..]),
        ("testing.rs", &["portcullis = "]),
    ] {
        let text = fs::read_to_string(root().join("src/guide").join(page)).expect("a page is read");
        for name in names {
            let mut lines =
                text.lines().filter_map(|line| line.strip_prefix("//! ")?.strip_prefix(name));
            let line = lines.next().unwrap_or_else(|| panic!("{page} has no line: {name}"));
            // A path asks for no version.
            let good = line.contains("path = ") || asked.iter().any(|asked| line.contains(asked));
            assert!(good, "{page} asks for another version: {name}{line}");
        }
    }
}

/// The quickstart is what people copy. Without this line, their tables grow without limit.
#[test]
fn the_quickstart_runs_maintenance_and_delivers_messages() {
    let main = fs::read_to_string(root().join("examples/quickstart/src/main.rs"));
    let main = strip(&main.expect("the example is read"), Literals::Empty);
    for line in [
        "tokio::spawn(auth.maintenance().every(Duration::from_secs(3600)));",
        "tokio::spawn(async move { outbox.outbox().run().await });",
    ] {
        assert!(trimmed(&main).contains(&line), "{line} is missing");
    }
}

#[test]
fn nothing_is_left_for_later() {
    // These words are put together here. Otherwise this file would find itself.
    let words = [concat!("to", "do!"), concat!("unimple", "mented!"), concat!("db", "g!")];
    let notes = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    for folder in ["src", "migration/src", "tests", "examples", "fuzz"] {
        for path in rust_files(&root().join(folder)) {
            let source = fs::read_to_string(&path).expect("a source is read");
            let code = strip(&source, Literals::Empty);
            let left = words.iter().find(|word| has(&code, word));
            let left = left.or_else(|| notes.iter().find(|word| has(&source, word)));
            assert!(left.is_none(), "{}: {left:?}", path.display());
        }
    }
}

#[test]
fn files_stay_short_enough_to_read() {
    let long = |file: &File| {
        let exempt = LONG_FILES.iter().any(|(path, _)| file.path == *path);
        let too_long = file.lines > MOST_LINES && !exempt;
        too_long.then(|| format!("{} has {} lines", file.path, file.lines)).into_iter().collect()
    };
    check(long, "login/mod.rs", &"\n".repeat(MOST_LINES + 1));
    for (path, _) in LONG_FILES {
        let needed = sources().iter().any(|file| file.path == path && file.lines > MOST_LINES);
        assert!(needed, "{path} needs no exemption any more");
    }
}

#[test]
fn comments_and_literals_are_no_code() {
    let source = "a // b\n/* c */ d(\"e \\\" f\", r#\"g \" h\"#, '\"', 'i') // \"j\nk";
    assert_eq!(
        strip(source, Literals::Empty).split_whitespace().collect::<String>(),
        "ad(\"\",\"\",,'i')k"
    );
    assert!(strip(source, Literals::Keep).contains("e \\\" f"));
    assert!(!strip(source, Literals::Keep).contains('b'));
}
