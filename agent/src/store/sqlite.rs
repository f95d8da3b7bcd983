//! A store in a file: SQLite, with a write-ahead log, for one process.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, TransactionBehavior, params};
use simplex_sans_io::time::UnixTime;
use zeroize::Zeroizing;

use super::{Change, Key, Kind, Load, Record, Store, StoreError};

/// Says that a database is an agent's: "SmpA".
const APPLICATION: i64 = 0x536d_7041;

/// What makes version n+1 out of version n. What was released is never changed; what is new is added at the end.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE records (
        kind INTEGER NOT NULL,
        owner BLOB NOT NULL,
        id BLOB NOT NULL,
        value BLOB NOT NULL,
        expires INTEGER,
        PRIMARY KEY (kind, owner, id)
    ) WITHOUT ROWID, STRICT;
    CREATE INDEX records_expires ON records (expires) WHERE expires IS NOT NULL;
"];

/// How a database is opened.
#[derive(Debug, Clone, Default)]
pub struct SqliteOptions {
    /// The key that the file is encrypted with; only with the feature `sqlcipher`.
    pub key: Option<Zeroizing<String>>,
}

/// A store in a file.
#[derive(Debug)]
pub struct Sqlite {
    connection: Connection,
    path: PathBuf,
}

impl Sqlite {
    /// Opens the database of a file, or makes it. Only its owner may read it, and no other process meanwhile.
    pub fn open(path: &Path, options: &SqliteOptions) -> Result<Self, StoreError> {
        make_private(path)?;
        let connection = Connection::open(path)?;
        let mut store = Self {
            connection,
            path: path.to_owned(),
        };
        store.set_key(options)?;
        store.prepare().map_err(|error| store.explain(error))?;
        store.migrate(MIGRATIONS)?;
        Ok(store)
    }

    #[cfg(feature = "sqlcipher")]
    fn set_key(&self, options: &SqliteOptions) -> Result<(), StoreError> {
        if let Some(key) = &options.key {
            self.connection.pragma_update(None, "key", key.as_str())?;
        }
        Ok(())
    }

    #[cfg(not(feature = "sqlcipher"))]
    fn set_key(&self, options: &SqliteOptions) -> Result<(), StoreError> {
        match options.key {
            None => Ok(()),
            Some(_) => Err(StoreError::File {
                path: self.path.clone(),
                error: std::io::Error::new(
                    std::io::ErrorKind::Unsupported,
                    "this program was built without encryption of the database",
                ),
            }),
        }
    }

    fn prepare(&self) -> rusqlite::Result<()> {
        let connection = &self.connection;
        connection.busy_timeout(Duration::from_secs(1))?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        // What is deleted are keys and messages.
        connection.pragma_update_and_check(None, "secure_delete", "ON", |_| Ok(()))?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.set_prepared_statement_cache_capacity(32);
        Ok(())
    }

    fn explain(&self, error: rusqlite::Error) -> StoreError {
        let path = self.path.clone();
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
                StoreError::InUse { path }
            }
            Some(rusqlite::ErrorCode::NotADatabase | rusqlite::ErrorCode::DatabaseCorrupt) => {
                StoreError::Unreadable { path }
            }
            _ => StoreError::Database(error),
        }
    }

    /// Brings the database to the version of this program, in one transaction.
    fn migrate(&mut self, migrations: &[&str]) -> Result<(), StoreError> {
        let path = self.path.clone();
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Exclusive);
        let transaction = match transaction {
            Ok(transaction) => transaction,
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                return Err(StoreError::InUse { path });
            }
            Err(error) => return Err(error.into()),
        };
        let number = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let (application, version) = (number("application_id")?, number("user_version")?);
        let tables: i64 =
            transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
        if application != APPLICATION && (application != 0 || tables > 0) {
            return Err(StoreError::Foreign { path });
        }
        let done = usize::try_from(version).unwrap_or(usize::MAX);
        let Some(missing) = migrations.get(done..) else {
            return Err(StoreError::Newer { path, version });
        };
        for migration in missing {
            transaction.execute_batch(migration)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        let version = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", version)?;
        Ok(transaction.commit()?)
    }
}

/// The file is there before the database writes secrets into it, and others may not read it.
fn make_private(path: &Path) -> Result<(), StoreError> {
    let mut options = std::fs::OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let opened = options.open(path);
    #[cfg(unix)]
    let opened = opened.and_then(|file| {
        use std::os::unix::fs::PermissionsExt as _;
        // The files beside it are made like it.
        match file.metadata()?.permissions().mode() & 0o077 {
            0 => Ok(file),
            _ => file
                .set_permissions(std::fs::Permissions::from_mode(0o600))
                .map(|()| file),
        }
    });
    opened.map(drop).map_err(|error| StoreError::File {
        path: path.to_owned(),
        error,
    })
}

