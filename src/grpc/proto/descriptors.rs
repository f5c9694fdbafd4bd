//! The descriptors of compiled files, by file name and by what is in them.
//!
//! Kept for reflection. Its one rule: each file is encoded once, when the configuration is loaded.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use protox::Compiler;
use protox::prost_reflect::{DescriptorPool, FileDescriptor};

use super::{Method, MethodKind, Service};

/// Compiled files.
#[derive(Clone, Default)]
pub struct Descriptors {
    pool: DescriptorPool,
    /// Each as a `google.protobuf.FileDescriptorProto`, without comments and places.
    encoded: BTreeMap<String, Bytes>,
}

/// `google.protobuf.FileDescriptorSet`, with the files as they stand: options that are extensions survive only so.
#[derive(Message)]
struct EncodedFiles {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file: Vec<Bytes>,
}

/// Of `google.protobuf.FileDescriptorProto` only the name.
#[derive(Message)]
struct FileName {
    #[prost(string, tag = "1")]
    name: String,
}

impl Descriptors {
    /// What `compiler` has compiled, imports included.
    pub(super) fn of(compiler: &Compiler) -> Self {
        let set = compiler.encode_file_descriptor_set();
        let files = EncodedFiles::decode(Bytes::from(set)).unwrap_or_default();
        let encoded = files
            .file
            .into_iter()
            .filter_map(|file| Some((FileName::decode(file.clone()).ok()?.name, file)))
            .collect();
        Self {
            pool: compiler.descriptor_pool(),
            encoded,
        }
    }

    /// The services of one file, in its order.
    pub(super) fn services_of(&self, file: &str) -> Vec<Service> {
        let file = self.pool.get_file_by_name(file);
        let services = file.iter().flat_map(FileDescriptor::services);
        services
            .map(|service| {
                let name: Arc<str> = service.full_name().into();
                let methods = service.methods().map(|method| Method {
                    service: Arc::clone(&name),
                    name: method.name().to_owned(),
                    kind: MethodKind::of(
                        method.is_client_streaming(),
                        method.is_server_streaming(),
                    ),
                    input: method.input().full_name().to_owned(),
                    output: method.output().full_name().to_owned(),
                });
                Service {
                    methods: methods.collect(),
                    name,
                }
            })
            .collect()
    }

    /// The encoded descriptor of the file called `name`.
    pub fn file_by_name(&self, name: &str) -> Option<&Bytes> {
        self.encoded.get(name)
    }

    /// The encoded descriptor of the file that defines `symbol`: a message, an enumeration, a service or an extension with its package, or a part of one
    /// (`package.Service.Method`, `package.Message.field`).
    pub fn file_with_symbol(&self, symbol: &str) -> Option<&Bytes> {
        let file = self.file_of(symbol).or_else(|| {
            let (whole, part) = symbol.rsplit_once('.')?;
            self.file_of_part(whole, part)
        })?;
        self.file_by_name(file.name())
    }

    /// The encoded descriptor of the file that extends the message `extended` by the field `number`.
    pub fn file_with_extension(&self, extended: &str, number: i32) -> Option<&Bytes> {
        let message = self.pool.get_message_by_name(extended)?;
        let extension = message.get_extension(u32::try_from(number).ok()?)?;
        self.file_by_name(extension.parent_file().name())
    }

    /// The numbers of all fields by which the message `extended` is extended, in order. `None`: there is no such message.
    pub fn extension_numbers(&self, extended: &str) -> Option<Vec<i32>> {
        let message = self.pool.get_message_by_name(extended)?;
        let mut numbers: Vec<_> = message
            .extensions()
            .filter_map(|extension| i32::try_from(extension.number()).ok())
            .collect();
        numbers.sort_unstable();
        Some(numbers)
    }

    fn file_of(&self, symbol: &str) -> Option<FileDescriptor> {
        let pool = &self.pool;
        let service = pool.get_service_by_name(symbol).map(|it| it.parent_file());
        service
            .or_else(|| Some(pool.get_message_by_name(symbol)?.parent_file()))
            .or_else(|| Some(pool.get_enum_by_name(symbol)?.parent_file()))
            .or_else(|| Some(pool.get_extension_by_name(symbol)?.parent_file()))
    }

    fn file_of_part(&self, whole: &str, part: &str) -> Option<FileDescriptor> {
        if let Some(service) = self.pool.get_service_by_name(whole) {
            let has_part = service.methods().any(|method| method.name() == part);
            return has_part.then(|| service.parent_file());
        }
        if let Some(message) = self.pool.get_message_by_name(whole) {
            let has_part = message.get_field_by_name(part).is_some()
                || message.oneofs().any(|oneof| oneof.name() == part);
            if has_part {
                return Some(message.parent_file());
            }
        }
        // The values of an enumeration are named beside it, as in C++.
        let beside = |full_name: &str| match full_name.rsplit_once('.') {
            Some((scope, _)) => scope == whole,
            None => whole.is_empty(),
        };
        self.pool
            .all_enums()
            .find(|it| beside(it.full_name()) && it.get_value_by_name(part).is_some())
            .map(|it| it.parent_file())
    }
}

impl fmt::Debug for Descriptors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.encoded.keys()).finish()
    }
}
