//! The topics of the broker: created, found, deleted, and listed in a file of the data directory.
//! Sits between the API handlers and the logs.
//!
//! One rule: locks are taken in the order topics, then one log; never a log first, never two logs.

use super::error::ErrorCode;
use super::log::Log;
use super::sync::lock;
use super::topic_config::TopicConfig;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use uuid::Uuid;

/// Kafka's bound, so that name and partition number fit into a file name.
const NAME_BYTES_MAX: usize = 249;
/// Partitions of one topic: `INVALID_PARTITIONS` beyond it.
const PARTITIONS_PER_TOPIC_MAX: i32 = 1_000;
/// Partitions of all topics, each an open file: `POLICY_VIOLATION` beyond it.
const PARTITIONS_MAX: usize = 4_000;
/// The list of topics in the data directory, and what the first line must be.
const LIST_FILE: &str = "topics";
const LIST_HEADER: &str = "embedded-broker-1";
/// Kafka's name of a segment that starts at offset 0.
const SEGMENT_FILE: &str = "00000000000000000000.log";

/// One topic. It lives on, closed, in requests that found it before it was deleted.
#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) id: Uuid,
    pub(super) config: TopicConfig,
    logs: Vec<Mutex<Log>>,
}

impl Topic {
    pub(super) fn partition_count(&self) -> i32 {
        i32::try_from(self.logs.len()).unwrap_or(i32::MAX)
    }

    /// The log of a partition, if there is one.
    pub(super) fn log(&self, partition: i32) -> Option<&Mutex<Log>> {
        self.logs.get(usize::try_from(partition).ok()?)
    }
}

/// How a request names a topic: by id from Fetch 13 on, by name elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum TopicKey {
    Name(String),
    Id(Uuid),
}

impl TopicKey {
    /// Requests leave the name empty when they give an id.
    pub(super) fn new(name: &str, id: Uuid) -> Self {
        if name.is_empty() && !id.is_nil() {
            Self::Id(id)
        } else {
            Self::Name(name.to_owned())
        }
    }

    /// What a request is answered that names a topic which is not there.
    pub(super) fn unknown(&self) -> ErrorCode {
        match self {
            Self::Name(_) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            Self::Id(_) => ErrorCode::UNKNOWN_TOPIC_ID,
        }
    }
}

#[derive(Debug)]
pub(super) struct Topics {
    dir: Option<PathBuf>,
    retention_bytes: usize,
    cluster_id: String,
    index: Mutex<Index>,
}

#[derive(Debug, Default)]
struct Index {
    by_name: BTreeMap<String, Arc<Topic>>,
    names: HashMap<Uuid, String>,
}

impl Index {
    fn insert(&mut self, topic: &Arc<Topic>) {
        self.names.insert(topic.id, topic.name.clone());
        self.by_name.insert(topic.name.clone(), Arc::clone(topic));
    }

    fn remove(&mut self, topic: &Topic) {
        self.names.remove(&topic.id);
        self.by_name.remove(&topic.name);
    }

    fn find(&self, key: &TopicKey) -> Option<&Arc<Topic>> {
        let name = match key {
            TopicKey::Name(name) => name,
            TopicKey::Id(id) => self.names.get(id)?,
        };
        self.by_name.get(name)
    }

    fn partition_count(&self) -> usize {
        self.by_name.values().map(|topic| topic.logs.len()).sum()
    }
}

