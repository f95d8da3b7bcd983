//! What every store must do. Authors of stores call [`check`] in a test.
//!
//! ```
//! use simplex_agent::store::{Memory, conformance};
//!
//! conformance::check(Memory::default);
//! ```

use bytes::Bytes;
use simplex_sans_io::rng::Rng;
use simplex_sans_io::time::UnixTime;

use super::{Change, Key, Kind, Load, Memory, Record, Store, StoreError};

/// How many transactions there are.
const TRANSACTIONS: usize = 300;

/// Does many things with an empty store, and the same with one in memory: what is found is the same.
///
/// # Panics
///
/// If something else is found, or the store fails.
#[expect(clippy::panic, reason = "a store that does not conform is a finding")]
pub fn check<S: Store>(empty: impl Fn() -> S) {
    for seed in 0..8 {
        if let Err(error) = compare(&mut empty(), Rng::from_seed([seed; 32])) {
            panic!("the store has failed: {error}");
        }
    }
}

fn compare(store: &mut impl Store, mut rng: Rng) -> Result<(), StoreError> {
    let mut model = Memory::default();
    for _ in 0..TRANSACTIONS {
        let group: Vec<Vec<Change>> = (0..=rng.below(3))
            .map(|_| (0..=rng.below(4)).map(|_| change(&mut rng)).collect())
            .collect();
        for transaction in &group {
            model.apply(transaction.clone());
        }
        store.commit(group)?;
        let load = load(&mut rng);
        let (found, expected) = (store.load(&load)?, model.load(&load));
        assert_eq!(found, expected, "{load:?}");
    }
    for kind in Kind::ALL {
        let pages = all(kind, |load| store.load(load))?;
        let expected = all(kind, |load| Ok(model.load(load)))?;
        assert_eq!(pages, expected);
    }
    Ok(())
}

/// All records of a kind, page by page.
fn all(
    kind: Kind,
    mut load: impl FnMut(&Load) -> Result<Vec<Record>, StoreError>,
) -> Result<Vec<Record>, StoreError> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let after = records.last().map(|record| record.key.clone());
        let page = load(&Load::Page {
            kind,
            after,
            limit: 3,
        })?;
        if page.is_empty() {
            return Ok(records);
        }
        records.extend(page);
    }
}

fn key(rng: &mut Rng) -> Key {
    // Short names of any bytes, also empty ones, and such as begin like others.
    let name = |rng: &mut Rng| -> Bytes {
        let bytes = rng.bytes::<2>().map(|byte| byte % 3 * 127);
        let length = usize::try_from(rng.below(3)).unwrap_or(0);
        Bytes::copy_from_slice(bytes.get(..length).unwrap_or(&bytes))
    };
    let kinds = u32::try_from(Kind::ALL.len()).unwrap_or(1);
    let kind = usize::try_from(rng.below(kinds)).unwrap_or(0);
    Key {
        kind: Kind::ALL.get(kind).copied().unwrap_or(Kind::Work),
        owner: name(rng),
        id: name(rng),
    }
}

fn time(rng: &mut Rng) -> UnixTime {
    UnixTime::from_seconds(rng.below(100).into())
}

fn change(rng: &mut Rng) -> Change {
    match rng.below(12) {
        0..8 => Change::Put {
            key: key(rng),
            value: Bytes::copy_from_slice(&rng.bytes::<5>()),
            expires: (rng.below(3) == 0).then(|| time(rng)),
        },
        8..10 => Change::Delete(key(rng)),
        10 => Change::DeleteOwned {
            owner: key(rng).owner,
        },
        _ => Change::Expire(time(rng)),
    }
}

fn load(rng: &mut Rng) -> Load {
    match rng.below(3) {
        0 => Load::Get((0..5).map(|_| key(rng)).collect()),
        1 => Load::Owned {
            owner: key(rng).owner,
        },
        _ => {
            let after = key(rng);
            Load::Page {
                kind: after.kind,
                after: (rng.below(2) == 0).then_some(after),
                limit: 4,
            }
        }
    }
}
