//! What a guarded router, the access matrix and an operator are told about guards that need a proof.

use super::*;
use axum::routing::any;
use portcullis::action_proof::{OpenConsent, Recheck};
use portcullis::config::check::Finding;
use portcullis::public;

portcullis::permissions! {
    invoice: Pay;
}

const FINDING: &str = "action_proof_not_spent";

fn told(auth: &Portcullis) -> Option<String> {
    let findings = auth.audit();
    let mut found = findings.iter().filter(|finding: &&Finding| finding.code == FINDING);
    found.next().map(|finding| finding.text.clone())
}

async fn never() -> &'static str {
    panic!("a matrix runs no handler")
}

/// Sends a request with a proof.
async fn with(browser: &Browser, path: &str, proof: &str) -> Answer {
    send(browser.request(Method::POST, path).header(HEADER, proof)).await
}

on_every_database! {
    async fn a_guarded_router_and_its_matrix_say_which_routes_need_a_consent(probe: Probe) {
        let auth = &probe.auth;
        let payer = RoleDefinition::new("payer", ["invoice:pay"]);
        auth.roles().define([payer]).await.expect("it is defined");
        let app: Router = auth
            .router()
            .route(
                "/invoices/{id}/pay",
                post(never),
                auth.require_action_proof("pay").on_path("id").behind(auth.require(invoice::Pay).on_path("id")),
            )
            .route("/close", post(never), auth.require_action_proof("close"))
            .route("/report", get(never), auth.require_action_proof("read").for_reading(Recheck::WhenDue))
            .route("/odd", any(never), auth.require_action_proof("odd").on(|_| None).behind(public()))
            .route("/free", get(never), public())
            .into_router();
        let listed = auth.guarded_routes().to_string();
        for line in [
            "POST  /invoices/{id}/pay  permission(invoice:pay) on {id}, action_proof(pay) on {id}",
            "POST  /close              signed_in, action_proof(close)",
            "GET   /report             signed_in, action_proof(read) for reading",
            "ANY   /odd                public, action_proof(odd) on an instance",
            "GET   /free               public",
        ] {
            assert!(listed.lines().any(|found| found == line), "{line}\n{listed}");
        }
        let routes = auth.guarded_routes();
        let public: Vec<_> = routes.iter().filter(|route| route.access().is_public()).collect();
        assert_eq!(public.len(), 1, "a route that needs a consent is not public");
        let matrix = auth.test().matrix(&app).await.to_string();
        assert!(matrix.contains("consent  401 until the person consents to this one action"), "{matrix}");
        let row = |path: &str| {
            let line = matrix.lines().find(|line| line.contains(path)).expect("a row").to_owned();
            line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).skip(3).map(str::to_owned).collect()
        };
        let (pays, closes): (Vec<String>, Vec<String>) = (row("/invoices/{id}/pay"), row("/close"));
        // Nobody; no role; the role and the superuser.
        assert_eq!(pays, ["sign in", "no", "consent"], "{matrix}");
        assert_eq!(closes, ["sign in", "consent", "consent"], "{matrix}");
        assert_eq!(told(auth), None);
    }

    async fn a_guard_on_a_parameter_that_its_route_does_not_have_is_refused_at_the_start(probe: Probe) {
        let finished = |path: &str| {
            let guard = probe.auth.require_action_proof("close").on_path("id");
            let router = || probe.auth.router::<()>().route(path, post(never), guard).into_router();
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(router)).is_ok()
        };
        assert!(!finished("/close"));
        assert!(finished("/close/{id}"));
    }

    async fn a_guarded_route_asks_first_who_sends_the_request_and_then_for_the_consent(probe: Probe) {
        let auth = &probe.auth;
        let handler = async |proof: VerifiedProof, client: ClientInfo| {
            proof.spend(&client).await.map(|spent| spent.proof().action().to_owned()).map_err(Rejection::from)
        };
        let guard = auth.require_action_proof("pay").on_path("id");
        let app: Router = auth
            .router()
            .route("/invoices/{id}/pay", post(handler), guard.behind(auth.require(invoice::Pay).on_path("id")))
            .danger_unguarded("/proofs", portcullis::action_proof::routes(auth, ["pay"]))
            .into_router();
        let address = serve(app).await;
        let (alice, browser) = probe.signed_in("alice").await;
        let mut browser = browser.at(address);
        check(&with(&browser.stranger(), "/invoices/7/pay", "x").await, 401, "not_signed_in");
        let body = json!({ "action": "pay", "resource": "7" });
        let answer = browser.post("/proofs/action-proofs", body).await;
        let proof = answer.json()["action_proof"].as_str().expect("a proof").to_owned();
        // A consent is no permission.
        check(&with(&browser, "/invoices/7/pay", &proof).await, 403, "denied");
        let right = Permission::parse("invoice:pay:7").expect("a permission");
        auth.permissions().grant(alice.id(), &right).await.expect("it is granted");
        check(&browser.post("/invoices/7/pay", json!({})).await, 401, "action_proof_required");
        check(&with(&browser, "/invoices/8/pay", &proof).await, 403, "denied");
        assert_eq!(with(&browser, "/invoices/7/pay", &proof).await.text, "pay");
        check(&with(&browser, "/invoices/7/pay", &proof).await, 409, "action_proof_used");
        assert_eq!(told(auth), None);
    }

    async fn a_handler_that_answers_without_using_the_proof_up_is_reported(probe: Probe) {
        let auth = &probe.auth;
        let refuses = async |_: VerifiedProof| axum::http::StatusCode::CONFLICT;
        let spends = async |proof: VerifiedProof, client: ClientInfo| {
            proof.spend(&client).await.map(|_| "done").map_err(Rejection::from)
        };
        let reads = async |consent: OpenConsent, again: OpenConsent| {
            assert_eq!(consent.id(), again.id());
            consent.action().to_owned()
        };
        let forgets = async |proof: VerifiedProof| proof.action().to_owned();
        let layer = || auth.require_action_proof("pay").on_path("id");
        let routes = Router::new()
            .route("/refuses/{id}", post(refuses).route_layer(layer()))
            .route("/spends/{id}", post(spends).route_layer(layer()))
            .route("/reads/{id}", post(reads).route_layer(layer().for_reading(Recheck::Now)))
            .route("/forgets/{id}", post(forgets).route_layer(layer()))
            .route("/ignores/{id}", post(async || "done").route_layer(layer()))
            .route("/wrong/{id}", post(reads).route_layer(layer()))
            .layer(auth.layer());
        let address = serve(routes.merge(application(auth))).await;
        let (_, browser) = probe.signed_in("alice").await;
        let mut browser = browser.at(address);
        let body = json!({ "action": "pay", "resource": "7" });
        let answer = browser.post("/proofs/action-proofs", body.clone()).await;
        let proof = answer.json()["action_proof"].as_str().expect("a proof").to_owned();
        assert_eq!(with(&browser, "/refuses/7", &proof).await.status, 409);
        for _ in 0..2 {
            assert_eq!(with(&browser, "/reads/7", &proof).await.text, "pay");
        }
        check(&with(&browser, "/reads/8", &proof).await, 403, "action_proof_of_other_resource");
        assert_eq!(with(&browser, "/wrong/7", &proof).await.status, 500);
        assert_eq!(with(&browser, "/spends/7", &proof).await.text, "done");
        check(&with(&browser, "/reads/7", &proof).await, 409, "action_proof_used");
        assert_eq!(told(auth), None, "nothing was forgotten until now");
        probe.clock.advance(SECOND);
        let answer = browser.post("/proofs/action-proofs", body).await;
        let proof = answer.json()["action_proof"].as_str().expect("a proof").to_owned();
        assert_eq!(with(&browser, "/forgets/7", &proof).await.text, "pay");
        let text = told(auth).expect("an operator is told");
        assert!(text.contains("`pay`") && text.contains("200 OK"), "{text}");
        assert_eq!(with(&browser, "/ignores/7", &proof).await.text, "done", "the same proof again");
    }
}