impl Topics {
    /// Opens the topics of `dir`, or none; `retention_bytes` is the bound of a partition without its own.
    ///
    /// # Errors
    /// What the file system says, or `InvalidData` naming the line of the list that makes no sense.
    pub(super) fn open(
        dir: Option<PathBuf>,
        retention_bytes: usize,
        now_ms: i64,
    ) -> io::Result<Self> {
        let mut topics = Self {
            dir,
            retention_bytes,
            cluster_id: Uuid::new_v4().simple().to_string(),
            index: Mutex::default(),
        };
        let Some(list) = topics.dir.as_ref().map(|dir| dir.join(LIST_FILE)) else {
            return Ok(topics);
        };
        match fs::read_to_string(&list) {
            Ok(text) => topics.load(&list, &text, now_ms)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                topics.save(&lock(&topics.index))?;
            }
            Err(error) => return Err(error),
        }
        Ok(topics)
    }

    /// Made up once per data directory, or per start without one.
    pub(super) fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    pub(super) fn find(&self, key: &TopicKey) -> Option<Arc<Topic>> {
        lock(&self.index).find(key).cloned()
    }

    /// All topics, by name.
    pub(super) fn all(&self) -> Vec<Arc<Topic>> {
        lock(&self.index).by_name.values().cloned().collect()
    }

    /// Checks a configuration against this broker's defaults.
    ///
    /// # Errors
    /// As [`TopicConfig::new`].
    pub(super) fn config<'a>(
        &self,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<TopicConfig, ErrorCode> {
        TopicConfig::new(pairs, self.retention_bytes)
    }

    /// Whether [`Topics::create`] would do it; changes nothing.
    ///
    /// # Errors
    /// What it would be answered.
    pub(super) fn check(&self, name: &str, partitions: i32) -> Result<(), ErrorCode> {
        check_new(&lock(&self.index), name, partitions)
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// `INVALID_TOPIC_EXCEPTION`, `INVALID_PARTITIONS`, `TOPIC_ALREADY_EXISTS`, `POLICY_VIOLATION`, and
    /// `KAFKA_STORAGE_ERROR` when its files cannot be made.
    pub(super) fn create(
        &self,
        name: &str,
        partitions: i32,
        config: TopicConfig,
        now_ms: i64,
    ) -> Result<Arc<Topic>, ErrorCode> {
        let mut index = lock(&self.index);
        check_new(&index, name, partitions)?;
        let storage_error = |error: io::Error| {
            tracing::warn!(%error, topic = name, "topic could not be stored");
            ErrorCode::KAFKA_STORAGE_ERROR
        };
        // Left over from a creation or deletion that a crash interrupted: the list does not know it, so it is nobody's.
        self.remove_files(name, partitions);
        let topic = self
            .open_topic(name, Uuid::new_v4(), partitions, config, now_ms)
            .map_err(storage_error)?;
        index.insert(&topic);
        if let Err(error) = self.save(&index) {
            index.remove(&topic);
            return Err(storage_error(error));
        }
        Ok(topic)
    }

    /// Deletes a topic with its files; who waits for its records is woken.
    ///
    /// # Errors
    /// The code for an unknown topic, or `KAFKA_STORAGE_ERROR` when the list cannot be written: it is then still there.
    pub(super) fn delete(&self, key: &TopicKey) -> Result<Arc<Topic>, ErrorCode> {
        let mut index = lock(&self.index);
        let topic = index.find(key).cloned().ok_or(key.unknown())?;
        index.remove(&topic);
        if let Err(error) = self.save(&index) {
            tracing::warn!(%error, topic = topic.name, "topic could not be deleted");
            index.insert(&topic);
            return Err(ErrorCode::KAFKA_STORAGE_ERROR);
        }
        for log in &topic.logs {
            lock(log).close(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
        }
        self.remove_files(&topic.name, topic.partition_count());
        Ok(topic)
    }

    /// Applies retention to every log.
    pub(super) fn trim(&self, now_ms: i64) {
        self.for_each_log(|log| log.trim(now_ms));
    }

    /// Compacts every log whose topic wants it.
    pub(super) fn compact(&self, now_ms: i64) {
        self.for_each_log(|log| log.compact(now_ms));
    }

    /// Refuses all writes from now on and lets go of the files.
    pub(super) fn close(&self) {
        self.for_each_log(|log| log.close(ErrorCode::KAFKA_STORAGE_ERROR));
    }

    fn for_each_log(&self, mut act: impl FnMut(&mut Log)) {
        for topic in self.all() {
            for log in &topic.logs {
                act(&mut lock(log));
            }
        }
    }

    fn open_topic(
        &self,
        name: &str,
        id: Uuid,
        partitions: i32,
        config: TopicConfig,
        now_ms: i64,
    ) -> io::Result<Arc<Topic>> {
        let limits = config.limits();
        let open = |partition| {
            let path = self.partition_dir(name, partition).map(|dir| {
                fs::create_dir_all(&dir)?;
                Ok::<_, io::Error>(dir.join(SEGMENT_FILE))
            });
            Log::open(path.transpose()?.as_deref(), limits.clone(), now_ms).map(Mutex::new)
        };
        let logs = (0..partitions).map(open).collect::<io::Result<_>>()?;
        Ok(Arc::new(Topic {
            name: name.to_owned(),
            id,
            config,
            logs,
        }))
    }

    fn partition_dir(&self, name: &str, partition: i32) -> Option<PathBuf> {
        self.dir
            .as_ref()
            .map(|dir| dir.join(format!("{name}-{partition}")))
    }

    /// Removes our own files only, and a folder only when nothing else is in it: the directory is the user's choice.
    fn remove_files(&self, name: &str, partitions: i32) {
        for dir in (0..partitions).filter_map(|partition| self.partition_dir(name, partition)) {
            let segment = dir.join(SEGMENT_FILE);
            let removed = remove_if_there(fs::remove_file(segment.with_extension("swap")))
                .and_then(|()| remove_if_there(fs::remove_file(segment)))
                .and_then(|()| remove_if_there(fs::remove_dir(&dir)));
            if let Err(error) = removed {
                tracing::warn!(%error, dir = %dir.display(), "partition could not be removed");
            }
        }
    }

    /// Writes the list, all or nothing. Neither names nor values hold tabs or line ends: both were checked.
    fn save(&self, index: &Index) -> io::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        let mut text = format!("{LIST_HEADER}\t{}\n", self.cluster_id);
        for topic in index.by_name.values() {
            let _ = write!(text, "{}\t{}\t{}", topic.name, topic.id, topic.logs.len());
            for (name, value) in topic.config.pairs() {
                let _ = write!(text, "\t{name}={value}");
            }
            text.push('\n');
        }
        let fresh = dir.join("topics.new");
        fs::write(&fresh, text)?;
        fs::rename(fresh, dir.join(LIST_FILE))
    }

    fn load(&mut self, list: &Path, text: &str, now_ms: i64) -> io::Result<()> {
        let bad = |number: usize, why: &str| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("{}:{}: {why}", list.display(), number + 1),
            )
        };
        let mut lines = text.lines().enumerate();
        let header = lines.next().and_then(|(_, line)| line.split_once('\t'));
        let Some((LIST_HEADER, cluster_id)) = header else {
            return Err(bad(0, "not a list of topics of this version"));
        };
        cluster_id.clone_into(&mut self.cluster_id);
        for (number, line) in lines {
            let (name, id, partitions, config) =
                self.parse(line).ok_or_else(|| bad(number, "not a topic"))?;
            let topic = self.open_topic(name, id, partitions, config, now_ms)?;
            lock(&self.index).insert(&topic);
        }
        Ok(())
    }

    fn parse<'a>(&self, line: &'a str) -> Option<(&'a str, Uuid, i32, TopicConfig)> {
        let mut fields = line.split('\t');
        let name = fields.next().filter(|name| is_legal_name(name))?;
        let id = fields.next()?.parse().ok()?;
        let partitions = fields.next()?.parse().ok().filter(|count| *count > 0)?;
        let pairs = fields
            .map(|pair| pair.split_once('='))
            .collect::<Option<Vec<_>>>()?;
        Some((name, id, partitions, self.config(pairs).ok()?))
    }
}

fn remove_if_there(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn check_new(index: &Index, name: &str, partitions: i32) -> Result<(), ErrorCode> {
    if !is_legal_name(name) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if !(1..=PARTITIONS_PER_TOPIC_MAX).contains(&partitions) {
        return Err(ErrorCode::INVALID_PARTITIONS);
    }
    if index.by_name.contains_key(name) {
        return Err(ErrorCode::TOPIC_ALREADY_EXISTS);
    }
    let count = usize::try_from(partitions).unwrap_or(usize::MAX);
    if index.partition_count().saturating_add(count) > PARTITIONS_MAX {
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    Ok(())
}

/// Kafka's rule for topic names.
fn is_legal_name(name: &str) -> bool {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(is_legal)
}
