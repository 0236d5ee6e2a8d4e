//! Compares requirements with a naive evaluator, and tests what a ceiling changes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::account::Account;
use crate::base::clock::Timestamp;
use crate::base::factor::PassedFactors;
use crate::base::id::{AccountId, LineageId, SessionId};
use crate::identity::resolved::{IdentityData, TokenId};
use crate::permission::{GrantRow, Grants, Levels, RoleRow};
use crate::session::judge::SessionState;
use crate::session::{Session, Stage, Transport};

const NOW: Timestamp = Timestamp::from_millis(1_790_000_000_000);

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

/// An identity with the role `editor` (`doc:read`) that passed a password ten minutes ago.
fn editor() -> Identity {
    with_factors(&[])
}

/// The same identity with these second factors enrolled.
fn with_factors(enrolled: &[Factor]) -> Identity {
    let state = SessionState {
        id: SessionId::new(NOW),
        lineage_id: LineageId::new(NOW),
        account_id: Some(AccountId::new(NOW)),
        account_epoch: 0,
        stage: Stage::Full,
        generation: 0,
        rotated_at: NOW,
        late_use_at: None,
        previous_late_use_at: None,
        rotated_by: Default::default(),
        created_at: NOW,
        expires_at: NOW.plus(minutes(60)),
        idle: minutes(60),
        persistent: true,
        factors: PassedFactors::one(Factor::Password, NOW.minus(minutes(10))),
        proved_elsewhere: None,
        ceiling: None,
        address: None,
        user_agent: None,
        ended_at: None,
        ended: None,
        lingers_until: None,
        suspicious: false,
        approved_in: None,
        bound_to: None,
    };
    let account = Account {
        id: AccountId::new(NOW),
        username: None,
        email: None,
        phone: None,
        superuser: false,
        epoch: 0,
        version: 0,
        enrolled: enrolled.iter().copied().collect(),
        verified_at: None,
        disabled_at: None,
        deleted_at: None,
        rate_limit: None,
        mailed_code_at: None,
    };
    let role = RoleRow {
        name: "editor".to_owned(),
        permissions: "doc:read".to_owned(),
        requires_factor: false,
        trusted_devices: None,
        max_idle: None,
    };
    let row = GrantRow::Role { role, resource: String::new(), resource_id: String::new() };
    Identity(Arc::new(IdentityData {
        token_id: TokenId([0; 16]),
        session: Session {
            state: Arc::new(state),
            transport: Transport::Cookie,
            just_rotated: false,
        },
        account: Arc::new(account),
        grants: Arc::new(Grants::compile([row], Levels::new(&BTreeMap::new()))),
        ceiling: None,
        resolved_at: NOW,
        enrolment_due_at: None,
    }))
}

fn permission(text: &str) -> Requirement {
    Requirement::permission(text).expect("a permission")
}

/// A requirement as plain data, for the naive evaluator.
#[derive(Debug, Clone)]
enum Plain {
    Leaf(u8),
    All(Vec<Plain>),
    Any(Vec<Plain>),
    Not(Box<Plain>),
}

/// The leaves 0 to 2 are met, 3 to 5 are denied, and 6 and 7 need a step-up.
fn leaf(number: u8) -> Requirement {
    match number {
        0 => permission("doc:read"),
        1 => Requirement::role("editor"),
        2 => Requirement::factor_within(Factor::Password, minutes(11)),
        3 => permission("doc:write"),
        4 => Requirement::role("admin"),
        5 => Requirement::custom("never", |_| false),
        6 => Requirement::within(minutes(10)),
        _ => Requirement::factor(Factor::Totp),
    }
}

fn build(plain: &Plain) -> Result<Requirement, RequirementError> {
    let each = |parts: &[Plain]| parts.iter().map(build).collect::<Result<Vec<_>, _>>();
    match plain {
        Plain::Leaf(number) => Ok(leaf(*number)),
        Plain::All(parts) => Requirement::all(each(parts)?),
        Plain::Any(parts) => Requirement::any(each(parts)?),
        Plain::Not(part) => Requirement::not(build(part)?),
    }
}

/// Returns -1 for denied, 0 for step-up and 1 for met. It returns `None` if the requirement must
/// not be buildable.
fn naive(plain: &Plain) -> Option<i8> {
    match plain {
        Plain::Leaf(0..=2) => Some(1),
        Plain::Leaf(3..=5) => Some(-1),
        Plain::Leaf(_) => Some(0),
        Plain::All(parts) => parts.iter().map(naive).collect::<Option<Vec<_>>>()?.into_iter().min(),
        Plain::Any(parts) => parts.iter().map(naive).collect::<Option<Vec<_>>>()?.into_iter().max(),
        Plain::Not(part) => naive(part).filter(|_| !mentions_factor(part)).map(|value| -value),
    }
}

