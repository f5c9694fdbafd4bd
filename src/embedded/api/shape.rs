//! The shapes of the requests served, and a walk that checks a frame against one.
//! Runs before the decoder, which reserves memory for as many elements as an array claims to have.
//!
//! One rule: the walk reads, it never allocates.

use kafka_protocol::messages::ApiKey;

/// Elements of all arrays of one request; more is no request of an honest client.
const ELEMENTS_MAX: usize = 200_000;
/// The header version with compact strings in the body and tagged fields (KIP-482).
const FLEXIBLE_HEADER: i16 = 2;

#[derive(Clone, Copy)]
enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A length and that many bytes; 16 bits of length in old versions. Null is a length below zero.
    Text,
    /// As `Text`, with 32 bits of length in old versions.
    Blob,
    /// A count and that many scalars.
    List(&'static Self),
    /// A count and that many structs, each closed by its tagged fields in flexible versions.
    Structs(&'static [Field]),
}

/// A field and the versions that have it, both ends included.
#[derive(Clone, Copy)]
struct Field(Kind, i16, i16);

const fn every(kind: Kind) -> Field {
    Field(kind, 0, i16::MAX)
}

const fn since(version: i16, kind: Kind) -> Field {
    Field(kind, version, i16::MAX)
}

const fn until(version: i16, kind: Kind) -> Field {
    Field(kind, 0, version)
}

const BYTE: Kind = Kind::Fixed(1);
const SHORT: Kind = Kind::Fixed(2);
const INT: Kind = Kind::Fixed(4);
const LONG: Kind = Kind::Fixed(8);
const UUID: Kind = Kind::Fixed(16);
const TEXT: Kind = Kind::Text;
const BLOB: Kind = Kind::Blob;

const PRODUCE: &[Field] = &[
    every(TEXT),  // transactional id
    every(SHORT), // acks
    every(INT),   // timeout
    every(Kind::Structs(&[
        every(TEXT),
        every(Kind::Structs(&[every(INT), every(BLOB)])),
    ])),
];

const FETCH: &[Field] = &[
    until(14, INT), // replica id
    every(INT),     // max wait
    every(INT),     // min bytes
    every(INT),     // max bytes
    every(BYTE),    // isolation level
    since(7, INT),  // session id
    since(7, INT),  // session epoch
    every(Kind::Structs(&[
        until(12, TEXT),
        since(13, UUID),
        every(Kind::Structs(FETCH_PARTITION)),
    ])),
    since(
        7,
        Kind::Structs(&[until(12, TEXT), since(13, UUID), every(Kind::List(&INT))]),
    ),
    since(11, TEXT), // rack
];

const FETCH_PARTITION: &[Field] = &[
    every(INT),     // partition
    since(9, INT),  // current leader epoch
    every(LONG),    // offset
    since(12, INT), // last fetched epoch
    since(5, LONG), // log start offset
    every(INT),     // max bytes
];

const LIST_OFFSETS: &[Field] = &[
    every(INT),     // replica id
    since(2, BYTE), // isolation level
    every(Kind::Structs(&[
        every(TEXT),
        every(Kind::Structs(&[every(INT), since(4, INT), every(LONG)])),
    ])),
];

const METADATA: &[Field] = &[
    every(Kind::Structs(&[since(10, UUID), every(TEXT)])),
    since(4, BYTE),     // allow auto creation
    Field(BYTE, 8, 10), // include cluster authorized operations
    since(8, BYTE),     // include topic authorized operations
];

const OFFSET_COMMIT: &[Field] = &[
    every(TEXT),    // group
    every(INT),     // generation
    every(TEXT),    // member
    since(7, TEXT), // instance
    until(4, LONG), // retention time
    every(Kind::Structs(&[
        every(TEXT),
        every(Kind::Structs(&[
            every(INT),
            every(LONG),
            since(6, INT),
            every(TEXT),
        ])),
    ])),
];

const TOPIC_PARTITIONS: Kind = Kind::Structs(&[every(TEXT), every(Kind::List(&INT))]);

const OFFSET_FETCH: &[Field] = &[
    until(7, TEXT), // group
    until(7, TOPIC_PARTITIONS),
    since(8, Kind::Structs(&[every(TEXT), every(TOPIC_PARTITIONS)])),
    since(7, BYTE), // require stable
];

const FIND_COORDINATOR: &[Field] = &[until(3, TEXT), since(1, BYTE), since(4, Kind::List(&TEXT))];

const JOIN_GROUP: &[Field] = &[
    every(TEXT),    // group
    every(INT),     // session timeout
    since(1, INT),  // rebalance timeout
    every(TEXT),    // member
    since(5, TEXT), // instance
    every(TEXT),    // protocol type
    every(Kind::Structs(&[every(TEXT), every(BLOB)])),
    since(8, TEXT), // reason
];

const HEARTBEAT: &[Field] = &[every(TEXT), every(INT), every(TEXT), since(3, TEXT)];

const LEAVE_GROUP: &[Field] = &[
    every(TEXT),    // group
    until(2, TEXT), // member
    since(
        3,
        Kind::Structs(&[every(TEXT), every(TEXT), since(5, TEXT)]),
    ),
];

const SYNC_GROUP: &[Field] = &[
    every(TEXT),    // group
    every(INT),     // generation
    every(TEXT),    // member
    since(3, TEXT), // instance
    since(5, TEXT), // protocol type
    since(5, TEXT), // protocol
    every(Kind::Structs(&[every(TEXT), every(BLOB)])),
];

const API_VERSIONS: &[Field] = &[since(3, TEXT), since(3, TEXT)];

const CREATE_TOPICS: &[Field] = &[
    every(Kind::Structs(&[
        every(TEXT),  // name
        every(INT),   // partitions
        every(SHORT), // replication factor
        every(Kind::Structs(&[every(INT), every(Kind::List(&INT))])),
        every(Kind::Structs(&[every(TEXT), every(TEXT)])),
    ])),
    every(INT),  // timeout
    every(BYTE), // validate only
];

const DELETE_TOPICS: &[Field] = &[
    since(6, Kind::Structs(&[every(TEXT), every(UUID)])),
    until(5, Kind::List(&TEXT)),
    every(INT),
];

const INIT_PRODUCER_ID: &[Field] = &[every(TEXT), every(INT), since(3, LONG), since(3, SHORT)];

const DESCRIBE_CONFIGS: &[Field] = &[
    every(Kind::Structs(&[
        every(BYTE),
        every(TEXT),
        every(Kind::List(&TEXT)),
    ])),
    every(BYTE),    // include synonyms
    since(3, BYTE), // include documentation
];

const DESCRIBE_CLUSTER: &[Field] = &[every(BYTE), since(1, BYTE)];

fn fields(api: ApiKey) -> Option<&'static [Field]> {
    Some(match api {
        ApiKey::Produce => PRODUCE,
        ApiKey::Fetch => FETCH,
        ApiKey::ListOffsets => LIST_OFFSETS,
        ApiKey::Metadata => METADATA,
        ApiKey::OffsetCommit => OFFSET_COMMIT,
        ApiKey::OffsetFetch => OFFSET_FETCH,
        ApiKey::FindCoordinator => FIND_COORDINATOR,
        ApiKey::JoinGroup => JOIN_GROUP,
        ApiKey::Heartbeat => HEARTBEAT,
        ApiKey::LeaveGroup => LEAVE_GROUP,
        ApiKey::SyncGroup => SYNC_GROUP,
        ApiKey::ApiVersions => API_VERSIONS,
        ApiKey::CreateTopics => CREATE_TOPICS,
        ApiKey::DeleteTopics => DELETE_TOPICS,
        ApiKey::InitProducerId => INIT_PRODUCER_ID,
        ApiKey::DescribeConfigs => DESCRIBE_CONFIGS,
        ApiKey::DescribeCluster => DESCRIBE_CLUSTER,
        _ => return None,
    })
}

