//! The table of the guide is the test.

use portcullis::Problem;
use portcullis::device_login::{DeviceLoginError, DeviceRequestState as State};

use super::{Device, MINUTE, Person, SECOND, SOFA, alice, clients, from};
use crate::on_every_database;

on_every_database! {
    async fn every_state_answers_every_event_as_the_guide_says(probe: Probe) {
        let probe = probe.configured(|config| {
            clients(config);
            // The factor of the person must still be recent when a request expires.
            config.device_login.lifetime = 4 * MINUTE;
        });
        let auth = probe.auth.clone();
        let account = alice(&probe).await;
        let page = include_str!("../../../src/guide/device_login.rs");
        let rows: Vec<Vec<&str>> = page
            .lines()
            .filter_map(|line| line.strip_prefix("//! | "))
            .skip_while(|line| !line.starts_with("state |"))
            .map(|line| line.trim_end_matches(" |").split(" | ").collect())
            .collect();
        let (heading, rows) = (&rows[0], &rows[1..]);
        assert_eq!((rows.len(), heading.len()), (State::ALL.len(), 10));
        for row in rows {
            let from_state = State::ALL.into_iter().find(|state| state.as_str() == row[0]).expect("a state");
            for (event, expected) in heading.iter().zip(row).skip(1) {
                let person = Person::of(&auth, &account).await;
                let device = Device::start(&auth, "tv").await;
                let view = person.view(device.code()).await;
                let mut had = None;
                match from_state {
                    State::Pending => {}
                    State::Approved => person.approve(&device).await.map(drop).expect("it is approved"),
                    State::Redeemed => {
                        person.approve(&device).await.expect("it is approved");
                        had = Some(device.poll().await.expect("a token").session_id());
                    }
                    State::Denied => person.deny(&device).await.expect("it is denied"),
                    State::Suspicious => {
                        let flow = auth.device_login();
                        flow.report(&person.owner, device.code(), &view, &person.client).await.expect("it is reported");
                    }
                    State::Ended => {
                        let flow = auth.device_login();
                        flow.end("tv", device.started.device_code(), &from(SOFA)).await.expect("it ends");
                    }
                    _ => probe.clock.advance(4 * MINUTE),
                }
                let flow = auth.device_login();
                let decided = |result: Result<(), DeviceLoginError>| result.err().map(|error| error.code());
                let refusal = match *event {
                    "the device polls" | "it polls 31 s later" => {
                        if *event != "the device polls" {
                            probe.clock.advance(31 * SECOND);
                        }
                        match device.poll().await {
                            Ok(token) => {
                                assert!(had.is_none_or(|had| had == token.session_id()));
                                None
                            }
                            Err(error) => Some(error.code()),
                        }
                    }
                    "another client polls" => device.poll_as("cli").await.err().map(|error| error.code()),
                    "a person looks" => decided(person.look(device.code()).await.map(drop)),
                    "they approve" => decided(person.approve_seen(device.code(), &view, None).await.map(drop)),
                    "they deny" => decided(flow.deny(&person.owner, device.code(), &view, &person.client).await),
                    "they report" => decided(flow.report(&person.owner, device.code(), &view, &person.client).await),
                    "the device takes it back" => {
                        flow.end("tv", device.started.device_code(), &from(SOFA)).await.err().map(|error| error.code())
                    }
                    "its time is over" => {
                        probe.clock.advance(10 * MINUTE);
                        None
                    }
                    other => panic!("{other}"),
                };
                let person = Person::of(&auth, &account).await;
                let now = person.look(device.code()).await.expect("it is shown").state;
                let told = match (refusal, *event) {
                    (Some(code), _) => format!("`{code}`"),
                    (None, _) if now != from_state => format!("→ {}", now.as_str()),
                    (None, "a person looks") => "shown".to_owned(),
                    (None, "its time is over") => "stays".to_owned(),
                    (None, _) => "the same token".to_owned(),
                };
                assert_eq!(&told, expected, "{}: {event}", row[0]);
                if refusal.is_some() {
                    assert_eq!(now, from_state, "{}: {event}", row[0]);
                }
            }
        }
    }
}