impl Store for Sqlite {
    fn commit(&mut self, transactions: Vec<Vec<Change>>) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        for change in transactions.into_iter().flatten() {
            apply(&transaction, change)?;
        }
        Ok(transaction.commit()?)
    }

    fn load(&mut self, load: &Load) -> Result<Vec<Record>, StoreError> {
        match load {
            Load::Get(keys) => {
                let mut select = self.connection.prepare_cached(
                    "SELECT value FROM records WHERE kind = ?1 AND owner = ?2 AND id = ?3",
                )?;
                let mut records = Vec::new();
                for key in keys {
                    let values = params![key.kind.number(), &key.owner[..], &key.id[..]];
                    let value: Option<Vec<u8>> =
                        select.query_row(values, |row| row.get(0)).optional()?;
                    records.extend(value.map(|value| Record {
                        key: key.clone(),
                        value: value.into(),
                    }));
                }
                Ok(records)
            }
            Load::Owned { owner } => {
                let mut select = self.connection.prepare_cached(
                    "SELECT kind, owner, id, value FROM records WHERE kind = ?1 AND owner = ?2 ORDER BY id",
                )?;
                let mut records = Vec::new();
                for kind in Kind::LOADED {
                    let mut rows = select.query(params![kind.number(), &owner[..]])?;
                    while let Some(row) = rows.next()? {
                        records.push(record(row)?);
                    }
                }
                Ok(records)
            }
            Load::Page { kind, after, limit } => {
                let limit = i64::try_from(*limit).unwrap_or(i64::MAX);
                let mut select = self.connection.prepare_cached(
                    "SELECT kind, owner, id, value FROM records WHERE kind = ?1 AND (owner, id) > (?2, ?3) ORDER BY owner, id LIMIT ?4",
                )?;
                let mut first = self.connection.prepare_cached(
                    "SELECT kind, owner, id, value FROM records WHERE kind = ?1 ORDER BY owner, id LIMIT ?2",
                )?;
                let mut rows = match after {
                    Some(after) if after.kind == *kind => select.query(params![
                        kind.number(),
                        &after.owner[..],
                        &after.id[..],
                        limit
                    ])?,
                    Some(_) | None => first.query(params![kind.number(), limit])?,
                };
                let mut records = Vec::new();
                while let Some(row) = rows.next()? {
                    records.push(record(row)?);
                }
                Ok(records)
            }
        }
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        self.connection
            .close()
            .map_err(|(_, error)| StoreError::Database(error))
    }
}

fn apply(transaction: &Transaction<'_>, change: Change) -> Result<(), StoreError> {
    match change {
        Change::Put {
            key,
            value,
            expires,
        } => {
            let mut put = transaction.prepare_cached(
                "INSERT OR REPLACE INTO records (kind, owner, id, value, expires) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            put.execute(params![
                key.kind.number(),
                &key.owner[..],
                &key.id[..],
                &value[..],
                expires.map(UnixTime::as_micros),
            ])?;
        }
        Change::Delete(Key { kind, owner, id }) => {
            let mut delete = transaction
                .prepare_cached("DELETE FROM records WHERE kind = ?1 AND owner = ?2 AND id = ?3")?;
            delete.execute(params![kind.number(), &owner[..], &id[..]])?;
        }
        Change::DeleteOwned { owner } => {
            let mut delete =
                transaction.prepare_cached("DELETE FROM records WHERE kind = ?1 AND owner = ?2")?;
            for kind in Kind::OF_CONNECTION {
                delete.execute(params![kind.number(), &owner[..]])?;
            }
        }
        Change::Expire(now) => {
            let mut delete =
                transaction.prepare_cached("DELETE FROM records WHERE expires <= ?1")?;
            delete.execute([now.as_micros()])?;
        }
    }
    Ok(())
}

