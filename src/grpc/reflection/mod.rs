//! `grpc.reflection.v1.ServerReflection`, and `v1alpha` with the same messages: what a client such as grpcurl asks to know services without their files.
//!
//! One message in, one out; the call is the caller's. Its one rule: every request is answered with itself and what was found, and what is not found is an
//! answer too, never the end of the call.
//!
//! A file is given without those that it imports. Clients ask for these by name.

use bytes::Bytes;
use prost::{Message, Oneof};

use super::proto::Services;
use super::status::Code;

#[cfg(test)]
mod tests;

/// The service in its first stable version, as in a path.
pub const SERVICE_V1: &str = "grpc.reflection.v1.ServerReflection";
/// The one before it, which most clients still fall back to.
pub const SERVICE_V1ALPHA: &str = "grpc.reflection.v1alpha.ServerReflection";

#[derive(Clone, PartialEq, Message)]
struct ServerReflectionRequest {
    #[prost(string, tag = "1")]
    host: String,
    #[prost(oneof = "Question", tags = "3, 4, 5, 6, 7")]
    question: Option<Question>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Question {
    #[prost(string, tag = "3")]
    FileByFilename(String),
    #[prost(string, tag = "4")]
    FileContainingSymbol(String),
    #[prost(message, tag = "5")]
    FileContainingExtension(ExtensionRequest),
    #[prost(string, tag = "6")]
    AllExtensionNumbersOfType(String),
    #[prost(string, tag = "7")]
    ListServices(String),
}

#[derive(Clone, PartialEq, Message)]
struct ExtensionRequest {
    #[prost(string, tag = "1")]
    containing_type: String,
    #[prost(int32, tag = "2")]
    extension_number: i32,
}

#[derive(Clone, PartialEq, Message)]
struct ServerReflectionResponse {
    #[prost(string, tag = "1")]
    valid_host: String,
    #[prost(message, optional, tag = "2")]
    original_request: Option<ServerReflectionRequest>,
    #[prost(oneof = "Answer", tags = "4, 5, 6, 7")]
    answer: Option<Answer>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Answer {
    #[prost(message, tag = "4")]
    FileDescriptor(FileDescriptorResponse),
    #[prost(message, tag = "5")]
    AllExtensionNumbers(ExtensionNumberResponse),
    #[prost(message, tag = "6")]
    ListServices(ListServiceResponse),
    #[prost(message, tag = "7")]
    Error(ErrorResponse),
}

#[derive(Clone, PartialEq, Message)]
struct FileDescriptorResponse {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    file_descriptor_proto: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct ExtensionNumberResponse {
    #[prost(string, tag = "1")]
    base_type_name: String,
    #[prost(int32, repeated, tag = "2")]
    extension_number: Vec<i32>,
}

#[derive(Clone, PartialEq, Message)]
struct ListServiceResponse {
    #[prost(message, repeated, tag = "1")]
    service: Vec<ServiceResponse>,
}

#[derive(Clone, PartialEq, Message)]
struct ServiceResponse {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ErrorResponse {
    #[prost(int32, tag = "1")]
    error_code: i32,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// The answer to one message of a reflection call: a `ServerReflectionResponse` to a `ServerReflectionRequest`.
///
/// `own` are the services that are offered beside `services` and are to be listed with them: of [`super::health::SERVICE`], [`SERVICE_V1`] and
/// [`SERVICE_V1ALPHA`] the descriptors are known.
pub fn answer(services: &Services, own: &[&str], request: &[u8]) -> Vec<u8> {
    let (original_request, answer) = match ServerReflectionRequest::decode(request) {
        Ok(request) => {
            let answer = match &request.question {
                Some(question) => answer_to(services, own, question),
                None => error(
                    Code::INVALID_ARGUMENT,
                    "the request asks for nothing that is known here",
                ),
            };
            (Some(request), answer)
        }
        Err(fault) => (None, error(Code::INVALID_ARGUMENT, &fault.to_string())),
    };
    let response = ServerReflectionResponse {
        valid_host: original_request
            .as_ref()
            .map(|request| request.host.clone())
            .unwrap_or_default(),
        original_request,
        answer: Some(answer),
    };
    response.encode_to_vec()
}

fn answer_to(services: &Services, own: &[&str], question: &Question) -> Answer {
    // A configuration may have the same files; then its own are the ones that are served.
    let known = [services.descriptors(), services.own_descriptors()];
    match question {
        Question::FileByFilename(name) => {
            let found = known.iter().find_map(|files| files.file_by_name(name));
            file_or_error(found, || format!("there is no file `{name}`"))
        }
        Question::FileContainingSymbol(symbol) => {
            let symbol = symbol.strip_prefix('.').unwrap_or(symbol);
            let found = known
                .iter()
                .find_map(|files| files.file_with_symbol(symbol));
            file_or_error(found, || format!("there is no symbol `{symbol}`"))
        }
        Question::FileContainingExtension(ExtensionRequest {
            containing_type,
            extension_number,
        }) => {
            let found = known
                .iter()
                .find_map(|files| files.file_with_extension(containing_type, *extension_number));
            file_or_error(found, || {
                format!("`{containing_type}` has no extension {extension_number}")
            })
        }
        Question::AllExtensionNumbersOfType(name) => {
            let found = known.iter().find_map(|files| files.extension_numbers(name));
            match found {
                Some(extension_number) => Answer::AllExtensionNumbers(ExtensionNumberResponse {
                    base_type_name: name.clone(),
                    extension_number,
                }),
                None => error(Code::NOT_FOUND, &format!("there is no message `{name}`")),
            }
        }
        Question::ListServices(_) => Answer::ListServices(list(services, own)),
    }
}

/// All names in order, each once.
fn list(services: &Services, own: &[&str]) -> ListServiceResponse {
    let served = services.iter().map(|service| &*service.name);
    let mut names: Vec<&str> = served.chain(own.iter().copied()).collect();
    names.sort_unstable();
    names.dedup();
    let service = names.into_iter().map(|name| ServiceResponse {
        name: name.to_owned(),
    });
    ListServiceResponse {
        service: service.collect(),
    }
}

fn file_or_error(file: Option<&Bytes>, missing: impl FnOnce() -> String) -> Answer {
    match file {
        Some(file) => Answer::FileDescriptor(FileDescriptorResponse {
            file_descriptor_proto: vec![file.clone()],
        }),
        None => error(Code::NOT_FOUND, &missing()),
    }
}

fn error(code: Code, message: &str) -> Answer {
    Answer::Error(ErrorResponse {
        error_code: i32::from(code.0),
        error_message: message.to_owned(),
    })
}
