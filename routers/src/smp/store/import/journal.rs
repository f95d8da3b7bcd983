//! Messages from journals: a directory for every queue, with the state of the queue and one or two files of messages.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use simplex_sans_io::smp::router::store::MessageRecord;
use simplex_sans_io::smp::storelog::{JournalState, parse_message, parse_state};
use simplex_sans_io::wire::EntityId;
use simplex_sans_io::wire::text::parse_base64url_field;

use super::lines::{LastLine, Lines};
use super::messages::MessageBatch;
use super::{Import, ImportError};

/// The states of a queue that could still count are in the last bytes of their file.
const STATES: u64 = 1 << 16;

/// Reads all queues below a directory, in the order of their names.
pub(super) fn import(import: &mut Import<'_>, root: &Path) -> Result<(), ImportError> {
    let mut batch = MessageBatch::default();
    walk(import, &mut batch, root, root)?;
    let changes = batch.take();
    import.commit(changes)
}

fn walk(
    import: &mut Import<'_>,
    batch: &mut MessageBatch,
    root: &Path,
    directory: &Path,
) -> Result<(), ImportError> {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory)
        .and_then(|entries| {
            entries
                .map(|entry| entry.map(|entry| entry.path()))
                .collect()
        })
        .map_err(ImportError::io(directory))?;
    entries.sort();
    let (directories, files): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|path| path.is_dir());
    if !files.is_empty() {
        queue(import, batch, root, directory, &files)?;
    }
    for directory in directories {
        // What was read before an interruption is before the directory that was read last.
        let name = relative(root, &directory);
        let last = &import.progress.directory;
        if name > *last || last.starts_with(&name) {
            walk(import, batch, root, &directory)?;
        }
    }
    Ok(())
}

fn relative(root: &Path, directory: &Path) -> Bytes {
    let path = directory.strip_prefix(root).unwrap_or(directory);
    // Sorted as the parts are: what separates them is before everything in them.
    let parts = path.iter().map(OsStr::as_bytes);
    parts.collect::<Vec<_>>().join(&0).into()
}

fn queue(
    import: &mut Import<'_>,
    batch: &mut MessageBatch,
    root: &Path,
    directory: &Path,
    files: &[PathBuf],
) -> Result<(), ImportError> {
    let name = relative(root, directory);
    if name <= import.progress.directory {
        return Ok(());
    }
    let id = directory.strip_prefix(root).unwrap_or(directory);
    let id: String = id.iter().map(OsStr::to_string_lossy).collect();
    let recipient_id = parse_base64url_field(&id).ok();
    let recipient_id = recipient_id.and_then(|id| EntityId::try_from(id.as_slice()).ok());
    match recipient_id {
        None => import.problem(directory, None, &"not the directory of a queue"),
        Some(recipient_id) => {
            let messages = messages(import, directory, files, &id)?;
            let mut refused = None;
            for message in messages {
                if let Err(refusal) = batch.put(import, &recipient_id, message)? {
                    refused = Some(refusal);
                }
            }
            if let Some(refusal) = refused {
                import.problem(directory, None, &refusal);
            }
        }
    }
    import.progress.directory = name;
    if batch.is_full(import) {
        let changes = batch.take();
        import.commit(changes)?;
    }
    Ok(())
}

/// The messages that wait. One that was written after the last state is among them: its sender may have been told that it was taken.
fn messages(
    import: &mut Import<'_>,
    directory: &Path,
    files: &[PathBuf],
    id: &str,
) -> Result<Vec<MessageRecord>, ImportError> {
    let journal = |name: &str| directory.join(format!("messages.{name}.log"));
    let mut messages = Vec::new();
    match state(import, directory, id)? {
        Some(state) => {
            let read = journal(&state.read.journal);
            // A journal that was read to its end may have been removed.
            if read.exists() || state.read.messages < state.read.message_count {
                read_journal(import, &read, state.read.bytes, &mut messages)?;
            }
            let written = journal(&state.write.journal);
            let is_other = state.write.journal != state.read.journal;
            if is_other && (written.exists() || state.write.message_count > 0) {
                read_journal(import, &written, 0, &mut messages)?;
            }
        }
        None => {
            let is_journal = |path: &&PathBuf| {
                let name = path.file_name().map(OsStr::to_string_lossy);
                name.is_some_and(|name| name.starts_with("messages.") && name.ends_with(".log"))
            };
            for path in files.iter().filter(is_journal) {
                read_journal(import, path, 0, &mut messages)?;
            }
            messages.sort_by_key(|message| message.time);
            if !messages.is_empty() {
                let problem =
                    "no state is readable: messages that were received may be delivered again";
                import.problem(directory, None, &problem);
            }
        }
    }
    Ok(messages)
}

fn read_journal(
    import: &mut Import<'_>,
    path: &Path,
    from: u64,
    messages: &mut Vec<MessageRecord>,
) -> Result<(), ImportError> {
    if !path.exists() {
        import.problem(
            path,
            None,
            &"the journal is missing, and its messages with it",
        );
        return Ok(());
    }
    let mut lines = Lines::open(path, from, 0, LastLine::Incomplete)?;
    if from > lines.size() {
        import.problem(
            path,
            None,
            &"the journal is shorter than it should be: messages are missing",
        );
    }
    loop {
        let parsed = match lines.next().map_err(ImportError::io(path))? {
            None => return Ok(()),
            Some(Err(unreadable)) => Err(unreadable.to_string()),
            Some(Ok(line)) => parse_message(line).map_err(|error| error.to_string()),
        };
        import.progress.summary.lines = import.progress.summary.lines.saturating_add(1);
        match parsed {
            Ok(message) => messages.push(message),
            Err(problem) => import.problem(path, Some(lines.number()), &problem),
        }
    }
}

/// The last state that can be believed, from the file or from what it was before it was written anew.
fn state(
    import: &mut Import<'_>,
    directory: &Path,
    id: &str,
) -> Result<Option<JournalState>, ImportError> {
    for name in [
        format!("queue_state.{id}.log"),
        format!("queue_state.{id}.log.bak"),
    ] {
        let path = directory.join(name);
        if !path.exists() {
            continue;
        }
        let text = last_bytes(&path).map_err(ImportError::io(&path))?;
        let (complete, cut_off) = text.rsplit_once('\n').unwrap_or(("", &text));
        let believed = |line: &str| parse_state(line).ok().filter(JournalState::is_consistent);
        let states: Vec<_> = complete.lines().map(believed).collect();
        let is_whole = cut_off.is_empty() && states.last().is_some_and(Option::is_some);
        let state = states.into_iter().flatten().next_back();
        if !is_whole {
            import.problem(
                &path,
                None,
                &"the last state is not readable, the one before it counts",
            );
        }
        if state.is_some() {
            return Ok(state);
        }
    }
    Ok(None)
}

fn last_bytes(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(STATES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