fn mentions_factor(plain: &Plain) -> bool {
    match plain {
        Plain::Leaf(number) => matches!(number, 2 | 6..),
        Plain::All(parts) | Plain::Any(parts) => parts.iter().any(mentions_factor),
        Plain::Not(part) => mentions_factor(part),
    }
}

fn reversed(plain: &Plain) -> Plain {
    let turn = |parts: &[Plain]| parts.iter().rev().map(reversed).collect();
    match plain {
        Plain::All(parts) => Plain::All(turn(parts)),
        Plain::Any(parts) => Plain::Any(turn(parts)),
        Plain::Not(part) => Plain::Not(Box::new(reversed(part))),
        Plain::Leaf(number) => Plain::Leaf(*number),
    }
}

fn plain() -> impl Strategy<Value = Plain> {
    (0u8..8).prop_map(Plain::Leaf).prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Plain::All),
            prop::collection::vec(inner.clone(), 0..4).prop_map(Plain::Any),
            inner.prop_map(|part| Plain::Not(Box::new(part))),
        ]
    })
}

proptest! {
    #[test]
    fn it_agrees_with_a_naive_evaluator_in_any_order(plain in plain()) {
        let identity = editor();
        let outcome = build(&plain).ok().map(|requirement| requirement.check(&identity) as i8 - 1);
        prop_assert_eq!(outcome, naive(&plain));
        let turned = build(&reversed(&plain)).ok();
        prop_assert_eq!(turned.map(|turned| turned.check(&identity) as i8 - 1), outcome);
    }
}

/// The entries that ceilings are made of. Each line goes from wide to narrow.
const NARROWER: [&[&str]; 4] = [
    &["*", "doc", "doc:read", "doc:read:7"],
    &["doc:write", "doc:write:7"],
    &["role", "role:editor"],
    &["role:admin,editor", "role:admin"],
];

/// A ceiling. It has at most one entry of each line above, given by its position.
type Entries = [Option<usize>; 4];

fn below(ceiling: Option<Entries>, account: &Identity) -> Identity {
    let data = &*account.0;
    Identity(Arc::new(IdentityData {
        token_id: TokenId([0; 16]),
        session: data.session.clone(),
        account: Arc::clone(&data.account),
        grants: Arc::clone(&data.grants),
        ceiling: ceiling.map(|entries| {
            let named = NARROWER.iter().zip(entries);
            let named = named.filter_map(|(line, entry)| Some(line[entry? % line.len()]));
            named.map(|text| Permission::parse(text).expect("a permission")).collect()
        }),
        resolved_at: data.resolved_at,
        enrolment_due_at: None,
    }))
}

/// Returns the same ceiling with some entries removed or made narrower.
fn narrower(ceiling: Entries, by: [Option<usize>; 4]) -> Entries {
    let mut narrow = [None; 4];
    for (at, line) in NARROWER.iter().enumerate() {
        narrow[at] = ceiling[at].zip(by[at]).map(|(entry, by)| {
            let last = line.len() - 1;
            (entry % line.len() + by).min(last)
        });
    }
    narrow
}

/// A requirement without a rule of the application.
fn without_custom() -> impl Strategy<Value = Requirement> {
    let leaf = prop_oneof![
        prop::sample::select(&["doc:read", "doc:read:7", "doc:write", "doc"][..])
            .prop_map(permission),
        prop::sample::select(&["editor", "admin"][..]).prop_map(Requirement::role),
        Just(Requirement::signed_in()),
    ];
    leaf.prop_recursive(5, 32, 4, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            list.clone().prop_map(|parts| Requirement::all(parts).expect("a list")),
            list.prop_map(|parts| Requirement::any(parts).expect("a list")),
            inner.prop_map(|part| Requirement::not(part).expect("no factor")),
        ]
    })
}

fn agrees(explanation: &Explanation) -> bool {
    let parts: Vec<_> = explanation.parts.iter().map(|part| part.outcome).collect();
    let told = match explanation.rule.split('(').next() {
        Some("all") => parts.iter().min().copied(),
        Some("any") => parts.iter().max().copied(),
        Some("not") if parts == [Outcome::Denied] => Some(Outcome::Met),
        Some("not") => Some(Outcome::Denied),
        _ => Some(explanation.outcome),
    };
    told == Some(explanation.outcome) && explanation.parts.iter().all(agrees)
}

