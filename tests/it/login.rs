//! Signing in and out.

use crate::on_every_database;
use crate::support::PASSWORD;

on_every_database! {
    async fn a_right_password_signs_in_and_a_logout_signs_out(probe: Probe) {
        probe.register("alice").await;
        let mut browser = probe.browser().await;
        assert_eq!(browser.get("/me").await.status, 401);
        let answer = browser.login("alice", "wrong horse battery staple").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "invalid_credentials"));
        let answer = browser.login("ALICE", PASSWORD).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        assert_eq!(answer.json()["result"], "session");
        let cookie = browser.cookie.clone().expect("a cookie");
        assert_eq!(browser.get("/me").await.status, 200);
        assert_eq!(browser.post_empty("/auth/logout").await.status, 204);
        assert_eq!(browser.cookie, None);
        let mut thief = browser.with_cookie(&cookie);
        let answer = thief.get("/me").await;
        assert_eq!((answer.status, answer.code().as_str()), (401, "session_ended"));
    }
}
