//! What a guarded request costs an account with 1, 10, 100 and 1 000 grants. It should be the same.

use axum::http::StatusCode;
use portcullis::permission::Resource;
use portcullis::{AccountId, Permission, Portcullis};
use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};

use crate::data::{fill, name, secret};
use crate::database::{Backend, CONNECTIONS, Database, connect};
use crate::figures::{Table, median, number};
use crate::in_process::Way;
use crate::server::{guarded, instance};
use crate::{Failure, Options};

const COUNTS: [(&str, usize); 4] =
    [("1 grant", 1), ("10 grants", 10), ("100 grants", 100), ("1 000 grants", 1_000)];

/// The number of requests in one measurement.
const CALLS: usize = 1_000;

/// Measures `GET /admin` through the router, on each database separately.
pub(crate) async fn measure(backend: Backend, options: &Options) -> Result<(), Failure> {
    let Some(database) = Database::create(backend).await? else { return Ok(()) };
    let secret = secret()?;
    let tokens = fill(&database, &secret).await?;
    let db = connect(&database.url, "bench-grants", CONNECTIONS).await?;
    let auth = instance(db.clone(), &secret, |builder| builder.levels("list", ["viewer"]))?;
    db.execute_unprepared("DELETE FROM auth_account_role").await?;
    let router = guarded(&auth)?;
    let mut ways = Vec::new();
    for (at, (title, count)) in COUNTS.into_iter().enumerate() {
        // The first tokens belong to every fourth account.
        let owner = auth.accounts().find_by_login(&name(at * 4)).await?;
        give(&auth, &db, owner.ok_or("there are accounts")?.id(), count).await?;
        let token = vec![tokens.portcullis[at].clone()];
        ways.push(Way::new(title, router.clone(), "/admin", token, StatusCode::OK, CALLS));
    }
    let mut rounds = Vec::new();
    for round in 0..=options.rounds * 4 {
        let mut micros = [0.0; COUNTS.len()];
        for (way, micros) in ways.iter().zip(&mut micros) {
            *micros = way.walk().await?.0;
        }
        // The first round fills the memory of grants and prepares the statements.
        if round > 0 {
            rounds.push(micros);
        }
    }
    let columns = ["guarded request", "µs", "1 grant = 1"];
    let mut table = Table::new(format!("Grants, in process, {}", backend.name()), &columns);
    for (at, (title, _)) in COUNTS.iter().enumerate() {
        let micros = median(rounds.iter().map(|round| round[at]));
        let ratio = median(rounds.iter().map(|round| round[at] / round[0]));
        table.row([title, &*number(micros), &*number(ratio)]);
    }
    table.print();
    db.close().await?;
    database.remove().await
}

/// Gives this many grants, in turn of each kind. One of them is the permission that the guard
/// requires.
async fn give(
    auth: &Portcullis,
    db: &DatabaseConnection,
    account: AccountId,
    count: usize,
) -> Result<(), Failure> {
    let txn = db.begin().await?;
    let asked = Permission::parse("admin:read")?;
    auth.permissions().within(&txn).grant(account, &asked).await?;
    for grant in 1..count {
        let (role, list) = (format!("role{grant}"), Resource::new("list", &grant.to_string())?);
        let roles = auth.roles().within(&txn);
        if grant % 4 > 1 {
            roles.create(&role, [format!("list:edit{grant}")]).await?;
        }
        match grant % 4 {
            0 => {
                let permission = Permission::parse(&format!("doc:read:{grant}"))?;
                auth.permissions().within(&txn).grant(account, &permission).await?;
            }
            1 => auth.memberships().within(&txn).grant(account, &list, "viewer").await?,
            2 => roles.grant(account, &role).await?,
            _ => drop(roles.grant_on(account, &role, &list).await?),
        }
    }
    txn.commit().await?;
    Ok(())
}
