//! The cards: how they are printed, what they ask, and how an answer is checked.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use portcullis::AccountId;
use portcullis::hook::{ErasingAccount, HookResult, Hooks};
use portcullis::port::{
    ExternalAttempt, ExternalChallenge, ExternalFactor, ExternalVerdict, HookFuture,
};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr,
    EntityTrait, QueryFilter,
};
use serde_json::json;
use sha2::Sha256;

use crate::card_cell;

/// The columns and rows of a card. It has 49 cells with three digits each.
const COLUMNS: &str = "ABCDEFG";
const ROWS: std::ops::RangeInclusive<u8> = 1..=7;
const DIGITS: usize = 3;

/// How many cells a question asks for. A guess is right once in a billion times.
const ASKED: usize = 3;

/// The cards of all accounts.
#[derive(Clone)]
pub(crate) struct Cards {
    db: DatabaseConnection,
    key: Arc<[u8; 32]>,
}

impl Cards {
    /// Reads the key from a file, or creates it. In production, keep it where your other secrets are.
    pub(crate) fn open(db: DatabaseConnection, file: &Path) -> Result<Self, Box<dyn Error>> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        match options.open(file) {
            Ok(mut new) => new.write_all(&random::<32>())?,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        let key: [u8; 32] = fs::read(file)?.try_into().map_err(|_| "the key has 32 bytes")?;
        Ok(Self { db, key: Arc::new(key) })
    }

    /// Makes a new card for an account instead of its last one. Returns the digits of each cell, which are
    /// stored nowhere.
    pub(crate) async fn print(
        &self,
        account: AccountId,
        txn: &impl ConnectionTrait,
    ) -> Result<BTreeMap<String, String>, DbErr> {
        let card: BTreeMap<_, _> = cells().map(|cell| (cell, digits())).collect();
        remove(account, txn).await?;
        let rows = card.iter().map(|(cell, digits)| card_cell::ActiveModel {
            account_id: Set(account.as_uuid()),
            cell: Set(cell.clone()),
            digest: Set(self.mac(account, cell, digits).finalize().into_bytes().to_vec()),
        });
        card_cell::Entity::insert_many(rows).exec_without_returning(txn).await?;
        Ok(card)
    }

    /// Removes the card of an account.
    pub(crate) async fn remove(&self, account: AccountId) -> Result<(), DbErr> {
        remove(account, &self.db).await
    }

    fn mac(&self, account: AccountId, cell: &str, digits: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&*self.key).expect("a key has any length");
        mac.update(account.as_uuid().as_bytes());
        mac.update(format!("{cell}={digits}").as_bytes());
        mac
    }
}

impl ExternalFactor for Cards {
    /// Asks for some cells. The page shows them, and the state says which were asked.
    fn challenge<'a>(
        &'a self,
        _: &'a ExternalAttempt,
    ) -> HookFuture<'a, Option<ExternalChallenge>> {
        Box::pin(async move {
            let asked = some_cells();
            Ok(Some(ExternalChallenge::new(json!({ "cells": asked }), asked.join(" "))))
        })
    }

    /// Compares the digits with those of the cells that were asked, in their order. Portcullis counts
    /// wrong answers, and accepts the answer to a question once.
    fn verify<'a>(
        &'a self,
        attempt: &'a ExternalAttempt,
        challenge: Option<&'a str>,
        code: &'a str,
    ) -> HookFuture<'a, ExternalVerdict> {
        Box::pin(async move {
            // No question was asked in this session, or it has expired.
            let Some(asked) = challenge else { return Ok(ExternalVerdict::Wrong) };
            let asked: Vec<&str> = asked.split(' ').collect();
            let typed: Vec<char> = code.chars().filter(|c| !" ,;-".contains(*c)).collect();
            let account = attempt.account_id;
            let stored = card_cell::Entity::find()
                .filter(card_cell::Column::AccountId.eq(account.as_uuid()))
                .filter(card_cell::Column::Cell.is_in(asked.iter().copied()))
                .all(&self.db)
                .await?;
            let mut right = typed.len() == asked.len() * DIGITS;
            for (cell, digits) in asked.iter().zip(typed.chunks(DIGITS)) {
                let digits: String = digits.iter().collect();
                let row = stored.iter().find(|row| row.cell == *cell);
                // In constant time, and all cells, so that the time does not tell which one was wrong.
                right &= row.is_some_and(|row| {
                    self.mac(account, cell, &digits).verify_slice(&row.digest).is_ok()
                });
            }
            Ok(if right { ExternalVerdict::Right } else { ExternalVerdict::Wrong })
        })
    }
}

impl Hooks for Cards {
    async fn before_erase(
        &self,
        erasing: ErasingAccount<'_>,
        txn: &DatabaseTransaction,
    ) -> HookResult {
        Ok(remove(erasing.account_id, txn).await?)
    }
}

async fn remove(account: AccountId, db: &impl ConnectionTrait) -> Result<(), DbErr> {
    let cells = card_cell::Column::AccountId.eq(account.as_uuid());
    card_cell::Entity::delete_many().filter(cells).exec(db).await?;
    Ok(())
}

/// Returns the names of all cells.
fn cells() -> impl Iterator<Item = String> {
    COLUMNS.chars().flat_map(|column| ROWS.map(move |row| format!("{column}{row}")))
}

/// Chooses different cells.
fn some_cells() -> Vec<String> {
    let mut left: Vec<String> = cells().collect();
    (0..ASKED).map(|_| left.swap_remove(below(left.len()))).collect()
}

fn digits() -> String {
    (0..DIGITS).map(|_| below(10).to_string()).collect()
}

/// Returns a random number. Large numbers are drawn again, because they would make small results more
/// likely.
fn below(count: usize) -> usize {
    loop {
        let drawn = usize::from(u16::from_be_bytes(random()));
        if drawn < 65_536 - 65_536 % count {
            return drawn % count;
        }
    }
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}