proptest! {
    #[test]
    fn narrowing_a_ceiling_never_grants_anything(
        requirement in without_custom(),
        wide in proptest::array::uniform4(prop::option::of(0usize..4)),
        by in proptest::array::uniform4(prop::option::weighted(0.7, 0usize..3)),
    ) {
        let account = editor();
        let [unlimited, wide, narrow] =
            [None, Some(wide), Some(narrower(wide, by))].map(|ceiling| below(ceiling, &account));
        let outcome = |identity| requirement.check(identity);
        prop_assert!(outcome(&narrow) <= outcome(&wide), "{requirement}");
        prop_assert!(outcome(&wide) <= outcome(&unlimited), "{requirement}");
        for identity in [&unlimited, &wide, &narrow] {
            let explanation = identity.explain(&requirement);
            prop_assert_eq!(explanation.outcome, requirement.check(identity));
            prop_assert!(agrees(&explanation), "{}", explanation);
        }
    }
}

#[test]
fn a_ceiling_does_not_hide_what_a_not_asks_about() {
    let editor = editor();
    let limited = below(Some([Some(2), None, None, None]), &editor);
    let not = |part| Requirement::not(part).expect("no factor");
    for (requirement, full, below) in [
        (not(Requirement::role("editor")), Outcome::Denied, Outcome::Denied),
        (not(permission("doc:read")), Outcome::Denied, Outcome::Denied),
        (not(Requirement::role("admin")), Outcome::Met, Outcome::Met),
        (not(not(Requirement::role("editor"))), Outcome::Met, Outcome::Denied),
        (not(not(permission("doc:read"))), Outcome::Met, Outcome::Met),
        (not(Requirement::custom("never", |_| false)), Outcome::Met, Outcome::Denied),
        (not(not(Requirement::custom("always", |_| true))), Outcome::Met, Outcome::Denied),
        (not(not(not(Requirement::custom("never", |_| false)))), Outcome::Met, Outcome::Denied),
        (Requirement::custom("always", |_| true), Outcome::Met, Outcome::Met),
    ] {
        assert_eq!(requirement.check(&editor), full, "{requirement}");
        assert_eq!(requirement.check(&limited), below, "{requirement}");
    }
    let text = limited.explain(&not(Requirement::role("editor"))).to_string();
    assert!(text.contains("ceiling is left out"), "{text}");
    let text = limited.explain(&not(Requirement::custom("x", |_| false))).to_string();
    assert!(text.contains("the session is limited"), "{text}");
}

#[test]
fn what_cannot_be_asked_of_one_instance_is_refused() {
    let not = Requirement::not(permission("doc:read")).expect("no factor");
    let role = Requirement::role("editor");
    for requirement in [
        not.clone(),
        role.clone(),
        Requirement::all([permission("doc:read"), role]).expect("a list"),
        Requirement::any([permission("doc:read"), not]).expect("a list"),
        Requirement::signed_in(),
        Requirement::custom("mine", |_| true),
    ] {
        let refused = requirement.on("7");
        let expected = matches!(refused, Err(PermissionError::NotOnInstance { .. }));
        assert!(expected, "{requirement}: {refused:?}");
    }
    let custom = Requirement::custom("mine", |_| true);
    let both = Requirement::all([permission("doc:read"), custom]).expect("a list");
    assert_eq!(
        both.on("7").expect("an id").to_string(),
        "all(permission(doc:read:7), custom(mine))"
    );
}

#[test]
fn an_age_is_counted_to_its_exact_moment() {
    let identity = editor();
    let at = |age| Requirement::within(age).check(&identity);
    assert_eq!(at(minutes(10)), Outcome::StepUp);
    assert_eq!(at(minutes(10) + Duration::from_millis(1)), Outcome::Met);
}