fn record(row: &Row<'_>) -> Result<Record, StoreError> {
    let kind: i64 = row.get(0)?;
    let known = u8::try_from(kind).ok().and_then(Kind::from_number);
    let bytes = |index| row.get::<_, Vec<u8>>(index).map(Bytes::from);
    Ok(Record {
        key: Key {
            kind: known.ok_or(StoreError::Kind(kind))?,
            owner: bytes(1)?,
            id: bytes(2)?,
        },
        value: bytes(3)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn it_conforms() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.db");
        conformance::check(|| {
            std::fs::remove_file(&path).ok();
            Sqlite::open(&path, &SqliteOptions::default()).unwrap()
        });
    }

    #[test]
    fn what_was_committed_is_there_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.db");
        let key = Key {
            kind: Kind::Work,
            owner: b"bob".as_slice().into(),
            id: Bytes::new(),
        };
        let put = Change::Put {
            key: key.clone(),
            value: b"value".as_slice().into(),
            expires: None,
        };
        let mut store = Sqlite::open(&path, &SqliteOptions::default()).unwrap();
        store.commit(vec![vec![put]]).unwrap();
        // As if the process had died.
        drop(store);
        let mut store = Sqlite::open(&path, &SqliteOptions::default()).unwrap();
        let found = store.load(&Load::Get(vec![key])).unwrap();
        assert_eq!(found.len(), 1);
    }

    fn key(id: &'static str) -> Key {
        Key {
            kind: Kind::Work,
            owner: b"bob".as_slice().into(),
            id: id.as_bytes().into(),
        }
    }

    fn put(id: &'static str) -> Change {
        Change::Put {
            key: key(id),
            value: b"value".as_slice().into(),
            expires: None,
        }
    }

    /// A later program adds a column with what it knows of old records; one that fails leaves everything as it was.
    #[test]
    fn a_database_of_an_earlier_version_is_brought_to_a_later_one_with_what_is_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.db");
        let mut store = Sqlite::open(&path, &SqliteOptions::default()).unwrap();
        store.commit(vec![vec![put("1"), put("2")]]).unwrap();
        let version = |store: &Sqlite| -> i64 {
            let version = store
                .connection
                .pragma_query_value(None, "user_version", |r| r.get(0));
            version.unwrap()
        };
        assert_eq!(version(&store), 1);

        let first = MIGRATIONS[0];
        let add = "ALTER TABLE records ADD COLUMN written INTEGER NOT NULL DEFAULT 7";
        let broken = [first, add, "INSERT INTO nowhere VALUES (1)"];
        assert!(store.migrate(&broken).is_err());
        assert_eq!(version(&store), 1);
        store.migrate(&[first, add]).unwrap();
        assert_eq!(version(&store), 2);
        let sum: i64 = store
            .connection
            .query_row("SELECT sum(written) FROM records", [], |row| row.get(0))
            .unwrap();
        assert_eq!(sum, 14);
        let keys = vec![key("1"), key("2")];
        assert_eq!(store.load(&Load::Get(keys)).unwrap().len(), 2);
        drop(store);
        // The program of before does not know what it would break.
        let earlier = Sqlite::open(&path, &SqliteOptions::default());
        assert!(matches!(earlier, Err(StoreError::Newer { version: 2, .. })));
    }

    #[cfg(feature = "sqlcipher")]
    #[test]
    fn a_database_with_a_key_is_read_with_that_key_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.db");
        let with = |key: &str| SqliteOptions {
            key: Some(Zeroizing::new(key.to_owned())),
        };
        let mut store = Sqlite::open(&path, &with("it's secret")).unwrap();
        store.commit(vec![vec![put("1")]]).unwrap();
        drop(store);
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.starts_with(b"SQLite format"));
        for wrong in [with("another"), SqliteOptions::default()] {
            let refused = Sqlite::open(&path, &wrong);
            assert!(
                matches!(refused, Err(StoreError::Unreadable { .. })),
                "{refused:?}"
            );
        }
        let mut store = Sqlite::open(&path, &with("it's secret")).unwrap();
        let load = Load::Owned {
            owner: b"bob".as_slice().into(),
        };
        assert_eq!(store.load(&load).unwrap().len(), 1);
    }

    #[test]
    fn another_process_and_another_program_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.db");
        let store = Sqlite::open(&path, &SqliteOptions::default()).unwrap();
        let second = Sqlite::open(&path, &SqliteOptions::default());
        assert!(
            matches!(second, Err(StoreError::InUse { .. })),
            "{second:?}"
        );
        drop(store);

        let other = directory.path().join("other.db");
        let connection = Connection::open(&other).unwrap();
        connection.execute_batch("CREATE TABLE x (y)").unwrap();
        drop(connection);
        let foreign = Sqlite::open(&other, &SqliteOptions::default());
        assert!(matches!(foreign, Err(StoreError::Foreign { .. })));

        let text = directory.path().join("text");
        std::fs::write(&text, vec![b'x'; 5000]).unwrap();
        let unreadable = Sqlite::open(&text, &SqliteOptions::default());
        assert!(matches!(unreadable, Err(StoreError::Unreadable { .. })));

        let newer = directory.path().join("newer.db");
        drop(Sqlite::open(&newer, &SqliteOptions::default()).unwrap());
        let connection = Connection::open(&newer).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        let newer = Sqlite::open(&newer, &SqliteOptions::default());
        assert!(matches!(newer, Err(StoreError::Newer { version: 99, .. })));
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.db");
        let _store = Sqlite::open(&path, &SqliteOptions::default()).unwrap();
        for entry in std::fs::read_dir(directory.path()).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
    }
}