/// Whether a frame, header included, has room for everything that it claims to hold, and not too many elements.
/// Bytes after the last field are nobody's and allowed.
pub(super) fn is_well_formed(api: ApiKey, version: i16, header_version: i16, frame: &[u8]) -> bool {
    let mut walk = Walk {
        left: frame,
        version,
        is_flexible: header_version >= FLEXIBLE_HEADER,
        elements_left: ELEMENTS_MAX,
    };
    fields(api).is_some_and(|fields| {
        walk.header()
            .and_then(|()| walk.structure(fields))
            .is_some()
    })
}

struct Walk<'a> {
    left: &'a [u8],
    version: i16,
    is_flexible: bool,
    elements_left: usize,
}

impl Walk<'_> {
    fn header(&mut self) -> Option<()> {
        const KEY_VERSION_AND_CORRELATION: usize = 8;
        self.skip(KEY_VERSION_AND_CORRELATION)?;
        // The client id keeps its old form in every header version.
        let length = self.int16()?;
        self.skip(usize::try_from(length).unwrap_or(0))?;
        self.tags()
    }

    fn structure(&mut self, fields: &[Field]) -> Option<()> {
        for Field(kind, first, last) in fields {
            if (*first..=*last).contains(&self.version) {
                self.value(*kind)?;
            }
        }
        self.tags()
    }

    fn value(&mut self, kind: Kind) -> Option<()> {
        match kind {
            Kind::Fixed(bytes) => self.skip(bytes),
            Kind::Text | Kind::Blob => {
                let length = self.length(kind)?;
                self.skip(length)
            }
            Kind::List(scalar) => {
                for _ in 0..self.count()? {
                    self.value(*scalar)?;
                }
                Some(())
            }
            Kind::Structs(fields) => {
                for _ in 0..self.count()? {
                    self.structure(fields)?;
                }
                Some(())
            }
        }
    }

    /// The length of a text or blob; null counts as empty.
    fn length(&mut self, kind: Kind) -> Option<usize> {
        match kind {
            _ if self.is_flexible => Some(usize::try_from(self.uvarint()?).ok()?.saturating_sub(1)),
            Kind::Text => self
                .int16()
                .map(|length| usize::try_from(length).unwrap_or(0)),
            _ => self
                .int32()
                .map(|length| usize::try_from(length).unwrap_or(0)),
        }
    }

    fn count(&mut self) -> Option<usize> {
        let count = if self.is_flexible {
            usize::try_from(self.uvarint()?).ok()?.saturating_sub(1)
        } else {
            usize::try_from(self.int32()?).unwrap_or(0)
        };
        self.elements_left = self.elements_left.checked_sub(count)?;
        Some(count)
    }

    fn tags(&mut self) -> Option<()> {
        if !self.is_flexible {
            return Some(());
        }
        let count = usize::try_from(self.uvarint()?).ok()?;
        self.elements_left = self.elements_left.checked_sub(count)?;
        for _ in 0..count {
            self.uvarint()?;
            let size = usize::try_from(self.uvarint()?).ok()?;
            self.skip(size)?;
        }
        Some(())
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.left = self.left.get(bytes..)?;
        Some(())
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, left) = self.left.split_first_chunk()?;
        self.left = left;
        Some(*taken)
    }

    fn int16(&mut self) -> Option<i16> {
        self.take().map(i16::from_be_bytes)
    }

    fn int32(&mut self) -> Option<i32> {
        self.take().map(i32::from_be_bytes)
    }

    fn uvarint(&mut self) -> Option<u32> {
        let mut value = 0;
        for shift in (0..32).step_by(7) {
            let [byte] = self.take()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}