#[test]
fn at_least_a_factor_is_met_by_it_and_by_stronger_ones() {
    use Factor::{External, MailedCode, Passkey, Password, RecoveryCode, TextedCode, Totp};

    let passed = |factor: Factor| {
        // A texted code counts only if it is a second factor of the account.
        let identity = with_factors(&[factor]);
        let data = &*identity.0;
        let mut state = (*data.session.state).clone();
        state.factors = state.factors.with(factor, NOW.minus(minutes(1)));
        Identity(Arc::new(IdentityData {
            token_id: data.token_id,
            session: Session { state: Arc::new(state), ..data.session.clone() },
            account: Arc::clone(&data.account),
            grants: Arc::clone(&data.grants),
            ceiling: None,
            resolved_at: NOW,
            enrolment_due_at: None,
        }))
    };
    for (least, met) in [
        (MailedCode, &[MailedCode, TextedCode, Totp, Passkey][..]),
        (TextedCode, &[TextedCode, Totp, Passkey]),
        (Totp, &[Totp, Passkey]),
        (Passkey, &[Passkey]),
    ] {
        let ever = Requirement::at_least(least).expect("it has a place");
        let recent = Requirement::at_least_within(least, minutes(2)).expect("it has a place");
        let late = Requirement::at_least_within(least, minutes(1)).expect("it has a place");
        for factor in Factor::ALL {
            let identity = passed(*factor);
            let expected = if met.contains(factor) { Outcome::Met } else { Outcome::StepUp };
            assert_eq!(ever.check(&identity), expected, "{least:?} {factor:?}");
            assert_eq!(recent.check(&identity), expected, "{least:?} {factor:?}");
            assert_eq!(late.check(&identity), Outcome::StepUp, "{least:?} {factor:?}");
        }
    }
    // What has no place in the order is refused, and never met by everything.
    for factor in [Password, RecoveryCode, External] {
        assert!(Requirement::at_least(factor).is_err(), "{factor:?}");
        assert!(Requirement::at_least_within(factor, minutes(1)).is_err(), "{factor:?}");
    }
}

#[test]
fn a_step_up_names_what_is_missing_and_nothing_else() {
    let identity = editor();
    let requirement = Requirement::all([
        permission("doc:read"),
        Requirement::factor(Factor::Totp),
        Requirement::within(minutes(5)),
        Requirement::factor_within(Factor::Password, minutes(60)),
    ])
    .expect("a list");
    let needed = requirement.step_up(&identity);
    assert_eq!((needed.factors, needed.enrol), (vec![], vec![Factor::Totp]));
    assert_eq!(needed.max_age, Some(minutes(5)));
}

#[test]
fn a_step_up_names_the_factors_of_this_account_that_would_do() {
    use Factor::{Passkey, Password, Totp};
    let step = |requirement: &Requirement, enrolled: &[Factor]| {
        let needed = requirement.step_up(&with_factors(enrolled));
        (needed.factors, needed.enrol)
    };
    let any = Requirement::any(
        [Totp, Passkey].map(Requirement::factor).into_iter().chain([permission("doc:write")]),
    );
    let all = Requirement::all([
        Requirement::within(minutes(5)),
        Requirement::any([Totp, Passkey].map(Requirement::factor)).expect("a list"),
    ]);
    let one = Requirement::factor(Totp);
    let recent = Requirement::within(minutes(5));
    for (requirement, enrolled, factors, enrol) in [
        (&one, &[Totp, Passkey][..], &[Totp][..], &[][..]),
        (&one, &[Passkey], &[], &[Totp]),
        (&recent, &[], &[Password], &[]),
        (&recent, &[Totp, Passkey], &[Password, Totp, Passkey], &[]),
        (any.as_ref().expect("a list"), &[Passkey], &[Passkey], &[]),
        (any.as_ref().expect("a list"), &[Totp, Passkey], &[Totp, Passkey], &[]),
        (any.as_ref().expect("a list"), &[], &[], &[Totp, Passkey]),
        // The second factor meets both parts.
        (all.as_ref().expect("a list"), &[Passkey], &[Passkey], &[]),
        (all.as_ref().expect("a list"), &[], &[], &[Totp, Passkey]),
    ] {
        let expected = (factors.to_vec(), enrol.to_vec());
        assert_eq!(step(requirement, enrolled), expected, "{requirement} {enrolled:?}");
    }
    assert_eq!(step(&permission("doc:write"), &[Totp]), (vec![], vec![]), "no factor helps");
}

#[test]
fn an_explanation_names_the_grant_or_the_age_that_decided() {
    let identity = editor();
    let requirement = Requirement::any([
        permission("doc:write"),
        Requirement::all([permission("doc:read:7"), Requirement::within(minutes(5))])
            .expect("a list"),
    ])
    .expect("a list");
    let text = identity.explain(&requirement).to_string();
    for part in ["no grant implies `doc:write`", "`doc:read` implies `doc:read:7`", "600 s ago"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn an_id_narrows_every_permission_and_never_stands_for_an_action() {
    let narrowed = |requirement: Requirement, id| requirement.on(id).map(|r| r.to_string());
    let both = Requirement::all([permission("doc:read"), Requirement::within(minutes(5))]);
    assert_eq!(
        narrowed(both.expect("a list"), "7").expect("an id"),
        "all(permission(doc:read:7), within(300s))"
    );
    assert_eq!(narrowed(permission("doc"), "read").expect("an id"), "permission(doc:*:read)");
    assert!(narrowed(permission("doc:read"), "*").is_err());
}
